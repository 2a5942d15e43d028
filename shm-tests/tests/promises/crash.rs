//! Killed writers, killed readers, zombies.

use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use ringway::error::GetError;
use ringway::queue::Side;
use shm_tests::peer::{Asleep, Peer};
use shm_tests::{WATCHDOG, wait_until};

use crate::{lease, mpmc, place, small, stat};

#[test]
fn packets_behind_a_killed_writer_reach_a_blocked_consumer() {
    for consumers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("writer", small(Side::Multi, consumers));
        let handle = queue.queue().unwrap();
        let (mut writer, mut other, mut reader) = (place.peer(), place.peer(), place.peer());
        for peer in [&mut writer, &mut other, &mut reader] {
            peer.open(&queue);
        }
        let reader_id = place.participant("writer", reader.id()).unwrap();
        // A small record, a large one and, twice, two of them at once.
        for (round, held) in ["a", "b*1000", "c", "d*1000"].into_iter().enumerate() {
            writer.ok(format!("reserve q {held}"));
            if round >= 2 {
                writer.ok("reserve q more*100");
            }
            other.ok("put q behind");
            reader.send("get q forever");
            reader.wait_asleep(&handle, reader_id, Asleep::Getting);
            assert_eq!(reader.try_answer(), None, "a live writer is waited for");
            let skipped = stat(&mut other, "skipped");
            writer.kill();
            assert_eq!(reader.answer_ok(), "behind 1");
            let held = if round >= 2 { 2 } else { 1 };
            assert_eq!(stat(&mut other, "skipped"), skipped + held);
            assert_eq!(reader.err("get q now"), "Empty");
            writer = place.peer();
            writer.open(&queue);
        }
    }
}

#[test]
fn one_look_passes_over_any_number_of_killed_writers() {
    for consumers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("writers", small(Side::Multi, consumers));
        queue.queue().unwrap();
        let mut writers: Vec<Peer> = (0..3).map(|_| place.peer()).collect();
        for writer in &mut writers {
            writer.open(&queue);
            writer.ok("reserve q never");
            writer.ok("reserve q never*100");
        }
        queue.put(b"behind").unwrap();
        assert!(matches!(queue.try_get(), Err(GetError::Empty)), "live writers are waited for");
        for writer in &mut writers {
            writer.kill();
        }
        assert_eq!(queue.try_get().unwrap().payload, b"behind");
    }
}

#[test]
fn a_dead_writer_is_passed_over_though_the_reader_is_rung_all_the_time() {
    let place = place();
    let queue = place.queue("rung", mpmc());
    let handle = queue.queue().unwrap();
    let (mut writer, mut reader) = (place.peer(), place.peer());
    writer.open(&queue);
    reader.open(&queue);
    let id = place.participant("rung", reader.id()).unwrap();
    writer.ok("reserve q never");
    reader.send("get q forever");
    reader.wait_asleep(&handle, id, Asleep::Getting);
    writer.kill();
    // Every put rings the reader: for several slices, none of which ends in silence. The ring must not
    // fill up meanwhile: its silence would help.
    let answer = (0..40).find_map(|_| {
        queue.put(b"behind").unwrap();
        // The pause itself is what is tested: shorter than a slice.
        std::thread::sleep(Duration::from_millis(5));
        reader.try_answer()
    });
    assert_eq!(answer.as_deref(), Some("ok behind 1"));
}

#[test]
fn a_stopped_writer_is_waited_for_and_a_killed_one_is_not() {
    let place = place();
    let queue = place.queue("stopped", mpmc());
    let handle = queue.queue().unwrap();
    let (mut writer, mut reader) = (place.peer(), place.peer());
    writer.open(&queue);
    reader.open(&queue);
    let id = place.participant("stopped", reader.id()).unwrap();
    writer.ok("reserve q first");
    queue.put(b"second").unwrap();
    writer.stop();
    reader.send("get q forever");
    reader.wait_asleep(&handle, id, Asleep::Getting);
    // Longer than any slice: the reader has looked for the dead several times.
    assert!(matches!(
        queue.get_timeout(Duration::from_millis(200)),
        Err(ringway::error::GetError::Timeout)
    ));
    assert_eq!(reader.try_answer(), None);
    writer.resume();
    writer.ok("commit 1");
    assert_eq!(reader.answer_ok(), "first 1");
    assert_eq!(reader.ok("get q"), "second 1");
}

#[test]
fn the_successor_of_a_killed_single_producer_goes_on() {
    for consumers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("single", small(Side::Single, consumers));
        let mut reader = place.peer();
        reader.open(&queue);
        for held in ["x", "x*1000"] {
            let mut writer = place.peer();
            writer.open(&queue);
            writer.ok("put q before");
            writer.ok(format!("reserve q {held}"));
            reader.send("get q");
            assert_eq!(reader.answer_ok(), "before 1");
            reader.send("get q");
            writer.kill();
            let mut successor = place.peer();
            successor.open(&queue);
            successor.ok("put q after");
            assert_eq!(reader.answer_ok(), "after 1");
            assert_eq!(reader.err("get q now"), "Empty");
            successor.quit();
        }
    }
}

