//! What the tool says of segments whose processes were stopped or killed.

mod support;

use ringway::queue::{Lease, Side};
use support::*;

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    let sides = |producers, consumers| descriptor(&place, "x", producers, consumers);
    match job.as_str() {
        "lease" | "lease-alone" => {
            let consumers = if job == "lease" { Side::Multi } else { Side::Single };
            let queue = sides(Side::Multi, consumers).queue().unwrap();
            let _lease: Lease = queue.lease().unwrap();
            ready_to_be_killed();
        }
        "reserve" | "reserve-alone" => {
            let producers = if job == "reserve" { Side::Multi } else { Side::Single };
            let queue = sides(producers, Side::Multi).queue().unwrap();
            let _reservation = queue.reserve(20).unwrap();
            ready_to_be_killed();
        }
        // Waits for room, or for a packet.
        "put" | "get" => {
            let queue = sides(Side::Multi, Side::Multi).queue().unwrap();
            announce();
            match job.as_str() {
                "put" => queue.put(b"one too many").unwrap(),
                _ => _ = queue.get(),
            }
        }
        other => panic!("unknown job {other}"),
    }
}

#[test]
fn a_stopped_reader_is_named_as_what_blocks_the_ring() {
    for (job, consumers) in [("lease", Side::Multi), ("lease-alone", Side::Single)] {
        let place = Place::new();
        let queue = descriptor(place.path(), "x", Side::Multi, consumers).queue().unwrap();
        queue.put(b"held").unwrap();
        queue.put(b"behind").unwrap();
        let helper = Helper::start(job, &place);
        helper.stop();
        let json = place.json(0, &["show", "x"]);
        let ring = &json["rings"][0];
        let blocker = &ring["blocked_by"][0];
        assert_eq!(blocker["kind"], "reading");
        assert_eq!(blocker["pid"], helper.pid());
        assert_eq!(blocker["alive"], true);
        assert!(blocker["age_seconds"].as_f64().unwrap() >= 0.0);
        assert_eq!((&ring["qsize"], &ring["in_flight"]), (&1.into(), &1.into()));
        wait_until("the kernel says that it is stopped", || {
            place.json(0, &["show", "x"])["participants"][1]["stopped"] == true
        });
        assert_eq!(place.json(0, &["show", "x"])["participants"][0]["stopped"], false);
        let text = place.text(0, &["show", "x:queue"]);
        assert!(text.contains(&format!("(pid {}, stopped) reading", helper.pid())), "{text}");
        // The doctor names it, too, and what wakes it; and so does `top`.
        let findings = place.json(1, &["doctor"]);
        let stuck = findings.as_array().unwrap().iter().find(|one| one["about"] == "x:queue");
        let stuck = stuck.unwrap_or_else(|| panic!("{findings}"));
        assert_eq!(stuck["severity"], "problem");
        assert!(
            stuck["mend"].as_str().unwrap().starts_with(&format!("kill -CONT {}", helper.pid()))
        );
        let top = place.text(0, &["top", "--interval", "0"]);
        assert!(top.contains(&format!("(pid {}, stopped) reading", helper.pid())), "{top}");
        // It answers while the ring stands still, for as long as one likes.
        assert_eq!(place.text(0, &["peek", "x", "--json"]).lines().count(), 1);
        let entries = &place.json(0, &["dump", "x"])["entries"];
        assert_eq!(entries[0]["state"], "reading");
        assert_eq!(entries[0]["pid"], helper.pid());
        assert_eq!(entries[0]["payload_text"], "held");
        assert_eq!(entries[1]["state"], "ready");
    }
}

