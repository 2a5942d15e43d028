//! The verbs as their users call them: shapes of the JSON, copies, errors and exit codes.

mod support;

use std::io::Read;
use std::process::Stdio;

use ringway::queue::{Geometry, Side};
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::segment::{RingConfig, Segment, SegmentConfig};
use support::*;

const SEGMENT: &str = "segment path bytes lifetime state copy uuid created_unix_ns age_seconds \
    creator_pid creator_uid group max_participants joined_total recovered_total rings participants";
const PARTICIPANT: &str = "id pid name alive stopped joined_unix_ns age_seconds";
const RATES: &str = "puts_per_second gets_per_second bytes_put_per_second bytes_got_per_second";
const DAMAGE: &str = "damage error fields value expected first_bytes_hex";
const RING: &str = "name mode maxsize qsize in_flight occupancy closed state exhausted consistent \
    counters rates oldest_waiting_seconds entries used_units unit_bytes data_bytes max_payload inline_bytes timestamps \
    max_deliveries dead_letter schema_tag positions waiters producer consumer blocked_by holds \
    holds_total faults";
const COUNTERS: &str = "puts gets bytes_put bytes_got full_waits empty_waits refused redelivered \
    skipped dead_lettered dead_letters_kept high_water put_blocked_ns get_blocked_ns";
const HOLD: &str = "kind id pid alive position n age_seconds at_most_seconds";
const ENTRY: &str = "ring position index lap state owner pid n length flags kind redeliveries \
    inline put_at_ns payload_hex payload_text payload_complete packet stamp claim take consistent \
    fault";

const VERBS: [&str; 16] = [
    "list",
    "show",
    "dump",
    "peek",
    "watch",
    "hz",
    "top",
    "record",
    "replay",
    "put",
    "get",
    "clean",
    "doctor",
    "metrics",
    "man",
    "completions",
];

fn small() -> Geometry {
    Geometry {
        log2_entries: 3,
        unit_bytes: 512,
        maxsize: 0,
        producers: Side::Multi,
        consumers: Side::Single,
        timestamps: false,
        max_deliveries: 0,
    }
}

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    assert_eq!(job, "many");
    let directory = Directory::open(&place, None).unwrap();
    let mut config = SegmentConfig::new("many".parse().unwrap(), Lifetime::Job);
    config.rings = (0..1000).map(|ring| RingConfig::new(format!("r{ring}"), small())).collect();
    let _segment = Segment::create(&directory, &config).unwrap();
    ready_to_be_killed();
}

#[test]
fn the_json_has_the_documented_shape() {
    let place = Place::new();
    let queue = place.descriptor("team/x").queue().unwrap();
    queue.put(b"hello").unwrap();
    queue.put(b"world").unwrap();
    let _lease = queue.lease().unwrap();

    let shown = place.json(0, &["show", "team/x"]);
    assert_keys(&shown, &format!("{SEGMENT} memory_map"));
    assert_eq!(shown["segment"], "team/x");
    assert_eq!(shown["path"], place.file("team/x").to_str().unwrap());
    let bytes = std::fs::metadata(place.file("team/x")).unwrap().len();
    assert_eq!(shown["bytes"], bytes);
    assert_eq!(shown["lifetime"], "ephemeral");
    let ring = &shown["rings"][0];
    assert_keys(ring, RING);
    assert_keys(&ring["counters"], COUNTERS);
    assert_keys(&ring["positions"], "first frontier head peek tail intent");
    assert_keys(&ring["waiters"], "get put");
    assert_keys(&ring["holds"][0], HOLD);
    assert_keys(&ring["blocked_by"][0], HOLD);
    assert_eq!((&ring["name"], &ring["mode"]), (&"queue".into(), &"mpmc".into()));
    assert_eq!((&ring["maxsize"], &ring["qsize"]), (&10.into(), &1.into()));
    assert_eq!((&ring["in_flight"], &ring["closed"]), (&1.into(), &false.into()));
    assert_eq!(ring["occupancy"].as_f64(), Some(queue.occupancy()));
    assert_eq!(ring["counters"]["puts"], 2);
    assert_eq!(ring["counters"]["bytes_put"], 10);
    let participant = &shown["participants"][0];
    assert_keys(participant, PARTICIPANT);
    assert_keys(&ring["rates"], RATES);
    assert_eq!(participant["pid"], std::process::id());
    assert_eq!(participant["alive"], true);

    // The map covers every byte, in order.
    let mut end = 0;
    for part in shown["memory_map"].as_array().unwrap() {
        assert_keys(part, "what ring offset bytes");
        assert_eq!(part["offset"], end);
        end += part["bytes"].as_u64().unwrap();
    }
    assert_eq!(end, bytes);

    let listed = place.json(0, &["list"]);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_keys(&listed[0], SEGMENT);
    assert_keys(&listed[0]["rings"][0], RING);
    assert_eq!(listed[0]["segment"], "team/x");

    let dumped = place.json(0, &["dump", "team/x"]);
    assert_keys(&dumped, "segment path bytes rings entries");
    assert_eq!(dumped["rings"], serde_json::json!(["queue"]));
    let entry = &dumped["entries"][0];
    assert_keys(entry, ENTRY);
    assert_eq!((&entry["state"], &entry["length"]), (&"reading".into(), &5.into()));
    assert_eq!(entry["payload_hex"], "68656c6c6f");
    assert_eq!(entry["payload_text"], "hello");
    assert_eq!(dumped["entries"][1]["state"], "ready");
    // The take word of the first says who has it; that of the second is as it was.
    let take = |index: usize| dumped["entries"][index]["take"].as_str().unwrap();
    assert_ne!(take(0), "0000000000000000");
    assert_eq!(take(1), "0000000000000000");
    assert_eq!(dumped["entries"].as_array().unwrap().len(), 2);
    let all = place.json(0, &["dump", "team/x", "--all", "--bytes", "2"]);
    assert_eq!(all["entries"].as_array().unwrap().len(), 16);
    assert_eq!(all["entries"][0]["payload_hex"], "6865");
    assert_eq!(all["entries"][0]["payload_complete"], false);
}

