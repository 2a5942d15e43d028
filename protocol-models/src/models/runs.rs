//! Runs: one claim for several one-unit records, the first record stamped last.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

/// Runs next to single records, two deaths.
fn many() -> Scenario {
    Scenario {
        crashes: 2,
        batch: 2,
        ..Scenario::new("runs of 2 and 3, 2 consumers that take 2, 2 deaths", 4)
            .producer(&[Put::run(3)])
            .producer(&[Put::run(2)])
            .consumer()
            .consumer()
    }
}

/// One consumer, which dies too; a seal that may overwrite the claim word of a run.
fn one_consumer() -> Scenario {
    Scenario {
        crashes: 2,
        one_consumer: true,
        leases: 2,
        ..Scenario::new("runs into one consumer with 2 leases and a successor, 2 deaths", 4)
            .producer(&[Put::of(1), Put::run(2)])
            .producer(&[Put::run(2)])
            .consumer()
            .next_consumer(2)
    }
}

/// Closed while a dead run lies before the seal, behind an open lease.
fn closed() -> Scenario {
    Scenario {
        crashes: 1,
        one_consumer: true,
        leases: 2,
        ..Scenario::new("a run, a dead run, a seal one lap on, one consumer", 4)
            .producer(&[Put::of(1), Put::run(3)])
            .producer(&[Put::of(1)])
            .consumer()
            .closer()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "runs",
        about: "one claim for several records, the first record stamped last",
        min_states: 860_000,
        scenarios: rings(vec![many(), one_consumer(), closed()]),
        mutants: vec![
            mutant(
                "run committed first to last",
                Mutant::RunFirstToLast,
                one_consumer(),
                super::WEDGED,
            ),
            mutant(
                "run committed first to last, many consumers",
                Mutant::RunFirstToLast,
                many(),
                super::WEDGED,
            ),
        ],
    }
}
