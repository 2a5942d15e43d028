//! What happens on full, closed and broken targets, and that the report says so.

use std::thread;
use std::time::{Duration, Instant};

use super::mock::{MockQueue, unopenable};
use super::{delivered, group, router, sizes};
use crate::error::{OpenError, PutError};
use crate::queue::{QueueBackend, Wait};
use crate::routing::{
    Connection, FullPolicy, MAX_KEY_DEPTH, Packet, PartitionKey, PartitionStrategy, Router,
    RouterConfig, SendError, SendReport,
};

const FOR_EVER: FullPolicy = FullPolicy::Block { timeout: None };

fn at_most(timeout: Duration) -> FullPolicy {
    FullPolicy::Block { timeout: Some(timeout) }
}

/// A router that copies to all of these queues, with this policy.
fn broadcasting(queues: &[MockQueue], policy: FullPolicy) -> Router {
    let connections = group(0, queues).into_iter().map(|it| it.with_full_policy(policy)).collect();
    let config = RouterConfig::new(connections).with_strategy(0, PartitionStrategy::Broadcast);
    Router::new(config).unwrap()
}

#[test]
fn every_group_gets_every_packet_at_its_own_input() {
    let queues = [MockQueue::new(0), MockQueue::new(0)];
    // Broadcast indices may have gaps, and connections come in any order.
    let connections = vec![
        queues[1].connect(7, 0).with_target_input_index(300),
        queues[0].connect(2, 0).with_target_input_index(1),
    ];
    let packet = Packet::new("payload").with_input_index(99).with_key("key");
    let report = router(connections).send(&packet);
    assert_eq!(delivered(&report), [(2, 0), (7, 0)]);
    assert_eq!(queues[0].take_packet(), packet.clone().with_input_index(1));
    assert_eq!(queues[1].take_packet(), packet.with_input_index(300));
}

#[test]
fn dropped_packets_are_counted_and_reported() {
    let queue = MockQueue::new(1);
    let mut router = broadcasting(std::slice::from_ref(&queue), FullPolicy::DropNewest);
    assert!(router.send(&Packet::new("kept")).is_complete());
    for _ in 0..3 {
        let report = router.send(&Packet::new("dropped"));
        assert!(!report.is_complete());
        assert_eq!((report.delivered_count(), report.dropped_count()), (0, 1));
        assert_eq!(report.failures().count(), 0);
        let report = report.into_result_allowing_drops().unwrap();
        report.into_result().unwrap_err();
    }
    assert_eq!(router.routing_info().groups[0].targets[0].dropped, 3);
    assert_eq!(router.clone().routing_info().groups[0].targets[0].dropped, 0);
    assert_eq!(queue.take_packet().payload, b"kept");
    assert_eq!(queue.waits(), [Wait::No; 4]);
}

#[test]
fn full_target_that_is_to_fail_fails_at_once() {
    let queue = MockQueue::full();
    let report =
        broadcasting(std::slice::from_ref(&queue), FullPolicy::Fail).send(&Packet::new(""));
    let [problem] = report.problems() else { panic!("{report}") };
    assert!(matches!(problem.error, SendError::Put(PutError::Full)));
    let target = problem.target.as_ref().unwrap();
    assert_eq!((&*target.name, &*target.queue_id, target.parallel_index), ("t0-0", "q0-0", 0));
    // The first reservation is the mock's filler.
    assert_eq!(queue.waits(), [Wait::No; 2]);
}

#[test]
fn only_target_is_waited_for_at_once() {
    let queue = MockQueue::new(0);
    let mut router = router(vec![queue.connect(0, 0)]);
    assert!(router.send(&Packet::new("")).is_complete());
    assert_eq!(queue.waits(), [Wait::Forever]);
}

#[test]
fn block_waits_for_room() {
    let queue = MockQueue::full();
    let mut router = router(vec![queue.connect(0, 0)]);
    thread::scope(|scope| {
        let sending = scope.spawn(|| router.send(&Packet::new("late")));
        queue.take();
        assert_eq!(queue.take_packet().payload, b"late");
        assert!(sending.join().unwrap().is_complete());
    });
}

#[test]
fn block_ends_at_its_deadline_with_the_truth() {
    let queue = MockQueue::full();
    let mut router = broadcasting(std::slice::from_ref(&queue), at_most(Duration::from_millis(20)));
    let start = Instant::now();
    let report = router.send(&Packet::new(""));
    assert!(start.elapsed() >= Duration::from_millis(20));
    assert!(matches!(report.problems()[0].error, SendError::Put(PutError::Timeout)));
    assert_eq!((report.delivered_count(), report.problems().len(), queue.qsize()), (0, 1, 1));
}

