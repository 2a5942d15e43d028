//! A consumer among several: take one record or a run of them, release, give back, skip, seal. It may
//! die anywhere; what it held is given to another, flagged.

use super::adopt::{self, lock, raise, scan};
use super::frontier::{self, After};
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Claim, Claimed, Held, Stamp, State, Take, Word};
use super::world::{self, World};

/// Where a consumer is; `h` is a head it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    LoadHint,
    SwapHint,
    LoadHead,
    LoadStamp { h: Word },
    LoadTake { h: Word, n: u8 },
    CasTake { h: Word, old: Take, new: Take },
    CasHead { pos: u8, new: Take },
    Split { pos: u8, n: u8, done: u8 },
    HelpHead { pos: u8, n: u8, k: u8 },
    HelpSkipped { pos: u8, n: u8 },
    LoadClaim { h: Word, old: Stamp },
    LoadClosed { h: Word, c: Claim },
    CasSeal { h: Word, c: Claim },
    LockWriter { h: Word, owner: u8 },
    RereadWriter { h: Word, owner: u8 },
    RereadClaim { h: Word, owner: u8, old: Stamp },
    CasSkip { h: Word, old: Stamp, c: Claim },
    LoadClosedOne { h: Word },
    Barrier { h: Word },
    LoadIntent { h: Word },
    LoadTail { h: Word, intent: u8 },
    ProbeRole { h: Word },
    LastLook { h: Word },
    Unlock { owner: u8 },
    Using,
    ReleaseAll,
    GiveHint,
}

/// The state in which a consumer looks for a record.
pub(crate) fn restart(s: &Scenario) -> world::Pc {
    world::Pc::GetMany(if s.hint { Pc::LoadHint } else { Pc::LoadHead })
}

fn drain(seal: u8) -> world::Pc {
    world::Pc::Frontier(frontier::Pc::Load, After::Drain(seal))
}

/// What the application may do next with its leases.
enum Leave {
    Release(usize),
    ReleaseAll,
    GiveBack(usize),
}

/// While it uses its leases a consumer may release any of them, or all, or give one back.
fn leave(s: &Scenario, w: &World, me: usize, choice: u8) -> Option<Leave> {
    let held = w.held(me);
    let release = (0..held).map(Leave::Release);
    let all = (held > 1).then_some(Leave::ReleaseAll);
    let give = (0..held).filter(|_| w.gives < s.gives).map(Leave::GiveBack);
    release.chain(all).chain(give).nth(usize::from(choice))
}

/// How many things the application may do next.
pub(crate) fn choices(s: &Scenario, w: &World, me: usize, pc: Pc) -> u8 {
    match pc {
        Pc::Using => (0..8).take_while(|c| leave(s, w, me, *c).is_some()).count() as u8,
        _ => 1,
    }
}

