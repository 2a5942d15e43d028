//! The graphs of the tests, built the same in the test and in its workers.

use std::path::Path;
use std::time::Duration;

use ringway::routing::{KeyRef, Packet, PacketRef, PartitionKey};
use ringway::runtime::{ContextError, Edge, JobGraph, Restart, TaskContext, TaskResult};

use crate::harness::Given;
use crate::{callers, plans, services};

pub(crate) fn make(name: &str, given: &Given<'_>) -> JobGraph {
    let graph = JobGraph::new(name);
    match name {
        "squares" => squares(&graph, given, Restart::NEVER),
        "restarting" => squares(&graph, given, Restart::on_failure(5)),
        "source-restarts" => source_restarts(&graph, given),
        "stop-twice" => stop_twice(&graph, given),
        "always-fails" => always_fails(&graph),
        "panics" => panics(&graph),
        "undecodable" => undecodable(&graph),
        "endless" => endless(&graph, Duration::ZERO),
        "stuck" => endless(&graph, Duration::from_secs(3600)),
        "work-queue" => work_queue(&graph, given),
        "two-inputs" => two_inputs(&graph, given),
        "hundred" => hundred(&graph),
        "services" => services::calls(&graph, given),
        "service-errors" => services::errors(&graph),
        "service-killed" => services::killed(&graph, given),
        "service-gone" => services::gone(&graph),
        "streams" => streams(&graph, given),
        "service-chain" => services::chain(&graph),
        "impatient" => callers::impatient(&graph, given),
        "mortal-caller" => callers::mortal(&graph, given),
        "knowing" => plans::knowing(&graph),
        "dropping" => plans::dropping(&graph, given),
        "unfettered" => unfettered(&graph, given),
        other => panic!("no graph {other:?}"),
    }
    graph
}

/// Sends 1 to `count`, keyed by themselves.
pub(crate) fn count_to(task: &mut TaskContext, count: u64) -> TaskResult {
    for number in 1..=count {
        let key = PartitionKey::from(number);
        let payload = number.to_le_bytes();
        let mut packet = PacketRef::new(&payload);
        packet.partition_key = Some(KeyRef::from(&key));
        task.send(&packet)?;
    }
    Ok(())
}

