//! Kills processes that exchange packets, at random and at every named crash point, and accounts for
//! every packet: see `shm_tests::torture`.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use shm_tests::torture::{self, Options, Programs, Report};

/// Kills processes that exchange packets, restarts them, and accounts for every packet.
///
/// Producers, routers and consumers in separate processes put and get numbered, checksummed packets
/// in every way there is. They are killed (SIGKILL) at random instants and at every named crash point
/// of the library, and some are stopped for a while. At the end nothing may be lost, torn, delivered
/// twice without a flag, delivered again after it was acknowledged, out of order, wedged, or left
/// behind: otherwise the exit code is 1.
///
/// The victims with crash points are built for it, with `--cfg ringway_crash`, under `target/crash`.
#[derive(Debug, Parser)]
#[command(name = "torture", version, after_help = EXAMPLES)]
struct Args {
    /// Kills to make.
    #[arg(long, default_value_t = 200)]
    kills: u64,
    /// Begin no new arena after this time.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Which rings: one or many producers, one or many consumers.
    #[arg(long, value_enum, default_value_t = Mode::All)]
    mode: Mode,
    /// Where random numbers start [default: the clock].
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
    /// Go on until every crash point was hit, for up to four times the kills; fail if one never is.
    #[arg(long)]
    every_point: bool,
    /// Give all victims a deliberate defect of the library (a name of `loom-tests list`): torture
    /// must fail.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Fields of the JSON:
  kills, kills_by_point      by crash point; random: at any instant
  committed, delivered       packets whose put returned; different packets received
  uncertain                  received, killed between its put and the record of it
  lost, corrupt, unflagged_duplicates, acked_redelivered, out_of_order, wedged, leftover_files
                             must be 0; so must faults: errors that no process should get
  redelivered                flagged deliveries
  resume_ms                  from the kernel's freeing of the dead process's lock to the next packet
                             through each of its rings; not while somebody is stopped (unmeasured)
  kill_to_resume_ms          the same from the kill on
  slowest                    after whose death it took longest
  never_hit                  crash points that nobody came to
  pauses, arenas, arenas_by_mode, seconds, seed, remarks

Examples:
  torture --kills 200
  torture --kills 10000 --json > torture.json
  torture --kills 500 --mode mpmc --seed 7
  torture --kills 1000000 --seconds 3600";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Spsc,
    Mpsc,
    Spmc,
    Mpmc,
    All,
}

impl Mode {
    fn indices(self) -> Vec<usize> {
        match self {
            Self::All => (0..torture::MODES.len()).collect(),
            one => vec![one as usize],
        }
    }
}

fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(1, |time| time.as_nanos() as u64 >> 10)
}

fn bar(kills: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{elapsed} {wide_bar} {pos}/{len} kills {msg}");
    let bar = ProgressBar::new(kills);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn main() -> ExitCode {
    let args = Args::parse();
    let programs = match Programs::build() {
        Ok(programs) => programs,
        Err(error) => {
            eprintln!("torture: {error}");
            return ExitCode::from(2);
        }
    };
    let options = Options {
        kills: args.kills,
        seconds: args.seconds,
        modes: args.mode.indices(),
        seed: args.seed.unwrap_or_else(clock),
        every_point: args.every_point,
        mutant: args.mutant,
    };
    let bar = bar(args.kills);
    let report = torture::run(&options, programs, |report: &Report| {
        bar.set_position(report.kills);
        bar.set_message(if report.is_right() { String::new() } else { "FAILING".to_owned() });
    });
    bar.finish_and_clear();
    if args.json {
        println!("{:#}", report.to_json());
    } else {
        println!("{report}");
    }
    let missed = args.every_point && !report.never_hit.is_empty();
    if missed {
        eprintln!("torture: nobody ever came to {:?}", report.never_hit);
    }
    if report.is_right() && !missed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
