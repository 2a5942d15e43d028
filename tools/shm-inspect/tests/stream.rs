//! The verbs that follow a ring, and those that put and get: with rings that other processes made.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};

use nix::sys::signal::Signal;
use ringway::queue::{Queue, RecordKind, Side, Wait};
use ringway::routing::Packet;
use serde_json::Value;
use support::*;

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    let descriptor = descriptor(&place, "x", Side::Multi, Side::Multi);
    let mut config = descriptor.config().unwrap().clone();
    if job == "busy" {
        config.capacity_packets = Some(1 << 14);
    }
    let queue = descriptor.with_config(config).unwrap().queue().unwrap();
    match job.as_str() {
        // Made, and kept alive.
        "idle" => ready_to_be_killed(),
        // Puts and gets for ever.
        "busy" => {
            announce();
            for number in 0_u64.. {
                queue.put(&number.to_le_bytes()).unwrap();
                queue.get().unwrap();
            }
        }
        other => panic!("unknown job {other}"),
    }
}

fn opened(place: &Place) -> Queue {
    place.descriptor("x").queue().unwrap()
}

/// Runs the program with this on its standard input.
fn fed(place: &Place, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = place
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// A program that goes on, killed when dropped, with the lines that it prints.
struct Running(Child, BufReader<std::process::ChildStdout>);

impl Running {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let mut child =
            place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self(child, lines)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    /// Waits for its end; returns the exit code, and the rest of both outputs.
    fn end(mut self) -> (Option<i32>, String, String) {
        let (mut out, mut err) = (String::new(), String::new());
        self.1.read_to_string(&mut out).unwrap();
        self.0.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.0.wait().unwrap().code(), out, err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_put_puts_get_gets() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    checked(0, &fed(&place, &["put", "x"], b"apple\npear\n\nlast"));
    assert_eq!(place.text(0, &["get", "x"]), "apple\n");
    assert_eq!(place.text(0, &["get", "x:queue", "--all"]), "pear\n\nlast\n");
    assert_eq!(place.text(0, &["get", "x", "--all"]), "");

    let binary = b"\x03\0\0\0a\nb\0\0\0\0\x01\0\0\0\xff";
    checked(0, &fed(&place, &["put", "x", "--framing", "prefixed"], binary));
    let got = place.run(&["get", "x", "--all", "--framing", "prefixed"]);
    assert_eq!(got.stdout, binary);
    checked(0, &fed(&place, &["put", "x", "--framing", "whole"], b"a\nb\n"));
    assert_eq!(place.text(0, &["get", "x", "--framing", "whole"]), "a\nb\n");
    let cut = fed(&place, &["put", "x", "--framing", "prefixed"], b"\x01\0\0\0a\x09\0\0\0b");
    checked(1, &cut);
    assert!(String::from_utf8(cut.stderr).unwrap().contains("after 1 packets: standard input"));
    assert_eq!(place.text(0, &["get", "x", "--all"]), "a\n");

    // In the wire form, as a router sends it.
    checked(0, &fed(&place, &["put", "x", "--packet", "--key", "tenant-7"], b"hello\n"));
    let peeked: Value = serde_json::from_str(&place.text(0, &["peek", "x", "--json"])).unwrap();
    assert_eq!(peeked["packet"]["key"], "\"tenant-7\"");
    let entry = &place.json(0, &["dump", "x"])["entries"][0];
    assert_eq!((&entry["kind"], &entry["packet"]["payload_length"]), (&1.into(), &5.into()));
    let table = place.text(0, &["dump", "x"]);
    assert!(table.contains("packet key \"tenant-7\" made ") && table.contains(", 5 bytes"));
    assert_eq!(place.text(0, &["get", "x"]), "hello\n");
}

#[test]
fn put_and_get_end_when_the_time_is_over_or_the_queue_closed() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    let eleven = "line\n".repeat(11);
    let full = fed(&place, &["put", "x", "--timeout", "0", "--json"], eleven.as_bytes());
    assert_eq!(serde_json::from_str::<Value>(&checked(1, &full)).unwrap()["packets"], 10);
    assert!(String::from_utf8(full.stderr).unwrap().contains("after 10 packets"));
    assert_eq!(place.text(0, &["get", "x", "--all"]), "line\n".repeat(10));
    let empty = place.run(&["get", "x", "--timeout", "0.01"]);
    checked(1, &empty);
    assert!(String::from_utf8(empty.stderr).unwrap().contains("after 0 packets"));

    opened(&place).put(b"before the close").unwrap();
    opened(&place).close().unwrap();
    checked(1, &fed(&place, &["put", "x"], b"too late\n"));
    assert_eq!(place.text(0, &["get", "x", "--follow"]), "before the close\n");
}

#[test]
fn what_must_not_be_changed_is_refused() {
    let place = Place::new();
    let mut helper = Helper::start("idle", &place);
    opened(&place).put(b"left").unwrap();
    let copy = place.file("copy.raw");
    let copy = copy.to_str().unwrap();
    place.text(0, &["dump", "x", "--raw", copy]);
    let refused = |arguments: &[&str], why: &str| {
        let output = fed(&place, arguments, b"");
        checked(2, &output);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(why), "{said}");
    };
    refused(&["put", copy], "a copy");
    refused(&["get", copy], "a copy");
    refused(&["put", "nope"], "no segment");
    refused(&["get", "x:nope"], "nope");
    helper.kill();
    let before = std::fs::read(place.file("x")).unwrap();
    wait_until("the kernel has freed its lock", || {
        place.json(0, &["show", "x"])["participants"][0]["alive"] == false
    });
    // Whoever joins last would take it along.
    refused(&["put", "x"], "nobody is alive");
    refused(&["get", "x", "--all"], "nobody is alive");
    assert!(std::fs::read(place.file("x")).unwrap() == before);
    assert_eq!(place.text(0, &["peek", "x", "--json"]).lines().count(), 1);
}

