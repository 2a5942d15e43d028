//! Deaths at the crash points around the rings: creating, joining, leaving, closing, sleeping,
//! destroying, cleaning. Those of the ring's algorithm are explored by `loom-tests`, all of them are
//! met by torture. Those inside a run that is taken at once are in `runs.rs`.
//!
//! The peers are built with `--cfg ringway_crash` for it, under `target/crash`.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use ringway::error::{GetError, PutError};
use ringway::queue::{QueueConfig, QueueDescriptor, Side};
use ringway::shm::Lifetime;
use ringway::shm::segment::{CleanOptions, CleanOutcome, Segment};
use shm_tests::peer::{Asleep, Peer};
use shm_tests::place::Place;
use shm_tests::torture::Programs;
use shm_tests::{WATCHDOG, wait_until};

mod runs;

static PROGRAM: LazyLock<PathBuf> =
    LazyLock::new(|| Programs::build_crashing().expect("building the peer with crash points"));

fn place() -> Place {
    Place::new(&*PROGRAM)
}

fn config(producers: Side, consumers: Side) -> QueueConfig {
    QueueConfig {
        capacity_packets: Some(64),
        capacity_bytes: Some(4096),
        producers,
        consumers,
        ..QueueConfig::default()
    }
}

fn mpmc() -> QueueConfig {
    config(Side::Multi, Side::Multi)
}

/// A peer that dies at `point`.
fn armed(place: &Place, point: &str) -> Peer {
    let mut peer = place.peer();
    peer.ok(format!("die {point} 1"));
    peer
}

/// Waits for the death of a peer at `point`.
#[track_caller]
fn died(mut peer: Peer, point: &str) {
    let mut ended = None;
    wait_until("it is dead", || {
        ended = peer.ended();
        ended.is_some()
    });
    let words = peer.last_words();
    let announced = words.iter().any(|line| line.starts_with(&format!("dying {point} ")));
    assert!(announced && ended.unwrap().signal() == Some(9), "{point}: {ended:?} {words:?}");
}

/// Has a peer die at `point` while it opens the queue.
#[track_caller]
fn dies_opening(place: &Place, queue: &QueueDescriptor, point: &str) {
    let mut peer = armed(place, point);
    peer.send(format!("open q {}", queue.to_json()));
    died(peer, point);
}

fn opened(place: &Place, queue: &QueueDescriptor) -> Peer {
    let mut peer = place.peer();
    peer.open(queue);
    peer
}

fn clean(place: &Place) -> Vec<CleanOutcome> {
    let reports = Segment::clean_abandoned(&place.directory(), CleanOptions::default()).unwrap();
    reports.into_iter().map(|report| report.outcome).collect()
}

#[test]
fn a_creator_killed_before_the_name_is_there_leaves_nothing() {
    for point in ["create.reserved", "create.written", "create.joined"] {
        let place = place();
        let queue = place.queue("new", mpmc());
        dies_opening(&place, &queue, point);
        assert!(place.left().is_empty(), "{point}: {:?}", place.left());
        queue.put(b"x").unwrap();
        assert_eq!(queue.get().unwrap().payload, b"x");
    }
}

#[test]
fn a_segment_whose_creator_was_killed_after_naming_it_is_whole() {
    for lifetime in [Lifetime::Keep, Lifetime::Ephemeral, Lifetime::Job] {
        let place = place();
        let queue = place.queue_of("named", mpmc(), lifetime).with_max_participants(1).unwrap();
        dies_opening(&place, &queue, "create.named");
        assert_eq!(place.left(), ["named"]);
        // The creator's place is the only one.
        let mut peer = opened(&place, &queue);
        peer.ok("put q x");
        assert_eq!(peer.ok("get q"), "x 1");
        peer.quit();
        assert_eq!(place.left().is_empty(), lifetime == Lifetime::Ephemeral);
    }
}

