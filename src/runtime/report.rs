//! What is known of a job: while it runs, and at its end.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::error::JobError;
use super::plan::{JobId, RingPlan};
use super::tether::Counters;
use crate::queue::{QueueBackend, QueueStats, RingQueue};
use crate::routing::InstanceId;

/// Where an instance stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TaskState {
    /// Its process was started, and has not reported yet.
    Starting,
    /// Its function runs.
    Running,
    /// It failed, and is to be started again.
    Waiting,
    /// It ended well.
    Finished,
    /// It failed for good.
    Failed,
    /// It was ended with the job.
    Ended,
}

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TaskStatus {
    /// Which.
    pub instance: InstanceId,
    /// Where it stands.
    pub state: TaskState,
    /// Its process, or the last one.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u32,
    /// What it did, all attempts together, as far as it has told.
    pub counters: Counters,
    /// How full its input is, 0.0–1.0.
    pub occupancy: Option<f64>,
    /// Packets that wait for it.
    pub waiting: Option<u64>,
    /// Why its last attempt failed.
    pub failure: Option<String>,
}

/// A running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobStatus {
    /// The job.
    pub job: JobId,
    /// Whether it was asked to stop.
    pub stopping: bool,
    /// Its instances, in the order of the graph.
    pub tasks: Vec<TaskStatus>,
}

/// One ring at a job's end.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RingReport {
    /// Its name.
    pub name: String,
    /// Who put, for people.
    pub from: String,
    /// Who got, for people.
    pub to: String,
    /// Its counters.
    pub stats: QueueStats,
    /// Its entries.
    pub entries: u64,
    /// Packets, and stop signals, that nobody has acknowledged.
    pub undelivered: u64,
}

impl RingReport {
    pub(crate) fn of(plan: &RingPlan, ring: &RingQueue) -> Self {
        Self {
            name: plan.name.clone(),
            from: plan.from.clone(),
            to: plan.to.clone(),
            stats: ring.stats(),
            entries: ring.raw().geometry().entries(),
            undelivered: ring.qsize() + ring.in_flight(),
        }
    }
}

/// A job's end.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobReport {
    /// The job.
    pub job: JobId,
    /// Whether it ended well.
    pub outcome: Result<(), JobError>,
    /// Whether it was asked to stop.
    pub stopped: bool,
    /// Its instances.
    pub tasks: Vec<TaskStatus>,
    /// Its rings but the runtime's own.
    pub rings: Vec<RingReport>,
    /// What instances handed over, in the order of the graph.
    pub results: Vec<(InstanceId, Vec<u8>)>,
    /// All processes that there were, in the order in which they were started.
    pub pids: Vec<u32>,
    /// From the start to the end.
    pub elapsed: Duration,
}

impl JobReport {
    /// The report of a job that ended well, or why it did not.
    ///
    /// # Errors
    /// See [`JobError`].
    pub fn ok(mut self) -> Result<Self, JobError> {
        std::mem::replace(&mut self.outcome, Ok(()))?;
        Ok(self)
    }

    /// The results of one task, by its instances.
    pub fn results_of<'a>(&'a self, task: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let of = self.results.iter().filter(move |(instance, _)| instance.task == task);
        of.map(|(_, bytes)| bytes.as_slice())
    }

    /// The values that a task collected ([`super::Stream::collect`]), instance by instance.
    ///
    /// # Errors
    /// Where they are of another type.
    pub fn values_of<T: DeserializeOwned>(&self, task: &str) -> Result<Vec<T>, postcard::Error> {
        let mut values = Vec::new();
        for bytes in self.results_of(task) {
            values.extend(super::stream::values(bytes)?);
        }
        Ok(values)
    }

    /// Packets that nobody has acknowledged, in all rings.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.rings.iter().map(|ring| ring.undelivered).sum()
    }
}
