//! Words that no ringway writes, in a ring: found by mutating segments, kept here as short as they
//! get. Whoever meets one gets an error or goes on; nobody panics, and nobody loops for long.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ringway::error::GetError;
use ringway::queue::{Queue, QueueConfig, QueueDescriptor, Side};
use ringway::shm::layout::RingHeader;
use ringway::shm::ring::Ring;
use ringway::shm::ring::stamp::State;

const SIDES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Single),
    (Side::Multi, Side::Multi),
];

/// A queue of this test's own, with two packets in it.
fn queue(test: &str, producers: Side, consumers: Side) -> Queue {
    let id = format!("hostile-rings/{test}-{producers:?}-{consumers:?}");
    let config =
        QueueConfig { capacity_packets: Some(16), producers, consumers, ..Default::default() };
    let queue = QueueDescriptor::local(&id).unwrap().with_config(config).unwrap().queue().unwrap();
    queue.put(b"one").unwrap();
    queue.put(&[2; 200]).unwrap();
    queue
}

fn ring(queue: &Queue) -> &Ring {
    queue.backend().ring().unwrap().raw()
}

#[test]
fn a_claim_ahead_of_the_head_is_reported_and_not_waited_for() {
    for consumers in [Side::Single, Side::Multi] {
        let queue = queue("claim", Side::Multi, consumers);
        while queue.try_get().is_ok() {}
        let bits = ring(&queue).geometry().bits();
        let tail = ring(&queue).memory().header().producers.tail.load(Relaxed);
        let pos = bits.unpack_mark(tail).pos;
        let ahead = bits.pack(State::Claimed, pos + bits.entries(), 1, 2);
        ring(&queue).memory().claim(pos).store(ahead, Relaxed);
        match queue.try_get() {
            Err(GetError::Corrupt { what, pos: at }) => {
                assert_eq!((what, at), ("a claim ahead of the head", pos));
            }
            other => panic!("{consumers:?}: {other:?}"),
        }
    }
}

#[test]
fn no_number_of_a_ring_makes_anybody_panic() {
    type Word = fn(&RingHeader) -> &AtomicU64;
    let words: [(&str, Word); 13] = [
        ("tail", |header| &header.producers.tail),
        ("intent", |header| &header.producers.intent),
        ("extra units put", |header| &header.producers.extra_units),
        ("bytes put", |header| &header.producers.bytes),
        ("high water", |header| &header.producers.high_water),
        ("head", |header| &header.consumers.head),
        ("peek", |header| &header.consumers.peek),
        ("extra units got", |header| &header.consumers.extra_units),
        ("bytes got", |header| &header.consumers.bytes),
        ("frontier", |header| &header.frontier.frontier),
        ("hint", |header| &header.hint.head_hint),
        ("large claim", |header| &header.shared.large_claim),
        ("first", |header| &header.shared.first_pos),
    ];
    for (producers, consumers) in SIDES {
        for (name, word) in words {
            for value in [0, 1, u64::MAX, u64::MAX - 1, u64::MAX >> 4, 1 << 63] {
                let id = format!("{name}-{value}").replace(' ', "-");
                let queue = queue(&id, producers, consumers);
                word(ring(&queue).memory().header()).store(value, Relaxed);
                // Both by the handle that had the role before, and by one that takes it anew.
                for _ in 0..2 {
                    for len in [8, 64, 500] {
                        let _ = queue.try_put(&vec![7; len]);
                        let _ = queue.try_get();
                    }
                    let _ = (queue.qsize(), queue.in_flight(), queue.occupancy(), queue.is_full());
                    let _ = (queue.backend().stats(), queue.backend().ring().unwrap().blocked_by());
                    drop(queue.backend().ring().unwrap().producer());
                    drop(queue.backend().ring().unwrap().consumer());
                }
                let _ = queue.close();
                while queue.try_get().is_ok() {}
            }
        }
    }
}

/// Every state, of laps before, of and behind the position, short and long, anybody's.
fn take_words(ring: &Ring, pos: u64) -> Vec<u64> {
    let bits = ring.geometry().bits();
    let mut words = vec![1, u64::MAX, u64::MAX << 3, u64::MAX >> 1];
    for state in State::ALL {
        for lap in [0, bits.lap(pos), bits.lap(pos) + 1, bits.lap(bits.last_pos())] {
            for n in [1, 2, bits.max_units()] {
                for owner in [0, 1, 2, 1023] {
                    words.push(bits.pack(state, lap * bits.entries(), n, owner));
                }
            }
        }
    }
    words
}

#[test]
fn no_take_word_makes_anybody_panic_or_wait_for_long() {
    for producers in [Side::Single, Side::Multi] {
        // That of the record that is leased, of the one at the head, and of one inside that.
        for offset in 0..3 {
            let queue = queue(&format!("take-{offset}"), producers, Side::Multi);
            let bits = ring(&queue).geometry().bits();
            for word in take_words(ring(&queue), bits.first_pos()) {
                let id = format!("take-{offset}-{word}");
                let queue = self::queue(&id, producers, Side::Multi);
                let lease = queue.try_lease().unwrap();
                let pos = bits.first_pos() + offset;
                ring(&queue).memory().take(pos).store(word, Relaxed);
                let _ = queue.try_get_many(9);
                let _ = (queue.qsize(), queue.in_flight(), queue.occupancy(), queue.is_full());
                let _ = (queue.backend().stats(), queue.backend().ring().unwrap().blocked_by());
                let mut consumer = queue.ring().unwrap().consumer().unwrap();
                let _ = consumer.hold_many(5, ringway::queue::Wait::No);
                drop(lease);
                consumer.ack_held();
                drop(consumer);
                for len in [8, 64, 500] {
                    let _ = queue.try_put(&vec![7; len]);
                    let _ = queue.try_put_many(&[&[1; 8][..]; 20]);
                    drop(queue.try_lease());
                    let _ = queue.try_get_many(20);
                    let _ = queue.try_put_many(&[&[1; 8][..]; 20]);
                    if let Ok(mut consumer) = queue.ring().unwrap().consumer() {
                        let _ = consumer.get_many_with(20, ringway::queue::Wait::No, |_, _| ());
                    }
                }
                let _ = queue.close();
                while queue.try_get().is_ok() {}
            }
        }
    }
}

#[test]
fn a_take_word_ahead_of_the_head_is_reported_and_not_waited_for() {
    for producers in [Side::Single, Side::Multi] {
        let queue = queue("ahead", producers, Side::Multi);
        let bits = ring(&queue).geometry().bits();
        let pos = bits.first_pos();
        let ahead = bits.pack(State::Reading, pos + bits.entries(), 1, 2);
        ring(&queue).memory().take(pos).store(ahead, Relaxed);
        match queue.try_get() {
            Err(GetError::Corrupt { what, pos: at }) => {
                assert_eq!((what, at), ("a word ahead of the head", pos));
            }
            other => panic!("{producers:?}: {other:?}"),
        }
        let in_no_state = bits.pack(State::Claimed, pos, 1, 2);
        ring(&queue).memory().take(pos).store(in_no_state, Relaxed);
        match queue.try_get() {
            Err(GetError::Corrupt { what, pos: at }) => {
                assert_eq!((what, at), ("a record in no state", pos));
            }
            other => panic!("{producers:?}: {other:?}"),
        }
    }
}
