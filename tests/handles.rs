//! What handles, leases and selectors promise among the threads of one process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use ringway::error::{GetError, PutError};
use ringway::queue::{
    Lease, Queue, QueueConfig, QueueDescriptor, RecordKind, Selector, Side, Wait,
};

/// How long a test waits for what must happen.
const WATCHDOG: Duration = Duration::from_secs(20);

fn queue(producers: Side, consumers: Side) -> Queue {
    let config = QueueConfig {
        producers,
        consumers,
        capacity_packets: Some(8),
        capacity_bytes: Some(4096),
        ..QueueConfig::default()
    };
    let unnamed = QueueDescriptor::local_unnamed().unwrap();
    unnamed.with_config(config).unwrap().queue().unwrap()
}

/// Gives the record that is `nth` in a new ring a length that makes no sense; says where it lies.
fn spoil(queue: &Queue, nth: u64) -> u64 {
    let memory = queue.backend().ring().unwrap().raw().memory();
    let pos = memory.geometry().bits().first_pos() + nth;
    memory.entry(pos).len.store(u32::MAX, Ordering::Relaxed);
    pos
}

#[test]
fn a_handle_that_takes_over_the_consumers_role_loses_no_record() {
    for round in 0..3000_u32 {
        let queue = queue(Side::Multi, Side::Single);
        queue.put(b"a").unwrap();
        let owned = queue.backend().ring().unwrap().consumer().unwrap();
        let go = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !go.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
                for _ in 0..round % 97 * 20 {
                    std::hint::spin_loop();
                }
                drop(owned);
            });
            go.store(true, Ordering::Release);
            loop {
                match queue.try_get() {
                    Ok(got) => break assert_eq!(got.payload, b"a"),
                    Err(GetError::RoleTaken { .. }) => {}
                    Err(error) => panic!("round {round}: {error}, {} in flight", queue.in_flight()),
                }
            }
        });
    }
}

#[test]
fn a_close_reaches_a_producer_that_waits_behind_a_reservation() {
    let queue = queue(Side::Single, Side::Multi);
    let held = queue.reserve(4).unwrap();
    let (began, begins) = mpsc::channel();
    let (ended, ends) = mpsc::channel();
    let other = queue.clone();
    let thread = std::thread::spawn(move || {
        began.send(()).unwrap();
        ended.send(other.put(b"behind")).unwrap();
    });
    begins.recv_timeout(WATCHDOG).unwrap();
    queue.close().unwrap();
    // The reservation is still there: it began before the close.
    assert!(matches!(ends.recv_timeout(WATCHDOG).unwrap(), Err(PutError::Closed)));
    thread.join().unwrap();
    held.commit().unwrap();
    assert_eq!(queue.get().unwrap().payload.len(), 4);
    assert!(matches!(queue.get(), Err(GetError::Closed)));
}

#[test]
fn a_selector_delivers_what_is_given_back_after_it_said_closed() {
    for consumers in [Side::Single, Side::Multi] {
        let queue = queue(Side::Multi, consumers);
        let mut selector = Selector::new([queue.clone()]);
        queue.put(b"again").unwrap();
        queue.close().unwrap();
        let (_, held) = selector.lease(Wait::No).unwrap();
        assert!(matches!(selector.lease(Wait::No), Err(GetError::Closed)));
        drop(held);
        let (index, again) = selector.lease(Wait::No).unwrap();
        assert_eq!((index, &*again, again.delivery_count()), (0, &b"again"[..], 2));
        again.ack();
        assert!(matches!(selector.lease(Wait::No), Err(GetError::Closed)));
    }
}

#[test]
fn every_put_that_returned_is_got_before_closed() {
    for round in 0..300_u32 {
        let queue = queue(Side::Single, Side::Single);
        let ring = queue.backend().ring().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let (put, got) = std::thread::scope(|scope| {
            let puts = scope.spawn(move || {
                let mut count = 0;
                while producer.put(RecordKind::RAW, b"z", Wait::Forever).is_ok() {
                    count += 1;
                }
                count
            });
            scope.spawn(|| {
                for _ in 0..round % 50 * 10 {
                    std::hint::spin_loop();
                }
                queue.close().unwrap();
            });
            let (mut bytes, mut got) = (Vec::new(), 0);
            while consumer.get_into(&mut bytes, Wait::Forever).is_ok() {
                got += 1;
            }
            (puts.join().unwrap(), got)
        });
        assert_eq!(put, got, "round {round}");
    }
}

#[test]
fn leases_of_an_owned_consumer_end_from_any_thread_in_any_order() {
    let queue = queue(Side::Multi, Side::Single);
    let mut consumer = queue.backend().ring().unwrap().consumer().unwrap();
    let mut bytes = Vec::new();
    for round in 0..500_u32 {
        for i in 0..4_u32 {
            queue.put(&(round * 4 + i).to_le_bytes()).unwrap();
        }
        let mut leases = Vec::new();
        consumer.lease_many(3, &mut leases, Wait::No).unwrap();
        let last = leases.pop().unwrap();
        std::thread::scope(|scope| {
            for lease in leases {
                scope.spawn(|| lease.ack());
            }
        });
        // What is given back comes first, then what is new.
        drop(last);
        for i in 2..4 {
            consumer.get_into(&mut bytes, Wait::No).unwrap();
            assert_eq!(bytes, (round * 4 + i).to_le_bytes());
        }
        assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
    }
    drop(consumer);
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
}

