//! Promises of `examples/wordcount`: the right counts from real processes, and nothing left behind.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
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
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
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

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn command(&self, options: &str, files: &[&Path]) -> Command {
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

    fn run(&self, options: &str, files: &[&Path]) -> Output {
        finish(self.command(options, files).spawn().unwrap())
    }

    /// Runs with `--json`, and checks that all went well.
    fn count(&self, options: &str, files: &[&Path]) -> Value {
        let output = self.run(&format!("--json {options}"), files);
        assert!(output.status.success(), "{}", text(&output.stderr));
        self.assert_nothing_left();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn left(&self) -> Vec<PathBuf> {
        fs::read_dir(self.segments()).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    fn assert_nothing_left(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for the end of a job, under the watchdog.
fn finish(child: Child) -> Output {
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

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < WATCHDOG, "waited too long until {what}");
        std::thread::yield_now();
    }
}

/// What a single process counts, in a way of its own.
fn expected(contents: &[&[u8]]) -> Vec<(String, u64)> {
    let mut counts = HashMap::<String, u64>::new();
    for content in contents {
        let mut word = String::new();
        for c in String::from_utf8_lossy(content).chars().chain([' ']) {
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            } else if !word.is_empty() {
                *counts.entry(std::mem::take(&mut word)).or_default() += 1;
            }
        }
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn assert_counts(object: &Value, contents: &[&[u8]]) {
    let expected = expected(contents);
    assert_eq!(object["words"], expected.iter().map(|(_, count)| count).sum::<u64>());
    assert_eq!(object["distinct"], expected.len());
    assert_eq!(object["top"], serde_json::to_value(expected).unwrap());
}

const ALL: &str = "--top 1000000000";

/// Text with all that is awkward, more than a few chunks of it.
fn awkward() -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..4000_u32 {
        text.extend_from_slice(
            format!(
                "Word{} the THE İstanbul ΣΊΣΥΦΟΣ naïve—ÅNGSTRÖM 東京。大阪 x²½ {}\n",
                i % 97,
                i
            )
            .as_bytes(),
        );
        text.extend_from_slice(match i % 4 {
            0 => b"bro\xffken \xe2\x82 cut\xe2\x82\xacoff\n",
            1 => b"\xf0\x9f\x98\x80smile\xc3",
            2 => b"no_newline_at_all;",
            _ => b"\r\n\r\n\0nul\0",
        });
    }
    text
}

#[test]
fn counts_are_those_of_a_single_process() {
    let place = Place::new();
    let awkward = awkward();
    let plain = "It was the best of times, it was the worst of times.\n".repeat(20_000);
    let (a, b) = (place.file("a", &awkward), place.file("b", plain.as_bytes()));
    let contents: [&[u8]; 2] = [&awkward, plain.as_bytes()];
    for options in ["", "--splitters 1 --counters 1", "--splitters 3 --counters 4"] {
        assert_counts(&place.count(&format!("{ALL} {options}"), &[&a, &b]), &contents);
    }
    assert_counts(&place.count(&format!("{ALL} --in-process"), &[&a, &b]), &contents);
}

#[test]
fn words_do_not_join_across_files() {
    let place = Place::new();
    let (a, b) = (place.file("a", b"one"), place.file("b", b"two"));
    assert_counts(&place.count(ALL, &[&a, &b, &a]), &[b"one", b"two", b"one"]);
}

#[test]
fn empty_files_and_files_without_words_have_no_words() {
    let place = Place::new();
    let (empty, dots) = (place.file("empty", b""), place.file("dots", &b" .\n".repeat(50_000)));
    for files in [&[&*empty] as &[&Path], &[&*empty, &*empty], &[&*dots], &[&*dots, &*empty]] {
        let object = place.count("", files);
        assert_eq!((&object["words"], &object["distinct"]), (&0.into(), &0.into()));
        assert_eq!(object["top"], Value::Array(Vec::new()));
    }
    assert_eq!(text(&place.run("", &[&empty]).stdout), "");
}

#[test]
fn a_giant_line_and_a_giant_word_are_counted() {
    let place = Place::new();
    let line = "Ein Wort, noch ein WORT; ".repeat(100_000).into_bytes();
    let cjk = "東京。".repeat(100_000).into_bytes();
    let word = vec![b'X'; 1_000_000];
    for content in [line, cjk, word] {
        let file = place.file("giant", &content);
        assert_counts(&place.count(ALL, &[&file]), &[&content]);
    }
}

#[test]
fn a_word_too_long_for_the_rings_is_an_error_and_not_two_words() {
    let place = Place::new();
    let word = vec![b'X'; 3_000_000];
    let file = place.file("giant", &word);
    let output = place.run("", &[&file]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("byte 0 ") && message.contains("--max-word"), "{message}");
    assert!(message.contains("reader#0"), "{message}");
    place.assert_nothing_left();
    assert_counts(&place.count(&format!("{ALL} --max-word 3000000"), &[&file]), &[&word]);
}

#[test]
fn lines_are_count_and_word_by_count_and_then_by_word() {
    let place = Place::new();
    let file = place.file("text", "b a c a b z é é z Z".as_bytes());
    let output = place.run("--top 4", &[&file]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "3 z\n2 a\n2 b\n2 é\n");
    let summary = text(&output.stderr);
    for part in ["10 words, 5 distinct", "splitter -> counter", "words-1", "text-0", "counts"] {
        assert!(summary.contains(part), "{part} is not in: {summary}");
    }
}

#[test]
fn json_has_totals_top_processes_and_time() {
    let place = Place::new();
    let file = place.file("text", b"one two two");
    let object = place.count("--top 1 --splitters 3 --counters 4", &[&file]);
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["distinct", "elapsed_s", "processes", "top", "words"]);
    assert_eq!(object["top"], serde_json::json!([["two", 2]]));
    assert!(object["elapsed_s"].as_f64().unwrap() > 0.0);
    let pids = object["processes"].as_array().unwrap();
    let mut pids: Vec<_> = pids.iter().map(|pid| pid.as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 1 + 3 + 4 + 1);
}

#[test]
fn without_files_the_documentation_is_counted() {
    let place = Place::new();
    let output = place.run("--top 1", &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with(" the\n"), "{}", text(&output.stdout));
}

#[test]
fn what_cannot_be_read_is_said_before_anything_starts() {
    let place = Place::new();
    let good = place.file("good", b"word");
    let missing = place.dir.path().join("missing");
    for bad in [missing.as_path(), place.dir.path()] {
        let output = place.run("", &[&good, bad]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(bad.to_str().unwrap()));
        assert_eq!(text(&output.stdout), "");
        place.assert_nothing_left();
    }
}

#[test]
fn wrong_arguments_exit_2_with_usage_and_help_shows_examples() {
    let place = Place::new();
    for wrong in ["--splitters 0", "--counters x", "--top", "--nonsense", "--top=-1"] {
        let output = place.run(wrong, &[]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(text(&output.stderr).contains("Usage:"), "{wrong}");
    }
    let help = place.run("--help", &[]);
    assert!(help.status.success() && text(&help.stdout).contains("Examples:"));
}

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
    for task in ["reader#0", "splitter#1", "counter#0", "collector#0"] {
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