#[test]
fn a_packet_that_could_not_be_written_is_given_back() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    opened(&place).put(b"precious").unwrap();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = place.command(&["get", "x"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let again = opened(&place).get().unwrap();
    assert_eq!((&again.payload[..], again.redelivered), (&b"precious"[..], true));
}

#[test]
fn peek_shows_what_waits_in_every_form_and_takes_nothing() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    let queue = opened(&place);
    queue.put(b"taken").unwrap();
    let _lease = queue.lease().unwrap();
    queue.put(b"a text").unwrap();
    queue.put(br#"{"a": [1, 2]}"#).unwrap();
    queue.put(&[0xff, 0xfe]).unwrap();
    let packet = Packet::new("inside").with_key(7);
    let mut bytes = vec![0; packet.encoded_len()];
    packet.encode_into(&mut bytes).unwrap();
    queue.put_record(RecordKind::PACKET, &bytes, Wait::No).unwrap();

    let lines = |arguments: &[&str]| -> Vec<Value> {
        let text = place.text(0, &[&["peek", "x", "--json"], arguments].concat());
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = lines(&[]);
    let forms: Vec<_> = all.iter().map(|line| line["decoded_as"].as_str().unwrap()).collect();
    assert_eq!(forms, ["text", "json", "hex", "packet"]);
    assert_eq!((&all[0]["text"], &all[1]["json"]["a"][1]), (&"a text".into(), &2.into()));
    assert_eq!((&all[2]["hex"], &all[3]["packet"]["key"]), (&"fffe".into(), &"7".into()));
    assert_eq!(all[3]["text"], "inside");
    assert_keys(
        &all[0],
        "position kind length redeliveries age_seconds consistent payload_complete decoded_as \
         packet json text hex",
    );
    assert_keys(
        &all[3]["packet"],
        "what timestamp_ns input_index key strategy upstream sequence source message payload_length",
    );
    assert_eq!(lines(&["-n", "2"]).len(), 2);
    assert_eq!(lines(&["--as", "hex"])[1]["decoded_as"], "hex");
    let cut = &lines(&["--bytes", "3"])[0];
    assert_eq!((&cut["text"], &cut["payload_complete"]), (&"a t".into(), &false.into()));
    let table = place.text(0, &["peek", "x"]);
    for part in ["a text", r#"{"a":[1,2]}"#, "ff fe |..|", "packet key 7", "inside"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    assert!(!table.contains("taken"));
    assert_eq!((queue.qsize(), queue.in_flight()), (4, 1), "nothing was taken");
    assert_eq!(queue.get().unwrap().payload, b"a text");
}

#[test]
fn peek_follows_until_the_ring_is_closed() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    let queue = opened(&place);
    queue.put(b"first").unwrap();
    let mut peek = Running::start(&place, &["peek", "x", "--follow"]);
    assert!(peek.line().contains("PAYLOAD"));
    assert!(peek.line().trim_end().ends_with("first"));
    // Taken at once, and seen all the same, or counted.
    queue.put(b"second").unwrap();
    assert!(peek.line().trim_end().ends_with("text 6: second"));
    assert_eq!(queue.get().unwrap().payload, b"first");
    assert_eq!(queue.get().unwrap().payload, b"second");
    queue.close().unwrap();
    assert_eq!(peek.end(), (Some(0), String::new(), String::new()));
}

#[test]
fn a_recording_can_be_put_into_another_ring() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    let queue = opened(&place);
    queue.put(b"before").unwrap();
    let tape = place.file("x.tape");
    let tape = tape.to_str().unwrap();
    let record = Running::start(&place, &["record", "x", tape, "--waiting", "-n", "3", "--json"]);
    queue.put(&[7; 1000]).unwrap();
    queue.put_record(RecordKind::STOP, b"not really", Wait::No).unwrap();
    let (code, said, _) = record.end();
    assert_eq!(code, Some(0));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["packets"], &said["missed"]), (&3.into(), &0.into()));
    assert_eq!(place.run(&["record", "x", tape]).status.code(), Some(2), "never overwrites");
    assert_eq!(queue.qsize(), 3, "nothing was taken");

    let other = place.descriptor("y").queue().unwrap();
    let said = place.json(0, &["replay", tape, "y", "--rate", "max"]);
    assert_eq!((&said["packets"], &said["recorded"]), (&3.into(), &"x".into()));
    let got = other.get_many(10).unwrap();
    let payloads: Vec<_> = got.iter().map(|one| &one.payload[..]).collect();
    assert_eq!(payloads, [&b"before"[..], &[7; 1000], b"not really"]);
    assert_eq!(got[2].kind, RecordKind::STOP);

    // Cut off in the middle of the last packet: the others are put, and the exit code says so.
    let bytes = std::fs::read(tape).unwrap();
    std::fs::write(tape, &bytes[..bytes.len() - 3]).unwrap();
    assert_eq!(place.json(1, &["replay", tape, "y", "--rate", "max"])["packets"], 2);
    std::fs::write(tape, b"something else").unwrap();
    assert_eq!(place.run(&["replay", tape, "y"]).status.code(), Some(2));
}

