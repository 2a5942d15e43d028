//! The properties. What must never happen is noticed at the step where it happens; "never wedged"
//! lets the survivors run on from every single state.

use stateright::Property;

use super::scenario::{Kind, Scenario};
use super::words::{Claimed, Held, State};
use super::world::{Bad, MAX_PACKETS, Pc, World};

/// Rounds in which survivors must come to rest.
const ROUNDS: usize = 300;

/// The properties of every scenario of the ring.
pub(crate) fn properties() -> Vec<Property<Scenario>> {
    fn never(bad: Bad, w: &World) -> bool {
        w.bad & (1 << bad as u8) == 0
    }
    vec![
        Property::always("nothing lost", |s: &Scenario, w: &World| nothing_lost(s, w)),
        Property::always("nothing torn", |_, w| never(Bad::Torn, w)),
        Property::always("no record held twice", |_, w| never(Bad::Stolen, w)),
        Property::always("no acked packet again", |_, w| never(Bad::AckedAgain, w)),
        Property::always("duplicates flagged and counted", |_, w| never(Bad::Unflagged, w)),
        Property::always("order per producer", |_, w| never(Bad::Order, w)),
        Property::always("maxsize kept", |s: &Scenario, w: &World| {
            s.maxsize == 0 || (w.put & !w.taken).count_ones() <= u32::from(s.maxsize)
        }),
        Property::always("refusal never spurious", |_, w| never(Bad::Refused, w)),
        Property::always("closed is true", |_, w| never(Bad::ClosedEarly, w)),
        Property::always("never wedged", |s: &Scenario, w: &World| {
            w.bad != 0 || comes_to_rest(s, w)
        }),
        Property::sometimes("everything acked and reclaimed", |s: &Scenario, w: &World| {
            w.put != 0 && w.bad == 0 && at_rest(s, w)
        }),
        Property::sometimes("a redelivery, where one can be", |s: &Scenario, w: &World| {
            let consumers = s.roles.iter().filter(|r| r.kind == Kind::Consumer).count();
            (s.gives == 0 && (s.crashes == 0 || consumers < 2)) || w.exposed.iter().any(|k| *k > 1)
        }),
    ]
}

/// Every packet whose put succeeded is acknowledged, or sits in the ring where somebody finds it.
fn nothing_lost(s: &Scenario, w: &World) -> bool {
    let missing = w.put & !w.acked;
    if missing == 0 || w.bad != 0 {
        return true;
    }
    let low = if s.one_consumer { w.ring.head.pos } else { w.ring.frontier };
    let mut there = 0u16;
    for pos in low..low + s.cap {
        let stamp = w.stamp(s, pos);
        let unit = w.ring.units[s.index(pos)];
        let take = w.take(s, pos);
        let released = take.lap == s.lap(pos) && take.held == Held::Released;
        let live = stamp.state == State::Ready && !released;
        if stamp.lap == s.lap(pos) && live && (1..=MAX_PACKETS as u8).contains(&unit) {
            there |= 1 << (unit - 1);
        }
    }
    // A store buffer holds what will be visible.
    let buffered = w.procs.iter().any(|p| p.buffer[0].is_some());
    buffered || missing & !there == 0
}

/// Whether the survivors, one step each in turn and nobody dying any more, finish their programs,
/// empty the ring and get all its space back.
fn comes_to_rest(s: &Scenario, w: &World) -> bool {
    let mut w = w.clone();
    for _ in 0..ROUNDS {
        if at_rest(s, &w) {
            return true;
        }
        for me in 0..s.roles.len() {
            w.flush(me);
            if s.can_step(&w, me) {
                s.step(&mut w, me, 0);
            }
        }
        if w.bad != 0 {
            return true; // reported as what it is, at the state where it happens
        }
    }
    false
}

/// Whether everything committed is acknowledged and all space is reclaimed.
fn at_rest(s: &Scenario, w: &World) -> bool {
    let ring = &w.ring;
    let finished = s.roles.iter().zip(&w.procs).enumerate().all(|(me, (role, p))| {
        let gone =
            matches!(p.pc, Pc::Dead | Pc::Done) || (p.pc == Pc::Absent && !s.can_step(w, me));
        let idle = role.kind == Kind::Consumer
            && !(s.closes() && ring.closed != 0)
            && p.pc != Pc::Absent
            && !matches!(p.pc, Pc::Join(_))
            && p.leases[0].is_none();
        gone || idle
    });
    // Nobody is obliged to move the frontier before the space is wanted.
    let low = if s.one_consumer { ring.head.pos } else { w.reclaimable(s) };
    let next = if s.one_consumer { ring.peek } else { ring.head };
    let reclaimed = low == next.pos && next.pos >= ring.tail.pos;
    let packets_agree = next.pos != ring.tail.pos
        || (next.packets == ring.tail.packets && ring.head.packets == ring.tail.packets);
    let at = s.index(next.pos);
    let nothing_follows = ring.stamps[at].lap != s.lap(next.pos)
        && (ring.claims[at].lap != s.lap(next.pos) || ring.claims[at].kind == Claimed::Closed);
    let everything = w.crashes > 0
        || ring.closed != 0
        || s.roles.iter().enumerate().all(|(me, r)| {
            r.puts.iter().enumerate().all(|(call, put)| {
                let first = s.packet(me, call);
                r.after.is_some()
                    || put.dropped
                    || (first..first + put.packets()).all(|k| w.acked & (1 << k) != 0)
            })
        });
    let acked = w.put & !w.acked == 0;
    finished && reclaimed && packets_agree && nothing_follows && everything && acked
}
