//! Ping-pong: one packet out, one packet back, every round trip timed.

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::copy::{BareInlet, BareOutlet, chunks};
use crate::cpus::CpuPair;
use crate::error::{BenchError, Result};
use crate::floor::{self, FloorPlan};
use crate::line;
use crate::link::{RingInlet, RingOutlet};
use crate::open_loop::{self, OpenLoop, OpenLoopReport};
use crate::peers::{Pair, Session};
use crate::plot::Curve;
use crate::report::{Floor, LatencyReport, Progress, Setting};
use crate::shared::Word;
use crate::stats::Samples;
use crate::transport::{Inlet, LinkSpec, Outlet, Transport};

/// Most rounds between two pauses, in which times are moved into the histogram.
const CHUNK: u64 = 1 << 20;
/// Rounds after a pause that are not counted: the other side may have gone to sleep.
const SETTLE: u64 = 200;

/// A latency measurement, as both processes know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LatencyPlan {
    /// What carries the packets.
    pub(crate) link: LinkSpec,
    /// Round trips counted.
    pub(crate) rounds: u64,
    /// Round trips before them.
    pub(crate) warm_up: u64,
    /// The floor measured before and after.
    pub(crate) floor: FloorPlan,
    /// Packets a second of an open loop; none for a ping-pong.
    pub(crate) rate_per_s: Option<u64>,
}

/// What came out of it.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The report.
    pub(crate) report: Report,
    /// Percentile curves of the transport and of the floor.
    pub(crate) curves: [Curve; 2],
}

/// Closed or open loop.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Report {
    /// A ping-pong.
    PingPong(LatencyReport),
    /// At a rate.
    OpenLoop(OpenLoopReport),
}

enum Answers {
    PingPong(Samples),
    OpenLoop(u64, OpenLoop),
}

impl LatencyPlan {
    /// Says how many rounds are counted between two pauses.
    fn chunk(&self) -> u64 {
        (self.rounds / 50).clamp(1000, CHUNK)
    }

    /// Says how many round trips there are in all, counted or not.
    fn all_rounds(&self) -> u64 {
        let pauses = self.rounds.div_ceil(self.chunk());
        self.warm_up + self.rounds + if self.rate_per_s.is_some() { 0 } else { pauses * SETTLE }
    }

    fn region_bytes(&self) -> usize {
        match self.link.transport {
            Transport::Ring => 0,
            Transport::Bare => 2 * self.link.size.data_bytes,
            Transport::Line => line::region_bytes(&self.link),
        }
    }
}

/// Measures, in the starter.
///
/// # Errors
/// When a process, its memory or the transport fails.
pub(crate) fn measure(cpus: CpuPair, plan: &LatencyPlan) -> Result<Measured> {
    let Raw { clock, answers, before, after } = measure_raw(cpus, plan)?;
    let floors = before.clone().merge(after.clone());
    let floor = Floor::new(clock, before, after);
    let setting = Setting::of(&[cpus.here, cpus.there], clock);
    let unit = clock.ns_per_tick();
    let (report, curves) = match answers {
        Answers::PingPong(samples) => (
            Report::PingPong(LatencyReport::new(plan, cpus, clock, &samples, floor)),
            [
                Curve::new("one way", samples.curve(unit / 2.0)),
                Curve::new("floor", floors.curve(unit / 2.0)),
            ],
        ),
        Answers::OpenLoop(rate, measured) => (
            Report::OpenLoop(OpenLoopReport::new(plan, rate, &measured, clock, floor, setting)),
            [
                Curve::new("there and back", measured.samples.curve(unit)),
                Curve::new("floor, there and back", floors.curve(unit)),
            ],
        ),
    };
    Ok(Measured { report, curves })
}

/// A ping-pong, not summed up.
#[derive(Debug)]
pub(crate) struct PingPong {
    pub(crate) clock: Clock,
    pub(crate) samples: Samples,
    /// The floor before and after.
    pub(crate) before: floor::Measured,
    pub(crate) after: floor::Measured,
}

/// Measures a ping-pong, and leaves the summing up to others.
///
/// # Errors
/// As [`measure`]; `Usage` for an open loop.
pub(crate) fn measure_ping_pong(cpus: CpuPair, plan: &LatencyPlan) -> Result<PingPong> {
    let Raw { clock, answers, before, after } = measure_raw(cpus, plan)?;
    match answers {
        Answers::PingPong(samples) => Ok(PingPong { clock, samples, before, after }),
        Answers::OpenLoop(..) => Err(BenchError::Usage("an open loop is no ping-pong".into())),
    }
}

struct Raw {
    clock: Clock,
    answers: Answers,
    before: floor::Measured,
    after: floor::Measured,
}

