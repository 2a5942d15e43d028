//! Runs: records of one unit, one behind the other in one lap, that are taken together.
//!
//! Within a lap, the words of such records are all the same: what is looked for, and what is stored.

use super::stamp::{Mark, State};
use super::{Ring, Taken};
use crate::shm::layout::Entry;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, crash_point, mutant, weaken};

/// Most records that are taken at once. More would gain little; what one of many consumers took is no longer
/// there for the others, and producers that wait for room may have to wait until all of it was read.
const MOST_AT_ONCE: u64 = 64;

/// Records of one unit each, one behind the other in one lap, that a consumer took together, and has neither
/// acknowledged nor given back.
#[derive(Debug)]
#[must_use]
pub struct Run {
    /// Position of the first.
    pos: u64,
    /// Position behind the last.
    end: u64,
}

impl Run {
    #[inline(always)]
    pub(super) fn new(pos: u64, n: u64) -> Self {
        Self { pos, end: pos + n }
    }

    /// The record at this position, the first, is no longer one of it.
    #[inline(always)]
    pub(super) fn passed(&mut self, pos: u64) {
        self.pos = pos + 1;
    }

    /// Position of the first.
    #[inline(always)]
    #[must_use]
    pub fn pos(&self) -> u64 {
        self.pos
    }

    /// How many records there are.
    #[inline(always)]
    #[must_use]
    pub fn count(&self) -> u64 {
        self.end - self.pos
    }
}

impl Ring {
    /// The records from `pos` on that lie ready, take one unit each, and make sense, up to `most` of those
    /// in the lap of `pos`. They are the caller's only if nobody else could take them.
    #[inline(always)]
    pub(super) fn ready_from(&self, pos: u64, most: u64) -> impl Iterator<Item = Taken> {
        // One comparison for lap, length and state. Where the next record lies depends on no word that was
        // read, and the CPU fetches several at a time.
        let ready = self.bits.pack(State::Ready, pos, 1, 0);
        self.memory().entries_from(pos, most).iter().zip(pos..).map_while(move |(entry, pos)| {
            // SYNC committed (pairs with `stamp_ready`).
            let stamp = entry.stamp.load(weaken("stamp_not_acquired", Acquire));
            if stamp == ready { self.describe_at(entry, pos, 1).ok() } else { None }
        })
    }

    /// Appends what [`Ring::ready_from`] finds to `out`, and says how many.
    #[inline(always)]
    pub(super) fn ready_units(&self, pos: u64, most: u64, out: &mut Vec<Taken>) -> u64 {
        let start = out.len();
        out.extend(self.ready_from(pos, most));
        (out.len() - start) as u64
    }

    /// Takes the oldest records that nobody was given, up to `max` of those that lie ready one behind
    /// the other; appends them to `out`, and says how many. All at once where each takes one unit, or
    /// else the oldest alone. 0 where there is none at first sight, or the oldest needs
    /// [`Ring::take`], which says what is the matter.
    #[inline]
    pub fn take_ready(&self, max: usize, me: u16, out: &mut Vec<Taken>) -> usize {
        let (head_word, head) = self.load_head();
        let most = self.most_at_once(max);
        let start = out.len();
        out.reserve(most as usize);
        let mut units = self.ready_units(head.pos, most, out);
        if units == 0 && most != 0 {
            let (word, stamp) = self.load_stamp(head.pos);
            if word == self.bits.pack(State::Ready, head.pos, stamp.n, 0)
                && let Ok(taken) = self.describe_taken(head.pos, stamp.n)
            {
                out.push(taken);
                units = stamp.n;
            }
        }
        let count = out.len() - start;
        let won = count != 0 && self.take_units_at((head_word, head), (count as u64, units), me);
        if !won {
            out.truncate(start);
        }
        out.len() - start
    }

    /// How many of `max` records are taken at once, at most: a quarter of the ring, as few as that may be.
    #[inline(always)]
    #[must_use]
    pub fn most_at_once(&self, max: usize) -> u64 {
        (max as u64).min(MOST_AT_ONCE).min(self.bits.max_units())
    }

    /// Takes the oldest records that nobody was given, up to `most` of those of one unit that lie ready one
    /// behind the other. `None` where there is none at first sight, or [`Ring::take`] has to look.
    #[inline(always)]
    pub fn take_run(&self, most: u64, me: u16) -> Option<Run> {
        let (head_word, head) = self.load_head();
        let n = self.ready_from(head.pos, most).count() as u64;
        let won = n != 0 && self.take_units_at((head_word, head), (n, n), me);
        won.then(|| Run::new(head.pos, n))
    }

