//! Waking a sleeper: how long after a put does a process run that slept on the ring.
//!
//! Ping-pong with a pause before every packet, longer than anybody spins, so that each packet finds
//! its receiver asleep. The floor is the same with a bare futex: a shared word, `FUTEX_WAKE`,
//! `FUTEX_WAIT`, nothing else. Most of it is the machine's: a CPU that idles must first be brought back,
//! on a virtual machine by the host. So all is measured twice: with idle CPUs, where the waker slept
//! through the pause, too; and with CPUs kept awake, by a thread of the lowest priority
//! (`SCHED_IDLE`) on each, and a waker that spins through the pause.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use rustix::thread::futex;
use serde::{Deserialize, Serialize};

use crate::awake::{KeepAwake, pause};
use crate::clock::monotonic_ns;
use crate::cpus::CpuPair;
use crate::error::{BenchError, Doing, Result};
use crate::link::{RingInlet, RingOutlet};
use crate::peers::{Pair, Session};
use crate::plot::Curve;
use crate::report::{Progress, ratio};
use crate::shared::{Region, Word};
use crate::stats::{Samples, Times, round};
use crate::transport::{Inlet, LinkSpec, Mode, Outlet};

/// A measurement of wake-ups, as both processes know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WakeupPlan {
    /// The rings.
    pub(crate) link: LinkSpec,
    /// Round trips that count: two wake-ups each.
    pub(crate) rounds: u64,
    /// Round trips before them.
    pub(crate) warm_up: u64,
    /// What is waited before every packet.
    pub(crate) pause: Duration,
}

/// How to wake the other process, and to sleep until it does.
trait Bell {
    fn ring(&mut self, nth: u64) -> Result<()>;
    fn sleep(&mut self, nth: u64) -> Result<()>;
}

/// The floor's.
struct Futexes<'a> {
    region: &'a Region,
    mine: Word,
    other: Word,
}

impl Bell for Futexes<'_> {
    fn ring(&mut self, nth: u64) -> Result<()> {
        let word = self.region.futex(self.other);
        // SYNC woken (pairs with `sleep`).
        word.store(nth as u32 + 1, Release);
        futex::wake(word, futex::Flags::empty(), 1).doing("waking the other process").map(drop)
    }

    fn sleep(&mut self, nth: u64) -> Result<()> {
        let word = self.region.futex(self.mine);
        loop {
            // SYNC woken (pairs with `ring`).
            let value = word.load(Acquire);
            if value == nth as u32 + 1 {
                return Ok(());
            }
            match futex::wait(word, futex::Flags::empty(), value, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).doing("sleeping on a futex"),
            }
        }
    }
}

/// The ring's.
struct Rings {
    outlet: RingOutlet,
    inlet: RingInlet,
}

impl Bell for Rings {
    fn ring(&mut self, nth: u64) -> Result<()> {
        self.outlet.send(nth, 1)
    }

    fn sleep(&mut self, nth: u64) -> Result<()> {
        self.inlet.receive(nth, 1).map(drop)
    }
}

/// Times of one bell in one setting, of both processes' wake-ups.
#[derive(Debug)]
struct Wakes {
    times: Samples,
    /// Waits of this process in which it gave the CPU up.
    slept: u64,
}

/// Measures, in the starter.
///
/// # Errors
/// When a process or the ring fails.
pub(crate) fn measure(cpus: CpuPair, plan: &WakeupPlan) -> Result<(WakeupReport, Vec<Curve>)> {
    let session = Session::start(cpus, 0, crate::Task::Wakeup(plan.clone()))?;
    let progress = Progress::start(8);
    let pair = &session.pair;
    let mut rings = Rings {
        outlet: RingOutlet::open(&plan.link, "request", 1)?,
        inlet: RingInlet::open(&plan.link, "reply")?,
    };
    let mut futexes =
        Futexes { region: &pair.region, mine: Word::WakeStarter, other: Word::WakePeer };
    let mut first = 0;
    let (mut settings, mut curves) = (Vec::new(), Vec::new());
    for awake in [false, true] {
        let _awake = awake.then(KeepAwake::start);
        // Interleaved: half of the floor before, half after.
        let mut half = |bell: &mut dyn Bell, rounds: u64| -> Result<Wakes> {
            progress.stage(if awake { "awake" } else { "idle" });
            let wakes = exchange(pair, plan, awake, bell, &mut first, rounds);
            progress.advance(1);
            wakes
        };
        let mut floor = half(&mut futexes, plan.rounds.div_ceil(2))?;
        let ring = half(&mut rings, plan.rounds)?;
        let after = half(&mut futexes, plan.rounds.div_ceil(2))?;
        floor.times.merge(after.times);
        floor.slept += after.slept;
        let setting = if awake { "CPUs kept awake" } else { "idle CPUs" };
        curves.push(Curve::new(format!("ring, {setting}"), ring.times.curve(0.001)));
        curves.push(Curve::new(format!("futex, {setting}"), floor.times.curve(0.001)));
        settings.push(Waking::new(&floor, &ring, plan.rounds));
    }
    session.finish()?;
    drop(progress);
    let [idle, awake] =
        <[Waking; 2]>::try_from(settings).map_err(|_| BenchError::Lost { packets: plan.rounds })?;
    let report = WakeupReport {
        verb: "wakeup",
        mode: plan.link.mode,
        payload_bytes: plan.link.payload,
        capacity: plan.link.size.capacity_packets,
        rounds: plan.rounds,
        pause_us: plan.pause.as_micros() as u64,
        floor_us: idle.floor_us,
        ratio_to_floor: idle.ratio_to_floor,
        idle,
        awake,
        cpus: [cpus.here, cpus.there],
    };
    Ok((report, curves))
}

