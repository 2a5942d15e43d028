//! Runs models and mutants in child processes, a few at a time, and reports.
//!
//! A failing model panics inside loom's coroutines and may abort: only a process of its own makes
//! that a result. A mutant counts as killed when its process panics or aborts, not when it hangs.

use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::{self, Args};
use crate::harness::{Model, explore};
use crate::models::MODELS;

pub(crate) fn main(args: Args) -> ExitCode {
    match args.command {
        cli::Command::List { json } => list(json),
        cli::Command::Run { model, mutants, json, jobs, timeout_seconds } => {
            let timeout = Duration::from_secs(timeout_seconds);
            run(model.as_deref(), mutants, json, usize::from(jobs), timeout)
        }
        cli::Command::InternalRun { model, mutant } => internal_run(&model, mutant.as_deref()),
        cli::Command::Crashes => {
            eprintln!("loom-tests: `crashes` runs without loom: leave RUSTFLAGS alone");
            ExitCode::FAILURE
        }
    }
}

fn list(json: bool) -> ExitCode {
    for model in MODELS {
        if json {
            let line = json!({
                "model": model.name, "promise": model.promise, "preemption_bound": model.bound,
                "min_iterations": model.min_iterations, "without": model.without,
                "crash_points": model.points, "mutants": model.mutants,
            });
            println!("{line}");
            continue;
        }
        println!("{}: {}", model.name, model.promise);
        let bound = model.bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
        println!("    preemptions {bound}, at least {} iterations", model.min_iterations);
        for (what, names) in [
            ("holds even with", model.without),
            ("dies at", model.points),
            ("mutants", model.mutants),
        ] {
            if !names.is_empty() {
                println!("    {what}: {}", names.join(", "));
            }
        }
    }
    ExitCode::SUCCESS
}

fn find(name: &str) -> Option<&'static Model> {
    MODELS.iter().find(|model| model.name == name)
}

fn internal_run(name: &str, mutant: Option<&str>) -> ExitCode {
    let Some(model) = find(name) else {
        eprintln!("loom-tests: no model {name:?}");
        return ExitCode::FAILURE;
    };
    println!("{}", json!({ "iterations": explore(model, mutant) }));
    ExitCode::SUCCESS
}

/// One process to be run.
struct Job {
    model: &'static Model,
    mutant: Option<&'static str>,
}

/// How its process ended.
struct Outcome {
    iterations: Vec<u64>,
    seconds: f64,
    /// The panic's message, or why there is none.
    failure: Option<String>,
    /// The process panicked or aborted, as opposed to hanging or being killed.
    panicked: bool,
}

impl Job {
    fn run(&self, timeout: Duration) -> Outcome {
        let start = Instant::now();
        let result = self.spawn().and_then(|child| watch(child, timeout));
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Err(error) => Outcome {
                iterations: Vec::new(),
                seconds,
                failure: Some(error.to_string()),
                panicked: false,
            },
            Ok(None) => Outcome {
                iterations: Vec::new(),
                seconds,
                failure: Some(format!("still running after {} s", timeout.as_secs())),
                panicked: false,
            },
            Ok(Some(ended)) => {
                let iterations = serde_json::from_str::<serde_json::Value>(&ended.stdout)
                    .ok()
                    .and_then(|line| serde_json::from_value(line["iterations"].clone()).ok())
                    .unwrap_or_default();
                let failure = (!ended.success).then(|| reason(&ended.stderr));
                Outcome { iterations, seconds, failure, panicked: ended.panicked }
            }
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["internal-run", self.model.name]);
        if let Some(mutant) = self.mutant {
            command.args(["--mutant", mutant]);
        }
        command.env("RUST_BACKTRACE", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    }

    /// Says what is wrong, if anything.
    fn verdict(&self, outcome: &Outcome) -> Result<(), String> {
        match (self.mutant, &outcome.failure) {
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => {
                let total: u64 = outcome.iterations.iter().sum();
                let wanted = self.model.min_iterations as u64;
                if total >= wanted { Ok(()) } else { Err(format!("{total} iterations < {wanted}")) }
            }
            (Some(_), Some(_)) if outcome.panicked => Ok(()),
            (Some(_), Some(failure)) => Err(failure.clone()),
            (Some(_), None) => Err("survived".to_owned()),
        }
    }
}

/// What a process left behind.
struct Ended {
    success: bool,
    panicked: bool,
    stdout: String,
    stderr: String,
}

