//! A descriptor names a queue; the first use opens it.
//!
//! A descriptor is a value: it is built, cloned, compared, hashed, printed and serialized without
//! touching any queue. The first put, get or question opens the queue (attaches to it, or makes it),
//! once for all clones and all threads: see `slot.rs`. What is open is this process's affair and is
//! never serialized.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::error::{GetError, OpenError, PutError};
use crate::queue::config::{QueueConfig, schema_tag};
use crate::queue::ops::queue_ops;
use crate::queue::registry;
use crate::queue::slot::Slot;
use crate::queue::spec::{ShmAddress, Spec};
use crate::queue::{
    Lease, PutManyError, Queue, QueueBackend, QueueStats, Received, RecordKind, Reservation, Wait,
};
use crate::shm::Lifetime;

/// Names a queue, and is the queue for whoever uses it.
///
/// - **Kinds**: `local` (in this process), `shm` (`SEGMENT:RING` in shared memory), and whatever
///   [`register_queue_type`](crate::queue::register_queue_type) makes known.
/// - **Clones** are the same queue, always: they share what is open, whether or not either was used
///   before. Equality and hash depend on the kind and the `queue_id` alone, not on the configuration
///   and not on the `directory`; so a descriptor may be a key of a map whatever is done with it
///   (clippy's `mutable_key_type` is mistaken there).
/// - **First use** opens the queue once, however many threads and clones come at the same time. A
///   failure is returned and not remembered: the next use tries again.
/// - **Destroyed** queues stay so: once the queue is destroyed, here or elsewhere, every use says
///   `Destroyed`, and nobody goes on with an unlinked file or makes the queue anew by accident.
///   [`clear_cache`](Self::clear_cache) is the way to start again under the same name.
/// - **After a fork** the child opens the queue anew.
/// - Each use costs a read lock and two reference counts. A hot loop takes a [`Queue`] once.
///
/// ```
/// use ringway::queue::QueueDescriptor;
///
/// let words = QueueDescriptor::local("doc/words")?.with_maxsize(10)?;
/// let same = QueueDescriptor::from_json(&words.to_json())?;
/// words.put(b"hello")?;
/// assert_eq!(same.get()?.payload, b"hello");
/// assert_eq!(words, same);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct QueueDescriptor {
    shared: Arc<Shared>,
}

struct Shared {
    spec: Spec,
    slot: Slot,
}

impl QueueDescriptor {
    /// Wraps a valid spec.
    pub(crate) fn from_spec(spec: Spec) -> Self {
        Self { shared: Arc::new(Shared { spec, slot: Slot::default() }) }
    }

    pub(crate) fn spec(&self) -> &Spec {
        &self.shared.spec
    }
}

/// What it says. None of these touches the queue.
impl QueueDescriptor {
    /// `local`, `shm`, or the name of a registered kind.
    #[must_use]
    pub fn queue_type(&self) -> &str {
        self.spec().queue_type()
    }

    /// The name of the queue. Empty where an unknown kind's JSON has none.
    #[must_use]
    pub fn queue_id(&self) -> &str {
        self.spec().queue_id().unwrap_or_default()
    }

    /// The configuration of a `local` or `shm` queue.
    #[must_use]
    pub fn config(&self) -> Option<&QueueConfig> {
        self.spec().config()
    }

    /// Where a `shm` queue is.
    #[must_use]
    pub fn shm_address(&self) -> Option<&ShmAddress> {
        match self.spec() {
            Spec::Shm { address, .. } => Some(address),
            _ => None,
        }
    }

    /// How long a `local` queue, or the segment made for a `shm` queue, lives.
    #[must_use]
    pub fn lifetime(&self) -> Option<Lifetime> {
        match self.spec() {
            Spec::Local { lifetime, .. } => Some(*lifetime),
            Spec::Shm { address, .. } => Some(address.lifetime),
            Spec::Other { .. } => None,
        }
    }

    /// The schema's name, if it has one.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        match self.spec() {
            Spec::Local { config, .. } | Spec::Shm { config, .. } => config.schema.as_deref(),
            Spec::Other { fields, .. } => fields.get("schema").and_then(Value::as_str),
        }
    }

    /// The schema's tag (see [`schema_tag`](crate::queue::schema_tag)); 0 without a schema.
    #[must_use]
    pub fn schema_tag(&self) -> u64 {
        self.schema().map_or(0, schema_tag)
    }

    /// The fields of a registered or unknown kind, without `queue_type`, as they were read.
    #[must_use]
    pub fn fields(&self) -> Option<&Map<String, Value>> {
        match self.spec() {
            Spec::Other { fields, .. } => Some(fields),
            _ => None,
        }
    }

    /// One of [`QueueDescriptor::fields`].
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields()?.get(name)
    }

    /// Says whether the queue is open in this process; `false` while it is being opened.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.slot.is_open().unwrap_or(false)
    }
}

