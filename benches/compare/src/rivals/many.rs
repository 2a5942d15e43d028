//! Many producers and many consumers on one queue: a thread each.
//!
//! The threads of Ringway are those of two processes, producers in the starter and consumers in the
//! peer; those of the others are all in one. Either way they are pinned to the two CPUs in turn, so
//! that each CPU has half of the producers and half of the consumers. Every producer puts its part,
//! every consumer gets its part. A packet's number says who put it (the upper 16 bits): each
//! consumer checks that what it gets of one producer is in order, and the sum of all numbers says
//! that nothing was lost or came twice.

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use crossbeam_queue::ArrayQueue;
use ringway::queue::Wait;

use crate::clock::{Clock, monotonic_ns};
use crate::cpus::{CpuPair, pin};
use crate::error::{BenchError, Result};
use crate::floor;
use crate::link::{RingInlet, RingOutlet};
use crate::payload::{self, Source};
use crate::peers::{Pair, Session};
use crate::rivals::threads::{Get, Put};
use crate::rivals::{Rival, capacity, ring};
use crate::shared::{Region, Word};
use crate::transport::Outlet;
use crate::work::{FLOOR, Floor, Measured, Task, Work};

const BYTES: usize = 32;
/// The number's bits that say which packet of its producer it is.
const NUMBER_BITS: u32 = 48;

/// Who does how much.
#[derive(Clone, Copy)]
struct Plan {
    ends: usize,
    warm_up: u64,
    packets: u64,
    batch: usize,
}

impl Plan {
    fn of(work: Work) -> Result<Self> {
        let Work::Many { ends, packets, batch } = work else {
            return Err(BenchError::Usage("not a workload of many".into()));
        };
        // Equal parts.
        let even = |n: u64| n.next_multiple_of(ends as u64);
        Ok(Self { ends, warm_up: even(work.warm_up()), packets: even(packets), batch })
    }

    /// One end's part of the warm-up, and of all.
    fn parts(self) -> (u64, u64) {
        let ends = self.ends as u64;
        (self.warm_up / ends, (self.warm_up + self.packets) / ends)
    }

    /// The sum of all packets' numbers.
    fn sum(self) -> u64 {
        let n = self.parts().1;
        (0..self.ends as u64).fold(0_u64, |sum, nth| {
            let marks = (nth << NUMBER_BITS).wrapping_mul(n);
            sum.wrapping_add(n * (n - 1) / 2).wrapping_add(marks)
        })
    }
}

/// Puts one producer's part: all meet once at the start, and once after the warm-up.
fn produce(
    plan: Plan,
    nth: usize,
    meet: &Barrier,
    mut send: impl FnMut(u64, usize) -> Result<()>,
) -> Result<()> {
    let (warm_up, all) = plan.parts();
    let mut next = 0;
    for end in [warm_up, all] {
        // All are here; and go.
        meet.wait();
        meet.wait();
        while next < end {
            let n = (end - next).min(plan.batch as u64);
            send(((nth as u64) << NUMBER_BITS) | next, n as usize)?;
            next += n;
        }
    }
    Ok(())
}

/// Gets one consumer's part; returns the sum of the numbers and when it had the last.
fn consume(
    plan: Plan,
    meet: &Barrier,
    mut take: impl FnMut(usize, &mut dyn FnMut(&[u8]) -> bool) -> Result<usize>,
) -> Result<(u64, u64)> {
    let (warm_up, all) = plan.parts();
    let mut least = vec![0_u64; plan.ends];
    let (mut sum, mut got) = (0_u64, 0);
    let mut damaged = None;
    let mut look = |bytes: &[u8]| {
        let number = bytes.first_chunk().map_or(u64::MAX, |word| u64::from_le_bytes(*word));
        let of_producer = number & ((1 << NUMBER_BITS) - 1);
        let fresh = least.get_mut((number >> NUMBER_BITS) as usize).filter(|l| of_producer >= **l);
        let Some(least) = fresh.filter(|_| payload::read(bytes, number)) else {
            damaged = Some(number);
            return false;
        };
        *least = of_producer + 1;
        sum = sum.wrapping_add(number);
        true
    };
    for end in [warm_up, all] {
        // All are here; and go.
        meet.wait();
        meet.wait();
        while got < end {
            got += take((end - got).min(plan.batch as u64) as usize, &mut look)? as u64;
        }
    }
    let end_ns = monotonic_ns();
    damaged.map_or(Ok((sum, end_ns)), |sequence| Err(BenchError::Damaged { sequence }))
}

/// Runs one thread for each end on the two CPUs in turn. `meet` is called when all have started, and
/// when all are through with the warm-up.
fn run<T: Send, R: Send>(
    cpus: [usize; 2],
    ends: Vec<T>,
    barrier: &Barrier,
    mut meet: impl FnMut(),
    work: impl Fn(usize, T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = ends
            .into_iter()
            .enumerate()
            .map(|(i, end)| {
                scope.spawn(move || {
                    pin(cpus[i % 2])?;
                    work(i, end)
                })
            })
            .collect();
        for _ in 0..2 {
            // A thread that failed would be waited for in vain: none does before the last meeting
            // unless the queue fails, and then the watch over the peers ends the run.
            barrier.wait();
            meet();
            barrier.wait();
        }
        let joined = threads.into_iter().map(|thread| {
            thread.join().map_err(|_| BenchError::Usage("a thread panicked".into()))?
        });
        joined.collect()
    })
}

