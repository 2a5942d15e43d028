//! The other processes: starting them, pinning all, meeting, and leaving nothing of them behind.
//!
//! A peer is this program again, with a hidden subcommand; it gets the shared region as its
//! standard input. There is one ([`Pair`]), or a number of them (`team.rs`). It dies with its starter (`PR_SET_PDEATHSIG`), whatever kills that. In the starter
//! one thread waits for signals: for the death of the peer, which ends a measurement that would
//! otherwise spin for ever, and for Ctrl-C and its like. Both, and every return from `main`, go
//! through [`clean_up`]. Signals go to that thread alone, so it never runs in a signal handler.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
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
    /// Its number in a team; in a pair it has none.
    #[serde(default)]
    pub(crate) seat: Option<Seat>,
    /// What to do.
    pub(crate) task: T,
}

/// A place in a team. The starter's is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seat {
    /// Whose place it is.
    pub(crate) member: usize,
    /// How many there are in all, the starter included.
    pub(crate) members: usize,
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
    /// The starter's share in a pair, or the peer's.
    pub(crate) fn of(region: Arc<Region>, starter: bool) -> Self {
        let (mine, other) = (Word::StarterArrived, Word::PeerArrived);
        let (mine, other) = if starter { (mine, other) } else { (other, mine) };
        Self { region, mine, other }
    }

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
        spawn(cpus.there, None, task, fd)?;
        let pair = Pair::of(Arc::new(region), true);
        pair.meet();
        Ok(Self { pair, clock })
    }

    /// Waits for the peer's orderly end.
    ///
    /// # Errors
    /// `Peer` when it failed.
    pub(crate) fn finish(self) -> Result<()> {
        wait_for_peers()
    }
}

/// Starts a peer on a CPU, with the region as its standard input.
///
/// # Errors
/// `Os` when the system refuses.
pub(crate) fn spawn<T: Serialize>(
    cpu: usize,
    seat: Option<Seat>,
    task: T,
    region: OwnedFd,
) -> Result<()> {
    let job = Job { starter: rustix::process::getpid().as_raw_pid(), cpu, seat, task };
    let job = serde_json::to_string(&job).map_err(|error| BenchError::Os {
        doing: "writing the peer's job".into(),
        source: error.into(),
    })?;
    let mut command = Command::new("/proc/self/exe");
    command.env_remove(STARTER_VARIABLE);
    command.args(["peer", "--job", &job]).stdin(Stdio::from(region)).stdout(Stdio::null());
    spawn_child(command.stderr(Stdio::piped()), Signal::SIGKILL).map(drop)
}

/// Names the process that a measurement must not outlive, in the environment of one that `report`
/// starts.
pub(crate) const STARTER_VARIABLE: &str = "RINGWAY_BENCH_STARTER";

/// Starts a measurement of its own, which has peers and a directory to clean up. Says where its
/// standard output comes from.
///
/// # Errors
/// `Os` when the system refuses.
pub(crate) fn spawn_starter(command: &mut Command) -> Result<Option<ChildStdout>> {
    spawn_child(command, Signal::SIGTERM)
}

/// Has this process end in good order with the one that started it for a report.
///
/// # Errors
/// `Os` when the system refuses, `Usage` when that process is gone.
pub(crate) fn die_with_starter() -> Result<()> {
    let Some(starter) = std::env::var_os(STARTER_VARIABLE) else { return Ok(()) };
    // A job's worker has the variable from its dispatcher, with which it ends in any case.
    if ringway::runtime::is_worker() {
        return Ok(());
    }
    // Before the signal can come, there must be somebody to receive it.
    supervise()?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).doing("asking to die with the starter")?;
    let parent = rustix::process::getppid().map(|pid| pid.as_raw_pid().to_string());
    if parent.as_deref().map(OsStr::new) != Some(&*starter) {
        return Err(BenchError::Usage(format!("{STARTER_VARIABLE} is for this program's own use")));
    }
    Ok(())
}