#[test]
fn every_field_and_state_is_documented() {
    let text = include_str!("../../../docs/inspect.md");
    let states = "writing writing-run ready reading reading-run returned released skipped sealed \
        interior reclaimed never unexplained";
    let lists = [SEGMENT, RING, COUNTERS, HOLD, ENTRY, PARTICIPANT, RATES, DAMAGE, states];
    for list in lists.into_iter().chain(["memory_map error raw"]) {
        for field in list.split_whitespace() {
            assert!(text.contains(&format!("`{field}`")), "{field} is not in docs/inspect.md");
        }
    }
}

#[test]
fn tables_show_the_same() {
    let place = Place::new();
    let queue = place.descriptor("x").queue().unwrap();
    queue.put(b"hello\x00\x1b[31m").unwrap();
    queue.put(&[b'a'; 100]).unwrap();
    let text = place.text(0, &["dump", "x"]);
    assert!(text.contains("68 65 6c 6c 6f 00 1b 5b 33 31 6d |hello..[31m|"), "{text}");
    assert!(text.contains("... 36 more"), "{text}");
    assert!(text.lines().all(|line| line == line.trim_end()));
    let text = place.text(0, &["show", "x"]);
    for part in ["PARTICIPANTS", "RINGS", "COUNTERS", "MEMORY", "mpmc", "queue: entries, 16 x 64"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains('\x1b'), "no colour outside a terminal");
    assert!(place.text(0, &["list"]).contains("ephemeral"));
    assert_eq!(place.text(0, &["show", "x", "-q"]), "");
}

#[test]
fn a_raw_copy_is_accepted_wherever_a_segment_is() {
    let place = Place::new();
    let queue = place.descriptor("x").queue().unwrap();
    queue.put(b"kept").unwrap();
    let copy = place.file("elsewhere.raw");
    let copy = copy.to_str().unwrap();
    let said = place.json(0, &["dump", "x", "--raw", copy]);
    assert_keys(&said, "segment path bytes raw");
    assert!(std::fs::read(copy).unwrap() == std::fs::read(place.file("x")).unwrap());
    let again = place.run(&["dump", "x", "--raw", copy]);
    assert_eq!(again.status.code(), Some(2), "never overwrites a file");

    let live = place.json(0, &["show", "x"]);
    queue.destroy().unwrap();
    assert_eq!(place.run(&["show", "x"]).status.code(), Some(2));
    for target in [copy.to_owned(), format!("{copy}:queue")] {
        let shown = place.json(0, &["show", &target]);
        assert_eq!(shown["segment"], serde_json::Value::Null);
        assert_eq!((&shown["copy"], &shown["uuid"]), (&true.into(), &live["uuid"]));
        // Its clock stands still, so it says nothing about time.
        let mut ring = live["rings"][0].clone();
        assert!(ring["rates"].is_object() && ring["oldest_waiting_seconds"].is_number());
        (ring["rates"], ring["oldest_waiting_seconds"]) = Default::default();
        assert_eq!(shown["rings"][0], ring);
        assert!(shown["participants"][0]["alive"].is_null());
        let dumped = place.json(0, &["dump", &target]);
        assert_eq!(dumped["entries"][0]["payload_text"], "kept");
    }
    place.text(0, &["show", copy]);
    place.text(0, &["dump", copy]);
    let missing = place.run(&["show", &format!("{copy}:nope")]);
    assert_eq!(missing.status.code(), Some(2));
}

