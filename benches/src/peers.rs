//! Two processes: starting the peer, pinning both, meeting it, and leaving nothing of it behind.
//!
//! The peer is this program again, with a hidden subcommand; it gets the shared region as its
//! standard input. It dies with its starter (`PR_SET_PDEATHSIG`), whatever kills that. In the starter
//! one thread waits for signals: for the death of the peer, which ends a measurement that would
//! otherwise spin for ever, and for Ctrl-C and its like. Both, and every return from `main`, go
//! through [`clean_up`]. Signals go to that thread alone, so it never runs in a signal handler.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cpus::{CpuPair, pin};
use crate::error::{BenchError, Doing, Result};
use crate::shared::{Region, Word, meet};

/// What the peer is told, as JSON on its command line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Job<T> {
    starter: i32,
    cpu: usize,
    /// What to do.
    pub(crate) task: T,
}

/// One process's share in a pair.
#[derive(Debug)]
pub(crate) struct Pair {
    /// The memory both see.
    pub(crate) region: Arc<Region>,
    mine: Word,
    other: Word,
}

impl Pair {
    /// Waits until both processes have come here.
    pub(crate) fn meet(&self) {
        meet(&self.region, self.mine, self.other);
    }
}

/// A running pair, as its starter sees it.
#[derive(Debug)]
pub(crate) struct Session {
    /// The starter's share.
    pub(crate) pair: Pair,
    /// The clock of all intervals measured here.
    pub(crate) clock: Clock,
}

impl Session {
    /// Starts the peer with a region of `data_bytes`, pins both processes, and meets the peer.
    ///
    /// # Errors
    /// `Os` when the system refuses memory, a process, or a CPU.
    pub(crate) fn start<T: Serialize>(cpus: CpuPair, data_bytes: usize, task: T) -> Result<Self> {
        supervise()?;
        // Pinned first, so that this side's pages are placed by the node it runs on.
        pin(cpus.here)?;
        let clock = Clock::new();
        let (region, fd) = Region::create(data_bytes)?;
        let job = Job { starter: rustix::process::getpid().as_raw_pid(), cpu: cpus.there, task };
        let job = serde_json::to_string(&job).map_err(|error| BenchError::Os {
            doing: "writing the peer's job".into(),
            source: error.into(),
        })?;
        // Locked throughout, so that a signal finds either no peer or one to end.
        let mut leftovers = leftovers();
        let child = Command::new("/proc/self/exe")
            .args(["peer", "--job", &job])
            .stdin(Stdio::from(fd))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .doing("starting the peer process")?;
        leftovers.peer = Some(child);
        drop(leftovers);
        let pair =
            Pair { region: Arc::new(region), mine: Word::StarterArrived, other: Word::PeerArrived };
        pair.meet();
        Ok(Self { pair, clock })
    }

    /// Waits for the peer's orderly end.
    ///
    /// # Errors
    /// `Peer` when it failed.
    pub(crate) fn finish(self) -> Result<()> {
        loop {
            // Locked for a moment at a time: the supervisor needs it for Ctrl-C.
            if let Some(ended) = reap(&mut leftovers()) {
                return ended;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Makes this process the peer of its starter: pinned, mortal, attached.
///
/// # Errors
/// `Usage` when it was not started by a starter, `Os` when the system refuses.
pub(crate) fn become_peer<T>(job: &Job<T>) -> Result<Pair> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).doing("asking to die with the starter")?;
    // A starter that died before the line above sends no signal any more.
    if rustix::process::getppid().map(|pid| pid.as_raw_pid()) != Some(job.starter) {
        return Err(BenchError::Usage("`peer` is for this program's own use".into()));
    }
    // Ctrl-C reaches both processes: the starter ends both.
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGINT);
    mask.add(Signal::SIGQUIT);
    mask.add(Signal::SIGHUP);
    mask.thread_set_mask().doing("blocking signals")?;
    pin(job.cpu)?;
    let file = std::io::stdin().as_fd().try_clone_to_owned().doing("taking the shared region")?;
    let region = Region::attach(&File::from(file))?;
    let pair =
        Pair { region: Arc::new(region), mine: Word::PeerArrived, other: Word::StarterArrived };
    pair.meet();
    Ok(pair)
}

/// What must not outlive this process.
#[derive(Debug)]
struct Leftovers {
    peer: Option<Child>,
    directory: Option<PathBuf>,
}

static LEFTOVERS: Mutex<Leftovers> = Mutex::new(Leftovers { peer: None, directory: None });

fn leftovers() -> MutexGuard<'static, Leftovers> {
    // What a panicking holder left is still what has to go.
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has [`clean_up`] remove a directory and all in it.
pub(crate) fn remove_at_exit(directory: PathBuf) {
    leftovers().directory = Some(directory);
}

/// Ends the peer, removes the temporary directory. Does nothing the second time.
pub(crate) fn clean_up() {
    sweep(&mut leftovers());
}

fn sweep(leftovers: &mut Leftovers) {
    if let Some(mut peer) = leftovers.peer.take() {
        // Fails when it has ended already, which is what is wanted.
        let _ = peer.kill();
        let _ = peer.wait();
    }
    if let Some(directory) = leftovers.directory.take() {
        let removed = std::fs::remove_dir_all(&directory);
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("ringway-bench: removing {}: {error}", directory.display());
        }
    }
}

/// Looks whether the peer has ended, and how. `None` while it runs.
fn reap(leftovers: &mut Leftovers) -> Option<Result<()>> {
    let Some(peer) = leftovers.peer.as_mut() else { return Some(Ok(())) };
    let status = match peer.try_wait() {
        Ok(None) => return None,
        Ok(Some(status)) => status,
        Err(source) => {
            return Some(Err(BenchError::Os { doing: "waiting for the peer".into(), source }));
        }
    };
    let mut output = String::new();
    if let Some(mut stderr) = leftovers.peer.take().and_then(|mut peer| peer.stderr.take()) {
        // Whatever can be read of it helps.
        let _ = stderr.read_to_string(&mut output);
    }
    if status.success() {
        return Some(Ok(()));
    }
    let output = output.trim();
    let output = if output.is_empty() { String::new() } else { format!(": {output}") };
    Some(Err(BenchError::Peer { status: describe(status), output }))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal().map(Signal::try_from)) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(Ok(signal))) => format!("killed by {signal}"),
        (None, _) => status.to_string(),
    }
}

/// Starts the thread that gets the signals, once; all threads started later leave them to it.
///
/// # Errors
/// `Os` when the system refuses a thread.
pub(crate) fn supervise() -> Result<()> {
    static STARTED: Once = Once::new();
    let mut outcome = Ok(());
    STARTED.call_once(|| outcome = start_supervisor());
    outcome
}

fn start_supervisor() -> Result<()> {
    let mut signals = SigSet::empty();
    let ours = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGCHLD];
    ours.into_iter().for_each(|signal| signals.add(signal));
    signals.thread_block().doing("blocking signals")?;
    std::thread::Builder::new()
        .name("supervisor".into())
        .spawn(move || {
            while let Ok(signal) = signals.wait() {
                let mut leftovers = leftovers();
                if signal == Signal::SIGCHLD {
                    if let Some(Err(error)) = reap(&mut leftovers) {
                        sweep(&mut leftovers);
                        eprintln!("ringway-bench: {error}");
                        std::process::exit(1);
                    }
                } else {
                    sweep(&mut leftovers);
                    eprintln!("ringway-bench: {signal}");
                    // The lock is held to the end: no other thread starts anything now.
                    std::process::exit(128 + signal as i32);
                }
            }
        })
        .doing("starting a thread")?;
    Ok(())
}
