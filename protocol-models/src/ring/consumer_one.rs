//! The consumer of a one-consumer ring: `head` is the oldest record not acknowledged, `peek` the
//! next to expose. It is the only writer of both, so that it knows them without a load. It may die
//! anywhere; its successor finds what it held between `head` and `peek`.

use super::adopt::raise;
use super::scenario::{Mutant, Scenario};
use super::words::{Age, Claim, Claimed, Stamp, State, Word};
use super::world::{self, World};

/// Where the consumer is; `cur` is the next position it looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Start,
    Roll { cur: u8 },
    Idle { cur: u8 },
    Look { cur: u8, end: Word },
    StorePeek { end: Word },
    LatePeek { end: Word },
    Skip { cur: u8, n: u8 },
    RaiseOld { cur: u8, n: u8 },
    RaiseOwn { cur: u8, slot: u8 },
    LoadClaim { cur: u8, old: Stamp },
    CasSkip { cur: u8, old: Stamp, c: Claim },
    LoadClosed { cur: u8, c: Claim },
    CasSeal { cur: u8, c: Claim },
    LoadClosedOne { cur: u8 },
    Barrier { cur: u8 },
    LoadIntent { cur: u8 },
    LoadTail { cur: u8, intent: u8 },
    ProbeRole { cur: u8 },
    LastLook { cur: u8 },
    StoreHead { cur: u8, head: Word },
}

/// What the application may ask for next.
enum Option_ {
    Ack(usize),
    Redeliver(usize),
    Look,
    GiveBack(usize),
}

fn option(s: &Scenario, w: &World, me: usize, choice: u8) -> Option<Option_> {
    let leases = w.procs[me].leases;
    let held = || (0..w.held(me)).filter_map(|i| leases[i].map(|l| (i, l.returned)));
    let again = held().filter(|l| l.1).map(|l| Option_::Redeliver(l.0));
    let ack = held().filter(|l| !l.1).map(|l| Option_::Ack(l.0));
    let give = held().filter(|l| !l.1 && w.gives < s.gives).map(|l| Option_::GiveBack(l.0));
    let look = (w.held(me) < usize::from(s.leases)).then_some(Option_::Look);
    again.chain(ack).chain(look).chain(give).nth(usize::from(choice))
}

/// How many things the application may do next.
pub(crate) fn choices(s: &Scenario, w: &World, me: usize, pc: Pc) -> u8 {
    match pc {
        Pc::Idle { .. } => (0..16).take_while(|c| option(s, w, me, *c).is_some()).count() as u8,
        _ => 1,
    }
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc, choice: u8) -> world::Pc {
    let next = match pc {
        Pc::Start if s.is(Mutant::NoRollAtStart) => Pc::Idle { cur: w.ring.head.pos },
        Pc::Start => Pc::Roll { cur: w.ring.head.pos },
        Pc::Roll { cur } => roll(s, w, cur),
        Pc::Idle { cur } => {
            let behind = s.is(Mutant::CursorBehindHead);
            // Acking the oldest may have rolled `head` over records this one never looked at.
            let cur = if behind { cur } else { cur.max(w.ring.head.pos) };
            match option(s, w, me, choice) {
                Some(Option_::Ack(slot)) => ack(s, w, me, slot, cur),
                Some(Option_::GiveBack(slot)) => {
                    w.gives += 1;
                    if let Some(lease) = &mut w.procs[me].leases[slot] {
                        lease.returned = true;
                        lease.unit = 0;
                    }
                    Pc::Idle { cur }
                }
                Some(Option_::Redeliver(slot)) => Pc::RaiseOwn { cur, slot: slot as u8 },
                // The stamp is loaded in this very step.
                Some(Option_::Look) | None => {
                    let end = Word { pos: cur, packets: w.ring.peek.packets };
                    look(s, w, me, cur, end)
                }
            }
        }
        Pc::Look { cur, end } => look(s, w, me, cur, end),
        Pc::StorePeek { end } => {
            w.ring.peek = end;
            show(s, w, me);
            Pc::Idle { cur: end.pos }
        }
        Pc::LatePeek { end } => {
            w.ring.peek = end;
            Pc::Idle { cur: end.pos }
        }
        Pc::Skip { cur, n } => {
            if cur >= w.ring.peek.pos {
                let k = w.skipped_packets(s, cur);
                w.ring.peek = w.ring.peek.plus(n, k);
            }
            Pc::Roll { cur: cur + n }
        }
        Pc::RaiseOld { cur, n } => {
            raise(s, w, cur);
            w.hold(me, cur, n, true);
            w.expose(s, me);
            Pc::Idle { cur: cur + n }
        }
        Pc::RaiseOwn { cur, slot } => {
            if let Some(lease) = w.procs[me].leases[usize::from(slot)] {
                raise(s, w, lease.pos);
                w.procs[me].leases[usize::from(slot)] =
                    Some(world::Lease { returned: false, flagged: true, ..lease });
            }
            w.expose(s, me);
            Pc::Idle { cur }
        }
        Pc::LoadClaim { cur, old } => {
            let c = w.ring.claims[s.index(cur)];
            match s.age(c.lap, cur) {
                Age::Same if c.kind == Claimed::Closed => return finish(w, me, cur),
                Age::Same if w.dead(s, c.owner) => Pc::CasSkip { cur, old, c },
                Age::Older if s.closes() => Pc::LoadClosed { cur, c },
                _ => Pc::Idle { cur },
            }
        }
        Pc::CasSkip { cur, old, c } => {
            let new = Stamp { lap: s.lap(cur), n: c.n, owner: 0, state: State::Skipped };
            w.cas_stamp(s, cur, old, new);
            Pc::Idle { cur }
        }
        Pc::LoadClosed { cur, .. } if w.ring.closed == 0 => Pc::Idle { cur },
        Pc::LoadClosed { cur, .. } if s.is(Mutant::SealByFlag) => return finish(w, me, cur),
        Pc::LoadClosed { cur, c } => Pc::CasSeal { cur, c },
        Pc::CasSeal { cur, c } => {
            let i = s.index(cur);
            if w.ring.claims[i] == c {
                w.ring.claims[i] = Claim { lap: s.lap(cur), n: 1, owner: 0, kind: Claimed::Closed };
                return finish(w, me, cur);
            } else {
                Pc::Idle { cur }
            }
        }
        Pc::LoadClosedOne { cur } => match w.ring.closed {
            0 => Pc::Idle { cur },
            1 if !s.is(Mutant::CloseWithoutBarrier) => Pc::Barrier { cur },
            _ => Pc::LoadIntent { cur },
        },
        Pc::Barrier { cur } => {
            w.membarrier();
            Pc::LoadIntent { cur }
        }
        Pc::LoadIntent { cur } => Pc::LoadTail { cur, intent: w.ring.intent },
        Pc::LoadTail { cur, intent } if w.ring.tail.pos == intent => Pc::LastLook { cur },
        Pc::LoadTail { cur, .. } => Pc::ProbeRole { cur },
        Pc::ProbeRole { cur } if w.role_is_free(s) => Pc::LastLook { cur },
        Pc::ProbeRole { cur } => Pc::Idle { cur },
        Pc::LastLook { cur } => {
            if s.age(w.stamp(s, cur).lap, cur) == Age::Older {
                return finish(w, me, cur);
            }
            Pc::Idle { cur }
        }
        Pc::StoreHead { cur, head } => {
            w.ring.head = head;
            Pc::Roll { cur }
        }
    };
    world::Pc::GetOne(next)
}

