//! What the dispatcher knows of one instance, and of the rings that end by being closed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::plan::{CONTROL, JobPlan, Progress, RingPlan, TaskSpec};
use super::process::{Ending, Process};
use super::report::{TaskState, TaskStatus};
use super::tether::{Command, Counters, Event, Report};
use crate::queue::{Producer, RecordKind, Wait};

pub(super) struct Instance {
    pub(super) spec: TaskSpec,
    pub(super) commands: Producer,
    pub(super) state: TaskState,
    pub(super) process: Option<Process>,
    pub(super) pid: Option<u32>,
    pub(super) restart_at: Option<Instant>,
    /// Of the attempts before, and of this one.
    pub(super) before: Counters,
    pub(super) now: Counters,
    pub(super) failure: Option<String>,
    pub(super) result: Vec<u8>,
    pub(super) finished: bool,
    /// How its process ended, until all is heard that was told before: so many reports in all.
    pub(super) exited: Option<(Ending, u64)>,
}

impl Instance {
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, TaskState::Finished | TaskState::Failed | TaskState::Ended)
    }

    pub(super) fn status(&self) -> TaskStatus {
        TaskStatus {
            instance: self.spec.instance.clone(),
            state: self.state,
            pid: self.pid,
            restarts: self.spec.attempt,
            counters: sum(self.before, self.now),
            occupancy: None,
            waiting: None,
            failure: self.failure.clone(),
        }
    }

    pub(super) fn command(&mut self, command: &Command) {
        if let Ok(bytes) = postcard::to_allocvec(command) {
            // Full only where it does not listen: then it is killed in time.
            let _ = self.commands.put(RecordKind::RAW, &bytes, Wait::No);
        }
    }
}

/// Adds two attempts' counters up.
pub(super) fn sum(a: Counters, b: Counters) -> Counters {
    Counters {
        received: a.received + b.received,
        sent: a.sent + b.sent,
        repeated: a.repeated + b.repeated,
        dropped: a.dropped + b.dropped,
        late: a.late + b.late,
    }
}

/// Says whether a ring is not one of those between dispatcher and workers.
pub(super) fn is_users(ring: &RingPlan) -> bool {
    ring.name != CONTROL && !ring.name.starts_with("_command-")
}

/// Notes what a worker told.
pub(super) fn note(instances: &mut [Instance], report: Report) {
    let Some(instance) = instances.get_mut(report.place as usize) else { return };
    if report.attempt != instance.spec.attempt {
        return;
    }
    match report.event {
        Event::Started => instance.state = TaskState::Running,
        Event::Counters(counters) => instance.now = counters,
        Event::Progress(Progress { done, ended, sent }) => {
            instance.spec.progress = Progress { done, ended, sent };
        }
        Event::Result(bytes) => instance.result.extend_from_slice(&bytes),
        Event::Finished(counters) => {
            instance.now = counters;
            instance.finished = true;
        }
        Event::Failed(why) => instance.failure = Some(why),
    }
}

/// The rings that end by being closed, each with the names of those that must have ended before.
pub(super) fn closing(plan: &JobPlan) -> Vec<(String, BTreeSet<String>)> {
    let mut closing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for task in &plan.tasks {
        for target in &task.output.connections {
            let ring = target.descriptor.shm_address().map(|address| address.ring().to_owned());
            let shared = plan.tasks.iter().any(|reader| {
                reader
                    .input
                    .as_ref()
                    .is_some_and(|input| input.shared && Some(&input.ring) == ring.as_ref())
            });
            if let Some(ring) = ring.filter(|_| shared) {
                closing.entry(ring).or_default().insert(task.instance.task.clone());
            }
        }
        if let Some(serve) = &task.serve {
            closing.entry(serve.requests.clone()).or_default();
        }
        for requests in task.services.values() {
            closing.entry(requests.clone()).or_default().insert(task.instance.task.clone());
        }
    }
    closing.into_iter().collect()
}
