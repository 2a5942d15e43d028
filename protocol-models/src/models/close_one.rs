//! Close with one producer: its intent, the closer's membarrier, and a store buffer between them.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

fn one_to_one() -> Scenario {
    Scenario {
        crashes: 2,
        one_producer: true,
        one_consumer: true,
        buffered: true,
        leases: 2,
        ..Scenario::new("producer with store buffer and successor, one consumer likewise", 2)
            .producer(&[Put::of(1), Put::of(1)])
            .next_producer(0, &[Put::of(1)])
            .consumer()
            .next_consumer(2)
            .closer()
    }
}

fn one_to_many() -> Scenario {
    Scenario {
        crashes: 2,
        one_producer: true,
        buffered: true,
        ..Scenario::new("producer with store buffer and successor, 2 consumers", 2)
            .producer(&[Put::of(1), Put::of(1)])
            .next_producer(0, &[Put::of(1)])
            .consumer()
            .consumer()
            .closer()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "close-one",
        about: "close with one producer: intent, closed, membarrier, store buffers",
        min_states: 3_800_000,
        scenarios: rings(vec![one_to_one(), one_to_many()]),
        mutants: vec![
            mutant(
                "intent stored after loading closed",
                Mutant::IntentAfterClosed,
                one_to_one(),
                super::CLOSED,
            ),
            mutant(
                "closed believed without a membarrier",
                Mutant::CloseWithoutBarrier,
                one_to_one(),
                super::CLOSED,
            ),
            mutant(
                "closed believed without a membarrier, many consumers",
                Mutant::CloseWithoutBarrier,
                one_to_many(),
                super::CLOSED,
            ),
            mutant(
                "closed at the seal, leases of others open",
                Mutant::ClosedAtSeal,
                one_to_many(),
                super::CLOSED,
            ),
        ],
    }
}
