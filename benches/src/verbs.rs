//! From the command line to a measurement, and to its report.

use std::time::Duration;

use clap::CommandFactory;
use serde::{Deserialize, Serialize};

use crate::cli::{
    Cli, CopyArgs, CreateArgs, FloorArgs, LatencyArgs, LinesArgs, OversubscribedArgs, PacketArgs,
    ReportArgs, ScaleArgs, ThroughputArgs, Verb, WakeupArgs,
};
use crate::cpus::{self, CpuPair};
use crate::create::CreatePlan;
use crate::error::{BenchError, Result};
use crate::floor::FloorPlan;
use crate::latency::LatencyPlan;
use crate::lines::LinesPlan;
use crate::peers::{Job, Session};
use crate::plot::{self, Curve};
use crate::report::{FloorReport, Progress, Swept, ThroughputReport};
use crate::scale::ScalePlan;
use crate::scratch::Scratch;
use crate::streams::{StreamsPlan, StreamsReport};
use crate::team::Team;
use crate::throughput::ThroughputPlan;
use crate::transport::{LinkSpec, Transport};
use crate::wakeup::WakeupPlan;
use crate::{
    create, floor, latency, lines, link, oversubscribed, packet, peers, report, scale, service,
    streams, summary, throughput, wakeup,
};

/// Most packets that a stream counts by default.
const MOST_PACKETS: u64 = 10_000_000;
/// Most packets of each size that a drawing shows, by default.
const MOST_SWEPT: u64 = 2_000_000;
/// The sizes it shows, in bytes.
const SWEPT: [usize; 8] = [32, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// What a peer is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Bounce the line, twice.
    Floor(FloorPlan),
    /// Answer every packet.
    Latency(LatencyPlan),
    /// Receive a stream.
    Throughput(ThroughputPlan),
    /// Produce or consume in a team.
    Streams(StreamsPlan),
    /// Sleep, and wake.
    Wakeup(WakeupPlan),
    /// Be many participants.
    Scale(ScalePlan),
    /// Answer every packet, bare and routed.
    Packet(LatencyPlan),
    /// Attach to queues.
    Create(CreatePlan),
    /// Read and write lines.
    Lines(LinesPlan),
}

