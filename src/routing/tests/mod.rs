//! The router over mock queues: who gets what, who waits, and what the report says of it.

mod config;
mod mock;
mod policies;
mod stop;
mod strategies;

use super::{Connection, Router, RouterConfig, SendReport, TargetId};
use mock::MockQueue;

/// A router of these connections, all groups round-robin.
fn router(connections: Vec<Connection>) -> Router {
    Router::new(RouterConfig::new(connections)).unwrap()
}

/// The connections of one group over these queues.
fn group(broadcast_index: u32, queues: &[MockQueue]) -> Vec<Connection> {
    (0..).zip(queues).map(|(index, queue)| queue.connect(broadcast_index, index)).collect()
}

/// Where a report says the packet is.
fn delivered(report: &SendReport) -> Vec<(u32, u32)> {
    report
        .delivered()
        .map(|TargetId { broadcast_index, parallel_index }| (broadcast_index, parallel_index))
        .collect()
}

/// How many records each queue holds.
fn sizes(queues: &[MockQueue]) -> Vec<u64> {
    use crate::queue::QueueBackend;
    queues.iter().map(QueueBackend::qsize).collect()
}
