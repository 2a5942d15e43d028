//! Put and get over a ring: descriptors, handles, leases, typed queues.

mod backend;
mod descriptor;
mod lease;
mod ring_queue;

pub use backend::{QueueBackend, QueueStats, RecordKind, Wait};
pub use descriptor::{Queue, QueueDescriptor};
pub use lease::{ForeignLease, ForeignReservation, Lease, Reservation};
pub use ring_queue::RingQueue;