#[test]
fn a_joiner_killed_on_the_way_leaves_a_free_place_and_an_open_gate() {
    let points = [
        "attach.gate",
        "join.locked",
        "join.cleared",
        "join.written",
        "join.published",
        "touch.published",
    ];
    for point in points {
        let place = place();
        let queue = place.queue("join", mpmc()).with_max_participants(2).unwrap();
        queue.put(b"x").unwrap();
        for _ in 0..2 {
            dies_opening(&place, &queue, point);
        }
        let mut peer = opened(&place, &queue);
        assert_eq!(peer.ok("get q now"), "x 1", "{point}");
        let full = place.peer().err(format!("open q {}", queue.to_json()));
        assert!(full.starts_with("TooManyParticipants"), "{point}: {full}");
        // The gate is free for whoever removes the segment.
        peer.ok("destroy q");
        assert!(place.left().is_empty(), "{point}");
    }
}

#[test]
fn a_joiner_killed_while_it_scrubs_leaves_the_rest_to_the_next() {
    let points = ["scrub.after_forget", "scrub.between_leases_and_claims", "join.scrubbed"];
    for point in points {
        for point in [point, "return.between_word_and_hint", "recover.before_skip"] {
            let place = place();
            let queue = place.queue("scrub", mpmc()).with_max_participants(2).unwrap();
            queue.put(b"held").unwrap();
            let mut peer = opened(&place, &queue);
            peer.ok("lease q");
            peer.ok("reserve q unfinished");
            queue.put(b"behind").unwrap();
            peer.kill();
            dies_opening(&place, &queue, point);
            let mut next = opened(&place, &queue);
            let mut got = [next.ok("get q now"), next.ok("get q now")];
            got.sort();
            assert_eq!(got, ["behind 1", "held 2"], "{point}");
            assert_eq!((queue.qsize().unwrap(), queue.in_flight().unwrap()), (0, 0), "{point}");
        }
    }
}

#[test]
fn whoever_is_killed_while_it_leaves_frees_its_place() {
    for point in ["leave.freed", "leave.gate", "leave.left"] {
        let place = place();
        let queue = place.queue("leave", mpmc()).with_max_participants(2).unwrap();
        queue.put(b"x").unwrap();
        let mut peer = armed(&place, point);
        peer.open(&queue);
        peer.finish();
        died(peer, point);
        let mut peer = opened(&place, &queue);
        assert_eq!(peer.ok("get q now"), "x 1", "{point}");
        peer.quit();
        assert_eq!(place.left().len(), 1, "{point}: somebody is still in it");
    }
}

#[test]
fn an_ephemeral_segment_whose_last_was_killed_while_leaving_is_adopted_or_cleaned() {
    for point in ["leave.freed", "leave.gate", "leave.left", "gate.turn"] {
        for adopted in [false, true] {
            let place = place();
            let queue = place.queue("last", mpmc());
            let mut peer = armed(&place, point);
            peer.open(&queue);
            peer.ok("put q x");
            peer.finish();
            died(peer, point);
            assert_eq!(place.left(), ["last"]);
            if adopted {
                let mut next = opened(&place, &queue);
                assert_eq!(next.ok("get q now"), "x 1", "{point}");
                next.quit();
            } else {
                assert_eq!(clean(&place), [CleanOutcome::Removed { packets: 1 }], "{point}");
            }
            assert!(place.left().is_empty(), "{point}");
        }
    }
}

#[test]
fn a_role_whose_taker_was_killed_is_free_again() {
    for (point, role) in [
        ("role.locked", "producer"),
        ("role.locked", "consumer"),
        ("start_producer.between_tail_and_intent", "producer"),
    ] {
        let place = place();
        let queue = place.queue("role", config(Side::Single, Side::Single));
        queue.queue().unwrap();
        // The one before died between stamp and tail: the next has something to roll over.
        let mut before = armed(&place, "commit_single.between_stamp_and_tail");
        before.open(&queue);
        before.send("put q x");
        died(before, "commit_single.between_stamp_and_tail");
        let mut peer = armed(&place, point);
        peer.open(&queue);
        peer.send(format!("{role} q"));
        died(peer, point);
        let mut next = opened(&place, &queue);
        next.ok("producer q");
        next.ok("consumer q");
        next.ok("put q y");
        next.ok("close q");
        let got = [next.ok("get q"), next.ok("get q"), next.err("get q")];
        assert_eq!(got, ["x 1", "y 1", "Closed"], "{point}");
    }
}

