//! Running the program, and looking at what it says and leaves.

#![allow(dead_code, reason = "each test program uses its part")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::Value;

pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// Ringway's directory of the tests that use rings: they leave it empty.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").expect("a directory"))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn json(&self, arguments: &str) -> Value {
        let output = bench(&format!("{arguments} --json"))
            .env("RINGWAY_DIR", self.0.path())
            .output()
            .expect("the program starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {stderr}");
        assert_eq!(stderr, "", "{arguments}");
        assert_empty(self.0.path());
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

pub(crate) const FLOOR: &str =
    "floor_ns floor_p50_ns floor_p99_ns floor_before_ns floor_after_ns adds_per_cycle noisy";
pub(crate) const SETTING: &str = "cpus clock clock_overhead_ns";
pub(crate) const ONE_WAY: &str = "mean p50 p90 p99 p999 p9999 max";

/// Two measurements at a time on the same two CPUs would only wait for each other's time slices.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn bench(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway-bench"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

pub(crate) fn run(arguments: &str) -> Output {
    bench(arguments).output().expect("the program starts")
}

pub(crate) fn json(arguments: &str) -> Value {
    let output = run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {stderr}");
    assert_eq!(stderr, "", "{arguments}: progress is for terminals");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(stdout.lines().count(), 1, "{arguments}: one line of JSON");
    serde_json::from_str(&stdout).expect("JSON")
}

pub(crate) fn error(arguments: &str) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments}");
    assert!(output.stdout.is_empty(), "{arguments}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

pub(crate) fn assert_fields(value: &Value, expected: &[&str]) {
    let expected: BTreeSet<&str> = expected.iter().flat_map(|names| names.split(' ')).collect();
    let have: BTreeSet<&str> =
        value.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(have, expected);
}

pub(crate) fn assert_one_way(value: &Value) {
    assert_fields(value, &[ONE_WAY]);
    let at = |name: &str| value[name].as_f64().expect("a number");
    let order = ["p50", "p90", "p99", "p999", "p9999", "max"];
    assert!(order.windows(2).all(|two| at(two[0]) <= at(two[1])), "{value}");
    assert!(at("mean") > 0.0 && at("mean") <= at("max"), "{value}");
}

/// Waits until something is so, under a watchdog.
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < WATCHDOG, "waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The peer of a running measurement, once it has come so far.
pub(crate) fn peer_of(starter: &Child) -> Pid {
    let children = format!("/proc/{0}/task/{0}/children", starter.id());
    let of_starter = || fs::read_to_string(&children).ok()?.split_whitespace().next()?.parse().ok();
    let peer: i32 = eventually("the peer to start", of_starter);
    let command = format!("/proc/{peer}/cmdline");
    eventually("the peer to be itself", || {
        fs::read_to_string(&command).ok()?.contains("--job").then_some(())
    });
    Pid::from_raw(peer)
}

pub(crate) fn is_gone(pid: Pid) -> bool {
    // A zombie that nobody reaps (its starter was killed, and init is slow) runs no more.
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .map_or(true, |stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// A measurement that would take hours.
pub(crate) fn endless() -> Child {
    bench("latency --transport bare --rounds 100000000000 --json")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

pub(crate) fn assert_empty(directory: &Path) {
    let left: Vec<_> = fs::read_dir(directory).expect("it exists").collect();
    assert!(left.is_empty(), "{left:?}");
}
