//! What queues cost in memory: a file of just the size that the geometry says, and no allocation for
//! putting and getting raw bytes, in any way and in any mode.

#[path = "support/counting.rs"]
mod counting;

use std::fs::metadata;

use counting::allocations;
use ringway::queue::{Queue, QueueConfig, QueueDescriptor, RecordKind, Side, Wait};
use ringway::shm::directory::Directory;
use ringway::shm::layout::PAGE_BYTES;
use ringway::shm::segment::Segment;

const INLINE: &[u8] = &[7; 32];
const LARGE: &[u8] = &[8; 5000];

/// A queue on the heap and one in a segment, of every mode, with and without a bound.
fn each(mut test: impl FnMut(&Queue, &str)) {
    let directory = tempfile::tempdir().unwrap();
    for mode in 0..8 {
        let side = |bit| if mode >> bit & 1 == 0 { Side::Single } else { Side::Multi };
        let (producers, consumers) = (side(0), side(1));
        let maxsize = if mode & 4 == 0 { 0 } else { 100 };
        let config =
            QueueConfig { producers, consumers, maxsize, timestamps: true, ..Default::default() };
        let local = QueueDescriptor::local_unnamed().unwrap();
        let shm = QueueDescriptor::shm(&format!("mode-{mode}")).unwrap();
        for queue in [local, shm.with_directory(directory.path()).unwrap()] {
            let queue = queue.with_config(config.clone()).unwrap();
            test(&queue.queue().unwrap(), &format!("{queue} of {config:?}"));
        }
    }
}

#[test]
fn put_and_get_through_a_shared_queue_allocate_the_copy_that_is_got_and_nothing_else() {
    each(|queue, what| {
        let round = || {
            for payload in [INLINE, LARGE] {
                queue.put(payload).unwrap();
                let lease = queue.lease().unwrap();
                assert_eq!(*lease, *payload);
                lease.ack();
                queue.try_put(payload).unwrap();
                drop(queue.try_lease().unwrap());
                let mut again = queue.try_lease().unwrap();
                assert!(again.redelivered());
                again.ack();
                let mut room = queue.reserve(payload.len()).unwrap();
                room.copy_from_slice(payload);
                room.commit().unwrap();
                again = queue.lease().unwrap();
                again.ack();
                queue.put_many(&[payload, payload, payload]).unwrap();
                for _ in 0..3 {
                    queue.lease().unwrap().ack();
                }
                assert!(queue.try_lease().is_err());
            }
        };
        round();
        assert_eq!(allocations(|| (0..50).for_each(|_| round())), 0, "{what}");
        queue.put(INLINE).unwrap();
        assert_eq!(allocations(|| drop(queue.get().unwrap())), 1, "the copy, in {what}");
    });
}

#[test]
fn put_and_get_through_owned_handles_allocate_nothing() {
    each(|queue, what| {
        let ring = queue.backend().ring().unwrap();
        let mut producer = ring.producer().unwrap();
        let mut consumer = ring.consumer().unwrap();
        let mut out = Vec::new();
        let mut round = || {
            for payload in [INLINE, LARGE] {
                producer.put(RecordKind::RAW, payload, Wait::Forever).unwrap();
                consumer.get_into(&mut out, Wait::Forever).unwrap();
                assert_eq!(out, payload);
                let mut room =
                    producer.reserve(RecordKind::RAW, payload.len(), Wait::Forever).unwrap();
                room.copy_from_slice(payload);
                room.commit().unwrap();
                consumer.get_with(Wait::Forever, |bytes, _| assert_eq!(bytes, payload)).unwrap();
                producer.put(RecordKind::RAW, payload, Wait::No).unwrap();
                consumer.lease(Wait::No).unwrap().ack();
                let (put, error) =
                    producer.put_many(RecordKind::RAW, &[payload, payload], Wait::Forever);
                assert!(put == 2 && error.is_none());
                for _ in 0..2 {
                    consumer.get_into(&mut out, Wait::No).unwrap();
                }
                let payloads = [payload; 3];
                assert_eq!(producer.put_many(RecordKind::RAW, &payloads, Wait::No).0, 3);
                let read = |bytes: &[u8], _| assert_eq!(bytes, payload);
                assert!(consumer.get_many_with(1, Wait::Forever, read).is_ok());
                while consumer.get_many_with(3, Wait::No, read).is_ok() {}
                assert!(consumer.get_into(&mut out, Wait::No).is_err());
            }
        };
        round();
        assert_eq!(allocations(|| (0..50).for_each(|_| round())), 0, "{what}");
    });
}

#[test]
fn the_file_of_a_default_queue_is_under_a_mebibyte_and_just_what_its_geometry_says() {
    let directory = tempfile::tempdir().unwrap();
    let queue = QueueDescriptor::shm("alone").unwrap().with_directory(directory.path()).unwrap();
    queue.put(b"x").unwrap();
    let place = Directory::open(directory.path(), None).unwrap();
    let segment = Segment::attach(&place, &"alone".parse().unwrap(), "t").unwrap();
    let geometry = segment.rings()[0].geometry;
    let map = segment.memory_map();
    let bytes = |what| map.iter().rfind(|part| part.what == what).unwrap().bytes;
    // Entries of 64 bytes, claims of 8 where there are many producers, take words of 8 where there are
    // many consumers; then whole pages.
    assert_eq!(bytes("entries"), (geometry.entries() * 64).next_multiple_of(PAGE_BYTES));
    assert_eq!((bytes("claims"), bytes("takes")), (geometry.entries() * 8, geometry.entries() * 8));
    assert_eq!(bytes("data"), geometry.data_bytes());
    let total = map.iter().map(|part| part.bytes).sum();
    assert!(total < 1 << 20, "{total} bytes");
    assert_eq!((segment.total_bytes(), metadata(segment.path()).unwrap().len()), (total, total));
}
