//! When to look at the clock: often enough to keep a bound, and seldom enough to cost nothing.

use std::time::{Duration, Instant};

/// How long what a task did may wait to be passed on.
pub(crate) const BOUND: Duration = Duration::from_millis(1);
/// How much time is to pass between two looks.
const LOOK_EVERY_NS: u64 = 200_000;
/// Most steps between two looks.
const MAX_STEPS: u64 = 1024;

pub(crate) struct Pace {
    left: u64,
    steps: u64,
    looked: Instant,
    since: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self { left: 1, steps: 1, looked: now, since: now }
    }

    /// Counts a step, and says whether the bound has passed since the last `reset`, as far as it
    /// looked.
    #[inline]
    pub(crate) fn is_over(&mut self) -> bool {
        self.left -= 1;
        self.left == 0 && self.look()
    }

    #[cold]
    fn look(&mut self) -> bool {
        let now = Instant::now();
        let passed =
            now.duration_since(self.looked).as_nanos().clamp(1, u128::from(u64::MAX)) as u64;
        // As many steps as would have taken the time that we want, if that changes slowly.
        self.steps = (self.steps.saturating_mul(LOOK_EVERY_NS) / passed)
            .clamp(1, (self.steps * 2).min(MAX_STEPS));
        self.left = self.steps;
        self.looked = now;
        now.duration_since(self.since) >= BOUND
    }

    /// Begins anew, now.
    pub(crate) fn reset(&mut self) -> Instant {
        let now = Instant::now();
        self.since = now;
        self.looked = now;
        self.left = self.steps;
        now
    }
}