/// Using. The first of these to be called opens the queue.
impl QueueDescriptor {
    /// The queue, opened if need be: to be held by hot loops.
    ///
    /// # Errors
    /// See [`OpenError`]. A failure is not remembered.
    #[inline]
    pub fn queue(&self) -> Result<Queue, OpenError> {
        self.shared.slot.get_or_open(|| match self.spec().open() {
            Some(opened) => opened,
            None => registry::open(self),
        })
    }

    #[inline]
    fn run<R>(&self, op: impl FnOnce(&(dyn QueueBackend + 'static)) -> R) -> Result<R, OpenError> {
        let queue = self.queue()?;
        Ok(op(&**queue.backend()))
    }

    queue_ops!();

    /// Packets waiting: put and not yet taken.
    ///
    /// # Errors
    /// Where the queue cannot be opened; so for all questions below.
    pub fn qsize(&self) -> Result<u64, OpenError> {
        self.run(QueueBackend::qsize)
    }

    /// Packets leased and not acknowledged, those given back included.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn in_flight(&self) -> Result<u64, OpenError> {
        self.run(QueueBackend::in_flight)
    }

    /// Most packets that may wait; 0 for no bound but the space.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn maxsize(&self) -> Result<u64, OpenError> {
        self.run(QueueBackend::maxsize)
    }

    /// Longest payload, in bytes.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn max_payload(&self) -> Result<usize, OpenError> {
        self.run(QueueBackend::max_payload)
    }

    /// Says whether no packet waits.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn is_empty(&self) -> Result<bool, OpenError> {
        self.run(|queue| queue.qsize() == 0)
    }

    /// Says whether a packet of 0 bytes would be refused.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn is_full(&self) -> Result<bool, OpenError> {
        self.run(QueueBackend::is_full)
    }

    /// 0.0–1.0: the larger of packets/maxsize and bytes/capacity.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn occupancy(&self) -> Result<f64, OpenError> {
        self.run(QueueBackend::occupancy)
    }

    /// Says whether the queue was closed.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn is_closed(&self) -> Result<bool, OpenError> {
        self.run(QueueBackend::is_closed)
    }

    /// The counters.
    ///
    /// # Errors
    /// As [`QueueDescriptor::qsize`].
    pub fn stats(&self) -> Result<QueueStats, OpenError> {
        self.run(QueueBackend::stats)
    }

    /// Refuses further puts; consumers drain. Idempotent.
    ///
    /// # Errors
    /// Where the queue cannot be opened, or can no longer be reached.
    pub fn close(&self) -> Result<(), PutError> {
        self.run(QueueBackend::close)?
    }

    /// Drops this process's mapping and cached instance, for all clones; the next use opens anew.
    ///
    /// Never loses a packet: packets are in the queue, not in the cache. What would die with its
    /// last user is held on to: a local queue itself, and the participation in an `ephemeral`
    /// segment. Handles, leases and reservations keep their mapping until they are dropped. After
    /// the queue was destroyed, the next use makes a new one.
    pub fn clear_cache(&self) {
        self.shared.slot.clear(|queue, ring| self.spec().anchor(queue, ring));
    }

    /// The same as [`QueueDescriptor::clear_cache`].
    pub fn trim(&self) {
        self.clear_cache();
    }

    /// Removes the queue with the packets in it: all others get `Destroyed`, and so do this
    /// descriptor and its clones if it was open, until [`QueueDescriptor::clear_cache`].
    ///
    /// A `local` or `shm` queue that is not open here is not opened for it, nor made; one that does
    /// not exist (any more) is no error.
    ///
    /// # Errors
    /// Where it cannot be removed: see [`OpenError`].
    pub fn destroy(&self) -> Result<(), OpenError> {
        let result = match self.shared.slot.get() {
            Some(queue) => queue.destroy(),
            None => match self.spec().destroy_unopened() {
                Some(result) => result,
                None => self.queue()?.destroy(),
            },
        };
        match result {
            Err(OpenError::NotFound { .. } | OpenError::Destroyed { .. }) => Ok(()),
            other => other,
        }
    }
}

impl PartialEq for QueueDescriptor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) || self.spec() == other.spec()
    }
}

impl Eq for QueueDescriptor {}

impl Hash for QueueDescriptor {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.queue_type().hash(state);
        self.spec().queue_id().hash(state);
    }
}

impl fmt::Display for QueueDescriptor {
    /// Writes `TYPE:ID`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.queue_type(), self.queue_id())
    }
}

impl fmt::Debug for QueueDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueueDescriptor")
            .field("spec", self.spec())
            .field("open", &self.shared.slot.is_open())
            .finish()
    }
}
