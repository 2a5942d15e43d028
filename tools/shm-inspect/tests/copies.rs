//! Copies in files, whole and damaged, and payloads of which little is shown.

mod support;

use std::process::{Command, Stdio};

use ringway::queue::{RecordKind, Side, Wait};
use ringway::routing::Packet;
use serde_json::Value;
use support::screen::Screen;
use support::*;

/// Bytes of the payload of the packet that helpers put.
const PAYLOAD: usize = 3000;

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    let queue = descriptor(&place, "x", Side::Multi, Side::Multi).queue().unwrap();
    match job.as_str() {
        "packet" => {
            let packet = Packet::new(vec![b'z'; PAYLOAD]).with_key("tenant-7");
            let mut bytes = vec![0; packet.encoded_len()];
            packet.encode_into(&mut bytes).unwrap();
            queue.put_record(RecordKind::PACKET, &bytes, Wait::No).unwrap();
            ready_to_be_killed();
        }
        "claim" => {
            queue.put(b"kept").unwrap();
            let _reservation = queue.reserve(10).unwrap();
            ready_to_be_killed();
        }
        // Puts and takes, one after the other, for ever.
        "steady" => {
            announce();
            loop {
                queue.put(&[b'y'; 900]).unwrap();
                std::thread::sleep(std::time::Duration::from_millis(2));
                queue.get().unwrap();
            }
        }
        other => panic!("unknown job {other}"),
    }
}

/// A copy of the segment `x`, by its path.
fn copied(place: &Place) -> String {
    let copy = place.file("x.raw").to_str().unwrap().to_owned();
    place.text(0, &["dump", "x", "--raw", &copy]);
    copy
}

