//! Submitting a job, and the handle to it.
//!
//! The dispatcher makes the segment, and hands all else to a thread of its own (`supervise.rs`),
//! which starts the processes: the kernel kills them when that thread is gone.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{EventfdFlags, eventfd};

use super::error::JobError;
use super::graph::JobGraph;
use super::manager::JobManager;
use super::plan::{JobId, JobPlan, RingPlan};
use super::report::{JobReport, JobStatus, RingReport, TaskStatus};
use super::supervise::{Order, Supervisor};
use crate::queue::{QueueBackend, RingQueue};
use crate::shm::segment::Segment;

/// What Ctrl-C (SIGINT, and SIGTERM and SIGHUP likewise) does to a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interrupt {
    /// Nothing special: the signal does what it usually does.
    #[default]
    Usual,
    /// The first stops the job, the second cancels it.
    Stop,
    /// The first cancels the job.
    Cancel,
}

/// How jobs are run.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) args: Option<Vec<OsString>>,
    pub(crate) interrupt: Interrupt,
    pub(crate) grace: Duration,
    pub(crate) forward_stderr: bool,
}

impl Default for Dispatcher {
    fn default() -> Self {
        Self {
            directory: None,
            program: None,
            args: None,
            interrupt: Interrupt::default(),
            grace: Duration::from_secs(1),
            forward_stderr: true,
        }
    }
}

impl Dispatcher {
    /// Runs workers as this program again, with the same arguments.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts the segments there, and not where `RINGWAY_DIR` says.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Runs another program as the workers, which calls [`super::Worker::run`]. Without arguments,
    /// unless they are said.
    #[must_use]
    pub fn worker_binary(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = Some(program.into());
        self
    }

    /// Gives the workers these arguments, and not this process's own.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.args = Some(args.into_iter().map(Into::into).collect());
        self
    }

    /// Sets what Ctrl-C does. Other than [`Interrupt::Usual`], the job must be submitted before the
    /// program starts other threads: the signals are blocked in this one and those started after.
    #[must_use]
    pub fn on_interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Sets how long workers have to end by themselves when the job is given up, before they are
    /// killed; by default a second.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Keeps what workers write to their standard error from this process's; the last lines of a
    /// failed one are in the report either way.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.forward_stderr = false;
        self
    }

    /// Starts a job. In a process that is a worker itself it runs the worker's task instead, and
    /// does not return: so a program may do without [`JobGraph::run_if_worker`].
    ///
    /// # Errors
    /// [`JobError::Graph`], [`JobError::Segment`], [`JobError::System`]; nothing is left then.
    pub fn submit(&self, graph: &JobGraph) -> Result<JobHandle, JobError> {
        graph.run_if_worker();
        let mut plan = graph.compile(JobId::new(graph.name()))?;
        let manager = match &self.directory {
            Some(directory) => JobManager::open(directory),
            None => JobManager::from_env(),
        }?;
        // What earlier dispatchers left that were killed. This job has a name of its own anyway.
        let _ = manager.remove_stale();
        plan.settle(manager.directory().path())?;
        let signals = (self.interrupt != Interrupt::Usual).then(Signals::block).transpose()?;
        let waker = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| JobError::system("making an eventfd", errno))?;
        let segment = Segment::create(manager.directory(), &plan.segment_config()?)?;
        let shared = Arc::new(Shared {
            job: plan.job.clone(),
            state: Mutex::default(),
            changed: Condvar::new(),
            waker,
        });
        let supervisor = Supervisor::new(self.clone(), plan.clone(), segment, Arc::clone(&shared))?;
        let signal_set = signals.as_ref().map(|signals| signals.0);
        let thread = std::thread::Builder::new()
            .name("dispatcher".into())
            .spawn(move || supervisor.run(signal_set))
            .map_err(|error| JobError::system("starting a thread", error))?;
        let (plan, signals) = (Box::new(plan), signals.map(Box::new));
        Ok(JobHandle { plan, shared, thread: Some(thread), signals })
    }

    /// Runs a job to its end.
    ///
    /// # Errors
    /// As [`Dispatcher::submit`]; and how the job itself ended.
    pub fn run(&self, graph: &JobGraph) -> Result<JobReport, JobError> {
        self.submit(graph)?.wait().ok()
    }
}

/// The signals that end a job, blocked in this thread until this is dropped.
pub(crate) struct Signals(pub(crate) SigSet);

