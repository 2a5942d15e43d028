//! Many producers, many consumers: claims, takes, releases, helping, recovery, refusals.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

/// Two producers of mixed sizes, two consumers, two deaths.
fn mixed() -> Scenario {
    Scenario {
        crashes: 2,
        ..Scenario::new("2 producers 2 consumers, sizes 1 and 2, 2 deaths", 4)
            .producer(&[Put::of(2), Put::of(1)])
            .producer(&[Put::of(1), Put::of(2)])
            .consumer()
            .consumer()
    }
}

/// At most one packet waits; reservations are dropped now and then.
fn bounded() -> Scenario {
    Scenario {
        crashes: 1,
        maxsize: 1,
        hint: true,
        ..Scenario::new("maxsize 1, dropped reservations, 1 death", 2)
            .producer(&[Put::dropped(1), Put::of(1)])
            .producer(&[Put::of(1)])
            .consumer()
            .consumer()
    }
}

/// A ring of two entries that is full most of the time, and whose entries lap often.
fn laps() -> Scenario {
    Scenario {
        crashes: 1,
        frontier_step: 1,
        ..Scenario::new(
            "ring of 2, laps, dropped reservations, frontier at every release, 1 death",
            2,
        )
        .producer(&[Put::dropped(1)])
        .producer(&[Put::of(1), Put::of(2)])
        .consumer()
        .consumer()
    }
}

/// One entry stays inside large records for several laps.
fn interior() -> Scenario {
    Scenario {
        crashes: 1,
        ..Scenario::new("entries inside large records for 3 laps", 2)
            .producer(&[Put::of(2), Put::of(2), Put::of(2), Put::of(1), Put::of(1)])
            .consumer()
            .consumer()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "mpmc",
        about: "many producers, many consumers, refusals, maxsize, two deaths",
        min_states: 9_500_000,
        scenarios: rings(vec![mixed(), bounded(), laps(), interior()]),
        mutants: vec![
            mutant(
                "frontier CAS without the head CAS first",
                Mutant::FrontierWithoutHead,
                laps(),
                super::WEDGED,
            ),
            mutant(
                "head helped from the frontier only",
                Mutant::HeadFromFrontierOnly,
                mixed(),
                super::WEDGED,
            ),
            mutant("record taken without a CAS", Mutant::TakeWithoutCas, laps(), super::STOLEN),
            mutant(
                "words compared modulo four laps",
                Mutant::WrappingLaps,
                interior(),
                super::WEDGED,
            ),
            mutant("redelivery count not raised", Mutant::CountNotRaised, laps(), super::FLAGGED),
            mutant(
                "refusal without a last look",
                Mutant::NoLastLook,
                laps(),
                "refusal never spurious",
            ),
            mutant(
                "maxsize checked against another tail than the claim's",
                Mutant::MaxsizeAgainstStaleTail,
                bounded(),
                "maxsize kept",
            ),
        ],
    }
}
