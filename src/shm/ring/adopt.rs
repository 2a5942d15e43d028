//! Many consumers: giving back, and adopting what was given back or what the dead hold.
//!
//! Everything that is taken and not released lies between frontier and head, and keeps the frontier.
//! So a walk from the frontier finds it, whatever goes on meanwhile.
//!
//! | one dies… | and a survivor sees |
//! |---|---|
//! | between READING(0) and the hint | it when idle, or when the ring is full |
//! | while it gives back a dead one's run | RUN(dead), as before |
//! | between the adoption and the count | READING(dead) |

use super::consumer_multi::Record;
use super::stamp::{Stamp, State};
use super::{Ring, Taken};
use crate::shm::peers::Peers;
use crate::sync::Ordering::{AcqRel, Relaxed, Release};
use crate::sync::{crash_point, mutant, weaken};

impl Ring {
    /// Walks over the records that are taken, released ones included, from the frontier on, until
    /// `each` returns something; it gets the position and the take word.
    pub(super) fn walk_taken<T>(
        &self,
        mut each: impl FnMut(u64, u64, Stamp) -> Option<T>,
    ) -> Option<T> {
        let mut pos = self.reclaim_limit();
        // `pos` grows with every turn, and all that somebody holds lies within so many entries.
        for _ in 0..=self.entries {
            match self.load_record(pos) {
                Record::Taken(word, take) => {
                    if let Some(found) = each(pos, word, take) {
                        return Some(found);
                    }
                    pos += take.n;
                }
                Record::Skipped(n) => pos += n,
                // Others went on, and used the entry anew. Whatever is held keeps the frontier, so
                // nothing is missed by going on from there.
                Record::Lapped => {
                    let limit = self.reclaim_limit();
                    if limit <= pos || mutant("scrub_stops_when_lapped") {
                        return None;
                    }
                    pos = limit;
                }
                Record::Nothing | Record::Ready { .. } | Record::Unexplained => return None,
            }
        }
        None
    }

    /// The oldest record that is taken and not released: position and owner, 0 for one that was given
    /// back.
    pub(super) fn oldest_held(&self) -> Option<(u64, u16)> {
        self.walk_taken(|pos, _, take| (take.state != State::Released).then_some((pos, take.owner)))
    }

    /// Gives a record back: another consumer takes it, flagged. The caller then wakes consumers.
    pub fn give_back(&self, taken: &Taken) {
        self.leave_to_anyone(taken.pos, taken.n);
        self.set_hint();
    }

    /// READING(me) → READING(0).
    pub(super) fn leave_to_anyone(&self, pos: u64, n: u64) {
        let word = self.bits.pack(State::Reading, pos, n, 0);
        // SYNC given-back (pairs with the CAS in `adopt`): our reads are over, and our raised count
        // is visible. A plain store: the record is ours while we live.
        self.memory().take(pos).store(word, weaken("give_back_relaxed", Release));
        crash_point("give_back.between_word_and_hint");
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
        // SYNC recovery-hint: what was given back before the hint was set is seen by the walk below; what is
        // given back later sets the hint anew.
        // Only where it is set: everybody reads this line, and a swap takes it from them all.
        if self.hinted() && !mutant("hint_cleared_late") {
            hint.swap(0, AcqRel);
        }
        crash_point("adopt.after_hint");
        let adopted = self.walk_taken(|pos, word, take| self.adopt_if_free(pos, word, take, peers));
        if adopted.is_none() && mutant("hint_cleared_late") {
            hint.swap(0, AcqRel);
        }
        adopted
    }

