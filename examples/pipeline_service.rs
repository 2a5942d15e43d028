//! A pipeline whose operator calls a service for every packet.
//!
//! ```text
//! orders ──▶ pricing (2) ──▶ till          pricing calls the service `prices` (2 instances)
//! ```
//!
//! ```text
//! cargo run --release --example pipeline_service -- 10000
//! ```
//!
//! Every order gets its price by a call to another process: requests and replies go through rings in
//! the job's segment, each reply finds its caller, and none is late.

use std::process::ExitCode;
use std::time::Duration;

use ringway::routing::Packet;
use ringway::runtime::{
    CallError, Dispatcher, Edge, HandlerError, Interrupt, JobError, JobGraph, Methods, Restart,
};
use serde::{Deserialize, Serialize};

const DEFAULT_ORDERS: u64 = 10_000;
const FRUIT: [&str; 4] = ["apple", "pear", "quince", "durian"];

#[derive(Debug, Serialize, Deserialize)]
struct Order {
    number: u64,
    fruit: String,
    pieces: u64,
}

fn graph(orders: u64) -> JobGraph {
    let graph = JobGraph::new("pipeline-service");
    graph
        .service("prices", || {
            Methods::new().on("cents", |_, fruit: String| match fruit.as_str() {
                "apple" => Ok(40),
                "pear" => Ok(55_u64),
                "quince" => Ok(90),
                other => Err(HandlerError::new(404, format!("no price for a {other}"))),
            })
        })
        .parallelism(2)
        .restart(Restart::on_failure(3));
    graph
        .source("orders", move |task| {
            for number in 0..orders {
                let fruit = FRUIT[number as usize % FRUIT.len()].to_owned();
                let order = Order { number, fruit, pieces: 1 + number % 5 };
                task.send(&Packet::of(&order)?.view())?;
            }
            Ok(())
        })
        .restart(Restart::on_failure(3));
    graph
        .operator("pricing", |task| {
            while let Some(packet) = task.recv()? {
                let order: Order = packet.decode()?;
                let timeout = Duration::from_secs(10);
                let cents = task.call_service::<_, u64>("prices", "cents", &order.fruit, timeout);
                let cents = match cents {
                    Ok(cents) => Some(cents * order.pieces),
                    // A price that there is not is an answer; anything else is a failure.
                    Err(CallError::Handler { code: 404, .. }) => None,
                    Err(error) => return Err(error.into()),
                };
                task.send(&Packet::of(&(order.number, cents))?.view())?;
            }
            Ok(())
        })
        .parallelism(2)
        .uses("prices")
        .restart(Restart::on_failure(3));
    graph.operator("till", |task| {
        let (mut sold, mut refused, mut total) = (0_u64, 0_u64, 0_u64);
        while let Some(packet) = task.recv()? {
            match packet.decode::<(u64, Option<u64>)>()?.1 {
                Some(cents) => {
                    sold += 1;
                    total += cents;
                }
                None => refused += 1,
            }
        }
        task.result(format!("{sold} sold for {total} cents, {refused} without a price").as_bytes())
    });
    graph.connect("orders", "pricing", Edge::round_robin());
    graph.connect("pricing", "till", Edge::round_robin());
    graph
}

fn run(orders: u64) -> Result<(), JobError> {
    let report = Dispatcher::new().on_interrupt(Interrupt::Stop).run(&graph(orders))?;
    let calls = report.tasks.iter().filter(|task| task.instance.task == "prices");
    let calls: u64 = calls.map(|task| task.counters.received).sum();
    let late: u64 = report.tasks.iter().map(|task| task.counters.late).sum();
    let answer: Vec<_> = report.results_of("till").map(String::from_utf8_lossy).collect();
    println!("{}", answer.join("\n"));
    println!("{calls} calls, {late} late replies, in {:.3} s", report.elapsed.as_secs_f64());
    Ok(())
}

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    let orders = argument.map_or(Ok(DEFAULT_ORDERS), |argument| argument.parse());
    let Ok(orders) = orders else {
        eprintln!("Usage: pipeline_service [ORDERS]");
        return ExitCode::from(2);
    };
    match run(orders) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pipeline_service: {error}");
            ExitCode::FAILURE
        }
    }
}
