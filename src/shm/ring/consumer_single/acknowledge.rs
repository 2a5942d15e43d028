//! One consumer: what ends a lease, and what tells the producer of it.
//!
//! A record acknowledged in order moves the head; one out of order says RELEASED in its entry until the head
//! gets there. What a successor sees after a death in between is said in `consumer_single.rs`.

use super::super::stamp::State;
use super::super::{Ring, Taken};
use super::SingleConsumer;
use crate::shm::layout::Entry;
use crate::sync::Ordering::Release;
use crate::sync::crash_point;

impl Ring {
    /// Acknowledges a record: it is never delivered again. The caller then wakes a producer that
    /// waits for room.
    #[inline(always)]
    pub fn ack_single(&self, mine: &mut SingleConsumer, taken: &Taken) {
        if !mine.came_alone(taken.pos) {
            self.hand_back_lines(taken);
        }
        self.end_record(mine, taken.pos, taken.n);
    }

    /// Acknowledges several records, oldest first, and stores the head once.
    pub fn ack_many_single(&self, mine: &mut SingleConsumer, many: &[Taken]) {
        let (mut rest, mut head) = (many, mine.head);
        while let Some(first) = rest.first() {
            let count = self.stamp_run_released(first, rest);
            if first.pos == head.pos {
                head = head.plus(count as u64 * first.n, count as u64);
            }
            rest = &rest[count..];
        }
        if head != mine.head {
            mine.head = head;
            self.head_moved(mine);
        }
    }

    #[inline(always)]
    pub(super) fn end_record(&self, mine: &mut SingleConsumer, pos: u64, n: u64) {
        crash_point("ack_single.before_stamp");
        let oldest = pos == mine.head.pos;
        if !oldest || !mine.came_alone(pos) {
            self.stamp_released(pos, n);
        }
        if !oldest {
            return;
        }
        mine.head = mine.head.plus(n, 1);
        self.head_moved(mine);
    }

    #[inline(always)]
    pub(super) fn head_moved(&self, mine: &mut SingleConsumer) {
        if mine.head.pos != mine.pos {
            self.roll_head(mine);
        }
        self.store_head(mine);
        mine.idle = mine.plain && mine.head.pos == mine.pos;
    }

    /// Stamps what [`Ring::run_of`] says of these records, of which there is a `first`, RELEASED; says how
    /// many.
    #[inline(always)]
    fn stamp_run_released(&self, first: &Taken, many: &[Taken]) -> usize {
        let released = self.bits.pack(State::Released, first.pos, first.n, 0);
        let mut count = 0;
        for (taken, entry) in self.run_of(first, many) {
            self.hand_back_lines(taken);
            crash_point("ack_single.before_stamp");
            Self::store_stamp_released(entry, released);
            count += 1;
        }
        count
    }

    #[inline(always)]
    fn stamp_released(&self, pos: u64, n: u64) {
        let word = self.bits.pack(State::Released, pos, n, 0);
        Self::store_stamp_released(self.memory().entry(pos), word);
    }

    #[inline(always)]
    pub(super) fn store_stamp_released(entry: &Entry, released: u64) {
        // SYNC released: an acknowledgement out of order is here before it is in the head, and never
        // only in a lazy word, or acknowledged packets come back. Ordered before the producer's next
        // stamp by the head.
        entry.stamp.store(released, Release);
        crash_point("ack_single.after_stamp");
    }

    /// Moves the head over what was acknowledged out of order.
    fn roll_head(&self, mine: &mut SingleConsumer) {
        while mine.head.pos < mine.pos {
            let (_, stamp) = self.load_stamp(mine.head.pos);
            if stamp.lap != self.bits.lap(mine.head.pos) {
                return;
            }
            let packets = match stamp.state {
                State::Released => 1,
                State::Skipped => self.packets_of_skipped(mine.head.pos, stamp.n),
                _ => return,
            };
            mine.head = mine.head.plus(stamp.n, packets);
        }
    }

    #[inline(always)]
    pub(super) fn store_head(&self, mine: &mut SingleConsumer) {
        let header = self.memory().header();
        let order = crate::sync::weaken("head_relaxed", Release);
        // SYNC head (pairs with `reclaim_limit`): our reads below are over.
        header.consumers.head.store(self.bits.pack_mark(mine.head), order);
        if mine.head.pos >= mine.hint_at {
            self.publish_hint(mine);
        }
    }

    /// Publishes the head to the producer's polling word: when some of the ring was acknowledged, and
    /// before the consumer sleeps or leaves.
    #[inline]
    pub fn publish_hint(&self, mine: &mut SingleConsumer) {
        let head = self.head(mine).pos;
        mine.hint_at = head + self.entries / 8;
        mine.turn_at = mine.turn_at.min(mine.hint_at);
        let header = self.memory().header();
        // SYNC head-hint (pairs with `refresh_limit`): our reads below are over.
        header.hint.head_hint.store(head, crate::sync::weaken("head_hint_relaxed", Release));
    }

    /// Gives a record back to this very consumer: it is the next one delivered, flagged. A successor
    /// would deliver it too, since it lies below `peek`.
    pub fn give_back_single(&self, mine: &mut SingleConsumer, pos: u64) {
        debug_assert!(!mine.idle, "what is given back was held");
        mine.plain = false;
        let at = mine.returned.partition_point(|&other| other < pos);
        mine.returned.insert(at, pos);
    }
}
