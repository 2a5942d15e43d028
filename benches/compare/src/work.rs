//! The workloads: what is sent, how often, and how it is timed, whatever carries it.

use std::path::PathBuf;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::awake::{KeepAwake, pause};
use crate::clock::{Clock, monotonic_ns};
use crate::error::{BenchError, Result};
use crate::floor::{self, FloorPlan};
use crate::peers::Pair;
use crate::rivals::Rival;
use crate::shared::Word;
use crate::stats::Samples;
use crate::transport::{Inlet, Outlet};

/// Shorter than in `ringway-bench`: there are many runs, and the first rounds of each are alike.
pub(crate) const FLOOR: FloorPlan = FloorPlan { warm_up: 100_000, rounds: 50_000 };
/// Packets of a batch.
const BATCH: usize = 32;
/// Before every packet that is to find a sleeper.
const PAUSE: Duration = Duration::from_micros(500);

/// What both processes must agree on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    /// What carries the packets.
    pub(crate) rival: Rival,
    /// What is done with it.
    pub(crate) work: Work,
    /// Where files go.
    pub(crate) directory: PathBuf,
    /// Which measurement of the whole run: what outlives its process must not be taken for another's.
    pub(crate) nth: i32,
    /// The CPUs of starter and peer.
    pub(crate) cpus: [usize; 2],
}

/// A workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// Ping-pong.
    Latency {
        /// Bytes of each payload.
        payload: usize,
        /// Round trips counted.
        rounds: u64,
    },
    /// One way.
    Stream {
        /// Bytes of each payload.
        payload: usize,
        /// Packets counted.
        packets: u64,
        /// Packets sent, and taken, at a time.
        batch: usize,
    },
    /// One way, from many to many.
    Many {
        /// Producers, and as many consumers.
        ends: usize,
        /// Packets counted, of all together.
        packets: u64,
        /// Packets sent, and taken, at a time.
        batch: usize,
    },
    /// Ping-pong with a pause before every packet.
    Wakeup {
        /// Round trips counted: two wake-ups each.
        rounds: u64,
        /// Whether the CPUs are kept from idling.
        awake: bool,
    },
}

impl Work {
    /// All workloads.
    pub(crate) fn all(effort: u64) -> Vec<Self> {
        let some = |n: u64| (n * effort / 100).max(10);
        let latency =
            [32, 256, 4096].map(|payload| Self::Latency { payload, rounds: some(100_000) });
        let stream = [(32, 1_000_000), (1024, 500_000), (16 << 10, 50_000), (1 << 20, 1000)]
            .map(|(payload, packets)| Self::Stream { payload, packets: some(packets), batch: 1 });
        let batched = Self::Stream { payload: 32, packets: some(1_000_000), batch: BATCH };
        let many = [(2, 1), (2, BATCH), (4, 1), (4, BATCH)].map(|(ends, batch)| Self::Many {
            ends,
            packets: some(2_000_000),
            batch,
        });
        let wakeup = [false, true].map(|awake| Self::Wakeup { rounds: some(200), awake });
        latency.into_iter().chain(stream).chain([batched]).chain(many).chain(wakeup).collect()
    }

    /// What `--only` calls it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Stream { .. } => "stream",
            Self::Many { .. } => "many",
            Self::Wakeup { .. } => "wakeup",
        }
    }

    /// Bytes of each payload.
    pub(crate) fn payload(self) -> usize {
        match self {
            Self::Latency { payload, .. } | Self::Stream { payload, .. } => payload,
            Self::Many { .. } | Self::Wakeup { .. } => 32,
        }
    }

    /// Packets sent, and taken, at a time.
    pub(crate) fn batch(self) -> usize {
        match self {
            Self::Stream { batch, .. } | Self::Many { batch, .. } => batch,
            Self::Latency { .. } | Self::Wakeup { .. } => 1,
        }
    }

    /// The workload as a rival does it: more packets where they are fast.
    pub(crate) fn of(self, rival: Rival) -> Self {
        match self {
            Self::Stream { payload: 32, packets, batch } if rival.is_fast() => {
                Self::Stream { payload: 32, packets: 5 * packets, batch }
            }
            other => other,
        }
    }

    /// Packets before those that count.
    pub(crate) fn warm_up(self) -> u64 {
        match self {
            Self::Latency { rounds, .. } => rounds / 10,
            // More than a lap of any rival's buffers.
            Self::Stream { payload, packets, .. } => {
                (packets / 5).max((64 << 20) / payload.max(1024) as u64).min(20_000)
            }
            Self::Many { packets, .. } => packets / 5,
            Self::Wakeup { .. } => 5,
        }
    }
}

/// One run's outcome.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Nanoseconds one way (mean), packets a second, or microseconds (median).
    pub(crate) value: f64,
    /// The 99th percentile, of latencies.
    pub(crate) p99: Option<f64>,
    /// The floor of the same run.
    pub(crate) floor: Floor,
}

/// What the two CPUs could do when a run began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    /// One line, one way: mean.
    pub(crate) ns: f64,
    /// How much of its core the CPU had that had less of it.
    pub(crate) adds_per_cycle: f64,
}

impl Floor {
    /// Measures, in the starter; `floor::answer` is the peer's part.
    pub(crate) fn measure(pair: &Pair, clock: Clock) -> Self {
        let floor::Measured { samples, adds_per_cycle: [here, there] } =
            floor::measure(pair, clock, FLOOR);
        Self { ns: samples.one_way(clock).mean, adds_per_cycle: here.min(there) }
    }
}

