//! One consumer: the short ways, for what a record nearly always is. Each gives up, with nothing changed, where
//! it would have to look closer; what is wrong with a record is said by [`Ring::take_single`].
//!
//! What a successor sees after a death between two lines is said in `consumer_single.rs`: the order is always
//! `peek`, the reading, RELEASED, `head`.

use super::super::payload::Emptied;
use super::super::stamp::{Bits, State};
use super::super::{Ring, Taken};
use super::SingleConsumer;
use crate::shm::layout::{ConsumerLine, Entry};
use crate::sync::Ordering::{Acquire, Relaxed, Release};

impl Ring {
    /// Exposes the next record if it is what it nearly always is: fresh, of one unit, and next.
    #[inline(always)]
    pub fn take_plain(&self, mine: &mut SingleConsumer) -> Option<Taken> {
        if !mine.plain {
            return None;
        }
        self.ready_entry(mine)?;
        // What is wrong with a record is said by the slow path, which finds it again.
        let taken = self.describe_taken(mine.pos, 1).ok()?;
        if !crate::sync::mutant("peek_after_exposure") {
            Self::store_peek_behind(&self.memory().header().consumers, mine.behind);
        }
        self.read_ahead(mine, &taken);
        self.hold_exposed(mine, &taken);
        Some(taken)
    }

    /// Takes the next record, puts its payload into `out`, and acknowledges it, if it is what it nearly
    /// always is, of one unit, and nothing else is held. `IN_DATA` says whether its payload should lie in
    /// the data region, or in its entry. The caller then wakes a producer that waits for room.
    #[inline(always)]
    pub fn get_plain<const IN_DATA: bool>(
        &self,
        mine: &mut SingleConsumer,
        out: &mut Vec<u8>,
    ) -> Option<Taken> {
        let target = Emptied::new(out)?;
        // What loads and stores of shared memory cannot change stays in registers.
        let line = &self.memory().header().consumers;
        let entry = self.ready_when_idle(mine)?;
        let (pos, ready, behind) = (mine.pos, mine.ready, mine.behind);
        let taken = self.describe_unit::<IN_DATA>(entry, pos)?;
        Self::store_peek_behind(line, behind);
        if IN_DATA {
            self.read_ahead(mine, &taken);
        }
        self.read_unit::<IN_DATA>(entry, &taken, target);
        self.end_plain(mine, (line, entry), &taken, (ready, behind));
        Some(taken)
    }

    /// As [`Ring::get_plain`], wherever the payload lies, and however many units it takes.
    #[inline]
    pub fn get_long(&self, mine: &mut SingleConsumer, out: &mut Vec<u8>) -> Option<Taken> {
        if !mine.idle {
            return None;
        }
        let (word, stamp) = self.load_stamp(mine.pos);
        if word != self.bits.pack(State::Ready, mine.pos, stamp.n, 0) {
            return None;
        }
        let taken = self.describe_taken(mine.pos, stamp.n).ok()?;
        self.expose(mine, &taken);
        out.clear();
        self.read(&taken, out);
        self.ack_single(mine, &taken);
        Some(taken)
    }

    /// Exposes the next record if it is what it nearly always is, of one unit, and nothing else is held; with
    /// its entry. Until [`Ring::end_exposed`] or [`Ring::keep_exposed`], which must be called next, the
    /// state stays as it is.
    #[inline(always)]
    pub fn expose_plain(&self, mine: &SingleConsumer) -> Option<(&Entry, Taken)> {
        let entry = self.ready_when_idle(mine)?;
        let taken = self.describe_at(entry, mine.pos, 1).ok()?;
        Self::store_peek_behind(&self.memory().header().consumers, mine.behind);
        self.read_ahead(mine, &taken);
        Some((entry, taken))
    }

    /// Acknowledges what [`Ring::expose_plain`] exposed. The caller then wakes a producer that waits for room.
    #[inline(always)]
    pub fn end_exposed(&self, mine: &mut SingleConsumer, entry: &Entry, taken: &Taken) {
        let shared = (&self.memory().header().consumers, entry);
        self.end_plain(mine, shared, taken, (mine.ready, mine.behind));
    }

    /// Keeps what [`Ring::expose_plain`] exposed, as [`Ring::take_plain`] would have left it.
    #[cold]
    pub fn keep_exposed(&self, mine: &mut SingleConsumer, taken: &Taken) {
        self.hold_exposed(mine, taken);
    }

    #[inline(always)]
    fn hold_exposed(&self, mine: &mut SingleConsumer, taken: &Taken) {
        self.begin_holding(mine);
        self.step_cursor(mine);
        self.count_bytes(taken.len() as u64);
    }

    /// As [`Ring::ready_entry`], if nothing is held.
    #[inline(always)]
    fn ready_when_idle(&self, mine: &SingleConsumer) -> Option<&Entry> {
        if mine.idle { self.ready_entry(mine) } else { None }
    }

    /// The entry of the next record, if it lies there ready, and is of one unit.
    #[inline(always)]
    fn ready_entry(&self, mine: &SingleConsumer) -> Option<&Entry> {
        let entry = self.memory().entry(mine.pos);
        // SYNC committed (pairs with `stamp_ready`).
        let stamp = entry.stamp.load(crate::sync::weaken("stamp_not_acquired", Acquire));
        // One comparison for lap, length and state.
        (stamp == mine.ready).then_some(entry)
    }

    #[inline(always)]
    fn store_peek_behind(line: &ConsumerLine, behind: u64) {
        // SYNC peek: as in `store_peek`.
        line.peek.store(behind, Release);
        crate::sync::crash_point("take_single.after_peek");
    }

    /// Acknowledges the record at the cursor, which was exposed while nothing was held, given its stamp and
    /// the cursor behind it.
    #[inline(always)]
    fn end_plain(
        &self,
        mine: &mut SingleConsumer,
        (line, entry): (&ConsumerLine, &Entry),
        taken: &Taken,
        (ready, behind): (u64, u64),
    ) {
        crate::sync::crash_point("ack_single.before_stamp");
        if !mine.came_alone(taken.pos) {
            self.hand_back_lines(taken);
            // SYNC released: as in `stamp_released`.
            entry.stamp.store(Bits::in_state(ready, State::Released), Release);
            crate::sync::crash_point("ack_single.after_stamp");
        }
        // SYNC head: as in `store_head`.
        line.head.store(behind, crate::sync::weaken("head_relaxed", Release));
        // RELAXED: a statistic, which we alone write.
        line.bytes.store(line.bytes.load(Relaxed).wrapping_add(taken.len() as u64), Relaxed);
        self.step_cursor(mine);
    }
}
