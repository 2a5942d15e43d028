//! A producer at a full ring: the last look before it refuses. It helps whatever is stuck, and
//! refuses at the very load that shows there is no room.

use super::adopt::{lock, return_word};
use super::frontier::{self, After};
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Claim, Held, Stamp, State, Take, Word};
use super::world::{self, At, Bad, World};
use super::{producer_many, producer_one};

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Space,
    Maxsize,
}

/// Where the producer is; `t` is the tail it has seen, `x` the position that is in the way, `truth`
/// whether there was truly no room when it saw that nobody had taken what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Load { t: Word, why: Why },
    Take { t: Word, why: Why, x: u8 },
    Stamp { x: u8, why: Why, truth: bool },
    Claim { x: u8, old: Stamp, truth: bool },
    Skip { x: u8, old: Stamp, c: Claim },
    Head { x: u8, n: u8, k: u8 },
    HeadOverSkipped { x: u8, n: u8 },
    Lock { x: u8, old: Take },
    Reread { x: u8, old: Take },
    Return { x: u8, old: Take },
    ReturnRun { x: u8, old: Take, done: u8 },
    Unlock { owner: u8, returned: bool },
    Hint,
}

/// The state of a producer that has met a bound.
pub(crate) fn begin(s: &Scenario, w: &mut World, me: usize, t: Word, why: Why) -> world::Pc {
    // The one consumer owns `head` and `peek`, and they are exact: nothing to help.
    if s.one_consumer || s.is(Mutant::NoLastLook) {
        let truth = full(s, w, me, t, why);
        return refuse(s, w, me, truth);
    }
    world::Pc::Full(Pc::Load { t, why })
}

/// Tries from the start.
fn again(s: &Scenario, w: &World, me: usize) -> world::Pc {
    if s.one_producer { producer_one::again(s) } else { producer_many::begin(s, w, me) }
}

/// Refuses; the caller comes back later with the same packet.
fn refuse(s: &Scenario, w: &mut World, me: usize, truth: bool) -> world::Pc {
    if !truth {
        w.fail(Bad::Refused);
    }
    again(s, w, me)
}

