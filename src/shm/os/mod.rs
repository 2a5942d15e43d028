//! System calls: the clock, futexes, process-wide barriers, and below it locks, mappings and forks.
//!
//! Everything here is a thin cover over one kernel facility; no policy. The kernel minimum is Linux
//! 4.16 (`membarrier` global expedited, `MADV_WIPEONFORK`); `futex_waitv` (5.16) has a fallback.
//! A process may be killed inside any of these calls: the kernel then frees locks and mappings, and
//! a futex keeps nothing but its word.

#![allow(unsafe_code, reason = "one of the named places: system calls that have no safe cover")]

use core::num::NonZeroU32;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::{ClockId, MembarrierCommand, Timespec, futex};

use crate::shm::peers::Woken;
use crate::sync::{AtomicU32, Ordering, fence};

mod fork;
mod lock;
mod mapping;

pub use fork::{ForkGuard, Origin, fork_guard};
pub use lock::{ByteLock, LockKind, any_held, is_held, poll_until, reopen};
pub use mapping::{Access, Mapping};

/// Nanoseconds of `CLOCK_MONOTONIC`: the clock of every deadline and timestamp, the same in all
/// processes of the machine.
#[inline]
#[must_use]
pub fn monotonic_ns() -> u64 {
    use nix::libc;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live, writable timespec; the call keeps no pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The deadline that lies `timeout` from now, for the calls below; saturates.
#[must_use]
pub fn deadline_after(timeout: Duration) -> u64 {
    monotonic_ns().saturating_add(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

/// Wall-clock nanoseconds since 1970, for people to read; 0 before it.
#[must_use]
pub fn unix_ns() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Bytes of a page of this kernel.
#[must_use]
pub fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
        .ok()
        .flatten()
        .and_then(|bytes| u64::try_from(bytes).ok())
        .unwrap_or(crate::shm::layout::PAGE_BYTES)
}

/// How a futex wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FutexWait {
    /// Somebody woke us; spurious wake-ups are possible.
    Woken,
    /// The word had another value already.
    Changed,
    /// The deadline passed.
    TimedOut,
    /// A signal handler ran.
    Interrupted,
}

impl FutexWait {
    fn from_result<T>(result: Result<T, Errno>) -> Self {
        match result {
            Ok(_) => Self::Woken,
            Err(Errno::TIMEDOUT) => Self::TimedOut,
            Err(Errno::INTR) => Self::Interrupted,
            // EAGAIN. Nothing else can come back from a live, aligned word; callers look again.
            Err(_) => Self::Changed,
        }
    }
}

fn timespec(deadline_ns: u64) -> Timespec {
    Timespec {
        tv_sec: (deadline_ns / 1_000_000_000) as i64,
        tv_nsec: (deadline_ns % 1_000_000_000) as _,
    }
}

/// Sleeps while `word` is `expected`, until somebody wakes it or `deadline_ns`
/// ([`monotonic_ns`], absolute) passes. Works across processes (never `FUTEX_PRIVATE_FLAG`).
#[must_use]
pub fn futex_wait(word: &AtomicU32, expected: u32, deadline_ns: Option<u64>) -> FutexWait {
    let deadline = deadline_ns.map(timespec);
    // FUTEX_WAIT_BITSET, unlike FUTEX_WAIT, takes an absolute time on CLOCK_MONOTONIC.
    let any = NonZeroU32::MAX;
    let flags = futex::Flags::empty();
    FutexWait::from_result(futex::wait_bitset(word, flags, expected, deadline.as_ref(), any))
}

/// Most words of one `futex_waitv`.
const WAITV_MAX: usize = 128;

/// Sleeps while every word has its expected value, until one is woken or the deadline passes.
///
/// Where the kernel has no `futex_waitv` (before 5.16), or for more than 128 words, it sleeps on
/// the first word in slices of a millisecond and looks at the others in between.
#[must_use]
pub fn futex_wait_any(words: &[(&AtomicU32, u32)], deadline_ns: Option<u64>) -> FutexWait {
    let Some(&(first, expected)) = words.first() else { return FutexWait::Changed };
    if words.len() == 1 {
        return futex_wait(first, expected, deadline_ns);
    }
    if words.len() <= WAITV_MAX {
        match waitv(words, deadline_ns) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            result => return FutexWait::from_result(result),
        }
    }
    wait_in_turns(words, deadline_ns)
}