    /// Hands the records of a run to `read`, oldest first, and acknowledges each after that; or stops, and
    /// leaves that one and the others in the run, when `read` says `false`. One that no longer makes sense,
    /// though it did when it was taken, is acknowledged only.
    #[inline(always)]
    pub fn read_run(&self, run: &mut Run, me: u16, mut read: impl FnMut(&Entry, &Taken) -> bool) {
        let start = run.pos;
        let entries = self.memory().entries_from(start, run.count());
        let words = self.memory().takes_from(start, run.count());
        let released = self.bits.pack(State::Released, start, 1, me);
        for ((entry, word), pos) in entries.iter().zip(words).zip(start..) {
            if let Ok(taken) = self.describe_at(entry, pos, 1) {
                if !read(entry, &taken) {
                    return;
                }
                self.hand_back_at(entry, &taken);
            }
            self.store_released(word, released, 1);
            run.passed(pos);
        }
        self.help_frontier_past(start, run.pos);
    }

    /// Gives back what is left of a run: others take it, flagged. The caller then wakes consumers.
    #[cold]
    pub fn give_back_run(&self, run: &mut Run) {
        for pos in run.pos..run.end {
            self.leave_to_anyone(pos, 1);
            run.passed(pos);
        }
        self.set_hint();
    }

    /// Takes one record of so many units, or so many records of one each, from the head on, which lay READY,
    /// unless somebody is faster, or was.
    #[inline(always)]
    fn take_units_at(&self, head: (u64, Mark), (count, units): (u64, u64), me: u16) -> bool {
        let pos = head.1.pos;
        // What was read of the records holds if they are ours now: they lay there as they do.
        let (older, _) = self.load_take(pos);
        match count {
            _ if !self.bits.is_older(older, pos) => false,
            1 => self.take_at(head, older, units, me),
            _ => self.take_run_at(head, older, units, me),
        }
    }

    /// Takes the `n` records of one unit each from the head on, which were READY while the take word was
    /// `older`, unless somebody is faster.
    fn take_run_at(&self, (head_word, head): (u64, Mark), older: u64, n: u64, me: u16) -> bool {
        let taken = self.win_take(head.pos, older, self.bits.pack(State::Run, head.pos, n, me));
        if taken {
            crash_point("take.between_word_and_head");
            self.move_head(head_word, head.plus(n, n), false, 0);
            crash_point("take.after_head");
            self.split_run(head.pos, n, me);
        }
        taken
    }

    /// RUN(owner) → READING(owner) for each of its records, the first one last: until then, everybody
    /// sees the run. The caller owns it, or holds the lock of its dead owner.
    #[inline]
    pub(super) fn split_run(&self, pos: u64, n: u64, owner: u16) {
        let words = self.memory().takes_from(pos, n);
        let here = words.len() as u64;
        let word = self.bits.pack(State::Reading, pos, 1, owner);
        let store = |at: &AtomicU64, order| {
            at.store(word, order);
            crash_point("take.between_words_of_run");
        };
        let Some((first, others)) = words.split_first() else { return };
        if mutant("run_split_first_to_last") {
            words.iter().for_each(|at| store(at, Release));
            return;
        }
        if here < n {
            // Never taken by a ringway, but what a word says of a dead one's run is split as it is.
            self.split_run(pos + here, n - here, owner);
        }
        // RELAXED: nobody looks at them before the first says that they are there.
        others.iter().rev().for_each(|at| store(at, Relaxed));
        // SYNC taken (pairs with `load_take`): who sees this word sees the others.
        store(first, weaken("split_relaxed", Release));
    }

    /// Acknowledges several records, as [`Ring::release`] does, and moves the frontier over them.
    pub fn release_many(&self, many: &[Taken], me: u16) {
        let start = many.first().map_or(0, |taken| taken.pos);
        let (mut rest, mut end) = (many, start);
        while let Some(first) = rest.first() {
            let count = self.release_run(first, rest, me);
            if first.pos == end {
                end += count as u64 * first.n;
            }
            rest = &rest[count..];
        }
        self.help_frontier_past(start, end);
    }

    /// Acknowledges what [`Ring::run_of`] says of these records, of which there is a `first`; says how many.
    #[inline(always)]
    fn release_run(&self, first: &Taken, many: &[Taken], me: u16) -> usize {
        let words = self.memory().takes_from(first.pos, many.len() as u64);
        let released = self.bits.pack(State::Released, first.pos, first.n, me);
        let mut count = 0;
        for ((taken, entry), word) in self.run_of(first, many).zip(words) {
            self.hand_back_at(entry, taken);
            self.store_released(word, released, taken.n);
            count += 1;
        }
        count
    }

    /// The first of these records with their entries, as long as each takes one unit and lies behind the one
    /// before, in its lap; or the `first` alone, where it takes more.
    #[inline(always)]
    pub(super) fn run_of<'a>(
        &'a self,
        first: &Taken,
        many: &'a [Taken],
    ) -> impl Iterator<Item = (&'a Taken, &'a Entry)> {
        let (pos, n) = (first.pos, first.n);
        let entries = self.memory().entries_from(pos, many.len() as u64);
        // Behind one of several units, nothing begins at the next position.
        many.iter().zip(entries).zip(pos..).map_while(move |((taken, entry), pos)| {
            (taken.pos == pos && taken.n == n).then_some((taken, entry))
        })
    }
}
