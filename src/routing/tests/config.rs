//! Configurations: which make a router, how they travel, and what a router says of itself.

use std::time::Duration;

use super::mock::{MockQueue, unopenable};
use super::{delivered, group, router};
use crate::routing::{
    Choice, Connection, CustomStrategy, FullPolicy, Packet, PartitionStrategy, Router,
    RouterConfig, RouterError, RoutingInfo, TargetId,
};

fn config() -> RouterConfig {
    let queue = MockQueue::new(0);
    let connections = vec![
        queue.connect(0, 1).with_full_policy(FullPolicy::Fail),
        queue.connect(0, 0).with_target_input_index(3),
        queue.connect(1, 0).with_full_policy(FullPolicy::DropNewest),
        queue
            .connect(5, 0)
            .with_full_policy(FullPolicy::Block { timeout: Some(Duration::from_millis(1500)) }),
    ];
    RouterConfig::new(connections)
        .with_strategy(0, PartitionStrategy::LeastLoaded { full_scan: true })
        .with_strategy(5, CustomStrategy::named("by tenant"))
}

#[test]
fn configuration_survives_json_and_postcard() {
    let config = config();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<RouterConfig>(&json).unwrap(), config);
    let bytes = postcard::to_allocvec(&config).unwrap();
    assert_eq!(postcard::from_bytes::<RouterConfig>(&bytes).unwrap(), config);
    for connection in config.connections {
        let json = serde_json::to_value(&connection).unwrap();
        assert_eq!(serde_json::from_value::<Connection>(json).unwrap(), connection);
    }
}

#[test]
fn configuration_reads_as_people_write_it() {
    let descriptor = serde_json::to_value(unopenable()).unwrap();
    let json = serde_json::json!({
        "connections": [{
            "broadcast_index": 0, "parallel_index": 0, "target_name": "sink",
            "descriptor": descriptor, "full_policy": "drop_newest",
        }],
        "strategies": { "0": { "standard": { "round_robin": { "skip_full": true } } } },
    });
    let config: RouterConfig = serde_json::from_value(json).unwrap();
    assert_eq!(config.connections[0].full_policy, FullPolicy::DropNewest);
    let mut router = Router::new(config).unwrap();
    let (_, strategy) = router.strategies().next().unwrap();
    assert_eq!(*strategy, PartitionStrategy::RoundRobin { skip_full: true }.into());
    assert!(!router.send(&Packet::new("")).is_complete());
}

#[test]
fn contradictions_are_refused_by_name() {
    let queue = MockQueue::new(0);
    let mut twin = queue.connect(1, 1);
    twin.target_name = "twin".to_owned();
    let refused = |connections| Router::new(RouterConfig::new(connections)).unwrap_err();

    let error = refused(vec![queue.connect(1, 0), queue.connect(1, 1), twin]);
    let target = TargetId { broadcast_index: 1, parallel_index: 1 };
    let (first, second) = ("t1-1".to_owned(), "twin".to_owned());
    assert_eq!(error, RouterError::DuplicateTarget { target, first, second });
    assert_eq!(error.to_string(), r#"connections: "t1-1" and "twin" are both 1.1"#);

    let error = refused(vec![queue.connect(1, 0), queue.connect(1, 2)]);
    assert_eq!(error, RouterError::ParallelGap { broadcast_index: 1, missing: 1 });
    let error = refused(vec![queue.connect(1, 1)]);
    assert_eq!(error, RouterError::ParallelGap { broadcast_index: 1, missing: 0 });

    let config = RouterConfig::new(group(0, &[queue])).with_strategy(3, PartitionStrategy::Hash);
    let error = Router::new(config).unwrap_err();
    assert_eq!(error, RouterError::EmptyGroup { broadcast_index: 3 });
}

#[test]
fn custom_strategy_must_be_bound_and_is_by_name() {
    let mut config = config();
    let error = Router::new(config.clone()).unwrap_err();
    let name = "by tenant".to_owned();
    assert_eq!(error, RouterError::UnboundStrategy { broadcast_index: 5, name });

    assert_eq!(config.bind("by moon", |_, _| Choice::All), 0);
    assert_eq!(config.unbound().count(), 1);
    assert_eq!(config.bind("by tenant", |_, _| Choice::Decline), 1);
    let report = Router::new(config).unwrap().send(&Packet::new(""));
    assert_eq!((report.delivered_count(), report.declined_count()), (2, 1));
}

#[test]
fn routing_info_shows_groups_turns_and_loads() {
    let queues = [MockQueue::filled(4, 1), MockQueue::new(4)];
    let mut connections = group(2, &queues);
    connections.push(Connection::new(9, 0, "lost", unopenable()));
    let mut router = router(connections);
    let _ = router.send(&Packet::new(""));
    let info = router.routing_info();
    let json = serde_json::to_string(&info).unwrap();
    assert_eq!(serde_json::from_str::<RoutingInfo>(&json).unwrap(), info);

    let [first, second] = &info.groups[..] else { panic!("{info:?}") };
    assert_eq!((first.broadcast_index, first.count, first.position), (2, 2, 1));
    assert_eq!(first.strategy, "round-robin");
    let loads: Vec<_> = first.targets.iter().map(|target| target.load).collect();
    assert_eq!(loads, [Some(0.5), Some(0.0)]);
    assert_eq!((&*first.targets[1].name, &*first.targets[1].queue_id), ("t2-1", "q2-1"));
    assert_eq!((second.broadcast_index, second.count, second.position), (9, 1, 0));
    assert_eq!(second.targets[0].load, None);
    assert!(second.targets[0].problem.as_ref().unwrap().contains("carrier-pigeon"));
    assert_eq!(router.connections().count(), 3);
    assert_eq!(router.connections().next().unwrap().buffer_load().unwrap(), 0.5);
}

#[test]
fn forks_take_their_own_turns() {
    let queues: Vec<_> = (0..3).map(|_| MockQueue::new(0)).collect();
    let mut router = router(group(0, &queues));
    let mut fork = router.fork(5);
    let next = |fork: &mut Router| delivered(&fork.send(&Packet::new("")))[0].1;
    assert_eq!((next(&mut fork), next(&mut fork)), (2, 0));
    assert_eq!((next(&mut router), next(&mut fork), next(&mut router)), (0, 1, 1));
    let mut copy = router.clone();
    copy.clear_cache();
    assert_eq!((next(&mut copy), next(&mut router)), (2, 2));
}
