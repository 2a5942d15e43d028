//! Packets delivered too often: moved with their history, kept while there is no room, or counted
//! and dropped.

use std::sync::atomic::Ordering::Relaxed;

use ringway::error::GetError;
use ringway::queue::{BlockKind, Queue, QueueConfig, QueueDescriptor, Side};
use ringway::shm::layout::REDELIVERIES_SHIFT;

const CONSUMERS: [Side; 2] = [Side::Single, Side::Multi];

fn config(consumers: Side, dead_letter: Option<&str>) -> QueueConfig {
    QueueConfig {
        capacity_packets: Some(8),
        capacity_bytes: Some(4096),
        consumers,
        timestamps: true,
        max_deliveries: 2,
        dead_letter: dead_letter.map(str::to_owned),
        ..QueueConfig::default()
    }
}

/// A queue in a segment of its own, the directory that it is in, and the ring of its dead letters.
fn pair(consumers: Side) -> (tempfile::TempDir, Queue, Queue) {
    pair_of(consumers, 8)
}

/// As [`pair`], with so many entries in each ring.
fn pair_of(consumers: Side, entries: u64) -> (tempfile::TempDir, Queue, Queue) {
    let wide = |config| QueueConfig {
        capacity_packets: Some(entries),
        capacity_bytes: Some((64 * entries).max(4096)),
        ..config
    };
    let dir = tempfile::tempdir().unwrap();
    let named = |id, config| {
        QueueDescriptor::shm(id)
            .and_then(|queue| queue.with_directory(dir.path()))
            .and_then(|queue| queue.with_config(config))
            .unwrap()
    };
    let queue = named("s:orders", wide(config(consumers, Some("dead"))));
    let queue = queue.queue().unwrap();
    let dead = wide(QueueConfig { max_deliveries: 0, ..config(Side::Multi, None) });
    let dead = named("s:dead", dead).queue().unwrap();
    (dir, queue, dead)
}

/// Takes the next packet and gives it back.
fn fail(queue: &Queue, payload: &[u8], deliveries: u32) {
    let lease = queue.try_lease().unwrap();
    assert_eq!((&*lease, lease.delivery_count()), (payload, deliveries));
}

fn fill(queue: &Queue) {
    while queue.try_put(b"filler").is_ok() {}
}

#[test]
fn a_packet_delivered_too_often_goes_to_its_ring_with_its_history() {
    for consumers in CONSUMERS {
        let (_dir, queue, dead) = pair(consumers);
        queue.put(b"fine").unwrap();
        let put_before = ringway::shm::os::monotonic_ns();
        queue.put(b"poison").unwrap();
        let put_after = ringway::shm::os::monotonic_ns();
        assert_eq!(queue.try_get().unwrap().payload, b"fine");
        fail(&queue, b"poison", 1);
        fail(&queue, b"poison", 2);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        let got = dead.try_get().unwrap();
        assert_eq!((&*got, got.delivery_count), (&b"poison"[..], 1));
        let history = got.dead_letter.unwrap();
        assert_eq!((history.ring.as_deref(), history.deliveries), (Some("orders"), 2));
        // The second record of a new ring of eight.
        assert_eq!(history.position, 9);
        assert!((put_before..=put_after).contains(&history.timestamp_ns.unwrap()));
        let stats = queue.backend().stats();
        assert_eq!((stats.dead_lettered, stats.dead_letters_kept), (1, 0));
        assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
        // An ordinary packet in that ring has none.
        dead.put(b"another").unwrap();
        assert_eq!(dead.try_get().unwrap().dead_letter, None);
    }
}

#[test]
fn the_longest_packet_and_the_empty_one_go_there_as_they_are() {
    for len in [0, 1, 40, 41, 48, 512, 1024] {
        let (_dir, queue, dead) = pair(Side::Multi);
        let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
        queue.put(&payload).unwrap();
        drop(queue.try_lease().unwrap());
        drop(queue.try_lease().unwrap());
        assert!(queue.try_get().is_err());
        let got = dead.try_get().unwrap();
        assert_eq!(got.payload, payload);
        assert_eq!(got.dead_letter.unwrap().deliveries, 2);
    }
}

