//! Looks into ringway segments: live, wedged or abandoned, or copies of them in files.
//!
//! Reads through the library's own layout code, on mappings that cannot be written, so nothing that
//! looks can change a segment. It joins nothing and takes no lock: a stopped or dead process cannot make it
//! wait. `docs/inspect.md` has the shapes of the JSON.

mod clean;
mod cli;
mod damaged;
mod decode;
mod doctor;
mod dump;
mod failure;
mod feed;
mod follow;
mod hz;
mod json;
mod list;
mod looks;
mod man;
mod metrics;
mod output;
mod peek;
mod record;
mod show;
mod tape;
mod target;
mod top;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use cli::{Cli, Verb};
use failure::Result;
use output::Output;

/// What an invocation found, which is its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Nothing is wrong.
    Fine,
    /// Something is: it was printed.
    Findings,
}

impl Found {
    fn when(findings: bool) -> Self {
        if findings { Self::Findings } else { Self::Fine }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut output = Output::new(&cli.common);
    let done = run(&cli, &mut output).and_then(|found| output.flush().map(|()| found));
    match done {
        Ok(Found::Fine) => ExitCode::SUCCESS,
        Ok(Found::Findings) => ExitCode::from(1),
        // Whoever read our output has seen enough.
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shm-inspect: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(cli: &Cli, output: &mut Output) -> Result<Found> {
    match &cli.verb {
        Verb::List { segments } => list::run(&cli.common, segments, output),
        Verb::Show { target } => show::run(&cli.common, target, output),
        Verb::Dump(args) => dump::run(&cli.common, args, output),
        Verb::Peek(args) => peek::run(&cli.common, args, output),
        Verb::Watch(args) => watch::run(&cli.common, args),
        Verb::Hz(args) => hz::run(&cli.common, args, output),
        Verb::Top(args) => top::run(&cli.common, args, output),
        Verb::Record(args) => record::record(&cli.common, args, output),
        Verb::Replay(args) => record::replay(&cli.common, args, output),
        Verb::Put(args) => feed::put(&cli.common, args, output),
        Verb::Get(args) => feed::get(&cli.common, args, output),
        Verb::Clean(args) => clean::run(&cli.common, args, output),
        Verb::Doctor { segments } => doctor::run(&cli.common, segments, output),
        Verb::Metrics { segments } => metrics::run(&cli.common, segments, output),
        Verb::Man { into } => man::run(into.as_deref(), output),
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "shm-inspect", &mut script);
            output.write(&script)?;
            Ok(Found::Fine)
        }
    }
}
