//! A consumer among several: take, lease, release, adopt, recover, seal. It may die anywhere; what
//! it held is given to another, flagged.

use super::frontier::{self, After};
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Claim, Claimed, Stamp, State, Word};
use super::world::{self, World};

/// Where a consumer is; `h` is a head it has seen, `p` a position it scans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    LoadHint,
    SwapHint,
    LoadHead,
    LoadStamp { h: Word },
    CasTake { h: Word, old: Stamp },
    CasHead { pos: u8, n: u8 },
    HelpHead { pos: u8, n: u8, skipped: bool },
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
    ScanFrontier,
    ScanHead { f: u8 },
    ScanAt { p: u8, end: u8 },
    LockReader { p: u8, end: u8, owner: u8 },
    RereadReader { p: u8, owner: u8 },
    Adopt { p: u8, end: u8, old: Stamp },
    Unlock { adopted: Option<u8>, owner: u8 },
    Raise { p: u8 },
    SetHint,
    Using,
    GiveHint,
}

/// The state in which a consumer looks for a record.
pub(crate) fn restart(s: &Scenario) -> world::Pc {
    world::Pc::GetMany(if s.hint { Pc::LoadHint } else { Pc::LoadHead })
}

/// The state in which a consumer looks for records to adopt.
pub(crate) fn scan(s: &Scenario) -> world::Pc {
    if s.idle_scan { world::Pc::GetMany(Pc::ScanFrontier) } else { restart(s) }
}

fn idle() -> world::Pc {
    world::Pc::Frontier(frontier::Pc::Load, After::Scan)
}

fn drain(seal: u8) -> world::Pc {
    world::Pc::Frontier(frontier::Pc::Load, After::Drain(seal))
}

/// While it uses its leases a consumer may release any of them, or give it back.
pub(crate) fn choices(s: &Scenario, w: &World, me: usize, pc: Pc) -> u8 {
    let held = w.held(me) as u8;
    match pc {
        Pc::Using if w.gives < s.gives => 2 * held,
        Pc::Using => held,
        _ => 1,
    }
}