fn measure_raw(cpus: CpuPair, plan: &LatencyPlan) -> Result<Raw> {
    let session = Session::start(cpus, plan.region_bytes(), crate::Task::Latency(plan.clone()))?;
    let (pair, clock) = (&session.pair, session.clock);
    let progress = Progress::start(plan.rounds);

    progress.stage("floor");
    let before = floor::measure(pair, clock, plan.floor);
    let spec = &plan.link;
    let answers = match spec.transport {
        Transport::Ring => {
            let outlet = RingOutlet::open(spec, "request", 1)?;
            let inlet = RingInlet::open(spec, "reply")?;
            play(pair, clock, plan, outlet, inlet, &progress)?
        }
        Transport::Bare => {
            let (forth, back) =
                (chunks(spec.size, spec.payload, 0), chunks(spec.size, spec.payload, 1));
            let outlet = BareOutlet::take(&pair.region, Word::First, forth, spec.in_place, 1);
            let inlet = BareInlet::take(&pair.region, Word::Second, back, spec.in_place);
            play(pair, clock, plan, outlet, inlet, &progress)?
        }
        Transport::Line => {
            let (outlet, inlet) = line::ends(&pair.region, spec, true);
            play(pair, clock, plan, outlet, inlet, &progress)?
        }
    };
    progress.stage("floor");
    let after = floor::measure(pair, clock, plan.floor);
    session.finish()?;
    drop(progress);
    Ok(Raw { clock, answers, before, after })
}

/// Answers, in the peer.
///
/// # Errors
/// When the transport fails.
pub(crate) fn answer(pair: &Pair, plan: &LatencyPlan) -> Result<()> {
    floor::answer(pair, plan.floor);
    let spec = &plan.link;
    match spec.transport {
        Transport::Ring => {
            let inlet = RingInlet::open(spec, "request")?;
            let outlet = RingOutlet::open(spec, "reply", 1)?;
            pong(pair, plan, inlet, outlet)?;
        }
        Transport::Bare => {
            let (forth, back) =
                (chunks(spec.size, spec.payload, 0), chunks(spec.size, spec.payload, 1));
            let inlet = BareInlet::take(&pair.region, Word::First, forth, spec.in_place);
            let outlet = BareOutlet::take(&pair.region, Word::Second, back, spec.in_place, 1);
            pong(pair, plan, inlet, outlet)?;
        }
        Transport::Line => {
            let (outlet, inlet) = line::ends(&pair.region, spec, false);
            pong(pair, plan, inlet, outlet)?;
        }
    }
    floor::answer(pair, plan.floor);
    Ok(())
}

fn play(
    pair: &Pair,
    clock: Clock,
    plan: &LatencyPlan,
    mut outlet: impl Outlet,
    mut inlet: impl Inlet,
    progress: &Progress,
) -> Result<Answers> {
    match plan.rate_per_s {
        Some(rate) => {
            let (outlet, inlet) = (&mut outlet, &mut inlet);
            let measured = open_loop::ping(pair, clock, plan, rate, outlet, inlet, progress)?;
            Ok(Answers::OpenLoop(rate, measured))
        }
        None => ping(pair, clock, plan, outlet, inlet, progress).map(Answers::PingPong),
    }
}

/// Sends, receives and times, in the starter.
///
/// # Errors
/// When the transport fails.
pub(crate) fn ping(
    pair: &Pair,
    clock: Clock,
    plan: &LatencyPlan,
    mut outlet: impl Outlet,
    mut inlet: impl Inlet,
    progress: &Progress,
) -> Result<Samples> {
    let chunk = plan.chunk();
    let mut samples = Samples::with_room(chunk.min(plan.rounds));
    pair.meet();

    progress.stage("warm-up");
    let mut sequence = 0;
    let mut round = |sequence: &mut u64| -> Result<()> {
        outlet.send(*sequence, 1)?;
        outlet.prepare(*sequence + 1);
        inlet.receive(*sequence, 1)?;
        *sequence += 1;
        Ok(())
    };
    for _ in 0..plan.warm_up {
        round(&mut sequence)?;
    }
    progress.stage("rounds");
    let mut left = plan.rounds;
    while left > 0 {
        let now = left.min(chunk);
        for _ in 0..SETTLE {
            round(&mut sequence)?;
        }
        let mut before = clock.ticks();
        for _ in 0..now {
            round(&mut sequence)?;
            let after = clock.ticks();
            samples.push(after.wrapping_sub(before));
            before = after;
        }
        samples.settle();
        left -= now;
        progress.advance(now);
    }
    Ok(samples)
}

/// Receives and sends, in the peer.
///
/// # Errors
/// When the transport fails.
pub(crate) fn pong(
    pair: &Pair,
    plan: &LatencyPlan,
    mut inlet: impl Inlet,
    mut outlet: impl Outlet,
) -> Result<()> {
    pair.meet();
    for sequence in 0..plan.all_rounds() {
        outlet.prepare(sequence);
        inlet.receive(sequence, 1)?;
        outlet.send(sequence, 1)?;
    }
    Ok(())
}
