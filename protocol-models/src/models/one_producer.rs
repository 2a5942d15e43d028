//! One producer, and the successor that takes over when it dies.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

fn one_to_many() -> Scenario {
    Scenario {
        crashes: 2,
        one_producer: true,
        ..Scenario::new("a producer and its successor, 2 consumers, 2 deaths", 4)
            .producer(&[Put::of(1), Put::of(2)])
            .next_producer(0, &[Put::of(1), Put::of(1)])
            .consumer()
            .consumer()
    }
}

fn run_and_drop() -> Scenario {
    Scenario {
        crashes: 2,
        one_producer: true,
        one_consumer: true,
        leases: 2,
        maxsize: 2,
        ..Scenario::new("runs forwards, dropped reservations, maxsize 2, one consumer", 4)
            .producer(&[Put::run(2), Put::dropped(1), Put::of(1)])
            .next_producer(0, &[Put::of(1), Put::of(2)])
            .consumer()
            .next_consumer(2)
    }
}

fn two_successors() -> Scenario {
    Scenario {
        crashes: 3,
        one_producer: true,
        frontier_step: 0,
        ..Scenario::new(
            "a producer and two successors, 2 consumers, frontier left to the producer, 3 deaths",
            2,
        )
        .producer(&[Put::dropped(1), Put::of(1), Put::of(1)])
        .next_producer(0, &[Put::of(1)])
        .next_producer(1, &[Put::of(1)])
        .consumer()
        .consumer()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "one-producer",
        about: "one producer, its successors roll over what it stamped",
        min_states: 1_850_000,
        scenarios: rings(vec![one_to_many(), run_and_drop(), two_successors()]),
        mutants: vec![
            mutant("new producer starts at tail", Mutant::NoRollOver, one_to_many(), super::TORN),
            mutant(
                "new producer starts at tail, one consumer",
                Mutant::NoRollOver,
                run_and_drop(),
                super::TORN,
            ),
            mutant(
                "frontier CAS without the head CAS first",
                Mutant::FrontierWithoutHead,
                two_successors(),
                super::WEDGED,
            ),
        ],
    }
}