#[test]
fn a_replay_at_the_original_rate_is_not_faster_than_the_recording() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    let mut tape = b"RWTAPE\0\x01".to_vec();
    tape.extend(0_u64.to_le_bytes());
    tape.extend(1_u32.to_le_bytes());
    tape.extend(b"x");
    for at_ms in [5_000_u64, 5_150] {
        tape.push(1);
        tape.extend((at_ms * 1_000_000).to_le_bytes());
        tape.push(0);
        tape.extend(2_u32.to_le_bytes());
        tape.extend(b"hi");
    }
    std::fs::write(place.file("made.tape"), tape).unwrap();
    let tape = place.file("made.tape");
    place.json(0, &["replay", tape.to_str().unwrap(), "x"]);
    let put: Vec<_> = opened(&place).get_many(10).unwrap();
    let at: Vec<_> = put.iter().map(|one| one.timestamp_ns.unwrap()).collect();
    assert!(at[1] - at[0] >= 140_000_000, "{at:?}: a sleep never ends early");
}

#[test]
fn record_ends_on_a_signal_with_everything_in_the_file() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        record_until(signal);
    }
}

fn record_until(signal: Signal) {
    let place = Place::new();
    let _helper = Helper::start("busy", &place);
    let tape = place.file("busy.tape");
    let tape = tape.to_str().unwrap();
    let record = Running::start(&place, &["record", "x", tape, "--json"]);
    wait_until("something is recorded", || {
        std::fs::metadata(tape).is_ok_and(|stat| stat.len() > 10_000)
    });
    record.signal(signal);
    let (code, said, _) = record.end();
    let said: Value = serde_json::from_str(&said).unwrap();
    let (packets, missed) = (said["packets"].as_u64().unwrap(), said["missed"].as_u64().unwrap());
    assert_eq!(code, Some(i32::from(missed != 0)), "what was missed is a finding");
    // Numbers in order, with gaps of exactly what was missed.
    let bytes = std::fs::read(tape).unwrap();
    let mut rest = &bytes[8 + 8 + 4 + 1..];
    let (mut seen, mut skipped, mut next) = (0, 0, None);
    while let Some((&tag, more)) = rest.split_first() {
        if tag == 1 {
            let number = u64::from_le_bytes(more[13..21].try_into().unwrap());
            assert!(next.is_none_or(|next| number == next), "{number} is not {next:?}");
            (next, seen, rest) = (Some(number + 1), seen + 1, &more[21..]);
        } else {
            let count = u64::from_le_bytes(more[..8].try_into().unwrap());
            (next, skipped, rest) = (next.map(|next| next + count), skipped + count, &more[8..]);
        }
    }
    assert_eq!((seen, skipped), (packets, missed));
}