#[test]
fn a_close_cut_short_is_finished_by_whoever_looks() {
    for point in ["close.between_closing_and_barrier", "close.after_closed"] {
        for (producers, consumers) in [
            (Side::Single, Side::Single),
            (Side::Single, Side::Multi),
            (Side::Multi, Side::Single),
            (Side::Multi, Side::Multi),
        ] {
            let place = place();
            let queue = place.queue("close", config(producers, consumers));
            let handle = queue.queue().unwrap();
            let mut reader = opened(&place, &queue);
            let id = place.participant("close", reader.id()).unwrap();
            reader.send("get q");
            reader.wait_asleep(&handle, id, Asleep::Getting);
            let mut closer = armed(&place, point);
            closer.open(&queue);
            closer.send("close q");
            died(closer, point);
            // Nobody woke it.
            assert_eq!(reader.answer_err(), "Closed", "{point}");
            assert!(matches!(queue.put(b"late"), Err(PutError::Closed)), "{point}");
            assert_eq!(reader.err("get q"), "Closed", "{point}");
        }
    }
}

#[test]
fn a_sealer_killed_leaves_the_seal_to_the_next() {
    for point in ["seal.before_claim", "seal.after_claim"] {
        for consumers in [Side::Single, Side::Multi] {
            let place = place();
            let queue = place.queue("seal", config(Side::Multi, consumers));
            queue.close().unwrap();
            let mut peer = armed(&place, point);
            peer.open(&queue);
            peer.send("get q now");
            died(peer, point);
            assert!(matches!(queue.get_timeout(WATCHDOG), Err(GetError::Closed)), "{point}");
            assert!(matches!(queue.put(b"late"), Err(PutError::Closed)), "{point}");
        }
    }
}

#[test]
fn a_sleeper_killed_at_any_moment_takes_no_wake_with_it() {
    for point in ["sleep.registered", "sleep.woken", "sleep.left"] {
        let place = place();
        let queue = place.queue("sleep", mpmc());
        let handle = queue.queue().unwrap();
        let mut sleeper = armed(&place, point);
        sleeper.open(&queue);
        let id = place.participant("sleep", sleeper.id()).unwrap();
        sleeper.send("get q");
        if point == "sleep.left" {
            sleeper.wait_asleep(&handle, id, Asleep::Getting);
            // It dies with the packet, which comes back flagged.
            queue.put(b"x").unwrap();
        }
        died(sleeper, point);
        let mut other = opened(&place, &queue);
        if point == "sleep.left" {
            assert_eq!(other.ok("get q"), "x 2");
        }
        let id = place.participant("sleep", other.id()).unwrap();
        other.send("get q");
        other.wait_asleep(&handle, id, Asleep::Getting);
        queue.put(b"y").unwrap();
        assert_eq!(other.answer_ok(), "y 1", "{point}");
    }
}

#[test]
fn a_publisher_killed_before_the_wake_costs_a_slice() {
    let place = place();
    let queue = place.queue("wake", mpmc());
    let handle = queue.queue().unwrap();
    let mut reader = opened(&place, &queue);
    let id = place.participant("wake", reader.id()).unwrap();
    reader.send("get q");
    reader.wait_asleep(&handle, id, Asleep::Getting);
    let mut writer = armed(&place, "wake.before_futex");
    writer.open(&queue);
    writer.send("put q x");
    died(writer, "wake.before_futex");
    assert_eq!(reader.answer_ok(), "x 1");
}