/// Returns `Closed` to the caller, who goes on with the leases it has.
fn finish(w: &mut World, me: usize, cur: u8) -> world::Pc {
    w.tell_closed(me);
    if w.held(me) == 0 { world::Pc::Done } else { world::Pc::GetOne(Pc::Idle { cur }) }
}

/// Rolls `head` over one record that is free. Only this consumer frees records below `peek`, so a
/// load and a store of its own are one step.
fn roll(s: &Scenario, w: &mut World, cur: u8) -> Pc {
    let head = w.ring.head;
    let stamp = w.stamp(s, head.pos);
    let free = matches!(stamp.state, State::Released | State::Skipped);
    if head.pos >= w.ring.peek.pos || stamp.lap != s.lap(head.pos) || !free {
        return Pc::Idle { cur };
    }
    let skipped = stamp.state == State::Skipped;
    let k = if skipped { w.skipped_packets(s, head.pos) } else { 1 };
    w.ring.head = head.plus(stamp.n, k);
    Pc::Roll { cur }
}

/// Looks at one entry; `end` is where the next `peek` will be.
fn look(s: &Scenario, w: &mut World, me: usize, cur: u8, end: Word) -> Pc {
    let stamp = w.stamp(s, cur);
    let peek = w.ring.peek;
    let age = s.age(stamp.lap, cur);
    let gathered = end.pos > peek.pos;
    if age == Age::Same && stamp.state == State::Ready && cur >= peek.pos {
        w.hold(me, cur, stamp.n, false);
        let end = end.plus(stamp.n, 1);
        if s.is(Mutant::PeekAfterExposure) {
            show(s, w, me);
            return Pc::LatePeek { end };
        }
        let more =
            w.procs[me].leases.iter().flatten().filter(|l| l.unit == 0 && !l.returned).count()
                < usize::from(s.batch)
                && w.held(me) < usize::from(s.leases);
        return if more { Pc::Look { cur: end.pos, end } } else { Pc::StorePeek { end } };
    }
    if gathered {
        return Pc::StorePeek { end };
    }
    match (age, stamp.state) {
        (Age::Same, State::Ready) => Pc::RaiseOld { cur, n: stamp.n },
        (Age::Same, State::Skipped) => Pc::Skip { cur, n: stamp.n },
        (Age::Same, _) => Pc::Idle { cur: cur + stamp.n },
        (Age::Older, _) if !s.one_producer => Pc::LoadClaim { cur, old: stamp },
        (Age::Older, _) if s.closes() => Pc::LoadClosedOne { cur },
        _ => Pc::Idle { cur },
    }
}

/// Takes what was gathered: `peek` is past it, and the application sees it.
fn show(s: &Scenario, w: &mut World, me: usize) {
    for lease in w.procs[me].leases.into_iter().flatten() {
        if lease.unit == 0 && !lease.returned {
            w.note_taken(s, lease.pos);
        }
    }
    w.expose(s, me);
}

/// Acknowledges one lease.
fn ack(s: &Scenario, w: &mut World, me: usize, slot: usize, cur: u8) -> Pc {
    let Some(lease) = w.procs[me].leases[slot] else { return Pc::Idle { cur } };
    w.acknowledge(me, slot);
    let oldest = lease.pos == w.ring.head.pos;
    if oldest && s.is(Mutant::LazyAck) {
        return Pc::StoreHead { cur, head: w.ring.head.plus(lease.n, 1) };
    }
    // The stamp first, in order or not; it may die before the head.
    w.ring.stamps[s.index(lease.pos)].state = State::Released;
    if oldest { Pc::Roll { cur } } else { Pc::Idle { cur } }
}
