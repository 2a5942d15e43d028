//! Many consumers: take by CAS, release, give back, adopt.
//!
//! | a consumer dies… | and a survivor sees |
//! |---|---|
//! | before the CAS on the stamp | READY: takes it |
//! | between stamp and head | READING at the head: helps the head; later adopts |
//! | while it holds the record | READING(dead) below the head: adopts it, flagged |
//! | after RELEASED | an acknowledged record: helps the frontier |

use super::stamp::{Mark, State};
use super::{Missing, RETRY_LIMIT, Ring, Taken};
use crate::shm::layout::RING_DESTROYED;
use crate::shm::peers::Peers;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};

impl Ring {
    /// Takes the oldest record that nobody was given.
    ///
    /// # Errors
    /// See [`Missing`].
    #[inline]
    pub fn take(&self, me: u16) -> Result<Taken, Missing> {
        // The common case first, in one comparison: a record of one unit, ready.
        let (head_word, head) = self.load_head();
        let (stamp_word, _) = self.load_stamp(head.pos);
        if stamp_word == self.bits.pack(State::Ready, head.pos, 1, 0)
            && self.take_at((head_word, head), stamp_word, 1, me)
        {
            return self.checked(head.pos, 1);
        }
        self.take_slowly(me)
    }

    /// Takes the record at the head, which was READY, unless somebody is faster.
    #[inline(always)]
    fn take_at(&self, (head_word, head): (u64, Mark), ready: u64, n: u64, me: u16) -> bool {
        let mine = self.bits.pack(State::Reading, head.pos, n, me);
        let stamp = &self.memory().entry(head.pos).stamp;
        // SYNC committed (pairs with `stamp_ready`): the winner owns it, and sees its payload.
        if crate::sync::mutant("take_without_cas") {
            stamp.store(mine, Release);
        } else if stamp.compare_exchange(ready, mine, AcqRel, Relaxed).is_err() {
            return false;
        }
        crate::sync::crash_point("take.between_stamp_and_head");
        self.move_head(head_word, head.plus(n, 1), false, 0);
        crate::sync::crash_point("take.after_head");
        true
    }

    #[inline(never)]
    fn take_slowly(&self, me: u16) -> Result<Taken, Missing> {
        for _ in 0..RETRY_LIMIT {
            let (head_word, head) = self.load_head();
            let (stamp_word, stamp) = self.load_stamp(head.pos);
            let lap = self.bits.lap(head.pos);
            if stamp.lap < lap {
                match self.why_nothing(head.pos) {
                    Some(why) => return Err(why),
                    None => continue,
                }
            }
            if stamp.lap > lap {
                if self.load_head().0 == head_word && self.load_stamp(head.pos).1.lap > lap {
                    return Err(Missing::Corrupt("a stamp ahead of the head", head.pos));
                }
                continue;
            }
            match stamp.state {
                State::Ready => {
                    if self.take_at((head_word, head), stamp_word, stamp.n, me) {
                        return self.checked(head.pos, stamp.n);
                    }
                }
                // Somebody took it and has not moved the head: help.
                State::Reading | State::Released => {
                    crate::sync::crash_point("help.before_head");
                    self.move_head(head_word, head.plus(stamp.n, 1), false, 0);
                }
                State::Skipped => {
                    let packets = self.packets_of_skipped(head.pos, stamp.n);
                    self.move_head(head_word, head.plus(stamp.n, packets), true, stamp.n);
                    self.help_frontier();
                }
                _ => return Err(Missing::Corrupt("a stamp in no state", head.pos)),
            }
        }
        Err(Missing::Corrupt("no progress while taking", self.load_head().1.pos))
    }

    /// Checks a record just taken; a bad one is released, so that it wedges nobody.
    #[inline(always)]
    fn checked(&self, pos: u64, n: u64) -> Result<Taken, Missing> {
        let taken = self.describe_taken(pos, n);
        if taken.is_err() {
            self.release(pos, n, 0, 0);
        }
        taken
    }

    /// Acknowledges a record: it is never delivered again. `bytes` are counted unless the record
    /// was delivered before. The caller then wakes producers that wait for room.
    #[inline]
    pub fn release(&self, pos: u64, n: u64, me: u16, bytes: u64) {
        let word = self.bits.pack(State::Released, pos, n, me);
        let order = crate::sync::weaken("released_relaxed", Release);
        crate::sync::crash_point("release.before_stamp");
        // SYNC released (pairs with `load_stamp` in `help_frontier`): our reads are over. A plain
        // store: the record is ours while we live.
        self.memory().entry(pos).stamp.store(word, order);
        crate::sync::crash_point("release.between_stamp_and_frontier");
        // RELAXED: only a shortcut; where it is wrong, whoever releases the oldest, or finds the
        // ring full, or sleeps until there is room, moves the frontier over ours.
        if self.memory().header().frontier.frontier.load(Relaxed) == pos {
            self.help_frontier();
        }
        let line = &self.memory().header().consumers;
        line.bytes.fetch_add(bytes, Relaxed); // RELAXED: a statistic.
        if n != 1 {
            line.extra_units.fetch_add(n - 1, Relaxed); // RELAXED: a statistic.
        }
    }

