//! Which target each strategy picks.

use super::mock::{MockQueue, unopenable};
use super::{delivered, group, router, sizes};
use crate::error::PutError;
use crate::queue::QueueBackend;
use crate::routing::{
    Choice, Connection, CustomStrategy, FullPolicy, GroupStrategy, Packet, PacketRef, PartitionKey,
    PartitionStrategy, Router, RouterConfig, SendError,
};

fn queues(count: usize) -> Vec<MockQueue> {
    (0..count).map(|_| MockQueue::new(100)).collect()
}

/// A router of one group with this strategy.
fn routed_by(queues: &[MockQueue], strategy: impl Into<GroupStrategy>) -> Router {
    Router::new(RouterConfig::new(group(0, queues)).with_strategy(0, strategy)).unwrap()
}

/// The one target that got the packet.
fn target_of(router: &mut Router, packet: &Packet) -> u32 {
    match delivered(&router.send(packet).into_result().unwrap())[..] {
        [(0, parallel_index)] => parallel_index,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn round_robin_takes_turns_by_default() {
    let queues = queues(3);
    let mut router = router(group(0, &queues));
    let targets: Vec<_> = (0..7).map(|_| target_of(&mut router, &Packet::new(""))).collect();
    assert_eq!(targets, [0, 1, 2, 0, 1, 2, 0]);
    assert_eq!(sizes(&queues), [3, 2, 2]);
}

#[test]
fn round_robin_passes_over_full_targets_where_asked_to() {
    let queues = [MockQueue::full(), MockQueue::new(2), MockQueue::full(), MockQueue::new(100)];
    let mut router = routed_by(&queues, PartitionStrategy::RoundRobin { skip_full: true });
    let targets: Vec<_> = (0..6).map(|_| target_of(&mut router, &Packet::new(""))).collect();
    assert_eq!(targets, [1, 3, 1, 3, 3, 3]);
}

#[test]
fn where_all_are_full_the_policy_of_whose_turn_it_is_decides() {
    let queues = [MockQueue::full(), MockQueue::full()];
    let mut connections = group(0, &queues);
    connections[0].full_policy = FullPolicy::Fail;
    connections[1].full_policy = FullPolicy::DropNewest;
    let strategy = PartitionStrategy::RoundRobin { skip_full: true };
    let mut router =
        Router::new(RouterConfig::new(connections).with_strategy(0, strategy)).unwrap();
    let report = router.send(&Packet::new(""));
    assert!(matches!(report.problems()[0].error, SendError::Put(PutError::Full)));
    let report = router.send(&Packet::new(""));
    assert!(matches!(report.problems()[0].error, SendError::Dropped));
    assert_eq!(report.problems().len(), 1);
}

#[test]
fn closed_target_is_reported_and_not_passed_over() {
    let queues = queues(2);
    queues[0].close().unwrap();
    let mut router = routed_by(&queues, PartitionStrategy::RoundRobin { skip_full: true });
    let report = router.send(&Packet::new(""));
    assert!(matches!(report.problems()[0].error, SendError::Put(PutError::Closed)));
    assert_eq!(sizes(&queues), [0, 0]);
}

#[test]
fn key_picks_the_documented_target_whatever_its_value() {
    let queues = queues(3);
    let mut router = routed_by(&queues, PartitionStrategy::Hash);
    // The column "of 3" of docs/wire.md.
    let vectors: [(PartitionKey, u32); 6] = [
        ("tenant-7".into(), 1),
        ("".into(), 1),
        (PartitionKey::Bytes(vec![]), 2),
        (0.into(), 2),
        (PartitionKey::Tuple(vec![]), 0),
        (("tenant-7", 42).into(), 2),
    ];
    for (key, target) in vectors {
        let packet = Packet::new("").with_key(key.clone());
        for _ in 0..3 {
            assert_eq!(target_of(&mut router, &packet), target, "{key:?}");
        }
    }
}

#[test]
fn packet_forwarded_from_its_bytes_goes_where_its_key_belongs() {
    let queues = queues(3);
    let mut router = routed_by(&queues, PartitionStrategy::Hash);
    let packet = Packet::new("payload").with_key(("tenant-7", 42));
    let mut bytes = vec![0; packet.encoded_len()];
    packet.encode_into(&mut bytes).unwrap();
    let report = router.send_view(&PacketRef::decode(&bytes).unwrap());
    assert_eq!(delivered(&report), [(0, 2)]);
    assert_eq!(queues[2].take_packet(), packet);
}

#[test]
fn unkeyed_packet_to_be_hashed_is_a_problem_and_goes_nowhere() {
    let (hashed, other) = (queues(2), queues(1));
    let connections = [group(0, &hashed), group(1, &other)].concat();
    let config = RouterConfig::new(connections).with_strategy(0, PartitionStrategy::Hash);
    let report = Router::new(config).unwrap().send(&Packet::new(""));
    assert_eq!(delivered(&report), [(1, 0)]);
    assert!(!report.is_complete());
    let [problem] = report.problems() else { panic!("{report}") };
    assert!(matches!(problem.error, SendError::Unkeyed));
    assert_eq!((problem.broadcast_index, &problem.target), (0, &None));
    assert_eq!(sizes(&hashed), [0, 0]);
}

#[test]
fn broadcast_reaches_every_target_keyed_or_not() {
    let queues = queues(3);
    let mut router = routed_by(&queues, PartitionStrategy::Broadcast);
    for packet in [Packet::new("unkeyed"), Packet::new("keyed").with_key("key")] {
        let report = router.send(&packet);
        assert!(report.is_complete());
        assert_eq!(delivered(&report), [(0, 0), (0, 1), (0, 2)]);
        for queue in &queues {
            assert_eq!(queue.take_packet(), packet);
        }
    }
}

#[test]
fn least_loaded_of_all_picks_the_emptiest_and_shares_among_equals() {
    let queues = [5, 3, 4, 3].map(|count| MockQueue::filled(10, count));
    let mut router = routed_by(&queues, PartitionStrategy::LeastLoaded { full_scan: true });
    let targets: Vec<_> = (0..4).map(|_| target_of(&mut router, &Packet::new(""))).collect();
    assert_eq!(targets, [1, 3, 1, 2]);
}

#[test]
fn least_loaded_of_two_picks_the_emptier() {
    let queues = [MockQueue::filled(100, 50), MockQueue::filled(100, 10)];
    let mut router = routed_by(&queues, PartitionStrategy::LeastLoaded { full_scan: false });
    for _ in 0..40 {
        assert_eq!(target_of(&mut router, &Packet::new("")), 1);
    }
    assert_eq!(sizes(&queues), [50, 50]);
}

#[test]
fn least_loaded_of_two_reaches_everyone_and_never_the_fullest() {
    let mut queues = queues(8);
    queues.push(MockQueue::filled(100, 99));
    let mut router =
        routed_by(&queues, PartitionStrategy::LeastLoaded { full_scan: false }).seeded(7);
    for _ in 0..400 {
        target_of(&mut router, &Packet::new(""));
    }
    let sizes = sizes(&queues);
    assert!(sizes[..8].iter().all(|size| (40..=60).contains(size)), "{sizes:?}");
    assert_eq!(sizes[8], 99);
}

#[test]
fn least_loaded_is_not_attracted_by_dead_ends() {
    let queues = [MockQueue::new(10), MockQueue::filled(10, 9)];
    queues[0].close().unwrap();
    let mut connections = group(0, &queues);
    connections.push(Connection::new(0, 2, "lost", unopenable()));
    for full_scan in [false, true] {
        let strategy = PartitionStrategy::LeastLoaded { full_scan };
        let config = RouterConfig::new(connections.clone()).with_strategy(0, strategy);
        let mut router = Router::new(config).unwrap();
        for _ in 0..20 {
            assert_eq!(target_of(&mut router, &Packet::new("")), 1);
            queues[1].take();
        }
    }
}

#[test]
fn strategy_of_the_packet_wins_over_that_of_the_group() {
    let queues = queues(3);
    let never = CustomStrategy::new("never", |_, _| panic!("not asked for"));
    let mut router = routed_by(&queues, never);
    let hash = Packet::new("").with_key("tenant-7").with_strategy(PartitionStrategy::Hash);
    assert_eq!(target_of(&mut router, &hash), 1);
    let all = Packet::new("").with_strategy(PartitionStrategy::Broadcast);
    assert_eq!(delivered(&router.send(&all)).len(), 3);

    let mut router = routed_by(&queues, PartitionStrategy::Broadcast);
    let one = Packet::new("").with_strategy(PartitionStrategy::default());
    assert_eq!(delivered(&router.send(&one)), [(0, 0)]);
    let unkeyed = Packet::new("").with_strategy(PartitionStrategy::Hash);
    assert!(matches!(router.send(&unkeyed).problems()[0].error, SendError::Unkeyed));
}

#[test]
fn custom_strategy_sees_the_packet_and_the_group() {
    let queues = [MockQueue::filled(10, 5), MockQueue::new(10), MockQueue::new(10)];
    let custom = CustomStrategy::new("by first byte", |packet, group| {
        assert_eq!((group.len(), group.broadcast_index()), (3, 0));
        assert_eq!((group.target_name(2), group.target_name(3)), (Some("t0-2"), None));
        assert_eq!((group.load(0), group.load(3)), (Some(0.5), None));
        match packet.payload {
            [b'a'] => Choice::All,
            [b'n'] => Choice::One(group.position()),
            [digit @ b'0'..=b'9'] => Choice::One((digit - b'0').into()),
            _ => Choice::Decline,
        }
    });
    let mut router = routed_by(&queues, custom);
    assert_eq!(delivered(&router.send(&Packet::new("1"))), [(0, 1)]);
    assert_eq!(delivered(&router.send(&Packet::new("n"))), [(0, 2)]);

    let report = router.send(&Packet::new("9"));
    assert!(matches!(report.problems()[0].error, SendError::BadChoice { picked: 9, count: 3 }));
    let report = router.send(&Packet::new("?"));
    assert!(report.is_complete());
    assert_eq!((report.delivered_count(), report.declined_count()), (0, 1));
    for queue in &queues[1..] {
        queue.take();
    }
    assert_eq!(sizes(&queues), [5, 0, 0]);
    assert_eq!(delivered(&router.send(&Packet::new("a"))).len(), 3);
}