/// Does what the command line asks for.
///
/// # Errors
/// When that cannot be.
pub(crate) fn run(verb: Verb) -> Result<()> {
    peers::die_with_starter()?;
    match verb {
        Verb::Latency(args) => latency(&args),
        Verb::Throughput(args) => throughput(&args),
        Verb::Packet(args) => packet(&args),
        Verb::Service(args) => service(&args),
        Verb::Wakeup(args) => wakeup(&args),
        Verb::Oversubscribed(args) => oversubscribed(&args),
        Verb::Scale(args) => scale(&args),
        Verb::Report(args) => report(&args),
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
    let rounds = args.rounds()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let _scratch = prepare(&mut link)?;
    let title = title("one way", &link);
    let plan = LatencyPlan { rate_per_s: args.rate, ..round_trips(link, rounds) };
    let measured = latency::measure(cpus, &plan)?;
    if let Some(file) = &args.plot.plot {
        let title = args.rate.map_or(title, |rate| format!("at {rate} packets/s"));
        plot::percentiles(file, &title, "ns", &measured.curves)?;
    }
    report::print(&measured.report, args.common.json);
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
    LatencyPlan { link, rounds, warm_up, floor: FloorPlan::default(), rate_per_s: None }
}

fn lines(args: &LinesArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let plan = LinesPlan { rounds: args.rounds, floor: FloorPlan::default() };
    report::print(&lines::measure(cpus, plan)?, args.common.json);
    Ok(())
}

fn title(what: &str, link: &LinkSpec) -> String {
    format!("{what}, {} bytes, {:?}", link.payload, link.mode).to_lowercase()
}

fn throughput(args: &ThroughputArgs) -> Result<()> {
    if args.is_team() {
        return throughput_of_many(args);
    }
    let payload = args.stream.ring.payload;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let mut link = args.link(payload)?;
    let scratch = prepare(&mut link)?;
    let own = payload;
    let one = |payload: usize, most: u64| -> Result<ThroughputReport> {
        let mut link = args.link(payload)?;
        link.directory = own_directory(scratch.as_ref(), payload);
        // `--packets` counts packets of `--payload`: of longer ones, as many bytes.
        let packets = match args.stream.packets {
            Some(n) => {
                n.min((n.saturating_mul(own.max(1) as u64) / payload.max(1) as u64).max(100))
            }
            None => args.stream.packets(payload, most),
        };
        throughput::measure(cpus, &throughput_plan(link, packets, true))
    };
    let mut report = one(payload, MOST_PACKETS)?;
    if let Some(file) = &args.plot.plot {
        let sweep = |payload: usize| one(payload, MOST_SWEPT).map(|report| report.swept());
        let sweep = SWEPT.into_iter().map(sweep).collect::<Result<Vec<Swept>>>()?;
        let curve = |label: &str, of: &dyn Fn(&Swept) -> Option<f64>| {
            let points = sweep
                .iter()
                .filter_map(|swept| Some(((swept.payload_bytes as f64).log2(), of(swept)? / 1e9)));
            Curve::new(label, points.collect())
        };
        let curves = [
            curve("stream", &|swept| swept.bytes_per_s),
            curve("copy", &|swept| Some(swept.copy_bytes_per_s)),
        ];
        plot::rates(
            file,
            &title("stream", &link).replace(&format!(" {payload} bytes,"), ""),
            &curves,
        )?;
        report = report.with_sweep(sweep);
    }
    report::print(&report, args.common.json);
    Ok(())
}

fn throughput_of_many(args: &ThroughputArgs) -> Result<()> {
    let payload = args.stream.ring.payload;
    let cpus = cpus::choose_many(args.common.cpus.as_deref())?;
    let mut link = args.link(payload)?;
    let scratch = prepare(&mut link)?;
    let one = |payload: usize, most: u64| -> Result<StreamsReport> {
        let mut link = args.link(payload)?;
        link.directory = own_directory(scratch.as_ref(), payload);
        let packets = args.stream.packets(payload, most);
        let plan = StreamsPlan {
            warm_up: warm_up(&link, packets),
            link,
            name: "stream".into(),
            producers: args.producers as usize,
            consumers: args.consumers as usize,
            packets,
            floor: FloorPlan::default(),
        };
        streams::measure(&cpus, &plan)
    };
    let report = one(payload, MOST_PACKETS)?;
    if let Some(file) = &args.plot.plot {
        let point = |payload: usize| {
            let report = one(payload, MOST_SWEPT)?;
            Ok(((payload as f64).log2(), report.bytes_per_s() / 1e9))
        };
        let points = SWEPT.into_iter().map(point).collect::<Result<Vec<_>>>()?;
        let title = format!("{} producers, {} consumers", args.producers, args.consumers);
        plot::rates(file, &title, &[Curve::new("stream", points)])?;
    }
    report::print(&report, args.common.json);
    Ok(())
}

/// A directory for one of several measurements: rings of other sizes have the same names.
fn own_directory(scratch: Option<&Scratch>, payload: usize) -> Option<std::path::PathBuf> {
    scratch.map(|scratch| scratch.path.join(format!("payload-{payload}")))
}

fn copy(args: &CopyArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let packets = args.stream.packets(args.stream.ring.payload, MOST_PACKETS);
    let plan = throughput_plan(args.link()?, packets, false);
    report::print(&throughput::measure(cpus, &plan)?, args.common.json);
    Ok(())
}

/// The ring is gone round at least twice, so that all its pages were touched by both.
fn warm_up(link: &LinkSpec, packets: u64) -> u64 {
    let lap = (link.size.data_bytes / link.payload.max(1)).max(link.size.capacity_packets) as u64;
    (packets / 10).min(2 * lap).max(lap.min(packets))
}

fn throughput_plan(link: LinkSpec, packets: u64, with_link: bool) -> ThroughputPlan {
    ThroughputPlan {
        warm_up: warm_up(&link, packets),
        ceiling_packets: packets.div_ceil(2),
        packets,
        with_link,
        link,
        floor: FloorPlan::default(),
    }
}

fn wakeup(args: &WakeupArgs) -> Result<()> {
    let mut link = args.link()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let _scratch = prepare(&mut link)?;
    let plan = WakeupPlan {
        link,
        rounds: args.rounds,
        warm_up: (args.rounds / 10).clamp(1, 50),
        pause: Duration::from_micros(args.pause),
    };
    let (report, curves) = wakeup::measure(cpus, &plan)?;
    if let Some(file) = &args.plot.plot {
        plot::percentiles(file, "waking a sleeper", "µs", &curves)?;
    }
    report::print(&report, args.common.json);
    Ok(())
}

fn oversubscribed(args: &OversubscribedArgs) -> Result<()> {
    let mut link = args.link()?;
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    let _scratch = prepare(&mut link)?;
    let packets = args.stream.packets(link.payload, MOST_SWEPT);
    let plan = StreamsPlan {
        warm_up: warm_up(&link, packets),
        link,
        name: "stream".into(),
        producers: 1,
        consumers: 1,
        packets,
        floor: FloorPlan::default(),
    };
    let processes: Vec<usize> = args.processes.iter().map(|n| *n as usize).collect();
    let report = oversubscribed::measure(&[cpus.here, cpus.there], &plan, &processes)?;
    report::print(&report, args.common.json);
    Ok(())
}

fn scale(args: &ScaleArgs) -> Result<()> {
    let cpus = CpuPair::choose(args.common.cpus.as_deref())?;
    link::available()?;
    peers::supervise()?;
    let scratch = Scratch::create()?;
    let counts = |counts: &[u64]| counts.iter().map(|count| *count as usize).collect();
    let plan = ScalePlan {
        participants: counts(&args.participants),
        rings: counts(&args.rings),
        connections: counts(&args.connections),
        rounds: args.rounds,
        operations: args.operations,
        directory: scratch.path.clone(),
    };
    report::print(&scale::measure(cpus, &plan)?, args.common.json);
    Ok(())
}

fn report(args: &ReportArgs) -> Result<()> {
    let cpus = args.common.cpus.as_deref();
    CpuPair::choose(cpus)?;
    let verbs: Vec<String> =
        Cli::command().get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
    let summary = summary::write(&args.output, args.quick, cpus, &verbs)?;
    if args.common.json {
        report::print(&summary, true);
    } else {
        println!("{}", args.output.join("report.md").display());
    }
    Ok(())
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

/// Makes what the transport needs before the peer is started.
fn prepare(link: &mut LinkSpec) -> Result<Option<Scratch>> {
    if link.transport != Transport::Ring {
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
    if let (Task::Streams(plan), Some(seat)) = (&job.task, job.seat) {
        return streams::answer(&Team::join(&job, seat)?, plan);
    }
    let pair = peers::become_peer(&job)?;
    match job.task {
        Task::Floor(plan) => {
            floor::answer(&pair, plan);
            floor::answer(&pair, plan);
            Ok(())
        }
        Task::Latency(plan) => latency::answer(&pair, &plan),
        Task::Throughput(plan) => throughput::answer(&pair, &plan),
        Task::Wakeup(plan) => wakeup::answer(&pair, &plan),
        Task::Scale(plan) => scale::answer(&pair, &plan),
        Task::Packet(plan) => packet::answer(&pair, &plan),
        Task::Create(plan) => create::answer(&pair, &plan),
        Task::Lines(plan) => {
            lines::answer(&pair, plan);
            Ok(())
        }
        Task::Streams(_) => Err(BenchError::Usage("a stream of many is for a team".into())),
    }
}