#[test]
fn slow_target_does_not_delay_the_others() {
    let slow = MockQueue::full();
    let queues = [MockQueue::new(0), slow.clone(), MockQueue::new(0)];
    let other_group = MockQueue::new(0);
    let mut connections = group(0, &queues);
    connections.push(other_group.connect(1, 0));
    let config = RouterConfig::new(connections).with_strategy(0, PartitionStrategy::Broadcast);
    let mut router = Router::new(config).unwrap();
    thread::scope(|scope| {
        let sending = scope.spawn(|| router.send(&Packet::new("news")));
        // All others have it while the slow one is still full, so while the send still waits.
        for queue in [&queues[0], &queues[2], &other_group] {
            assert_eq!(queue.take_packet().payload, b"news");
        }
        assert!(!sending.is_finished());
        slow.take();
        assert_eq!(slow.take_packet().payload, b"news");
        let report = sending.join().unwrap();
        assert!(report.is_complete());
        assert_eq!(delivered(&report), [(0, 0), (0, 2), (1, 0), (0, 1)]);
    });
}

#[test]
fn one_full_target_does_not_delay_another_that_has_room_again() {
    let queues = [MockQueue::full(), MockQueue::full(), MockQueue::full()];
    let mut router = broadcasting(&queues, FOR_EVER);
    thread::scope(|scope| {
        let sending = scope.spawn(|| router.send(&Packet::new("news")));
        for served in [1, 2, 0] {
            assert!(!sending.is_finished());
            queues[served].take();
            assert_eq!(queues[served].take_packet().payload, b"news");
        }
        assert_eq!(sending.join().unwrap().delivered_count(), 3);
    });
}

#[test]
fn deadlines_of_one_send_count_from_one_start() {
    let queues: Vec<_> = (0..6).map(|_| MockQueue::full()).collect();
    let timeout = Duration::from_millis(200);
    let start = Instant::now();
    let report = broadcasting(&queues, at_most(timeout)).send(&Packet::new(""));
    // One after the other they would take 1.2 s.
    assert!((timeout..timeout * 4).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!((report.delivered_count(), report.problems().len()), (0, 6));
}

#[test]
fn closed_while_waiting_is_reported() {
    let queue = MockQueue::full();
    let mut router = router(vec![queue.connect(0, 0)]);
    thread::scope(|scope| {
        let sending = scope.spawn(|| router.send(&Packet::new("late")));
        // The first reservation is the mock's filler.
        queue.await_reservations(2);
        queue.close().unwrap();
        let report = sending.join().unwrap();
        assert!(matches!(report.problems()[0].error, SendError::Put(PutError::Closed)));
        assert_eq!(report.delivered_count(), 0);
    });
}

#[test]
fn report_tells_the_truth_of_every_target() {
    let queues: Vec<_> = [0, 1, 0, 0, 0].map(MockQueue::new).into();
    queues[1].put(Default::default(), b"filler", Wait::No).unwrap();
    queues[2].close().unwrap();
    queues[3].destroy().unwrap();
    let mut connections = group(0, &queues);
    connections[1].full_policy = FullPolicy::DropNewest;
    connections.push(Connection::new(0, 5, "lost", unopenable()));
    let config = RouterConfig::new(connections).with_strategy(0, PartitionStrategy::Broadcast);
    let report = Router::new(config).unwrap().send(&Packet::new(""));

    assert_eq!(delivered(&report), [(0, 0), (0, 4)]);
    assert_eq!(sizes(&queues), [1, 1, 0, 0, 1]);
    assert!(matches!(
        report.problems().iter().map(|problem| &problem.error).collect::<Vec<_>>()[..],
        [
            SendError::Dropped,
            SendError::Put(PutError::Closed),
            SendError::Put(PutError::Destroyed),
            SendError::Put(PutError::Open(open)),
        ] if matches!(**open, OpenError::UnknownType { .. })
    ));
    let text = report.to_string();
    assert_eq!(
        text,
        "delivered to 2 of 6: 0.0, 0.4; \
         t0-1 (0.1, queue q0-1): the queue is full, the packet was dropped; \
         t0-2 (0.2, queue q0-2): the queue is closed; \
         t0-3 (0.3, queue q0-3): the queue was destroyed; \
         lost (0.5, queue coop): no queue type \"carrier-pigeon\" is registered in this process"
    );
    let undelivered = report.into_result_allowing_drops().unwrap_err();
    assert_eq!(undelivered.to_string(), text);
    assert_eq!(undelivered.into_report().failures().count(), 3);
}

#[test]
fn report_names_all_of_many_targets() {
    let queues: Vec<_> = (0..20).map(|_| MockQueue::new(0)).collect();
    let mut router = broadcasting(&queues, FOR_EVER);
    let all: Vec<_> = (0..20).map(|index| (0, index)).collect();
    assert_eq!(delivered(&router.send(&Packet::new(""))), all);
    // A report that is used again says nothing of the time before.
    let mut report = SendReport::new();
    router.send_into(&Packet::new("").view(), &mut report);
    queues[3].close().unwrap();
    router.send_into(&Packet::new("").view(), &mut report);
    assert_eq!((report.delivered_count(), report.problems().len()), (19, 1));
}

#[test]
fn packet_without_a_wire_form_goes_nowhere() {
    let queue = MockQueue::new(0);
    let too_deep =
        (0..=MAX_KEY_DEPTH).fold(PartitionKey::Int(1), |key, _| PartitionKey::Tuple(vec![key]));
    let report = router(vec![queue.connect(0, 0)]).send(&Packet::new("").with_key(too_deep));
    assert!(matches!(report.problems()[0].error, SendError::Wire(_)));
    assert_eq!(sizes(&[queue]), [0]);
}
