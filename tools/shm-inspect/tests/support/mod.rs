//! What the tests share: a directory each, the program, and processes to kill or stop.

#![allow(dead_code, reason = "each test file uses its own part")]

pub(crate) mod screen;

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringway::queue::{QueueConfig, QueueDescriptor, Side};
use serde_json::Value;

pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);
const HELPER: &str = "SHM_INSPECT_TEST_HELPER";

/// A directory of this test alone.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        let mut builder = tempfile::Builder::new();
        builder.prefix("test-inspect-").permissions(std::fs::Permissions::from_mode(0o700));
        Self(builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Runs the program on this directory.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program();
        command.arg("--dir").arg(self.path()).args(arguments);
        command
    }

    /// Runs the program, which must end with this exit code, and returns what it printed.
    pub(crate) fn text(&self, code: i32, arguments: &[&str]) -> String {
        checked(code, &self.run(arguments))
    }

    /// As [`Place::text`], with `--json`.
    pub(crate) fn json(&self, code: i32, arguments: &[&str]) -> Value {
        let text = self.text(code, &[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub(crate) fn descriptor(&self, id: &str) -> QueueDescriptor {
        descriptor(self.path(), id, Side::Multi, Side::Multi)
    }
}

pub(crate) fn descriptor(
    place: &Path,
    id: &str,
    producers: Side,
    consumers: Side,
) -> QueueDescriptor {
    let config = QueueConfig {
        maxsize: 10,
        capacity_packets: Some(16),
        producers,
        consumers,
        timestamps: true,
        ..QueueConfig::default()
    };
    let descriptor = QueueDescriptor::shm(id).unwrap().with_directory(place).unwrap();
    descriptor.with_config(config).unwrap()
}

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shm-inspect"));
    command.env_remove("RINGWAY_DIR").stdin(Stdio::null());
    command
}

pub(crate) fn checked(code: i32, output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{stdout}\n{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stdout
}

/// A process of this test binary that runs the test `helper` alone, killed when dropped.
pub(crate) struct Helper {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts it with what it shall do, and waits until it has done it.
    pub(crate) fn start(job: &str, place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper", "--nocapture", "--test-threads=1"])
            .env(HELPER, format!("{job}={}", place.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut helper = Self { child, lines };
        helper.wait_for("@ready");
        helper
    }

    fn wait_for(&mut self, word: &str) {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "it ended before {word}");
            if line.contains(word) {
                return;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn stop(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGSTOP).unwrap();
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the helper: what to do, and where; `None` in an ordinary run of the tests.
pub(crate) fn helper_job() -> Option<(String, PathBuf)> {
    let job = std::env::var(HELPER).ok()?;
    let (job, path) = job.split_once('=').unwrap();
    Some((job.to_owned(), path.into()))
}

/// In the helper: says that it is ready.
pub(crate) fn announce() {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@ready").unwrap();
    out.flush().unwrap();
}

/// In the helper: says that it is done, and waits to be killed.
pub(crate) fn ready_to_be_killed() {
    announce();
    let mut line = String::new();
    while std::io::stdin().lock().read_line(&mut line).is_ok_and(|bytes| bytes != 0) {}
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The names of an object's fields, in order of the alphabet.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// Holds an object to the fields that the documentation lists.
pub(crate) fn assert_keys(value: &Value, documented: &str) {
    let mut documented: Vec<_> = documented.split_whitespace().collect();
    documented.sort_unstable();
    assert_eq!(keys(value), documented);
}
