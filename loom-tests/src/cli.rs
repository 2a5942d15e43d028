//! The arguments, in both builds.

use clap::{Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  cargo run -p loom-tests -- list
  cargo run -p loom-tests -- run                       every model
  cargo run -p loom-tests -- run --mutants             every model, then every mutant of each
  cargo run -p loom-tests -- run spsc_full --mutants   one model and its mutants
  cargo run -p loom-tests -- run --mutants --json      one JSON object a line
  cargo run -p loom-tests -- crashes                   a crash at every named point, in all modes

Exit code: 0 when every model held, was explored far enough and every mutant was killed; 1 otherwise.";

/// Explores the ring's code under loom, and proves that the models can fail.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists the models: bound, minimum of iterations, mutants.
    List {
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
    },
    /// Runs models, each in a process of its own.
    Run {
        /// Only this model.
        model: Option<String>,
        /// Also runs every mutant of each model; each must make its model fail.
        #[arg(long)]
        mutants: bool,
        /// One JSON object a line.
        #[arg(long)]
        json: bool,
        /// Processes at a time.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..))]
        jobs: u16,
        /// Seconds after which a model has failed, and a mutant has not been killed.
        #[arg(long, default_value_t = 120)]
        timeout_seconds: u64,
    },
    /// Kills a participant at every k-th crash point of every scenario, and does the accounting
    /// (no loom: built with `--cfg ringway_crash`).
    Crashes,
    /// Explores one model in this process.
    #[command(hide = true)]
    InternalRun {
        /// The model.
        model: String,
        /// The deliberate defect to switch on.
        #[arg(long)]
        mutant: Option<String>,
    },
}
