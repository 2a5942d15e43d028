//! The graphs of the tests, built the same in the test and in its workers.

use std::time::Duration;

use ringway::routing::{KeyRef, Packet, PacketRef, PartitionKey};
use ringway::runtime::{Edge, JobGraph, Restart, TaskContext, TaskResult};

use crate::harness::Given;

pub(crate) fn make(name: &str, given: &Given<'_>) -> JobGraph {
    let graph = JobGraph::new(name);
    match name {
        "squares" => squares(&graph, given),
        other => panic!("no graph {other:?}"),
    }
    graph
}

/// Sends 1 to `count`, keyed by themselves.
fn count_to(task: &mut TaskContext, count: u64) -> TaskResult {
    for number in 1..=count {
        let key = PartitionKey::from(number);
        let payload = number.to_le_bytes();
        let mut packet = PacketRef::new(&payload);
        packet.partition_key = Some(KeyRef::from(&key));
        task.send(&packet)?;
    }
    Ok(())
}

pub(crate) fn number_of(packet: &Packet) -> u64 {
    u64::from_le_bytes(packet.payload.as_slice().try_into().unwrap())
}

/// Adds what comes, and gives sum and count as the result.
fn add(task: &mut TaskContext) -> TaskResult {
    let (mut sum, mut count) = (0_u64, 0_u64);
    while let Some(packet) = task.recv()? {
        sum += number_of(&packet);
        count += 1;
    }
    task.result(&sum.to_le_bytes())?;
    task.result(&count.to_le_bytes())
}

fn squares(graph: &JobGraph, given: &Given<'_>) {
    let count = given.number;
    graph.source("numbers", move |task| count_to(task, count)).keyed();
    graph
        .operator("square", |task| {
            task.for_each(|packet, output| {
                let number = u64::from_le_bytes(packet.payload.try_into()?);
                let square = (number * number).to_le_bytes();
                output.send(&PacketRef { payload: &square, ..packet })?;
                Ok(())
            })
        })
        .parallelism(3)
        .keyed();
    graph.operator("adder", add).parallelism(2);
    graph.connect("numbers", "square", Edge::round_robin());
    graph.connect("square", "adder", Edge::hash());
}