fn number_of(packet: &Packet) -> u64 {
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

/// In the first attempt: says by a file that this place was reached, and waits to be killed there.
fn wait_for_the_end(task: &str, attempt: u32, dir: &Path) {
    if attempt == 0 {
        std::fs::write(dir.join(task), "here").unwrap();
        loop {
            std::thread::park();
        }
    }
}

/// Squares, by an operator that is killed in the middle of a batch, where what it made of the first
/// half is delivered and nothing acknowledged.
fn squares(graph: &JobGraph, given: &Given<'_>, restart: Restart) {
    let (count, dir) = (given.number, given.dir.to_owned());
    graph.source("numbers", move |task| count_to(task, count)).keyed();
    graph
        .operator("square", move |task| {
            let identity = task.identity().clone();
            let mut seen = 0;
            task.for_each(|packet, output| {
                let number = u64::from_le_bytes(packet.payload.try_into()?);
                let square = (number * number).to_le_bytes();
                output.send(&PacketRef { payload: &square, ..*packet })?;
                seen += 1;
                if seen == 100 && identity.instance.index == 0 && dir.join("kill").exists() {
                    output.flush()?;
                    wait_for_the_end("square", identity.attempt, &dir);
                }
                Ok(())
            })
        })
        .parallelism(3)
        .keyed()
        .restart(restart);
    graph.operator("adder", add).parallelism(2);
    graph.connect("numbers", "square", Edge::round_robin());
    graph.connect("square", "adder", Edge::hash());
}

fn source_restarts(graph: &JobGraph, given: &Given<'_>) {
    let (count, dir) = (given.number, given.dir.to_owned());
    graph
        .source("numbers", move |task| {
            if task.identity().attempt == 0 {
                count_to(task, count / 2)?;
                task.flush()?;
                wait_for_the_end("numbers", 0, &dir);
            }
            count_to(task, count)
        })
        .keyed()
        .restart(Restart::on_failure(1));
    graph.operator("adder", add).parallelism(3);
    graph.connect("numbers", "adder", Edge::round_robin());
}

/// An operator that is killed when it has sent its stop signals, and has not reported its end.
fn stop_twice(graph: &JobGraph, given: &Given<'_>) {
    let (count, dir) = (given.number, given.dir.to_owned());
    graph.source("numbers", move |task| count_to(task, count)).keyed();
    graph
        .operator("copy", move |task| {
            let attempt = task.identity().attempt;
            let first = task.identity().instance.index == 0;
            while !first && !dir.join("stopped-twice").exists() {
                // Its packets come behind both stop signals of the first.
                std::thread::yield_now();
            }
            task.for_each(|packet, output| Ok(output.send(packet)?))?;
            if first {
                task.send_stop_signal("perhaps for the second time")?;
                wait_for_the_end("copy", attempt, &dir);
                std::fs::write(dir.join("stopped-twice"), "")?;
            }
            Ok(())
        })
        .parallelism(2)
        .restart(Restart::on_failure(1));
    graph.operator("adder", add);
    graph.connect("numbers", "copy", Edge::round_robin());
    graph.connect("copy", "adder", Edge::round_robin());
}

fn always_fails(graph: &JobGraph) {
    graph.source("numbers", |task| count_to(task, 10)).keyed();
    graph
        .operator("failing", |task| {
            task.recv()?;
            Err(format!("attempt {} is no good", task.identity().attempt).into())
        })
        .restart(Restart::on_failure(2));
    graph.connect("numbers", "failing", Edge::round_robin());
}

fn panics(graph: &JobGraph) {
    graph.source("numbers", |task| count_to(task, 1_000_000)).keyed();
    graph.operator("panicking", |task| {
        let packet = task.recv()?;
        assert_eq!(packet.map(|packet| number_of(&packet)), Some(7), "only seven will do");
        Ok(())
    });
    graph.connect("numbers", "panicking", Edge::round_robin());
}

fn undecodable(graph: &JobGraph) {
    graph.source("texts", |task| Ok(task.send(&PacketRef::new(b"no number"))?));
    graph.operator("reader", |task| {
        while let Some(packet) = task.recv()? {
            packet.decode::<(u64, String, u64)>()?;
        }
        Ok(())
    });
    graph.connect("texts", "reader", Edge::round_robin());
}

/// A source that ends only when it is asked to, and says how much it sent.
fn endless(graph: &JobGraph, pause: Duration) {
    graph.source("numbers", |task| {
        let mut sent = 0_u64;
        while !task.is_stopping() {
            match task.send(&PacketRef::new(&sent.to_le_bytes())) {
                Ok(()) => sent += 1,
                Err(ContextError::Stopping(_)) => {
                    sent += 1;
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        task.result(&sent.to_le_bytes())
    });
    graph.operator("adder", move |task| {
        if !pause.is_zero() {
            task.recv()?;
            std::thread::sleep(pause);
        }
        add(task)
    });
    graph.connect("numbers", "adder", Edge::round_robin().capacity(64));
}

/// The endless one, whose workers would survive their dispatcher if only the kernel killed them.
fn unfettered(graph: &JobGraph, given: &Given<'_>) {
    let freed = |name: &str| {
        let file = given.dir.join(name);
        move || -> TaskResult {
            nix::sys::prctl::set_pdeathsig(None)?;
            Ok(std::fs::write(&file, "")?)
        }
    };
    let (source, sink) = (freed("source-freed"), freed("sink-freed"));
    graph.source("numbers", move |task| {
        source()?;
        loop {
            task.send(&PacketRef::new(b"x"))?;
        }
    });
    graph.operator("adder", move |task| {
        sink()?;
        task.for_each(|_, _| Ok(()))
    });
    graph.connect("numbers", "adder", Edge::round_robin());
}

/// Three consumers of one queue, the first of which is killed with its second packet in its hands.
fn work_queue(graph: &JobGraph, given: &Given<'_>) {
    let (count, dir) = (given.number, given.dir.to_owned());
    graph.source("numbers", move |task| count_to(task, count)).parallelism(2).keyed();
    graph
        .operator("worker", move |task| {
            let identity = task.identity().clone();
            while identity.instance.index != 0 && !dir.join("again").exists() {
                // Both attempts of the first are to have packets before the others take them all.
                std::thread::yield_now();
            }
            let mut seen = 0;
            while let Some(packet) = task.recv()? {
                seen += 1;
                if seen == 2 && identity.instance.index == 0 {
                    wait_for_the_end("worker", identity.attempt, &dir);
                    std::fs::write(dir.join("again"), "")?;
                }
                task.send(&packet.view())?;
            }
            Ok(())
        })
        .parallelism(3)
        .restart(Restart::on_failure(1));
    graph.operator("adder", add);
    graph.connect("numbers", "worker", Edge::shared());
    graph.connect("worker", "adder", Edge::round_robin());
}

fn two_inputs(graph: &JobGraph, given: &Given<'_>) {
    let count = given.number;
    graph.source("left", move |task| count_to(task, count)).keyed();
    graph.source("right", move |task| count_to(task, 2 * count)).parallelism(2).keyed();
    graph.operator("join", |task| {
        let mut counts = [0_u64; 2];
        while let Some(packet) = task.recv()? {
            counts[packet.input_index as usize] += 1;
        }
        counts.iter().try_for_each(|count| task.result(&count.to_le_bytes()))
    });
    graph.operator("watch", add);
    graph.connect("left", "join", Edge::round_robin());
    graph.connect("right", "join", Edge::hash().input(1));
    graph.connect("right", "watch", Edge::broadcast());
}

fn hundred(graph: &JobGraph) {
    graph.source("numbers", |task| count_to(task, 980)).keyed();
    graph
        .operator("copy", |task| task.for_each(|packet, output| Ok(output.send(packet)?)))
        .parallelism(98);
    graph.operator("adder", add);
    graph.connect("numbers", "copy", Edge::round_robin().capacity(64).max_payload(1024));
    graph.connect("copy", "adder", Edge::round_robin());
}

/// How often the last digits of squares occur, of even numbers alone; and, in a branch, all numbers.
fn streams(graph: &JobGraph, given: &Given<'_>) {
    let count = given.number;
    let numbers = graph.stream("numbers", move |out| (0..count).try_for_each(|n| out.emit(&n)));
    numbers.branch().collect("all");
    numbers
        .filter("even", |n| n % 2 == 0)
        .parallelism(2)
        .map("square", |n| n * n)
        .restart(Restart::on_failure(1))
        .key_by(|square| (square % 10).into())
        .reduce(
            "digits",
            || (0_u64, 0_u64),
            |(digit, count), square| {
                (*digit, *count) = (square % 10, *count + 1);
            },
        )
        .parallelism(3)
        .flat_map("pairs", |(_, pair)| [pair])
        .collect("result");
}
