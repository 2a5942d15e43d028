//! The dispatcher's thread: starts the workers, watches them, and ends the job.
//!
//! It sleeps in `poll`: on the workers' pidfds and standard errors, on signals, on orders of the
//! handle, and for a moment at most, since reports come through shared memory. The workers die with
//! this thread.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::dispatcher::{Dispatcher, Interrupt, Shared};
use super::error::JobError;
use super::graph::Kind;
use super::instance::{Instance, closing, is_users, note, sum};
use super::plan::{CONTROL, JobPlan, RingPlan, command_ring};
use super::process::{Ending, Process};
use super::report::{JobReport, RingReport, TaskState};
use super::tether::{Command, Counters, Report};
use crate::error::{OpenError, PutError};
use crate::queue::{Consumer, QueueBackend, RingQueue, Wait, open_in};
use crate::shm::segment::Segment;

/// How soon reports are looked for, while they come and when they do not.
const SOON: Duration = Duration::from_millis(1);
const LATER: Duration = Duration::from_millis(50);

/// What the handle orders.
pub(crate) enum Order {
    Stop,
    Cancel,
}

pub(crate) struct Supervisor {
    how: Dispatcher,
    plan: JobPlan,
    segment: Arc<Segment>,
    shared: Arc<Shared>,
    control: Consumer,
    control_ring: RingQueue,
    rings: Vec<(RingPlan, RingQueue)>,
    instances: Vec<Instance>,
    /// Rings that end by being closed, with the tasks or services that must have ended.
    closing: Vec<(String, BTreeSet<String>)>,
    pids: Vec<u32>,
    started: Instant,
    stopping: bool,
    interrupted: Option<Signal>,
    failure: Option<JobError>,
    /// When those are killed that still run.
    kill_at: Option<Instant>,
}

impl Supervisor {
    pub(crate) fn new(
        how: Dispatcher,
        plan: JobPlan,
        segment: Arc<Segment>,
        shared: Arc<Shared>,
    ) -> Result<Self, JobError> {
        match Self::prepare(how, plan, &segment, shared) {
            Ok(supervisor) => Ok(supervisor),
            Err(error) => {
                // The first error is the one to tell.
                let _ = segment.destroy();
                Err(error)
            }
        }
    }

    fn prepare(
        how: Dispatcher,
        plan: JobPlan,
        segment: &Arc<Segment>,
        shared: Arc<Shared>,
    ) -> Result<Self, JobError> {
        let refused = |error: String| {
            let source = std::io::Error::other(error);
            JobError::Segment(OpenError::Io {
                path: segment.path().to_owned(),
                doing: "taking the dispatcher's rings",
                source,
            })
        };
        let control_ring = open_in(segment, CONTROL)?;
        let control = control_ring.consumer().map_err(|error| refused(error.to_string()))?;
        let mut rings = Vec::new();
        for ring in plan.rings.iter().filter(|ring| is_users(ring)) {
            rings.push((ring.clone(), open_in(segment, &ring.name)?));
        }
        let mut instances = Vec::new();
        for spec in &plan.tasks {
            let commands = open_in(segment, &command_ring(spec.place))?;
            instances.push(Instance {
                spec: spec.clone(),
                commands: commands.producer().map_err(|error| refused(error.to_string()))?,
                state: TaskState::Starting,
                process: None,
                pid: None,
                restart_at: None,
                before: Counters::default(),
                now: Counters::default(),
                failure: None,
                result: Vec::new(),
                finished: false,
                exited: None,
            });
        }
        {
            let mut state = shared.lock();
            state.tasks = instances.iter().map(Instance::status).collect();
            state.rings.clone_from(&rings);
            state.inputs = plan
                .tasks
                .iter()
                .map(|task| {
                    let ring = match (&task.input, &task.serve) {
                        (Some(input), _) => &input.ring,
                        (None, Some(serve)) => &serve.requests,
                        (None, None) => return None,
                    };
                    state.rings.iter().position(|(plan, _)| plan.name == *ring)
                })
                .collect();
        }
        Ok(Self {
            closing: closing(&plan),
            how,
            plan,
            segment: Arc::clone(segment),
            shared,
            control,
            control_ring,
            rings,
            instances,
            pids: Vec::new(),
            started: Instant::now(),
            stopping: false,
            interrupted: None,
            failure: None,
            kill_at: None,
        })
    }

