//! Connections, and the configuration that a router is made of.
//!
//! Both are plain serde values: they name queues and open none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::strategy::{Choice, CustomStrategy, GroupStrategy, GroupView};
use super::{PacketRef, TargetId};
use crate::error::OpenError;
use crate::queue::QueueDescriptor;

/// What happens to a packet whose target is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FullPolicy {
    /// Waits for room: at most `timeout` from the start of the send's waiting, or for ever.
    Block {
        /// How long; `None` for ever.
        #[serde(default)]
        timeout: Option<Duration>,
    },
    /// Drops the packet, counts it in [`super::TargetInfo::dropped`], and says so in the report.
    DropNewest,
    /// Reports [`crate::error::PutError::Full`], at once.
    Fail,
}

impl Default for FullPolicy {
    /// Waits for ever: a full queue slows its producer down, and nothing is lost.
    fn default() -> Self {
        Self::Block { timeout: None }
    }
}

/// One edge from a router to a target's queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Which group it belongs to. Each group receives every packet.
    pub broadcast_index: u32,
    /// Which of the group's targets it is, from 0 without gaps.
    pub parallel_index: u32,
    /// Name of the target, for people.
    pub target_name: String,
    /// Which of the target's inputs it feeds: what packets carry as `input_index` on the wire.
    #[serde(default)]
    pub target_input_index: u32,
    /// The target's queue.
    pub descriptor: QueueDescriptor,
    /// What happens when that queue is full.
    #[serde(default)]
    pub full_policy: FullPolicy,
}

impl Connection {
    /// Connects to input 0 of a target, waiting for room for ever.
    pub fn new(
        broadcast_index: u32,
        parallel_index: u32,
        target_name: impl Into<String>,
        descriptor: QueueDescriptor,
    ) -> Self {
        Self {
            broadcast_index,
            parallel_index,
            target_name: target_name.into(),
            target_input_index: 0,
            descriptor,
            full_policy: FullPolicy::default(),
        }
    }

    /// Sets the target's input index.
    #[must_use]
    pub fn with_target_input_index(mut self, target_input_index: u32) -> Self {
        self.target_input_index = target_input_index;
        self
    }

    /// Sets what happens when the queue is full.
    #[must_use]
    pub fn with_full_policy(mut self, full_policy: FullPolicy) -> Self {
        self.full_policy = full_policy;
        self
    }

    /// Reads the occupancy of the queue, 0.0–1.0, which others change all the time. The first use
    /// opens the queue.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn buffer_load(&self) -> Result<f64, OpenError> {
        Ok(self.descriptor.queue()?.occupancy())
    }

    /// Where it stands.
    #[must_use]
    pub fn id(&self) -> TargetId {
        TargetId { broadcast_index: self.broadcast_index, parallel_index: self.parallel_index }
    }
}

/// All that a router is made of, in a form that travels.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RouterConfig {
    /// The edges, in any order.
    pub connections: Vec<Connection>,
    /// The strategies of groups by broadcast index; a group that is not here is round-robin.
    #[serde(default)]
    pub strategies: BTreeMap<u32, GroupStrategy>,
}

impl RouterConfig {
    /// Configures a router of these edges, all groups round-robin.
    #[must_use]
    pub fn new(connections: Vec<Connection>) -> Self {
        Self { connections, strategies: BTreeMap::new() }
    }

    /// Sets the strategy of a group.
    #[must_use]
    pub fn with_strategy(
        mut self,
        broadcast_index: u32,
        strategy: impl Into<GroupStrategy>,
    ) -> Self {
        self.strategies.insert(broadcast_index, strategy.into());
        self
    }

    /// Gives all custom strategies of this name their function, and says how many there are.
    pub fn bind(
        &mut self,
        name: &str,
        function: impl Fn(&PacketRef<'_>, &GroupView<'_>) -> Choice + Send + Sync + 'static,
    ) -> usize {
        let function = Arc::new(function);
        let mut bound = 0;
        for strategy in self.strategies.values_mut() {
            match strategy {
                GroupStrategy::Custom(custom) if custom.name() == name => {
                    custom.bind(function.clone());
                    bound += 1;
                }
                _ => {}
            }
        }
        bound
    }

    /// The custom strategies that have no function yet, by group.
    pub fn unbound(&self) -> impl Iterator<Item = (u32, &CustomStrategy)> {
        self.strategies.iter().filter_map(|(broadcast_index, strategy)| match strategy {
            GroupStrategy::Custom(custom) if !custom.is_bound() => Some((*broadcast_index, custom)),
            _ => None,
        })
    }
}

/// Why a configuration makes no router. All are permanent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouterError {
    /// Two connections stand in one place.
    #[error("connections: {first:?} and {second:?} are both {target}")]
    DuplicateTarget {
        /// The place.
        target: TargetId,
        /// Name of the one.
        first: String,
        /// Name of the other.
        second: String,
    },
    /// The parallel indices of a group have a gap. Keys are mapped to 0 … n−1, so every router
    /// would have to know of the gap to agree.
    #[error(
        "connections: group {broadcast_index} has no parallel_index {missing}, but higher ones"
    )]
    ParallelGap {
        /// The group.
        broadcast_index: u32,
        /// The lowest index missing.
        missing: u32,
    },
    /// A group has a strategy and no connection.
    #[error("strategies: group {broadcast_index} has a strategy, but no connection")]
    EmptyGroup {
        /// The group.
        broadcast_index: u32,
    },
    /// A custom strategy was not given its function ([`RouterConfig::bind`]).
    #[error("strategies: the custom strategy {name:?} of group {broadcast_index} is not bound")]
    UnboundStrategy {
        /// The group.
        broadcast_index: u32,
        /// Name of the strategy.
        name: String,
    },
}
