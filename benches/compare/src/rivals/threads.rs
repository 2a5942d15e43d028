//! Queues within one process: packets are arrays, which are moved into the queue and out of it.

use std::thread;

use crossbeam_queue::ArrayQueue;

use crate::clock::Clock;
use crate::cpus::{CpuPair, pin};
use crate::error::{BenchError, Result};
use crate::payload::{self, Source};
use crate::peers::Pair;
use crate::rivals::{Rival, ahead, capacity};
use crate::transport::{Inlet, Outlet};
use crate::work::{self, Measured, Task};

use std::sync::Arc;

/// Says whether there are arrays of this length.
pub(crate) fn carries(payload: usize) -> bool {
    matches!(payload, 32 | 256 | 1024 | 4096)
}

/// Puts an array; spins, or sleeps, while there is no room.
pub(super) trait Put<const N: usize>: Send {
    fn put(&mut self, packet: [u8; N]) -> Result<()>;

    /// Puts `n` of them, as one batch if it can.
    #[inline]
    fn put_many(&mut self, n: usize, packet: impl Fn(usize) -> [u8; N]) -> Result<()> {
        (0..n).try_for_each(|i| self.put(packet(i)))
    }
}

/// Gets an array; spins, or sleeps, while there is none.
pub(super) trait Get<const N: usize>: Send {
    fn get(&mut self) -> Result<[u8; N]>;

    /// Gets up to `max`, as one batch if it can, and at least one; says how many.
    #[inline]
    fn get_many(&mut self, _max: usize, mut look: impl FnMut(&[u8; N])) -> Result<usize> {
        look(&self.get()?);
        Ok(1)
    }
}

impl<const N: usize> Put<N> for Arc<ArrayQueue<[u8; N]>> {
    #[inline]
    fn put(&mut self, mut packet: [u8; N]) -> Result<()> {
        while let Err(back) = self.push(packet) {
            packet = back;
            std::hint::spin_loop();
        }
        Ok(())
    }
}

impl<const N: usize> Get<N> for Arc<ArrayQueue<[u8; N]>> {
    #[inline]
    fn get(&mut self) -> Result<[u8; N]> {
        loop {
            if let Some(packet) = self.pop() {
                return Ok(packet);
            }
            std::hint::spin_loop();
        }
    }
}

impl<const N: usize> Put<N> for rtrb::Producer<[u8; N]> {
    #[inline]
    fn put(&mut self, mut packet: [u8; N]) -> Result<()> {
        while let Err(rtrb::PushError::Full(back)) = self.push(packet) {
            packet = back;
            std::hint::spin_loop();
        }
        Ok(())
    }

    #[inline]
    fn put_many(&mut self, n: usize, packet: impl Fn(usize) -> [u8; N]) -> Result<()> {
        if n == 1 {
            return self.put(packet(0));
        }
        loop {
            if let Ok(chunk) = self.write_chunk_uninit(n) {
                chunk.fill_from_iter((0..n).map(packet));
                return Ok(());
            }
            std::hint::spin_loop();
        }
    }
}

impl<const N: usize> Get<N> for rtrb::Consumer<[u8; N]> {
    #[inline]
    fn get(&mut self) -> Result<[u8; N]> {
        loop {
            if let Ok(packet) = self.pop() {
                return Ok(packet);
            }
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn get_many(&mut self, max: usize, mut look: impl FnMut(&[u8; N])) -> Result<usize> {
        if max == 1 {
            look(&self.get()?);
            return Ok(1);
        }
        loop {
            let there = self.slots().min(max);
            if there > 0
                && let Ok(chunk) = self.read_chunk(there)
            {
                let (first, second) = chunk.as_slices();
                first.iter().chain(second).for_each(&mut look);
                chunk.commit_all();
                return Ok(there);
            }
            std::hint::spin_loop();
        }
    }
}

fn gone<E>(_: E) -> BenchError {
    BenchError::Usage("the other thread is gone".into())
}

impl<const N: usize> Put<N> for crossbeam_channel::Sender<[u8; N]> {
    #[inline]
    fn put(&mut self, packet: [u8; N]) -> Result<()> {
        self.send(packet).map_err(gone)
    }
}

impl<const N: usize> Get<N> for crossbeam_channel::Receiver<[u8; N]> {
    #[inline]
    fn get(&mut self) -> Result<[u8; N]> {
        self.recv().map_err(gone)
    }
}

struct Ends<const N: usize, P, G> {
    put: P,
    get: G,
    private: Source,
}

struct Putter<const N: usize, P>(P, Source);
struct Getter<const N: usize, G>(G);

impl<const N: usize, P: Put<N>> Outlet for Putter<N, P> {
    #[inline]
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        let Self(put, source) = self;
        let payload = source.many(first, n);
        put.put_many(n, |i| payload(i).first_chunk().copied().unwrap_or([0; N]))
    }

    fn source(&mut self) -> Option<&mut Source> {
        Some(&mut self.1)
    }
}

impl<const N: usize, G: Get<N>> Inlet for Getter<N, G> {
    #[inline]
    fn receive(&mut self, expected: u64, max: usize) -> Result<usize> {
        let (mut next, mut whole) = (expected, true);
        let got = self.0.get_many(max, |packet| {
            whole &= payload::read(packet, next);
            next += 1;
        })?;
        if whole { Ok(got) } else { Err(BenchError::Damaged { sequence: expected }) }
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("threads have no open loop here".into()))
    }
}

