//! Tests across real processes, with real SIGKILL.
//!
//! | module | what |
//! |---|---|
//! | `place` | a directory of its own in `/dev/shm` for each test, gone afterwards |
//! | `peer` | starting, asking, stopping and killing scripted processes |
//! | `script` | what such a process understands: one command a line, one answer a line |
//! | `work` | loops that such a process runs: produce, consume, echo |
//! | `torment` | the loops of torture's victims: every way to put, get and route |
//! | `crash` | dying, or stopping, at a named crash point |
//! | `accounting` | numbered, checksummed packets; logs that survive SIGKILL |
//! | `ledger` | the account at the end |
//! | `torture` | the supervisor of `src/bin/torture.rs`: kills, restarts, measures, accounts |
//! | `hostile` | segments under somebody who writes what he likes, for `mutate` and the fuzzer |
//! | `starter` | one of hundreds of processes that open, destroy or clean the same segment at once |
//! | `random` | a seeded generator |
//!
//! The tests are in `tests/promises/`. Nothing here sleeps to synchronise: everything waits for a
//! condition, under a watchdog.

pub mod accounting;
pub mod crash;
pub mod hostile;
pub mod ledger;
pub mod peer;
pub mod place;
pub mod random;
pub mod script;
pub mod starter;
pub mod torment;
pub mod torture;
pub mod work;

use std::time::{Duration, Instant};

/// How long anything may take that is not allowed to hang. Generous: the machine may be busy.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// Waits until `condition` holds.
///
/// # Panics
/// When the watchdog's time is over.
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "waited too long until {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}
