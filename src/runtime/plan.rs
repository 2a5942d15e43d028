//! The plan of a job: its one segment with every ring, and what each instance is told. All of it is
//! serde values; nothing is touched.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::graph::{Kind, Restart};
use crate::error::OpenError;
use crate::queue::QueueConfig;
use crate::routing::{InstanceId, RouterConfig};
use crate::shm::Lifetime;
use crate::shm::names::SegmentName;
use crate::shm::segment::{RingConfig, SegmentConfig};

/// Version of the specs; a worker of another one refuses to start.
pub const SPEC_VERSION: u32 = 1;

/// What job segments are called in front.
pub(crate) const SEGMENT_PREFIX: &str = "job-";
/// The ring on which workers tell the dispatcher.
pub(crate) const CONTROL: &str = "_control";
/// Longest record on that ring, in bytes.
pub(crate) const CONTROL_PAYLOAD: u64 = 64 << 10;
/// Longest record on a command ring, in bytes.
pub(crate) const COMMAND_PAYLOAD: u64 = 1024;

/// A job's name, and what tells it from others of that name. Prints as `NAME-ID`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobId {
    /// Its name.
    pub name: String,
    /// Unlike that of any other job: 64 random bits.
    pub id: u64,
}

impl JobId {
    /// Gives a job of this name an id.
    #[must_use]
    pub fn new(name: &str) -> Self {
        use std::hash::{BuildHasher, Hasher, RandomState};
        // Each state has keys of its own, from the system's entropy.
        Self { name: name.to_owned(), id: RandomState::new().build_hasher().finish() }
    }

    /// The name of its segment.
    #[must_use]
    pub fn segment(&self) -> String {
        format!("{SEGMENT_PREFIX}{self}")
    }

    /// Reads the name of a job's segment.
    #[must_use]
    pub fn of_segment(segment: &str) -> Option<Self> {
        let (name, id) = segment.strip_prefix(SEGMENT_PREFIX)?.rsplit_once('-')?;
        let id = (id.len() == 16).then(|| u64::from_str_radix(id, 16).ok())??;
        Some(Self { name: name.to_owned(), id })
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.name, self.id)
    }
}

/// One ring of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RingPlan {
    /// Its name in the job's segment.
    pub name: String,
    /// Its shape and modes.
    pub config: QueueConfig,
    /// Who puts, for people.
    pub from: String,
    /// Who gets, for people.
    pub to: String,
    /// Whether a restart of either side can double a packet.
    pub exactly_once: bool,
}

/// Where an instance reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// The ring.
    pub ring: String,
    /// Whether it is shared with the other instances of the task.
    pub shared: bool,
    /// The instances that feed it, each with the input that it is for. Empty where it is shared.
    pub upstreams: Vec<(InstanceId, u32)>,
}

/// What an instance of a service serves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServeSpec {
    /// The ring of the requests.
    pub requests: String,
    /// The clients' reply rings, by the clients' places in the plan.
    pub replies: BTreeMap<u32, String>,
}

/// How far an instance got that was started before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// The number of the last packet that is done, for each upstream (its place in
    /// [`InputSpec::upstreams`]).
    pub done: BTreeMap<u32, u64>,
    /// The upstreams that have ended.
    pub ended: Vec<u32>,
    /// How many packets it had sent.
    pub sent: u64,
}

/// All that one process is told: what `RINGWAY_TASK` holds, as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// [`SPEC_VERSION`] of who wrote it.
    pub version: u32,
    /// The job.
    pub job: JobId,
    /// Where the job's segment is.
    pub directory: PathBuf,
    /// The dispatcher's process.
    pub dispatcher: u32,
    /// Which instance it is.
    pub instance: InstanceId,
    /// Its place in the plan.
    pub place: u32,
    /// What it is.
    pub kind: Kind,
    /// How many instances its task has.
    pub parallelism: u32,
    /// How often it was started before.
    pub attempt: u32,
    /// When it is started again.
    pub restart: Restart,
    /// What it reads; `None` for a source or a service.
    pub input: Option<InputSpec>,
    /// What it sends to.
    pub output: RouterConfig,
    /// The groups whose packets are numbered, because either side may restart.
    pub numbered: BTreeSet<u32>,
    /// The request rings of the services it may call.
    pub services: BTreeMap<String, String>,
    /// The ring of the replies to it.
    pub replies: Option<String>,
    /// What it serves.
    pub serve: Option<ServeSpec>,
    /// How far it got.
    pub progress: Progress,
    /// Whether it has the dispatcher's standard input.
    pub keeps_stdin: bool,
}

/// A job, compiled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobPlan {
    /// The job.
    pub job: JobId,
    /// Every instance, in the order of the graph.
    pub tasks: Vec<TaskSpec>,
    /// Every ring, those of the runtime last.
    pub rings: Vec<RingPlan>,
}

pub(super) fn command_ring(place: u32) -> String {
    format!("_command-{place}")
}

impl JobPlan {
    /// The segment with all rings.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] where a ring cannot be made.
    pub fn segment_config(&self) -> Result<SegmentConfig, OpenError> {
        let mut config = SegmentConfig::new(SegmentName::new(self.job.segment())?, Lifetime::Job);
        // A restarted instance may come before its predecessor's place is known to be free.
        config.max_participants =
            (self.tasks.len() as u32 + 9).min(crate::shm::layout::MAX_PARTICIPANTS);
        config.participant_name = "dispatcher".into();
        for ring in &self.rings {
            config = config.with_ring(RingConfig::new(&*ring.name, ring.config.geometry()?));
        }
        Ok(config)
    }

    /// Says where the segment is to be, and who dispatches.
    pub(crate) fn settle(&mut self, directory: &std::path::Path) -> Result<(), OpenError> {
        for task in &mut self.tasks {
            task.directory = directory.to_owned();
            task.dispatcher = std::process::id();
            for connection in &mut task.output.connections {
                connection.descriptor = connection.descriptor.with_directory(directory)?;
            }
        }
        Ok(())
    }

    /// Prints it as a table.
    #[must_use]
    pub fn explain(&self) -> String {
        super::explain::table(self)
    }
}