/// Shows the application what was taken or adopted.
pub(crate) fn expose(s: &Scenario, w: &mut World, me: usize) -> world::Pc {
    w.expose(s, me);
    world::Pc::GetMany(Pc::Using)
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc, choice: u8) -> world::Pc {
    let id = s.roles[me].id;
    let next = match pc {
        Pc::LoadHint if w.ring.hint => Pc::SwapHint,
        Pc::LoadHint => Pc::LoadHead,
        Pc::SwapHint => {
            w.ring.hint = false;
            return world::Pc::Adopt(adopt::Pc::Frontier);
        }
        Pc::LoadHead => Pc::LoadStamp { h: w.ring.head },
        Pc::LoadStamp { h } => return look(s, w, me, h),
        Pc::LoadTake { h, n } => return look_at_take(s, w, me, h, n),
        Pc::CasTake { h, old, new } => {
            if s.is(Mutant::TakeWithoutCas) {
                w.store_take(s, h.pos, new.held, new.n, id);
            } else if !w.cas_take(s, h.pos, old, new) {
                return restart(s);
            }
            for i in 0..new.packets() {
                w.note_taken(s, h.pos + i);
                w.hold(me, h.pos + i, new.n / new.packets(), false);
            }
            Pc::CasHead { pos: h.pos, new }
        }
        Pc::CasHead { pos, new } => {
            w.advance_head(pos, new.n, new.packets());
            match new.held {
                Held::Run => Pc::Split { pos, n: new.n, done: 0 },
                _ => return expose(s, w, me),
            }
        }
        // The first word last: until then everybody who walks sees one run.
        Pc::Split { pos, n, done } => {
            let i = if s.is(Mutant::SplitFirstToLast) { done } else { n - 1 - done };
            w.store_take(s, pos + i, Held::Reading, 1, id);
            if done + 1 == n {
                return expose(s, w, me);
            }
            Pc::Split { pos, n, done: done + 1 }
        }
        Pc::HelpHead { pos, n, k } => {
            w.advance_head(pos, n, k);
            return restart(s);
        }
        Pc::HelpSkipped { pos, n } => {
            w.advance_head_over_skipped(s, pos, n);
            return world::Pc::Frontier(frontier::Pc::Load, After::Take);
        }
        Pc::LoadClaim { h, old } => {
            let c = w.ring.claims[s.index(h.pos)];
            match s.age(c.lap, h.pos) {
                Age::Newer => return restart(s),
                Age::Older if s.closes() => Pc::LoadClosed { h, c },
                Age::Older => return scan(s),
                Age::Same if c.kind == Claimed::Closed => return drain(h.pos),
                Age::Same if !w.dead(s, c.owner) => return scan(s),
                Age::Same if s.locks && !s.is(Mutant::RecoverWithoutLock) => {
                    Pc::LockWriter { h, owner: c.owner }
                }
                Age::Same => Pc::CasSkip { h, old, c },
            }
        }
        Pc::LoadClosed { .. } if w.ring.closed == 0 => return scan(s),
        Pc::LoadClosed { h, .. } if s.is(Mutant::SealByFlag) => return drain(h.pos),
        Pc::LoadClosed { h, c } => Pc::CasSeal { h, c },
        Pc::CasSeal { h, c } => {
            let i = s.index(h.pos);
            if w.ring.claims[i] != c {
                return restart(s);
            }
            w.ring.claims[i] = Claim { lap: s.lap(h.pos), n: 1, owner: 0, kind: Claimed::Closed };
            return drain(h.pos);
        }
        Pc::LockWriter { h, owner } => {
            if !lock(w, me, owner) {
                return restart(s);
            }
            Pc::RereadWriter { h, owner }
        }
        Pc::RereadWriter { h, owner } => {
            let old = w.stamp(s, h.pos);
            if s.age(old.lap, h.pos) != Age::Older {
                Pc::Unlock { owner }
            } else {
                Pc::RereadClaim { h, owner, old }
            }
        }
        Pc::RereadClaim { h, owner, old } => {
            let c = w.ring.claims[s.index(h.pos)];
            if s.age(c.lap, h.pos) != Age::Same || c.owner != owner {
                Pc::Unlock { owner }
            } else {
                Pc::CasSkip { h, old, c }
            }
        }
        Pc::CasSkip { h, old, c } => {
            let new = Stamp { lap: s.lap(h.pos), n: c.n, owner: 0, state: State::Skipped };
            w.cas_stamp(s, h.pos, old, new);
            if !s.locks || s.is(Mutant::RecoverWithoutLock) {
                return restart(s);
            }
            Pc::Unlock { owner: c.owner }
        }
        Pc::LoadClosedOne { h } => match w.ring.closed {
            0 => return scan(s),
            1 if !s.is(Mutant::CloseWithoutBarrier) => Pc::Barrier { h },
            _ => Pc::LoadIntent { h },
        },
        Pc::Barrier { h } => {
            w.membarrier();
            Pc::LoadIntent { h }
        }
        Pc::LoadIntent { h } => Pc::LoadTail { h, intent: w.ring.intent },
        Pc::LoadTail { h, intent } if w.ring.tail.pos == intent => Pc::LastLook { h },
        Pc::LoadTail { h, .. } => Pc::ProbeRole { h },
        Pc::ProbeRole { h } if w.role_is_free(s) => Pc::LastLook { h },
        Pc::ProbeRole { .. } => return scan(s),
        Pc::LastLook { h } => {
            if s.age(w.stamp(s, h.pos).lap, h.pos) == Age::Older {
                return drain(h.pos);
            }
            return restart(s);
        }
        Pc::Unlock { owner } => {
            w.locks[usize::from(owner)] = 0;
            return restart(s);
        }
        Pc::Using => match leave(s, w, me, choice) {
            Some(Leave::Release(slot)) => {
                let pos = release(s, w, me, slot);
                if !pos.is_multiple_of(s.frontier_step) {
                    return restart(s);
                }
                return world::Pc::Frontier(frontier::Pc::Load, After::Take);
            }
            Some(Leave::ReleaseAll) => Pc::ReleaseAll,
            Some(Leave::GiveBack(slot)) => return give_back(s, w, me, slot),
            None => return restart(s),
        },
        Pc::ReleaseAll => {
            release(s, w, me, 0);
            if w.held(me) == 0 {
                return world::Pc::Frontier(frontier::Pc::Load, After::Take);
            }
            Pc::ReleaseAll
        }
        Pc::GiveHint => {
            w.ring.hint = true;
            if w.held(me) == 0 {
                return restart(s);
            }
            Pc::Using
        }
    };
    world::Pc::GetMany(next)
}

