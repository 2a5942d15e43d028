//! Promises about watching packets pass: whole, in order, and whatever was missed is counted.

mod support;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ringway::queue::{Queue, QueueConfig, QueueDescriptor, Side};
use ringway::shm::inspect::{Polled, Tap, TapStart, Tapped};
use support::wait_until;

const MODES: [(Side, Side, &str); 4] = [
    (Side::Single, Side::Single, "spsc"),
    (Side::Multi, Side::Single, "mpsc"),
    (Side::Single, Side::Multi, "spmc"),
    (Side::Multi, Side::Multi, "mpmc"),
];

fn queue(id: &str, producers: Side, consumers: Side) -> Queue {
    let config = QueueConfig {
        capacity_packets: Some(64),
        timestamps: true,
        producers,
        consumers,
        ..QueueConfig::default()
    };
    let queue = QueueDescriptor::local(&format!("tap/{id}")).unwrap();
    queue.with_config(config).unwrap().queue().unwrap()
}

fn tap(queue: &Queue, start: TapStart) -> Tap {
    Tap::of_view(queue.ring().unwrap().raw().view(), start)
}

fn payloads(tap: &mut Tap) -> (Vec<Vec<u8>>, Polled) {
    let mut all = Vec::new();
    let polled = tap.poll(usize::MAX, |tapped| {
        if let Tapped::Packet(passed) = tapped {
            all.push(passed.payload);
        }
    });
    (all, polled)
}

/// A payload that no half of another can pass for.
fn numbered(number: u64) -> Vec<u8> {
    let words = 1 + number % 40;
    (0..words).flat_map(|word| (number ^ word.rotate_left(32)).to_le_bytes()).collect()
}

#[test]
fn every_packet_is_seen_whole_or_counted_as_missed() {
    const PACKETS: u64 = 60_000;
    for (producers, consumers, mode) in MODES {
        let queue = queue(&format!("all/{mode}"), producers, consumers);
        let mut tap = tap(&queue, TapStart::Now);
        let done = AtomicBool::new(false);
        let (mut next, mut missed) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..PACKETS {
                    queue.put(&numbered(number)).unwrap();
                }
                queue.close().unwrap();
            });
            scope.spawn(|| {
                while queue.get().is_ok() {}
                done.store(true, SeqCst);
            });
            let mut ended = false;
            wait_until("the ring is closed and the tap at its end", || {
                let finished = done.load(SeqCst);
                let (mut seen, mut gaps) = (0, 0);
                let polled = tap.poll(usize::MAX, |tapped| match tapped {
                    Tapped::Packet(passed) => {
                        let number = u64::from_le_bytes(passed.payload[..8].try_into().unwrap());
                        assert!(passed.payload == numbered(number), "{mode}: torn");
                        assert!(passed.put_at_ns.is_some());
                        // In order; and what is missing before it is what was counted.
                        assert_eq!(number, next + missed, "{mode}");
                        (next, missed) = (number + 1, 0);
                        seen += 1;
                    }
                    Tapped::Missed(packets) => {
                        missed += packets;
                        gaps += packets;
                    }
                });
                assert_eq!((polled.seen, polled.missed), (seen, gaps));
                assert!(!polled.damaged, "{mode}");
                ended = polled.ended;
                finished && ended
            });
        });
        assert_eq!(next + missed, PACKETS, "{mode}: every packet was seen or counted");
    }
}

#[test]
fn looking_takes_nothing_and_begins_where_it_was_asked_to() {
    for (producers, consumers, mode) in MODES {
        let queue = queue(&format!("start/{mode}"), producers, consumers);
        queue.put(b"taken").unwrap();
        let lease = queue.lease().unwrap();
        queue.put(b"waits").unwrap();
        let (mut now, mut waiting) = (tap(&queue, TapStart::Now), tap(&queue, TapStart::Waiting));
        queue.put(b"later").unwrap();
        assert_eq!(payloads(&mut now).0, [b"later"]);
        assert_eq!(payloads(&mut waiting).0, [b"waits", b"later"]);
        assert_eq!((queue.qsize(), queue.in_flight()), (2, 1), "{mode}: nothing was taken");
        lease.ack();
        // Acknowledged is not overwritten: it can still be seen.
        assert_eq!(queue.get().unwrap().payload, b"waits");
        queue.put(b"fast").unwrap();
        assert_eq!(queue.get().unwrap().payload, b"later");
        assert_eq!(queue.get().unwrap().payload, b"fast");
        if cfg!(target_arch = "x86_64") {
            assert_eq!(payloads(&mut now).0, [b"fast"], "{mode}");
        }
    }
}

#[test]
fn what_is_not_committed_holds_the_tap_up_and_what_never_is_is_passed_over() {
    for (producers, consumers, mode) in MODES {
        let queue = queue(&format!("writer/{mode}"), producers, consumers);
        let mut tap = tap(&queue, TapStart::Now);
        queue.put(b"one").unwrap();
        let place = queue.reserve(500).unwrap();
        assert_eq!(payloads(&mut tap).0, [b"one"]);
        if producers == Side::Multi {
            queue.put(b"two").unwrap();
            let (nothing, polled) = payloads(&mut tap);
            assert!(nothing.is_empty() && polled.waits_for_writer, "{mode}: in order");
            drop(place);
        } else {
            drop(place);
            queue.put(b"two").unwrap();
        }
        let (behind, polled) = payloads(&mut tap);
        assert_eq!((behind, polled.missed), (vec![b"two".to_vec()], 0), "{mode}");
        assert!(!polled.ended);
        queue.close().unwrap();
        assert!(payloads(&mut tap).1.ended, "{mode}");
    }
}

#[test]
fn what_was_overwritten_is_counted_with_large_records_too() {
    for (producers, consumers, mode) in MODES {
        let queue = queue(&format!("over/{mode}"), producers, consumers);
        let mut tap = tap(&queue, TapStart::Now);
        // Some laps, in records of one unit and of several.
        for number in 0_u64..500 {
            let payload = vec![7; if number % 3 == 0 { 700 } else { 8 }];
            queue.put_timeout(&payload, Duration::from_secs(10)).unwrap();
            queue.get().unwrap();
        }
        queue.put(b"the last").unwrap();
        let (seen, polled) = payloads(&mut tap);
        assert_eq!(seen.last().unwrap(), b"the last", "{mode}");
        assert_eq!(polled.missed + polled.seen, 501, "{mode}");
    }
}

#[test]
fn a_place_that_is_being_written_again_is_not_shown_as_the_packet_before() {
    for (producers, consumers, mode) in MODES {
        let queue = queue(&format!("again/{mode}"), producers, consumers);
        let mut tap = tap(&queue, TapStart::Now);
        for _ in 0..64 {
            queue.put(b"before").unwrap();
            queue.get().unwrap();
        }
        // The place of the first packet, whose stamp is still that of the packet before.
        let mut place = queue.reserve(6).unwrap();
        place.copy_from_slice(b"AFT???");
        let (seen, polled) = payloads(&mut tap);
        assert!(seen.iter().all(|payload| payload == b"before"), "{mode}: {seen:?}");
        assert!(polled.missed >= 1 && polled.missed + polled.seen == 64, "{mode}: {polled:?}");
        drop(place);
    }
}
