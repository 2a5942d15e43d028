//! The build without loom: builds the one with it, and runs that.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::cli;

fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

/// A cargo that builds with `--cfg cfg` into `target/dir`, apart from the ordinary build.
fn cargo(cfg: &str, dir: &str) -> Command {
    let target = env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |dir| workspace().join(dir));
    let mut flags = env::var_os("RUSTFLAGS").unwrap_or_default();
    flags.push(" --cfg ");
    flags.push(cfg);
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo
        .current_dir(workspace())
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env("CARGO_TARGET_DIR", target.join(dir));
    cargo
}

pub(crate) fn main(args: &cli::Args) -> ExitCode {
    let mut command = if matches!(args.command, cli::Command::Crashes) {
        let mut cargo = cargo("ringway_crash", "crash");
        cargo.args(["test", "--quiet", "--release", "--package", "loom-tests"]);
        cargo.args(["--test", "crashes", "--", "--nocapture"]);
        cargo
    } else {
        let mut cargo = cargo("loom", "loom");
        cargo.args(["run", "--quiet", "--release", "--package", "loom-tests", "--"]);
        cargo.args(env::args_os().skip(1));
        cargo
    };
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("loom-tests: cannot run {:?}: {error}", command.get_program());
            ExitCode::FAILURE
        }
    }
}
