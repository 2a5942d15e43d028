//! The worker processes of a job: started, watched, and never left behind.
//!
//! Each instance is this program again, by `/proc/self/exe`, so that replacing the file on disk
//! under a running job changes nothing. The kernel kills the workers when the parent dies; the
//! parent kills them when one fails or somebody interrupts the job. Nobody polls: the parent sleeps
//! until a signal says that a child ended.

use std::fmt;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getppid;
use ringway::routing::InstanceId;
use serde::{Deserialize, Serialize};

use crate::plan::{COLLECTOR, Plan, READER};

/// The hidden argument that makes this program a worker.
pub(crate) const TASK_ARGUMENT: &str = "--task";

/// What a worker is told, as JSON, behind [`TASK_ARGUMENT`].
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) plan: Plan,
    pub(crate) task: InstanceId,
    parent: u32,
}

impl Order {
    /// In the worker: dies with the parent from now on, and leaves Ctrl-C, which the terminal sends
    /// to all processes of the job, to it. `false`: the parent is dead already.
    pub(crate) fn follow_parent(&self) -> nix::Result<bool> {
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
        SigSet::from_iter([Signal::SIGINT]).thread_block()?;
        Ok(u32::try_from(getppid().as_raw()) == Ok(self.parent))
    }
}

/// Why a job did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    /// A worker died, or ended in failure.
    #[error("{task} (pid {pid}) {how}: the job is given up")]
    Worker { task: InstanceId, pid: u32, how: Ending },
    /// Somebody asked for the end.
    #[error("interrupted by {0}")]
    Interrupted(Signal),
    /// The system refused.
    #[error("{doing}: {source}")]
    System { doing: &'static str, source: io::Error },
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct Ending(ExitStatus);

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.signal(), self.0.code()) {
            (Some(signal), _) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "was killed by {name}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            (None, Some(code)) => write!(f, "failed with exit status {code}"),
            (None, None) => write!(f, "ended with {}", self.0),
        }
    }
}

/// The signals that are waited for, blocked.
#[derive(Clone, Copy)]
pub(crate) struct Signals(SigSet);

impl Signals {
    /// Blocks them. To be called before any thread is started, and before anything is made that an
    /// interrupted job would leave behind.
    pub(crate) fn block() -> Result<Self, JobError> {
        use Signal::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
        let signals = SigSet::from_iter([SIGCHLD, SIGINT, SIGTERM, SIGHUP]);
        signals.thread_block().map_err(|errno| system("blocking signals", errno.into()))?;
        Ok(Self(signals))
    }
}

struct Process {
    task: InstanceId,
    child: Child,
    ended: bool,
}

/// The running processes of a job, killed when dropped.
pub(crate) struct Processes {
    processes: Vec<Process>,
    answer: Option<JoinHandle<io::Result<Vec<u8>>>>,
    signals: Signals,
}

impl Processes {
    /// Watches from now on with `signals`; nothing runs yet.
    pub(crate) fn new(signals: Signals) -> Self {
        Self { processes: Vec::new(), answer: None, signals }
    }

    /// Starts one process for each task of the plan.
    pub(crate) fn start(&mut self, plan: &Plan, files: &[PathBuf]) -> Result<(), JobError> {
        for task in plan.tasks() {
            let order = Order { plan: plan.clone(), task, parent: std::process::id() };
            let json = serde_json::to_string(&order)
                .map_err(|error| system("describing a task", error.into()))?;
            let Order { task, .. } = order;
            let mut command = Command::new("/proc/self/exe");
            command.arg0(format!("wordcount {task}")).args([TASK_ARGUMENT, &json]);
            if task.task == READER {
                // One of the files may be /dev/stdin.
                command.arg("--").args(files).stdin(Stdio::inherit());
            } else {
                command.stdin(Stdio::null());
            }
            let collects = task.task == COLLECTOR;
            command.stdout(if collects { Stdio::piped() } else { Stdio::null() });
            let mut child =
                command.spawn().map_err(|source| system("starting a process", source))?;
            if let Some(mut pipe) = child.stdout.take() {
                self.answer = Some(std::thread::spawn(move || {
                    let mut answer = Vec::new();
                    pipe.read_to_end(&mut answer).map(|_| answer)
                }));
            }
            self.processes.push(Process { task, child, ended: false });
        }
        Ok(())
    }

    /// The process ids, upstream first.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(|process| process.child.id()).collect()
    }

    /// Sleeps until all have ended well, and returns what the collector wrote. On any error, kills
    /// what is left.
    pub(crate) fn wait(&mut self) -> Result<Vec<u8>, JobError> {
        let ended = self.wait_for_all();
        if ended.is_err() {
            self.kill();
        }
        ended?;
        let answer = self.answer.take().and_then(|thread| thread.join().ok());
        let nothing = || Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        answer.unwrap_or_else(nothing).map_err(|source| system("reading the answer", source))
    }

    fn wait_for_all(&mut self) -> Result<(), JobError> {
        loop {
            for process in self.processes.iter_mut().filter(|process| !process.ended) {
                let status = process.child.try_wait();
                let Some(status) = status.map_err(|source| system("watching", source))? else {
                    continue;
                };
                process.ended = true;
                if status.signal() == Some(Signal::SIGINT as i32) {
                    // Ctrl-C, before it had come as far as to leave that to us.
                    return Err(JobError::Interrupted(Signal::SIGINT));
                }
                if !status.success() {
                    let (task, pid) = (process.task.clone(), process.child.id());
                    return Err(JobError::Worker { task, pid, how: Ending(status) });
                }
            }
            if self.processes.iter().all(|process| process.ended) {
                return Ok(());
            }
            match self.signals.0.wait() {
                Ok(Signal::SIGCHLD) | Err(nix::errno::Errno::EINTR) => {}
                Ok(signal) => return Err(JobError::Interrupted(signal)),
                Err(errno) => return Err(system("waiting for a signal", errno.into())),
            }
        }
    }

    /// Kills what still runs, and waits for it: afterwards nobody uses the job's segment.
    fn kill(&mut self) {
        for process in self.processes.iter_mut().filter(|process| !process.ended) {
            // It may just have ended: then there is nothing to kill.
            let _ = process.child.kill();
        }
        for process in self.processes.iter_mut().filter(|process| !process.ended) {
            let _ = process.child.wait();
            process.ended = true;
        }
    }

    /// Lets signals do what they usually do; one that came meanwhile does it now.
    pub(crate) fn finish(self) {
        let signals = self.signals;
        drop(self);
        // Fails only for a wrong argument.
        let _ = signals.0.thread_unblock();
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.kill();
    }
}

fn system(doing: &'static str, source: io::Error) -> JobError {
    JobError::System { doing, source }
}
