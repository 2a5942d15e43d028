//! Spinning before sleeping, as long as that has been worth it lately.
//!
//! A spin must be able to outlast the other side's wake-up: otherwise two partners that have once
//! fallen asleep on each other keep finding each other asleep, and never come back to spinning. So
//! the longest spin takes about as long as a wake-up across cores, success makes the next one as
//! long, and failure halves it down to a few looks; every so many waits it is tried at full length
//! again. A waiter that never succeeds so spends little more than a microsecond per sleep.

use std::sync::atomic::{AtomicU32, Ordering};

/// How long spinning has been worth it lately. One for each opened ring, shared by its threads.
#[derive(Debug)]
pub(crate) struct Spin {
    /// Looks of the next spin.
    looks: AtomicU32,
    /// Spins that failed since the last success.
    failures: AtomicU32,
}

/// Looks of the longest spin: some fifty microseconds.
const MAX_LOOKS: u32 = 384;
/// Looks of the shortest.
const MIN_LOOKS: u32 = 4;
/// Spin hints before the first look: one that has caught up with a stream, and looks at once, takes
/// the line from a producer that is in the middle of writing it.
const FIRST_PAUSE: u32 = 2;
/// Looks without any pause after that: whoever has still found nothing waits for an answer, not for
/// a stream.
const EAGER_LOOKS: u32 = 128;
/// Longest pause between later looks, in spin hints.
const MAX_PAUSE: u32 = 8;
/// A spin at full length is tried after every so many failures.
const RETRY_EVERY: u32 = 32;

impl Default for Spin {
    fn default() -> Self {
        let looks = if online_cpus() > 1 { MAX_LOOKS } else { 0 };
        Self { looks: AtomicU32::new(looks), failures: AtomicU32::new(0) }
    }
}

/// CPUs of the machine. Not those this process may run on: one that is pinned to a CPU waits for
/// others, which run elsewhere.
fn online_cpus() -> i64 {
    use nix::unistd::{SysconfVar, sysconf};
    sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1)
}

impl Spin {
    /// Looks again and again, with growing pauses, and gives up after a while.
    #[inline]
    pub(crate) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        // RELAXED, all of them: advice.
        let looks = self.looks.load(Ordering::Relaxed);
        let mut pauses = FIRST_PAUSE;
        for done in 0..looks {
            for _ in 0..pauses {
                crate::sync::spin_hint();
            }
            if let Some(found) = look() {
                if looks != MAX_LOOKS {
                    self.looks.store(MAX_LOOKS, Ordering::Relaxed);
                }
                return Some(found);
            }
            pauses = if done < EAGER_LOOKS { 0 } else { (pauses + 1).min(MAX_PAUSE) };
        }
        self.failed(looks);
        None
    }

    #[cold]
    fn failed(&self, looks: u32) {
        if looks == 0 {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let retry = failures % RETRY_EVERY == RETRY_EVERY - 1;
        let next = if retry { MAX_LOOKS } else { (looks / 2).max(MIN_LOOKS) };
        self.looks.store(next, Ordering::Relaxed);
    }
}
