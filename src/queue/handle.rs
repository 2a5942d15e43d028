//! An opened queue of any kind, and what is got from it.
//!
//! [`Queue`] is a counted reference to a backend. It keeps the backend, and so the mapping, alive;
//! it never opens anything and never goes stale by itself: after a `destroy` it says `Destroyed`.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::{GetError, OpenError, PutError};
use crate::queue::local;
use crate::queue::ops::queue_ops;
use crate::queue::ring_queue;
use crate::queue::{DeadLetter, Lease, QueueBackend, RecordKind, Reservation, Wait};
use crate::shm::inspect::RingSnapshot;
use crate::shm::segment::Segment;

/// An opened queue: a cheap handle for hot loops, to be cloned and shared between threads.
///
/// All clones are the same queue. The handle derefs to [`QueueBackend`], so that `qsize`,
/// `in_flight`, `maxsize`, `occupancy`, `is_full`, `is_closed`, `max_payload`, `close` and `stats`
/// are at hand; the methods below are the conveniences over it. Where a name is the same (`put`,
/// `reserve`, `lease`, `lease_many`, `put_many`), the convenience wins, and
/// [`Queue::backend`] leads to the original.
///
/// ```
/// use ringway::queue::QueueDescriptor;
///
/// let queue = QueueDescriptor::local("doc/handle")?.queue()?;
/// queue.put(b"hello")?;
/// assert_eq!(queue.qsize(), 1);
/// assert_eq!(queue.get()?.payload, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Queue(Arc<dyn QueueBackend>);

impl Queue {
    /// Wraps a backend.
    #[must_use]
    pub fn new(backend: Arc<dyn QueueBackend>) -> Self {
        Self(backend)
    }

    /// Opens a ring of a segment that this process has attached to, whatever its configuration.
    ///
    /// # Errors
    /// [`OpenError::NoSuchRing`], [`OpenError::Forked`], [`OpenError::Io`].
    pub fn of_segment(segment: &Arc<Segment>, ring: &str) -> Result<Self, OpenError> {
        let opened = ring_queue::open_ring(segment, ring, None)?;
        Ok(Self(Arc::new(opened)))
    }

    /// The backend, with its own `put`, `reserve` and `lease`.
    #[inline]
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn QueueBackend> {
        &self.0
    }

    /// Says whether no packet waits. If it does not, another consumer may take what waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.qsize() == 0
    }

    /// Looks at the ring beneath: all that `shm-inspect show` prints of it. Reads only, with a system
    /// call for each participant met; [`QueueBackend::stats`] gives the counters alone, and costs
    /// some loads. `None` for a kind of queue that is not made of a ring, and in a forked child.
    #[must_use]
    pub fn snapshot(&self) -> Option<RingSnapshot> {
        self.0.ring()?.snapshot()
    }

    /// Says whether two handles lead to one instance. Two instances may still be the same queue:
    /// two mappings of one ring, for example.
    #[must_use]
    pub fn same_instance(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Removes the queue with the packets in it; every handle gets `Destroyed`.
    ///
    /// # Errors
    /// Where the queue cannot be removed: see [`OpenError`].
    pub fn destroy(&self) -> Result<(), OpenError> {
        self.0.destroy()?;
        if self.0.ring().is_some() {
            local::sweep();
        }
        Ok(())
    }

    #[inline]
    #[expect(clippy::unnecessary_wraps, reason = "the shape that `queue_ops` calls")]
    fn run<R>(&self, op: impl FnOnce(&(dyn QueueBackend + 'static)) -> R) -> Result<R, OpenError> {
        Ok(op(&*self.0))
    }

    queue_ops!();
}

impl Deref for Queue {
    type Target = dyn QueueBackend;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queue").field(&self.0).finish()
    }
}

impl From<Arc<dyn QueueBackend>> for Queue {
    fn from(backend: Arc<dyn QueueBackend>) -> Self {
        Self(backend)
    }
}

/// A packet got: copied out of the queue, and acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The bytes that were put.
    pub payload: Vec<u8>,
    /// What the record is.
    pub kind: RecordKind,
    /// Says whether the packet may have been delivered before.
    pub redelivered: bool,
    /// How many times the packet was delivered, this time included; after a crash it may count one
    /// too many, never one too few.
    pub delivery_count: u32,
    /// Time of the put (`CLOCK_MONOTONIC`, nanoseconds), where the queue keeps it.
    pub timestamp_ns: Option<u64>,
    /// Where the packet comes from, if it is a dead letter.
    pub dead_letter: Option<DeadLetter>,
}

impl Received {
    /// Copies the record out of its lease, then acknowledges it. A crash in between delivers the
    /// packet again.
    #[must_use]
    pub fn take(lease: Lease) -> Self {
        let received = Self::copy_of(&lease);
        lease.ack();
        received
    }

    /// Copies the record, and leaves the lease as it is.
    pub(crate) fn copy_of(lease: &Lease) -> Self {
        Self {
            payload: lease.to_vec(),
            kind: lease.kind(),
            redelivered: lease.redelivered(),
            delivery_count: lease.delivery_count(),
            timestamp_ns: lease.timestamp_ns(),
            dead_letter: lease.dead_letter(),
        }
    }
}

impl Deref for Received {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.payload
    }
}

/// Why not all of several packets were put. Those before the first refused one were, in order.
#[derive(Debug, thiserror::Error)]
#[error("after {put} packets: {error}")]
pub struct PutManyError {
    /// How many packets were put: the first so many.
    pub put: usize,
    /// Why the next one was not.
    #[source]
    pub error: PutError,
}
