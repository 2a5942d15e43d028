//! Ids are used again: a recoverer stalls while a joiner scrubs and lives under the dead's id.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

fn consumer_id() -> Scenario {
    Scenario {
        crashes: 2,
        locks: true,
        hint: true,
        ..Scenario::new("a consumer's id used again, 2 deaths", 2)
            .producer(&[Put::of(1), Put::of(1), Put::of(1)])
            .consumer()
            .consumer()
            .next_consumer(1)
            .under_its_id()
    }
}

/// The dead one held a run, taken at once and perhaps split in part.
fn run_taker_id() -> Scenario {
    Scenario {
        crashes: 2,
        locks: true,
        batch: 2,
        ..Scenario::new("the id of a consumer of runs used again, 2 deaths", 2)
            .producer(&[Put::run(2), Put::of(1)])
            .consumer()
            .consumer()
            .next_consumer(1)
            .under_its_id()
    }
}

fn producer_id() -> Scenario {
    Scenario {
        crashes: 2,
        locks: true,
        ..Scenario::new("a producer's id used again, 2 deaths", 2)
            .producer(&[Put::of(1), Put::of(2)])
            .consumer()
            .consumer()
            .next_producer(0, &[Put::of(1), Put::of(1)])
            .under_its_id()
    }
}

fn run_id() -> Scenario {
    Scenario {
        crashes: 2,
        locks: true,
        ..Scenario::new("the id of a producer of runs used again by a consumer, 2 deaths", 4)
            .producer(&[Put::run(2), Put::of(1)])
            .consumer()
            .producer(&[Put::of(1)])
            .next_consumer(0)
            .under_its_id()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "id-reuse",
        about: "stalled recoverers, joiners that scrub the id they take over",
        min_states: 2_450_000,
        scenarios: rings(vec![consumer_id(), run_taker_id(), producer_id(), run_id()]),
        mutants: vec![
            mutant(
                "recovery without the dead's lock",
                Mutant::RecoverWithoutLock,
                consumer_id(),
                super::STOLEN,
            ),
            mutant(
                "full ring's record returned without the dead's lock",
                Mutant::ReturnWithoutLock,
                consumer_id(),
                super::STOLEN,
            ),
            mutant(
                "dead's run returned without its lock",
                Mutant::ReturnRunWithoutLock,
                run_taker_id(),
                super::STOLEN,
            ),
            mutant(
                "joiner scrubs records, and no runs",
                Mutant::ScrubLeavesRuns,
                run_taker_id(),
                super::WEDGED,
            ),
            mutant(
                "joiner scrubs up to the head only",
                Mutant::ScrubStopsAtHead,
                consumer_id(),
                super::WEDGED,
            ),
            mutant("joiner does not scrub", Mutant::JoinWithoutScrub, consumer_id(), super::WEDGED),
            mutant(
                "joiner does not scrub claims",
                Mutant::JoinWithoutScrub,
                producer_id(),
                super::WEDGED,
            ),
        ],
    }
}