    /// Runs the job to its end, and leaves nothing behind.
    pub(crate) fn run(mut self, signals: Option<SigSet>) {
        let outcome = self.supervise(signals);
        // Whatever still runs is killed here, and waited for.
        for instance in &mut self.instances {
            if instance.process.take().is_some() {
                instance.state = TaskState::Ended;
            }
        }
        self.hear();
        let report = self.report(outcome);
        if let Err(error) = self.segment.destroy() {
            eprintln!("the segment of job {} is left: {error}", self.plan.job);
        }
        let mut state = self.shared.lock();
        state.tasks.clone_from(&report.tasks);
        state.rings.clear();
        state.report = Some(report);
        state.over = true;
        drop(state);
        self.shared.changed.notify_all();
    }

    fn supervise(&mut self, signals: Option<SigSet>) -> Result<(), JobError> {
        let signals = signals
            .map(|set| SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC))
            .transpose()
            .map_err(|errno| JobError::system("making a signalfd", errno))?;
        self.close_what_ended();
        for place in 0..self.instances.len() {
            self.start(place)?;
        }
        self.publish();
        let mut pause = SOON;
        loop {
            pause = if self.hear() > 0 { SOON } else { (pause * 2).min(LATER) };
            self.obey(signals.as_ref());
            self.look_after_processes()?;
            self.close_what_ended();
            self.publish();
            if self.instances.iter().all(Instance::is_over) {
                return self.outcome();
            }
            self.sleep(pause, signals.as_ref())?;
        }
    }

    fn outcome(&mut self) -> Result<(), JobError> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        match self.instances.iter().any(|instance| instance.state == TaskState::Ended) {
            true => Err(JobError::Cancelled { signal: self.interrupted.map(Signal::as_str) }),
            false => Ok(()),
        }
    }

    /// Starts an instance, or its next attempt.
    fn start(&mut self, place: usize) -> Result<(), JobError> {
        let stopping = self.stopping;
        let Some(instance) = self.instances.get_mut(place) else { return Ok(()) };
        let process = Process::start(&self.how, &instance.spec).map_err(|error| {
            let program = self
                .how
                .program
                .as_ref()
                .map_or("this program".into(), |program| program.display().to_string());
            JobError::system(format!("starting {} as {program}", instance.spec.instance), error)
        })?;
        self.pids.push(process.pid());
        instance.pid = Some(process.pid());
        instance.process = Some(process);
        instance.state = TaskState::Starting;
        instance.restart_at = None;
        if stopping && instance.spec.kind == Kind::Source {
            instance.command(&Command::Stop);
        }
        Ok(())
    }

    /// Takes what the workers told, and says how much.
    fn hear(&mut self) -> usize {
        let mut heard = 0;
        // No more at once than the ring holds: a worker that talks without end must not stop us.
        while heard < 4096 {
            match self.control.hold(Wait::No) {
                Ok((bytes, _)) => match postcard::from_bytes::<Report>(bytes) {
                    Ok(report) => note(&mut self.instances, report),
                    Err(error) => eprintln!("a worker's report cannot be read: {error}"),
                },
                Err(_) => break,
            }
            self.control.ack_held();
            heard += 1;
        }
        heard
    }

    /// Does what signals and the handle ask for.
    fn obey(&mut self, signals: Option<&SignalFd>) {
        let mut orders = std::mem::take(&mut self.shared.lock().orders);
        while let Some(Ok(Some(info))) = signals.map(SignalFd::read_signal) {
            let signal = i32::try_from(info.ssi_signo).ok();
            self.interrupted = signal.and_then(|signal| Signal::try_from(signal).ok());
            orders.push(if self.stopping || self.how.interrupt == Interrupt::Cancel {
                Order::Cancel
            } else {
                Order::Stop
            });
        }
        for order in orders {
            match order {
                Order::Stop => self.stop(),
                Order::Cancel => self.kill_all(),
            }
        }
        if self.kill_at.is_some_and(|at| at <= Instant::now()) {
            self.kill_at = None;
            self.kill_all();
        }
    }

    fn stop(&mut self) {
        if std::mem::replace(&mut self.stopping, true) {
            return;
        }
        let sources = self.instances.iter_mut().filter(|task| task.spec.kind == Kind::Source);
        for source in sources.filter(|source| !source.is_over()) {
            source.command(&Command::Stop);
        }
    }

    fn kill_all(&mut self) {
        self.stopping = true;
        for instance in self.instances.iter_mut().filter(|instance| !instance.is_over()) {
            if let Some(process) = &mut instance.process {
                process.kill();
            }
            // When its process is gone, it is known whether it had ended well.
            if instance.process.is_none() {
                instance.state = TaskState::Ended;
            }
            instance.spec.restart.max = 0;
        }
        self.kill_at = None;
        self.give_up();
    }

    /// No failure from here on is one of the job.
    fn give_up(&mut self) {
        for instance in &mut self.instances {
            instance.restart_at = None;
            if instance.state == TaskState::Waiting {
                instance.state = TaskState::Ended;
            }
            instance.spec.restart.max = 0;
        }
        self.failure
            .get_or_insert(JobError::Cancelled { signal: self.interrupted.map(Signal::as_str) });
    }

    fn look_after_processes(&mut self) -> Result<(), JobError> {
        for place in 0..self.instances.len() {
            let Some(instance) = self.instances.get_mut(place) else { continue };
            if instance.restart_at.is_some_and(|at| at <= Instant::now()) {
                self.start(place)?;
                continue;
            }
            let Some(process) = &mut instance.process else { continue };
            process.hear();
            let exited = instance.exited.take().or_else(|| {
                let ending = process.ended()?;
                Some((ending, self.control_ring.stats().puts))
            });
            let Some((ending, told)) = exited else { continue };
            // What it had told before it ended. It may lie behind what another is just writing.
            while self.hear() > 0 {}
            let control = &self.control_ring;
            let all_heard = control.qsize() == 0 || control.stats().gets >= told;
            match self.instances.get_mut(place) {
                Some(instance) if !instance.finished && !all_heard => {
                    instance.exited = Some((ending, told));
                }
                _ => self.ended(place, &ending),
            }
        }
        Ok(())
    }

    /// Decides what the end of a process means.
    fn ended(&mut self, place: usize, ending: &Ending) {
        let Some(instance) = self.instances.get_mut(place) else { return };
        let pid = instance.process.take().map_or(0, |process| process.pid());
        instance.before = sum(instance.before, std::mem::take(&mut instance.now));
        if instance.finished {
            // Killed or not: what it had to do is done, and told.
            instance.state = TaskState::Finished;
            return;
        }
        if self.failure.is_some() {
            instance.state = TaskState::Ended;
            return;
        }
        let told = instance.failure.take();
        let by_terminal = ending.signal() == Some(Signal::SIGINT);
        if by_terminal && self.how.interrupt != Interrupt::Usual {
            // Ctrl-C, before it had come as far as to leave that to us.
            instance.state = TaskState::Ended;
            self.interrupted = Some(Signal::SIGINT);
            return self.kill_all();
        }
        let cause = match &told {
            Some(told) => told.clone(),
            None if instance.state == TaskState::Starting && ending.status.success() => {
                "exited with status 0 before it began its task: is it a worker?".into()
            }
            None if instance.state == TaskState::Starting => {
                format!("{ending} before it began its task")
            }
            None => ending.to_string(),
        };
        instance.failure = Some(cause.clone());
        let restart = instance.spec.restart;
        if instance.spec.attempt < restart.max {
            instance.spec.attempt += 1;
            instance.result.clear();
            instance.state = TaskState::Waiting;
            instance.restart_at = Some(Instant::now() + restart.delay(instance.spec.attempt));
            return;
        }
        instance.state = TaskState::Failed;
        let failed = JobError::Task {
            instance: instance.spec.instance.clone(),
            pid,
            attempt: instance.spec.attempt,
            cause,
            stderr: if told.is_some() { Vec::new() } else { ending.stderr.clone() },
        };
        let mut why =
            format!("{} {}", instance.spec.instance, instance.failure.clone().unwrap_or_default());
        let mut end = why.len().min(800);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        why.truncate(end);
        for other in self.instances.iter_mut().filter(|instance| instance.process.is_some()) {
            other.command(&Command::Abort(why.clone()));
        }
        self.failure = Some(failed);
        self.give_up();
        self.kill_at = Instant::now().checked_add(self.how.grace);
    }

    /// Closes the work queues and request rings of which every user has ended well.
    fn close_what_ended(&mut self) {
        let instances = &self.instances;
        let ended = |task: &String| {
            let mut of = instances.iter().filter(|instance| instance.spec.instance.task == *task);
            of.all(|instance| instance.state == TaskState::Finished)
        };
        let rings = &self.rings;
        self.closing.retain(|(ring, users)| {
            let over = users.iter().all(ended);
            if over && let Some((_, ring)) = rings.iter().find(|(plan, _)| plan.name == *ring) {
                // Only a destroyed ring cannot be closed.
                let _: Result<(), PutError> = ring.close();
            }
            !over
        });
    }

    fn publish(&self) {
        let mut state = self.shared.lock();
        state.tasks = self.instances.iter().map(Instance::status).collect();
        state.stopping = self.stopping;
    }

    fn sleep(&self, pause: Duration, signals: Option<&SignalFd>) -> Result<(), JobError> {
        let now = Instant::now();
        let next = self.instances.iter().filter_map(|instance| instance.restart_at);
        let next = next.chain(self.kill_at).min();
        let pause = next.map_or(pause, |next| pause.min(next.saturating_duration_since(now)));
        let running = |instance: &&Instance| instance.exited.is_none();
        let processes = || {
            let running = self.instances.iter().filter(running);
            running.filter_map(|instance| instance.process.as_ref())
        };
        let mut fds: Vec<BorrowedFd<'_>> = vec![self.shared.waker.as_fd()];
        fds.extend(signals.map(AsFd::as_fd));
        fds.extend(processes().map(|process| process.pidfd.as_fd()));
        fds.extend(processes().filter_map(|process| process.stderr().map(AsFd::as_fd)));
        let mut fds: Vec<_> =
            fds.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let timeout = Timespec {
            tv_sec: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: pause.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {
                // Empty where nobody rang.
                let _ = rustix::io::read(&self.shared.waker, &mut [0_u8; 8]);
                Ok(())
            }
            Err(errno) => Err(JobError::system("waiting for the workers", errno)),
        }
    }

    fn report(&mut self, outcome: Result<(), JobError>) -> JobReport {
        let rings = self.rings.iter().map(|(plan, ring)| RingReport::of(plan, ring));
        let instances = self.instances.iter_mut();
        JobReport {
            job: self.plan.job.clone(),
            outcome,
            stopped: self.stopping,
            rings: rings.collect(),
            tasks: self.shared.lock().tasks.clone(),
            results: instances
                .filter(|instance| !instance.result.is_empty())
                .map(|task| (task.spec.instance.clone(), std::mem::take(&mut task.result)))
                .collect(),
            pids: std::mem::take(&mut self.pids),
            elapsed: self.started.elapsed(),
        }
    }
}
