//! Runs the workloads of many processes, of sleepers and of scale, and the report about them all.
//!
//! Nothing here looks at how fast anything was.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use support::{
    FLOOR, Place, SETTING, alone, assert_fields, assert_one_way, bench, eventually, run,
};

#[test]
fn open_loop_reports_what_the_readme_says() {
    let _alone = alone();
    let place = Place::new();
    for transport in ["bare", "ring"] {
        let line = "latency --rate 20000 --rounds 2000 --transport";
        let report = place.json(&format!("{line} {transport}"));
        let own = "verb transport mode in_place payload_bytes capacity rounds rate_per_s \
                   achieved_per_s round_trip_ns ratio_to_floor ratio_p50_to_floor_p50";
        let own: Vec<&str> = own.split_whitespace().collect();
        assert_fields(&report, &[own.as_slice(), &[FLOOR, SETTING]].concat());
        assert_one_way(&report["round_trip_ns"]);
        // Packets never leave before their time.
        assert!(report["achieved_per_s"].as_f64().expect("a number") <= 20_020.0, "{report}");
    }
}

#[test]
fn open_loop_survives_a_rate_that_nothing_keeps() {
    let _alone = alone();
    let report = Place::new().json("latency --rate 1000000000 --rounds 3000 --capacity 8");
    assert_one_way(&report["round_trip_ns"]);
}

#[test]
fn throughput_of_many_processes_reports_what_the_readme_says() {
    let _alone = alone();
    let place = Place::new();
    for (ends, mode) in [
        ("--producers 2 --consumers 2", "mpmc"),
        ("--producers 3 --batch 7", "mpsc"),
        ("--consumers 2 --payload 100 --in-place", "spmc"),
        ("--producers 2 --mode mpmc --payload 8", "mpmc"),
    ] {
        let report = place.json(&format!("throughput --packets 2001 {ends}"));
        let own = "verb transport mode in_place producers consumers payload_bytes capacity \
                   data_bytes packets batch packets_per_s bytes_per_s ratio_to_floor";
        let own: Vec<&str> = own.split_whitespace().collect();
        assert_fields(&report, &[own.as_slice(), &[FLOOR, SETTING]].concat());
        assert_eq!(report["mode"], mode);
        assert!(report["packets_per_s"].as_f64().expect("a number") > 0.0, "{report}");
    }
}

#[test]
fn wakeup_reports_what_the_readme_says() {
    let _alone = alone();
    let report = Place::new().json("wakeup --rounds 20 --pause 300");
    let own = "verb mode payload_bytes capacity rounds pause_us floor_us ratio_to_floor idle awake";
    assert_fields(&report, &[own, "cpus"]);
    for setting in ["idle", "awake"] {
        let own = "floor_us futex_us wakeup_us ratio_to_floor ratio_of_means slept futex_slept";
        assert_fields(&report[setting], &[own]);
        assert_one_way(&report[setting]["futex_us"]);
        assert_one_way(&report[setting]["wakeup_us"]);
    }
    assert_eq!(report["floor_us"], report["idle"]["floor_us"]);
}

#[test]
fn oversubscribed_reports_what_the_readme_says() {
    let _alone = alone();
    let report = Place::new().json("oversubscribed --packets 1000 --processes 2,5");
    let own = "verb payload_bytes capacity packets batch cases ratio_to_floor";
    assert_fields(&report, &[own, FLOOR, SETTING]);
    let cases = report["cases"].as_array().expect("cases");
    let ends: Vec<_> = cases.iter().map(|case| (&case["producers"], &case["consumers"])).collect();
    assert_eq!(format!("{ends:?}"), "[(Number(1), Number(1)), (Number(2), Number(3))]");
    for case in cases {
        let own = "processes producers consumers packets_per_s ratio_to_floor ratio_to_first";
        assert_fields(case, &[own]);
    }
}