/// Measures, with the peer in a thread.
///
/// # Errors
/// When a packet is damaged.
pub(crate) fn measure(
    here: Pair,
    there: Pair,
    clock: Clock,
    cpus: CpuPair,
    task: &Task,
) -> Result<Measured> {
    match task.work.payload() {
        32 => sized::<32>(here, there, clock, cpus, task),
        256 => sized::<256>(here, there, clock, cpus, task),
        1024 => sized::<1024>(here, there, clock, cpus, task),
        4096 => sized::<4096>(here, there, clock, cpus, task),
        other => Err(BenchError::Usage(format!("no arrays of {other} bytes here"))),
    }
}

fn sized<const N: usize>(
    here: Pair,
    there: Pair,
    clock: Clock,
    cpus: CpuPair,
    task: &Task,
) -> Result<Measured> {
    let room = capacity(N);
    let ends = |put, get| Ends::<N, _, _> { put, get, private: Source::new(N, ahead(task.work)) };
    match task.rival {
        Rival::ArrayQueue => {
            let queue = || Arc::new(ArrayQueue::<[u8; N]>::new(room));
            let (forth, back) = (queue(), queue());
            let mine = ends(Arc::clone(&forth), Arc::clone(&back));
            run(
                here,
                there,
                clock,
                cpus,
                task,
                mine,
                Ends::<N, _, _> { put: back, get: forth, private: Source::new(N, 1) },
            )
        }
        Rival::Channel => {
            let (put_forth, get_forth) = crossbeam_channel::bounded::<[u8; N]>(room);
            let (put_back, get_back) = crossbeam_channel::bounded::<[u8; N]>(room);
            let mine = Ends::<N, _, _> {
                put: put_forth,
                get: get_back,
                private: Source::new(N, ahead(task.work)),
            };
            let theirs =
                Ends::<N, _, _> { put: put_back, get: get_forth, private: Source::new(N, 1) };
            run(here, there, clock, cpus, task, mine, theirs)
        }
        _ => {
            let (put_forth, get_forth) = rtrb::RingBuffer::<[u8; N]>::new(room);
            let (put_back, get_back) = rtrb::RingBuffer::<[u8; N]>::new(room);
            let mine = Ends::<N, _, _> {
                put: put_forth,
                get: get_back,
                private: Source::new(N, ahead(task.work)),
            };
            let theirs =
                Ends::<N, _, _> { put: put_back, get: get_forth, private: Source::new(N, 1) };
            run(here, there, clock, cpus, task, mine, theirs)
        }
    }
}

fn run<const N: usize, P, G, P2, G2>(
    here: Pair,
    there: Pair,
    clock: Clock,
    cpus: CpuPair,
    task: &Task,
    mine: Ends<N, P, G>,
    theirs: Ends<N, P2, G2>,
) -> Result<Measured>
where
    P: Put<N>,
    G: Get<N>,
    P2: Put<N>,
    G2: Get<N>,
{
    thread::scope(|scope| {
        let work = task.work;
        let peer = scope.spawn(move || -> Result<()> {
            pin(cpus.there)?;
            let outlet = Putter::<N, _>(theirs.put, theirs.private);
            work::answer(&there, work, Getter::<N, _>(theirs.get), outlet)
        });
        let outlet = Putter::<N, _>(mine.put, mine.private);
        let measured = work::measure(&here, clock, work, outlet, Getter::<N, _>(mine.get));
        peer.join().map_err(|_| BenchError::Usage("the other thread panicked".into()))??;
        measured
    })
}
