//! Put and get over a ring: descriptors, handles, leases, typed queues.

mod backend;
mod build;
mod config;
mod consumer;
mod core;
mod core_dead;
mod core_get;
mod core_place;
mod core_put;
mod core_sleep;
mod core_wait;
mod descriptor;
mod get_many;
mod handle;
mod held;
mod json;
mod large_claim;
mod lease;
mod local;
mod local_home;
mod name;
mod ops;
mod producer;
mod registry;
mod ring_lease;
mod ring_queue;
mod roles;
mod segment_home;
mod selector;
mod slot;
mod spec;
mod spin;
mod typed;
mod warm;

pub use crate::shm::inspect::{BlockKind, Blocker};
pub use crate::shm::storage::{Geometry, Side};
pub use backend::{QueueBackend, QueueStats, RecordKind, Wait};
pub use config::{
    DEFAULT_CAPACITY_BYTES, DEFAULT_CAPACITY_PACKETS, MAX_SCHEMA_NAME, QueueConfig, ResolvedConfig,
    schema_tag,
};
pub use consumer::Consumer;
pub use core_dead::DeadLetter;
pub use descriptor::QueueDescriptor;
pub use handle::{PutManyError, Queue, Received};
pub use json::DescriptorError;
pub use lease::{ForeignLease, ForeignReservation, Lease, RecordInfo, Reservation};
pub use name::DEFAULT_RING;
pub use producer::{InPlace, Producer};
pub use registry::{
    LOCAL, RegisterError, SHM, register_queue_type, registered_queue_types, unregister_queue_type,
};
pub use ring_queue::RingQueue;
pub(crate) use ring_queue::open_in;
pub use roles::Role;
pub use selector::Selector;
pub use spec::{DEFAULT_MAX_PARTICIPANTS, ShmAddress};
pub use typed::{DecodeError, DecodeFailure, Schema, TypedLease, TypedQueue};
pub(crate) use warm::Warm;
