//! What every kind of queue can do.

use std::time::{Duration, Instant};

use crate::error::{GetError, OpenError, PutError};
use crate::queue::{Lease, Reservation};

/// What a record is. The number travels in the entry, outside the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct RecordKind(pub u8);

impl RecordKind {
    /// Bytes put by `put`, of no kind known to Ringway.
    pub const RAW: Self = Self(0);
    /// A packet in its wire form (`routing::Packet`).
    pub const PACKET: Self = Self(1);
    /// A stop signal in its wire form (`routing::StopSignal`).
    pub const STOP: Self = Self(2);
    /// A value of a typed queue (`TypedQueue`).
    pub const TYPED: Self = Self(3);
}

/// How long an operation waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all: `try_*`.
    No,
    /// Until it can be done, or never can.
    Forever,
    /// Until this instant.
    Until(Instant),
    /// Like `Forever`, but a signal that is handled while this thread sleeps ends the wait with
    /// `Interrupted`; the other ways of waiting go on after a signal.
    Interruptible,
}

impl Wait {
    /// Waits at most `timeout` from now; for ever when that is out of range.
    #[must_use]
    pub fn at_most(timeout: Duration) -> Self {
        Instant::now().checked_add(timeout).map_or(Self::Forever, Self::Until)
    }
}

/// Numbers of one queue since its creation: see the field docs for exactness.
pub use crate::shm::ring::RingStats as QueueStats;

/// One opened queue of any kind. All methods may be called from any thread.
///
/// [`crate::Queue`] adds the conveniences. Implement this, and register a factory
/// ([`crate::queue::register_queue_type`]), to make another kind of queue known to descriptors.
pub trait QueueBackend: Send + Sync + std::fmt::Debug {
    /// Claims room for a record of `len` bytes, to be written in place and committed.
    ///
    /// # Errors
    /// See [`PutError`].
    fn reserve(&self, kind: RecordKind, len: usize, wait: Wait) -> Result<Reservation, PutError>;

    /// Puts one record.
    ///
    /// # Errors
    /// See [`PutError`].
    fn put(&self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError>;

    /// Puts records in order, and says how many were put: fewer than all only together with an
    /// error, which is `None` when all were put.
    fn put_many(
        &self,
        kind: RecordKind,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>);

    /// Takes one record to be read in place. Dropped without `ack`, it is given back.
    ///
    /// # Errors
    /// See [`GetError`].
    fn lease(&self, wait: Wait) -> Result<Lease, GetError>;

    /// Takes up to `max` records, waiting for the first only; appends them to `out` and says how
    /// many.
    ///
    /// # Errors
    /// See [`GetError`]; then nothing was taken.
    fn lease_many(&self, max: usize, out: &mut Vec<Lease>, wait: Wait) -> Result<usize, GetError>;

    /// Packets waiting: put and not yet taken.
    fn qsize(&self) -> u64;
    /// Packets leased and not acknowledged, those given back included.
    fn in_flight(&self) -> u64;
    /// Most packets that may wait; 0 for no bound but the space.
    fn maxsize(&self) -> u64;
    /// 0.0–1.0: the larger of packets/maxsize and bytes/capacity.
    fn occupancy(&self) -> f64;
    /// What a router that looks for the least loaded compares: the occupancy, or near it, and cheap to
    /// find out. `None` where the queue takes no packets any more.
    fn load(&self) -> Option<f64> {
        (!self.is_closed()).then(|| self.occupancy()).filter(|load| !load.is_nan())
    }
    /// Says whether a packet of 0 bytes would be refused.
    fn is_full(&self) -> bool;
    /// Longest payload, in bytes.
    fn max_payload(&self) -> usize;
    /// Says whether the queue was closed.
    fn is_closed(&self) -> bool;
    /// Refuses further puts; consumers drain. Idempotent.
    ///
    /// # Errors
    /// Where the queue can no longer be reached.
    fn close(&self) -> Result<(), PutError>;
    /// Removes the queue; other handles get `Destroyed`.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn destroy(&self) -> Result<(), OpenError>;
    /// The counters.
    fn stats(&self) -> QueueStats;
    /// For kinds made of a Ringway ring: what a `Selector` waits on.
    fn ring(&self) -> Option<&crate::queue::RingQueue> {
        None
    }
}
