//! A stream of packets one way, next to the floor and the copy ceiling.

use std::sync::atomic::Ordering::Relaxed;

use serde::{Deserialize, Serialize};

use crate::clock::monotonic_ns;
use crate::copy::{BareInlet, BareOutlet, chunks, step};
use crate::cpus::CpuPair;
use crate::error::{BenchError, Result};
use crate::floor::{self, FloorPlan};
use crate::link::{RingInlet, RingOutlet};
use crate::payload::Source;
use crate::peers::{Pair, Session};
use crate::report::{Progress, Rate, Rates, ThroughputReport};
use crate::shared::Word;
use crate::transport::{Inlet, LinkSpec, Outlet, Transport};

/// A throughput measurement, as both processes know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ThroughputPlan {
    /// What carries the packets.
    pub(crate) link: LinkSpec,
    /// Whether the transport is measured, or the ceiling alone (the verb `copy`).
    pub(crate) with_link: bool,
    /// Packets counted.
    pub(crate) packets: u64,
    /// Packets of each of the two measurements of the ceiling.
    pub(crate) ceiling_packets: u64,
    /// Packets before the counted ones.
    pub(crate) warm_up: u64,
    /// The floor measured before and after.
    pub(crate) floor: FloorPlan,
}

/// Measures, in the starter, which is the sender.
///
/// # Errors
/// When a process, its memory or the transport fails.
pub(crate) fn measure(cpus: CpuPair, plan: &ThroughputPlan) -> Result<ThroughputReport> {
    let own_stream = plan.with_link && plan.link.transport == Transport::Bare;
    let region_bytes = plan.link.size.data_bytes * if own_stream { 2 } else { 1 };
    let session = Session::start(cpus, region_bytes, crate::Task::Throughput(plan.clone()))?;
    let (pair, clock) = (&session.pair, session.clock);
    let progress = Progress::start(plan.packets);

    progress.stage("floor");
    let before = floor::measure(pair, clock, plan.floor);
    let spec = &plan.link;
    let ahead = Source::ahead_for_stream(spec.payload, spec.batch);
    let ceiling = chunks(spec.size, spec.payload, 0);
    let ceiling_step = step(ceiling, spec.batch);
    let mut ceiling = BareOutlet::take(&pair.region, Word::First, ceiling, spec.in_place, ahead);
    let mut sent_before = 0;
    let mut send_ceiling =
        || send(pair, plan, plan.ceiling_packets, ceiling_step, &mut ceiling, &mut sent_before);

    progress.stage("copy");
    let ceiling_before = send_ceiling()?;
    let link = if plan.with_link {
        progress.stage("packets");
        Some(match spec.transport {
            Transport::Ring => {
                let mut outlet = RingOutlet::open(spec, "stream", ahead)?;
                send(pair, plan, plan.packets, spec.batch, &mut outlet, &mut 0)?
            }
            Transport::Bare => {
                let second = chunks(spec.size, spec.payload, 1);
                let mut outlet =
                    BareOutlet::take(&pair.region, Word::Second, second, spec.in_place, ahead);
                send(pair, plan, plan.packets, spec.batch, &mut outlet, &mut 0)?
            }
            Transport::Line => return Err(no_stream()),
        })
    } else {
        None
    };
    progress.stage("copy");
    let ceiling_after = send_ceiling()?;
    progress.stage("floor");
    let after = floor::measure(pair, clock, plan.floor);
    session.finish()?;
    drop(progress);
    let rates = Rates { link, ceiling: [ceiling_before, ceiling_after], ceiling_step };
    Ok(ThroughputReport::new(plan, cpus, clock, rates, before, after))
}

/// Receives, in the peer.
///
/// # Errors
/// When the transport fails.
pub(crate) fn answer(pair: &Pair, plan: &ThroughputPlan) -> Result<()> {
    floor::answer(pair, plan.floor);
    let spec = &plan.link;
    let ceiling = chunks(spec.size, spec.payload, 0);
    let ceiling_step = step(ceiling, spec.batch);
    let mut ceiling = BareInlet::take(&pair.region, Word::First, ceiling, spec.in_place);
    let mut received = 0;

    receive(pair, plan, plan.ceiling_packets, ceiling_step, &mut ceiling, &mut received)?;
    if plan.with_link {
        match spec.transport {
            Transport::Ring => {
                let mut inlet = RingInlet::open(spec, "stream")?;
                receive(pair, plan, plan.packets, spec.batch, &mut inlet, &mut 0)?;
            }
            Transport::Bare => {
                let second = chunks(spec.size, spec.payload, 1);
                let mut inlet = BareInlet::take(&pair.region, Word::Second, second, spec.in_place);
                receive(pair, plan, plan.packets, spec.batch, &mut inlet, &mut 0)?;
            }
            Transport::Line => return Err(no_stream()),
        }
    }
    receive(pair, plan, plan.ceiling_packets, ceiling_step, &mut ceiling, &mut received)?;
    floor::answer(pair, plan.floor);
    Ok(())
}

fn no_stream() -> BenchError {
    BenchError::Usage("lines without counts carry no stream".into())
}

/// Sends the warm-up, then the packets that count; the peer says when the last was received.
fn send(
    pair: &Pair,
    plan: &ThroughputPlan,
    packets: u64,
    batch: usize,
    outlet: &mut impl Outlet,
    sequence: &mut u64,
) -> Result<Rate> {
    pair.meet();
    send_all(outlet, sequence, plan.warm_up, batch)?;
    pair.meet();
    let start_ns = monotonic_ns();
    send_all(outlet, sequence, packets, batch)?;
    pair.meet();
    // RELAXED: the meeting above came after the store.
    let end_ns = pair.region.word(Word::ToStarter).load(Relaxed);
    Ok(Rate::new(packets, plan.link.payload, end_ns.saturating_sub(start_ns)))
}

fn receive(
    pair: &Pair,
    plan: &ThroughputPlan,
    packets: u64,
    batch: usize,
    inlet: &mut impl Inlet,
    sequence: &mut u64,
) -> Result<()> {
    pair.meet();
    receive_all(inlet, sequence, plan.warm_up, batch)?;
    pair.meet();
    receive_all(inlet, sequence, packets, batch)?;
    // RELAXED: the meeting below publishes it.
    pair.region.word(Word::ToStarter).store(monotonic_ns(), Relaxed);
    pair.meet();
    Ok(())
}

fn send_all(outlet: &mut impl Outlet, sequence: &mut u64, n: u64, batch: usize) -> Result<()> {
    let end = *sequence + n;
    while *sequence < end {
        let now = (end - *sequence).min(batch as u64);
        outlet.send(*sequence, now as usize)?;
        *sequence += now;
    }
    Ok(())
}

fn receive_all(inlet: &mut impl Inlet, sequence: &mut u64, n: u64, batch: usize) -> Result<()> {
    let end = *sequence + n;
    while *sequence < end {
        let max = (end - *sequence).min(batch as u64);
        *sequence += inlet.receive(*sequence, max as usize)? as u64;
    }
    Ok(())
}
