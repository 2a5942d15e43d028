//! The seal: when is "closed and empty" final?
//!
//! Closing stops puts that begin later. What of a put that has looked at `closed` already and has
//! not claimed its place yet? With many producers the consumers settle it: the first that finds
//! neither stamp nor claim at the head writes `CLOSED` into the claim word. A producer that is late
//! finds its place sealed. With a single producer there is no claim word to fight for: it stores
//! its *intent* before it looks at `closed`, the closer runs a process-wide barrier between setting
//! `closed` and believing in it, and so one of the two sees the other.
//!
//! | the closer dies… | and a survivor sees |
//! |---|---|
//! | between CLOSING and CLOSED | CLOSING: runs the barrier itself |
//!
//! | a consumer dies after the seal | the seal in the claim word: final, for everybody |

use super::stamp::State;
use super::{Missing, Ring};
use crate::shm::layout::{RING_CLOSED, RING_CLOSING, RING_DESTROYED, RING_OPEN};
use crate::shm::storage::Side;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed};

impl Ring {
    /// Begins to close: puts that begin from now on are refused. The caller must then run the
    /// process-wide barrier and call [`Ring::finish_close`].
    pub fn begin_close(&self) {
        let closed = &self.memory().header().shared.closed;
        // SYNC closed (pairs with `why_nothing`).
        let _ = closed.compare_exchange(RING_OPEN, RING_CLOSING, AcqRel, Relaxed);
        crate::sync::crash_point("close.between_closing_and_barrier");
    }

    /// Says that a process-wide barrier has passed since [`Ring::begin_close`].
    pub fn finish_close(&self) {
        let closed = &self.memory().header().shared.closed;
        // SYNC closed.
        let _ = closed.compare_exchange(RING_CLOSING, RING_CLOSED, AcqRel, Relaxed);
        crate::sync::crash_point("close.after_closed");
    }

    /// Marks the ring destroyed: every operation fails from now on.
    pub fn mark_destroyed(&self) {
        // SYNC closed.
        self.memory().header().shared.closed.fetch_max(RING_DESTROYED, AcqRel);
    }

    pub(super) fn why_nothing_multi(&self, pos: u64, closed: u32) -> Option<Missing> {
        let lap = self.bits.lap(pos);
        let (claim_word, claim) = self.load_claim(pos);
        if claim.lap > lap {
            // Nobody claims a place anew before it was taken: the head we loaded is old, or else no
            // ringway wrote this.
            let many = self.geometry().consumers == Side::Multi;
            let old = many && self.load_head().1.pos != pos;
            return (!old).then_some(Missing::Corrupt("a claim ahead of the head", pos));
        }
        if claim.lap == lap {
            return match claim.state {
                State::Closed => Some(Missing::Sealed),
                State::Claimed | State::Run => {
                    // It may have been committed since we looked at the stamp.
                    let committed = self.load_stamp(pos).1.lap >= lap;
                    (!committed).then_some(Missing::Pending { pos, owner: claim.owner })
                }
                _ => Some(Missing::Corrupt("a claim in no state", pos)),
            };
        }
        if closed == RING_OPEN {
            return Some(Missing::Empty);
        }
        if crate::sync::mutant("close_without_seal") {
            return Some(Missing::Sealed);
        }
        let seal = self.bits.pack(State::Closed, pos, 1, 0);
        let slot = self.memory().claim(pos);
        crate::sync::crash_point("seal.before_claim");
        // SYNC claimed: the seal and a late claim contend for the same word.
        let sealed = slot.compare_exchange(claim_word, seal, AcqRel, Relaxed).is_ok();
        crate::sync::crash_point("seal.after_claim");
        sealed.then_some(Missing::Sealed)
    }

    pub(super) fn why_nothing_single(&self, pos: u64, closed: u32) -> Option<Missing> {
        match closed {
            RING_OPEN => return Some(Missing::Empty),
            RING_CLOSING => return Some(Missing::Closing),
            _ => {}
        }
        let line = &self.memory().header().producers;
        // SYNC intent (pairs with the producer's store, through the closer's barrier): a put that
        // did not see `closed` shows here. Before the tail, which only grows towards it.
        let intent = line.intent.load(Acquire);
        let tail = self.load_tail().1.pos;
        if self.load_stamp(pos).1.lap >= self.bits.lap(pos) {
            return None;
        }
        if intent == tail && tail <= pos {
            return Some(Missing::Sealed);
        }
        Some(Missing::Pending { pos, owner: 0 })
    }
}
