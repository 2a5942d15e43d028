//! Measures Ringway between two processes pinned to two CPUs, next to what the machine can do.
//!
//! Every run measures its own yardstick with the same two CPUs: the *floor*, one cache line bounced
//! (`floor`), and the *ceiling*, payloads copied with nothing but two counters (`copy`). The program
//! starts itself a second time as the peer (`peers`); both agree on a plan, meet before each
//! part, and the starter reports. `link` alone knows Ringway's interface.
//!
//! Whatever ends the starter ends the peer, and removes the segments' directory (`scratch`).

mod cli;
mod clock;
mod copy;
mod cpus;
mod create;
mod error;
mod floor;
mod latency;
mod lines;
mod link;
mod packet;
mod payload;
mod peers;
mod report;
mod scratch;
mod service;
mod shared;
mod sizing;
mod stats;
mod table;
mod throughput;
mod transport;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use serde::{Deserialize, Serialize};

use crate::cli::{
    Cli, CopyArgs, CreateArgs, FloorArgs, LatencyArgs, LinesArgs, PacketArgs, ThroughputArgs, Verb,
};
use crate::cpus::CpuPair;
use crate::create::CreatePlan;
use crate::error::{BenchError, Result};
use crate::floor::FloorPlan;
use crate::latency::LatencyPlan;
use crate::lines::LinesPlan;
use crate::peers::{Job, Session};
use crate::report::{FloorReport, Progress};
use crate::scratch::Scratch;
use crate::throughput::ThroughputPlan;
use crate::transport::{LinkSpec, Transport};

/// What the peer is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Bounce the line, twice.
    Floor(FloorPlan),
    /// Answer every packet.
    Latency(LatencyPlan),
    /// Receive a stream.
    Throughput(ThroughputPlan),
    /// Answer every packet, bare and routed.
    Packet(LatencyPlan),
    /// Attach to queues.
    Create(CreatePlan),
    /// Read and write lines.
    Lines(LinesPlan),
}

/// Cleans up on every way out of `main`, panics included.
struct CleanUp;

impl Drop for CleanUp {
    fn drop(&mut self) {
        peers::clean_up();
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _clean_up = CleanUp;
    match run(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway-bench: {error}");
            match error {
                BenchError::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Latency(args) => latency(&args),
        Verb::Throughput(args) => throughput(&args),
        Verb::Packet(args) => packet(&args),
        Verb::Service(args) => service(&args),
        Verb::Create(args) => create(&args),
        Verb::Floor(args) => floor(&args),
        Verb::Copy(args) => copy(&args),
        Verb::Lines(args) => lines(&args),
        Verb::Completions { shell } => {
            clap_complete::generate(
                shell,
                &mut Cli::command(),
                "ringway-bench",
                &mut std::io::stdout(),
            );
            Ok(())
        }
        Verb::Peer { job } => peer(&job),
    }
}

fn latency(args: &LatencyArgs) -> Result<()> {
    let mut link = args.link()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let _scratch = prepare(&mut link)?;
    let plan = round_trips(link, args.rounds);
    report::print(&latency::measure(cpus, &plan)?, args.common.json);
    Ok(())
}

fn packet(args: &PacketArgs) -> Result<()> {
    let mut link = args.link()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let _scratch = prepare(&mut link)?;
    report::print(&packet::measure(cpus, &round_trips(link, args.rounds))?, args.common.json);
    Ok(())
}

fn service(args: &PacketArgs) -> Result<()> {
    let mut link = args.link()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let graph = service::graph(cpus, &round_trips(link.clone(), args.rounds));
    graph.run_if_worker();
    let _scratch = prepare(&mut link)?;
    let plan = round_trips(link, args.rounds);
    report::print(&service::measure(cpus, &plan, &graph)?, args.common.json);
    Ok(())
}

fn round_trips(link: LinkSpec, rounds: u64) -> LatencyPlan {
    let warm_up = (rounds / 10).clamp(100, 20_000);
    LatencyPlan { link, rounds, warm_up, floor: FloorPlan::default() }
}

fn throughput(args: &ThroughputArgs) -> Result<()> {
    let mut link = args.link()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let _scratch = prepare(&mut link)?;
    let plan = throughput_plan(link, args.stream.packets(), true);
    report::print(&throughput::measure(cpus, &plan)?, args.common.json);
    Ok(())
}

fn copy(args: &CopyArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let plan = throughput_plan(args.link()?, args.stream.packets(), false);
    report::print(&throughput::measure(cpus, &plan)?, args.common.json);
    Ok(())
}

fn throughput_plan(link: LinkSpec, packets: u64, with_link: bool) -> ThroughputPlan {
    // The ring is gone round at least twice, so that all its pages were touched by both.
    let lap = (link.size.data_bytes / link.payload.max(1)).max(link.size.capacity_packets) as u64;
    let warm_up = (packets / 10).min(2 * lap).max(lap.min(packets));
    ThroughputPlan {
        warm_up,
        ceiling_packets: packets.div_ceil(2),
        packets,
        with_link,
        link,
        floor: FloorPlan::default(),
    }
}

fn create(args: &CreateArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    link::available()?;
    peers::supervise()?;
    let scratch = Scratch::create()?;
    let plan =
        CreatePlan { repetitions: args.repetitions, warm_up: 5, directory: scratch.path.clone() };
    report::print(&create::measure(cpus, &plan)?, args.common.json);
    Ok(())
}

fn floor(args: &FloorArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let plan = FloorPlan { rounds: args.rounds.div_ceil(2), ..FloorPlan::default() };
    let session = Session::start(cpus, 0, Task::Floor(plan))?;
    let progress = Progress::start(2);
    progress.stage("floor");
    let before = floor::measure(&session.pair, session.clock, plan);
    progress.advance(1);
    let after = floor::measure(&session.pair, session.clock, plan);
    let clock = session.clock;
    session.finish()?;
    drop(progress);
    let report = FloorReport::new(2 * plan.rounds, cpus, clock, before, after);
    report::print(&report, args.common.json);
    Ok(())
}

fn lines(args: &LinesArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let plan = LinesPlan { rounds: args.rounds, floor: FloorPlan::default() };
    report::print(&lines::measure(cpus, plan)?, args.common.json);
    Ok(())
}

/// Makes what the transport needs before the peer is started.
fn prepare(link: &mut LinkSpec) -> Result<Option<Scratch>> {
    if link.transport == Transport::Bare {
        return Ok(None);
    }
    link::available()?;
    peers::supervise()?;
    let scratch = Scratch::create()?;
    link.directory = Some(scratch.path.clone());
    Ok(Some(scratch))
}

fn peer(job: &str) -> Result<()> {
    let job: Job<Task> = serde_json::from_str(job).map_err(|error| {
        BenchError::Usage(format!("`peer` is for this program's own use: {error}"))
    })?;
    let pair = peers::become_peer(&job)?;
    match job.task {
        Task::Floor(plan) => {
            floor::answer(&pair, plan);
            floor::answer(&pair, plan);
            Ok(())
        }
        Task::Latency(plan) => latency::answer(&pair, &plan),
        Task::Throughput(plan) => throughput::answer(&pair, &plan),
        Task::Packet(plan) => packet::answer(&pair, &plan),
        Task::Create(plan) => create::answer(&pair, &plan),
        Task::Lines(plan) => {
            lines::answer(&pair, plan);
            Ok(())
        }
    }
}
