//! Counts words in a pipeline of processes: one reads, some split, some count, one collects.
//!
//! ```text
//! cargo run --release --example wordcount -- --splitters 2 --counters 2 --top 10 FILE…
//! ```
//!
//! Every task is a process of its own, and every occurrence of a word a packet of its own, through
//! lock-free rings in one shared-memory segment: `job.rs` has the graph and the tasks. Whatever
//! happens, nothing is left behind: no process, and no file but after a SIGKILL of the parent, which
//! the next start removes.

mod args;
mod chunks;
mod job;
mod report;
mod words;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use args::{Args, Request};
use nix::sys::signal::Signal;
use report::Progress;
use ringway::runtime::{Dispatcher, Interrupt, JobError, JobReport, TaskError};
use words::{Counted, Counts};

const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(Request::Help) => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Ok(Request::Run(args)) => match run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("wordcount: {failure}");
                ExitCode::from(exit_code(&failure))
            }
        },
        Err(error) => {
            eprintln!("wordcount: {error}\n\n{}", args::HELP);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("{}: {source}", path.display())]
    Input { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("{0}")]
    Answer(TaskError),
    #[error("writing the result: {0}")]
    Output(io::Error),
}

fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Input { .. } => EXIT_USAGE,
        // As a shell would say it of a process that the signal killed.
        RunError::Job(JobError::Cancelled { signal: Some(name) }) => {
            Signal::from_str(name).map_or(1, |signal| 128 + signal as u8)
        }
        _ => 1,
    }
}

/// Checks, runs the job, prints. In a worker, the task ends the process inside.
fn run(args: &Args) -> Result<(), RunError> {
    let files = if args.files.is_empty() { documentation()? } else { args.files.clone() };
    let Checked { total, largest } = check_files(&files)?;
    let max_word = args.max_word.unwrap_or(largest.clamp(64 << 10, 1 << 20) as usize);
    let start = Instant::now();
    let (counted, pids, job) = if args.in_process {
        let counted = count_in_process(&files, max_word, args.top).map_err(RunError::Answer)?;
        (counted, vec![std::process::id()], None)
    } else {
        let graph = job::graph(args, &files, max_word, total.is_some());
        let job = run_job(&graph, total.unwrap_or(0))?;
        let answer: Vec<u8> = job.results_of("collector").flatten().copied().collect();
        let counted = serde_json::from_slice(&answer);
        let counted = counted.map_err(|error| RunError::Answer(error.into()))?;
        (counted, job.pids.clone(), Some(job))
    };
    let elapsed = start.elapsed();
    if let Some(job) = job {
        report::summarize(&job, &counted, elapsed);
    }
    match report::print(&counted, args.json, &pids, elapsed) {
        // Whoever read the result has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(RunError::Output),
    }
}

/// Runs the job, and shows how far it is meanwhile.
fn run_job(graph: &ringway::runtime::JobGraph, total: u64) -> Result<JobReport, JobError> {
    let mut job = Dispatcher::new().on_interrupt(Interrupt::Cancel).submit(graph)?;
    let progress = Progress::start(total);
    loop {
        match job.wait_timeout(report::TICK) {
            Ok(report) => return report.ok(),
            Err(running) => job = running,
        }
        progress.show(&job);
    }
}

/// Does the work of all tasks in this process.
fn count_in_process(files: &[PathBuf], max_word: usize, top: usize) -> Result<Counted, TaskError> {
    let mut counts = Counts::default();
    let mut word = String::new();
    for path in files {
        let file = File::open(path).map_err(|e| job::at(path, &e))?;
        let mut chunks = chunks::Chunks::new(file, max_word);
        while let Some(chunk) = chunks.next().map_err(|e| job::at(path, &e))? {
            words::split(chunk, &mut word, |word| {
                counts.add(word.as_bytes(), 1);
                Ok::<(), TaskError>(())
            })?;
        }
    }
    Ok(counts.result(top)?)
}

/// The project's own documentation: README.md and docs/*.md.
fn documentation() -> Result<Vec<PathBuf>, RunError> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = root.join("docs");
    let list = || -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(&docs)?.map(|entry| Ok(entry?.path())).collect()
    };
    let mut files = list().map_err(|source| RunError::Input { path: docs.clone(), source })?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    files.push(root.join("README.md"));
    files.sort();
    Ok(files)
}

/// What is known of the files.
struct Checked {
    /// Bytes of all together; `None` where one is no regular file.
    total: Option<u64>,
    /// Bytes of the largest.
    largest: u64,
}

/// Checks that all files can be read.
fn check_files(files: &[PathBuf]) -> Result<Checked, RunError> {
    let (mut total, mut largest) = (Some(0_u64), 0);
    for path in files {
        let check = || -> io::Result<Option<u64>> {
            let metadata = std::fs::metadata(path)?;
            if metadata.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            // Opening a pipe would wait for its writer, or take what is for the reader.
            if !metadata.is_file() {
                return Ok(None);
            }
            File::open(path)?;
            Ok(Some(metadata.len()))
        };
        let len = check().map_err(|source| RunError::Input { path: path.clone(), source })?;
        total = total.zip(len).map(|(total, len)| total + len);
        largest = largest.max(len.unwrap_or(u64::MAX));
    }
    Ok(Checked { total, largest })
}
