//! The workloads of `ringway-bench` over other transports, between the same two CPUs, in one run.
//!
//! Rounds are interleaved: every transport is measured once a round, each time with a fresh peer and
//! next to its own floor, so that a machine that changes its speed changes it for all. What counts is
//! the median of a transport's rounds. Clock, floor, payloads, processes and Ringway itself are
//! `ringway-bench`'s own sources.
#![allow(dead_code, reason = "ringway-bench's sources have more in them than is used here")]

#[path = "../../src/awake.rs"]
mod awake;
#[path = "../../src/clock.rs"]
mod clock;
#[path = "../../src/core_share.rs"]
mod core_share;
#[path = "../../src/cpus.rs"]
mod cpus;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/floor.rs"]
mod floor;
#[path = "../../src/link.rs"]
mod link;
#[path = "../../src/payload.rs"]
mod payload;
#[path = "../../src/peers.rs"]
mod peers;
#[path = "../../src/scratch.rs"]
mod scratch;
#[path = "../../src/shared.rs"]
mod shared;
#[path = "../../src/sizing.rs"]
mod sizing;
#[path = "../../src/stats.rs"]
mod stats;
#[path = "../../src/transport.rs"]
mod transport;

mod rivals;
mod table;
mod work;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::cpus::CpuPair;
use crate::error::{BenchError, Result};
use crate::peers::Job;
use crate::rivals::{Environment, Part, Rival};
use crate::table::Table;
use crate::work::{Task, Work};

/// Compares Ringway with other transports between two CPUs, in one run
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  ringway-compare                                everything, five rounds
  ringway-compare --effort 10 --rounds 3         a tenth of it, for a first look
  ringway-compare --only latency --rivals ringway,aeron,iceoryx2
  ringway-compare --only stream,many --cpus 2,3 --json > streams.json
  ringway-compare --only wakeup --rivals futex,ringway,pipe

What is left out of a comparison is said below its table, with the reason. Ctrl-C ends the run and
leaves nothing behind. benches/README.md defines every workload and every field of the JSON."
)]
struct Cli {
    #[command(subcommand)]
    peer: Option<Hidden>,
    /// Times that everything is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..1000))]
    rounds: u64,
    /// Workloads to run [default: all]
    #[arg(long, value_delimiter = ',', value_name = "WORKLOAD,…")]
    only: Vec<String>,
    /// What to compare, by the first word of the name: ringway, aeron, rtrb [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    rivals: Vec<String>,
    /// How much is measured at a time, in percent of what is needed for a quotable figure
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1000))]
    effort: u64,
    /// The CPUs of the two processes [default: two of different cores]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    cpus: Option<Vec<usize>>,
    /// Print one line of JSON instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Hidden {
    /// The other process of a measurement
    #[command(hide = true)]
    Peer {
        /// What to do, as JSON
        #[arg(long)]
        job: String,
    },
}

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
    let done = match &cli.peer {
        Some(Hidden::Peer { job }) => peer(job),
        None => compare(&cli),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringway-compare: {error}");
            match error {
                BenchError::Usage(_) => ExitCode::from(2),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

fn peer(job: &str) -> Result<()> {
    let job: Job<Task> = serde_json::from_str(job)
        .map_err(|error| BenchError::Usage(format!("`peer` is for its own use: {error}")))?;
    let pair = peers::become_peer(&job)?;
    rivals::answer(&pair, &job.task)
}

fn compare(cli: &Cli) -> Result<()> {
    // Before anything is pinned: what it starts may run on both CPUs.
    let environment = Environment::start()?;
    let cpus = CpuPair::choose(cli.cpus.as_deref())?;
    let work: Vec<Work> = Work::all(cli.effort)
        .into_iter()
        .filter(|work| cli.only.is_empty() || cli.only.iter().any(|name| *name == work.kind()))
        .collect();
    if work.is_empty() {
        return Err(BenchError::Usage("--only takes latency, stream, many, wakeup".into()));
    }
    let mut tables: Vec<Table> = work.iter().map(Table::new).collect();
    let mut nth = 0;
    for round in 1..=cli.rounds {
        eprintln!("round {round} of {}", cli.rounds);
        for table in &mut tables {
            for rival in Rival::all() {
                if !cli.rivals.is_empty() && !cli.rivals.iter().any(|name| rival.is_called(name)) {
                    continue;
                }
                match rival.part(table.work) {
                    Part::NoQuestion => continue,
                    Part::LeftOut(why) => {
                        table.leave_out(rival, why);
                        continue;
                    }
                    Part::Takes if !rival.is_built() => {
                        table.leave_out(rival, "NOT BUILT: build with --features aeron");
                        continue;
                    }
                    Part::Takes => {}
                }
                let work = table.work.of(rival);
                eprintln!("  {}: {}", table.title(), rival.name());
                nth += 1;
                let directory = environment.directory(rival);
                let cpus_of_both = [cpus.here, cpus.there];
                let task = Task { rival, work, directory, nth, cpus: cpus_of_both };
                let measured = rivals::measure(cpus, &task)?;
                table.add(rival, measured);
            }
        }
    }
    table::print(&tables, cpus, cli.rounds, cli.effort, cli.json);
    Ok(())
}