#[test]
fn who_waits_is_shown_with_what_for_and_for_whom() {
    let place = Place::new();
    let queue = place.descriptor("x").queue().unwrap();
    let waits = |what: &str, helper: &Helper| {
        let row = |text: &str| {
            let (_, table) = text.split_once("WAITERS\n")?;
            let pid = helper.pid().to_string();
            let row = table.lines().find(|line| line.split_whitespace().nth(2) == Some(&*pid))?;
            row.contains(&format!("  {what} ")).then(|| row.to_owned())
        };
        let mut found = None;
        wait_until("it is shown to wait", || {
            found = row(&place.text(0, &["show", "x"]));
            found.is_some()
        });
        found.unwrap()
    };
    let getter = Helper::start("get", &place);
    assert!(waits("packets", &getter).trim_end().ends_with('-'), "nobody holds it up");
    drop(getter);
    queue.put(b"held").unwrap();
    let holder = Helper::start("lease", &place);
    holder.stop();
    while queue.try_put(b"full").is_ok() {}
    let putter = Helper::start("put", &place);
    let row = waits("room", &putter);
    assert!(row.contains(&format!("(pid {}, stopped) reading", holder.pid())), "{row}");
    assert!(row.contains("queue") && row.contains("yes"), "{row}");
    // Who holds it is said to be stopped there, too.
    let text = place.text(0, &["show", "x"]);
    let (_, holds) = text.split_once("HOLDS\n").unwrap();
    assert!(holds.lines().nth(1).unwrap().contains("stopped"), "{text}");
}

#[test]
fn a_stopped_writer_is_named_as_what_blocks_the_head() {
    for (job, producers) in [("reserve", Side::Multi), ("reserve-alone", Side::Single)] {
        let place = Place::new();
        let queue = descriptor(place.path(), "x", producers, Side::Multi).queue().unwrap();
        assert!(queue.try_get().is_err());
        let helper = Helper::start(job, &place);
        helper.stop();
        let json = place.json(0, &["show", "x"]);
        let blocker = &json["rings"][0]["blocked_by"][0];
        assert_eq!((&blocker["kind"], &blocker["pid"]), (&"writing".into(), &helper.pid().into()));
        let entries = &place.json(0, &["dump", "x:queue"])["entries"];
        assert_eq!(entries[0]["state"], "writing");
        assert!(entries[0]["payload_hex"].is_null());
    }
}

#[test]
fn a_killed_process_is_shown_as_dead_with_what_it_held() {
    let place = Place::new();
    let queue = place.descriptor("x").queue().unwrap();
    queue.put(b"held").unwrap();
    let mut helper = Helper::start("lease", &place);
    helper.kill();
    wait_until("the kernel has freed its lock", || {
        let json = place.json(0, &["show", "x"]);
        json["participants"][1]["alive"] == false
    });
    let json = place.json(0, &["show", "x"]);
    let dead = &json["participants"][1];
    assert_eq!((&dead["pid"], &dead["alive"]), (&helper.pid().into(), &false.into()));
    assert_eq!(json["participants"][0]["alive"], true);
    let hold = &json["rings"][0]["holds"][0];
    let (age, most) = (&hold["age_seconds"], &hold["at_most_seconds"]);
    assert!(most.as_f64().unwrap() <= age.as_f64().unwrap(), "{hold}");
    assert_eq!((&hold["pid"], &hold["alive"]), (&helper.pid().into(), &false.into()));
    assert!(place.text(0, &["list"]).contains('1'));
    // It was only looked at: the packet is there for the next.
    assert!(queue.get().unwrap().redelivered);
}

#[test]
fn an_abandoned_segment_can_be_shown_and_listed() {
    let place = Place::new();
    let queue = place.descriptor("x").queue().unwrap();
    queue.put(b"held").unwrap();
    let mut helper = Helper::start("lease", &place);
    queue.put(b"left").unwrap();
    let bytes = std::fs::read(place.file("x")).unwrap();
    helper.kill();
    drop(queue);
    // As if both had been killed.
    let abandoned = Place::new();
    std::fs::write(abandoned.file("x"), &bytes).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(abandoned.file("x"), mode).unwrap();
    let json = abandoned.json(0, &["list"]);
    assert_eq!(json[0]["participants"][0]["alive"], false);
    assert_eq!(json[0]["participants"][1]["alive"], false);
    assert_eq!(json[0]["rings"][0]["qsize"], 1);
    assert_eq!(json[0]["rings"][0]["in_flight"], 1);
    assert!(std::fs::read(abandoned.file("x")).unwrap() == bytes, "nothing was changed");
}
