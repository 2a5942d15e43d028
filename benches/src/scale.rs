//! What an operation costs when there is more of everything: participants, rings, connections.
//!
//! Everything is measured at all sizes in turn, round after round, so that a machine that changes
//! its speed changes it for all sizes; what counts is the median of a size's rounds.

use std::path::PathBuf;
use std::sync::Arc;

use ringway::error::PutError;
use ringway::queue::{Consumer, Producer, Queue, RecordKind, Wait};
use ringway::routing::Packet;
use ringway::routing::{
    Connection, PacketRef, PartitionStrategy, Router, RouterConfig, SendReport,
};
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::names::SegmentName;
use ringway::shm::segment::{RingConfig, Segment, SegmentConfig};
use ringway::{QueueConfig, QueueDescriptor};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cpus::CpuPair;
use crate::error::{Doing, Result};
use crate::link::{consumer, producer, refused};
use crate::peers::{Pair, Session};
use crate::report::{Progress, ratio};
use crate::stats::round;

/// Bytes of each payload.
const PAYLOAD: usize = 32;
/// Packets that the rings of a router hold, and twice the sends between two looks at the clock.
const ROUTED_CAPACITY: u64 = 64;
/// Places for participants, the same at all sizes.
const PLACES: u32 = 1023;
/// The name of the ring that is used.
const USED: &str = "used";

/// A measurement of scale, as both processes know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ScalePlan {
    /// Numbers of participants.
    pub(crate) participants: Vec<usize>,
    /// Numbers of rings of which one is used.
    pub(crate) rings: Vec<usize>,
    /// Numbers of connections of a router.
    pub(crate) connections: Vec<usize>,
    /// Times that each size is measured.
    pub(crate) rounds: u64,
    /// Operations of each.
    pub(crate) operations: u64,
    /// Where segments go.
    pub(crate) directory: PathBuf,
}

fn crowd(participants: usize) -> String {
    format!("participants-{participants}")
}

/// Attaches as many more participants as each segment is to have, in the peer.
///
/// # Errors
/// When there is no room for so many.
pub(crate) fn answer(pair: &Pair, plan: &ScalePlan) -> Result<()> {
    let directory = open(plan)?;
    let mut attached = Vec::new();
    for participants in &plan.participants {
        let name = SegmentName::new(crowd(*participants)).map_err(refused("naming a segment"))?;
        for nth in 1..*participants {
            let segment = Segment::attach(&directory, &name, &format!("participant {nth}"));
            attached.push(segment.map_err(refused("attaching a participant"))?);
        }
    }
    // They are there; the measurement is over.
    pair.meet();
    pair.meet();
    Ok(())
}

/// Measures, in the starter.
///
/// # Errors
/// When a process, a segment or a ring fails.
pub(crate) fn measure(cpus: CpuPair, plan: &ScalePlan) -> Result<ScaleReport> {
    let directory = open(plan)?;
    let mut crowded = Vec::new();
    for participants in &plan.participants {
        crowded.push(Lane::open(plan, &directory, &crowd(*participants), 1)?);
    }
    let session = Session::start(cpus, 0, crate::Task::Scale(plan.clone()))?;
    session.pair.meet();
    let clock = session.clock;
    let progress = Progress::start(4);

    progress.stage("participants");
    let participants = lanes(clock, plan, &plan.participants, &mut crowded)?;
    drop(crowded);
    session.pair.meet();
    session.finish()?;
    progress.advance(1);

    progress.stage("rings");
    let mut many = Vec::new();
    for rings in &plan.rings {
        many.push(Lane::open(plan, &directory, &format!("rings-{rings}"), *rings)?);
    }
    let rings = lanes(clock, plan, &plan.rings, &mut many)?;
    drop(many);
    progress.advance(1);

    progress.stage("router");
    let routed = |strategy: PartitionStrategy, name: &str| -> Result<Vec<Size>> {
        let mut routes = Vec::new();
        for connections in &plan.connections {
            let segment = format!("router-{name}-{connections}");
            routes.push(Routes::open(plan, &directory, &segment, *connections, strategy)?);
        }
        progress.advance(1);
        let time = |routes: &mut Routes| routes.time(clock, plan.operations / 8);
        in_turn(plan, &plan.connections, &mut routes, time)
    };
    let two_choices = routed(PartitionStrategy::LeastLoaded { full_scan: false }, "two-choices")?;
    let round_robin = routed(PartitionStrategy::default(), "round-robin")?;
    drop(progress);
    let setting = [cpus.here, cpus.there];
    Ok(ScaleReport {
        verb: "scale",
        payload_bytes: PAYLOAD,
        rounds: plan.rounds,
        operations: plan.operations,
        participants,
        rings,
        router_two_choices: two_choices,
        router_round_robin: round_robin,
        cpus: setting,
    })
}

