//! A queue made of a ring, on the heap or in a segment.

use std::any::Any;
use std::sync::Arc;

use crate::error::{GetError, OpenError, PutError};
use crate::queue::config::{QueueConfig, ResolvedConfig};
use crate::queue::consumer::Consumer;
use crate::queue::core::Core;
use crate::queue::local_home::LocalHome;
use crate::queue::producer::Producer;
use crate::queue::ring_lease::RingLease;
use crate::queue::segment_home::SegmentHome;
use crate::queue::spec::ShmAddress;
use crate::queue::{Lease, QueueBackend, QueueStats, RecordKind, Reservation, Wait, Warm};
use crate::shm::directory::{Directory, group_id};
use crate::shm::inspect::{self, Blocker, RingSnapshot, World};
use crate::shm::names::SegmentName;
use crate::shm::ring::Ring;
use crate::shm::segment::{RingConfig, Segment, SegmentConfig};
use crate::shm::storage::{Geometry, RingMemory, Side};

/// A queue made of a Ringway ring, on the heap or in a segment.
///
/// Cheap to clone; all clones share one attachment. Every operation may be called from any thread.
#[derive(Clone, Debug)]
pub struct RingQueue {
    core: Arc<Core>,
    schema_tag: u64,
    /// Keeps the segment, and so this process's participation in it.
    participation: Option<Arc<dyn AnyDebug>>,
}

/// `Any` with `Debug`.
pub(crate) trait AnyDebug: Any + Send + Sync + std::fmt::Debug {}
impl<T: Any + Send + Sync + std::fmt::Debug> AnyDebug for T {}

/// Opens a ring of a segment, which is created if it does not exist.
///
/// # Errors
/// See [`OpenError`]; [`OpenError::ConfigMismatch`] where it exists with another configuration.
pub(crate) fn open_shm(address: &ShmAddress, config: &QueueConfig) -> Result<RingQueue, OpenError> {
    let resolved = config.resolve()?;
    let directory = directory_of(address)?;
    let mut wanted = SegmentConfig::new(SegmentName::new(&*address.segment)?, address.lifetime);
    wanted.max_participants = address.max_participants;
    wanted.rings = rings_of(address, &resolved);
    // An existing segment need not look like ours: only the ring we use must.
    let segment = Segment::shared_or_create(&directory, &wanted)?;
    open_ring(&segment, &address.ring, Some(&resolved))
}

/// Opens a ring of an attached segment; `expected` must be what it was made with.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open_ring(
    segment: &Arc<Segment>,
    ring: &str,
    expected: Option<&ResolvedConfig>,
) -> Result<RingQueue, OpenError> {
    let index = segment.ring_index(ring)?;
    let existing = segment.rings().get(index).ok_or_else(|| OpenError::NoSuchRing {
        path: segment.path().to_owned(),
        ring: ring.to_owned(),
        have: Vec::new(),
    })?;
    if let Some(expected) = expected {
        let theirs = ResolvedConfig {
            geometry: existing.geometry,
            dead_letter: existing.dead_letter.clone(),
            schema_tag: existing.schema_tag,
        };
        let name = segment.name().map_or_else(String::new, ToString::to_string);
        expected.check_same(&format!("{name}:{ring}"), &theirs)?;
    }
    let schema_tag = existing.schema_tag;
    let core = cores::shared(segment, index, || {
        let memory = segment.memory(index)?;
        let home = Arc::new(SegmentHome::new(segment, index));
        let name = segment.name().map_or_else(String::new, ToString::to_string);
        let ring = Ring::new(RingMemory::clone(&memory)).labelled(format!("{name}:{ring}"));
        Ok(Core::new(ring, home))
    })?;
    let participation = Some(Arc::clone(segment) as Arc<dyn AnyDebug>);
    Ok(RingQueue { core, schema_tag, participation })
}

/// Opens a ring of an attached segment, whatever it was made with.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open_in(segment: &Arc<Segment>, ring: &str) -> Result<RingQueue, OpenError> {
    open_ring(segment, ring, None)
}

/// One [`Core`] for each ring of each attachment in this process: its threads share one participant
/// id, so they must share who waits, and who plays which role.
mod cores {
    use std::collections::HashMap;
    use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

    use super::{Core, OpenError, Segment};
    use crate::shm::os::fork_guard;

    type Slot = Arc<Mutex<Weak<Core>>>;

    /// Address of the attachment (a core keeps it alive, so it is not used again) and ring.
    type Table = HashMap<(usize, usize), Slot>;