#[test]
fn what_is_not_there_is_exit_code_2_and_says_what_is() {
    let place = Place::new();
    let stderr = |arguments: &[&str]| {
        let output = place.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(output.stdout, b"");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(stderr(&["show", "nope"]).contains("it has none"));
    let _x = place.descriptor("team/x:words").queue().unwrap();
    let _y = place.descriptor("y").queue().unwrap();
    let said = stderr(&["show", "nope"]);
    assert!(said.contains("no segment \"nope\"") && said.contains("team/x, y"), "{said}");
    let said = stderr(&["dump", "team/x:nope"]);
    assert!(said.contains("\"nope\"") && said.contains("\"words\""), "{said}");
    assert!(stderr(&["show", "./nope.raw"]).contains("nope.raw"));
    assert!(stderr(&["show", "a b"]).contains("A-Za-z0-9"));
    stderr(&["shwo"]);
    stderr(&["show"]);
    let nowhere = place.file("nowhere");
    let output = program().args(["list", "--dir"]).arg(&nowhere).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no directory"));
    let output = program().arg("list").env("RINGWAY_DIR", &nowhere).output().unwrap();
    assert_eq!(checked(0, &output), "");
    assert!(!nowhere.exists(), "looking makes no directory");
}

#[test]
fn garbage_says_what_is_wrong_and_at_which_byte() {
    let place = Place::new();
    let queue = place.descriptor("x").queue().unwrap();
    queue.put(b"left").unwrap();
    let good = std::fs::read(place.file("x")).unwrap();
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(place.file(name), bytes).unwrap();
        std::fs::set_permissions(place.file(name), mode.clone()).unwrap();
    };
    write("empty", b"");
    write("noise", &[0xa5; 9000]);
    write("cut", &good[..good.len() - 1]);
    let mut flipped = good.clone();
    flipped[4096] ^= 1;
    write("flipped", &flipped);
    for (name, what, byte) in [
        ("empty", "truncated", "byte 0"),
        ("noise", "not a Ringway segment", "byte 0"),
        ("cut", "truncated", "byte 32"),
        ("flipped", "checksum", "byte 24"),
    ] {
        let path = place.file(name).to_str().unwrap().to_owned();
        for target in [name, &path] {
            let output = place.run(&["show", target]);
            let said = checked(1, &output);
            assert!(said.contains(what) && said.contains(byte) && said.contains(&path), "{said}");
            let json = place.json(1, &["show", target]);
            assert!(json["damage"]["error"].as_str().unwrap().contains(what), "{json}");
            assert!(place.text(1, &["dump", target]).contains("FIRST BYTES"));
        }
    }
    // Of the flipped one everything else is shown: the rings, and what is in them.
    let text = place.text(1, &["show", "flipped"]);
    for part in ["checksum", "WHAT IS LEFT", "PARTICIPANTS", "RINGS"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let left = place.json(1, &["show", "flipped"]);
    assert_eq!(left["damage"]["fields"][4]["name"], "checksum");
    assert!(left["damage"]["fields"][4]["expected"].is_u64());
    assert_eq!(left["rings"][0]["qsize"], 1);
    let dumped = place.run(&["dump", "flipped", "--json"]);
    let entries: serde_json::Value = serde_json::from_str(&checked(1, &dumped)).unwrap();
    assert_eq!(entries["entries"][0]["payload_text"], "left");
    assert_eq!(place.run(&["peek", "flipped"]).status.code(), Some(2));

    let listed = place.json(1, &["list"]);
    assert_eq!(listed.as_array().unwrap().len(), 5);
    assert!(listed[0]["error"].as_str().unwrap().contains("truncated"));
    assert!(place.text(1, &["list"]).contains("unreadable"));

    // A segment whose rings hold garbage opens, and is a finding.
    let mut damaged = good.clone();
    let rings = u64::from_le_bytes(good[64..72].try_into().unwrap()) as usize;
    damaged[rings..].fill(0xff);
    let path = place.file("damaged");
    std::fs::write(&path, &damaged).unwrap();
    let path = path.to_str().unwrap();
    let shown = place.json(1, &["show", path]);
    assert_ne!(shown["rings"][0]["faults"].as_array().unwrap().len(), 0);
    assert!(place.text(1, &["show", path]).contains("FAULTS"));
    let dumped = place.run(&["dump", path, "--all"]);
    assert!(matches!(dumped.status.code(), Some(0 | 1)));
    drop(queue);
}

#[test]
fn a_thousand_rings_are_no_problem() {
    let place = Place::new();
    let _helper = Helper::start("many", &place);
    assert_eq!(place.json(0, &["list"])[0]["rings"].as_array().unwrap().len(), 1000);
    let table = place.text(0, &["list"]);
    assert!(table.lines().nth(1).unwrap().contains(" 1000 "), "{table}");
    let shown = place.json(0, &["show", "many"]);
    assert_eq!(shown["rings"].as_array().unwrap().len(), 1000);
    assert_eq!(shown["rings"][999]["name"], "r999");
    assert_eq!(shown["rings"][999]["mode"], "mpsc");
    assert_eq!(shown["lifetime"], "job");
    assert!(place.text(0, &["show", "many"]).contains("r999: data, 8 x 512"));
    let one = place.json(0, &["show", "many:r7"]);
    assert_eq!(one["rings"].as_array().unwrap().len(), 1);
    assert_eq!(one["rings"][0]["name"], "r7");
    assert_eq!(place.json(0, &["dump", "many"])["rings"].as_array().unwrap().len(), 1000);
    let stderr = place.run(&["show", "many:nope"]).stderr;
    assert!(String::from_utf8(stderr).unwrap().contains("\"r0\""));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::new();
    let directory = Directory::open(place.path(), None).unwrap();
    let mut config = SegmentConfig::new("many".parse().unwrap(), Lifetime::Job);
    config.rings = (0..300).map(|ring| RingConfig::new(format!("r{ring}"), small())).collect();
    let _segment = Segment::create(&directory, &config).unwrap();
    for arguments in
        [&["show", "many"][..], &["show", "many", "--json"], &["dump", "many", "--all"]]
    {
        let mut child =
            place.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn the_directory_comes_from_the_option_then_from_the_environment() {
    let (one, other) = (Place::new(), Place::new());
    let _one = one.descriptor("one").queue().unwrap();
    let _other = other.descriptor("other").queue().unwrap();
    let mut by_environment = program();
    by_environment.args(["show", "one"]).env("RINGWAY_DIR", one.path());
    checked(0, &by_environment.output().unwrap());
    let mut both = other.command(&["show", "other"]);
    checked(0, &both.env("RINGWAY_DIR", one.path()).output().unwrap());
}

#[test]
fn the_manual_has_a_page_for_the_program_and_each_verb() {
    let page = checked(0, &program().arg("man").output().unwrap());
    assert!(page.contains(".TH shm-inspect 1") && page.contains("Exit codes"), "{page}");
    let place = Place::new();
    checked(0, &program().arg("man").arg(place.path()).output().unwrap());
    for verb in VERBS {
        let page = std::fs::read_to_string(place.file(&format!("shm-inspect-{verb}.1"))).unwrap();
        assert!(page.contains("Example"), "{verb}: {page}");
    }
    assert!(place.file("shm-inspect.1").exists());
    let nowhere = program().arg("man").arg(place.file("nowhere")).output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2));
}

#[test]
fn help_and_completions_are_there() {
    for shell in ["bash", "zsh", "fish"] {
        let script = checked(0, &program().args(["completions", shell]).output().unwrap());
        assert!(script.contains("shm-inspect") && script.contains("dump"));
    }
    let help = checked(0, &program().arg("--help").output().unwrap());
    assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    for verb in VERBS {
        let short = help.lines().find(|line| line.trim_start().starts_with(&format!("{verb} ")));
        let short = short.unwrap_or_else(|| panic!("{verb} is not in the help"));
        let help = checked(0, &program().args([verb, "--help"]).output().unwrap());
        assert!(help.contains("Example"), "{verb}");
        // What changes something says so, and only that.
        let changes = ["put", "get", "replay", "clean"].contains(&verb);
        let says =
            |text: &str| text.contains("(changes the ring)") || text.contains("(deletes files)");
        assert_eq!(says(short), changes, "{verb}: {short}");
        assert_eq!(help.contains("This changes") || help.contains("This deletes"), changes);
    }
}
