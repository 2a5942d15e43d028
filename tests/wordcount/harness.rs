//! The program of this build, directories of one test each, and ends under a watchdog.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const WATCHDOG: Duration = Duration::from_secs(60);

/// The example of this very build, built if it is not: `cargo test --test wordcount` does not.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        // TARGET/PROFILE/deps/wordcount-HASH
        let test = std::env::current_exe().unwrap();
        let profile_dir = test.parent().and_then(Path::parent).unwrap();
        let target_dir = profile_dir.parent().unwrap();
        let profile = match profile_dir.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            other => other,
        };
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let built = Command::new(cargo)
            .args(["build", "--quiet", "--package", "ringway", "--example", "wordcount"])
            .args(["--profile", profile, "--manifest-path"])
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
            .arg("--target-dir")
            .arg(target_dir)
            .status();
        let program = profile_dir.join("examples/wordcount");
        assert!(built.is_ok_and(|status| status.success()) && program.is_file());
        program
    })
}

/// A directory of this test alone: its inputs, and the segments of its jobs.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("test-wordcount-").permissions(fs::Permissions::from_mode(0o700));
        let place =
            Self { dir: builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap() };
        fs::create_dir(place.segments()).unwrap();
        fs::set_permissions(place.segments(), fs::Permissions::from_mode(0o700)).unwrap();
        place
    }

    fn segments(&self) -> PathBuf {
        self.dir.path().join("segments")
    }

    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn command(&self, options: &str, files: &[&Path]) -> Command {
        let mut command = Command::new(program());
        command
            .args(options.split_whitespace())
            .args(files)
            .env("RINGWAY_DIR", self.segments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, options: &str, files: &[&Path]) -> Output {
        finish(self.command(options, files).spawn().unwrap())
    }

    /// Runs with `--json`, and checks that all went well.
    pub(crate) fn count(&self, options: &str, files: &[&Path]) -> Value {
        let output = self.run(&format!("--json {options}"), files);
        assert!(output.status.success(), "{}", text(&output.stderr));
        self.assert_nothing_left();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub(crate) fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.segments()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    pub(crate) fn assert_nothing_left(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for the end of a job, under the watchdog.
pub(crate) fn finish(child: Child) -> Output {
    let pid = Pid::from_raw(child.id() as i32);
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        if waiting
            .recv_timeout(WATCHDOG)
            .is_err_and(|e| e == std::sync::mpsc::RecvTimeoutError::Timeout)
        {
            kill(pid, Signal::SIGKILL).unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    output
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "waited too long until {what}");
        std::thread::yield_now();
    }
}
