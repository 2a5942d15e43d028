//! Leases given back and adopted: by the hint alone when nobody dies, by hint and idle scan else.

use super::{Mutant, Spec, mutant, rings};
use crate::ring::scenario::{Put, Scenario};

/// Nobody scans when idle: the hint must do.
fn hint_alone() -> Scenario {
    Scenario {
        gives: 3,
        hint: true,
        idle_scan: false,
        ..Scenario::new("2 consumers give back 3 times, by the hint alone", 4)
            .producer(&[Put::of(1), Put::of(2), Put::of(1)])
            .consumer()
            .consumer()
    }
}

fn deaths() -> Scenario {
    Scenario {
        gives: 1,
        crashes: 2,
        hint: true,
        ..Scenario::new("a give-back and 2 deaths, hint and idle scan", 2)
            .producer(&[Put::of(1), Put::of(1), Put::of(1)])
            .consumer()
            .consumer()
    }
}

fn batches() -> Scenario {
    Scenario {
        gives: 2,
        batch: 2,
        hint: true,
        idle_scan: false,
        ..Scenario::new("2 leases at once given back, by the hint alone", 4)
            .producer(&[Put::of(1), Put::of(1), Put::of(1)])
            .consumer()
            .consumer()
    }
}

pub(super) fn spec() -> Spec {
    Spec {
        name: "give-back",
        about: "returned and orphaned records are adopted, flagged, counted",
        min_states: 1_050_000,
        scenarios: rings(vec![hint_alone(), deaths(), batches()]),
        mutants: vec![
            mutant(
                "returned without hint or idle scan",
                Mutant::NoHintNoScan,
                hint_alone(),
                super::WEDGED,
            ),
            mutant(
                "hint not set again after an adoption",
                Mutant::HintNotSetAgain,
                batches(),
                super::WEDGED,
            ),
            mutant(
                "redelivery counted when given back, too",
                Mutant::CountedTwice,
                hint_alone(),
                super::FLAGGED,
            ),
            mutant(
                "redelivery count not raised",
                Mutant::CountNotRaised,
                hint_alone(),
                super::FLAGGED,
            ),
        ],
    }
}