fn waitv(words: &[(&AtomicU32, u32)], deadline_ns: Option<u64>) -> Result<usize, Errno> {
    let waits: Vec<futex::Wait> = words
        .iter()
        .map(|&(word, expected)| {
            let mut wait = futex::Wait::new();
            wait.val = u64::from(expected);
            wait.uaddr = futex::WaitPtr::new(word.as_ptr().cast());
            wait.flags = futex::WaitFlags::SIZE_U32;
            wait
        })
        .collect();
    let deadline = deadline_ns.map(timespec);
    futex::waitv(&waits, futex::WaitvFlags::empty(), deadline.as_ref(), ClockId::Monotonic)
}

/// The fallback of [`futex_wait_any`].
fn wait_in_turns(words: &[(&AtomicU32, u32)], deadline_ns: Option<u64>) -> FutexWait {
    const SLICE_NS: u64 = 1_000_000;
    let (first, expected) = words[0];
    loop {
        // SYNC doorbell (pairs with whoever rings): what was published before the ring is visible.
        if words.iter().any(|&(word, expected)| word.load(Ordering::Acquire) != expected) {
            return FutexWait::Changed;
        }
        let now = monotonic_ns();
        if deadline_ns.is_some_and(|deadline| now >= deadline) {
            return FutexWait::TimedOut;
        }
        let slice = deadline_ns.unwrap_or(u64::MAX).min(now.saturating_add(SLICE_NS));
        match futex_wait(first, expected, Some(slice)) {
            FutexWait::TimedOut => {}
            ended => return ended,
        }
    }
}

/// Sleeps until a doorbell differs from `seen`, or the timeout ends.
#[must_use]
pub fn sleep_on(doorbell: &AtomicU32, seen: u32, timeout: Duration) -> Woken {
    match futex_wait(doorbell, seen, Some(deadline_after(timeout))) {
        FutexWait::Woken | FutexWait::Changed => Woken::Rung,
        FutexWait::TimedOut => Woken::TimedOut,
        FutexWait::Interrupted => Woken::Interrupted,
    }
}

/// Wakes up to `count` sleepers of `word`, in any process; returns how many were woken.
pub fn futex_wake(word: &AtomicU32, count: u32) -> usize {
    futex::wake(word, futex::Flags::empty(), count.min(i32::MAX as u32)).unwrap_or(0)
}

/// Registers this process for other processes' [`heavy_barrier`]s, once (and once more in a forked
/// child); says whether the kernel agreed.
#[must_use]
pub fn register_barrier() -> bool {
    use crate::sync::AtomicU64;
    /// The generation that registered; 0 for none.
    static REGISTERED: AtomicU64 = AtomicU64::new(0);
    let generation = fork::generation();
    // RELAXED: registering twice does no harm.
    if REGISTERED.load(Ordering::Relaxed) == generation {
        return true;
    }
    let agreed = membarrier(MembarrierCommand::RegisterGlobalExpedited);
    if agreed {
        // RELAXED: as above.
        REGISTERED.store(generation, Ordering::Relaxed);
    }
    agreed
}

/// Makes every running thread of every registered process execute a full fence, and executes one
/// itself; says whether the kernel did.
///
/// SYNC asymmetric (pairs with `light_barrier`).
#[must_use]
pub fn heavy_barrier() -> bool {
    fence(Ordering::SeqCst);
    membarrier(MembarrierCommand::GlobalExpedited)
}

fn membarrier(command: MembarrierCommand) -> bool {
    rustix::thread::membarrier(command).is_ok()
}

#[cfg(test)]
mod tests;