/// Shows the application what was taken.
fn expose(s: &Scenario, w: &mut World, me: usize) -> Pc {
    w.expose(s, me);
    Pc::Using
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc, choice: u8) -> world::Pc {
    let id = s.roles[me].id;
    let next = match pc {
        Pc::LoadHint if w.ring.hint => Pc::SwapHint,
        Pc::LoadHint => Pc::LoadHead,
        Pc::SwapHint => {
            w.ring.hint = false;
            Pc::ScanFrontier
        }
        Pc::LoadHead => Pc::LoadStamp { h: w.ring.head },
        Pc::LoadStamp { h } => return look(s, w, me, h),
        Pc::CasTake { h, old } => {
            if !w.cas_stamp(s, h.pos, old, Stamp { owner: id, state: State::Reading, ..old }) {
                Pc::LoadHead
            } else {
                w.note_taken(s, h.pos);
                w.hold(me, h.pos, old.n, false);
                Pc::CasHead { pos: h.pos, n: old.n }
            }
        }
        Pc::CasHead { pos, n } => {
            w.advance_head(s, pos, n);
            if w.held(me) < usize::from(s.batch) { Pc::LoadHead } else { expose(s, w, me) }
        }
        Pc::HelpHead { pos, n, skipped } => {
            w.advance_head(s, pos, n);
            if skipped {
                return world::Pc::Frontier(frontier::Pc::Load, After::Take);
            }
            return restart(s);
        }
        Pc::LoadClaim { h, old } => {
            let c = w.ring.claims[s.index(h.pos)];
            match s.age(c.lap, h.pos) {
                Age::Newer => return restart(s),
                Age::Older if s.closes() => Pc::LoadClosed { h, c },
                Age::Older => return idle(),
                Age::Same if c.kind == Claimed::Closed => return drain(h.pos),
                Age::Same if !w.dead(s, c.owner) => return idle(),
                Age::Same if s.locks && !s.is(Mutant::RecoverWithoutLock) => {
                    Pc::LockWriter { h, owner: c.owner }
                }
                Age::Same => Pc::CasSkip { h, old, c },
            }
        }
        Pc::LoadClosed { .. } if w.ring.closed == 0 => return idle(),
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
                Pc::Unlock { adopted: None, owner }
            } else {
                Pc::RereadClaim { h, owner, old }
            }
        }
        Pc::RereadClaim { h, owner, old } => {
            let c = w.ring.claims[s.index(h.pos)];
            if s.age(c.lap, h.pos) != Age::Same || c.owner != owner {
                Pc::Unlock { adopted: None, owner }
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
            Pc::Unlock { adopted: None, owner: c.owner }
        }
        Pc::LoadClosedOne { h } => match w.ring.closed {
            0 => return idle(),
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
        Pc::ProbeRole { .. } => return idle(),
        Pc::LastLook { h } => {
            if s.age(w.stamp(s, h.pos).lap, h.pos) == Age::Older {
                return drain(h.pos);
            }
            return restart(s);
        }
        Pc::ScanFrontier => Pc::ScanHead { f: w.ring.frontier },
        Pc::ScanHead { f } => Pc::ScanAt { p: f, end: w.ring.head.pos },
        Pc::ScanAt { p, end } => return scan_at(s, w, p, end),
        Pc::LockReader { p, end, owner } => {
            if lock(w, me, owner) {
                Pc::RereadReader { p, owner }
            } else {
                // Somebody recovers that id or lives under it: go on with the next record.
                Pc::ScanAt { p: p + w.stamp(s, p).n, end }
            }
        }
        Pc::RereadReader { p, owner } => {
            let old = w.stamp(s, p);
            let still =
                s.age(old.lap, p) == Age::Same && old.state == State::Reading && old.owner == owner;
            if still { Pc::Adopt { p, end: 0, old } } else { Pc::Unlock { adopted: None, owner } }
        }
        Pc::Adopt { p, end, old } => {
            let won = w.cas_stamp(s, p, old, Stamp { owner: id, ..old });
            if won {
                w.hold(me, p, old.n, true);
            }
            if holds_lock(w, me, old.owner) {
                Pc::Unlock { adopted: won.then_some(p), owner: old.owner }
            } else if won {
                Pc::Raise { p }
            } else {
                Pc::ScanAt { p, end }
            }
        }
        Pc::Unlock { adopted, owner } => {
            w.locks[usize::from(owner)] = 0;
            match adopted {
                Some(p) => Pc::Raise { p },
                None => return restart(s),
            }
        }
        Pc::Raise { p } => {
            if !s.is(Mutant::CountNotRaised) {
                let count = &mut w.ring.counts[s.index(p)];
                *count = (*count + 1).min(4);
            }
            if s.hint && !s.is(Mutant::HintNotSetAgain) { Pc::SetHint } else { expose(s, w, me) }
        }
        Pc::SetHint => {
            w.ring.hint = true;
            expose(s, w, me)
        }
        Pc::Using => return leave(s, w, me, choice),
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

fn look(s: &Scenario, w: &mut World, me: usize, h: Word) -> world::Pc {
    let stamp = w.stamp(s, h.pos);
    let age = s.age(stamp.lap, h.pos);
    let ready = age == Age::Same && stamp.state == State::Ready;
    if !ready && w.held(me) > 0 {
        // `get_many` ends at the first record that is not ready.
        return world::Pc::GetMany(expose(s, w, me));
    }
    world::Pc::GetMany(match (age, stamp.state) {
        (Age::Newer, _) => return restart(s),
        (Age::Older, _) if !s.one_producer => Pc::LoadClaim { h, old: stamp },
        (Age::Older, _) if s.closes() => Pc::LoadClosedOne { h },
        (Age::Older, _) => return idle(),
        (Age::Same, State::Ready) => Pc::CasTake { h, old: stamp },
        (Age::Same, state) => {
            Pc::HelpHead { pos: h.pos, n: stamp.n, skipped: state == State::Skipped }
        }
    })
}

fn scan_at(s: &Scenario, w: &World, p: u8, end: u8) -> world::Pc {
    let stamp = w.stamp(s, p);
    if p >= end || s.age(stamp.lap, p) != Age::Same {
        return restart(s);
    }
    let dead = stamp.owner != 0 && w.dead(s, stamp.owner);
    world::Pc::GetMany(match stamp.state {
        State::Reading if dead && s.locks && !s.is(Mutant::RecoverWithoutLock) => {
            Pc::LockReader { p, end, owner: stamp.owner }
        }
        State::Reading if dead || stamp.owner == 0 => Pc::Adopt { p, end, old: stamp },
        _ => Pc::ScanAt { p: p + stamp.n, end },
    })
}

/// Releases a lease, or gives it back.
fn leave(s: &Scenario, w: &mut World, me: usize, choice: u8) -> world::Pc {
    let held = w.held(me);
    let slot = usize::from(choice) % held;
    let Some(lease) = w.procs[me].leases[slot] else { return restart(s) };
    let stamp = w.stamp(s, lease.pos);
    let i = s.index(lease.pos);
    if usize::from(choice) >= held {
        w.gives += 1;
        w.ring.stamps[i] = Stamp { owner: 0, ..stamp };
        w.procs[me].leases[slot] = None;
        w.procs[me].leases[slot..].rotate_left(1);
        return world::Pc::GetMany(if s.hint && !s.is(Mutant::NoHintNoScan) {
            Pc::GiveHint
        } else {
            after_lease(w, me)
        });
    }
    w.ring.stamps[i] = Stamp { state: State::Released, ..stamp };
    w.acknowledge(me, slot);
    world::Pc::Frontier(frontier::Pc::Load, After::Take)
}

/// Goes on with the leases left.
fn after_lease(w: &World, me: usize) -> Pc {
    if w.held(me) > 0 { Pc::Using } else { Pc::LoadHead }
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