    /// Gives a record back: another consumer takes it, flagged. The caller then wakes consumers.
    pub fn give_back(&self, pos: u64, n: u64) {
        let word = self.bits.pack(State::Reading, pos, n, 0);
        // SYNC given-back (pairs with the CAS in `adopt`): our reads are over, and our raised count
        // is visible.
        self.memory()
            .entry(pos)
            .stamp
            .store(word, crate::sync::weaken("give_back_relaxed", Release));
        crate::sync::crash_point("give_back.between_stamp_and_hint");
        self.set_hint();
    }

    /// Adopts a record if the hint says that one lies about. Cheap when not.
    #[inline(always)]
    pub fn adopt_hinted(&self, peers: &dyn Peers) -> Option<Taken> {
        if self.hinted() { self.adopt(peers) } else { None }
    }

    /// Says whether a record lies about that anyone may take.
    #[inline(always)]
    #[must_use]
    pub fn hinted(&self) -> bool {
        // RELAXED: only a hint; idle consumers look without it.
        self.memory().header().shared.recovery.load(Relaxed) != 0
    }

    /// Looks between frontier and head for a record that was given back, or whose holder is dead,
    /// and takes it. Costs a system call for each holder met.
    #[cold]
    pub fn adopt(&self, peers: &dyn Peers) -> Option<Taken> {
        let hint = &self.memory().header().shared.recovery;
        // SYNC recovery-hint: what was given back before the hint was set is seen by the scan below; what is
        // given back later sets the hint anew.
        // Only where it is set: everybody reads this line, and a swap takes it from them all.
        if self.hinted() && !crate::sync::mutant("hint_cleared_late") {
            hint.swap(0, AcqRel);
        }
        crate::sync::crash_point("adopt.after_hint");
        let me = peers.me();
        let mut pos = self.reclaim_limit();
        for _ in 0..self.entries {
            let (word, stamp) = self.load_stamp(pos);
            if stamp.lap != self.bits.lap(pos) || stamp.state == State::Ready {
                break;
            }
            if stamp.state == State::Reading && stamp.owner != me {
                let mut won = false;
                let mut take = || won = self.adopt_at(pos, word, stamp.n, me);
                if stamp.owner == 0 {
                    take();
                } else if peers.is_dead(stamp.owner) {
                    // Under the dead one's own lock: no successor of that id can be reading.
                    peers.with_dead(stamp.owner, &mut take);
                }
                if won {
                    // There may be more: whoever comes next looks again.
                    self.set_hint();
                    self.raise_redeliveries(pos);
                    crate::sync::crash_point("adopt.after_count");
                    if let Ok(taken) = self.checked(pos, stamp.n) {
                        return Some(taken);
                    }
                }
            }
            pos += stamp.n;
        }
        if crate::sync::mutant("hint_cleared_late") {
            hint.swap(0, AcqRel);
        }
        None
    }

    /// Says that a record lies about which anyone may take.
    pub fn set_hint(&self) {
        let hint = &self.memory().header().shared.recovery;
        let order = crate::sync::weaken("hint_relaxed", Release);
        if crate::sync::mutant("hint_by_store") {
            hint.store(1, order);
            return;
        }
        // SYNC recovery-hint (pairs with the swap in `adopt`). A read-modify-write: a plain store would hide
        // another's, and with it the stamp that the other wrote before, from whoever takes the hint.
        hint.fetch_or(1, order);
    }

    fn adopt_at(&self, pos: u64, word: u64, n: u64, me: u16) -> bool {
        let mine = self.bits.pack(State::Reading, pos, n, me);
        crate::sync::crash_point("adopt.before_stamp");
        if crate::sync::mutant("adopt_without_cas") {
            self.memory().entry(pos).stamp.store(mine, Release);
            return true;
        }
        // SYNC given-back (pairs with `give_back`): from the very stamp we read.
        self.memory().entry(pos).stamp.compare_exchange(word, mine, AcqRel, Relaxed).is_ok()
    }

    /// Gives everything back that dead consumers hold, in the name of one that takes nothing: a
    /// producer at a full ring. Says whether anything was found.
    #[cold]
    pub fn return_what_the_dead_hold(&self, peers: &dyn Peers) -> bool {
        let mut found = false;
        let mut pos = self.reclaim_limit();
        for _ in 0..self.entries {
            let (word, stamp) = self.load_stamp(pos);
            if stamp.lap != self.bits.lap(pos) || stamp.state == State::Ready {
                break;
            }
            let held = stamp.state == State::Reading && stamp.owner != 0;
            if held && stamp.owner != peers.me() && peers.is_dead(stamp.owner) {
                let mut give = || found |= self.return_to_anyone(pos, word, stamp.n);
                peers.with_dead(stamp.owner, &mut give);
            }
            pos += stamp.n;
        }
        found
    }

    /// Nothing is committed at `pos`: says why, or `None` when it is worth another look.
    #[inline]
    pub(super) fn why_nothing(&self, pos: u64) -> Option<Missing> {
        // SYNC closed (pairs with the stores in `close.rs`).
        let closed = self.memory().header().shared.closed.load(Acquire);
        if closed == RING_DESTROYED {
            return Some(Missing::Destroyed);
        }
        match self.geometry().producers {
            crate::shm::storage::Side::Multi => self.why_nothing_multi(pos, closed),
            crate::shm::storage::Side::Single => self.why_nothing_single(pos, closed),
        }
    }
}
