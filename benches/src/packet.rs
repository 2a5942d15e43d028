//! What routing costs: packets encoded, routed, put, got and decoded, next to bare records through
//! rings of the same shape, in one run.
//!
//! Ping-pong as in `latency`: first with bare records, then with packets. The routed side is what a
//! job's task does for `send_packet` and `recv`.

use ringway::error::GetError;
use ringway::queue::{Consumer, Wait};
use ringway::routing::{BatchRouter, Connection, PacketRef, Record, RouterConfig};
use serde::Serialize;

use crate::clock::Clock;
use crate::cpus::CpuPair;
use crate::error::{BenchError, Result};
use crate::floor;
use crate::latency::{LatencyPlan, ping, pong};
use crate::link::{self, RingInlet, RingOutlet};
use crate::payload;
use crate::peers::{Pair, Session};
use crate::report::{Floor, Progress, Setting, ratio};
use crate::stats::{Samples, Times};
use crate::transport::{Inlet, LinkSpec, Outlet};

/// Result of `packet`.
#[derive(Debug, Serialize)]
pub(crate) struct PacketReport {
    verb: &'static str,
    payload_bytes: usize,
    rounds: u64,
    #[serde(flatten)]
    floor: Floor,
    one_way_ns: Times,
    ring_one_way_ns: Times,
    ratio_to_floor: f64,
    ratio_to_ring: f64,
    ratio_p50_to_ring_p50: f64,
    #[serde(flatten)]
    setting: Setting,
}

/// Measures, in the starter.
///
/// # Errors
/// When a process, its memory or a ring fails.
pub(crate) fn measure(cpus: CpuPair, plan: &LatencyPlan) -> Result<PacketReport> {
    let session = Session::start(cpus, 0, crate::Task::Packet(plan.clone()))?;
    let (pair, clock) = (&session.pair, session.clock);
    let progress = Progress::start(3 * plan.rounds);
    let spec = &plan.link;

    progress.stage("floor");
    let before = floor::measure(pair, clock, plan.floor);
    // Bare records on both sides of the packets: the machine may change its pace meanwhile.
    let mut ring = bare(pair, clock, plan, "bare-1", &progress)?;
    let outlet = Routed::open(spec, "routed-request")?;
    let inlet = Decoded::open(spec, "routed-reply")?;
    let packets = ping(pair, clock, plan, outlet, inlet, &progress)?;
    ring.merge(bare(pair, clock, plan, "bare-2", &progress)?);
    progress.stage("floor");
    let after = floor::measure(pair, clock, plan.floor);
    session.finish()?;
    drop(progress);

    let (one_way_ns, ring_one_way_ns) = (packets.one_way(clock), ring.one_way(clock));
    let floor = Floor::new(clock, before, after);
    Ok(PacketReport {
        verb: "packet",
        payload_bytes: spec.payload,
        rounds: plan.rounds,
        ratio_to_floor: ratio(one_way_ns.mean, floor.floor_ns),
        floor,
        one_way_ns,
        ring_one_way_ns,
        ratio_to_ring: ratio(one_way_ns.mean, ring_one_way_ns.mean),
        ratio_p50_to_ring_p50: ratio(one_way_ns.p50, ring_one_way_ns.p50),
        setting: Setting::new(cpus, clock),
    })
}

/// Answers, in the peer.
///
/// # Errors
/// When a ring fails.
pub(crate) fn answer(pair: &Pair, plan: &LatencyPlan) -> Result<()> {
    floor::answer(pair, plan.floor);
    answer_bare(pair, plan, "bare-1")?;
    let inlet = Decoded::open(&plan.link, "routed-request")?;
    let outlet = Routed::open(&plan.link, "routed-reply")?;
    pong(pair, plan, inlet, outlet)?;
    answer_bare(pair, plan, "bare-2")?;
    floor::answer(pair, plan.floor);
    Ok(())
}

fn bare(
    pair: &Pair,
    clock: Clock,
    plan: &LatencyPlan,
    name: &str,
    progress: &Progress,
) -> Result<Samples> {
    let outlet = RingOutlet::open(&plan.link, &format!("{name}-request"), 1)?;
    let inlet = RingInlet::open(&plan.link, &format!("{name}-reply"))?;
    ping(pair, clock, plan, outlet, inlet, progress)
}

fn answer_bare(pair: &Pair, plan: &LatencyPlan, name: &str) -> Result<()> {
    let inlet = RingInlet::open(&plan.link, &format!("{name}-request"))?;
    let outlet = RingOutlet::open(&plan.link, &format!("{name}-reply"), 1)?;
    pong(pair, plan, inlet, outlet)
}

/// Sends packets by a router of one target.
struct Routed {
    router: BatchRouter,
    payload: Vec<u8>,
}

impl Routed {
    fn open(spec: &LinkSpec, name: &str) -> Result<Self> {
        let connection = Connection::new(0, 0, "peer#0", link::descriptor(spec, name)?);
        let router = BatchRouter::new(RouterConfig::new(vec![connection]));
        let router = router.map_err(link::refused("making a router"))?;
        Ok(Self { router, payload: vec![0; spec.payload] })
    }
}

impl Outlet for Routed {
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        for sequence in first..first + n as u64 {
            payload::write(&mut self.payload, sequence);
            let packet = PacketRef::new(&self.payload);
            self.router.buffer(&packet).map_err(link::refused("routing a packet"))?;
        }
        let flushed = self.router.flush(Wait::Forever);
        match flushed.problems.into_iter().next() {
            Some(problem) => Err(link::refused("putting a packet")(problem.error)),
            None => Ok(()),
        }
    }
}

/// Receives packets in place, and decodes them.
struct Decoded {
    consumer: Consumer,
}

impl Decoded {
    fn open(spec: &LinkSpec, name: &str) -> Result<Self> {
        Ok(Self { consumer: link::consumer(&link::open(spec, name)?)? })
    }
}

impl Decoded {
    fn take(&mut self, expected: u64, wait: Wait) -> Result<bool> {
        let (bytes, info) = match self.consumer.hold(wait) {
            Ok(held) => held,
            Err(GetError::Empty) => return Ok(false),
            Err(error) => return Err(link::refused("getting a packet")(error)),
        };
        let whole = match Record::decode(info.kind, bytes) {
            Ok(Record::Packet(packet)) => payload::read(packet.payload, expected),
            _ => false,
        };
        self.consumer.ack_held();
        if whole { Ok(true) } else { Err(BenchError::Damaged { sequence: expected }) }
    }
}

impl Inlet for Decoded {
    fn receive(&mut self, expected: u64, _max: usize) -> Result<usize> {
        self.take(expected, Wait::Forever).map(usize::from)
    }

    fn try_receive(&mut self, expected: u64) -> Result<bool> {
        self.take(expected, Wait::No)
    }
}
