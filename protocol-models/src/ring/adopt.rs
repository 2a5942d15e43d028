//! Adopting: a consumer looks between frontier and head for what was given back, or is held by the
//! dead. It may die anywhere: what it has not returned or adopted another finds.

use super::consumer_many::{expose, restart};
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Held, State, Take};
use super::world::{self, World};

/// Where a scanner is, at position `p`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Frontier,
    Take { p: u8 },
    Stamp { p: u8 },
    Lock { p: u8, old: Take },
    Reread { p: u8, old: Take },
    Adopt { p: u8, old: Take },
    ReturnRun { p: u8, old: Take, done: u8 },
    Unlock { owner: u8, then: Then },
    Raise { p: u8 },
    SetHint,
}

/// What a scanner does when it has let go of a dead participant's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Then {
    /// It was late.
    Restart,
    /// Shows the record that it has adopted.
    Raise(u8),
    /// Adopts the first record of the run that it has returned.
    Adopt(u8),
}

/// The state in which an idle consumer looks for records to adopt.
pub(crate) fn scan(s: &Scenario) -> world::Pc {
    if s.idle_scan { world::Pc::Adopt(Pc::Frontier) } else { restart(s) }
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc) -> world::Pc {
    let id = s.roles[me].id;
    let next = match pc {
        Pc::Frontier => Pc::Take { p: w.ring.frontier },
        Pc::Take { p } => {
            let old = w.take(s, p);
            match s.age(old.lap, p) {
                Age::Newer => return restart(s),
                Age::Older => Pc::Stamp { p },
                Age::Same => look(s, w, p, old),
            }
        }
        Pc::Stamp { p } => {
            let stamp = w.stamp(s, p);
            if s.age(stamp.lap, p) != Age::Same || stamp.state != State::Skipped {
                return restart(s);
            }
            Pc::Take { p: p + stamp.n }
        }
        Pc::Lock { p, old } if lock(w, me, old.owner) => match old.held {
            Held::Run if s.is(Mutant::ReturnRunUnread) => Pc::ReturnRun { p, old, done: 0 },
            Held::Run => Pc::Reread { p, old },
            // A CAS follows, from the very word.
            _ => Pc::Adopt { p, old },
        },
        // Somebody recovers that id or lives under it: go on with the next record.
        Pc::Lock { p, old } => Pc::Take { p: p + old.n },
        // Somebody may have returned it before us, and others have adopted its records.
        Pc::Reread { p, old } if w.take(s, p) == old => Pc::ReturnRun { p, old, done: 0 },
        Pc::Reread { old, .. } => Pc::Unlock { owner: old.owner, then: Then::Restart },
        Pc::Adopt { p, old } => {
            let won = w.cas_take(s, p, old, Take { owner: id, ..old });
            if won {
                w.hold(me, p, old.n, true);
            }
            if holds_lock(w, me, old.owner) {
                let then = if won { Then::Raise(p) } else { Then::Restart };
                Pc::Unlock { owner: old.owner, then }
            } else if won {
                Pc::Raise { p }
            } else {
                Pc::Take { p }
            }
        }
        Pc::ReturnRun { p, old, done } => {
            return_word(s, w, p, old.n, done);
            if done + 1 < old.n {
                Pc::ReturnRun { p, old, done: done + 1 }
            } else if holds_lock(w, me, old.owner) {
                Pc::Unlock { owner: old.owner, then: Then::Adopt(p) }
            } else {
                first_of_run(s, p)
            }
        }
        Pc::Unlock { owner, then } => {
            w.locks[usize::from(owner)] = 0;
            match then {
                Then::Restart => return restart(s),
                Then::Raise(p) => Pc::Raise { p },
                Then::Adopt(p) => first_of_run(s, p),
            }
        }
        Pc::Raise { p } => {
            raise(s, w, p);
            if !s.hint || s.is(Mutant::HintNotSetAgain) {
                return expose(s, w, me);
            }
            Pc::SetHint
        }
        Pc::SetHint => {
            w.ring.hint = true;
            return expose(s, w, me);
        }
    };
    world::Pc::Adopt(next)
}

/// What a scanner does about a take word of this lap.
fn look(s: &Scenario, w: &World, p: u8, old: Take) -> Pc {
    let dead = old.owner != 0 && w.dead(s, old.owner);
    let locks = s.locks && !s.is(Mutant::RecoverWithoutLock);
    match old.held {
        Held::Reading if dead && locks => Pc::Lock { p, old },
        Held::Reading if dead || old.owner == 0 => Pc::Adopt { p, old },
        Held::Run if dead && s.is(Mutant::ReturnRunWithoutLock) => {
            Pc::ReturnRun { p, old, done: 0 }
        }
        // Plain stores follow, so that the lock is needed even where no id is used again.
        Held::Run if dead => Pc::Lock { p, old },
        _ => Pc::Take { p: p + old.n },
    }
}

fn first_of_run(s: &Scenario, p: u8) -> Pc {
    Pc::Adopt { p, old: Take { lap: s.lap(p), n: 1, owner: 0, held: Held::Reading } }
}

/// Stores READING(1, 0) into one word of a dead reader's run, of which `done` have been stored: the
/// first word last, so that the run is one until it is returned as a whole. To do it again is to do
/// nothing, and before the end nobody looks past the first word.
pub(crate) fn return_word(s: &Scenario, w: &mut World, p: u8, n: u8, done: u8) {
    let at = if s.is(Mutant::ReturnFirstToLast) { done } else { n - 1 - done };
    w.store_take(s, p + at, Held::Reading, 1, 0);
}

/// Counts a redelivery.
pub(crate) fn raise(s: &Scenario, w: &mut World, pos: u8) {
    if !s.is(Mutant::CountNotRaised) {
        let count = &mut w.ring.counts[s.index(pos)];
        *count = (*count + 1).min(4);
    }
}

/// Tries to take the lock of an id.
pub(crate) fn lock(w: &mut World, me: usize, id: u8) -> bool {
    let word = &mut w.locks[usize::from(id)];
    let free = *word == 0;
    if free {
        *word = me as u8 + 1;
    }
    free
}

fn holds_lock(w: &World, me: usize, id: u8) -> bool {
    id != 0 && usize::from(w.locks[usize::from(id)]) == me + 1
}
