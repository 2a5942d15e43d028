//! Promises of the batch router, and of records that are held.

use std::time::{Duration, Instant};

use ringway::error::PutError;
use ringway::queue::{QueueConfig, QueueDescriptor, Side, Wait};
use ringway::routing::{
    BatchRouter, Connection, FullPolicy, KeyRef, Packet, PacketRef, PartitionKey,
    PartitionStrategy, RouterConfig, SendError,
};

fn queue(name: &str, maxsize: u64) -> QueueDescriptor {
    QueueDescriptor::local(name).unwrap().with_maxsize(maxsize).unwrap()
}

fn router(targets: &[(&QueueDescriptor, FullPolicy)], strategy: PartitionStrategy) -> BatchRouter {
    let connections = (0..).zip(targets).map(|(i, (queue, policy))| {
        Connection::new(0, i, format!("t#{i}"), (*queue).clone()).with_full_policy(*policy)
    });
    let config = RouterConfig::new(connections.collect()).with_strategy(0, strategy);
    BatchRouter::new(config).unwrap()
}

fn payloads(queue: &QueueDescriptor) -> Vec<u8> {
    let mut all = Vec::new();
    while let Ok(record) = queue.try_get() {
        all.push(PacketRef::decode(&record).unwrap().payload[0]);
    }
    all
}

#[test]
fn what_is_buffered_is_put_in_order_by_a_flush_and_counted_truthfully() {
    let queues = [queue("batch/a", 0), queue("batch/b", 0)];
    let block = FullPolicy::default();
    let round_robin = PartitionStrategy::default();
    let mut router = router(&[(&queues[0], block), (&queues[1], block)], round_robin);
    for number in 0..10_u8 {
        assert_eq!(router.buffer(&PacketRef::new(&[number])).unwrap().targets, 1);
    }
    assert_eq!((router.buffered(), queues[0].qsize().unwrap()), (10, 0));
    let flushed = router.flush(Wait::Forever);
    assert_eq!((flushed.delivered, flushed.left, router.buffered()), (10, 0, 0));
    assert!(flushed.is_complete());
    assert_eq!(payloads(&queues[0]), [0, 2, 4, 6, 8]);
    assert_eq!(payloads(&queues[1]), [1, 3, 5, 7, 9]);
}

#[test]
fn a_full_target_delays_no_other_and_each_policy_does_what_it_says() {
    let [slow, small, strict, free] =
        ["slow", "small", "strict", "free"].map(|name| queue(&format!("batch/{name}"), 2));
    let timeout = Some(Duration::from_millis(20));
    let mut router = router(
        &[
            (&slow, FullPolicy::Block { timeout }),
            (&small, FullPolicy::DropNewest),
            (&strict, FullPolicy::Fail),
            (&free, FullPolicy::default()),
        ],
        PartitionStrategy::Broadcast,
    );
    for number in 0..2_u8 {
        let _ = router.buffer(&PacketRef::new(&[number])).unwrap();
    }
    assert_eq!(router.flush(Wait::No).delivered, 8);
    assert_eq!(payloads(&free), [0, 1]);
    for number in 2..4_u8 {
        let _ = router.buffer(&PacketRef::new(&[number])).unwrap();
    }
    // The slow one is given no time yet; the others have their outcome at once.
    let first = router.flush(Wait::No);
    assert_eq!((first.delivered, first.dropped, first.failed, first.left), (2, 2, 2, 2));
    assert_eq!(payloads(&free), [2, 3]);
    assert!(matches!(first.problems[0].error, SendError::Put(PutError::Full)), "{first:?}");
    let start = Instant::now();
    let second = router.flush(Wait::Forever);
    assert!(start.elapsed() < Duration::from_secs(30), "the policy's timeout did not end it");
    assert_eq!((second.delivered, second.failed, second.left), (0, 2, 0));
    assert!(matches!(second.problems[0].error, SendError::Put(PutError::Timeout)), "{second:?}");
    assert_eq!(router.routing_info().groups[0].targets[1].dropped, 2);
}

