//! What a graph becomes, said as a table; and what a task knows of where its packets go.

use ringway::routing::{FullPolicy, PacketRef, RoutingInfo};
use ringway::runtime::{Edge, JobGraph, Methods, Restart};

use crate::harness::{Given, Place, numbers};

/// A task that says where its packets go.
pub(crate) fn knowing(graph: &JobGraph) {
    graph.source("source", |task| {
        task.send(&PacketRef::new(b"one"))?;
        task.result(&serde_json::to_vec(&task.routing_info())?)
    });
    graph.operator("sink", |task| task.for_each(|_, _| Ok(()))).parallelism(2);
    graph.connect("source", "sink", Edge::round_robin());
}

/// A source faster than its sink, which takes nothing before all is sent.
pub(crate) fn dropping(graph: &JobGraph, given: &Given<'_>) {
    let (count, dir) = (given.number, given.dir.to_owned());
    let sent = dir.join("sent");
    graph.source("source", move |task| {
        (0..count).try_for_each(|n| task.send(&PacketRef::new(&n.to_le_bytes())))?;
        task.flush()?;
        std::fs::write(&sent, "")?;
        Ok(())
    });
    graph.operator("sink", move |task| {
        while !dir.join("sent").exists() {
            std::thread::yield_now();
        }
        let mut seen = 0_u64;
        task.for_each(|_, _| {
            seen += 1;
            Ok(())
        })?;
        task.result(&seen.to_le_bytes())
    });
    let edge = Edge::round_robin().capacity(16).full_policy(FullPolicy::DropNewest);
    graph.connect("source", "sink", edge);
}

#[test]
fn explain_says_every_task_and_every_ring_with_its_mode() {
    let graph = JobGraph::new("shown");
    graph.source("lines", |_| Ok(())).restart(Restart::on_failure(3)).uses("prices");
    graph.operator("split", |_| Ok(())).parallelism(2).keyed();
    graph.operator("count", |_| Ok(())).parallelism(2);
    graph.operator("store", |_| Ok(())).parallelism(3).restart(Restart::on_failure(1));
    graph.service("prices", Methods::new);
    graph.connect("lines", "split", Edge::round_robin().capacity(64));
    graph.connect("split", "count", Edge::hash().ring("words"));
    graph.connect("count", "store", Edge::shared());
    let table = graph.explain().unwrap();
    let rings = table.lines().position(|line| line.starts_with("ring ")).unwrap();
    let row = |first: &str| -> Vec<&str> {
        let is_task = ["lines", "split"].contains(&first);
        let line = table
            .lines()
            .skip(if is_task { 0 } else { rings })
            .find(|line| line.split_whitespace().next() == Some(first));
        line.unwrap_or_else(|| panic!("no {first} in\n{table}")).split_whitespace().collect()
    };
    assert!(table.starts_with("job shown, 9 processes\n"), "{table}");
    assert_eq!(row("lines")[1..4], ["1", "3", "-"]);
    assert_eq!(row("lines").last(), Some(&"prices"));
    assert_eq!(row("split")[1..4], ["2", "0", "split-0"]);
    // One upstream instance and one consumer; several and one; several and several.
    let mode = |ring: &str| row(ring)[1..4].join(" ");
    assert_eq!(mode("split-1"), "lines split#1 spsc");
    assert_eq!(mode("words-0"), "split count#0 mpsc");
    assert_eq!(mode("store"), "count store mpmc");
    assert_eq!(row("split-0")[4], "64");
    assert!(
        table.lines().any(|line| line.starts_with("split-0") && line.ends_with("exactly once"))
    );
    assert!(
        table.lines().any(|line| line.starts_with("store ") && line.ends_with("at least once"))
    );
}

#[test]
fn a_task_knows_where_its_packets_go() {
    let report = Place::new().run("knowing", 0).ok().unwrap();
    let info: Vec<u8> = report.results_of("source").flatten().copied().collect();
    let info: RoutingInfo = serde_json::from_slice(&info).unwrap();
    let targets = info.groups[0].targets.iter();
    let names: Vec<_> = targets.map(|target| (target.parallel_index, &*target.name)).collect();
    assert_eq!(names, [(0, "sink#0"), (1, "sink#1")]);
    assert_eq!(info.groups[0].position, 1);
}

#[test]
fn what_a_full_connection_drops_by_its_policy_is_counted() {
    let count = 5_000;
    let report = Place::new().run("dropping", count).ok().unwrap();
    let (source, seen) = (&report.tasks[0], numbers(&report, "sink")[0]);
    assert_eq!(source.counters.sent, count);
    assert!(source.counters.dropped > 0 && seen >= 16, "{source:?}, {seen}");
    assert_eq!(source.counters.dropped + seen, count);
}
