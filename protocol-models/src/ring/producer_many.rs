//! A producer among several. It may die anywhere; what it leaves is a claim without a stamp, which
//! a consumer turns into a skipped record, or a committed record.

use super::full;
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Claim, Claimed, Stamp, State, Word};
use super::world::{self, Bad, World};

/// Where a producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    LoadClosed,
    CheckFirst,
    LoadTail,
    LoadClaim { t: Word },
    HelpTail { t: Word, n: u8, k: u8 },
    LoadSpace { t: Word, c: Claim },
    LoadWaiting { t: Word, c: Claim },
    CasClaim { t: Word, c: Claim },
    CasTail { t: Word },
    Commit { pos: u8, done: u8 },
}

/// The state in which a producer makes its next call, or is finished.
pub(crate) fn begin(s: &Scenario, w: &World, me: usize) -> world::Pc {
    if usize::from(w.procs[me].call) == s.roles[me].puts.len() {
        world::Pc::Done
    } else if s.closes() {
        world::Pc::PutMany(Pc::LoadClosed)
    } else if s.is(Mutant::MaxsizeAgainstStaleTail) {
        world::Pc::PutMany(Pc::CheckFirst)
    } else {
        world::Pc::PutMany(Pc::LoadTail)
    }
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc) -> world::Pc {
    let call = usize::from(w.procs[me].call);
    let put = s.roles[me].puts[call];
    let id = s.roles[me].id;
    let next = match pc {
        Pc::LoadClosed if w.ring.closed != 0 => return world::Pc::Done,
        Pc::LoadClosed => Pc::LoadTail,
        Pc::CheckFirst if w.ring.tail.packets >= w.ring.head.packets + s.maxsize => Pc::CheckFirst,
        Pc::CheckFirst => Pc::LoadTail,
        Pc::LoadTail => Pc::LoadClaim { t: w.ring.tail },
        Pc::LoadClaim { t } => {
            let c = w.ring.claims[s.index(t.pos)];
            match s.age(c.lap, t.pos) {
                Age::Newer => Pc::LoadTail,
                Age::Older => Pc::LoadSpace { t, c },
                Age::Same if c.kind != Claimed::Closed => {
                    Pc::HelpTail { t, n: c.n, k: c.packets() }
                }
                Age::Same if s.is(Mutant::HelpPastClosed) => Pc::HelpTail { t, n: 1, k: 0 },
                Age::Same => return world::Pc::Done,
            }
        }
        Pc::HelpTail { t, n, k } => {
            if w.ring.tail == t {
                w.ring.tail = t.plus(n, k);
            }
            Pc::LoadTail
        }
        Pc::LoadSpace { t, c } => {
            let low = if s.one_consumer { w.ring.head.pos } else { w.ring.frontier };
            if t.pos + put.n > low + s.cap {
                return full::begin(s, w, me, t, full::Why::Space);
            }
            let checked = s.is(Mutant::MaxsizeAgainstStaleTail);
            if s.maxsize == 0 || checked { Pc::CasClaim { t, c } } else { Pc::LoadWaiting { t, c } }
        }
        Pc::LoadWaiting { t, c } => {
            let out = if s.one_consumer { w.ring.peek } else { w.ring.head };
            if t.packets + put.packets() > out.packets + s.maxsize {
                return full::begin(s, w, me, t, full::Why::Maxsize);
            }
            Pc::CasClaim { t, c }
        }
        Pc::CasClaim { t, c } => {
            let i = s.index(t.pos);
            if w.ring.claims[i] != c {
                return begin(s, w, me);
            }
            let kind = if put.run { Claimed::Run } else { Claimed::Record };
            w.ring.claims[i] = Claim { lap: s.lap(t.pos), n: put.n, owner: id, kind };
            w.start_writing(s, me, t.pos, put.n);
            Pc::CasTail { t }
        }
        Pc::CasTail { t } => {
            if w.ring.tail == t {
                w.ring.tail = t.plus(put.n, put.packets());
            }
            Pc::Commit { pos: t.pos, done: 0 }
        }
        Pc::Commit { pos, done } => return commit(s, w, me, pos, done),
    };
    world::Pc::PutMany(next)
}

/// Writes and stamps one entry: of a run the first last, so that a dead run is one skipped record.
fn commit(s: &Scenario, w: &mut World, me: usize, pos: u8, done: u8) -> world::Pc {
    let call = usize::from(w.procs[me].call);
    let put = s.roles[me].puts[call];
    let (entries, n) = if put.run { (put.n, 1) } else { (1, put.n) };
    let offset = if s.is(Mutant::RunFirstToLast) { done } else { (done + 1) % entries };
    let at = pos + offset;
    let packet = s.packet(me, call) + offset;
    w.finish_writing(s, me, at, n, (!put.dropped).then_some(packet));
    let state = if put.dropped { State::Skipped } else { State::Ready };
    let owner = if put.dropped { 0 } else { s.roles[me].id };
    let i = s.index(at);
    if s.age(w.ring.stamps[i].lap, at) != Age::Older {
        w.fail(Bad::Torn);
    }
    w.ring.stamps[i] = Stamp { lap: s.lap(at), n, owner, state };
    if done + 1 < entries {
        return world::Pc::PutMany(Pc::Commit { pos, done: done + 1 });
    }
    if !put.dropped {
        let first = s.packet(me, call);
        (first..first + put.packets()).for_each(|k| w.succeed(k));
    }
    w.procs[me].call += 1;
    begin(s, w, me)
}
