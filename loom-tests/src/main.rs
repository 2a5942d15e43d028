//! Loom models of the ring and of its waiters, on the very code that ships, and their runner.
//!
//! Built without `--cfg loom` this binary only builds itself again with it, in a target directory of
//! its own, and passes its arguments on. A loom *feature* would be switched on for the whole
//! workspace by feature unification.
//!
//! | file | what |
//! |---|---|
//! | `cli.rs` | the arguments, in both builds |
//! | `launch.rs` | the build without loom: builds and runs the other one |
//! | `runner.rs` | runs models and mutants in child processes, and reports |
//! | `harness.rs` | what a model is; exploring it; threads in both orders; dying at a crash point |
//! | `kernel.rs` | the kernel as the models see it: locks, futexes, barriers |
//! | `rig.rs` | a ring with its kernel, and put, take and accounting in one line |
//! | `models/` | the models |

mod cli;

#[cfg(loom)]
mod harness;
#[cfg(loom)]
mod kernel;
#[cfg(not(loom))]
mod launch;
#[cfg(loom)]
mod models;
#[cfg(loom)]
mod rig;
#[cfg(loom)]
mod runner;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let args = cli::Args::parse();
    #[cfg(loom)]
    return runner::main(args);
    #[cfg(not(loom))]
    return launch::main(&args);
}