/// Wakes, sleeps, and wakes again.
fn exchange(
    pair: &Pair,
    plan: &WakeupPlan,
    awake: bool,
    bell: &mut dyn Bell,
    first: &mut u64,
    rounds: u64,
) -> Result<Wakes> {
    let mut wakes = Wakes { times: Samples::with_room(2 * rounds), slept: 0 };
    let region = &pair.region;
    pair.meet();
    for nth in 0..plan.warm_up + rounds {
        pause(plan.pause, awake);
        // RELAXED: the bell publishes it.
        region.word(Word::ToPeer).store(monotonic_ns(), Relaxed);
        bell.ring(*first + nth)?;
        let switches = switches();
        bell.sleep(*first + nth)?;
        let woken = monotonic_ns();
        if nth >= plan.warm_up {
            // RELAXED: the bell published both.
            let rung = region.word(Word::ToStarterMore).load(Relaxed);
            // RELAXED: as above.
            wakes.times.push(region.word(Word::ToStarter).load(Relaxed));
            wakes.times.push(woken.saturating_sub(rung));
            wakes.slept += u64::from(self::switches() > switches);
        }
    }
    wakes.times.settle();
    *first += plan.warm_up + rounds;
    Ok(wakes)
}

/// Sleeps, wakes, and sleeps again, in the peer.
///
/// # Errors
/// When the ring fails.
pub(crate) fn answer(pair: &Pair, plan: &WakeupPlan) -> Result<()> {
    let mut rings = Rings {
        inlet: RingInlet::open(&plan.link, "request")?,
        outlet: RingOutlet::open(&plan.link, "reply", 1)?,
    };
    let mut futexes =
        Futexes { region: &pair.region, mine: Word::WakePeer, other: Word::WakeStarter };
    let half = plan.rounds.div_ceil(2);
    // As `first` in the starter: one count for all, so that a futex never has a number twice.
    let mut first = 0;
    for awake in [false, true] {
        let _awake = awake.then(KeepAwake::start);
        reply(pair, plan, awake, &mut futexes, &mut first, half)?;
        reply(pair, plan, awake, &mut rings, &mut first, plan.rounds)?;
        reply(pair, plan, awake, &mut futexes, &mut first, half)?;
    }
    Ok(())
}

fn reply(
    pair: &Pair,
    plan: &WakeupPlan,
    awake: bool,
    bell: &mut dyn Bell,
    first: &mut u64,
    rounds: u64,
) -> Result<()> {
    let region = &pair.region;
    pair.meet();
    for nth in *first..*first + plan.warm_up + rounds {
        bell.sleep(nth)?;
        let woken = monotonic_ns();
        // RELAXED: the bell published it.
        let rung = region.word(Word::ToPeer).load(Relaxed);
        pause(plan.pause, awake);
        // RELAXED: the bell publishes both.
        region.word(Word::ToStarter).store(woken.saturating_sub(rung), Relaxed);
        // RELAXED: as above.
        region.word(Word::ToStarterMore).store(monotonic_ns(), Relaxed);
        bell.ring(nth)?;
    }
    *first += plan.warm_up + rounds;
    Ok(())
}

/// Times that this thread gave its CPU up.
fn switches() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.voluntary_context_switches())
}

/// One setting: CPUs that idle, or that are kept awake.
#[derive(Clone, Copy, Debug, Serialize)]
struct Waking {
    floor_us: f64,
    futex_us: Times,
    wakeup_us: Times,
    ratio_to_floor: f64,
    ratio_of_means: f64,
    /// Share of the starter's waits in which it slept, with the ring.
    slept: f64,
    /// The same of the futex.
    futex_slept: f64,
}

impl Waking {
    fn new(floor: &Wakes, ring: &Wakes, rounds: u64) -> Self {
        let (futex_us, wakeup_us) = (floor.times.times(0.001), ring.times.times(0.001));
        let share = |slept: u64, of: u64| round(slept as f64 / of.max(1) as f64);
        Self {
            floor_us: futex_us.p50,
            futex_us,
            wakeup_us,
            ratio_to_floor: ratio(wakeup_us.p50, futex_us.p50),
            ratio_of_means: ratio(wakeup_us.mean, futex_us.mean),
            slept: share(ring.slept, rounds),
            futex_slept: share(floor.slept, 2 * rounds.div_ceil(2)),
        }
    }
}

/// Result of `wakeup`.
#[derive(Debug, Serialize)]
pub(crate) struct WakeupReport {
    verb: &'static str,
    mode: Mode,
    payload_bytes: usize,
    capacity: usize,
    rounds: u64,
    pause_us: u64,
    floor_us: f64,
    ratio_to_floor: f64,
    idle: Waking,
    awake: Waking,
    cpus: [usize; 2],
}
