//! Runs: records of one unit, one behind the other in one lap, that are taken together.
//!
//! Within a lap, the words of such records are all the same: what is looked for, and what is stored.

use super::stamp::{Mark, State};
use super::{Ring, Taken};
use crate::shm::layout::Entry;
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::{AtomicU64, crash_point, mutant, weaken};

/// Most records of a run that many consumers take at once. More would gain little, and a run that is
/// taken is no longer there for others.
const MOST_AT_ONCE: u64 = 64;

impl Ring {
    /// Describes the records from `pos` on that lie ready, take one unit each, and make sense, up to `most`
    /// of those in the lap of `pos`; appends them to `out`, and says how many. They are the caller's only
    /// if nobody else could take them.
    #[inline(always)]
    pub(super) fn ready_units(&self, pos: u64, most: u64, out: &mut Vec<Taken>) -> u64 {
        // One comparison for lap, length and state. Where the next record lies depends on no word that was
        // read, and the CPU fetches several at a time.
        let ready = self.bits.pack(State::Ready, pos, 1, 0);
        let start = out.len();
        out.extend(self.memory().entries_from(pos, most).iter().zip(pos..).map_while(
            |(entry, pos)| {
                // SYNC committed (pairs with `stamp_ready`).
                let stamp = entry.stamp.load(weaken("stamp_not_acquired", Acquire));
                if stamp == ready { self.describe_at(entry, pos, 1).ok() } else { None }
            },
        ));
        (out.len() - start) as u64
    }

    /// Takes the oldest records that nobody was given, up to `max` of those that lie ready one behind
    /// the other; appends them to `out`, and says how many. All at once where each takes one unit, or
    /// else the oldest alone. 0 where there is none at first sight, or the oldest needs
    /// [`Ring::take`], which says what is the matter.
    #[inline]
    pub fn take_ready(&self, max: usize, me: u16, out: &mut Vec<Taken>) -> usize {
        let (head_word, head) = self.load_head();
        let most = (max as u64).min(MOST_AT_ONCE).min(self.bits.max_units());
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
        let (older, _) = self.load_take(head.pos);
        // What was read of the records holds if they are ours now: they lay there as they do.
        let won = match count {
            0 => false,
            _ if !self.bits.is_older(older, head.pos) => false,
            1 => self.take_at((head_word, head), older, units, me),
            _ => self.take_run_at((head_word, head), older, units, me),
        };
        if !won {
            out.truncate(start);
        }
        out.len() - start
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
