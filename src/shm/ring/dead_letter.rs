//! Dead letters: records that were delivered too often, on their way into another ring.
//!
//! A dead letter lies in its new ring as any record does, but always in the data region: the inline
//! part of its entry carries its *history*, where it comes from and how often it was delivered there.
//! One that finds no room stays where it was, given back, with its count as it was.
//!
//! | a consumer dies… | and a survivor sees |
//! |---|---|
//! | before the dead letter is committed | a record that was delivered too often, once more |
//! | between that and the acknowledgement | the same, and its copy in the dead-letter ring |

use super::stamp::State;
use super::{Claim, Ring, SingleConsumer, Taken};
use crate::shm::layout::{FLAG_DEAD_LETTER, FLAG_IN_DATA, FLAG_REDELIVERIES, REDELIVERIES_SHIFT};
use crate::sync::Ordering::Relaxed;

/// Bytes of a [`History`] in an entry: not more than any entry has room for.
const HISTORY_BYTES: usize = 24;

/// Where a dead letter comes from. Read from shared memory: advice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Index of the ring it was in; `u32::MAX` where that is none of this segment.
    pub ring: u32,
    /// How often it was delivered there.
    pub deliveries: u32,
    /// Its position there.
    pub position: u64,
    /// Time of its put there (`CLOCK_MONOTONIC`, nanoseconds); 0 where that ring keeps none.
    pub put_ns: u64,
}

impl History {
    fn pack(&self) -> [u8; HISTORY_BYTES] {
        let mut bytes = [0; HISTORY_BYTES];
        let words =
            [u64::from(self.ring) | u64::from(self.deliveries) << 32, self.position, self.put_ns];
        for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn unpack(words: [u64; 3]) -> Self {
        let [first, position, put_ns] = words;
        Self { ring: first as u32, deliveries: (first >> 32) as u32, position, put_ns }
    }
}

impl Ring {
    /// Writes a dead letter into a claimed record, and commits it. Many producers only.
    ///
    /// # Panics
    /// If it does not fit the ring's largest record.
    pub fn commit_dead_letter(
        &self,
        claim: &mut Claim,
        kind: u8,
        payload: &[u8],
        history: &History,
    ) {
        self.write(claim, true, &history.pack());
        self.write(claim, false, payload);
        let entry = self.memory().entry(claim.pos);
        let flags = u32::from(kind) | FLAG_IN_DATA | FLAG_DEAD_LETTER;
        // RELAXED, both: published by the stamp's Release (SYNC committed).
        entry.len.store(payload.len() as u32, Relaxed);
        entry.flags.store(flags, Relaxed);
        self.publish(claim, payload.len());
    }

    /// Where a leased record comes from, if it is a dead letter.
    #[must_use]
    pub fn history(&self, taken: &Taken) -> Option<History> {
        let marked = taken.flags & (FLAG_DEAD_LETTER | FLAG_IN_DATA);
        if marked != FLAG_DEAD_LETTER | FLAG_IN_DATA {
            return None;
        }
        Some(History::unpack(self.inline_words(taken.pos)))
    }

    /// Gives a dead letter back that finds no room, without a hint: only who is idle looks for it
    /// again, or everybody would, at every take.
    pub fn keep(&self, taken: &Taken) {
        self.cap_redeliveries(taken.pos);
        self.leave_to_anyone(taken.pos, taken.n);
    }

    /// As [`Ring::keep`], for the single consumer, which remembers it. A successor finds it below
    /// `peek`.
    pub fn keep_single(&self, mine: &mut SingleConsumer, taken: &Taken) {
        self.cap_redeliveries(taken.pos);
        mine.kept.push(taken.pos);
    }

    /// Takes the dead letters back that a single consumer keeps, to try them again.
    pub fn retake_kept(&self, mine: &mut SingleConsumer) -> Vec<Taken> {
        let kept = std::mem::take(&mut mine.kept);
        let retake = |pos| {
            let (_, stamp) = self.load_stamp(pos);
            if stamp.lap != self.bits.lap(pos) || stamp.state != State::Ready {
                return None;
            }
            self.describe_taken(pos, stamp.n).ok()
        };
        kept.into_iter().filter_map(retake).collect()
    }

    /// Takes back what `raise_redeliveries` counted: the record was not exposed after all. So one that
    /// is kept has been delivered just `max_deliveries` times.
    fn cap_redeliveries(&self, pos: u64) {
        let max = self.geometry().max_deliveries;
        let entry = self.memory().entry(pos);
        // RELAXED: only the holder of the record writes this; see `raise_redeliveries`.
        let flags = entry.flags.load(Relaxed);
        if flags >> REDELIVERIES_SHIFT > max {
            // RELAXED: as above.
            entry.flags.store(flags & !FLAG_REDELIVERIES | max << REDELIVERIES_SHIFT, Relaxed);
        }
    }
}
