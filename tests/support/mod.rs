//! What the tests of segments share: small configurations, a directory each, helper processes.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::names::SegmentName;
use ringway::shm::segment::{RingConfig, SegmentConfig};
use ringway::shm::storage::{Geometry, Side};

pub(crate) const WATCHDOG: Duration = Duration::from_secs(30);
const HELPER: &str = "RINGWAY_TEST_HELPER";

pub(crate) fn geometry() -> Geometry {
    Geometry {
        log2_entries: 6,
        unit_bytes: 64,
        maxsize: 0,
        producers: Side::Multi,
        consumers: Side::Multi,
        timestamps: false,
        max_deliveries: 0,
    }
}

pub(crate) fn name(name: &str) -> SegmentName {
    name.parse().unwrap()
}

pub(crate) fn config(segment: &str, lifetime: Lifetime) -> SegmentConfig {
    SegmentConfig::new(name(segment), lifetime)
        .with_ring(RingConfig::new("orders", geometry()))
        .with_ring(RingConfig::new("replies", geometry()))
}

/// A directory of this test alone, in memory where there is such a place.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) directory: Directory,
}

pub(crate) fn place() -> Place {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.prefix("ringway-test-segment-").permissions(std::fs::Permissions::from_mode(0o700));
    let dir = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap();
    Place { directory: Directory::open(dir.path(), None).unwrap(), dir }
}

/// Waits until `condition` holds, or panics.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "waited too long until {what}");
        std::thread::yield_now();
    }
}

/// A process of this test binary that runs the test `helper` alone, killed when dropped.
pub(crate) struct Helper {
    pub(crate) child: Child,
    lines: BufReader<ChildStdout>,
}

impl Helper {
    /// Starts it with what it shall do, and where.
    pub(crate) fn start(job: &str, place: &Place) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "helper", "--nocapture", "--test-threads=1"])
            .env(HELPER, format!("{job}={}", place.directory.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Waits for a line `KEY VALUE` and returns the value.
    pub(crate) fn expect(&mut self, key: &str) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert_ne!(
                self.lines.read_line(&mut line).unwrap(),
                0,
                "the helper ended before {key}"
            );
            if let Some((_, value)) = line.trim_end_matches('\n').split_once(&format!("@{key} ")) {
                return value.to_owned();
            }
        }
    }

    pub(crate) fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id() as i32)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Lets it go on, when it waits in [`wait_for_parent`], and waits for its end.
    pub(crate) fn finish(&mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the helper: what to do, and where; `None` in an ordinary run of the tests.
pub(crate) fn helper_job() -> Option<(String, Directory)> {
    let job = std::env::var(HELPER).ok()?;
    let (job, path) = job.split_once('=').unwrap();
    Some((job.to_owned(), Directory::open(path.as_ref(), None).unwrap()))
}

/// In the helper: tells the parent something.
pub(crate) fn tell(key: &str, value: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{key} {value}").unwrap();
    out.flush().unwrap();
}

/// In the helper: waits until the parent closes its end, or dies.
pub(crate) fn wait_for_parent() {
    let mut line = String::new();
    while std::io::stdin().lock().read_line(&mut line).is_ok_and(|bytes| bytes != 0) {}
}