    /// Adopts the record, or the first of the run, if nobody alive holds it.
    fn adopt_if_free(&self, pos: u64, word: u64, take: Stamp, peers: &dyn Peers) -> Option<Taken> {
        let me = peers.me();
        if take.owner == me || take.state == State::Released {
            return None;
        }
        let mut won = false;
        let units = if take.state == State::Run { 1 } else { take.n };
        let mut take_it = || {
            let word = match take.state {
                State::Run if !self.return_run(pos, word, take.n) => return,
                State::Run => self.bits.pack(State::Reading, pos, 1, 0),
                _ => word,
            };
            won = self.adopt_at(pos, word, units, me);
        };
        if take.owner == 0 {
            take_it();
        } else if peers.is_dead(take.owner) {
            // Under the dead one's own lock: no successor of that id can be reading.
            peers.with_dead(take.owner, &mut take_it);
        }
        if !won {
            return None;
        }
        // There may be more: whoever comes next looks again.
        self.set_hint();
        self.raise_redeliveries(pos);
        crash_point("adopt.after_count");
        // What is wrong with it was said before.
        self.checked(pos, units, me).ok()
    }

    fn adopt_at(&self, pos: u64, word: u64, n: u64, me: u16) -> bool {
        let mine = self.bits.pack(State::Reading, pos, n, me);
        crash_point("adopt.before_word");
        if mutant("adopt_without_cas") {
            self.memory().take(pos).store(mine, Release);
            return true;
        }
        // SYNC given-back (pairs with `give_back`): from the very word we read.
        self.memory().take(pos).compare_exchange(word, mine, AcqRel, Relaxed).is_ok()
    }

    /// Says that a record lies about which anyone may take.
    pub fn set_hint(&self) {
        let hint = &self.memory().header().shared.recovery;
        let order = weaken("hint_relaxed", Release);
        if mutant("hint_by_store") {
            hint.store(1, order);
            return;
        }
        // SYNC recovery-hint (pairs with the swap in `adopt`). A read-modify-write: a plain store would hide
        // another's, and with it the word that the other wrote before, from whoever takes the hint.
        hint.fetch_or(1, order);
    }

    /// Gives everything back that dead consumers hold, in the name of one that takes nothing: a
    /// producer at a full ring. Says whether anything was found.
    #[cold]
    pub fn return_what_the_dead_hold(&self, peers: &dyn Peers) -> bool {
        let mut found = false;
        self.walk_taken(|pos, word, take| -> Option<()> {
            let held = take.state != State::Released && take.owner != 0;
            if held && take.owner != peers.me() && peers.is_dead(take.owner) {
                let mut give = || found |= self.return_to_anyone(pos, word, take);
                peers.with_dead(take.owner, &mut give);
            }
            None
        });
        found
    }

    /// Gives back, in the name of the dead participant `id`, whose lock the caller holds, everything it
    /// held. Says whether anything was found.
    pub(super) fn scrub_leases(&self, id: u16) -> bool {
        let mut found = false;
        self.walk_taken(|pos, word, take| -> Option<()> {
            if take.state != State::Released && take.owner == id {
                found |= self.return_to_anyone(pos, word, take);
            }
            None
        });
        found
    }

    /// READING or RUN of a dead owner, whose lock the caller holds → READING(0), and sets the hint.
    fn return_to_anyone(&self, pos: u64, word: u64, take: Stamp) -> bool {
        let done = match take.state {
            State::Run => self.return_run(pos, word, take.n),
            _ => self.return_record(pos, word, take.n),
        };
        crash_point("return.between_word_and_hint");
        if done {
            self.set_hint();
        }
        done
    }

    fn return_record(&self, pos: u64, word: u64, n: u64) -> bool {
        let returned = self.bits.pack(State::Reading, pos, n, 0);
        // SYNC given-back (pairs with the CAS in `adopt`): from the very word we read.
        self.memory().take(pos).compare_exchange(word, returned, AcqRel, Relaxed).is_ok()
    }

    /// RUN(of a dead owner, whose lock the caller holds) → READING(0) for each of its records. The
    /// owner may have been at splitting it; whoever was at this before us and died leaves RUN, too.
    fn return_run(&self, pos: u64, word: u64, n: u64) -> bool {
        // Nobody but who holds the lock changes it, and nobody looks behind it before it is changed.
        let still = self.load_take(pos).0 == word;
        if still {
            self.split_run(pos, n, 0);
        }
        still
    }
}
