//! Stop signals reach every connection, whatever the strategies and policies for packets.

use std::thread;

use super::mock::MockQueue;
use super::{delivered, group, router, sizes};
use crate::error::PutError;
use crate::queue::QueueBackend;
use crate::routing::{
    FullPolicy, InstanceId, Packet, PartitionStrategy, Router, RouterConfig, SendError, StopSignal,
    TargetId,
};

fn stop() -> StopSignal {
    StopSignal::new("source", InstanceId::new("map", 3)).with_message("end of input")
}

#[test]
fn stop_signal_reaches_every_connection_of_every_group() {
    let queues: Vec<_> = (0..5).map(|_| MockQueue::new(0)).collect();
    let connections = [group(0, &queues[..3]), group(4, &queues[3..])].concat();
    let connections: Vec<_> =
        connections.into_iter().map(|it| it.with_target_input_index(6)).collect();
    let config = RouterConfig::new(connections).with_strategy(0, PartitionStrategy::Hash);
    let report = Router::new(config).unwrap().send_stop_signal(&stop());
    assert!(report.is_complete());
    assert_eq!(delivered(&report), [(0, 0), (0, 1), (0, 2), (4, 0), (4, 1)]);
    let stop = stop();
    for queue in &queues {
        let got = queue.take_stop();
        assert_eq!(
            (got.source, got.upstream, got.message),
            (stop.source.clone(), stop.upstream.clone(), stop.message.clone())
        );
        assert_eq!(got.input_index, 6);
    }
    assert_eq!(sizes(&queues), [0; 5]);
}

#[test]
fn stop_signal_arrives_behind_the_last_packet() {
    let queue = MockQueue::new(0);
    let mut router = router(vec![queue.connect(0, 0)]);
    assert!(router.send(&Packet::new("last")).is_complete());
    assert!(router.send_stop_signal(&stop()).is_complete());
    assert_eq!(queue.take_packet().payload, b"last");
    queue.take_stop();
}

#[test]
fn stop_signal_waits_where_packets_are_dropped() {
    let queue = MockQueue::full();
    let connection = queue.connect(0, 0).with_full_policy(FullPolicy::DropNewest);
    let mut router = router(vec![connection]);
    thread::scope(|scope| {
        let stopping = scope.spawn(|| router.send_stop_signal(&stop()));
        queue.take();
        queue.take_stop();
        assert!(stopping.join().unwrap().is_complete());
    });
    assert_eq!(router.routing_info().groups[0].targets[0].dropped, 0);
}

#[test]
fn stop_signal_that_failed_can_be_sent_again_to_that_target_alone() {
    let queues = [MockQueue::new(0), MockQueue::full()];
    let connections =
        group(0, &queues).into_iter().map(|it| it.with_full_policy(FullPolicy::Fail)).collect();
    let mut router = router(connections);
    let report = router.send_stop_signal(&stop());
    assert_eq!(delivered(&report), [(0, 0)]);
    assert!(matches!(report.problems()[0].error, SendError::Put(PutError::Full)));

    queues[1].take();
    let missed = TargetId { broadcast_index: 0, parallel_index: 1 };
    assert_eq!(delivered(&router.send_stop_signal_to(missed, &stop())), [(0, 1)]);
    assert_eq!(sizes(&queues), [1, 1]);

    let nowhere = TargetId { broadcast_index: 0, parallel_index: 2 };
    let report = router.send_stop_signal_to(nowhere, &stop());
    assert!(matches!(report.problems()[0].error, SendError::NoSuchTarget));
    queues[0].close().unwrap();
    let report = router.send_stop_signal(&stop());
    assert!(matches!(report.problems()[0].error, SendError::Put(PutError::Closed)));
}