#[test]
fn the_announcement_of_a_dead_large_claim_expires() {
    let place = place();
    let queue = place.queue("large", mpmc());
    queue.queue().unwrap();
    let mut filler = opened(&place, &queue);
    for i in 0..60 {
        filler.ok(format!("put q {i} now"));
    }
    let mut large = armed(&place, "large_claim.announced");
    large.open(&queue);
    large.send("put q large*1000");
    died(large, "large_claim.announced");
    // There is room for small ones, and nobody waits for the dead.
    for i in 60..64 {
        filler.ok(format!("put q {i} 20000"));
    }
    assert_eq!(queue.qsize().unwrap(), 64);
}

#[test]
fn a_recoverer_killed_with_the_lock_of_the_dead_leaves_it_to_the_next() {
    for point in [
        "recover.locked",
        "recover.before_skip",
        "recover.after_skip",
        "adopt.before_word",
        "adopt.after_count",
    ] {
        let place = place();
        let queue = place.queue("recover", mpmc());
        queue.put(b"held").unwrap();
        let mut dead = opened(&place, &queue);
        dead.ok("lease q");
        dead.ok("reserve q unfinished");
        queue.put(b"behind").unwrap();
        dead.kill();
        let mut recoverer = armed(&place, point);
        recoverer.open(&queue);
        recoverer.send("get q");
        died(recoverer, point);
        let mut got = [(); 2].map(|()| queue.get_timeout(WATCHDOG).unwrap());
        got.sort_by(|a, b| a.payload.cmp(&b.payload));
        let [behind, held] = got;
        assert_eq!((&behind.payload[..], &held.payload[..]), (&b"behind"[..], &b"held"[..]));
        // Counted before it is delivered: one too high after a death in between.
        let deliveries = if point == "adopt.after_count" { 3 } else { 2 };
        assert_eq!(held.delivery_count, deliveries, "{point}");
        assert_eq!((queue.qsize().unwrap(), queue.in_flight().unwrap()), (0, 0), "{point}");
    }
}

#[test]
fn a_destruction_cut_short_anywhere_is_finished_by_whoever_comes_next() {
    let points =
        ["gate.turn", "destroy.gate", "destroy.state_marked", "destroy.marked", "destroy.unlinked"];
    for point in points {
        let place = place();
        let queue = place.queue_of("end", mpmc(), Lifetime::Keep);
        let old = queue.queue().unwrap();
        let mut reader = opened(&place, &queue);
        let id = place.participant("end", reader.id()).unwrap();
        reader.send("get q");
        reader.wait_asleep(&old, id, Asleep::Getting);
        let mut destroyer = armed(&place, point);
        destroyer.open(&queue);
        destroyer.send("destroy q");
        died(destroyer, point);
        let heard = !["gate.turn", "destroy.gate", "destroy.state_marked"].contains(&point);
        if heard {
            // Nobody woke it.
            assert_eq!(reader.answer_err(), "Destroyed", "{point}");
            assert!(matches!(old.try_get(), Err(GetError::Destroyed)), "{point}");
        }
        let mut next = opened(&place, &queue);
        next.ok("put q new");
        if point == "destroy.state_marked" {
            // Whoever opened the name told it.
            assert_eq!(reader.answer_err(), "Destroyed", "{point}");
        }
        let lives = ["gate.turn", "destroy.gate"].contains(&point);
        let got = if lives { reader.answer_ok() } else { next.ok("get q") };
        assert_eq!(got, "new 1", "{point}");
        next.ok("destroy q");
        assert!(place.left().is_empty(), "{point}");
    }
}

#[test]
fn a_cleaner_killed_under_its_locks_harms_nobody() {
    for point in ["clean.locked", "destroy.marked", "destroy.unlinked"] {
        let place = place();
        let queue = place.queue_of("abandoned", mpmc(), Lifetime::Job);
        opened(&place, &queue).quit();
        let mut cleaner = armed(&place, point);
        cleaner.send(format!("clean {}", place.segments().display()));
        died(cleaner, point);
        queue.put(b"x").unwrap();
        assert_eq!(queue.get().unwrap().payload, b"x", "{point}");
        assert_eq!(clean(&place), [CleanOutcome::Live], "{point}");
        queue.destroy().unwrap();
        assert!(place.left().is_empty(), "{point}");
    }
}