#[test]
fn a_record_whose_length_makes_no_sense_is_reported_once_and_wedges_nobody() {
    for consumers in [Side::Single, Side::Multi] {
        for owned in [false, true] {
            let queue = queue(Side::Multi, consumers);
            let ring = queue.backend().ring().unwrap();
            queue.put(b"bad").unwrap();
            queue.put(b"good").unwrap();
            let first = spoil(&queue, 0);
            let mut consumer = owned.then(|| ring.consumer().unwrap());
            let mut get = || match &mut consumer {
                None => queue.try_get().map(|got| got.payload),
                Some(consumer) => {
                    let mut bytes = Vec::new();
                    consumer.get_into(&mut bytes, Wait::No).map(|_| bytes)
                }
            };
            assert!(matches!(get(), Err(GetError::Corrupt { pos, .. }) if pos == first));
            assert_eq!(get().unwrap(), b"good");
            assert!(matches!(get(), Err(GetError::Empty)));
            assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
        }
    }
}

#[test]
fn leases_taken_together_end_before_a_bad_record_and_the_next_call_reports_it() {
    for consumers in [Side::Single, Side::Multi] {
        for owned in [false, true] {
            let queue = queue(Side::Multi, consumers);
            let ring = queue.backend().ring().unwrap();
            for record in [b"one", b"bad", b"two"] {
                queue.put(record).unwrap();
            }
            let bad = spoil(&queue, 1);
            let mut consumer = owned.then(|| ring.consumer().unwrap());
            let mut lease = || -> Result<Vec<Vec<u8>>, GetError> {
                let leases = match &mut consumer {
                    None => queue.lease_many(9, Wait::No)?,
                    Some(consumer) => {
                        let mut leases = Vec::new();
                        consumer.lease_many(9, &mut leases, Wait::No)?;
                        leases
                    }
                };
                let take = |lease: Lease| (lease.to_vec(), lease.ack()).0;
                Ok(leases.into_iter().map(take).collect())
            };
            assert_eq!(lease().unwrap(), [b"one"]);
            assert!(matches!(lease(), Err(GetError::Corrupt { pos, .. }) if pos == bad));
            assert_eq!(lease().unwrap(), [b"two"]);
            assert!(matches!(lease(), Err(GetError::Empty)));
            assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
        }
    }
}

#[test]
fn records_read_in_one_go_end_before_a_bad_record_and_the_next_call_reports_it() {
    for consumers in [Side::Single, Side::Multi] {
        let queue = queue(Side::Multi, consumers);
        let mut consumer = queue.backend().ring().unwrap().consumer().unwrap();
        for record in [b"one", b"bad", b"two"] {
            queue.put(record).unwrap();
        }
        let bad = spoil(&queue, 1);
        let mut read = || {
            let mut all = Vec::new();
            let count = consumer.get_many_with(9, Wait::No, |bytes, _| all.push(bytes.to_vec()));
            count.map(|count| (count, all))
        };
        assert_eq!(read().unwrap(), (1, vec![b"one".to_vec()]));
        assert!(matches!(read(), Err(GetError::Corrupt { pos, .. }) if pos == bad));
        assert_eq!(read().unwrap(), (1, vec![b"two".to_vec()]));
        assert!(matches!(read(), Err(GetError::Empty)));
        assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
    }
}

#[test]
fn a_batch_of_one_producer_keeps_its_order_whatever_its_lengths_and_stops_where_it_is_full() {
    let queue = queue(Side::Single, Side::Single);
    let ring = queue.ring().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    let unit = ring.raw().geometry().unit_bytes as usize;
    let lengths = [8, 48, 49, unit, unit + 1, 0, 1, 2 * unit, 32];
    let payloads: Vec<Vec<u8>> =
        (0..200).map(|i| vec![i as u8; lengths[i % lengths.len()]]).collect();
    let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let (mut put, mut got) = (0, 0);
    let mut bytes = Vec::new();
    while got < slices.len() {
        let (count, error) = producer.put_many(RecordKind::RAW, &slices[put..], Wait::No);
        put += count;
        assert!(matches!(error, Some(PutError::Full)) || put == slices.len(), "{error:?}");
        // Some, but not all: the next batch begins anywhere.
        for _ in 0..3 {
            if consumer.get_into(&mut bytes, Wait::No).is_ok() {
                assert_eq!(bytes, payloads[got], "packet {got}");
                got += 1;
            }
        }
    }
    assert_eq!((put, queue.qsize(), queue.in_flight()), (200, 0, 0));
    let stats = queue.stats();
    assert_eq!((stats.puts, stats.gets), (200, 200));
}