#[test]
fn a_dead_letter_stays_and_is_reported_while_its_ring_is_full() {
    for consumers in CONSUMERS {
        let (_dir, queue, dead) = pair(consumers);
        fill(&dead);
        queue.put(b"poison").unwrap();
        queue.put(b"next").unwrap();
        fail(&queue, b"poison", 1);
        fail(&queue, b"poison", 2);
        // Nobody gets it any more, and nobody is kept from the next one.
        assert_eq!(queue.try_get().unwrap().payload, b"next");
        for _ in 0..3 {
            assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        }
        let stats = queue.backend().stats();
        assert_eq!(stats.dead_lettered, 0);
        assert!(stats.dead_letters_kept > 0);
        // What was not delivered is not counted as a delivery, however often it was tried.
        let ring = queue.backend().ring().unwrap();
        let flags = ring.raw().memory().entry(8).flags.load(Relaxed);
        assert_eq!(flags >> REDELIVERIES_SHIFT, 2);
        let blockers = ring.blocked_by();
        assert_eq!(blockers.len(), 1, "{blockers:?}");
        assert_eq!((blockers[0].kind, blockers[0].position), (BlockKind::DeadLetter, 8));
        // It is a packet like any other to who closes and drains.
        queue.close().unwrap();
        assert!(matches!(queue.try_get(), Err(GetError::Draining { in_flight: 1 })));
        assert_eq!(dead.try_get().unwrap().payload, b"filler");
        // That look finds room for it, and the next one nothing at all.
        let _ = queue.try_get();
        assert!(matches!(queue.try_get(), Err(GetError::Closed)));
        let got = std::iter::from_fn(|| dead.try_get().ok()).last().unwrap();
        assert_eq!((&got.payload[..], got.dead_letter.unwrap().deliveries), (&b"poison"[..], 2));
        assert_eq!(queue.backend().stats().dead_lettered, 1);
        assert!(queue.backend().ring().unwrap().blocked_by().is_empty());
    }
}

#[test]
fn a_dead_letter_that_found_no_room_is_moved_although_nobody_is_ever_idle() {
    let entries = 4096;
    let (_dir, queue, dead) = pair_of(Side::Multi, entries);
    fill(&dead);
    queue.put(b"poison").unwrap();
    drop(queue.try_lease().unwrap());
    drop(queue.try_lease().unwrap());
    assert!(queue.try_get().is_err());
    dead.try_get().unwrap();
    // From here on there is always something to get, until the ring is full behind the one kept.
    queue.put(b"more").unwrap();
    for _ in 0..entries - 2 {
        queue.put(b"more").unwrap();
        assert_eq!(queue.try_get().unwrap().payload, b"more");
    }
    assert_eq!(queue.backend().stats().dead_lettered, 1);
}

#[test]
fn without_a_ring_a_dead_letter_is_counted_and_released() {
    for consumers in CONSUMERS {
        let id = format!("dead-letters/none-{consumers:?}");
        let local = QueueDescriptor::local(&id).unwrap();
        let queue = local.with_config(config(consumers, None)).unwrap().queue().unwrap();
        queue.put(b"poison").unwrap();
        queue.put(b"fine").unwrap();
        fail(&queue, b"poison", 1);
        fail(&queue, b"poison", 2);
        assert_eq!(queue.try_get().unwrap().payload, b"fine");
        let stats = queue.backend().stats();
        assert_eq!((stats.dead_lettered, stats.dead_letters_kept), (1, 0));
        assert_eq!(queue.in_flight(), 0);
    }
}

#[test]
fn an_owned_consumer_moves_dead_letters_and_keeps_them_as_the_shared_one_does() {
    let (_dir, queue, dead) = pair(Side::Single);
    fill(&dead);
    queue.put(b"poison").unwrap();
    let mut consumer = queue.backend().ring().unwrap().consumer().unwrap();
    for _ in 0..2 {
        drop(consumer.lease(ringway::queue::Wait::No).unwrap());
    }
    let mut into = Vec::new();
    let empty = consumer.get_into(&mut into, ringway::queue::Wait::No);
    assert!(matches!(empty, Err(GetError::Empty)), "{empty:?}");
    // A successor finds it as it is.
    drop(consumer);
    assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    dead.try_get().unwrap();
    assert!(queue.try_get().is_err());
    assert_eq!(queue.backend().stats().dead_lettered, 1);
    let got = std::iter::from_fn(|| dead.try_get().ok()).last().unwrap();
    assert_eq!(got.dead_letter.unwrap().deliveries, 2);
}

#[test]
fn local_dead_letters_go_to_another_local_queue_and_never_in_a_circle() {
    let local = |id: &str, to: Option<&str>| {
        QueueDescriptor::local(id)
            .and_then(|queue| queue.with_config(config(Side::Multi, to)))
            .unwrap()
    };
    let first = local("dead-letters/a", Some("dead-letters/b")).queue().unwrap();
    let second = local("dead-letters/b", Some("dead-letters/c")).queue().unwrap();
    let circle = local("dead-letters/c", Some("dead-letters/a")).queue().unwrap_err();
    assert!(circle.to_string().contains("come back"), "{circle}");
    first.put(b"poison").unwrap();
    drop(first.try_lease().unwrap());
    drop(first.try_lease().unwrap());
    assert!(first.try_get().is_err());
    let got = second.try_get().unwrap();
    assert_eq!(&*got, b"poison");
    assert_eq!(got.dead_letter.map(|history| (history.ring, history.deliveries)), Some((None, 2)));
}