impl Signals {
    fn block() -> Result<Self, JobError> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        set.thread_block().map_err(|errno| JobError::system("blocking signals", errno))?;
        Ok(Self(set))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Fails only for a wrong argument. A signal that came meanwhile does now what it usually does.
        let _ = self.0.thread_unblock();
    }
}

/// What the supervisor and the handle share.
pub(crate) struct Shared {
    pub(crate) job: JobId,
    pub(crate) state: Mutex<State>,
    pub(crate) changed: Condvar,
    /// Rung when there is an order.
    pub(crate) waker: std::os::fd::OwnedFd,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) tasks: Vec<TaskStatus>,
    /// The rings of the job, but those between dispatcher and workers; none when it is over.
    pub(crate) rings: Vec<(RingPlan, RingQueue)>,
    /// The input of each task among the rings.
    pub(crate) inputs: Vec<Option<usize>>,
    pub(crate) stopping: bool,
    pub(crate) orders: Vec<Order>,
    pub(crate) report: Option<JobReport>,
    /// The job is over; the report may have been taken.
    pub(crate) over: bool,
}

impl Shared {
    pub(crate) fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: Order) {
        self.lock().orders.push(order);
        // Full only where it was rung 2^64 times.
        let _ = rustix::io::write(&self.waker, &1_u64.to_ne_bytes());
    }
}

/// A job that was submitted. Dropped, it is cancelled.
pub struct JobHandle {
    plan: Box<JobPlan>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Unblocked when the job is over.
    signals: Option<Box<Signals>>,
}

impl JobHandle {
    /// Its name and id.
    #[must_use]
    pub fn id(&self) -> &JobId {
        &self.shared.job
    }

    /// What was made of the graph.
    #[must_use]
    pub fn plan(&self) -> &JobPlan {
        &self.plan
    }

    /// Where each instance stands.
    #[must_use]
    pub fn status(&self) -> JobStatus {
        let state = self.shared.lock();
        let mut tasks = state.tasks.clone();
        for (task, input) in tasks.iter_mut().zip(&state.inputs) {
            let ring = input.and_then(|input| state.rings.get(input)).map(|(_, ring)| ring);
            task.occupancy = ring.map(QueueBackend::occupancy);
            task.waiting = ring.map(QueueBackend::qsize);
        }
        JobStatus { job: self.shared.job.clone(), stopping: state.stopping, tasks }
    }

    /// The counters of its rings as they are now; none when it is over.
    #[must_use]
    pub fn rings(&self) -> Vec<RingReport> {
        self.shared.lock().rings.iter().map(|(plan, ring)| RingReport::of(plan, ring)).collect()
    }

    /// Stops it in order: sources end, everything drains. Returns at once.
    pub fn stop(&self) {
        self.shared.order(Order::Stop);
    }

    /// Kills its processes. Returns at once; [`JobHandle::wait`] tells when they are gone.
    pub fn cancel(&self) {
        self.shared.order(Order::Cancel);
    }

    /// Says whether it is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.shared.lock().over
    }

    /// Waits for its end: no process and no file is left then.
    pub fn wait(mut self) -> JobReport {
        let report = self.end();
        report.unwrap_or_else(|| JobReport {
            job: self.shared.job.clone(),
            outcome: Err(JobError::system(
                "supervising the job",
                std::io::Error::other("the dispatcher's thread panicked"),
            )),
            stopped: false,
            tasks: Vec::new(),
            rings: Vec::new(),
            results: Vec::new(),
            pids: Vec::new(),
            elapsed: Duration::ZERO,
        })
    }

    /// Waits for its end, but no longer than this; gives the handle back where it still runs.
    ///
    /// # Errors
    /// The handle.
    pub fn wait_timeout(self, timeout: Duration) -> Result<JobReport, Self> {
        let state = self.shared.lock();
        let waited = self.shared.changed.wait_timeout_while(state, timeout, |state| !state.over);
        let over = waited.unwrap_or_else(PoisonError::into_inner).0.over;
        if over { Ok(self.wait()) } else { Err(self) }
    }

    fn end(&mut self) -> Option<JobReport> {
        if let Some(thread) = self.thread.take() {
            // A panic there shows as a missing report.
            let _ = thread.join();
        }
        self.signals = None;
        self.shared.lock().report.take()
    }
}

impl Drop for JobHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.cancel();
            self.end();
        }
    }
}

impl std::fmt::Debug for JobHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JobHandle").field("job", &self.shared.job).finish_non_exhaustive()
    }
}
