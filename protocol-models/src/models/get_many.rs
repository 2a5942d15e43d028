//! `get_many`: several records at once, by one CAS of the first one's take word, or by one `peek`.

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

/// Whoever returns a dead one's run may die at it, and a third finds what both left.
fn returned_runs() -> Scenario {
    Scenario {
        crashes: 2,
        batch: 3,
        frontier_step: 0,
        ..Scenario::new("runs of up to 3 taken at once, returned by one who dies, too", 4)
            .producer(&[Put::run(3), Put::of(1)])
            .consumer()
            .consumer()
            .next_consumer(1)
    }
}

/// The producer finds the ring full of a dead one's run, and returns it.
fn full() -> Scenario {
    Scenario {
        crashes: 2,
        batch: 2,
        hint: true,
        frontier_step: 0,
        ..Scenario::new("a ring of 2, full of runs of the dead", 2)
            .producer(&[Put::run(2)])
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
        min_states: 2_800_000,
        scenarios: rings(vec![
            many_consumers(),
            two_producers(),
            returned_runs(),
            full(),
            one_consumer(),
        ]),
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
            mutant(
                "run taken without a CAS",
                Mutant::TakeWithoutCas,
                many_consumers(),
                super::STOLEN,
            ),
            mutant(
                "run split first to last",
                Mutant::SplitFirstToLast,
                many_consumers(),
                super::WEDGED,
            ),
            mutant(
                "head helped by one record over a run",
                Mutant::HelpRunShort,
                many_consumers(),
                super::STOLEN,
            ),
            mutant(
                "dead's run returned first to last",
                Mutant::ReturnFirstToLast,
                returned_runs(),
                super::WEDGED,
            ),
            mutant(
                "dead's run returned first to last by a producer",
                Mutant::ReturnFirstToLast,
                full(),
                super::WEDGED,
            ),
            mutant(
                "dead's run returned without its lock",
                Mutant::ReturnRunWithoutLock,
                returned_runs(),
                "no acked packet again",
            ),
            mutant(
                "dead's run returned without its lock by a producer",
                Mutant::ReturnWithoutLock,
                full(),
                "no acked packet again",
            ),
            mutant(
                "dead's run returned as it was before the lock",
                Mutant::ReturnRunUnread,
                returned_runs(),
                "no acked packet again",
            ),
        ],
    }
}