fn open(plan: &ScalePlan) -> Result<Directory> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    // Each participant is an attachment with open files of its own.
    let (_, most) =
        getrlimit(Resource::RLIMIT_NOFILE).doing("asking for the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).doing("raising the limit of open files")?;
    Directory::open(&plan.directory, None).map_err(refused("opening the run's directory"))
}

/// Measures every size once a round; the first round is not counted.
fn in_turn<T>(
    plan: &ScalePlan,
    counts: &[usize],
    things: &mut [T],
    mut time: impl FnMut(&mut T) -> Result<f64>,
) -> Result<Vec<Size>> {
    let mut times = vec![Vec::new(); things.len()];
    for round in 0..=plan.rounds {
        for (thing, times) in things.iter_mut().zip(&mut times) {
            let ns = time(thing)?;
            if round > 0 {
                times.push(ns);
            }
        }
    }
    let mut sizes: Vec<Size> = Vec::new();
    for (count, mut times) in counts.iter().zip(times) {
        times.sort_unstable_by(f64::total_cmp);
        let at = |i: usize| times.get(i).copied().map_or(0.0, round);
        let ns_per_operation = at(times.len() / 2);
        let first = sizes.first().map_or(ns_per_operation, |size| size.ns_per_operation);
        sizes.push(Size {
            count: *count,
            ns_per_operation,
            min_ns: at(0),
            max_ns: at(times.len().saturating_sub(1)),
            ratio_to_first: ratio(ns_per_operation, first),
        });
    }
    Ok(sizes)
}

fn lanes(
    clock: Clock,
    plan: &ScalePlan,
    counts: &[usize],
    lanes: &mut [Lane],
) -> Result<Vec<Size>> {
    in_turn(plan, counts, lanes, |lane| lane.time(clock, plan.operations))
}

/// A many-to-many ring with both its ends here.
struct Lane {
    producer: Producer,
    consumer: Consumer,
}

impl Lane {
    /// Makes a segment of so many rings, and opens both ends of the one in the middle.
    fn open(plan: &ScalePlan, directory: &Directory, segment: &str, rings: usize) -> Result<Self> {
        let names: Vec<String> = (0..rings)
            .map(|i| if i == rings / 2 { USED.into() } else { format!("ring-{i}") })
            .collect();
        let config = QueueConfig {
            capacity_packets: Some(ROUTED_CAPACITY),
            capacity_bytes: Some(ROUTED_CAPACITY * 64),
            ..QueueConfig::default()
        };
        let _made = make(directory, segment, &names, &config)?;
        let queue =
            describe(plan, segment, USED, &config)?.queue().map_err(refused("opening a ring"))?;
        Ok(Self { producer: producer(&queue)?, consumer: consumer(&queue)? })
    }

    /// Nanoseconds of one operation: half of a put and a get.
    fn time(&mut self, clock: Clock, operations: u64) -> Result<f64> {
        let payload = [7; PAYLOAD];
        let mut got = Vec::with_capacity(PAYLOAD);
        let pairs = operations.div_ceil(2);
        let start = clock.ticks();
        for _ in 0..pairs {
            self.producer
                .put(RecordKind::RAW, std::hint::black_box(&payload), Wait::No)
                .map_err(refused("putting a packet"))?;
            self.consumer.get_into(&mut got, Wait::No).map_err(refused("getting a packet"))?;
            std::hint::black_box(&got);
        }
        let ticks = clock.ticks().wrapping_sub(start);
        Ok(ticks as f64 * clock.ns_per_tick() / (2 * pairs) as f64)
    }
}

