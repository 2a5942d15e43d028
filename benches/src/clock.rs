//! What time it is, as cheaply as the machine allows.
//!
//! Inside a round trip of some 250 ns a call of `clock_gettime` (20–50 ns) is seen, so latencies
//! are taken with the time-stamp counter where the CPU says that it ticks evenly whatever the clock
//! speed and sleep state (`constant_tsc`, `nonstop_tsc`), calibrated against `CLOCK_MONOTONIC` at
//! the start. Each process reads it on the one CPU it is pinned to, and differences of two processes'
//! counters are never used: times that cross processes come from `CLOCK_MONOTONIC`.
#![cfg_attr(
    target_arch = "x86_64",
    allow(unsafe_code, reason = "the time-stamp counter is read by an intrinsic")
)]

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// How long the time-stamp counter is compared with `CLOCK_MONOTONIC`.
const CALIBRATION: Duration = Duration::from_millis(30);

/// A clock for intervals measured in one process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    source: Source,
    ns_per_tick: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    #[cfg(target_arch = "x86_64")]
    Tsc,
    Monotonic,
}

impl Clock {
    /// Picks the cheapest clock that can be trusted, and calibrates it.
    pub(crate) fn new() -> Self {
        #[cfg(target_arch = "x86_64")]
        if tsc_is_even() {
            return Self { source: Source::Tsc, ns_per_tick: calibrate() };
        }
        Self { source: Source::Monotonic, ns_per_tick: 1.0 }
    }

    /// Names the clock: `tsc` or `monotonic`.
    pub(crate) fn name(self) -> &'static str {
        match self.source {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc => "tsc",
            Source::Monotonic => "monotonic",
        }
    }

    /// Reads the clock, in ticks, not before the loads that come before it in the program.
    #[inline]
    pub(crate) fn ticks(self) -> u64 {
        match self.source {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc => tsc(),
            Source::Monotonic => monotonic_ns(),
        }
    }

    /// Nanoseconds of one tick.
    pub(crate) fn ns_per_tick(self) -> f64 {
        self.ns_per_tick
    }

    /// Measures what one reading costs, in nanoseconds (the mean of many).
    pub(crate) fn overhead_ns(self) -> f64 {
        const READINGS: u32 = 10_000;
        let start = Instant::now();
        for _ in 0..READINGS {
            std::hint::black_box(self.ticks());
        }
        start.elapsed().as_nanos() as f64 / f64::from(READINGS)
    }
}

/// Reads `CLOCK_MONOTONIC`, the same in all processes, in nanoseconds.
///
/// # Panics
/// Never on Linux: the clock always exists.
#[inline]
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("CLOCK_MONOTONIC always exists");
    now.tv_sec() as u64 * 1_000_000_000 + now.tv_nsec() as u64
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn tsc() -> u64 {
    use std::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: SSE2, which has the instruction, is part of x86-64.
    unsafe { _mm_lfence() };
    // SAFETY: every x86-64 has the instruction; `tsc_is_even` saw the kernel list it, and Linux
    // leaves it allowed unless the process itself asked otherwise (`PR_SET_TSC`).
    unsafe { _rdtsc() }
}

#[cfg(target_arch = "x86_64")]
fn tsc_is_even() -> bool {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    ["constant_tsc", "nonstop_tsc"].iter().all(|flag| flags.split(' ').any(|f| f == *flag))
}

/// Says how many nanoseconds a tick of the time-stamp counter takes.
#[cfg(target_arch = "x86_64")]
fn calibrate() -> f64 {
    // Of several pairs of readings the one taken fastest was not interrupted in between.
    fn pair() -> (u64, u64) {
        (0..16)
            .map(|_| {
                let before = tsc();
                let ns = monotonic_ns();
                let after = tsc();
                (
                    after.wrapping_sub(before),
                    before.wrapping_add(after.wrapping_sub(before) / 2),
                    ns,
                )
            })
            .min()
            .map_or((0, 0), |(_, ticks, ns)| (ticks, ns))
    }
    let (ticks_before, ns_before) = pair();
    std::thread::sleep(CALIBRATION);
    let (ticks_after, ns_after) = pair();
    (ns_after - ns_before) as f64 / ticks_after.wrapping_sub(ticks_before).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::{Clock, monotonic_ns};

    #[test]
    fn ticks_agree_with_the_monotonic_clock_roughly() {
        let clock = Clock::new();
        let (ticks, ns) = (clock.ticks(), monotonic_ns());
        std::thread::sleep(std::time::Duration::from_millis(50));
        let (ticks, ns) = (clock.ticks() - ticks, monotonic_ns() - ns);
        let measured = ticks as f64 * clock.ns_per_tick();
        // Not a matter of speed: a wrong unit would be off by a factor.
        assert!((0.5..2.0).contains(&(measured / ns as f64)), "{measured} against {ns}");
    }
}
