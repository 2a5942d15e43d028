//! Runs the program as its users do: shapes of the JSON, errors, and what is left behind.
//!
//! Nothing here looks at how fast anything was.

mod support;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{
    FLOOR, SETTING, alone, assert_empty, assert_fields, assert_one_way, bench, endless, error,
    eventually, is_gone, json, peer_of, run,
};

#[test]
fn packet_and_service_report_what_the_readme_says() {
    let _alone = alone();
    let report = json("packet --rounds 2000 --json");
    let fields = "verb payload_bytes rounds one_way_ns ring_one_way_ns ratio_to_floor \
                  ratio_to_ring ratio_p50_to_ring_p50";
    assert_fields(&report, &[fields, FLOOR, SETTING]);
    assert_one_way(&report["one_way_ns"]);
    assert_one_way(&report["ring_one_way_ns"]);
    assert_eq!((&report["verb"], &report["payload_bytes"]), (&"packet".into(), &32.into()));

    let report = json("service --rounds 2000 --json");
    let fields = "verb payload_bytes rounds round_trip_ns ring_round_trip_ns ratio_to_floor \
                  ratio_to_ring ratio_p50_to_ring_p50";
    assert_fields(&report, &[fields, FLOOR, SETTING]);
    assert_one_way(&report["round_trip_ns"]);
    assert_one_way(&report["ring_round_trip_ns"]);
    assert_eq!((&report["verb"], &report["rounds"]), (&"service".into(), &2000.into()));
}

#[test]
fn latency_reports_what_the_readme_says() {
    let _alone = alone();
    for extra in [
        "bare",
        "bare --in-place --payload 4KiB --mode mpmc --capacity 64",
        "bare --payload 0",
        "line",
        "line --payload 13 --capacity 8",
        "line --mode mpmc",
        "line --payload 0",
    ] {
        let report = json(&format!("latency --rounds 3000 --json --transport {extra}"));
        let own = "verb transport mode in_place payload_bytes capacity rounds one_way_ns \
                   ratio_to_floor ratio_p50_to_floor_p50";
        let own: Vec<&str> = own.split_whitespace().collect();
        assert_fields(&report, &[own.as_slice(), &[FLOOR, SETTING]].concat());
        assert_one_way(&report["one_way_ns"]);
        assert_eq!(report["rounds"], 3000);
    }
}

#[test]
fn throughput_reports_what_the_readme_says() {
    let _alone = alone();
    for extra in ["", " --batch 7", " --in-place --payload 100 --capacity 8", " --payload 1MiB"] {
        let report = json(&format!("throughput --transport bare --packets 500 --json{extra}"));
        let own = "verb transport mode in_place payload_bytes capacity data_bytes packets batch \
                   packets_per_s bytes_per_s copy_packets_per_s copy_bytes_per_s copy_step \
                   copy_before_bytes_per_s copy_after_bytes_per_s ratio_to_copy ratio_to_floor";
        let own: Vec<&str> = own.split_whitespace().collect();
        assert_fields(&report, &[own.as_slice(), &[FLOOR, SETTING]].concat());
        assert!(report["packets_per_s"].as_f64().expect("a number") > 0.0, "{report}");
    }
}

#[test]
fn floor_and_copy_report_what_the_readme_says() {
    let _alone = alone();
    let report = json("floor --rounds 1000 --json");
    assert_fields(&report, &["verb rounds one_way_ns", FLOOR, SETTING]);
    assert_one_way(&report["one_way_ns"]);

    let report = json("copy --packets 1001 --payload 48 --json");
    let own = "verb in_place payload_bytes capacity data_bytes packets batch copy_packets_per_s \
               copy_bytes_per_s copy_step copy_before_bytes_per_s copy_after_bytes_per_s ratio_to_floor";
    let own: Vec<&str> = own.split_whitespace().collect();
    assert_fields(&report, &[own.as_slice(), &[FLOOR, SETTING]].concat());
}

#[test]
fn tables_have_the_same_fields() {
    let _alone = alone();
    let output = run("floor --rounds 1000");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    for field in ["floor_ns", "one_way_ns.p99", "cpus"] {
        assert!(text.lines().any(|line| line.trim_start().starts_with(field)), "{text}");
    }
}

#[test]
fn errors_say_what_can_be_done() {
    let one = error("latency --transport bare --cpus 0");
    assert!(one.contains("two CPUs") && one.contains("--cpus 0,1"), "{one}");
    let same = error("copy --cpus 0,0");
    assert!(same.contains("one CPU only"), "{same}");
    let absent = error("floor --cpus 0,1023");
    assert!(absent.contains("CPU 1023 is not among"), "{absent}");
    let large = error("throughput --payload 1MiB --data-bytes 64KiB");
    assert!(large.contains("the longest is 16384"), "{large}");
    let modes = error("throughput --producers 2 --mode spsc");
    assert!(modes.contains("--producers"), "{modes}");
    let number = error("throughput --producers 2 --payload 7");
    assert!(number.contains("--payload 8"), "{number}");
    let bare = error("throughput --consumers 2 --transport bare");
    assert!(bare.contains("bare"), "{bare}");
    for (extra, named) in
        [("--payload 57", "56 bytes"), ("--in-place", "--in-place"), ("--rate 10", "--rate")]
    {
        let line = error(&format!("latency --transport line {extra}"));
        assert!(line.contains(named), "{line}");
    }
    let stream = error("throughput --transport line");
    assert!(stream.contains("latency"), "{stream}");
    let many = error("latency --rate 10 --rounds 100000000000");
    assert!(many.contains("67108864"), "{many}");
    let stranger = error("peer --job {}");
    assert!(stranger.contains("own use"), "{stranger}");
}

#[test]
fn help_has_examples_and_hides_the_peer() {
    let help = String::from_utf8(run("--help").stdout).expect("UTF-8");
    assert!(help.contains("Examples:") && !help.contains("peer  "), "{help}");
    let script = String::from_utf8(run("completions bash").stdout).expect("UTF-8");
    assert!(script.contains("throughput"), "the verbs are completed");
}

#[test]
fn interrupting_the_starter_leaves_no_peer() {
    let _alone = alone();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let starter = endless();
        let peer = peer_of(&starter);
        kill(Pid::from_raw(starter.id().cast_signed()), signal).expect("it runs");
        let output = starter.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(128 + signal as i32));
        // The starter reaps its peer before it ends.
        assert!(is_gone(peer));
    }
}

#[test]
fn killing_the_starter_kills_the_peer() {
    let _alone = alone();
    let mut starter = endless();
    let peer = peer_of(&starter);
    starter.kill().expect("it runs");
    starter.wait().expect("it ends");
    eventually("the peer to die", || is_gone(peer).then_some(()));
}

#[test]
fn starter_ends_with_an_error_when_its_peer_is_killed() {
    let _alone = alone();
    let starter = endless();
    let peer = peer_of(&starter);
    kill(peer, Signal::SIGKILL).expect("it runs");
    let output = starter.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("killed by SIGKILL"), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn nothing_is_left_in_the_ringway_directory() {
    let _alone = alone();
    let directory = tempfile::tempdir().expect("a directory");
    let output = bench("latency --rounds 100 --json")
        .env("RINGWAY_DIR", directory.path())
        .output()
        .expect("the program starts");
    // Whether or not this build has a ring.
    assert!(matches!(output.status.code(), Some(0 | 2)), "{output:?}");
    assert_empty(directory.path());
}