/// A router, and the queues it sends to.
struct Routes {
    router: Router,
    queues: Vec<Queue>,
    report: SendReport,
}

impl Routes {
    fn open(
        plan: &ScalePlan,
        directory: &Directory,
        segment: &str,
        connections: usize,
        strategy: PartitionStrategy,
    ) -> Result<Self> {
        let names: Vec<String> = (0..connections).map(|i| format!("ring-{i}")).collect();
        let config = QueueConfig {
            capacity_packets: Some(ROUTED_CAPACITY),
            capacity_bytes: Some(ROUTED_CAPACITY * 128),
            ..QueueConfig::default()
        };
        let _made = make(directory, segment, &names, &config)?;
        let (mut edges, mut queues) = (Vec::new(), Vec::new());
        for (i, name) in names.iter().enumerate() {
            let descriptor = describe(plan, segment, name, &config)?;
            queues.push(descriptor.queue().map_err(refused("opening a ring"))?);
            edges.push(Connection::new(0, i as u32, name.as_str(), descriptor));
        }
        let config = RouterConfig::new(edges).with_strategy(0, strategy);
        let router = Router::new(config).map_err(refused("making a router"))?.seeded(1);
        Ok(Self { router, queues, report: SendReport::default() })
    }

    /// Nanoseconds of one send. Rings are emptied between, untimed.
    fn time(&mut self, clock: Clock, sends: u64) -> Result<f64> {
        let packet = Packet::new(vec![7; PAYLOAD]);
        let view: PacketRef<'_> = packet.view();
        let chunk = ROUTED_CAPACITY / 2;
        let chunks = sends.div_ceil(chunk);
        let mut ticks = 0;
        let mut targets = Vec::with_capacity(chunk as usize);
        for _ in 0..chunks {
            let start = clock.ticks();
            for _ in 0..chunk {
                self.router.send_into(std::hint::black_box(&view), &mut self.report);
                targets.extend(self.report.delivered().map(|target| target.parallel_index));
            }
            ticks += clock.ticks().wrapping_sub(start);
            if targets.len() as u64 != chunk {
                return Err(refused("routing a packet")(PutError::Full));
            }
            // Only those that got some, so that the others' lines stay as the sends left them.
            for target in targets.drain(..) {
                let queue = &self.queues[target as usize];
                queue.try_lease().map_err(refused("emptying a ring"))?.ack();
            }
        }
        Ok(ticks as f64 * clock.ns_per_tick() / (chunks * chunk) as f64)
    }
}

fn make(
    directory: &Directory,
    segment: &str,
    rings: &[String],
    config: &QueueConfig,
) -> Result<Arc<Segment>> {
    let name = SegmentName::new(segment).map_err(refused("naming a segment"))?;
    let geometry = config.geometry().map_err(refused("shaping a ring"))?;
    let mut segment = SegmentConfig::new(name, Lifetime::Keep);
    segment.max_participants = PLACES;
    segment.rings = rings.iter().map(|ring| RingConfig::new(ring, geometry)).collect();
    Segment::create(directory, &segment).map_err(refused("making a segment"))
}

fn describe(
    plan: &ScalePlan,
    segment: &str,
    ring: &str,
    config: &QueueConfig,
) -> Result<QueueDescriptor> {
    QueueDescriptor::shm(&format!("{segment}:{ring}"))
        .and_then(|descriptor| descriptor.with_config(config.clone()))
        .and_then(|descriptor| descriptor.with_directory(&plan.directory))
        .and_then(|descriptor| descriptor.with_lifetime(Lifetime::Keep))
        .map_err(refused("describing a ring"))
}

/// What an operation costs at one size.
#[derive(Clone, Copy, Debug, Serialize)]
struct Size {
    count: usize,
    ns_per_operation: f64,
    min_ns: f64,
    max_ns: f64,
    ratio_to_first: f64,
}

/// Result of `scale`.
#[derive(Debug, Serialize)]
pub(crate) struct ScaleReport {
    verb: &'static str,
    payload_bytes: usize,
    rounds: u64,
    operations: u64,
    participants: Vec<Size>,
    rings: Vec<Size>,
    router_two_choices: Vec<Size>,
    router_round_robin: Vec<Size>,
    cpus: [usize; 2],
}