/// Looks at the stamp where the head was seen.
fn look(s: &Scenario, w: &World, me: usize, h: Word) -> world::Pc {
    let stamp = w.stamp(s, h.pos);
    let age = s.age(stamp.lap, h.pos);
    let ready = age == Age::Same && stamp.state == State::Ready;
    if !ready && w.held(me) > 0 {
        // Nothing more for one who holds something: the application goes on with that.
        return world::Pc::GetMany(Pc::Using);
    }
    world::Pc::GetMany(match (age, stamp.state) {
        (Age::Newer, _) => return restart(s),
        (Age::Older, _) if !s.one_producer => Pc::LoadClaim { h, old: stamp },
        (Age::Older, _) if s.closes() => Pc::LoadClosedOne { h },
        (Age::Older, _) => return scan(s),
        (Age::Same, State::Skipped) => Pc::HelpSkipped { pos: h.pos, n: stamp.n },
        (Age::Same, _) => Pc::LoadTake { h, n: stamp.n },
    })
}

/// Looks at the take word where the head was seen, and `n` units are committed. Counts the records
/// of one unit that are committed behind it, too: they stay so until the take word here changes, so
/// that loading their stamps one by one could only count fewer.
fn look_at_take(s: &Scenario, w: &World, me: usize, h: Word, n: u8) -> world::Pc {
    let old = w.take(s, h.pos);
    let (owner, lap) = (s.roles[me].id, s.lap(h.pos));
    world::Pc::GetMany(match s.age(old.lap, h.pos) {
        Age::Newer => return restart(s),
        Age::Same if old.held == Held::Run && s.is(Mutant::HelpRunShort) => {
            Pc::HelpHead { pos: h.pos, n: 1, k: 1 }
        }
        Age::Same => Pc::HelpHead { pos: h.pos, n: old.n, k: old.packets() },
        Age::Older => {
            let most = s.batch.saturating_sub(w.held(me) as u8);
            let single = |p: &u8| {
                let stamp = w.stamp(s, *p);
                (stamp.lap, stamp.n, stamp.state) == (s.lap(*p), 1, State::Ready)
            };
            let ready = (h.pos..h.pos + most).take_while(single).count() as u8;
            let new = if ready > 1 {
                Take { lap, n: ready, owner, held: Held::Run }
            } else {
                Take { lap, n, owner, held: Held::Reading }
            };
            Pc::CasTake { h, old, new }
        }
    })
}

/// Releases a lease, and says where.
fn release(s: &Scenario, w: &mut World, me: usize, slot: usize) -> u8 {
    let Some(lease) = w.procs[me].leases[slot] else { unreachable!("a lease to release") };
    w.store_take(s, lease.pos, Held::Released, lease.n, s.roles[me].id);
    w.acknowledge(me, slot);
    lease.pos
}

/// Gives a lease back.
fn give_back(s: &Scenario, w: &mut World, me: usize, slot: usize) -> world::Pc {
    let Some(lease) = w.procs[me].leases[slot].take() else { return restart(s) };
    w.procs[me].leases[slot..].rotate_left(1);
    w.gives += 1;
    if s.is(Mutant::CountedTwice) {
        raise(s, w, lease.pos);
    }
    w.store_take(s, lease.pos, Held::Reading, lease.n, 0);
    world::Pc::GetMany(match w.held(me) {
        _ if s.hint && !s.is(Mutant::NoHintNoScan) => Pc::GiveHint,
        0 => Pc::LoadHead,
        _ => Pc::Using,
    })
}
