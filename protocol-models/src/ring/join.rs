//! Joining, under a fresh id or a dead participant's, and closing.

use super::adopt::{lock, return_word};
use super::scenario::{Kind, Mutant, Scenario};
use super::words::{Age, Claim, Held, Stamp, State, Take};
use super::world::{self, World};
use super::{consumer_many, consumer_one, producer_many, producer_one};

/// Where a joiner is that scrubs what its id held, at position `p`, and was writing, at entry `i`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Lock,
    Frontier,
    Take { p: u8 },
    Stamp { p: u8 },
    Return { p: u8, old: Take },
    ReturnRun { p: u8, old: Take, done: u8 },
    Hint { p: u8 },
    Claim { i: u8 },
    Unstamped { i: u8, c: Claim },
    Skip { i: u8, old: Stamp, c: Claim },
}

/// The first state of a participant's program, once it has joined.
pub(crate) fn begin(s: &Scenario, w: &World, me: usize) -> world::Pc {
    match s.roles[me].kind {
        Kind::Producer if s.one_producer && s.roles[me].after.is_none() => producer_one::again(s),
        Kind::Producer if s.one_producer => world::Pc::PutOne(producer_one::Pc::JoinTail),
        Kind::Producer => producer_many::begin(s, w, me),
        Kind::Consumer if s.one_consumer => world::Pc::GetOne(consumer_one::Pc::Start),
        Kind::Consumer => consumer_many::restart(s),
        Kind::Closer => world::Pc::Close(1),
    }
}

/// The predecessor is dead.
pub(crate) fn start(s: &Scenario, w: &mut World, me: usize) -> world::Pc {
    let id = s.roles[me].id;
    let reused = s.roles[me].after.is_some_and(|before| s.roles[before].id == id);
    if s.locks && reused {
        return world::Pc::Join(Pc::Lock);
    }
    w.locks[usize::from(id)] = me as u8 + 1;
    begin(s, w, me)
}

/// Takes one step of scrubbing.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc) -> world::Pc {
    let id = s.roles[me].id;
    let next = match pc {
        Pc::Lock if !lock(w, me, id) => Pc::Lock,
        Pc::Lock if s.is(Mutant::JoinWithoutScrub) => return begin(s, w, me),
        Pc::Lock => Pc::Frontier,
        // What `id` holds keeps the frontier, and was taken: it lies before the first not taken.
        Pc::Frontier => Pc::Take { p: w.ring.frontier },
        Pc::Take { p } if s.is(Mutant::ScrubStopsAtHead) && p >= w.ring.head.pos => {
            Pc::Claim { i: 0 }
        }
        Pc::Take { p } => {
            let old = w.take(s, p);
            match (s.age(old.lap, p), old.held) {
                // Used again since: nothing that `id` held was before it.
                (Age::Newer, _) => Pc::Frontier,
                (Age::Older, _) => Pc::Stamp { p },
                (Age::Same, Held::Reading) if old.owner == id => Pc::Return { p, old },
                (Age::Same, Held::Run) if old.owner == id && !s.is(Mutant::ScrubLeavesRuns) => {
                    Pc::ReturnRun { p, old, done: 0 }
                }
                (Age::Same, _) => Pc::Take { p: p + old.n },
            }
        }
        Pc::Stamp { p } => {
            let stamp = w.stamp(s, p);
            match (s.age(stamp.lap, p), stamp.state) {
                (Age::Newer, _) => Pc::Frontier,
                (Age::Same, State::Skipped) => Pc::Take { p: p + stamp.n },
                _ => Pc::Claim { i: 0 },
            }
        }
        Pc::Return { p, old } => {
            w.cas_take(s, p, old, Take { owner: 0, ..old });
            if s.hint { Pc::Hint { p: p + old.n } } else { Pc::Take { p: p + old.n } }
        }
        Pc::ReturnRun { p, old, done } => {
            return_word(s, w, p, old.n, done);
            if done + 1 < old.n {
                Pc::ReturnRun { p, old, done: done + 1 }
            } else if s.hint {
                Pc::Hint { p: p + old.n }
            } else {
                Pc::Take { p: p + old.n }
            }
        }
        Pc::Hint { p } => {
            w.ring.hint = true;
            Pc::Take { p }
        }
        Pc::Claim { i } if i == s.cap => return begin(s, w, me),
        Pc::Claim { i } => {
            let c = w.ring.claims[usize::from(i)];
            if c.owner == id { Pc::Unstamped { i, c } } else { Pc::Claim { i: i + 1 } }
        }
        Pc::Unstamped { i, c } => {
            let old = w.ring.stamps[usize::from(i)];
            if old.lap < c.lap { Pc::Skip { i, old, c } } else { Pc::Claim { i: i + 1 } }
        }
        Pc::Skip { i, old, c } => {
            let word = &mut w.ring.stamps[usize::from(i)];
            if *word == old {
                *word = Stamp { lap: c.lap, n: c.n, owner: 0, state: State::Skipped };
            }
            Pc::Claim { i: i + 1 }
        }
    };
    world::Pc::Join(next)
}

/// Closes: a flag, and for one producer a membarrier and a second value that says it is done.
pub(crate) fn close(s: &Scenario, w: &mut World, value: u8) -> world::Pc {
    const BARRIER: u8 = 3;
    if value == BARRIER {
        w.membarrier();
        return world::Pc::Close(2);
    }
    w.ring.closed = value;
    if s.one_producer && value == 1 { world::Pc::Close(BARRIER) } else { world::Pc::Done }
}
