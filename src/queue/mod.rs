//! Put and get over a ring: descriptors, handles, leases, typed queues.

mod backend;
mod build;
mod config;
mod descriptor;
mod handle;
mod json;
mod lease;
mod local;
mod name;
mod ops;
mod registry;
mod ring_queue;
mod slot;
mod spec;
mod typed;

pub use crate::shm::storage::{Geometry, Side};
pub use backend::{QueueBackend, QueueStats, RecordKind, Wait};
pub use config::{
    DEFAULT_CAPACITY_BYTES, DEFAULT_CAPACITY_PACKETS, MAX_SCHEMA_NAME, QueueConfig, ResolvedConfig,
    schema_tag,
};
pub use descriptor::QueueDescriptor;
pub use handle::{PutManyError, Queue, Received};
pub use json::DescriptorError;
pub use lease::{ForeignLease, ForeignReservation, Lease, Reservation};
pub use name::DEFAULT_RING;
pub use registry::{
    LOCAL, RegisterError, SHM, register_queue_type, registered_queue_types, unregister_queue_type,
};
pub use ring_queue::RingQueue;
pub use spec::{DEFAULT_MAX_PARTICIPANTS, ShmAddress};
pub use typed::{DecodeError, DecodeFailure, Schema, TypedLease, TypedQueue};