#[test]
fn scale_reports_what_the_readme_says() {
    let _alone = alone();
    let sizes = "--participants 1,5 --rings 1,12 --connections 1,20";
    let report = Place::new().json(&format!("scale --rounds 2 --operations 200 {sizes}"));
    let own = "verb payload_bytes rounds operations participants rings router_two_choices \
               router_round_robin cpus";
    let own: Vec<&str> = own.split_whitespace().collect();
    assert_fields(&report, &own);
    for (what, counts) in [
        ("participants", [1, 5]),
        ("rings", [1, 12]),
        ("router_two_choices", [1, 20]),
        ("router_round_robin", [1, 20]),
    ] {
        for (size, count) in report[what].as_array().expect("sizes").iter().zip(counts) {
            assert_fields(size, &["count ns_per_operation min_ns max_ns ratio_to_first"]);
            assert_eq!(size["count"], count);
        }
    }
}

#[test]
fn drawings_are_made_where_asked_for() {
    let _alone = alone();
    let place = Place::new();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("curve.svg");
    for (line, label) in [
        ("latency --rounds 500", "floor"),
        ("latency --rounds 500 --rate 10000", "at 10000 packets/s"),
        ("throughput --packets 200", "1 MiB"),
        ("throughput --packets 200 --producers 2", "2 producers"),
        ("wakeup --rounds 5 --pause 100", "futex, idle CPUs"),
    ] {
        let report = place.json(&format!("{line} --plot {}", file.display()));
        let svg = fs::read_to_string(&file).expect("a drawing");
        assert!(svg.starts_with("<svg") && svg.contains(label), "{line}: {svg}");
        if line == "throughput --packets 200" {
            let sweep = report["sweep"].as_array().expect("a sweep");
            assert_eq!(sweep.len(), 8);
            assert_fields(&sweep[0], &["payload_bytes bytes_per_s copy_bytes_per_s"]);
        }
        fs::remove_file(&file).expect("it exists");
    }
}

#[test]
fn report_runs_every_verb() {
    let _alone = alone();
    let place = Place::new();
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("new/report");
    let summary = place.json(&format!("report --quick --output {}", output.display()));
    let runs = summary["runs"].as_array().expect("runs");
    let verbs: BTreeSet<&str> =
        runs.iter().map(|run| run["result"]["verb"].as_str().expect("a verb")).collect();
    let help = String::from_utf8(run("--help").stdout).expect("UTF-8");
    let others = ["report", "completions", "help"];
    let offered = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    // A verb stands two spaces from the margin, the rest of its description further.
    let offered = offered.take_while(|line| !line.is_empty());
    let offered = offered.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for verb in offered.filter(|verb| !verb.is_empty()) {
        assert!(verbs.contains(verb) || others.contains(&verb), "{verb} is not in {verbs:?}");
    }
    let text = fs::read_to_string(output.join("report.md")).expect("a report");
    for run in runs {
        assert!(text.contains(run["command"].as_str().expect("a command")), "{text}");
        if let Some(plot) = run["plot"].as_str() {
            assert!(text.contains(plot) && output.join(plot).exists(), "{plot}");
        }
    }
}

#[test]
fn interrupting_a_report_leaves_nothing() {
    let _alone = alone();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let place = Place::new();
        let directory = tempfile::tempdir().expect("a directory");
        let report = bench(&format!("report --quick --output {}", directory.path().display()))
            .env("RINGWAY_DIR", place.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut report = report;
        // The first verb with a ring: it has a directory, which must go.
        let measuring = || fs::read_dir(place.path()).ok()?.next().map(drop);
        eventually("a measurement with a ring", measuring);
        kill(Pid::from_raw(report.id().cast_signed()), signal).expect("it runs");
        report.wait().expect("it ends");
        let swept = || fs::read_dir(place.path()).ok()?.next().is_none().then_some(());
        eventually("its directory to go", swept);
    }
}
