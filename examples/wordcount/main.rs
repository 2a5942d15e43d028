//! Counts words in a pipeline of processes: one reads, some split, some count, one collects.
//!
//! ```text
//! cargo run --release --example wordcount -- --splitters 2 --counters 2 --top 10 FILE…
//! ```
//!
//! Every task is a process of its own, and every occurrence of a word a packet of its own, through
//! lock-free rings in one shared-memory segment: see `plan.rs` for the graph, `tasks.rs` for what
//! the processes do, `processes.rs` for how they live and die. Whatever happens, nothing is left
//! behind: no process, and no file but after a SIGKILL of the parent, which the next start removes.

mod args;
mod chunks;
mod plan;
mod processes;
mod report;
mod tasks;
mod words;

use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use args::{Args, Request};
use plan::{Plan, SEGMENT_PREFIX};
use processes::{JobError, Order, Processes, Signals};
use report::{Numbers, Progress, Rings};
use ringway::error::OpenError;
use ringway::shm::directory::Directory;
use ringway::shm::segment::Segment;
use tasks::Failure;
use words::{Counted, Counts};

const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    match args::parse(std::env::args_os()) {
        Ok(Request::Help) => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Ok(Request::Work(order, files)) => work(&order, &files),
        Ok(Request::Run(args)) => match run(args) {
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
    #[error("the job's segment: {0}")]
    Segment(#[from] OpenError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("{0}")]
    Answer(Failure),
    #[error("writing the result: {0}")]
    Output(io::Error),
}

fn exit_code(error: &RunError) -> u8 {
    match error {
        RunError::Input { .. } => EXIT_USAGE,
        // As a shell would say it of a process that the signal killed.
        RunError::Job(JobError::Interrupted(signal)) => 128 + *signal as u8,
        _ => 1,
    }
}

/// A worker process, from its start to its end.
fn work(order: &str, files: &[PathBuf]) -> ExitCode {
    let order: Order = match serde_json::from_str(order) {
        Ok(order) => order,
        Err(error) => {
            eprintln!("wordcount: a worker was given no order: {error}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match order.follow_parent() {
        Ok(true) => {}
        // Nobody is left to tell.
        Ok(false) => return ExitCode::FAILURE,
        Err(errno) => {
            eprintln!("wordcount: {}: {errno}", order.task);
            return ExitCode::FAILURE;
        }
    }
    let attached = || -> Result<Arc<Segment>, OpenError> {
        // Only ever the parent's segment: a worker that comes too late must not make one.
        let name = order.plan.segment.parse()?;
        Segment::shared(&Directory::from_env(None)?, &name, &order.task.to_string())
    };
    let result = attached().map_err(Failure::from).and_then(|segment| {
        let result = tasks::run(&order.plan, &order.task, files);
        drop(segment);
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wordcount: {}: {failure}", order.task);
            ExitCode::FAILURE
        }
    }
}

/// The parent: checks, runs the job, prints.
fn run(args: Args) -> Result<(), RunError> {
    let files = if args.files.is_empty() { documentation()? } else { args.files.clone() };
    let (total, largest) = check_files(&files)?;
    let max_word = args.max_word.unwrap_or(largest.clamp(64 << 10, 1 << 20) as usize);
    let start = Instant::now();
    let (counted, pids, numbers) = if args.in_process {
        let counted = count_in_process(&files, max_word, args.top).map_err(RunError::Answer)?;
        (counted, vec![std::process::id()], None)
    } else {
        let plan = Plan {
            segment: unique_name(),
            splitters: args.splitters,
            counters: args.counters,
            top: args.top,
            max_word,
        };
        let (counted, pids, numbers) = run_job(&plan, &files, total)?;
        (counted, pids, Some(numbers))
    };
    let elapsed = start.elapsed();
    if let Some(numbers) = numbers {
        numbers.print(&counted, pids.len(), elapsed);
    }
    match report::print(&counted, args.json, &pids, elapsed) {
        // Whoever read the result has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.map_err(RunError::Output),
    }
}

/// Runs the job in its own segment, and leaves nothing behind.
fn run_job(
    plan: &Plan,
    files: &[PathBuf],
    total: u64,
) -> Result<(Counted, Vec<u32>, Numbers), RunError> {
    let signals = Signals::block()?;
    let directory = Directory::from_env(None)?;
    remove_stale(&directory);
    let segment = JobSegment(Segment::shared_or_create(&directory, &plan.segment_config()?)?);
    let rings = Rings::open(plan)?;
    // Dropped before the segment is: a worker must not meet a segment that is gone.
    let mut processes = Processes::new(signals);
    let progress = Progress::start(plan, total)?;
    processes.start(plan, files)?;
    let answer = processes.wait();
    drop(progress);
    let (pids, numbers) = (processes.pids(), rings.numbers());
    drop((rings, segment));
    // Nobody is left who could be interrupted.
    processes.finish();
    let counted = serde_json::from_slice(&answer?);
    let counted = counted.map_err(|error| RunError::Answer(error.into()))?;
    Ok((counted, pids, numbers))
}

/// The job's segment, destroyed when dropped.
struct JobSegment(Arc<Segment>);

impl Drop for JobSegment {
    fn drop(&mut self) {
        if let Err(error) = self.0.destroy() {
            eprintln!("wordcount: the job's segment is left: {error}");
        }
    }
}

/// Removes the segments of earlier jobs whose parents were killed. What cannot be removed is
/// somebody else's, or alive: it is none of this job's business.
fn remove_stale(directory: &Directory) {
    for name in directory.names().unwrap_or_default() {
        if name.as_str().starts_with(SEGMENT_PREFIX) {
            let _ = Segment::remove_stale_job(directory, &name);
        }
    }
}

fn unique_name() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{SEGMENT_PREFIX}{}-{random:016x}", std::process::id())
}

/// Does the work of all tasks in this process.
fn count_in_process(files: &[PathBuf], max_word: usize, top: usize) -> Result<Counted, Failure> {
    let mut counts = Counts::default();
    let mut word = String::new();
    for path in files {
        let at = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
        let mut chunks = chunks::Chunks::new(File::open(path).map_err(|e| at(&e))?, max_word);
        while let Some(chunk) = chunks.next().map_err(|e| at(&e))? {
            words::split(chunk, &mut word, |word| {
                counts.add(word, 1);
                Ok::<(), Failure>(())
            })?;
        }
    }
    Ok(counts.result(top))
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

/// Checks that all files can be read, and returns their bytes together and those of the largest; 0
/// together where one is no regular file, and so of unknown length.
fn check_files(files: &[PathBuf]) -> Result<(u64, u64), RunError> {
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
    Ok((total.unwrap_or(0), largest))
}