/// Whether there truly is no room now: `t` is a lower bound of the tail, so that what an observer
/// of all words sees is exact for everything before it.
fn full(s: &Scenario, w: &World, me: usize, t: Word, why: Why) -> bool {
    let put = s.roles[me].puts[usize::from(w.procs[me].call)];
    match why {
        Why::Space => {
            let low = if s.one_consumer { w.ring.head.pos } else { w.reclaimable(s) };
            t.pos + put.n > low + s.cap
        }
        Why::Maxsize => {
            let mut out = if s.one_consumer { w.ring.peek } else { w.ring.head };
            while !s.one_consumer && out.pos < t.pos {
                out = match w.at(s, out.pos) {
                    At::Taken(take) => out.plus(take.n, take.packets()),
                    At::Skipped(n) => out.plus(n, w.skipped_packets(s, out.pos)),
                    At::Ready | At::Older | At::Newer => break,
                };
            }
            t.packets + put.packets() > out.packets + s.maxsize
        }
    }
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc) -> world::Pc {
    let put = s.roles[me].puts[usize::from(w.procs[me].call)];
    let next = match pc {
        Pc::Load { t, why: Why::Space } => {
            let x = w.ring.frontier;
            if t.pos + put.n <= x + s.cap {
                return again(s, w, me);
            }
            Pc::Take { t, why: Why::Space, x }
        }
        Pc::Load { t, why: Why::Maxsize } => {
            let head = w.ring.head;
            if t.packets + put.packets() <= head.packets + s.maxsize {
                return again(s, w, me);
            }
            Pc::Take { t, why: Why::Maxsize, x: head.pos }
        }
        Pc::Take { t, why, x } => {
            let old = w.take(s, x);
            let truth = full(s, w, me, t, why);
            match (s.age(old.lap, x), why, old.held) {
                (Age::Newer, ..) => return again(s, w, me),
                (Age::Older, ..) => Pc::Stamp { x, why, truth },
                (Age::Same, Why::Maxsize, _) => Pc::Head { x, n: old.n, k: old.packets() },
                (Age::Same, Why::Space, Held::Released) => {
                    return world::Pc::Frontier(frontier::Pc::Load, After::Put);
                }
                (Age::Same, Why::Space, _) if old.owner == 0 || !w.dead(s, old.owner) => {
                    return refuse(s, w, me, truth);
                }
                (Age::Same, Why::Space, Held::Reading)
                    if !s.locks || s.is(Mutant::ReturnWithoutLock) =>
                {
                    Pc::Return { x, old }
                }
                (Age::Same, Why::Space, Held::Run) if s.is(Mutant::ReturnWithoutLock) => {
                    Pc::ReturnRun { x, old, done: 0 }
                }
                (Age::Same, Why::Space, _) => Pc::Lock { x, old },
            }
        }
        Pc::Stamp { x, why, truth } => {
            let stamp = w.stamp(s, x);
            match (s.age(stamp.lap, x), stamp.state, why) {
                (Age::Newer, ..) => return again(s, w, me),
                (Age::Older, ..) if !s.one_producer => Pc::Claim { x, old: stamp, truth },
                (Age::Same, State::Skipped, Why::Space) => {
                    return world::Pc::Frontier(frontier::Pc::Load, After::Put);
                }
                (Age::Same, State::Skipped, Why::Maxsize) => Pc::HeadOverSkipped { x, n: stamp.n },
                _ => return refuse(s, w, me, truth),
            }
        }
        Pc::Claim { x, old, truth } => {
            let c = w.ring.claims[s.index(x)];
            if c.lap == s.lap(x) && c.owner != 0 && !s.locks && w.dead(s, c.owner) {
                Pc::Skip { x, old, c }
            } else {
                return refuse(s, w, me, truth);
            }
        }
        Pc::Skip { x, old, c } => {
            let skipped = Stamp { lap: s.lap(x), n: c.n, owner: 0, state: State::Skipped };
            w.cas_stamp(s, x, old, skipped);
            return again(s, w, me);
        }
        Pc::Head { x, n, k } => {
            w.advance_head(x, n, k);
            return again(s, w, me);
        }
        Pc::HeadOverSkipped { x, n } => {
            w.advance_head_over_skipped(s, x, n);
            return again(s, w, me);
        }
        Pc::Lock { x, old } => match old.held {
            _ if !lock(w, me, old.owner) => return again(s, w, me),
            Held::Run => Pc::Reread { x, old },
            _ => Pc::Return { x, old },
        },
        Pc::Reread { x, old } if w.take(s, x) == old => Pc::ReturnRun { x, old, done: 0 },
        Pc::Reread { old, .. } => Pc::Unlock { owner: old.owner, returned: false },
        Pc::Return { x, old } => {
            let returned = w.cas_take(s, x, old, Take { owner: 0, ..old });
            if s.locks && !s.is(Mutant::ReturnWithoutLock) {
                Pc::Unlock { owner: old.owner, returned }
            } else if returned && s.hint {
                Pc::Hint
            } else {
                return again(s, w, me);
            }
        }
        Pc::ReturnRun { x, old, done } => {
            return_word(s, w, x, old.n, done);
            if done + 1 < old.n {
                Pc::ReturnRun { x, old, done: done + 1 }
            } else if !s.is(Mutant::ReturnWithoutLock) {
                Pc::Unlock { owner: old.owner, returned: true }
            } else if s.hint {
                Pc::Hint
            } else {
                return again(s, w, me);
            }
        }
        Pc::Unlock { owner, returned } => {
            w.locks[usize::from(owner)] = 0;
            if !returned || !s.hint {
                return again(s, w, me);
            }
            Pc::Hint
        }
        Pc::Hint => {
            w.ring.hint = true;
            return again(s, w, me);
        }
    };
    world::Pc::Full(next)
}
