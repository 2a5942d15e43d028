//! A send that succeeds allocates nothing of its own.
//!
//! The queues are real ones, on the heap and in segments, so what is counted is the whole way from
//! the packet to the ring: router, report, wire form, reservation and commit.

#[path = "support/counting.rs"]
mod counting;

use counting::allocations;
use ringway::queue::QueueDescriptor;
use ringway::routing::{
    Connection, FullPolicy, GroupStrategy, Packet, PacketRef, PartitionStrategy, Router,
    RouterConfig, SendReport,
};

/// Targets of a router: rings on the heap, or in segments.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Local,
    Shm,
}

/// A router over `targets` queues, each opened by a first send of `warm_up` to all of them.
fn router(
    kind: Kind,
    targets: u32,
    strategy: impl Into<GroupStrategy>,
    warm_up: &Packet,
) -> (Router, Vec<QueueDescriptor>, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let descriptors: Vec<_> = (0..targets)
        .map(|index| match kind {
            Kind::Local => QueueDescriptor::local_unnamed().unwrap(),
            Kind::Shm => QueueDescriptor::shm(&format!("target-{index}"))
                .unwrap()
                .with_directory(directory.path())
                .unwrap(),
        })
        .collect();
    let connect = |index: u32, descriptor: &QueueDescriptor| {
        Connection::new(0, index, format!("target-{index}"), descriptor.clone())
            .with_full_policy(FullPolicy::Block { timeout: Some(std::time::Duration::MAX) })
    };
    let connections = (0..).zip(&descriptors).map(|(i, d)| connect(i, d)).collect();
    let config = RouterConfig::new(connections).with_strategy(0, strategy);
    let mut router = Router::new(config).unwrap();
    let everywhere = warm_up.clone().with_strategy(PartitionStrategy::Broadcast);
    assert!(router.send(&everywhere).is_complete());
    (router, descriptors, directory)
}

/// Takes everything from every queue: how many packets, and the last one.
fn drain(descriptors: &[QueueDescriptor]) -> (usize, Vec<u8>) {
    let mut count = 0;
    let mut last = Vec::new();
    for descriptor in descriptors {
        while let Ok(received) = descriptor.try_get() {
            count += 1;
            last = received.payload;
        }
    }
    (count, last)
}

fn strategies() -> [PartitionStrategy; 6] {
    [
        PartitionStrategy::RoundRobin { skip_full: false },
        PartitionStrategy::RoundRobin { skip_full: true },
        PartitionStrategy::Hash,
        PartitionStrategy::Broadcast,
        PartitionStrategy::LeastLoaded { full_scan: false },
        PartitionStrategy::LeastLoaded { full_scan: true },
    ]
}

#[test]
fn send_of_32_bytes_adds_no_allocation() {
    let packet = Packet::new([7; 32]).with_key(("tenant-7", 42));
    for (kind, strategy) in
        strategies().into_iter().flat_map(|it| [(Kind::Local, it), (Kind::Shm, it)])
    {
        let (mut router, descriptors, _directory) = router(kind, 8, strategy, &packet);
        let count = allocations(|| {
            for _ in 0..100 {
                assert!(router.send(&packet).is_complete());
            }
        });
        assert_eq!(count, 0, "{kind:?} {strategy}");
        let copies = if strategy == PartitionStrategy::Broadcast { 8 } else { 1 };
        let (sent, bytes) = drain(&descriptors);
        assert_eq!(sent, 8 + 100 * copies, "{kind:?} {strategy}");
        assert_eq!(PacketRef::decode(&bytes).unwrap().payload, [7; 32]);
    }
}

#[test]
fn forwarding_from_a_record_adds_no_allocation() {
    let packet = Packet::new([7; 32]).with_key("x".repeat(1000));
    let mut bytes = vec![0; packet.encoded_len()];
    packet.encode_into(&mut bytes).unwrap();
    let (mut router, ..) = router(Kind::Local, 8, PartitionStrategy::Hash, &packet);
    let count = allocations(|| {
        let packet = PacketRef::decode(&bytes).unwrap();
        assert!(router.send_view(&packet).is_complete());
        assert!(router.send(&packet_of(&packet)).is_complete());
    });
    // The copy has two parts, payload and key: so the count is a count.
    assert_eq!(count, 2);
}

fn packet_of(view: &PacketRef<'_>) -> Packet {
    view.to_packet().unwrap()
}

#[test]
fn report_that_is_used_again_adds_no_allocation_for_any_number_of_targets() {
    let packet = Packet::new([7; 32]);
    let (mut router, ..) = router(Kind::Local, 50, PartitionStrategy::Broadcast, &packet);
    let mut report = SendReport::new();
    let first = allocations(|| router.send_into(&packet.view(), &mut report));
    assert!(first > 0, "more than eight targets do not fit a report without memory");
    let count = allocations(|| {
        for _ in 0..100 {
            router.send_into(&packet.view(), &mut report);
        }
    });
    assert_eq!((count, report.delivered_count()), (0, 50));
}