#[test]
fn what_a_killed_reader_held_comes_again_flagged() {
    for producers in [Side::Single, Side::Multi] {
        for consumers in [Side::Single, Side::Multi] {
            let place = place();
            let queue = place.queue("reader", small(producers, consumers));
            queue.put(b"held").unwrap();
            let next = || {
                let mut peer = place.peer();
                peer.open(&queue);
                peer
            };
            let mut reader = next();
            assert_eq!(lease(&mut reader, "held"), (1, 1));
            // Over several kills, the count never counts too few.
            for kills in 1..=5 {
                let mut other = next();
                if consumers == Side::Multi {
                    // It waits already when the holder dies.
                    let id = place.participant("reader", other.id()).unwrap();
                    other.send("lease q");
                    other.wait_asleep(&queue.queue().unwrap(), id, Asleep::Getting);
                    assert_eq!((queue.qsize().unwrap(), queue.in_flight().unwrap()), (0, 1));
                    reader.kill();
                } else {
                    reader.kill();
                    other.send("lease q");
                }
                let expected = format!("1 held {}", kills + 1);
                assert_eq!(other.answer_ok(), expected, "{producers:?} {consumers:?}");
                reader = other;
            }
            reader.ok("ack 1");
            assert_eq!(reader.err("get q now"), "Empty");
            assert_eq!(queue.in_flight().unwrap(), 0);
        }
    }
}

#[test]
fn of_several_leases_the_acknowledged_never_come_back_and_the_others_do_flagged() {
    for producers in [Side::Single, Side::Multi] {
        for consumers in [Side::Single, Side::Multi] {
            for large in [false, true] {
                let place = place();
                let queue = place.queue("leases", small(producers, consumers));
                let size = if large { 300 } else { 10 };
                let put = |text: &str| {
                    let mut payload = text.as_bytes().to_vec();
                    payload.resize(size, b'.');
                    queue.put(&payload).unwrap();
                };
                (0..8).for_each(|i| put(&format!("p{i}")));
                let mut reader = place.peer();
                reader.open(&queue);
                let ids: Vec<u64> =
                    (0..6).map(|i| lease(&mut reader, &format!("p{i}")).0).collect();
                for i in [4, 1, 3] {
                    reader.ok(format!("ack {}", ids[i]));
                }
                // One is given back, and not taken again before the kill.
                reader.ok(format!("giveback {}", ids[2]));
                reader.kill();
                let mut next = place.peer();
                next.open(&queue);
                let mut got: Vec<String> = (0..5).map(|_| next.ok("get q 20000")).collect();
                got.sort();
                assert_eq!(got, ["p0 2", "p2 2", "p5 2", "p6 1", "p7 1"]);
                assert_eq!(next.err("get q now"), "Empty");
            }
        }
    }
}

#[test]
fn a_full_ring_whose_reader_was_killed_takes_packets_again() {
    for (producers, consumers) in [(Side::Single, Side::Multi), (Side::Multi, Side::Multi)] {
        let place = place();
        let queue = place.queue("full", small(producers, consumers));
        let (mut reader, mut writer) = (place.peer(), place.peer());
        reader.open(&queue);
        writer.open(&queue);
        for i in 0..64 {
            writer.ok(format!("put q {i} now"));
        }
        lease(&mut reader, "0");
        assert_eq!(queue.get().unwrap().payload, b"1");
        assert_eq!(writer.err("put q 64 now"), "Full");
        let id = place.participant("full", writer.id()).unwrap();
        let handle = queue.queue().unwrap();
        let hint = &handle.ring().unwrap().raw().memory().header().shared.recovery;
        writer.send("put q 64");
        writer.wait_asleep(&handle, id, Asleep::Putting);
        assert_eq!(hint.load(Acquire), 0);
        reader.kill();
        // No consumer looks: the producer itself gives back what the dead one held.
        wait_until("the packet is given back", || hint.load(Acquire) != 0);
        let first = queue.get_timeout(WATCHDOG).unwrap();
        assert_eq!((&first.payload[..], first.delivery_count), (&b"0"[..], 2));
        writer.answer_ok();
    }
}

#[test]
fn a_zombie_is_dead() {
    let place = place();
    let queue = place.queue("zombie", mpmc());
    queue.put(b"held").unwrap();
    let mut reader = place.peer();
    reader.open(&queue);
    lease(&mut reader, "held");
    reader.ok("reserve q unfinished");
    queue.put(b"behind").unwrap();
    reader.kill_unreaped();
    wait_until("it is a zombie", || reader.state() == 'Z');
    let held = queue.get_timeout(WATCHDOG).unwrap();
    assert_eq!((&held.payload[..], held.delivery_count), (&b"held"[..], 2));
    assert_eq!(queue.get_timeout(WATCHDOG).unwrap().payload, b"behind");
    assert_eq!(reader.state(), 'Z', "nobody has waited for it");
}

#[test]
fn the_places_of_killed_participants_are_used_again() {
    let place = place();
    let queue = place.queue("places", mpmc()).with_max_participants(3).unwrap();
    queue.put(b"x").unwrap();
    let mut deaths = 0;
    while deaths < 12 {
        let mut peers: [Peer; 2] = std::array::from_fn(|_| place.peer());
        for peer in &mut peers {
            peer.open(&queue);
            peer.ok("reserve q unfinished");
        }
        let mut third = place.peer();
        let full = third.err(format!("open q {}", queue.to_json()));
        assert!(full.starts_with("TooManyParticipants") && full.contains("max: 3"), "{full}");
        let (id, count) = lease(&mut peers[0], "x");
        assert_eq!((id, count), (2, 1 + deaths / 2));
        for peer in &mut peers {
            peer.kill();
            deaths += 1;
        }
        // What the dead claimed is gone, also where their ids are taken already.
        third.open(&queue);
    }
    assert_eq!(queue.get().unwrap().delivery_count, 7);
    // The look that finds nothing is the one that skips what is left of the dead.
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    assert_eq!(queue.stats().unwrap().skipped, 12);
}
