//! The graph: which tasks there are, which rings lie between them, who feeds whom.
//!
//! ```text
//!            text-0  ┌────────────┐         ┌───────────┐ words-0
//!          ┌────────▶│ splitter#0 │────┬───▶│ counter#0 │─────────┐
//! ┌────────┴─┐       └────────────┘    │    └───────────┘         │ counts  ┌───────────┐
//! │ reader#0 │  round-robin         hash of                       ├────────▶│ collector │
//! └────────┬─┘       ┌────────────┐ the word┌───────────┐         │         └───────────┘
//!          └────────▶│ splitter#1 │────┴───▶│ counter#1 │─────────┘
//!            text-1  └────────────┘         └───────────┘ words-1
//! ```
//!
//! Each instance has one input ring, of which it is the only consumer; a ring that only one
//! instance feeds has a single producer as well.

use ringway::error::OpenError;
use ringway::queue::{QueueConfig, QueueDescriptor, Side};
use ringway::routing::{
    Connection, GroupStrategy, InstanceId, PartitionStrategy, Router, RouterConfig, RouterError,
};
use ringway::shm::Lifetime;
use ringway::shm::segment::{RingConfig, SegmentConfig};
use serde::{Deserialize, Serialize};

use crate::chunks::max_chunk;

/// What all job segments of this program are called in front.
pub(crate) const SEGMENT_PREFIX: &str = "job-wordcount-";

/// Names of the tasks.
pub(crate) const READER: &str = "reader";
pub(crate) const SPLITTER: &str = "splitter";
pub(crate) const COUNTER: &str = "counter";
pub(crate) const COLLECTOR: &str = "collector";

/// Chunks of text that a splitter's ring holds.
const TEXT_PACKETS: u64 = 64;
/// Words that a counter's ring holds, and counts that the collector's does.
const WORD_PACKETS: u64 = 4096;

/// A job: everything that its processes must agree on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The job's segment, unlike any other's.
    pub(crate) segment: String,
    /// How many splitters.
    pub(crate) splitters: u32,
    /// How many counters.
    pub(crate) counters: u32,
    /// How many words the collector answers.
    pub(crate) top: usize,
    /// Longest word that is promised to fit, in bytes.
    pub(crate) max_word: usize,
}

impl Plan {
    /// Every instance of every task, upstream first.
    pub(crate) fn tasks(&self) -> Vec<InstanceId> {
        [READER, SPLITTER, COUNTER, COLLECTOR]
            .into_iter()
            .flat_map(|task| self.instances(task))
            .collect()
    }

    fn instances(&self, task: &str) -> Vec<InstanceId> {
        let count = match task {
            SPLITTER => self.splitters,
            COUNTER => self.counters,
            _ => 1,
        };
        (0..count).map(|index| InstanceId::new(task, index)).collect()
    }

    /// The instances that feed a task.
    pub(crate) fn upstreams(&self, task: &str) -> Vec<InstanceId> {
        match task {
            SPLITTER => self.instances(READER),
            COUNTER => self.instances(SPLITTER),
            COLLECTOR => self.instances(COUNTER),
            _ => Vec::new(),
        }
    }

    /// The task that a task feeds.
    fn downstream(task: &str) -> Option<&'static str> {
        match task {
            READER => Some(SPLITTER),
            SPLITTER => Some(COUNTER),
            COUNTER => Some(COLLECTOR),
            _ => None,
        }
    }

    /// The ring that an instance reads.
    fn ring(task: &InstanceId) -> Option<String> {
        match task.task.as_str() {
            SPLITTER => Some(format!("text-{}", task.index)),
            COUNTER => Some(format!("words-{}", task.index)),
            COLLECTOR => Some("counts".to_owned()),
            _ => None,
        }
    }

    /// The shape of the rings that the instances of a task read.
    fn ring_config(&self, task: &str) -> QueueConfig {
        let text = max_chunk(self.max_word) as u64;
        // Lower-casing makes two bytes three at most; then the count, and the wire form's own.
        let word = text * 3 / 2 + 16;
        let (packets, max_payload) =
            if task == SPLITTER { (TEXT_PACKETS, text) } else { (WORD_PACKETS, word) };
        let alone = self.upstreams(task).len() == 1;
        QueueConfig {
            capacity_packets: Some(packets),
            max_payload: Some(max_payload + 32),
            producers: if alone { Side::Single } else { Side::Multi },
            consumers: Side::Single,
            ..QueueConfig::default()
        }
    }

    /// The input queue of an instance; `None` for the reader.
    pub(crate) fn input(&self, task: &InstanceId) -> Result<Option<QueueDescriptor>, OpenError> {
        let Some(ring) = Self::ring(task) else { return Ok(None) };
        QueueDescriptor::shm(&format!("{}:{ring}", self.segment))?
            .with_lifetime(Lifetime::Job)?
            .with_config(self.ring_config(&task.task))
            .map(Some)
    }

    /// What an instance sends with.
    pub(crate) fn router(&self, task: &InstanceId) -> Result<Router, PlanError> {
        let mut connections = Vec::new();
        for target in Self::downstream(&task.task).iter().flat_map(|task| self.instances(task)) {
            if let Some(queue) = self.input(&target)? {
                connections.push(Connection::new(0, target.index, target.to_string(), queue));
            }
        }
        let mut config = RouterConfig::new(connections);
        if task.task == SPLITTER {
            config = config.with_strategy(0, GroupStrategy::Standard(PartitionStrategy::Hash));
        }
        Ok(Router::new(config)?)
    }

    /// The edges of the graph, each with the queues that it is made of.
    pub(crate) fn edges(&self) -> Result<Vec<Edge>, OpenError> {
        let mut edges = Vec::new();
        for (from, to) in [(READER, SPLITTER), (SPLITTER, COUNTER), (COUNTER, COLLECTOR)] {
            let mut rings = Vec::new();
            for target in self.instances(to) {
                rings.extend(self.input(&target)?);
            }
            edges.push(Edge { name: format!("{from} -> {to}"), rings });
        }
        Ok(edges)
    }

    /// The segment with all rings.
    pub(crate) fn segment_config(&self) -> Result<SegmentConfig, OpenError> {
        let mut config = SegmentConfig::new(self.segment.parse()?, Lifetime::Job);
        let tasks = self.tasks();
        // The parent is in it too.
        config.max_participants = tasks.len() as u32 + 1;
        for task in &tasks {
            if let Some(ring) = Self::ring(task) {
                let geometry = self.ring_config(&task.task).geometry()?;
                config = config.with_ring(RingConfig::new(ring, geometry));
            }
        }
        Ok(config)
    }
}

/// One edge of the graph.
pub(crate) struct Edge {
    /// Names of the tasks at both ends.
    pub(crate) name: String,
    /// Its queues.
    pub(crate) rings: Vec<QueueDescriptor>,
}

/// Why there is no router.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlanError {
    /// A queue's configuration is wrong.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The router's is.
    #[error(transparent)]
    Router(#[from] RouterError),
}
