//! Reclaiming, helping, and skipping what the dead left.
//!
//! The frontier of a many-consumer ring follows the oldest record that is not released. Those who
//! release move it now and then; whoever finds the ring full moves it for certain. **The head moves
//! first**: a taker may die between its word and the head, and another release the record; without the head CAS the
//! frontier would overtake the head, producers would reuse what consumers have not passed, and the
//! ring would be wedged for ever.

use super::consumer_multi::Record;
use super::stamp::{Mark, State};
use super::{RETRY_LIMIT, Ring};
use crate::shm::storage::Side;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};

impl Ring {
    /// Moves the frontier over everything released or skipped, and says whether it moved. Many
    /// consumers only; a single consumer's head is its own frontier.
    #[inline]
    pub fn help_frontier(&self) -> bool {
        self.help_frontier_past(0, 0)
    }

    /// As [`Ring::help_frontier`]; the caller has released everything from `start` up to `end`.
    #[inline]
    pub(super) fn help_frontier_past(&self, start: u64, end: u64) -> bool {
        let frontier = &self.memory().header().frontier.frontier;
        // SYNC frontier: an old value makes the CAS fail, nothing else.
        let mut from = frontier.load(Acquire);
        for _ in 0..RETRY_LIMIT {
            let to = self.passed_from(if from == start { end } else { from });
            if to == from
                || !(crate::sync::mutant("frontier_without_head") || self.head_reaches(to))
            {
                return false;
            }
            crate::sync::crash_point("frontier.between_head_and_frontier");
            // SYNC frontier (pairs with `reclaim_limit`): releases the reads that ended before the
            // words we acquired, to the producer that will overwrite the units.
            let order = crate::sync::weaken("frontier_cas_relaxed", AcqRel);
            match frontier.compare_exchange(from, to, order, Acquire) {
                Ok(_) => return true,
                Err(now) => from = now,
            }
        }
        false
    }

    /// The first record from `from` on that is neither released nor skipped.
    #[inline]
    pub(super) fn passed_from(&self, from: u64) -> u64 {
        self.passed_between(from, u64::MAX)
    }

    /// As [`Ring::passed_from`], but looks at nothing from `end` on.
    #[inline]
    pub(super) fn passed_between(&self, from: u64, end: u64) -> u64 {
        let mut to = from;
        // No more than the ring holds, whatever a hostile peer writes.
        while to < end && to - from < self.entries {
            match self.load_record(to) {
                Record::Taken(_, take) if take.state == State::Released => to += take.n,
                Record::Skipped(n) => to += n,
                _ => break,
            }
        }
        to
    }

    /// Moves the head until it is at `to` or beyond: over what was taken or skipped, and whose taker
    /// has not moved it. Says whether it is there.
    #[inline]
    fn head_reaches(&self, to: u64) -> bool {
        for _ in 0..RETRY_LIMIT {
            let head = self.load_head();
            if head.1.pos >= to {
                return true;
            }
            if !self.help_head(head) && self.load_head().0 == head.0 {
                break;
            }
        }
        false
    }

    /// Moves the head over the record there, if it was taken or is to be passed over; says whether it
    /// is such a one.
    pub(super) fn help_head(&self, (word, head): (u64, Mark)) -> bool {
        match self.load_record(head.pos) {
            Record::Taken(_, take) => {
                let run = take.state == State::Run;
                let units = if run && crate::sync::mutant("help_run_short") { 1 } else { take.n };
                self.move_head(word, head.plus(units, if run { units } else { 1 }), false, 0);
                true
            }
            Record::Skipped(n) => {
                let packets = self.packets_of_skipped(head.pos, n);
                self.move_head(word, head.plus(n, packets), true, n);
                true
            }
            _ => false,
        }
    }

    /// Moves the head over a record, unless somebody already did; counts what was passed over.
    #[inline(always)]
    pub(super) fn move_head(&self, from: u64, to: Mark, skipped: bool, n: u64) {
        let line = &self.memory().header().consumers;
        let to = self.bits.pack_mark(to);
        // SYNC head (pairs with `load_head`). Failure means that somebody helped.
        let moved = line.head.compare_exchange(from, to, AcqRel, Relaxed).is_ok();
        if moved && skipped {
            line.extra_units.fetch_add(n, Relaxed); // RELAXED: a statistic.
        }
    }