fn spawn_child(command: &mut Command, end_by: Signal) -> Result<Option<ChildStdout>> {
    // Locked throughout, so that a signal finds either no peer or one to end.
    let mut leftovers = leftovers();
    let mut child = command.spawn().doing("starting the peer process")?;
    let stdout = child.stdout.take();
    leftovers.peers.push(Peer { child, end_by });
    Ok(stdout)
}

/// Waits for the orderly end of all peers.
///
/// # Errors
/// `Peer` when one failed.
pub(crate) fn wait_for_peers() -> Result<()> {
    loop {
        // Locked for a moment at a time: the supervisor needs it for Ctrl-C.
        if let Some(ended) = reap(&mut leftovers()) {
            return ended;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Makes this process the peer of its starter, and meets it.
///
/// # Errors
/// As [`attach`].
pub(crate) fn become_peer<T>(job: &Job<T>) -> Result<Pair> {
    let region = attach(job)?;
    let pair = Pair::of(region, false);
    pair.meet();
    Ok(pair)
}

/// Makes this process a peer of its starter: pinned, mortal, attached.
///
/// # Errors
/// `Usage` when it was not started by a starter, `Os` when the system refuses.
pub(crate) fn attach<T>(job: &Job<T>) -> Result<Arc<Region>> {
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
    Region::attach(&File::from(file)).map(Arc::new)
}

/// Another process of this run.
#[derive(Debug)]
struct Peer {
    child: Child,
    /// What ends it.
    end_by: Signal,
}

/// What must not outlive this process.
struct Leftovers {
    peers: Vec<Peer>,
    removals: Vec<Removal>,
}

/// Removes something that processes which are gone have left.
type Removal = Box<dyn FnOnce() + Send>;

static LEFTOVERS: Mutex<Leftovers> =
    Mutex::new(Leftovers { peers: Vec::new(), removals: Vec::new() });

fn leftovers() -> MutexGuard<'static, Leftovers> {
    // What a panicking holder left is still what has to go.
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has [`clean_up`] remove a directory and all in it.
pub(crate) fn remove_at_exit(directory: PathBuf) {
    at_exit(move || {
        let removed = std::fs::remove_dir_all(&directory);
        if let Err(error) = removed
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("ringway-bench: removing {}: {error}", directory.display());
        }
    });
}

/// Has [`clean_up`] do this once the peers are gone.
pub(crate) fn at_exit(removal: impl FnOnce() + Send + 'static) {
    leftovers().removals.push(Box::new(removal));
}

/// Ends the peers, removes what the run has made. Does nothing the second time.
pub(crate) fn clean_up() {
    sweep(&mut leftovers());
}

fn sweep(leftovers: &mut Leftovers) {
    for peer in &leftovers.peers {
        // Not yet reaped, so it is this child. Fails when it has ended already, as is wanted.
        let _ = kill(Pid::from_raw(peer.child.id().cast_signed()), peer.end_by);
    }
    for mut peer in leftovers.peers.drain(..) {
        let _ = peer.child.wait();
    }
    leftovers.removals.drain(..).for_each(|remove| remove());
}

/// Looks whether all peers have ended, or one has failed. `None` while they run.
fn reap(leftovers: &mut Leftovers) -> Option<Result<()>> {
    let mut i = 0;
    while let Some(peer) = leftovers.peers.get_mut(i) {
        let status = match peer.child.try_wait() {
            Ok(None) => {
                i += 1;
                continue;
            }
            Ok(Some(status)) => status,
            Err(source) => {
                return Some(Err(BenchError::Os { doing: "waiting for the peer".into(), source }));
            }
        };
        let stderr = leftovers.peers.swap_remove(i).child.stderr;
        if !status.success() {
            let mut output = String::new();
            if let Some(mut stderr) = stderr {
                // Whatever can be read of it helps.
                let _ = stderr.read_to_string(&mut output);
            }
            let output = output.trim();
            let output = if output.is_empty() { String::new() } else { format!(": {output}") };
            return Some(Err(BenchError::Peer { status: describe(status), output }));
        }
    }
    leftovers.peers.is_empty().then_some(Ok(()))
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
