//! Sleeping and waking: who waits on a ring, and how a publisher finds out for nothing.
//!
//! A waiter sets its participant's bit in the ring's waiter set, runs a process-wide barrier, looks
//! at the ring again, and only then sleeps on its participant's doorbell. A publisher, after its
//! stamp, merely *loads* the summary word: no fence, no system call. Either the publisher sees the
//! bit, or the waiter's second look sees the record (SYNC waiters, through the barrier).
//!
//! Waking takes **one** bit out of the set and rings that participant. The one that was woken passes
//! the wake on when it leaves with something left in the ring. A bit whose participant did not sleep
//! (it died, or was awake) does not count: the waker goes on to the next. And because a process can
//! die between its commit and the wake, or be killed just after it was woken, every sleep is sliced:
//! the caller looks again, helps, and searches for the dead at the end of each [`SLICE`].
//!
//! | a process dies… | and a survivor sees |
//! |---|---|
//! | between its commit and the wake | a record, at the end of its slice |
//! | asleep | a bit nobody answers to: the waker goes on, a joiner of that id clears it |
//! | between being woken and passing it on | a record, at the end of its slice |

use core::time::Duration;
use std::sync::{Mutex, PoisonError};

use crate::shm::cpu::prefetch_for_write;
use crate::shm::layout::{RingHeader, WAITER_WORDS, WaiterLine};
use crate::shm::peers::Peers;
#[cfg(not(loom))]
use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::{AtomicU32, fence, light_barrier};

/// Longest uninterrupted sleep: the bound on what a death at a bad moment costs a sleeper.
pub const SLICE: Duration = Duration::from_millis(30);

/// What a waiter waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Something to get.
    Records,
    /// Room to put.
    Room,
}

fn set(header: &RingHeader, what: For) -> (&AtomicU32, &WaiterLine) {
    match what {
        For::Records => (&header.shared.get_waiters, &header.get_waiters),
        For::Room => (&header.shared.put_waiters, &header.put_waiters),
    }
}

/// Says whether anyone may be waiting. To be called after publishing, by everyone who publishes.
#[inline(always)]
pub fn anyone_waits(header: &RingHeader, what: For) -> bool {
    light_barrier();
    // RELAXED: the process-wide barrier orders it (SYNC waiters); this is the flag for those whose
    // kernel has none.
    let fence_needed = header.shared.fence_needed.load(Relaxed) != 0;
    if fence_needed && !crate::sync::mutant("fence_needed_ignored") {
        // SYNC waiters: the publisher's half of the fence pair, where there is no membarrier.
        fence(SeqCst);
    }
    // SYNC waiters (pairs with `register` and the barrier after it).
    set(header, what).0.load(Relaxed) != 0
}

/// Adds a participant to the set. The caller then runs [`barrier`] and looks at the ring again.
pub fn register(header: &RingHeader, what: For, id: u16) {
    let (summary, line) = set(header, what);
    let word = usize::from(id) / 64 % WAITER_WORDS;
    // SYNC waiters: the bit before the summary, so that who finds the summary finds the bit.
    line.words[word].fetch_or(1 << (id % 64), AcqRel);
    summary.fetch_or(1 << word, AcqRel);
}

/// Takes a participant out of the set, and says whether it was still in it.
pub fn unregister(header: &RingHeader, what: For, id: u16) -> bool {
    let word = usize::from(id) / 64 % WAITER_WORDS;
    let bit = 1 << (id % 64);
    // SYNC waiters. The summary stays: the next waker tidies up.
    set(header, what).1.words[word].fetch_and(!bit, AcqRel) & bit != 0
}

/// The waiter's half of the fence pair.
pub fn barrier(header: &RingHeader, peers: &dyn Peers) {
    #[cfg(loom)]
    if crate::sync::mutant("barrier_missing") {
        return;
    }
    if !peers.heavy_barrier() {
        // SYNC waiters: from now on publishers fence; those that have not heard of it yet cost one
        // slice at most.
        header.shared.fence_needed.store(1, Release);
    }
    fence(SeqCst);
}

/// Asks for the line with the bits, for whoever is about to clear one: it was written by another CPU, and
/// comes while something else is awaited.
pub fn prefetch(header: &RingHeader, what: For) {
    prefetch_for_write(core::ptr::from_ref(set(header, what).1).cast());
}

/// Says whether a participant is in the set, for one that has just left it and may have eaten another's
/// wake. Whoever comes later looks at the ring itself.
pub fn someone_is_left(header: &RingHeader, what: For) -> bool {
    let (summary, line) = set(header, what);
    // SYNC waiters.
    let mut words = summary.load(Acquire);
    while words != 0 {
        // SYNC waiters.
        if line.words[words.trailing_zeros() as usize % WAITER_WORDS].load(Acquire) != 0 {
            return true;
        }
        words &= words - 1;
    }
    false
}

