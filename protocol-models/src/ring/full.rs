//! A producer at a full ring: the last look before it refuses. It helps whatever is stuck, and
//! refuses at the very load that shows there is no room.

use super::consumer_many::lock;
use super::frontier::{self, After};
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Claim, Stamp, State, Word};
use super::world::{self, Bad, World};
use super::{producer_many, producer_one};

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    Space,
    Maxsize,
}

/// Where the producer is; `t` is the tail it has seen, `x` the position that is in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Load { t: Word, why: Why },
    Stamp { t: Word, why: Why, x: u8 },
    Claim { x: u8, old: Stamp, truth: bool },
    Skip { x: u8, old: Stamp, c: Claim },
    Head { x: u8, n: u8 },
    Lock { x: u8, owner: u8 },
    Reread { x: u8, owner: u8 },
    Return { x: u8, old: Stamp },
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
    let free = |x: u8, reading: bool| {
        let stamp = w.stamp(s, x);
        let gone = matches!(stamp.state, State::Released | State::Skipped)
            || (reading && stamp.state == State::Reading);
        (stamp.lap == s.lap(x) && gone).then_some(stamp.n)
    };
    match why {
        Why::Space => {
            let mut low = if s.one_consumer { w.ring.head.pos } else { w.ring.frontier };
            while !s.one_consumer && low < t.pos {
                let Some(n) = free(low, false) else { break };
                low += n;
            }
            t.pos + put.n > low + s.cap
        }
        Why::Maxsize => {
            let mut out = if s.one_consumer { w.ring.peek } else { w.ring.head };
            while !s.one_consumer && out.pos < t.pos {
                let Some(n) = free(out.pos, true) else { break };
                let skipped = w.stamp(s, out.pos).state == State::Skipped;
                let k = if skipped { w.skipped_packets(s, out.pos) } else { 1 };
                out = out.plus(n, k);
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
            Pc::Stamp { t, why: Why::Space, x }
        }
        Pc::Load { t, why: Why::Maxsize } => {
            let head = w.ring.head;
            if t.packets + put.packets() <= head.packets + s.maxsize {
                return again(s, w, me);
            }
            Pc::Stamp { t, why: Why::Maxsize, x: head.pos }
        }
        Pc::Stamp { t, why, x } => {
            let stamp = w.stamp(s, x);
            let truth = full(s, w, me, t, why);
            match (s.age(stamp.lap, x), stamp.state, why) {
                (Age::Newer, ..) => return again(s, w, me),
                (Age::Older, ..) if s.one_producer => return refuse(s, w, me, truth),
                (Age::Older, ..) => Pc::Claim { x, old: stamp, truth },
                (Age::Same, State::Ready, _) => return refuse(s, w, me, truth),
                (Age::Same, State::Reading, Why::Space) => {
                    if stamp.owner == 0 || !w.dead(s, stamp.owner) {
                        return refuse(s, w, me, truth);
                    }
                    if s.locks && !s.is(Mutant::ReturnWithoutLock) {
                        Pc::Lock { x, owner: stamp.owner }
                    } else {
                        Pc::Return { x, old: stamp }
                    }
                }
                (Age::Same, _, Why::Space) => {
                    return world::Pc::Frontier(frontier::Pc::Load, After::Put);
                }
                (Age::Same, _, Why::Maxsize) => Pc::Head { x, n: stamp.n },
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
        Pc::Head { x, n } => {
            w.advance_head(s, x, n);
            return again(s, w, me);
        }
        Pc::Lock { x, owner } => {
            if !lock(w, me, owner) {
                return again(s, w, me);
            }
            Pc::Reread { x, owner }
        }
        Pc::Reread { x, owner } => {
            let old = w.stamp(s, x);
            let still =
                s.age(old.lap, x) == Age::Same && old.state == State::Reading && old.owner == owner;
            if still { Pc::Return { x, old } } else { Pc::Unlock { owner, returned: false } }
        }
        Pc::Return { x, old } => {
            let returned = w.cas_stamp(s, x, old, Stamp { owner: 0, ..old });
            if s.locks && !s.is(Mutant::ReturnWithoutLock) {
                Pc::Unlock { owner: old.owner, returned }
            } else if returned && s.hint {
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
