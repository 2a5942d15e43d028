//! Reclaiming, helping, and skipping what the dead left.
//!
//! The frontier of a many-consumer ring follows the oldest record that is not released. Whoever
//! releases that one moves it; whoever finds the ring full moves it too. **The head moves first**:
//! a taker may die between its stamp and the head, and another release it; without the head CAS the
//! frontier would overtake the head, producers would reuse what consumers have not passed, and the
//! ring would be wedged for ever.

use super::stamp::{Mark, State};
use super::{RETRY_LIMIT, Ring};
use crate::shm::storage::Side;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};

impl Ring {
    /// Moves the frontier over everything released or skipped, and says whether it moved. Many
    /// consumers only; a single consumer's head is its own frontier.
    #[inline]
    pub fn help_frontier(&self) -> bool {
        let frontier = &self.memory().header().frontier.frontier;
        // SYNC frontier: an old value makes the CAS fail, nothing else.
        let mut from = frontier.load(Acquire);
        let mut moved = false;
        for _ in 0..RETRY_LIMIT {
            let (_, stamp) = self.load_stamp(from);
            if stamp.lap != self.bits.lap(from) {
                return moved;
            }
            let packets = match stamp.state {
                State::Released => 1,
                State::Skipped => self.packets_of_skipped(from, stamp.n),
                _ => return moved,
            };
            if !crate::sync::mutant("frontier_without_head") {
                let (head_word, head) = self.load_head();
                if head.pos == from {
                    let skipped = stamp.state == State::Skipped;
                    self.move_head(head_word, head.plus(stamp.n, packets), skipped, stamp.n);
                }
            }
            crate::sync::crash_point("frontier.between_head_and_frontier");
            // SYNC frontier (pairs with `reclaim_limit`): releases the reads that ended before the
            // stamps we acquired, to the producer that will overwrite the units.
            let order = crate::sync::weaken("frontier_cas_relaxed", AcqRel);
            match frontier.compare_exchange(from, from + stamp.n, order, Acquire) {
                Ok(_) => {
                    moved = true;
                    from += stamp.n;
                }
                Err(now) => from = now,
            }
        }
        moved
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
            let (head_word, head) = self.load_head();
            let (_, stamp) = self.load_stamp(head.pos);
            if stamp.lap != self.bits.lap(head.pos) {
                break;
            }
            let packets = match stamp.state {
                State::Reading | State::Released => 1,
                State::Skipped => self.packets_of_skipped(head.pos, stamp.n),
                _ => break,
            };
            let skipped = stamp.state == State::Skipped;
            self.move_head(head_word, head.plus(stamp.n, packets), skipped, stamp.n);
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
        let pos = self.reclaim_limit();
        let (_, stamp) = self.load_stamp(pos);
        (stamp.lap == self.bits.lap(pos) && stamp.state == State::Reading)
            .then_some((pos, stamp.owner))
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

    /// Leases: from the frontier up to the first entry that was never taken.
    ///
    /// Others go on meanwhile, and may use an entry anew before we look at it. Whatever `id` holds keeps
    /// the frontier, so nothing is missed by going on from there.
    fn scrub_leases(&self, id: u16) -> bool {
        let mut found = false;
        let mut pos = self.reclaim_limit();
        // `pos` grows with every turn, and all that `id` holds lies within so many entries.
        for _ in 0..=self.entries {
            let (word, stamp) = self.load_stamp(pos);
            let lap = self.bits.lap(pos);
            if stamp.lap > lap && !crate::sync::mutant("scrub_stops_when_lapped") {
                let limit = self.reclaim_limit();
                if limit <= pos {
                    break;
                }
                pos = limit;
                continue;
            }
            if stamp.lap != lap || stamp.state == State::Ready {
                break;
            }
            if stamp.state == State::Reading && stamp.owner == id {
                found |= self.return_to_anyone(pos, word, stamp.n);
            }
            pos += stamp.n;
        }
        found
    }

    /// Claims: from the first record not exposed, along the claim words; as above, since no consumer
    /// passes a claim without a stamp.
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

    /// READING(of a dead owner, whose lock the caller holds) → READING(0), and sets the hint.
    pub(super) fn return_to_anyone(&self, pos: u64, word: u64, n: u64) -> bool {
        let returned = self.bits.pack(State::Reading, pos, n, 0);
        let entry = self.memory().entry(pos);
        // SYNC given-back (pairs with the CAS in `adopt`).
        let done = entry.stamp.compare_exchange(word, returned, AcqRel, Relaxed).is_ok();
        crate::sync::crash_point("return.between_stamp_and_hint");
        if done {
            self.set_hint();
        }
        done
    }
}
