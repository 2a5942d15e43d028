//! Packets, connections, and the router that picks where a packet goes.
//!
//! ```text
//! Router ─┬─ group 0 (broadcast_index) ─┬─ Connection 0 (parallel_index) ── queue of task a#0
//!         │                             └─ Connection 1                  ── queue of task a#1
//!         └─ group 1 ────────────────────── Connection 0                 ── queue of task b#0
//! ```
//!
//! Each group receives every packet; within a group a [`PartitionStrategy`] picks the target. A send
//! writes the packet's wire form (`docs/wire.md`) straight into each target's queue and answers with
//! a [`SendReport`], which says truthfully what was delivered, and what was not and why.
//!
//! Nothing here is shared between threads or processes but the queues themselves: a [`Router`] is
//! owned by one thread, and another gets its own by [`Router::fork`]. So a send adds no lock, no
//! shared write, and, once every queue is open, no allocation to what the queues do.

mod batch;
mod connection;
mod group;
mod info;
mod key;
mod lane;
mod packet;
mod report;
mod router;
mod short;
mod stop;
mod strategy;
mod view;
mod wire;

pub use batch::{BatchRouter, Buffered, Flushed};
pub use connection::{Connection, FullPolicy, RouterConfig, RouterError};
pub use info::{GroupInfo, RoutingInfo, TargetInfo};
pub use key::{KeyRef, MAX_KEY_DEPTH, PartitionKey, target_index};
pub use packet::{InstanceId, Packet, Provenance};
pub use report::{MissedTarget, Problem, SendError, SendReport, TargetId, Undelivered};
pub use router::{Router, STOP_WAIT};
pub use stop::{Record, StopSignal};
pub use strategy::{
    Choice, CustomStrategy, GroupStrategy, GroupView, PartitionStrategy, StrategyFn,
};
pub(crate) use view::{KnownInstance, Origin};
pub use view::{PacketRef, ProvenanceRef};
pub use wire::{WIRE_VERSION, WireError};

#[cfg(test)]
mod tests;
