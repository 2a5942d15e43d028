//! A work queue: many producers, competing consumers, one of which is killed, and nothing is lost.
//!
//! ```text
//! cargo run --release --example work_queue -- 20000
//! ```
//!
//! All consumers take from one ring. What the killed one held goes to another, flagged as
//! redelivered; the dispatcher starts it again; and when all producers have ended, the queue is
//! closed and drained.

use std::process::ExitCode;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringway::routing::PacketRef;
use ringway::runtime::{Dispatcher, Edge, Interrupt, JobError, JobGraph, Restart};

const PRODUCERS: u32 = 4;
const CONSUMERS: u32 = 3;
const DEFAULT_JOBS: u64 = 20_000;

fn graph(jobs: u64) -> JobGraph {
    let graph = JobGraph::new("work-queue");
    graph
        .source("producer", move |task| {
            let who = task.identity().instance.index;
            for number in (u64::from(who)..jobs).step_by(PRODUCERS as usize) {
                task.send(&PacketRef::new(&number.to_le_bytes()))?;
            }
            Ok(())
        })
        .parallelism(PRODUCERS);
    graph
        .operator("consumer", |task| {
            while let Some(packet) = task.recv()? {
                let number = u64::from_le_bytes(packet.payload.as_slice().try_into()?);
                // Some work; what it gives is sent before the packet is acknowledged.
                let digest = (0..2_000).fold(number, |a, b| a.rotate_left(5) ^ b);
                std::hint::black_box(digest);
                task.send(&packet.view())?;
            }
            Ok(())
        })
        .parallelism(CONSUMERS)
        .restart(Restart::on_failure(3));
    graph.operator("ledger", move |task| {
        let mut times = vec![0_u64; jobs as usize];
        while let Some(packet) = task.recv()? {
            let number = u64::from_le_bytes(packet.payload.as_slice().try_into()?);
            *times.get_mut(number as usize).ok_or("a job that nobody made")? += 1;
        }
        let lost = times.iter().filter(|&&times| times == 0).count() as u64;
        let again: u64 = times.iter().map(|&times| times.saturating_sub(1)).sum();
        [lost, again].iter().try_for_each(|number| task.result(&number.to_le_bytes()))
    });
    graph.connect("producer", "consumer", Edge::shared().ring("jobs").capacity(256));
    graph.connect("consumer", "ledger", Edge::round_robin());
    graph
}

fn run(jobs: u64) -> Result<bool, JobError> {
    let mut job = Dispatcher::new().on_interrupt(Interrupt::Stop).submit(&graph(jobs))?;
    let mut killed = None;
    let report = loop {
        match job.wait_timeout(Duration::from_millis(1)) {
            Ok(report) => break report.ok()?,
            Err(running) => job = running,
        }
        let in_the_middle = job.rings().iter().any(|r| r.name == "jobs" && r.stats.gets > jobs / 4);
        if killed.is_none() && in_the_middle {
            let status = job.status();
            let victim = status.tasks.iter().find(|task| task.instance.task == "consumer");
            killed = victim.and_then(|task| task.pid);
            if let Some(pid) = killed {
                // It may just have ended.
                let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            }
        }
    };
    let numbers: Vec<u64> = report
        .results_of("ledger")
        .flat_map(|bytes| bytes.chunks_exact(8))
        .filter_map(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)))
        .collect();
    let [lost, again] = numbers[..] else { return Ok(false) };
    let restarts: u32 = report.tasks.iter().map(|task| task.restarts).sum();
    match killed {
        Some(pid) => println!("killed consumer#0 (pid {pid}), started again {restarts} times"),
        None => println!("nobody was killed: it was over before"),
    }
    println!("{jobs} jobs: {lost} lost, {again} done again, by {CONSUMERS} consumers");
    for task in report.tasks.iter().filter(|task| task.instance.task == "consumer") {
        println!("{:<12} {:>8} jobs", task.instance.to_string(), task.counters.received);
    }
    Ok(lost == 0)
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let jobs = argument.map_or(Ok(DEFAULT_JOBS), |argument| argument.parse());
    let Ok(jobs) = jobs else {
        eprintln!("Usage: work_queue [JOBS]");
        return ExitCode::from(2);
    };
    match run(jobs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("work_queue: {error}");
            ExitCode::FAILURE
        }
    }
}