#[test]
fn records_of_every_length_come_in_order_once_and_give_their_room_back() {
    let sides = [Side::Single, Side::Multi];
    for (producers, consumers) in sides.map(|side| sides.map(|other| (side, other))).concat() {
        let queue = queue(producers, consumers);
        let ring = queue.ring().unwrap();
        let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
        let unit = ring.raw().geometry().unit_bytes as usize;
        let lengths = [8, 48, 49, unit, unit + 1, 0, 1, 2 * unit, 32];
        let payload = |n: usize| vec![n as u8; lengths[n % lengths.len()]];
        let mut bytes = Vec::new();
        let (mut put, mut got, mut total) = (0, 0, 0);
        while got < 500 {
            while producer.put(RecordKind::RAW, &payload(put), Wait::No).is_ok() {
                total += payload(put).len() as u64;
                put += 1;
            }
            assert!(put > got, "{producers:?} {consumers:?}: full behind {got}, though empty");
            // Some, but not all: what is put next begins anywhere.
            for _ in 0..1 + got % 3 {
                let Ok(info) = consumer.get_into(&mut bytes, Wait::No) else { break };
                assert_eq!(bytes, payload(got), "packet {got}, {producers:?} {consumers:?}");
                assert_eq!((info.len, info.delivery_count), (bytes.len(), 1));
                got += 1;
            }
            assert_eq!((queue.qsize(), queue.in_flight()), ((put - got) as u64, 0));
        }
        while consumer.get_into(&mut bytes, Wait::No).is_ok() {}
        let stats = queue.stats();
        assert_eq!((stats.puts, stats.gets, stats.bytes_put), (put as u64, put as u64, total));
        assert_eq!(queue.occupancy(), 0.0);
    }
}

#[test]
fn what_was_given_back_is_held_before_what_waits() {
    for producers in [Side::Single, Side::Multi] {
        let queue = queue(producers, Side::Multi);
        let mut consumer = queue.ring().unwrap().consumer().unwrap();
        for payload in [b"a", b"b", b"c", b"d"] {
            queue.put(payload).unwrap();
        }
        let held = |consumer: &ringway::queue::Consumer| -> Vec<_> {
            consumer.held_records().map(|(bytes, it)| (bytes[0], it.delivery_count)).collect()
        };
        // A busy ring is never idle: it must not wait until then.
        drop(queue.lease().unwrap());
        assert_eq!(consumer.hold_ready(1).unwrap(), 1);
        assert_eq!(held(&consumer), [(b'a', 2)]);
        drop(queue.lease().unwrap());
        assert_eq!(consumer.hold_many(8, Wait::No).unwrap(), 3);
        assert_eq!(held(&consumer), [(b'a', 2), (b'b', 2), (b'c', 1), (b'd', 1)]);
        assert_eq!(consumer.hold_ready(1).unwrap(), 0);
        consumer.ack_oldest(3);
        assert_eq!((held(&consumer), queue.in_flight()), (vec![(b'd', 1)], 1));
        drop(consumer);
        assert_eq!(queue.try_get().unwrap().delivery_count, 2);
    }
}

#[test]
fn a_record_whose_reader_panics_comes_again_flagged_before_what_waits() {
    for (consumers, len) in
        [Side::Single, Side::Multi].into_iter().flat_map(|side| [(side, 8), (side, 100)])
    {
        let queue = queue(Side::Single, consumers);
        let payload = |number: u8| vec![number; len];
        let mut consumer = queue.backend().ring().unwrap().consumer().unwrap();
        // The first ends well, so that nothing is held when the second is read.
        for (number, panics) in [(1, false), (2, true), (3, false), (4, true)] {
            queue.put(&payload(number)).unwrap();
            queue.put(b"behind").unwrap();
            let read = |bytes: &[u8], info: ringway::queue::RecordInfo| {
                assert_eq!((bytes, info.delivery_count), (&payload(number)[..], 1));
                // Not by `panic!`, which would be printed.
                if panics {
                    std::panic::resume_unwind(Box::new("the reader panics"));
                }
            };
            let got = std::panic::AssertUnwindSafe(|| consumer.get_with(Wait::No, read));
            match std::panic::catch_unwind(got) {
                Ok(got) => got.unwrap(),
                Err(cause) => {
                    assert_eq!(cause.downcast_ref(), Some(&"the reader panics"));
                    assert_eq!(queue.qsize(), 1, "{consumers:?}");
                    let again = consumer.get_with(Wait::No, |bytes, info| {
                        assert_eq!((bytes, info.delivery_count), (&payload(number)[..], 2));
                    });
                    again.unwrap();
                }
            }
            let behind = consumer.get_with(Wait::No, |bytes, info| {
                assert_eq!((bytes, info.delivery_count), (&b"behind"[..], 1));
            });
            behind.unwrap();
            let nothing = consumer.get_with(Wait::No, |_, _| ());
            assert!(matches!(nothing, Err(GetError::Empty)), "{nothing:?}");
        }
        let stats = queue.stats();
        let bytes = 4 * (len as u64 + 6);
        assert_eq!(
            (stats.gets, stats.bytes_got, stats.redelivered),
            (8, bytes, 2),
            "{consumers:?}"
        );
        assert_eq!(queue.in_flight(), 0, "{consumers:?}");
    }
}
