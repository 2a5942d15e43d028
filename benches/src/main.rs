//! Measures Ringway between processes pinned to CPUs, next to what the machine can do.
//!
//! Every run measures its own yardstick with the same two CPUs: the *floor*, one cache line bounced
//! (`floor`), and the *ceiling*, payloads copied with nothing but two counters (`copy`). The program
//! starts itself a second time as the peer (`peers`); both agree on a plan, meet before each
//! part, and the starter reports. Where more than two take part they are a `team`. `link` knows
//! Ringway's interface, and so does `scale`; `summary` runs this program once for each verb.
//!
//! Whatever ends the starter ends the peer, and removes the segments' directory (`scratch`).

mod awake;
mod cli;
mod clock;
mod copy;
mod core_share;
mod cpus;
mod create;
mod error;
mod floor;
mod latency;
mod line;
mod lines;
mod link;
mod open_loop;
mod oversubscribed;
mod packet;
mod payload;
mod peers;
mod plot;
mod report;
mod scale;
mod scratch;
mod service;
mod shared;
mod sizing;
mod stats;
mod streams;
mod summary;
mod table;
mod team;
mod throughput;
mod transport;
mod verbs;
mod wakeup;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::Cli;
use crate::error::BenchError;
pub(crate) use crate::verbs::Task;

/// Cleans up on every way out of `main`, panics included.
struct CleanUp;

impl Drop for CleanUp {
    fn drop(&mut self) {
        peers::clean_up();
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let _clean_up = CleanUp;
    match verbs::run(cli.verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway-bench: {error}");
            match error {
                BenchError::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}
