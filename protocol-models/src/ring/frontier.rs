//! Helping the frontier over released and skipped records. Anybody may, any number at once.
//! A helper may die anywhere: what it has done is a prefix of what the next one repeats.

use super::scenario::{Mutant, Scenario};
use super::words::{Age, State};
use super::world::{self, World};
use super::{consumer_many, producer_many, producer_one};

/// Where a helper is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    Load,
    Stamp { f: u8 },
    Head { f: u8, n: u8 },
    Cas { f: u8, n: u8 },
}

/// What a helper does when the record at the frontier is not free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum After {
    /// Looks for the next record.
    Take,
    /// Looks for records to adopt.
    Scan,
    /// Met the seal at this position: returns `Closed` if the frontier has reached it.
    Drain(u8),
    /// Tries to put again.
    Put,
}

/// Takes one step.
pub(crate) fn step(s: &Scenario, w: &mut World, me: usize, pc: Pc, after: After) -> world::Pc {
    let next = match pc {
        Pc::Load => Pc::Stamp { f: w.ring.frontier },
        Pc::Stamp { f } => {
            let stamp = w.stamp(s, f);
            let free = s.age(stamp.lap, f) == Age::Same
                && matches!(stamp.state, State::Released | State::Skipped);
            if !free {
                return finish(s, w, me, f, after);
            }
            let late = w.ring.claims[s.index(f)].lap > s.lap(f);
            if s.is(Mutant::HelperBelievesClaim) && stamp.state == State::Skipped && late {
                Pc::Load
            } else if s.is(Mutant::FrontierWithoutHead) {
                Pc::Cas { f, n: stamp.n }
            } else {
                Pc::Head { f, n: stamp.n }
            }
        }
        Pc::Head { f, n } => {
            w.advance_head(s, f, n);
            Pc::Cas { f, n }
        }
        Pc::Cas { f, n } => {
            if w.ring.frontier == f {
                w.ring.frontier = f + n;
            }
            Pc::Load
        }
    };
    world::Pc::Frontier(next, after)
}

fn finish(s: &Scenario, w: &mut World, me: usize, f: u8, after: After) -> world::Pc {
    match after {
        After::Take => consumer_many::restart(s),
        After::Scan => consumer_many::scan(s),
        After::Drain(seal) if f >= seal || s.is(Mutant::ClosedAtSeal) => {
            w.tell_closed(me);
            world::Pc::Done
        }
        After::Drain(_) => consumer_many::scan(s),
        After::Put if s.one_producer => producer_one::again(s),
        After::Put => producer_many::begin(s, w, me),
    }
}