#[test]
fn packets_that_do_not_fit_now_stay_buffered_in_order() {
    let queue = queue("batch/tight", 3);
    let mut router = router(&[(&queue, FullPolicy::default())], PartitionStrategy::default());
    for number in 0..8_u8 {
        let _ = router.buffer(&PacketRef::new(&[number])).unwrap();
    }
    let mut got = Vec::new();
    while got.len() < 8 {
        let flushed = router.flush(Wait::No);
        assert_eq!(flushed.left as usize, router.buffered());
        got.extend(payloads(&queue));
    }
    assert_eq!(got, (0..8).collect::<Vec<u8>>());
}

#[test]
fn a_hashed_packet_without_a_key_is_an_error_and_goes_nowhere() {
    let queue = queue("batch/unkeyed", 0);
    let mut router = router(&[(&queue, FullPolicy::default())], PartitionStrategy::Hash);
    assert!(matches!(router.buffer(&PacketRef::new(b"x")), Err(SendError::Unkeyed)));
    assert_eq!(router.buffered(), 0);
    let packet = Packet::new("y").with_key("");
    assert_eq!(router.buffer(&packet.view()).unwrap().targets, 1);
}

#[test]
fn a_borrowed_text_is_the_same_key_as_an_owned_one() {
    for text in ["", "word", "\u{6771}\u{4eac}", &"long ".repeat(100)] {
        let (owned, borrowed) = (PartitionKey::from(text), KeyRef::from(text));
        assert_eq!(borrowed.hash64(), owned.hash64());
        assert_eq!(borrowed.encoded_len(), owned.encoded_len());
        assert_eq!((borrowed.to_key().unwrap(), borrowed.as_str()), (owned.clone(), Some(text)));
        let mut packet = PacketRef::new(b"payload");
        packet.partition_key = Some(borrowed);
        let (mut ours, mut theirs) = (vec![0; packet.encoded_len()], Vec::new());
        packet.encode_into(&mut ours).unwrap();
        theirs.resize(ours.len(), 0);
        Packet::new("payload")
            .with_timestamp_ns(0)
            .with_key(owned)
            .encode_into(&mut theirs)
            .unwrap();
        assert_eq!(ours, theirs);
        let read = PacketRef::decode(&ours).unwrap().partition_key.unwrap();
        assert_eq!((read.as_str(), read.hash64()), (Some(text), borrowed.hash64()));
    }
}

#[test]
fn records_that_are_held_come_again_to_a_successor_unless_acknowledged() {
    for (name, consumers) in [("single", Side::Single), ("multi", Side::Multi)] {
        let config = QueueConfig { consumers, ..QueueConfig::default() };
        let queue = QueueDescriptor::local(&format!("batch/held-{name}")).unwrap();
        let queue = queue.with_config(config).unwrap().queue().unwrap();
        (0..5_u8).for_each(|number| queue.put(&[number]).unwrap());
        let ring = queue.ring().unwrap();
        let mut consumer = ring.consumer().unwrap();
        assert_eq!(consumer.hold(Wait::No).unwrap().0, [0]);
        consumer.ack_held();
        for number in 1..4_u8 {
            assert_eq!(consumer.hold_next().unwrap().unwrap().0, [number]);
        }
        assert_eq!(consumer.last_held().unwrap().0, [3]);
        assert_eq!((consumer.held(), queue.in_flight(), queue.qsize()), (3, 3, 1));
        drop(consumer);
        let mut successor = ring.consumer().unwrap();
        let mut got = Vec::new();
        while let Ok((bytes, info)) = successor.hold(Wait::No) {
            got.push((bytes[0], info.delivery_count));
        }
        got.sort_unstable();
        assert_eq!(got, [(1, 2), (2, 2), (3, 2), (4, 1)], "{name}");
        successor.ack_held();
        assert_eq!((queue.in_flight(), queue.qsize()), (0, 0));
    }
}
