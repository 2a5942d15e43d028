//! What a router looks like, for people and for monitoring.

use serde::{Deserialize, Serialize};

use super::group::Group;

/// A snapshot of a router: [`super::Router::routing_info`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RoutingInfo {
    /// The groups, by broadcast index.
    pub groups: Vec<GroupInfo>,
}

/// A group in a [`RoutingInfo`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct GroupInfo {
    /// Which group.
    pub broadcast_index: u32,
    /// How many targets.
    pub count: usize,
    /// The strategy for packets that name none.
    pub strategy: String,
    /// The round-robin position: parallel index of the target whose turn it is.
    pub position: usize,
    /// The targets, by parallel index.
    pub targets: Vec<TargetInfo>,
}

/// A target in a [`RoutingInfo`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TargetInfo {
    /// Its place in the group.
    pub parallel_index: u32,
    /// Its name.
    pub name: String,
    /// Which of its inputs is fed.
    pub input_index: u32,
    /// Name of its queue.
    pub queue_id: String,
    /// Kind of its queue.
    pub queue_type: String,
    /// Occupancy of its queue, 0.0–1.0; `None` where the queue cannot be opened.
    pub load: Option<f64>,
    /// Why the queue cannot be opened.
    pub problem: Option<String>,
    /// Packets that this router dropped because the queue was full.
    pub dropped: u64,
}

pub(super) fn of(groups: &[Group]) -> RoutingInfo {
    let groups = groups
        .iter()
        .map(|group| GroupInfo {
            broadcast_index: group.broadcast_index,
            count: group.targets.len(),
            strategy: group.strategy.to_string(),
            position: group.position,
            targets: group
                .targets
                .iter()
                .map(|target| {
                    let (load, problem) = match target.load() {
                        Ok(load) => (Some(load), None),
                        Err(error) => (None, Some(error.to_string())),
                    };
                    let connection = target.connection();
                    TargetInfo {
                        parallel_index: target.id.parallel_index,
                        name: connection.target_name.clone(),
                        input_index: connection.target_input_index,
                        queue_id: connection.descriptor.queue_id().to_owned(),
                        queue_type: connection.descriptor.queue_type().to_owned(),
                        load,
                        problem,
                        dropped: target.dropped,
                    }
                })
                .collect(),
        })
        .collect();
    RoutingInfo { groups }
}
