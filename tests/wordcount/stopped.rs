//! Jobs that are stopped in the middle: by Ctrl-C, by a killed worker, by a killed parent.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::{Child, Output};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::Value;

use crate::harness::{Place, finish, text, wait_until};

/// A job that reads a pipe of this test, and so runs until the test lets it end.
struct Stuck<'a> {
    place: &'a Place,
    child: Child,
    pipe: File,
}

impl<'a> Stuck<'a> {
    fn start(place: &'a Place, name: &str) -> Self {
        let path = place.dir.path().join(name);
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let child = place.command("--json --top 100", &[&path]).spawn().unwrap();
        // Opening waits for the reader.
        let mut pipe = OpenOptions::new().write(true).open(&path).unwrap();
        // More than a chunk, so that packets are on their way.
        pipe.write_all(&b"again and again ".repeat(10_000)).unwrap();
        let stuck = Self { place, child, pipe };
        // They have their names when they are programs of their own.
        let run = |(_, name): &(Pid, String)| name.starts_with("wordcount ");
        wait_until("all workers run", || stuck.workers().iter().filter(|w| run(w)).count() == 6);
        stuck
    }

    /// Process ids and names of the workers.
    fn workers(&self) -> Vec<(Pid, String)> {
        let mut workers = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            let parent = fields.split_whitespace().nth(1);
            if parent == Some(&self.child.id().to_string()) {
                let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let name = text(command.split(|byte| *byte == 0).next().unwrap_or_default());
                workers.push((Pid::from_raw(pid), name));
            }
        }
        workers
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Waits for the end, and checks that no process and no file is left.
    fn assert_clean_end(self) -> Output {
        let workers = self.workers();
        let output = finish(self.child);
        for (pid, name) in workers {
            assert!(kill(pid, None).is_err(), "{name} is left");
        }
        self.place.assert_nothing_left();
        output
    }
}

#[test]
fn two_jobs_at_once_do_not_meet() {
    let place = Place::new();
    let (mut one, mut two) = (Stuck::start(&place, "one"), Stuck::start(&place, "two"));
    assert_eq!(place.left().len(), 2);
    one.pipe.write_all(b"first").unwrap();
    two.pipe.write_all(b"second").unwrap();
    for (job, word) in [(one, "first"), (two, "second")] {
        let Stuck { child, pipe, .. } = job;
        drop(pipe);
        let output = finish(child);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            object["top"],
            serde_json::json!([["again", 20_000], ["and", 10_000], [word, 1]])
        );
    }
    place.assert_nothing_left();
}

#[test]
fn an_interrupted_job_exits_130_and_leaves_nothing() {
    let place = Place::new();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let job = Stuck::start(&place, signal.as_str());
        job.signal(signal);
        let output = job.assert_clean_end();
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn ctrl_c_reaches_all_processes_and_the_job_still_exits_130() {
    let place = Place::new();
    let job = Stuck::start(&place, "pipe");
    for (pid, _) in job.workers() {
        kill(pid, Signal::SIGINT).unwrap();
    }
    job.signal(Signal::SIGINT);
    assert_eq!(job.assert_clean_end().status.code(), Some(130));
}

#[test]
fn a_killed_worker_fails_the_job_loudly_and_leaves_nothing() {
    let place = Place::new();
    for task in ["reader#0", "counter#0", "collector#0"] {
        let job = Stuck::start(&place, task);
        let victim = job.workers().into_iter().find(|(_, name)| name.ends_with(task));
        kill(victim.unwrap().0, Signal::SIGKILL).unwrap();
        let output = job.assert_clean_end();
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        assert!(message.contains(task) && message.contains("SIGKILL"), "{message}");
        assert_eq!(text(&output.stdout), "");
    }
}

#[test]
fn a_killed_splitter_restarts_and_every_word_counts_once() {
    let place = Place::new();
    let job = Stuck::start(&place, "pipe");
    let splitter = || {
        let found = job.workers().into_iter().find(|(_, name)| name.ends_with("splitter#1"));
        found.map(|(pid, _)| pid)
    };
    for _ in 0..3 {
        let victim = splitter().unwrap();
        kill(victim, Signal::SIGKILL).unwrap();
        wait_until("there is another one", || splitter().is_some_and(|pid| pid != victim));
    }
    let Stuck { child, mut pipe, .. } = job;
    pipe.write_all(&b"again and again ".repeat(100_000)).unwrap();
    drop(pipe);
    let output = finish(child);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let object: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(object["top"], serde_json::json!([["again", 220_000], ["and", 110_000]]));
    assert_eq!(object["processes"].as_array().unwrap().len(), 6 + 3);
    place.assert_nothing_left();
}

#[test]
fn workers_die_with_a_killed_parent_and_the_next_job_removes_its_segment() {
    let place = Place::new();
    let job = Stuck::start(&place, "pipe");
    let workers = job.workers();
    job.signal(Signal::SIGKILL);
    let Stuck { child, pipe, .. } = job;
    finish(child);
    drop(pipe);
    for (pid, _) in workers {
        wait_until("the workers are gone", || kill(pid, None).is_err() || is_zombie(pid));
    }
    assert_eq!(place.left().len(), 1);
    let file = place.file("text", b"one");
    place.count("", &[&file]); // Checks that nothing is left.
}

/// Says whether a process ended and nobody has waited for it yet: orphans here may get no new
/// parent that does.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('Z'))
}
