//! The producer of a one-producer ring: no claim, no CAS. It may die anywhere; its successor rolls
//! over what it stamped without publishing. Its stores may wait in a store buffer.

use super::full;
use super::scenario::{Mutant, Put, Scenario};
use super::words::{Age, Stamp, State, Word};
use super::world::{self, Store, World};

/// Where the producer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    JoinTail,
    JoinHead { start: Word },
    JoinRoll { start: Word },
    JoinStoreTail { start: Word },
    JoinStoreIntent { start: Word },
    Space,
    Waiting,
    Intent,
    LoadClosed,
    Write,
    TakeBack,
    Stamp { done: u8 },
    StoreTail,
}

/// The state in which the producer tries its next call.
pub(crate) fn again(s: &Scenario) -> world::Pc {
    world::Pc::PutOne(if s.is(Mutant::IntentAfterClosed) { Pc::LoadClosed } else { Pc::Space })
}

fn store(s: &Scenario, w: &mut World, me: usize, store: Store) {
    if let Some(free) = w.procs[me].buffer.iter().position(Option::is_none) {
        w.procs[me].buffer[free] = Some(store);
    }
    if !s.buffered {
        w.flush(me);
    }
}

/// The tail as its only writer knows it.
fn tail(w: &World, me: usize) -> Word {
    let own = w.procs[me].buffer.iter().rev().find_map(|b| match b {
        Some(Store::Tail(t)) => Some(*t),
        _ => None,
    });
    own.unwrap_or(w.ring.tail)
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc) -> world::Pc {
    let Some(put) = s.roles[me].puts.get(usize::from(w.procs[me].call)).copied() else {
        return world::Pc::Done;
    };
    let t = tail(w, me);
    let late = s.is(Mutant::IntentAfterClosed);
    let next = match pc {
        Pc::JoinTail if s.is(Mutant::NoRollOver) => Pc::JoinStoreTail { start: w.ring.tail },
        Pc::JoinTail => Pc::JoinHead { start: w.ring.tail },
        Pc::JoinHead { start } => {
            let head = w.ring.head;
            Pc::JoinRoll { start: if head.pos > start.pos { head } else { start } }
        }
        Pc::JoinRoll { start } => {
            let stamp = w.stamp(s, start.pos);
            if s.age(stamp.lap, start.pos) == Age::Same {
                Pc::JoinRoll { start: start.plus(stamp.n, 1) }
            } else {
                Pc::JoinStoreTail { start }
            }
        }
        Pc::JoinStoreTail { start } => {
            store(s, w, me, Store::Tail(start));
            Pc::JoinStoreIntent { start }
        }
        Pc::JoinStoreIntent { start } => {
            store(s, w, me, Store::Intent(start.pos));
            return again(s);
        }
        Pc::Space => {
            let low = if s.one_consumer { w.ring.head.pos } else { w.ring.frontier };
            if t.pos + put.n > low + s.cap {
                return full::begin(s, w, me, t, full::Why::Space);
            }
            if s.maxsize == 0 { Pc::Intent } else { Pc::Waiting }
        }
        Pc::Waiting => {
            let out = if s.one_consumer { w.ring.peek } else { w.ring.head };
            if t.packets + put.packets() > out.packets + s.maxsize {
                return full::begin(s, w, me, t, full::Why::Maxsize);
            }
            Pc::Intent
        }
        Pc::Intent => {
            store(s, w, me, Store::Intent(t.pos + put.n));
            if late { Pc::Write } else { Pc::LoadClosed }
        }
        Pc::LoadClosed => match (w.ring.closed, late) {
            (0, false) => Pc::Write,
            (0, true) => Pc::Space,
            (_, false) => Pc::TakeBack,
            (_, true) => return world::Pc::Done,
        },
        Pc::TakeBack => {
            store(s, w, me, Store::Intent(t.pos));
            return world::Pc::Done;
        }
        Pc::Write => {
            w.start_writing(s, me, t.pos, put.n);
            Pc::Stamp { done: 0 }
        }
        Pc::Stamp { done } => return stamp(s, w, me, t, put, done),
        Pc::StoreTail => {
            store(s, w, me, Store::Tail(t.plus(put.n, put.packets())));
            let call = usize::from(w.procs[me].call);
            if !put.dropped {
                let first = s.packet(me, call);
                (first..first + put.packets()).for_each(|k| w.succeed(k));
            }
            w.procs[me].call += 1;
            if call + 1 == s.roles[me].puts.len() {
                return world::Pc::Done;
            }
            return again(s);
        }
    };
    world::Pc::PutOne(next)
}

/// Stamps one entry, of a run the first first.
fn stamp(s: &Scenario, w: &mut World, me: usize, t: Word, put: Put, done: u8) -> world::Pc {
    let (entries, n) = if put.run { (put.n, 1) } else { (1, put.n) };
    let at = t.pos + done;
    let packet = s.packet(me, usize::from(w.procs[me].call)) + done;
    w.finish_writing(s, me, at, n, (!put.dropped).then_some(packet));
    let new = if put.dropped {
        Stamp { lap: s.lap(at), n, owner: 0, state: State::Skipped }
    } else {
        Stamp { lap: s.lap(at), n, owner: s.roles[me].id, state: State::Ready }
    };
    store(s, w, me, Store::Stamp(s.index(at) as u8, new));
    world::Pc::PutOne(if done + 1 < entries { Pc::Stamp { done: done + 1 } } else { Pc::StoreTail })
}
