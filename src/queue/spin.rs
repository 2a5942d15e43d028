//! Spinning before sleeping, as long as that has been worth it lately.

use std::sync::atomic::{AtomicU32, Ordering};

/// How long spinning has been worth it lately: rounds of looking, adapted to what they brought.
#[derive(Debug)]
pub(crate) struct Spin {
    rounds: AtomicU32,
}

/// Most rounds of a spin: some ten microseconds.
const SPIN_MAX: u32 = 400;
/// Fewest, so that a change for the better is noticed.
const SPIN_MIN: u32 = 4;

impl Default for Spin {
    fn default() -> Self {
        let alone = std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() == 1);
        Self { rounds: AtomicU32::new(if alone { 0 } else { SPIN_MAX }) }
    }
}

impl Spin {
    #[inline]
    pub(crate) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        // RELAXED: advice.
        let rounds = self.rounds.load(Ordering::Relaxed);
        let mut pauses = 1;
        for round in 0..rounds {
            for _ in 0..pauses {
                crate::sync::spin_hint();
            }
            if let Some(found) = look() {
                if rounds < SPIN_MAX {
                    // RELAXED: advice.
                    self.rounds.store((rounds + rounds / 4 + 1).min(SPIN_MAX), Ordering::Relaxed);
                }
                return Some(found);
            }
            if round > 8 && pauses < 8 {
                pauses *= 2;
            }
        }
        if rounds > SPIN_MIN {
            // RELAXED: advice.
            self.rounds.store((rounds / 2).max(SPIN_MIN), Ordering::Relaxed);
        }
        None
    }
}