/// Wakes one waiter; all of its process's threads look again. Returns whether one was asleep.
#[cold]
pub fn wake_one(header: &RingHeader, what: For, peers: &dyn Peers) -> bool {
    let (summary, line) = set(header, what);
    // Both lines were written by others last. It is often the same participant that sleeps.
    prefetch(header, what);
    #[cfg(not(loom))]
    // RELAXED: advice.
    if let Some(doorbell) = peers.doorbell(LAST_WOKEN.load(Relaxed) as u16) {
        prefetch_for_write(core::ptr::from_ref(doorbell).cast());
    }
    // Each turn of the loops clears a bit that was set; a hostile peer that keeps setting them
    // gets as many turns as there can be participants.
    for _ in 0..WAITER_WORDS {
        // SYNC waiters.
        let words = summary.load(Acquire);
        if words == 0 {
            return false;
        }
        let index = pick(words.into()) as usize % WAITER_WORDS;
        for _ in 0..64 {
            let bits = line.words[index].load(Acquire); // SYNC waiters.
            if bits == 0 {
                break;
            }
            let bit = 1 << pick(bits);
            // SYNC waiters: who takes the bit out rings.
            if line.words[index].fetch_and(!bit, AcqRel) & bit == 0 {
                continue;
            }
            let id = (index * 64) as u16 + bit.trailing_zeros() as u16;
            if ring_doorbell(peers, id) != 0 {
                #[cfg(not(loom))]
                {
                    // RELAXED: advice, both.
                    LAST_WOKEN.store(id.into(), Relaxed);
                    LAST_WAKE.store(crate::shm::os::monotonic_ns(), Relaxed);
                }
                return true;
            }
            // Nobody slept there: awake already, or dead. Somebody else may need it.
        }
        // SYNC waiters: a waiter that came between our look and this sets its summary again, or we
        // see its bit below and do.
        summary.fetch_and(!(1 << index), AcqRel);
        if line.words[index].load(Acquire) != 0 && !crate::sync::mutant("tidy_without_look") {
            summary.fetch_or(1 << index, AcqRel);
        }
    }
    false
}

/// How long whoever was just woken is left alone.
#[cfg(not(loom))]
const COMING_UP: Duration = Duration::from_micros(15);

/// When this process last woke another, on `CLOCK_MONOTONIC`.
#[cfg(not(loom))]
static LAST_WAKE: AtomicU64 = AtomicU64::new(0);

/// Whom this process last woke.
#[cfg(not(loom))]
static LAST_WOKEN: AtomicU32 = AtomicU32::new(0);

/// Looks again and again while somebody whom this process has just woken comes up: the barrier, which
/// interrupts every CPU that runs one of us, would hit it half-way, and double the time that takes.
#[cfg(not(loom))]
pub fn leave_the_woken_alone<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    // RELAXED: advice.
    let until = LAST_WAKE.load(Relaxed).saturating_add(COMING_UP.as_nanos() as u64);
    while crate::shm::os::monotonic_ns() < until {
        if let Some(found) = look() {
            return Some(found);
        }
        for _ in 0..16 {
            crate::sync::spin_hint();
        }
    }
    None
}

/// Picks one of the bits, another one each time: the lowest would always be served first.
fn pick(bits: u64) -> u32 {
    thread_local! {
        static TURN: core::cell::Cell<u32> = const { core::cell::Cell::new(0) };
    }
    // Loom needs every run of a model to be the same.
    let turn = if cfg!(loom) { 0 } else { TURN.replace(TURN.get().wrapping_add(7)) % 64 };
    (bits.rotate_right(turn).trailing_zeros() + turn) % 64
}

/// Wakes everybody: at close and destroy.
#[cold]
pub fn wake_all(header: &RingHeader, what: For, peers: &dyn Peers) {
    let (summary, line) = set(header, what);
    summary.store(0, Release); // SYNC waiters: whoever registers later sets it again.
    for (index, word) in line.words.iter().enumerate() {
        let mut bits = word.swap(0, AcqRel); // SYNC waiters.
        while bits != 0 {
            ring_doorbell(peers, (index * 64) as u16 + bits.trailing_zeros() as u16);
            bits &= bits - 1;
        }
    }
}

fn ring_doorbell(peers: &dyn Peers, id: u16) -> usize {
    let Some(doorbell) = peers.doorbell(id) else { return 0 };
    // SYNC doorbell (pairs with the load before `register`): changed before the wake, so that a
    // waiter that has not fallen asleep yet does not.
    if !crate::sync::mutant("doorbell_not_rung") {
        doorbell.fetch_add(1, AcqRel);
    }
    peers.wake(id)
}

/// Clears a dead participant's bits; the caller holds its lock.
pub fn forget(header: &RingHeader, id: u16) {
    unregister(header, For::Records, id);
    unregister(header, For::Room, id);
}

/// The threads of this process that wait on one side of one ring: they share one bit, which stays
/// set while any of them waits.
#[derive(Debug, Default)]
pub struct LocalWaiters {
    waiting: Mutex<u32>,
}

impl LocalWaiters {
    /// Registers a thread (again).
    pub fn enter(&self, header: &RingHeader, what: For, id: u16) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting += 1;
        register(header, what, id);
    }

    /// Sets the bit again after a wake took it out.
    pub fn again(&self, header: &RingHeader, what: For, id: u16) {
        register(header, what, id);
    }

    /// Takes a thread out; the last one takes the bit out.
    pub fn leave(&self, header: &RingHeader, what: For, id: u16) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting -= 1;
        if *waiting == 0 {
            unregister(header, what, id);
        }
    }
}
