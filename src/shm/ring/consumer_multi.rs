//! Many consumers: take by CAS, release.
//!
//! Consumers compete for the *take word* of a position, never for the entry: the line that a producer
//! writes is only read, until its record is acknowledged. The CAS from a word of an older lap to
//! READING(me) is the linearization point of a get; `head` follows, moved by whoever comes first. A
//! *run* of ready records of one unit is taken by one CAS, to RUN(me, n), and then split into a word
//! for each record, the first one last.
//!
//! | a consumer dies… | and a survivor sees |
//! |---|---|
//! | before the CAS on the take word | READY: takes it |
//! | between the word and the head | READING or RUN at the head: helps the head; later adopts |
//! | while it splits a run | RUN in the run's first word, whatever the others say: gives all of it back |
//! | while it holds the record | READING(dead) below the head: adopts it, flagged |
//! | after RELEASED | an acknowledged record: helps the frontier |

use super::payload::Emptied;
use super::stamp::{Mark, Stamp, State};
use super::{Missing, RETRY_LIMIT, Ring, Taken};
use crate::shm::layout::RING_DESTROYED;
use crate::shm::storage::Side;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, crash_point, mutant, weaken};

/// What has become of the record at a position where one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Nothing is committed.
    Nothing,
    /// Committed, and taken by nobody; with the take word of an older lap.
    Ready {
        /// Its units.
        n: u64,
        /// The take word as it is.
        word: u64,
    },
    /// Taken: READING, RUN or RELEASED; with the take word.
    Taken(u64, Stamp),
    /// Never committed: so many units to pass over.
    Skipped(u64),
    /// The place was used anew: whoever looks is late.
    Lapped,
    /// Nothing that a ringway writes.
    Unexplained,
}

impl Ring {
    #[inline(always)]
    pub(super) fn load_take(&self, pos: u64) -> (u64, Stamp) {
        // SYNC taken, released, given-back (pairs with the CAS and the stores): all reads before
        // RELEASED, or before READING(0), are over; behind the first word of a run are the others.
        let word = self.memory().take(pos).load(weaken("take_not_acquired", Acquire));
        (word, self.bits.unpack(word))
    }

    /// Says what has become of the record that begins at `pos`.
    #[inline]
    pub(super) fn load_record(&self, pos: u64) -> Record {
        let lap = self.bits.lap(pos);
        let (word, take) = self.load_take(pos);
        if take.lap == lap {
            return match take.state {
                State::Reading | State::Run | State::Released => Record::Taken(word, take),
                _ => Record::Unexplained,
            };
        }
        if take.lap > lap {
            return Record::Lapped;
        }
        let (_, stamp) = self.load_stamp(pos);
        if stamp.lap < lap {
            return Record::Nothing;
        }
        match stamp.state {
            _ if stamp.lap > lap => Record::Lapped,
            State::Ready => Record::Ready { n: stamp.n, word },
            State::Skipped => Record::Skipped(stamp.n),
            _ => Record::Unexplained,
        }
    }

    /// Takes the oldest record that nobody was given.
    ///
    /// # Errors
    /// See [`Missing`].
    #[inline]
    pub fn take(&self, me: u16) -> Result<Taken, Missing> {
        // The common case first: a record of one unit, ready.
        let (head_word, head) = self.load_head();
        let (stamp, _) = self.load_stamp(head.pos);
        if stamp == self.bits.pack(State::Ready, head.pos, 1, 0) {
            let (word, _) = self.load_take(head.pos);
            if self.bits.is_older(word, head.pos) && self.take_at((head_word, head), word, 1, me) {
                return self.checked(head.pos, 1, me);
            }
        }
        self.take_slowly(me)
    }

    /// Takes the oldest record that nobody was given, puts its payload into `out`, and acknowledges it, if
    /// it is what it nearly always is: ready, and nobody is faster. `IN_DATA` says whether its payload should
    /// lie in the data region, or in its entry; and it is of one unit, if in its entry.
    /// `alone` says of a position whether its record came alone (see [`Ring::release_alone`]). The caller
    /// then wakes a producer that waits for room.
    #[inline(always)]
    pub fn get_plain_multi<const IN_DATA: bool>(
        &self,
        me: u16,
        alone: impl FnOnce(u64) -> bool,
        out: &mut Vec<u8>,
    ) -> Option<Taken> {
        let (head_word, head) = self.load_head();
        let (entry, bits) = (self.memory().entry(head.pos), self.bits);
        // SYNC committed (pairs with `stamp_ready`).
        let stamp = entry.stamp.load(weaken("stamp_not_acquired", Acquire));
        let n = if IN_DATA { bits.unpack(stamp).n } else { 1 };
        if stamp != bits.pack(State::Ready, head.pos, n, 0) {
            return None;
        }
        let target = Emptied::new(out)?;
        // What is read of it holds if it is ours then: it lay there as it does.
        let taken = if IN_DATA {
            self.describe_at(entry, head.pos, n).ok().filter(|taken| !taken.is_inline())?
        } else {
            self.describe_unit::<false>(entry, head.pos)?
        };
        let (word, _) = self.load_take(head.pos);
        if !bits.is_older(word, head.pos) || !self.take_at((head_word, head), word, n, me) {
            return None;
        }
        self.read_unit::<IN_DATA>(entry, &taken, target);
        if !alone(head.pos) {
            self.hand_back(&taken);
        }
        self.release_units(head.pos, n, me);
        self.help_frontier_now_and_then(&taken);
        Some(taken)
    }

