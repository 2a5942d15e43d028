//! The verbs that keep house: clean, doctor and metrics.

mod support;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use ringway::shm::Lifetime;
use serde_json::Value;
use support::*;

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    // `NAME+N`: makes the segment, and leaves N packets in it.
    let (name, packets) = job.split_once('+').unwrap();
    let queue = descriptor(&place, name, ringway::queue::Side::Multi, ringway::queue::Side::Multi);
    let lifetime = if name.starts_with("keep") { Lifetime::Keep } else { Lifetime::Ephemeral };
    let queue = queue.with_lifetime(lifetime).unwrap().queue().unwrap();
    for _ in 0..packets.parse().unwrap() {
        queue.put(b"left").unwrap();
    }
    ready_to_be_killed();
}

/// Makes a segment in a process that is then killed.
fn abandoned(place: &Place, job: &str) {
    let mut helper = Helper::start(job, place);
    helper.kill();
    let name = job.split_once('+').unwrap().0.to_owned();
    wait_until("the kernel has freed its lock", || {
        place.json(0, &["show", &name])["participants"][0]["alive"] == false
    });
}

fn outcomes(json: &Value) -> BTreeMap<String, String> {
    let pair = |one: &Value| {
        assert_keys(one, "segment path outcome packets error");
        let text = |field: &str| one[field].as_str().unwrap().to_owned();
        (text("segment"), text("outcome"))
    };
    json.as_array().unwrap().iter().map(pair).collect()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect()
}

#[test]
fn clean_removes_what_nobody_uses_and_nothing_else() {
    let place = Place::new();
    let _live = Helper::start("live+1", &place);
    let stopped = Helper::start("stopped+0", &place);
    stopped.stop();
    for job in ["empty+0", "team/full+2", "keep-empty+0", "keep-full+1"] {
        abandoned(&place, job);
    }
    std::fs::write(place.file("noise"), b"no segment").unwrap();
    std::fs::set_permissions(place.file("noise"), PermissionsExt::from_mode(0o600)).unwrap();
    let staying = [
        ("live", "live"),
        ("stopped", "live"),
        ("team/full", "kept"),
        ("keep-full", "kept"),
        ("noise", "unreadable"),
    ];
    let with = |outcome| {
        let mut all = staying.to_vec();
        all.extend([("empty", outcome), ("keep-empty", outcome)]);
        map(&all)
    };
    let files = || place.json(1, &["list"]).as_array().unwrap().len();
    assert_eq!(outcomes(&place.json(1, &["clean", "--dry-run"])), with("would-remove"));
    assert_eq!(files(), 7, "nothing was removed");
    let text = place.text(1, &["clean", "--dry-run"]);
    assert!(text.contains("would-remove") && text.contains("--discard"), "{text}");
    assert_eq!(outcomes(&place.json(1, &["clean"])), with("removed"));
    assert_eq!(outcomes(&place.json(1, &["clean"])), map(&staying));
    let discarded = place.json(1, &["clean", "--discard"]);
    let mut expected = map(&staying);
    for name in ["team/full", "keep-full"] {
        expected.insert(name.into(), "removed".into());
    }
    assert_eq!(outcomes(&discarded), expected);
    let full = discarded.as_array().unwrap().iter().find(|one| one["segment"] == "team/full");
    assert_eq!(full.unwrap()["packets"], 2);
    assert!(!place.file("team").exists() && place.file("noise").exists());
    let queue = place.descriptor("live").queue().unwrap();
    assert_eq!(queue.get().unwrap().payload, b"left");
}

fn about<'a>(findings: &'a Value, about: &str) -> &'a Value {
    let findings = findings.as_array().unwrap();
    findings
        .iter()
        .find(|one| one["about"] == about)
        .unwrap_or_else(|| panic!("nothing about {about}: {findings:?}"))
}

#[test]
fn the_doctor_finds_what_is_wrong_and_its_commands_mend_it() {
    let place = Place::new();
    abandoned(&place, "empty+0");
    abandoned(&place, "full+1");
    let live = Helper::start("live+0", &place);
    std::fs::write(place.file("noise"), b"no segment").unwrap();
    std::fs::set_permissions(place.file("noise"), PermissionsExt::from_mode(0o600)).unwrap();
    let open = Helper::start("open+0", &place);
    std::fs::set_permissions(place.file("open"), PermissionsExt::from_mode(0o644)).unwrap();
    let findings = place.json(1, &["doctor"]);
    for one in findings.as_array().unwrap() {
        assert_keys(one, "severity about what mend");
        // What is wrong can be mended.
        assert!(one["severity"] == "ok" || one["mend"].is_string(), "{one}");
    }
    for (name, severity) in [
        ("empty", "warning"),
        ("full", "warning"),
        ("live", "ok"),
        ("noise", "problem"),
        ("open", "problem"),
    ] {
        assert_eq!(about(&findings, name)["severity"], severity, "{name}: {findings}");
    }
    assert!(about(&findings, "full")["what"].as_str().unwrap().contains("1 packets are left"));
    for name in ["directory", "filesystem", "kernel"] {
        about(&findings, name);
    }
    assert!(place.text(1, &["doctor"]).contains("SEVERITY"));

    // Each command, as a shell runs it, mends its finding.
    live.stop();
    wait_until("it is seen to be stopped", || {
        about(&place.json(1, &["doctor"]), "live")["severity"] == "warning"
    });
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_shm-inspect"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    for name in ["empty", "full", "live", "open"] {
        let findings = place.json(1, &["doctor"]);
        let mend = about(&findings, name)["mend"].as_str().unwrap().to_owned();
        let mut shell = std::process::Command::new("sh");
        shell.env("PATH", &path).arg("-c").arg(&mend);
        assert!(shell.output().is_ok(), "{mend}");
        wait_until("it is mended", || {
            let findings = place.run(&["doctor", "--json"]).stdout;
            let findings: Value = serde_json::from_slice(&findings).unwrap();
            let still = |one: &&Value| one["about"] == name && one["severity"] != "ok";
            findings.as_array().unwrap().iter().find(still).is_none()
        });
    }
    drop((live, open));
}