/// Waits for a child, and kills it when the time is over: then `None`.
fn watch(mut child: Child, timeout: Duration) -> std::io::Result<Option<Ended>> {
    const EXIT_PANIC: i32 = 101;
    const SIGABRT: i32 = 6;
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    std::thread::scope(|scope| {
        let stdout = scope.spawn(move || read_all(stdout));
        let stderr = scope.spawn(move || read_all(stderr));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if start.elapsed() > timeout {
                child.kill()?;
                child.wait()?;
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let stdout = stdout.join().unwrap_or_default();
        let stderr = stderr.join().unwrap_or_default();
        Ok(status.map(|status| Ended {
            success: status.success(),
            panicked: status.code() == Some(EXIT_PANIC) || status.signal() == Some(SIGABRT),
            stdout,
            stderr,
        }))
    })
}

fn read_all(pipe: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        // More than a panic ever says is thrown away; an unreadable pipe says nothing.
        let _ = pipe.take(1 << 20).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The message of the first panic, in one line.
fn reason(stderr: &str) -> String {
    let mut lines = stderr.lines().skip_while(|line| !line.contains("panicked at"));
    let _where = lines.next();
    let message = lines
        .take_while(|line| !line.starts_with("note:") && !line.is_empty())
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    if message.is_empty() {
        return stderr.lines().last().unwrap_or("no message").to_owned();
    }
    message.chars().take(160).collect()
}

fn run(
    only: Option<&str>,
    mutants: bool,
    json: bool,
    processes: usize,
    timeout: Duration,
) -> ExitCode {
    let models: Vec<&'static Model> = match only {
        None => MODELS.iter().collect(),
        Some(name) => match find(name) {
            Some(model) => vec![model],
            None => {
                eprintln!("loom-tests: no model {name:?}; `list` shows them");
                return ExitCode::FAILURE;
            }
        },
    };
    let mut jobs = Vec::new();
    for model in models {
        jobs.push(Job { model, mutant: None });
        if mutants {
            jobs.extend(model.mutants.iter().map(|mutant| Job { model, mutant: Some(mutant) }));
        }
    }
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    // Results are printed in the order of the jobs, each as soon as those before it are.
    let printed = Mutex::new(Report { json, jobs: &jobs, done: Vec::new(), failures: 0, shown: 0 });
    std::thread::scope(|scope| {
        for _ in 0..processes {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    let outcome = job.run(timeout);
                    let mut report =
                        printed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    report.add(index, outcome);
                }
            });
        }
    });
    let report = printed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !json {
        let models = jobs.iter().filter(|job| job.mutant.is_none()).count();
        println!(
            "{models} models, {} mutants, {} failures, {:.0} s",
            jobs.len() - models,
            report.failures,
            start.elapsed().as_secs_f64()
        );
    }
    if report.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Report<'a> {
    json: bool,
    jobs: &'a [Job],
    done: Vec<Option<Outcome>>,
    failures: usize,
    shown: usize,
}

impl Report<'_> {
    fn add(&mut self, index: usize, outcome: Outcome) {
        if self.done.len() <= index {
            self.done.resize_with(index + 1, || None);
        }
        self.done[index] = Some(outcome);
        while let Some(Some(outcome)) = self.done.get(self.shown) {
            let job = &self.jobs[self.shown];
            let verdict = job.verdict(outcome);
            self.failures += usize::from(verdict.is_err());
            self.print(job, outcome, &verdict);
            self.shown += 1;
        }
    }

    fn print(&self, job: &Job, outcome: &Outcome, verdict: &Result<(), String>) {
        let name = job.model.name;
        let total: u64 = outcome.iterations.iter().sum();
        if self.json {
            let line = json!({
                "model": name, "mutant": job.mutant, "ok": verdict.is_ok(),
                "iterations": outcome.iterations, "seconds": outcome.seconds,
                "problem": verdict.as_ref().err(), "killed_by": job.mutant.and(outcome.failure.as_ref()),
            });
            println!("{line}");
            return;
        }
        let seconds = outcome.seconds;
        match (job.mutant, verdict) {
            (None, Ok(())) => println!("{name:26} {total:>9} iterations {seconds:6.1} s  holds"),
            (None, Err(why)) => {
                println!("{name:26} {total:>9} iterations {seconds:6.1} s  FAILED: {why}");
            }
            (Some(mutant), Ok(())) => {
                let why = outcome.failure.as_deref().unwrap_or_default();
                println!("    {mutant:24} {seconds:6.1} s  killed: {why}");
            }
            (Some(mutant), Err(why)) => println!("    {mutant:24} {seconds:6.1} s  FAILED: {why}"),
        }
    }
}
