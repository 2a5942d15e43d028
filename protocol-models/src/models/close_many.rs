//! Close by seal: a consumer that sees `closed` claims the next position for ever.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

fn seal() -> Scenario {
    Scenario {
        crashes: 1,
        batch: 2,
        ..Scenario::new("2 producers 2 consumers that take 2 and a closer, 1 death", 2)
            .producer(&[Put::of(1)])
            .producer(&[Put::of(1)])
            .consumer()
            .consumer()
            .closer()
    }
}

fn seal_lapped() -> Scenario {
    Scenario {
        crashes: 2,
        ..Scenario::new("1 producer of 2 packets, 2 consumers and a closer, 2 deaths", 2)
            .producer(&[Put::of(1), Put::of(2)])
            .consumer()
            .consumer()
            .closer()
    }
}

fn seal_one_consumer() -> Scenario {
    Scenario {
        crashes: 2,
        one_consumer: true,
        leases: 2,
        ..Scenario::new("2 producers, one consumer with 2 leases and a successor, 2 deaths", 2)
            .producer(&[Put::of(1), Put::of(1)])
            .producer(&[Put::of(1)])
            .consumer()
            .next_consumer(2)
            .closer()
    }
}

/// The seal overwrites the claim word of a skipped record that the frontier has not passed.
fn seal_over_skipped() -> Scenario {
    Scenario {
        crashes: 1,
        ..Scenario::new("a seal over the claim of a skipped record, a consumer joins, 1 death", 2)
            .producer(&[Put::dropped(1), Put::of(1)])
            .consumer()
            .consumer()
            .next_consumer(1)
            .closer()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "close-many",
        about: "close by seal with many producers, one or many consumers",
        min_states: 470_000,
        scenarios: rings(vec![seal(), seal_lapped(), seal_one_consumer(), seal_over_skipped()]),
        mutants: vec![
            mutant("seal by the closer's flag alone", Mutant::SealByFlag, seal(), super::CLOSED),
            mutant(
                "seal by the closer's flag alone, one consumer",
                Mutant::SealByFlag,
                seal_one_consumer(),
                super::CLOSED,
            ),
            mutant("producer helps past the seal", Mutant::HelpPastClosed, seal(), super::CLOSED),
            mutant(
                "helper believes a claim word of a later lap",
                Mutant::HelperBelievesClaim,
                seal_over_skipped(),
                super::WEDGED,
            ),
            mutant(
                "closed at the seal, leases of others open",
                Mutant::ClosedAtSeal,
                seal(),
                super::CLOSED,
            ),
        ],
    }
}