    /// Stamps the claim of a dead producer SKIPPED, if it is still its claim and still not
    /// committed. The caller holds the lock of the dead participant `owner`: so nobody else can be
    /// writing under that id, and what we read does not change under us.
    pub fn skip_claim_of_dead(&self, pos: u64, owner: u16) -> bool {
        let lap = self.bits.lap(pos);
        let (_, claim) = self.load_claim(pos);
        let writing = matches!(claim.state, State::Claimed | State::Run);
        if claim.lap != lap || claim.owner != owner || !writing {
            return false;
        }
        let (stamp_word, stamp) = self.load_stamp(pos);
        if stamp.lap >= lap && !crate::sync::mutant("skip_committed") {
            return false;
        }
        let skipped = self.bits.pack(State::Skipped, pos, claim.n, owner);
        let entry = self.memory().entry(pos);
        crate::sync::crash_point("recover.before_skip");
        // SYNC released: from the very stamp we read.
        if entry.stamp.compare_exchange(stamp_word, skipped, AcqRel, Relaxed).is_err() {
            return false;
        }
        crate::sync::crash_point("recover.after_skip");
        let packets = self.packets_of_skipped(pos, claim.n);
        let header = self.memory().header();
        header.shared.skipped.fetch_add(packets, Relaxed); // RELAXED: a statistic.
        header.producers.extra_units.fetch_add(claim.n - packets, Relaxed); // RELAXED: as above.
        true
    }

    /// Makes room without taking anything: moves `tail`, `head` and `frontier` over what others
    /// left for helpers, and over what was skipped. Says whether anything moved. The last look
    /// before a `Full`.
    pub fn help_room(&self) -> bool {
        if self.geometry().consumers == Side::Single {
            return false;
        }
        let mut moved = false;
        for _ in 0..=self.entries {
            if !self.help_head(self.load_head()) {
                break;
            }
            moved = true;
        }
        self.help_frontier() || moved
    }

    /// The producer that blocks the head: `(position, owner)` of a claim without a stamp.
    #[must_use]
    pub fn pending_claim(&self) -> Option<(u64, u16)> {
        if self.geometry().producers == Side::Single {
            return None;
        }
        let pos = self.exposed().pos;
        let (_, claim) = self.load_claim(pos);
        let (_, stamp) = self.load_stamp(pos);
        let lap = self.bits.lap(pos);
        let writing = matches!(claim.state, State::Claimed | State::Run);
        (claim.lap == lap && stamp.lap < lap && writing).then_some((pos, claim.owner))
    }

    /// The consumer that blocks reclaiming: `(position, owner)` of the oldest leased record; owner 0
    /// means given back.
    #[must_use]
    pub fn pending_lease(&self) -> Option<(u64, u16)> {
        if self.geometry().consumers == Side::Single {
            return None;
        }
        self.oldest_held()
    }

    /// Gives back, in the name of the dead participant `id`, everything it held in this ring, and
    /// skips everything it was writing. The caller holds the lock of `id`. Says whether anything
    /// was found.
    pub fn scrub(&self, id: u16) -> bool {
        let mut found = false;
        if self.geometry().consumers == Side::Multi {
            found |= self.scrub_leases(id);
        }
        crate::sync::crash_point("scrub.between_leases_and_claims");
        if self.geometry().producers == Side::Multi {
            found |= self.scrub_claims(id);
        }
        found
    }

    /// Claims: from the first record not exposed, along the claim words. Others go on meanwhile, and may
    /// use an entry anew before we look at it; but no consumer passes a claim without a stamp, so nothing
    /// is missed by going on from the head.
    fn scrub_claims(&self, id: u16) -> bool {
        let mut found = false;
        let mut pos = self.exposed().pos;
        for _ in 0..=self.entries {
            let (_, claim) = self.load_claim(pos);
            let lap = self.bits.lap(pos);
            if claim.lap > lap && !crate::sync::mutant("scrub_stops_when_lapped") {
                let exposed = self.exposed().pos;
                if exposed <= pos {
                    break;
                }
                pos = exposed;
                continue;
            }
            if claim.lap != lap || claim.state == State::Closed {
                break;
            }
            if claim.owner == id {
                found |= self.skip_claim_of_dead(pos, id);
            }
            pos += claim.n;
        }
        found
    }
}
