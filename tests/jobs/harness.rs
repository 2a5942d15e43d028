//! Graphs by name, so that a worker process finds its own; directories of one test each; ends under
//! a watchdog.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringway::runtime::{Dispatcher, JobGraph, JobHandle, JobReport};

pub(crate) const WATCHDOG: Duration = Duration::from_secs(60);

/// What a test's graph is made of, in every process: a directory, and a number.
pub(crate) struct Given<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) number: u64,
}

/// A directory of this test alone: for segments, and whatever the tasks write.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
        let mut builder = tempfile::Builder::new();
        builder.prefix("test-jobs-").permissions(std::fs::Permissions::from_mode(0o700));
        let dir = builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap();
        let segments = dir.path().join("segments");
        std::fs::DirBuilder::new().mode(0o700).create(segments).unwrap();
        Self { dir }
    }

    pub(crate) fn segments(&self) -> PathBuf {
        self.dir.path().join("segments")
    }

    /// A dispatcher whose workers are this test binary again, running `worker` for this graph.
    pub(crate) fn dispatcher(&self, graph: &str, number: u64) -> Dispatcher {
        let place = self.dir.path();
        dispatcher_in(place, &format!("given={graph}={number}={}", place.display()))
    }

    pub(crate) fn submit(&self, graph: &str, number: u64) -> JobHandle {
        let made = crate::graphs::make(graph, &Given { dir: self.dir.path(), number });
        self.dispatcher(graph, number).submit(&made).unwrap()
    }

    pub(crate) fn run(&self, graph: &str, number: u64) -> JobReport {
        let report = finish(self.submit(graph, number));
        self.assert_nothing_left();
        report
    }

    pub(crate) fn assert_nothing_left(&self) {
        let left: Vec<_> = std::fs::read_dir(self.segments()).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub(crate) fn dispatcher_in(place: &Path, given: &str) -> Dispatcher {
    Dispatcher::new()
        .directory(place.join("segments"))
        .args(["--exact", "worker", given, "--nocapture", "--test-threads=1", "--quiet"])
        .quiet()
}

/// In a process that a test has started: the graph that the arguments name, and the test's place.
pub(crate) fn given_graph() -> Option<(JobGraph, PathBuf)> {
    let given = std::env::args().find_map(|arg| Some(arg.strip_prefix("given=")?.to_owned()))?;
    let mut parts = given.splitn(3, '=');
    let (graph, number) = (parts.next().unwrap(), parts.next().unwrap().parse().unwrap());
    let dir = Path::new(parts.next().unwrap());
    Some((crate::graphs::make(graph, &Given { dir, number }), dir.to_owned()))
}

/// Waits for the end of a job, under the watchdog.
pub(crate) fn finish(job: JobHandle) -> JobReport {
    match job.wait_timeout(WATCHDOG) {
        Ok(report) => report,
        Err(job) => panic!("the job hangs: {:#?}", job.status()),
    }
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The process of an instance, once it runs.
pub(crate) fn pid_of(job: &JobHandle, instance: &str) -> Pid {
    let mut pid = None;
    wait_until("the instance has a process", || {
        let status = job.status();
        let task = status.tasks.iter().find(|task| task.instance.to_string() == instance);
        pid = task.unwrap().pid;
        pid.is_some()
    });
    Pid::from_raw(pid.unwrap() as i32)
}

pub(crate) fn kill_instance(job: &JobHandle, instance: &str) {
    kill(pid_of(job, instance), Signal::SIGKILL).unwrap();
}

/// All numbers of eight bytes that a task gave as its results.
pub(crate) fn numbers(report: &JobReport, task: &str) -> Vec<u64> {
    let all = report.results_of(task).flat_map(|bytes| bytes.chunks_exact(8));
    all.map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap())).collect()
}