#[test]
fn the_doctor_says_what_is_wrong_with_the_directory() {
    let place = Place::new();
    let nowhere = place.file("nowhere");
    let output = program().arg("doctor").env("RINGWAY_DIR", &nowhere).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("is not there; the first segment makes it"), "{text}");
    assert!(!nowhere.exists());
    std::fs::create_dir(&nowhere).unwrap();
    std::fs::set_permissions(&nowhere, PermissionsExt::from_mode(0o777)).unwrap();
    let mut doctor = program();
    doctor.args(["doctor", "--json", "--dir"]).arg(&nowhere);
    let findings: Value = serde_json::from_str(&checked(1, &doctor.output().unwrap())).unwrap();
    let finding = about(&findings, "directory");
    assert_eq!(finding["severity"], "problem");
    let mend = finding["mend"].as_str().unwrap();
    assert!(std::process::Command::new("sh").arg("-c").arg(mend).status().unwrap().success());
    let output = doctor.output().unwrap();
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(about(&findings, "directory")["severity"], "ok");
}

/// One sample: the metric's name, its labels, and its value.
type Sample = (String, BTreeMap<String, String>, f64);

/// Reads the text form of Prometheus, strictly as far as it is used here.
fn parse(text: &str) -> Vec<Sample> {
    let mut kinds = BTreeMap::new();
    let mut samples = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["gauge", "counter"].contains(&kind), "{line}");
            assert_eq!(kinds.insert(name.to_owned(), kind), None, "{name} is described once");
            continue;
        }
        if line.starts_with("# HELP ") {
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap();
        let (labels, value) = rest.rsplit_once("} ").unwrap();
        let label = |label: &str| {
            let (name, value) = label.split_once('=').unwrap();
            let value = value.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
            (name.to_owned(), value.to_owned())
        };
        let kind = kinds.get(name).unwrap_or_else(|| panic!("{name} has no type"));
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name}");
        samples.push((
            name.to_owned(),
            labels.split(',').map(label).collect(),
            value.parse().unwrap(),
        ));
    }
    samples
}

#[test]
fn metrics_say_what_show_says() {
    let place = Place::new();
    let _helper = Helper::start("team/x+3", &place);
    let queue = place.descriptor("team/x").queue().unwrap();
    queue.get().unwrap();
    let _lease = queue.lease().unwrap();
    let samples = parse(&place.text(0, &["metrics"]));
    let ring = &place.json(0, &["show", "team/x"])["rings"][0];
    let value = |name: &str| {
        let mut found = samples.iter().filter(|(of, ..)| of == name);
        let (_, labels, value) = found.next().unwrap_or_else(|| panic!("no {name}"));
        assert_eq!(labels["segment"], "team/x");
        *value
    };
    for (metric, field) in [
        ("ringway_waiting_packets", &ring["qsize"]),
        ("ringway_in_flight_packets", &ring["in_flight"]),
        ("ringway_occupancy_ratio", &ring["occupancy"]),
        ("ringway_puts_total", &ring["counters"]["puts"]),
        ("ringway_gets_total", &ring["counters"]["gets"]),
        ("ringway_put_bytes_total", &ring["counters"]["bytes_put"]),
        ("ringway_high_water_packets", &ring["counters"]["high_water"]),
        ("ringway_dead_letters_kept_total", &ring["counters"]["dead_letters_kept"]),
    ] {
        assert_eq!(Some(value(metric)), field.as_f64(), "{metric}");
    }
    assert_eq!(value("ringway_waiting_packets"), 1.0);
    assert_eq!(value("ringway_blocked"), 1.0);
    let alive = samples
        .iter()
        .find(|(name, labels, _)| name == "ringway_participants" && labels["state"] == "alive");
    assert_eq!(alive.unwrap().2, 2.0);
    assert!(value("ringway_oldest_waiting_seconds") > 0.0);

    std::fs::write(place.file("noise"), b"no segment").unwrap();
    std::fs::set_permissions(place.file("noise"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(place.run(&["metrics", "--json"]).status.code(), Some(2), "it is no JSON");
    let samples = parse(&place.text(1, &["metrics"]));
    let readable = |of: &str| {
        let is = |(name, labels, _): &&Sample| {
            name == "ringway_segment_readable" && labels["segment"] == of
        };
        samples.iter().find(is).unwrap().2
    };
    assert_eq!((readable("noise"), readable("team/x")), (0.0, 1.0));
}
