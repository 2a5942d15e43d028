//! One consumer with several leases, and the successor that takes over when it dies.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

fn one_to_one() -> Scenario {
    Scenario {
        crashes: 3,
        one_producer: true,
        one_consumer: true,
        leases: 3,
        gives: 1,
        ..Scenario::new("one producer, 3 leases, 2 successors of the consumer, 3 deaths", 4)
            .producer(&[Put::of(1), Put::of(2), Put::of(1)])
            .consumer()
            .next_consumer(1)
            .next_consumer(2)
    }
}

/// Records acked out of order, of which the successor takes the oldest while entries lap.
fn laps() -> Scenario {
    Scenario {
        crashes: 1,
        one_producer: true,
        one_consumer: true,
        leases: 3,
        ..Scenario::new("one producer laps the ring behind a successor, 3 leases, 1 death", 3)
            .producer(&[Put::of(1), Put::of(1), Put::of(1), Put::of(1), Put::of(2)])
            .consumer()
            .next_consumer(1)
    }
}

fn many_to_one() -> Scenario {
    Scenario {
        crashes: 2,
        one_consumer: true,
        leases: 2,
        maxsize: 2,
        ..Scenario::new("two producers, maxsize 2, 2 leases and a successor, 2 deaths", 4)
            .producer(&[Put::of(1), Put::dropped(1), Put::of(1)])
            .producer(&[Put::of(2), Put::of(1)])
            .consumer()
            .next_consumer(2)
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "one-consumer",
        about: "one consumer with several leases, acks out of order, successors",
        min_states: 360_000,
        scenarios: rings(vec![one_to_one(), many_to_one(), laps()]),
        mutants: vec![
            mutant(
                "peek stored after exposure",
                Mutant::PeekAfterExposure,
                one_to_one(),
                super::FLAGGED,
            ),
            mutant(
                "ack only in a lazy word",
                Mutant::LazyAck,
                one_to_one(),
                "no acked packet again",
            ),
            mutant(
                "successor does not roll head before it starts",
                Mutant::NoRollAtStart,
                one_to_one(),
                super::WEDGED,
            ),
            mutant(
                "successor goes on behind its own head",
                Mutant::CursorBehindHead,
                laps(),
                super::WEDGED,
            ),
            mutant(
                "redelivery count not raised",
                Mutant::CountNotRaised,
                one_to_one(),
                super::FLAGGED,
            ),
        ],
    }
}
