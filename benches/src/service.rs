//! What a call costs: a job of one service and one client, each a process of its own, next to a bare
//! round trip through two rings in the same run.
//!
//! The client measures in its own process, which is this program again, and hands what it found to
//! the job's results.

use std::time::Duration;

use ringway::runtime::{Dispatcher, JobGraph, Methods};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cpus::{CpuPair, pin};
use crate::error::Result;
use crate::latency::{self, LatencyPlan};
use crate::link;
use crate::report::{Floor, Setting, ratio};
use crate::stats::{Samples, Times};

const TIMEOUT: Duration = Duration::from_secs(60);

/// Result of `service`.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceReport {
    verb: &'static str,
    payload_bytes: usize,
    rounds: u64,
    #[serde(flatten)]
    floor: Floor,
    round_trip_ns: Times,
    ring_round_trip_ns: Times,
    /// Of the round trip, to two floors.
    ratio_to_floor: f64,
    ratio_to_ring: f64,
    ratio_p50_to_ring_p50: f64,
    #[serde(flatten)]
    setting: Setting,
}

/// What the client found.
#[derive(Debug, Serialize, Deserialize)]
struct Found {
    round_trip_ns: Times,
}

/// A service that answers four numbers, and a client that calls it.
pub(crate) fn graph(cpus: CpuPair, plan: &LatencyPlan) -> JobGraph {
    let graph = JobGraph::new("bench-service");
    let (here, there) = (cpus.here, cpus.there);
    graph.service("echo", move || {
        // It serves on whatever CPU it may: slower, not wrong.
        let _ = pin(there);
        Methods::new().on("echo", |_, numbers: [u64; 4]| Ok(numbers))
    });
    let (warm_up, rounds) = (plan.warm_up, plan.rounds);
    graph
        .source("client", move |task| {
            pin(here)?;
            let clock = Clock::new();
            let mut samples = Samples::with_room(rounds);
            let mut before = clock.ticks();
            for round in 0..warm_up + rounds {
                let request = [round; 4];
                let reply: [u64; 4] = task.call_service("echo", "echo", &request, TIMEOUT)?;
                let after = clock.ticks();
                if reply != request {
                    return Err("another call's reply came".into());
                }
                if round >= warm_up {
                    samples.push(after.wrapping_sub(before));
                }
                before = after;
            }
            samples.settle();
            let found = Found { round_trip_ns: samples.round_trip(clock) };
            task.result(&serde_json::to_vec(&found)?)
        })
        .uses("echo");
    graph
}

/// Measures; the workers of the graph do not come here.
///
/// # Errors
/// When a process, its memory or a ring fails.
pub(crate) fn measure(
    cpus: CpuPair,
    plan: &LatencyPlan,
    graph: &JobGraph,
) -> Result<ServiceReport> {
    let mut dispatcher = Dispatcher::new();
    if let Some(directory) = &plan.link.directory {
        dispatcher = dispatcher.directory(directory);
    }
    let report = dispatcher.run(graph).map_err(link::refused("running the job"))?;
    let found: Vec<u8> = report.results_of("client").flatten().copied().collect();
    let found: Found =
        serde_json::from_slice(&found).map_err(link::refused("reading what the client found"))?;
    let bare = latency::measure_ping_pong(cpus, plan)?;
    let ring_round_trip_ns = bare.samples.round_trip(bare.clock);
    let round_trip_ns = found.round_trip_ns;
    let floor = Floor::new(bare.clock, bare.before, bare.after);
    Ok(ServiceReport {
        verb: "service",
        payload_bytes: plan.link.payload,
        rounds: plan.rounds,
        ratio_to_ring: ratio(round_trip_ns.mean, ring_round_trip_ns.mean),
        ratio_p50_to_ring_p50: ratio(round_trip_ns.p50, ring_round_trip_ns.p50),
        ratio_to_floor: ratio(round_trip_ns.mean, 2.0 * floor.floor_ns),
        floor,
        round_trip_ns,
        ring_round_trip_ns,
        setting: Setting::new(cpus, bare.clock),
    })
}
