//! Lines, and two threads on two CPUs.

use std::hint::spin_loop;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use rustix::thread::{CpuSet, sched_setaffinity};

/// A stamp and 32 bytes of payload.
#[derive(Default)]
#[repr(align(64))]
pub(crate) struct Line {
    pub(crate) stamp: AtomicU64,
    pub(crate) payload: [AtomicU64; 4],
}

// RELAXED, all payloads: published by the stamp's Release.
impl Line {
    pub(crate) fn write(&self, stamp: u64) {
        self.payload.iter().for_each(|word| word.store(stamp, Relaxed));
        // SYNC bare (pairs with `wait`).
        self.stamp.store(stamp, Release);
    }

    /// Waits until it says this; then it can be read.
    pub(crate) fn wait(&self, stamp: u64) {
        // SYNC bare (pairs with `write`).
        while self.stamp.load(Acquire) != stamp {
            spin_loop();
        }
    }

    /// Asks for it, to be written.
    pub(crate) fn fetch(&self) {
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code, reason = "the intrinsic would fetch it for reading")]
        // SAFETY: prefetching accesses nothing in the sense of the memory model.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) self, options(nostack, preserves_flags, readonly));
        }
    }

    pub(crate) fn read(&self) -> u64 {
        self.payload.iter().fold(0, |sum, word| sum ^ word.load(Relaxed))
    }
}

pub(crate) fn lines(count: u64) -> Vec<Line> {
    (0..count).map(|_| Line::default()).collect()
}

fn pin(cpu: usize) {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).expect("a CPU that this process may use");
}

/// Runs `one` here and `other` in a thread, on the two CPUs; `one` says how long it took, in nanoseconds.
pub(crate) fn pair(
    cpus: [usize; 2],
    one: impl FnOnce() -> f64,
    other: impl FnOnce() + Send,
) -> f64 {
    let both_there = Barrier::new(2);
    std::thread::scope(|scope| {
        let there = &both_there;
        scope.spawn(move || {
            pin(cpus[1]);
            there.wait();
            other();
        });
        pin(cpus[0]);
        there.wait();
        one()
    })
}