/// Runs a command that might go on for ever if it were wrong.
fn ends(mut command: Command) -> std::process::Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = std::time::Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > WATCHDOG {
            child.kill().unwrap();
            panic!("{command:?} does not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn every_verb_that_looks_takes_a_copy_and_none_that_changes() {
    let place = Place::new();
    // Its last record is claimed and never committed: not even that is waited for.
    let helper = Helper::start("claim", &place);
    let copy = copied(&place);
    drop(helper);
    let elsewhere = Place::new();
    let tape = elsewhere.file("x.tape");
    let tape = tape.to_str().unwrap();
    let looks: [(&[&str], &str); 10] = [
        (&["list"], "a copy"),
        (&["show"], "a copy"),
        (&["dump"], "|kept|"),
        (&["peek"], "kept"),
        (&["peek", "--follow"], "kept"),
        (&["hz"], "0 packets in"),
        (&["top", "--interval", "0"], "x.raw:queue"),
        (&["doctor"], "nothing is wrong"),
        (&["metrics"], "x.raw\",ring=\"queue\"} 1"),
        (&["record", "--waiting"], "1 packets of"),
    ];
    for (verb, says) in looks {
        let mut command = elsewhere.command(verb);
        command.arg(&copy);
        if verb[0] == "record" {
            command.arg(tape);
        }
        let said = checked(0, &ends(command));
        assert!(said.contains(says), "{verb:?}: {said}");
    }
    let mut screen = Screen::start(&elsewhere, &["watch", &copy], true);
    screen.wait_for("the copy's ring", |text| text.contains("queue"));
    screen.press("q");
    assert_eq!(screen.end(), 0);
    let changes: [&[&str]; 3] = [&["put", &copy], &["get", &copy], &["replay", tape, &copy]];
    for verb in changes {
        let refused = ends(elsewhere.command(verb));
        assert_eq!(refused.status.code(), Some(2), "{verb:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("a copy in a file"));
    }
    // Several, and one that is not there.
    let both = place.json(0, &["list", "x", &copy]);
    assert_eq!((&both[0]["copy"], &both[1]["copy"]), (&false.into(), &true.into()));
    assert_eq!(place.run(&["list", "x", "nope"]).status.code(), Some(2));
}

#[test]
fn a_damaged_file_is_listed_and_copied_as_it_is() {
    let place = Place::new();
    let _helper = Helper::start("packet", &place);
    let copy = copied(&place);
    let mut bytes = std::fs::read(&copy).unwrap();
    bytes[..8192].fill(0xee);
    std::fs::write(&copy, &bytes).unwrap();
    std::fs::write(place.file("cut"), &bytes[..50]).unwrap();
    for (name, length) in [(copy.as_str(), bytes.len()), ("cut", 50)] {
        let file = place.file(name);
        let target = file.to_str().unwrap();
        let again = place.file("again.raw");
        let said = place.json(1, &["dump", target, "--raw", again.to_str().unwrap()]);
        assert_keys(&said, "segment path bytes raw");
        assert_eq!(said["bytes"], length);
        assert!(std::fs::read(&again).unwrap() == bytes[..length]);
        std::fs::remove_file(&again).unwrap();
        let listed = place.json(1, &["list", target]);
        assert!(listed[0]["error"].is_string(), "{listed}");
        let finding = place.json(1, &["doctor", target]);
        let finding = finding.as_array().unwrap().last().unwrap().clone();
        assert_eq!((&finding["about"], &finding["severity"]), (&target.into(), &"problem".into()));
    }
}

#[test]
fn a_header_is_decoded_however_little_of_the_payload_is_shown() {
    let place = Place::new();
    let _helper = Helper::start("packet", &place);
    let header = "packet key \"tenant-7\" made ";
    let length = format!(", {PAYLOAD} bytes");
    for arguments in
        [&["dump", "x"][..], &["dump", "x", "--bytes", "0"], &["peek", "x", "--bytes", "9"]]
    {
        let table = place.text(0, arguments);
        assert!(table.contains(header) && table.contains(&length), "{table}");
    }
    let entry = &place.json(0, &["dump", "x", "--bytes", "3"])["entries"][0];
    assert_eq!(entry["packet"]["payload_length"], PAYLOAD);
    assert_eq!(entry["payload_hex"].as_str().unwrap().len(), 6);
    assert_eq!(entry["payload_complete"], false);
    let peeked = place.json(0, &["peek", "x", "--bytes", "3"]);
    assert_eq!((&peeked["decoded_as"], &peeked["text"]), (&"packet".into(), &"zzz".into()));
    assert_eq!(peeked["packet"]["payload_length"], PAYLOAD);
    assert_eq!(peeked["payload_complete"], false);
    let all = place.json(0, &["peek", "x"]);
    assert_eq!(all["payload_complete"], true);
    assert_eq!(all["text"].as_str().unwrap().len(), PAYLOAD);
}

#[test]
fn a_recording_for_which_there_is_no_room_ends_with_a_whole_packet() {
    let place = Place::new();
    let _helper = Helper::start("steady", &place);
    let tape = place.file("x.tape");
    let tape = tape.to_str().unwrap();
    let mut shell = Command::new("sh");
    // Room for 16 blocks of 512 bytes, and an error instead of a signal beyond.
    shell.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"]);
    shell.arg(env!("CARGO_BIN_EXE_shm-inspect")).arg("--dir").arg(place.path());
    let output = ends({
        shell.args(["record", "x", tape, "--json"]);
        shell
    });
    let said: Value = serde_json::from_str(&checked(1, &output)).unwrap();
    let problem = String::from_utf8(output.stderr).unwrap();
    assert!(problem.contains("x.tape: File too large"), "{problem}");
    let packets = said["packets"].as_u64().unwrap();
    assert!(packets > 0, "{said}");
    // Nothing is cut off in it.
    let _other = place.descriptor("y").queue().unwrap();
    let drained = std::thread::scope(|scope| {
        let got = scope.spawn(|| {
            let count = packets.to_string();
            place.command(&["get", "y", "--framing", "whole", "-n", &count]).output().unwrap()
        });
        let said = place.json(0, &["replay", tape, "y", "--rate", "max"]);
        assert_eq!(said["packets"], packets);
        got.join().unwrap()
    });
    assert_eq!(drained.stdout.len() as u64, packets * 900);
}