    static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

    /// Finds the core, or makes it: whoever comes first makes it, others for the same ring wait.
    pub(super) fn shared(
        segment: &Arc<Segment>,
        ring: usize,
        make: impl FnOnce() -> Result<Core, OpenError>,
    ) -> Result<Arc<Core>, OpenError> {
        let slot = slot_of((Arc::as_ptr(segment) as usize, ring));
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(core) = slot.upgrade()
            && core.is_here()
        {
            return Ok(core);
        }
        let core = Arc::new(make()?);
        *slot = Arc::downgrade(&core);
        Ok(core)
    }

    fn slot_of(key: (usize, usize)) -> Slot {
        // A forked child must not find the table locked.
        let _no_fork = fork_guard();
        let mut table = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        let held = |slot: &Slot| slot.try_lock().is_ok_and(|core| core.strong_count() != 0);
        table.retain(|_, slot| Arc::strong_count(slot) > 1 || held(slot));
        Arc::clone(table.entry(key).or_default())
    }
}

/// The rings of a segment that is made for one queue: its own, and its dead letters'.
fn rings_of(address: &ShmAddress, resolved: &ResolvedConfig) -> Vec<RingConfig> {
    let mut ring = RingConfig::new(&*address.ring, resolved.geometry);
    ring.schema_tag = resolved.schema_tag;
    ring.dead_letter.clone_from(&resolved.dead_letter);
    let letters = resolved.dead_letter.as_ref().map(|name| {
        let geometry = Geometry {
            producers: Side::Multi,
            consumers: Side::Multi,
            maxsize: 0,
            max_deliveries: 0,
            ..resolved.geometry
        };
        RingConfig { schema_tag: resolved.schema_tag, ..RingConfig::new(name, geometry) }
    });
    std::iter::once(ring).chain(letters).collect()
}

fn directory_of(address: &ShmAddress) -> Result<Directory, OpenError> {
    let group = address.group.as_deref().map(group_id).transpose()?;
    match &address.directory {
        Some(path) => Directory::open(path, group),
        None => Directory::from_env(group),
    }
}

