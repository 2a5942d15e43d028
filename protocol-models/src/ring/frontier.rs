//! Helping the frontier over released and skipped records. Anybody may, any number at once, and
//! nobody has to before the space is wanted: a walk over as many records as are free, the head over
//! them all, one by one, then one CAS. A helper may die anywhere: what it has done is a prefix of what the next
//! one repeats.

use super::scenario::{Mutant, Scenario};
use super::words::{Age, Held, State};
use super::world::{self, World};
use super::{adopt, consumer_many, producer_many, producer_one};

/// Where a helper is: it walks from `f`, and has come to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Load,
    Take { f: u8, to: u8 },
    Stamp { f: u8, to: u8 },
    Head { f: u8, to: u8 },
    Cas { f: u8, to: u8 },
}

/// What a helper does afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum After {
    /// Looks for the next record.
    Take,
    /// Met the seal at this position: only walks, and returns `Closed` if it reaches the seal.
    Drain(u8),
    /// Tries to put again.
    Put,
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc, after: After) -> world::Pc {
    let drains = matches!(after, After::Drain(_));
    let next = match pc {
        Pc::Load => Pc::Take { f: w.ring.frontier, to: w.ring.frontier },
        Pc::Take { f, to } => {
            let take = w.take(s, to);
            match (s.age(take.lap, to), take.held) {
                (Age::Same, Held::Released) => Pc::Take { f, to: to + take.n },
                (Age::Older, _) => Pc::Stamp { f, to },
                _ if f == to => return finish(s, w, me, f, after),
                _ if drains => return finish(s, w, me, to, after),
                _ => walked(s, f, to),
            }
        }
        Pc::Stamp { f, to } => {
            let stamp = w.stamp(s, to);
            let skipped = s.age(stamp.lap, to) == Age::Same && stamp.state == State::Skipped;
            let late = w.ring.claims[s.index(to)].lap > s.lap(to);
            if skipped && late && s.is(Mutant::HelperBelievesClaim) {
                Pc::Load
            } else if skipped {
                Pc::Take { f, to: to + stamp.n }
            } else if f == to || drains {
                return finish(s, w, me, to, after);
            } else {
                walked(s, f, to)
            }
        }
        Pc::Head { f, to } => {
            let believed = s.is(Mutant::HeadFromFrontierOnly) && w.ring.head.pos != f;
            if believed || w.head_reaches(s, to) { Pc::Cas { f, to } } else { Pc::Head { f, to } }
        }
        Pc::Cas { f, to } => {
            if w.ring.frontier == f {
                w.ring.frontier = to;
                return finish(s, w, me, to, after);
            }
            Pc::Load
        }
    };
    world::Pc::Frontier(next, after)
}

/// All from `f` to `to` is free: the head goes first.
fn walked(s: &Scenario, f: u8, to: u8) -> Pc {
    if s.is(Mutant::FrontierWithoutHead) { Pc::Cas { f, to } } else { Pc::Head { f, to } }
}

fn finish(s: &Scenario, w: &mut World, me: usize, f: u8, after: After) -> world::Pc {
    match after {
        After::Take => consumer_many::restart(s),
        After::Drain(seal) if f >= seal || s.is(Mutant::ClosedAtSeal) => {
            w.tell_closed(me);
            world::Pc::Done
        }
        After::Drain(_) => adopt::scan(s),
        After::Put if s.one_producer => producer_one::again(s),
        After::Put => producer_many::begin(s, w, me),
    }
}