/// Measures, in the starter. Both ends are open on both sides.
///
/// # Errors
/// When the transport fails.
pub(crate) fn measure(
    pair: &Pair,
    clock: Clock,
    work: Work,
    mut outlet: impl Outlet,
    mut inlet: impl Inlet,
) -> Result<Measured> {
    let floor = Floor::measure(pair, clock);
    pair.meet();
    match work {
        Work::Latency { rounds, .. } => {
            let mut samples = Samples::with_room(rounds);
            for sequence in 0..work.warm_up() {
                outlet.send(sequence, 1)?;
                inlet.receive(sequence, 1)?;
            }
            let mut before = clock.ticks();
            for sequence in work.warm_up()..work.warm_up() + rounds {
                outlet.send(sequence, 1)?;
                outlet.prepare(sequence + 1);
                inlet.receive(sequence, 1)?;
                let after = clock.ticks();
                samples.push(after.wrapping_sub(before));
                before = after;
            }
            samples.settle();
            let times = samples.one_way(clock);
            pair.meet();
            Ok(Measured { value: times.mean, p99: Some(times.p99), floor })
        }
        Work::Stream { packets, batch, .. } => {
            let warm_up = work.warm_up();
            send_all(&mut outlet, 0, warm_up, batch)?;
            pair.meet();
            let start = monotonic_ns();
            send_all(&mut outlet, warm_up, warm_up + packets, batch)?;
            pair.meet();
            // RELAXED: the meeting came after the store.
            let end = pair.region.word(Word::ToStarter).load(Relaxed);
            let value = packets as f64 * 1e9 / end.saturating_sub(start).max(1) as f64;
            Ok(Measured { value, p99: None, floor })
        }
        Work::Wakeup { rounds, awake } => {
            let _awake = awake.then(KeepAwake::start);
            let mut samples = Samples::with_room(2 * rounds);
            for sequence in 0..work.warm_up() + rounds {
                pause(PAUSE, awake);
                // RELAXED: the packet publishes it.
                pair.region.word(Word::ToPeer).store(monotonic_ns(), Relaxed);
                outlet.send(sequence, 1)?;
                inlet.receive(sequence, 1)?;
                let woken = monotonic_ns();
                if sequence >= work.warm_up() {
                    // RELAXED: the packet published both.
                    samples.push(pair.region.word(Word::ToStarter).load(Relaxed));
                    // RELAXED: as above.
                    let rung = pair.region.word(Word::ToStarterMore).load(Relaxed);
                    samples.push(woken.saturating_sub(rung));
                }
            }
            samples.settle();
            pair.meet();
            Ok(Measured { value: samples.times(0.001).p50, p99: None, floor })
        }
        Work::Many { .. } => Err(one_to_one()),
    }
}

/// Answers, in the peer.
///
/// # Errors
/// When the transport fails.
pub(crate) fn answer(
    pair: &Pair,
    work: Work,
    mut inlet: impl Inlet,
    mut outlet: impl Outlet,
) -> Result<()> {
    floor::answer(pair, FLOOR);
    pair.meet();
    match work {
        Work::Latency { rounds, .. } => {
            for sequence in 0..work.warm_up() + rounds {
                outlet.prepare(sequence);
                inlet.receive(sequence, 1)?;
                outlet.send(sequence, 1)?;
            }
        }
        Work::Stream { packets, batch, .. } => {
            let warm_up = work.warm_up();
            receive_all(&mut inlet, 0, warm_up, batch)?;
            pair.meet();
            receive_all(&mut inlet, warm_up, warm_up + packets, batch)?;
            // RELAXED: the meeting publishes it.
            pair.region.word(Word::ToStarter).store(monotonic_ns(), Relaxed);
        }
        Work::Wakeup { rounds, awake } => {
            let _awake = awake.then(KeepAwake::start);
            for sequence in 0..work.warm_up() + rounds {
                inlet.receive(sequence, 1)?;
                let woken = monotonic_ns();
                // RELAXED: the packet published it.
                let rung = pair.region.word(Word::ToPeer).load(Relaxed);
                pause(PAUSE, awake);
                // RELAXED: the packet publishes both.
                pair.region.word(Word::ToStarter).store(woken.saturating_sub(rung), Relaxed);
                // RELAXED: as above.
                pair.region.word(Word::ToStarterMore).store(monotonic_ns(), Relaxed);
                outlet.send(sequence, 1)?;
            }
        }
        Work::Many { .. } => return Err(one_to_one()),
    }
    pair.meet();
    Ok(())
}

fn one_to_one() -> BenchError {
    BenchError::Usage("many ends are measured elsewhere".into())
}

fn send_all(outlet: &mut impl Outlet, from: u64, to: u64, batch: usize) -> Result<()> {
    let mut next = from;
    while next < to {
        let n = (to - next).min(batch as u64);
        outlet.send(next, n as usize)?;
        next += n;
    }
    Ok(())
}

fn receive_all(inlet: &mut impl Inlet, from: u64, to: u64, batch: usize) -> Result<()> {
    let mut next = from;
    while next < to {
        next += inlet.receive(next, (to - next).min(batch as u64) as usize)? as u64;
    }
    Ok(())
}
