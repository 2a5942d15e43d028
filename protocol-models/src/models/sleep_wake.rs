//! Sleeping on a futex, waking one of several, passing the wake-up on.

use super::Spec;
use crate::runner::{Mutation, System};
use crate::sleep::{Mutant, Sleep};

/// Nobody dies, nothing is sliced: no wake-up may be lost.
fn quiet(quota: u8) -> Sleep {
    Sleep {
        leaves: 1,
        ..Sleep::new(
            "2 publishers, 2 waiters, 1 leaves for its own reason; no slices",
            &[2, 2],
            quota,
        )
    }
}

/// A run of two wakes one waiter, who passes it on.
fn runs() -> Sleep {
    Sleep {
        leaves: 1,
        run: 2,
        ..Sleep::new("2 publishers of runs of 2, 2 waiters; no slices", &[1, 1], 2)
    }
}

/// A single producer's store buffer against the sleeper's membarrier.
fn buffered() -> Sleep {
    Sleep {
        leaves: 1,
        buffered: true,
        ..Sleep::new("1 publisher with a store buffer, 2 waiters; no slices", &[3], 4)
    }
}

/// Anybody dies; slices end.
fn sliced() -> Sleep {
    Sleep {
        leaves: 1,
        crashes: 2,
        slices: true,
        buffered: true,
        ..Sleep::new("2 publishers, 2 waiters, 2 deaths, slices", &[1, 1], 4)
    }
}

pub(super) fn spec() -> Spec {
    let mutant = |name, rule, sleep: Sleep| {
        let property = if sleep.crashes > 0 { "survivors take all" } else { "no wake-up lost" };
        let sleep = Sleep { only: Some(property), ..sleep.breaking(rule) };
        Mutation { name, property, system: System::Sleep(sleep) }
    };
    Spec {
        name: "sleep-wake",
        about: "futex sleep, one wake-up per put, pass-on; slices when somebody dies",
        min_states: 4_700_000,
        scenarios: [quiet(1), quiet(2), runs(), buffered(), sliced()].map(System::Sleep).to_vec(),
        mutants: vec![
            mutant("waiter bit set after the re-check", Mutant::BitAfterRecheck, buffered()),
            mutant("doorbell read after the re-check", Mutant::DoorbellReadLate, buffered()),
            mutant("all waiters cleared, one woken", Mutant::ClearAllWakeOne, quiet(1)),
            mutant("no pass-on", Mutant::NoPassOn, quiet(2)),
            mutant("no pass-on after a run", Mutant::NoPassOn, runs()),
            mutant("no membarrier before the re-check", Mutant::NoBarrier, buffered()),
            mutant("no slices when somebody dies", Mutant::NoSlices, sliced()),
            mutant("bit not set again after a wake-up", Mutant::BitNotSetAgain, quiet(2)),
        ],
    }
}
