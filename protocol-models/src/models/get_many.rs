//! `get_many`: several records at once, each by its own CAS, or one `peek` for all.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

fn many_consumers() -> Scenario {
    Scenario {
        crashes: 2,
        batch: 2,
        ..Scenario::new("2 consumers take 2 at a time, released in any order, 2 deaths", 4)
            .producer(&[Put::dropped(1), Put::of(1), Put::of(1), Put::of(1), Put::of(1)])
            .consumer()
            .consumer()
    }
}

fn two_producers() -> Scenario {
    Scenario {
        crashes: 1,
        batch: 2,
        ..Scenario::new("2 producers, 2 consumers take 2 at a time, 1 death", 4)
            .producer(&[Put::of(1), Put::of(2)])
            .producer(&[Put::of(1)])
            .consumer()
            .consumer()
    }
}

fn one_consumer() -> Scenario {
    Scenario {
        crashes: 2,
        one_producer: true,
        one_consumer: true,
        batch: 3,
        leases: 3,
        ..Scenario::new("one consumer takes 3 under one peek, a successor, 2 deaths", 4)
            .producer(&[Put::of(1), Put::of(1), Put::dropped(1), Put::of(1), Put::of(2)])
            .consumer()
            .next_consumer(1)
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "get-many",
        about: "several records in one call, released in any order",
        min_states: 1_800_000,
        scenarios: rings(vec![many_consumers(), two_producers(), one_consumer()]),
        mutants: vec![
            mutant(
                "peek stored after exposure",
                Mutant::PeekAfterExposure,
                one_consumer(),
                super::FLAGGED,
            ),
            mutant(
                "frontier CAS without the head CAS first",
                Mutant::FrontierWithoutHead,
                many_consumers(),
                super::WEDGED,
            ),
        ],
    }
}