    /// Takes the record at the head, which was READY while its take word was `older`, unless somebody
    /// is faster.
    #[inline(always)]
    pub(super) fn take_at(
        &self,
        (head_word, head): (u64, Mark),
        older: u64,
        n: u64,
        me: u16,
    ) -> bool {
        let mine = self.bits.pack(State::Reading, head.pos, n, me);
        let taken = self.win_take(head.pos, older, mine);
        if taken {
            crash_point("take.between_word_and_head");
            self.move_head(head_word, head.plus(n, 1), false, 0);
            crash_point("take.after_head");
        }
        taken
    }

    #[inline(always)]
    pub(super) fn win_take(&self, pos: u64, older: u64, mine: u64) -> bool {
        let slot = self.memory().take(pos);
        if mutant("take_without_cas") {
            slot.store(mine, Release);
            return true;
        }
        // SYNC taken (pairs with `load_take`). From the very word of an older lap: the record is ours.
        // What the record says was acquired with its stamp.
        slot.compare_exchange(older, mine, AcqRel, Relaxed).is_ok()
    }

    #[inline(never)]
    fn take_slowly(&self, me: u16) -> Result<Taken, Missing> {
        for _ in 0..RETRY_LIMIT {
            let (head_word, head) = self.load_head();
            match self.load_record(head.pos) {
                Record::Ready { n, word } => {
                    if self.take_at((head_word, head), word, n, me) {
                        return self.checked(head.pos, n, me);
                    }
                }
                Record::Nothing => {
                    if let Some(why) = self.why_nothing(head.pos) {
                        return Err(why);
                    }
                }
                // Somebody took it and has not moved the head, or there is nothing to take: help.
                Record::Taken(..) => {
                    crash_point("help.before_head");
                    self.help_head((head_word, head));
                }
                Record::Skipped(_) => {
                    self.help_head((head_word, head));
                    self.help_frontier();
                }
                Record::Lapped => {
                    let still = self.load_head().0 == head_word;
                    if still && self.load_record(head.pos) == Record::Lapped {
                        return Err(Missing::Corrupt("a word ahead of the head", head.pos));
                    }
                }
                Record::Unexplained => {
                    return Err(Missing::Corrupt("a record in no state", head.pos));
                }
            }
        }
        Err(Missing::Corrupt("no progress while taking", self.load_head().1.pos))
    }

    /// Checks a record just taken; a bad one is released, so that it wedges nobody.
    #[inline(always)]
    pub(super) fn checked(&self, pos: u64, n: u64, me: u16) -> Result<Taken, Missing> {
        self.describe_taken(pos, n).inspect_err(|_| self.release_units(pos, n, me))
    }

    /// Acknowledges a record: it is never delivered again. The caller then wakes producers that wait
    /// for room.
    ///
    /// The frontier follows now and then: where a producer waits for room, or finds the ring full, it
    /// is moved for certain.
    #[inline(always)]
    pub fn release(&self, taken: &Taken, me: u16) {
        self.hand_back(taken);
        self.release_units(taken.pos, taken.n, me);
        self.help_frontier_now_and_then(taken);
    }

    /// Acknowledges a record that came alone, and not in a stream: as [`Ring::release`] does, but without
    /// writing into its lines, for which this thread's next stores would have to wait.
    #[inline(always)]
    pub fn release_alone(&self, taken: &Taken, me: u16) {
        self.release_units(taken.pos, taken.n, me);
        self.help_frontier_now_and_then(taken);
    }

    /// Moves the frontier where a record crosses one of its steps: moved each time, its line would go
    /// from one consumer to the other.
    #[inline(always)]
    fn help_frontier_now_and_then(&self, taken: &Taken) {
        if (taken.pos ^ (taken.pos + taken.n)) >= self.frontier_step {
            self.help_frontier();
        }
    }

    #[inline(always)]
    fn release_units(&self, pos: u64, n: u64, me: u16) {
        self.store_released(
            self.memory().take(pos),
            self.bits.pack(State::Released, pos, n, me),
            n,
        );
    }

    /// Stores RELEASED into the take word of a record of `n` units.
    #[inline(always)]
    pub(super) fn store_released(&self, word: &AtomicU64, released: u64, n: u64) {
        crash_point("release.before_word");
        // SYNC released (pairs with `load_take` in `help_frontier`): our reads are over. A plain
        // store: the record is ours while we live.
        word.store(released, weaken("released_relaxed", Release));
        crash_point("release.between_word_and_frontier");
        if n != 1 {
            // RELAXED: a statistic.
            self.memory().header().consumers.extra_units.fetch_add(n - 1, Relaxed);
        }
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
            Side::Multi => self.why_nothing_multi(pos, closed),
            Side::Single => self.why_nothing_single(pos, closed),
        }
    }
}
