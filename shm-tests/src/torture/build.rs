//! Builds the victims: the scripted peer as it ships, and once more with its crash points.
//!
//! The two come from one source. The second is built with `--cfg ringway_crash` into a target
//! directory of its own, `target/crash`: a cargo feature would be switched on for every crate of
//! the workspace, and cost the fast path of each a function call.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::torture::points::POINTS;

/// The programs that torture starts.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The peer as it ships.
    pub ordinary: PathBuf,
    /// The peer with crash points.
    pub crashing: PathBuf,
}

impl Programs {
    /// Builds both, next to the running program and in the profile that it was built in.
    ///
    /// # Errors
    /// What could not be done.
    pub fn build() -> Result<Self, String> {
        let place = profile()?;
        let target = target(&place)?;
        let name = place.file_name().unwrap_or_default();
        build(name, target, false)?;
        let built = Self { ordinary: place.join("peer"), crashing: build_crashing(target, name)? };
        built.check(name == "debug")?;
        Ok(built)
    }

    /// Crash points are in the one and not in the other: optimized, they compile to nothing.
    fn check(&self, debug: bool) -> Result<(), String> {
        if !has_crash_points(&self.crashing)? {
            return Err(format!("{} has no crash points", self.crashing.display()));
        }
        if !debug && has_crash_points(&self.ordinary)? {
            return Err(format!("{} has crash points", self.ordinary.display()));
        }
        Ok(())
    }

    /// Builds the peer with crash points alone, optimized whatever the running program is.
    ///
    /// # Errors
    /// What could not be done.
    pub fn build_crashing() -> Result<PathBuf, String> {
        build_crashing(target(&profile()?)?, OsStr::new("release"))
    }
}

/// Says whether a program knows the name of some crash point.
fn has_crash_points(program: &Path) -> Result<bool, String> {
    let bytes = std::fs::read(program)
        .map_err(|error| format!("reading {}: {error}", program.display()))?;
    let has = |name: &str| bytes.windows(name.len()).any(|part| part == name.as_bytes());
    Ok(POINTS.iter().any(|point| has(point.name)))
}

/// Where this program was put: `target/PROFILE`.
fn profile() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|error| format!("where am I: {error}"))?;
    let place = program.parent().unwrap_or(Path::new("."));
    let place = if place.ends_with("deps") { place.parent().unwrap_or(place) } else { place };
    Ok(place.to_owned())
}

fn target(profile: &Path) -> Result<&Path, String> {
    profile.parent().ok_or_else(|| "this program lies in no target directory".into())
}

fn build_crashing(target: &Path, profile: &OsStr) -> Result<PathBuf, String> {
    let crash = target.join("crash");
    build(profile, &crash, true)?;
    Ok(crash.join(profile).join("peer"))
}

fn build(profile: &OsStr, target: &Path, crashing: bool) -> Result<(), String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut command = Command::new(&cargo);
    command.args(["build", "--quiet", "--package", "shm-tests", "--bin", "peer"]);
    if profile != "debug" {
        command.arg("--profile").arg(profile);
    }
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")));
    command.env("CARGO_TARGET_DIR", target);
    if crashing {
        let mut flags = env::var_os("RUSTFLAGS").unwrap_or_default();
        flags.push(" --cfg ringway_crash");
        command.env("RUSTFLAGS", flags).env_remove("CARGO_ENCODED_RUSTFLAGS");
    }
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("building the victims: {status}")),
        Err(error) => Err(format!("running {}: {error}", cargo.display())),
    }
}