/// Destroys the segment of a queue that is not open here; none is no error.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn destroy_shm(address: &ShmAddress) -> Result<(), OpenError> {
    let directory = directory_of(address)?;
    let name = SegmentName::new(&*address.segment)?;
    match Segment::shared(&directory, &name, "destroyer") {
        Ok(segment) => segment.destroy(),
        Err(OpenError::NotFound { .. } | OpenError::Destroyed { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes a ring on the heap.
pub(crate) fn open_local(id: &str, config: &QueueConfig) -> Result<RingQueue, OpenError> {
    let resolved = config.resolve()?;
    let geometry = resolved.geometry;
    let ring = Ring::new(RingMemory::on_heap(geometry, geometry.bits().first_pos())).labelled(id);
    let home = Arc::new(LocalHome::new(resolved.dead_letter));
    Ok(RingQueue {
        core: Arc::new(Core::new(ring, home)),
        schema_tag: resolved.schema_tag,
        participation: None,
    })
}

impl RingQueue {
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    pub(crate) fn is_destroyed(&self) -> bool {
        self.core.ring.is_destroyed()
    }

    /// The lines that a choice among many queues waits for.
    pub(crate) fn warm(&self) -> Warm {
        Warm::of(std::ptr::from_ref(self).cast(), &self.core)
    }

    /// Asks for what lies behind them, once they are there.
    pub(crate) fn prefetch_put(&self) {
        if !self.is_forked() {
            self.core.ring.prefetch_put();
        }
    }

    pub(crate) fn is_forked(&self) -> bool {
        !self.core.is_here()
    }

    pub(crate) fn schema_tag(&self) -> u64 {
        self.schema_tag
    }

    pub(crate) fn participation(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.participation.clone().map(|held| -> Arc<dyn Any + Send + Sync> { Arc::new(held) })
    }

    /// Hands out an owned producer. On a single-producer ring it takes the role, also from the
    /// shared handle of this process.
    ///
    /// # Errors
    /// [`PutError::RoleTaken`] while another handle or process is the producer.
    pub fn producer(&self) -> Result<Producer, PutError> {
        Producer::new(Arc::clone(&self.core))
    }

    /// Hands out an owned consumer. On a single-consumer ring it takes the role, also from the
    /// shared handle of this process.
    ///
    /// # Errors
    /// [`GetError::RoleTaken`] while another handle or process is the consumer.
    pub fn consumer(&self) -> Result<Consumer, GetError> {
        Consumer::new(Arc::clone(&self.core))
    }

    /// Names who keeps the ring from going on: who writes the record at the head, and who reads the
    /// oldest. A live one's record is never taken from it; a dead one's is recovered by whoever
    /// needs the place next. Reads only; a system call for each. Empty in a forked child.
    #[must_use]
    pub fn blocked_by(&self) -> Vec<Blocker> {
        if self.is_forked() {
            return Vec::new();
        }
        let place = self.core.home.place();
        let world =
            place.map_or_else(World::of_heap, |(segment, ring)| World::of_segment(segment, ring));
        inspect::blocked_by(&self.core.ring.view(), &world)
    }

    /// Looks at the ring: see [`crate::Queue::snapshot`].
    #[must_use]
    pub fn snapshot(&self) -> Option<RingSnapshot> {
        if self.is_forked() {
            return None;
        }
        match self.core.home.place() {
            Some((segment, ring)) => RingSnapshot::take(segment, ring).ok(),
            None => Some(RingSnapshot::of_local(&self.core.ring)),
        }
    }

    /// Identity of the segment that the ring is in: a later one of the same name has another. `None` for
    /// a local queue, and once the segment was destroyed.
    #[must_use]
    pub fn segment_uuid(&self) -> Option<[u8; 16]> {
        let (segment, _) = self.core.home.place()?;
        segment.check().ok().map(|()| segment.uuid())
    }

    /// The ring beneath, for inspection.
    #[must_use]
    pub fn raw(&self) -> &Ring {
        &self.core.ring
    }
}

impl QueueBackend for RingQueue {
    fn reserve(&self, kind: RecordKind, len: usize, wait: Wait) -> Result<Reservation, PutError> {
        self.core.reserve_record(kind, len, wait).map(Reservation::ring)
    }

    fn put(&self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        self.core.put_record(kind.0, payload, wait)
    }

    fn put_many(
        &self,
        kind: RecordKind,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        self.core.put_all(kind.0, payloads, wait)
    }

    fn lease(&self, wait: Wait) -> Result<Lease, GetError> {
        let taken = self.core.take_record(wait)?;
        Ok(Lease::ring(RingLease::new(Arc::clone(&self.core), taken)))
    }

    fn lease_many(&self, max: usize, out: &mut Vec<Lease>, wait: Wait) -> Result<usize, GetError> {
        let mut many = Vec::new();
        match self.core.ring.geometry().consumers {
            _ if max == 0 => {}
            Side::Multi => _ = self.core.take_many(max, &mut many, wait)?,
            Side::Single => {
                many.push(self.core.take_record(wait)?);
                self.core.take_more_shared(max - 1, &mut many);
            }
        }
        let count = many.len();
        let lease = |taken| Lease::ring(RingLease::new(Arc::clone(&self.core), taken));
        out.extend(many.into_iter().map(lease));
        Ok(count)
    }

    fn qsize(&self) -> u64 {
        if self.is_forked() { 0 } else { self.core.ring.waiting() }
    }

    fn in_flight(&self) -> u64 {
        if self.is_forked() { 0 } else { self.core.ring.leased(0) }
    }

    fn maxsize(&self) -> u64 {
        self.core.ring.geometry().maxsize
    }

    fn occupancy(&self) -> f64 {
        if self.is_forked() { 0.0 } else { self.core.ring.occupancy() }
    }

    fn load(&self) -> Option<f64> {
        let open = !self.is_forked() && !self.core.ring.is_closed();
        open.then(|| self.core.ring.load())
    }

    fn is_full(&self) -> bool {
        !self.is_forked() && self.core.ring.is_full()
    }

    fn max_payload(&self) -> usize {
        self.core.ring.geometry().max_payload()
    }

    fn is_closed(&self) -> bool {
        self.is_forked() || self.core.ring.is_closed()
    }

    fn close(&self) -> Result<(), PutError> {
        if self.is_forked() {
            return Err(PutError::Forked);
        }
        if self.is_destroyed() {
            return Err(PutError::Destroyed);
        }
        self.core.close();
        Ok(())
    }

    fn destroy(&self) -> Result<(), OpenError> {
        if self.is_forked() {
            return Ok(());
        }
        self.core.home.destroy()?;
        self.core.destroyed();
        Ok(())
    }

    fn stats(&self) -> QueueStats {
        if self.is_forked() { QueueStats::default() } else { self.core.ring.stats() }
    }

    fn ring(&self) -> Option<&RingQueue> {
        Some(self)
    }
}