/// Measures, in the starter.
///
/// # Errors
/// When a process or a queue fails, or packets were lost.
pub(crate) fn measure(cpus: CpuPair, task: &Task) -> Result<Measured> {
    let plan = Plan::of(task.work)?;
    match task.rival {
        Rival::RingwayMany => between_processes(cpus, plan, task),
        Rival::ArrayQueue => {
            let queue = Arc::new(ArrayQueue::<[u8; BYTES]>::new(capacity(BYTES)));
            between_threads(cpus, plan, &Arc::clone(&queue), &queue)
        }
        _ => {
            let (put, get) = crossbeam_channel::bounded::<[u8; BYTES]>(capacity(BYTES));
            between_threads(cpus, plan, &put, &get)
        }
    }
}

fn between_processes(cpus: CpuPair, plan: Plan, task: &Task) -> Result<Measured> {
    let session = Session::start(cpus, 0, task.clone())?;
    let (pair, clock) = (&session.pair, session.clock);
    let spec = ring(task)?;
    let ahead = Source::ahead_for_stream(BYTES, plan.batch);
    let outlets: Result<Vec<_>> =
        (0..plan.ends).map(|_| RingOutlet::open(&spec, "many", ahead)).collect();
    let floor = Floor::measure(pair, clock);
    let barrier = Barrier::new(plan.ends + 1);
    let mut start = 0;
    let meet = || {
        pair.meet();
        start = monotonic_ns();
    };
    run([cpus.here, cpus.there], outlets?, &barrier, meet, |nth, mut outlet| {
        produce(plan, nth, &barrier, |first, n| outlet.send(first, n))
    })?;
    pair.meet();
    // RELAXED, both: the meeting came after the stores.
    let end = pair.region.word(Word::ToStarter).load(Relaxed);
    let sum = pair.region.word(Word::ToStarterMore).load(Relaxed);
    session.finish()?;
    outcome(plan, sum, start, end, floor)
}

/// Consumes, in the peer.
///
/// # Errors
/// When the ring fails.
pub(crate) fn answer(pair: &Pair, task: &Task) -> Result<()> {
    let plan = Plan::of(task.work)?;
    let cpus = task.cpus;
    let spec = ring(task)?;
    let inlets: Result<Vec<_>> = (0..plan.ends).map(|_| RingInlet::open(&spec, "many")).collect();
    let inlets = inlets?;
    floor::answer(pair, FLOOR);
    let barrier = Barrier::new(plan.ends + 1);
    let got = run(
        cpus,
        inlets,
        &barrier,
        || pair.meet(),
        |_, mut inlet| {
            consume(plan, &barrier, |max, look| {
                inlet.take(max, Wait::Forever, |bytes| {
                    // What is damaged is said at the end.
                    look(bytes);
                    None
                })
            })
        },
    )?;
    let (sum, end) = add_up(&got);
    // RELAXED, both: the meeting publishes them.
    pair.region.word(Word::ToStarter).store(end, Relaxed);
    pair.region.word(Word::ToStarterMore).store(sum, Relaxed);
    pair.meet();
    Ok(())
}

enum Role<P, G> {
    Producer(usize, P),
    Consumer(G),
}

fn between_threads<P, G>(cpus: CpuPair, plan: Plan, put: &P, get: &G) -> Result<Measured>
where
    P: Put<BYTES> + Clone,
    G: Get<BYTES> + Clone,
{
    pin(cpus.here)?;
    let clock = Clock::new();
    let region = Arc::new(Region::create(0)?.0);
    let (here, there) = (Pair::of(Arc::clone(&region), true), Pair::of(region, false));
    let floor = thread::scope(|scope| {
        scope.spawn(|| pin(cpus.there).map(|()| floor::answer(&there, FLOOR)));
        Floor::measure(&here, clock)
    });
    let producers = (0..plan.ends).map(|nth| Role::Producer(nth, put.clone()));
    let consumers = (0..plan.ends).map(|_| Role::Consumer(get.clone()));
    let barrier = Barrier::new(2 * plan.ends + 1);
    let mut start = 0;
    let roles = producers.chain(consumers).collect();
    let meet = || start = monotonic_ns();
    let got = run([cpus.here, cpus.there], roles, &barrier, meet, |_, role| match role {
        Role::Producer(nth, mut put) => {
            let mut source = Source::new(BYTES, Source::ahead_for_stream(BYTES, plan.batch));
            produce(plan, nth, &barrier, |first, n| {
                let payload = source.many(first, n);
                put.put_many(n, |i| payload(i).first_chunk().copied().unwrap_or([0; BYTES]))
            })?;
            Ok((0, 0))
        }
        Role::Consumer(mut get) => consume(plan, &barrier, |max, look| {
            get.get_many(max, |packet| {
                look(packet);
            })
        }),
    })?;
    let (sum, end) = add_up(&got);
    outcome(plan, sum, start, end, floor)
}

/// Sum of the sums, and the latest end.
fn add_up(got: &[(u64, u64)]) -> (u64, u64) {
    got.iter().fold((0, 0), |(sum, end), one| (sum.wrapping_add(one.0), end.max(one.1)))
}

fn outcome(plan: Plan, sum: u64, start: u64, end: u64, floor: Floor) -> Result<Measured> {
    if sum != plan.sum() {
        return Err(BenchError::Lost { packets: plan.warm_up + plan.packets });
    }
    let value = plan.packets as f64 * 1e9 / end.saturating_sub(start).max(1) as f64;
    Ok(Measured { value, p99: None, floor })
}