#[test]
fn hz_measures_what_passes() {
    let place = Place::new();
    let _helper = Helper::start("busy", &place);
    let mut lines: Vec<Value> = Vec::new();
    // On a busy machine nothing may pass for a while.
    wait_until("packets pass in both intervals", || {
        let text = place.text(0, &["hz", "x", "-n", "2", "--interval", "0.2", "--json"]);
        lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        lines.iter().all(|line| line["gap_ns"].is_object())
    });
    for line in &lines {
        assert_keys(
            line,
            "seconds packets missed packets_per_second bytes bytes_per_second gap_of gap_ns",
        );
        let number = |name: &str| line[name].as_f64().unwrap();
        assert!(number("packets") > 0.0, "{line}");
        assert_eq!(number("bytes"), 8.0 * (number("packets") - number("missed")), "{line}");
        let rate = number("packets") / number("seconds");
        assert!((number("packets_per_second") - rate).abs() <= rate / 1e6);
        let gaps = ["min", "p50", "p90", "p99", "max"].map(|name| line["gap_ns"][name].as_u64());
        assert!(gaps.is_sorted() && gaps[0].is_some(), "{line}");
        assert_eq!(line["gap_of"], "puts");
    }
    wait_until("the same is said in words", || {
        let text = place.text(0, &["hz", "x", "-n", "1", "--interval", "0.05"]);
        assert!(text.contains("packets/s"), "{text}");
        text.contains("p99")
    });
    assert_eq!(place.run(&["hz", "x", "--interval", "0"]).status.code(), Some(2));
}

#[test]
fn top_lists_the_longest_wait_first() {
    let place = Place::new();
    let _helper = Helper::start("idle", &place);
    let other = place.descriptor("y").queue().unwrap();
    other.put(b"older").unwrap();
    let _empty = place.descriptor("a").queue().unwrap();
    opened(&place).put(b"younger").unwrap();
    opened(&place).put(b"another").unwrap();
    let top = place.json(0, &["top", "--interval", "0.01"]);
    let rings: Vec<_> =
        top.as_array().unwrap().iter().map(|ring| ring["ring"].as_str().unwrap()).collect();
    assert_eq!(rings, ["y:queue", "x:queue", "a:queue"]);
    assert_keys(
        &top[0],
        "ring oldest_waiting_seconds qsize in_flight occupancy puts_per_second gets_per_second \
         blocked consistent",
    );
    assert!(top[0]["oldest_waiting_seconds"].as_f64() > top[1]["oldest_waiting_seconds"].as_f64());
    assert_eq!(top[0]["puts_per_second"], 0.0);
    assert!(top[2]["oldest_waiting_seconds"].is_null());
    assert_eq!(place.json(0, &["top", "-n", "1", "--interval", "0"]).as_array().unwrap().len(), 1);
    assert!(place.text(0, &["top", "--interval", "0"]).contains("OLDEST"));
}

#[test]
fn the_ring_must_be_named_where_there_are_several() {
    let place = Place::new();
    let descriptor = place.descriptor("x");
    let config = ringway::QueueConfig {
        dead_letter: Some("dead".into()),
        max_deliveries: 3,
        ..ringway::QueueConfig::default()
    };
    let _queue = descriptor.with_config(config).unwrap().queue().unwrap();
    let output = place.run(&["peek", "x"]);
    checked(2, &output);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("which ring of x? It has queue, dead"), "{said}");
    checked(0, &place.run(&["peek", "x:dead"]));
}
