//! Reading ahead: in a stream of longer records, the lines of one further on are fetched while one is read.
//!
//! Lines that the producer wrote come from its cache, some hundred nanoseconds each, and a CPU waits for no more
//! of them at a time than its window of instructions reaches: one record of a kibibyte, hardly two. A
//! prefetch is done with at once, so it reaches further.
//!
//! Only what is committed is fetched: a line that the producer is about to write would be taken from it.

use super::consumer_single::SingleConsumer;
use super::{Ring, Taken};
#[cfg(not(loom))]
use crate::sync::Ordering::Relaxed;

/// How far ahead, in bytes: as many lines as a CPU waits for at a time, some times over.
const DISTANCE: u64 = 4096;
/// Payloads for which it pays, in bytes. The lines of shorter ones are as soon there as what has to be done to
/// fetch them; within longer ones, the CPU fetches ahead by itself.
const PAYLOADS: core::ops::RangeInclusive<usize> = 257..=4096;

/// How many units lie between a record and the one that is fetched while it is read; 0 where no record of one
/// unit is long enough.
pub(super) fn units_ahead(unit_bytes: u32) -> u64 {
    match u64::from(unit_bytes) {
        unit if unit < *PAYLOADS.start() as u64 => 0,
        unit => (DISTANCE / unit).max(1),
    }
}

impl Ring {
    /// Says whether a consumer of this ring ever reads ahead.
    #[inline(always)]
    pub(super) fn reads_ahead(&self) -> bool {
        self.units_ahead != 0
    }

    /// To be called when a record of one unit was exposed, before it is read. Nothing for one that came alone,
    /// which is no stream's.
    #[inline(always)]
    pub(super) fn read_ahead(&self, mine: &SingleConsumer, taken: &Taken) {
        if self.reads_ahead() && !mine.came_alone(taken.pos) {
            self.fetch_ahead(taken);
        }
    }

    #[inline(never)]
    fn fetch_ahead(&self, taken: &Taken) {
        #[cfg(not(loom))]
        if PAYLOADS.contains(&taken.len()) {
            let there = taken.pos + self.units_ahead;
            // RELAXED: nothing is read of that record; its lines are fetched.
            let stamp = self.memory().entry(there).stamp.load(Relaxed);
            if !self.bits.is_older(stamp, there) {
                self.memory().prefetch_data_for_read(there, taken.len());
            }
        }
        #[cfg(loom)]
        let _ = taken;
    }
}
