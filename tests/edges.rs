//! Promises at the edges, through shared queues of every mode: no time at all, more packets than a
//! ring has room for, more queues than a word has bits, and handles that outlive their queue.

use std::time::Duration;

use ringway::error::{GetError, PutError};
use ringway::queue::{Queue, QueueConfig, QueueDescriptor, Selector, Side, Wait};

/// How long a test waits for what must happen.
const WATCHDOG: Duration = Duration::from_secs(20);

fn config(mode: usize, maxsize: u64) -> QueueConfig {
    let side = |bit: u32| if mode >> bit & 1 == 0 { Side::Single } else { Side::Multi };
    QueueConfig {
        maxsize,
        capacity_packets: Some(8),
        capacity_bytes: Some(4096),
        producers: side(0),
        consumers: side(1),
        ..QueueConfig::default()
    }
}

/// Queues of every mode, bounded by space and by one packet, on the heap and in segments.
fn each(mut test: impl FnMut(&QueueDescriptor, &str)) {
    let directory = tempfile::tempdir().unwrap();
    for (mode, maxsize) in (0..4).flat_map(|mode| [(mode, 0), (mode, 1)]) {
        let local = QueueDescriptor::local_unnamed().unwrap();
        let shm = QueueDescriptor::shm(&format!("edge-{mode}-{maxsize}")).unwrap();
        for queue in [local, shm.with_directory(directory.path()).unwrap()] {
            let queue = queue.with_config(config(mode, maxsize)).unwrap();
            test(&queue, &format!("{queue}, mode {mode}, maxsize {maxsize}"));
        }
    }
}

#[test]
fn without_any_time_what_can_be_done_is_done() {
    each(|queue, what| {
        assert!(matches!(queue.get_timeout(Duration::ZERO), Err(GetError::Timeout)), "{what}");
        queue.put_timeout(b"now", Duration::ZERO).unwrap();
        while queue.try_put(b"more").is_ok() {}
        let refused = queue.put_timeout(b"late", Duration::ZERO);
        assert!(matches!(refused, Err(PutError::Timeout)), "{what}: {refused:?}");
        assert_eq!(queue.get_timeout(Duration::ZERO).unwrap().payload, b"now", "{what}");
        queue.put_timeout(b"again", Duration::MAX).unwrap();
        assert_eq!(queue.get_timeout(Duration::MAX).unwrap().delivery_count, 1);
    });
}

#[test]
fn more_packets_than_a_ring_has_room_for_arrive_in_order_with_a_consumer() {
    each(|queue, what| {
        let payloads: Vec<Vec<u8>> = (0..500_u32)
            .map(|i| vec![i as u8; [0, 1, 48, 49, 600, 1024][i as usize % 6]])
            .collect();
        let slices: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        std::thread::scope(|scope| {
            let put = scope.spawn(|| queue.put_many(&slices));
            for payload in &payloads {
                let got = queue.get_timeout(WATCHDOG).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert!(got.payload == *payload && !got.redelivered, "{what}");
            }
            put.join().unwrap().unwrap();
        });
        assert_eq!((queue.qsize().unwrap(), queue.in_flight().unwrap()), (0, 0), "{what}");
        // Without one, the count says how far it came; with one that closes, why.
        let error = queue.try_put_many(&slices).unwrap_err();
        assert!(error.put >= 1 && matches!(error.error, PutError::Full), "{what}: {error}");
        assert_eq!(queue.qsize().unwrap(), error.put as u64, "{what}");
        std::thread::scope(|scope| {
            let put = scope.spawn(|| queue.put_many(&slices));
            queue.close().unwrap();
            let error = put.join().unwrap().unwrap_err();
            assert!(matches!(error.error, PutError::Closed), "{what}: {error}");
        });
    });
}

#[test]
fn a_selector_waits_on_more_queues_than_a_word_has_bits() {
    let directory = tempfile::tempdir().unwrap();
    let queues: Vec<Queue> = (0..150)
        .map(|i| {
            let queue = match i % 3 {
                0 => QueueDescriptor::local_unnamed().unwrap(),
                kind => {
                    // Many rings of one segment, and segments of one ring.
                    let id = if kind == 1 { format!("s-{i}") } else { format!("s-{i}:r") };
                    let shm = QueueDescriptor::shm(&id).unwrap();
                    shm.with_directory(directory.path()).unwrap()
                }
            };
            queue.with_config(config(i % 4, 0)).unwrap().queue().unwrap()
        })
        .collect();
    let mut selector = Selector::new(queues.clone());
    for round in 0..3 {
        for (index, queue) in queues.iter().enumerate().skip(round).step_by(7) {
            std::thread::scope(|scope| {
                scope.spawn(|| queue.put(&[index as u8]).unwrap());
                let (from, lease) = selector.lease(Wait::at_most(WATCHDOG)).unwrap();
                assert_eq!((from, &*lease), (index, &[index as u8][..]));
                lease.ack();
            });
        }
    }
    assert!(matches!(selector.lease(Wait::at_most(Duration::ZERO)), Err(GetError::Timeout)));
}

#[test]
fn leases_and_reservations_outlive_cache_queue_and_descriptor() {
    each(|queue, what| {
        queue.put(b"kept").unwrap();
        let lease = queue.lease().unwrap();
        let mut room = queue.reserve(1000).unwrap();
        queue.clear_cache();
        assert_eq!(&*lease, b"kept", "{what}");
        room.fill(9);
        queue.destroy().unwrap();
        room.fill(8);
        assert!(&*lease == b"kept" && room.iter().all(|byte| *byte == 8), "{what}");
        // The queue is gone, so it does not matter what becomes of these; nothing breaks.
        lease.ack();
        let _ = room.commit();
        assert!(matches!(queue.qsize(), Ok(0) | Err(_)), "{what}");
    });
}

#[test]
fn a_reservation_held_while_its_own_thread_puts_is_an_error_or_goes_first() {
    each(|queue, what| {
        let mut room = queue.reserve(2).unwrap();
        room.copy_from_slice(b"me");
        match queue.try_put(b"next") {
            // The only producer is writing: another record cannot be begun.
            Err(PutError::RoleTaken { pid }) => assert_eq!(pid, std::process::id(), "{what}"),
            // With one packet at most, that is it.
            Err(PutError::Full) => assert_eq!(queue.maxsize().unwrap(), 1, "{what}"),
            other => other.unwrap_or_else(|error| panic!("{what}: {error}")),
        }
        // Nobody gets what is behind before what is first.
        assert!(matches!(queue.try_get(), Err(GetError::Empty)), "{what}");
        room.commit().unwrap();
        assert_eq!(queue.try_get().unwrap().payload, b"me", "{what}");
    });
}

#[test]
fn a_reservation_moved_to_a_thread_that_puts_there_ends_at_the_deadline() {
    each(|queue, what| {
        let room = queue.reserve(2).unwrap();
        let queue = queue.clone();
        let moved = std::thread::spawn(move || {
            let put = queue.put_timeout(b"behind", Duration::from_millis(20));
            drop(room);
            // Whoever looks passes over the place, and gets what is behind it.
            let got = queue.try_get().map(|got| got.payload);
            (put, got, queue.put_timeout(b"after", WATCHDOG))
        });
        let (put, got, after) = moved.join().unwrap();
        match put {
            Ok(()) => assert_eq!(got.unwrap(), b"behind", "{what}"),
            Err(PutError::Timeout) => {
                assert!(matches!(got, Err(GetError::Empty)), "{what}: {got:?}");
            }
            Err(other) => panic!("{what}: {other}"),
        }
        after.unwrap_or_else(|error| panic!("{what}: {error}"));
    });
}
