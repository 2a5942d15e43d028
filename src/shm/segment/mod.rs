//! Segments: creating, attaching, mapping rings, leaving, destroying.
//!
//! A [`Segment`] is this process's attachment: a checked file, a place in its table of participants,
//! and the rings mapped so far. Who else uses the file is decided by locks that the kernel frees at
//! death (`os::lock`): one byte for each participant, one for each single-sided role, and the *gate*,
//! held shared by whoever joins and exclusively by whoever removes the file.
//!
//! ```text
//!            create: O_TMPFILE → fallocate → header, rings → join → linkat (the name appears)
//!            attach: open → gate shared → still linked, not destroyed? → join → gate free
//!   destroy / clean: gate exclusive → state = DESTROYED → unlink → ring every doorbell → gate free
//! last of ephemeral: gate exclusive → leave → nobody left? → as destroy
//! ```
//!
//! A process may be killed between any two of these steps. Before `linkat` the file vanishes with its
//! descriptor; between DESTROYED and `unlink`, whoever meets the name next unlinks it.

mod attach;
mod blueprint;
mod cache;
mod clean;
mod config;
mod create;
mod inspect;
mod remove;
mod roles;
mod salvage;
mod view;

use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

pub use clean::{CleanOptions, CleanOutcome, CleanReport};
pub use config::{RingConfig, SegmentConfig};
pub use inspect::{ControlStats, MapPart, SegmentEntry};
pub use roles::{Role, RoleGuard};
pub use salvage::{HeaderField, Salvage};
pub use view::SegmentView;

use crate::error::OpenError;
use crate::events;
use crate::shm::Lifetime;
use crate::shm::layout::STATE_LIVE;
use crate::shm::mapped::map_ring;
use crate::shm::participant::{self, Membership};
use crate::shm::ring::Ring;
use crate::shm::segment_peers::SegmentPeers;
use crate::shm::storage::RingMemory;
use crate::sync::Ordering;

/// How long joining waits for somebody who removes the segment, and the other way round. Both hold
/// the gate for microseconds, unless they are stopped (SIGSTOP) right there.
const GATE_PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Why an attachment can no longer be used by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// It was inherited from the parent process.
    Forked,
    /// The segment was destroyed.
    Destroyed,
}

/// This process's attachment to a segment.
///
/// `Send` and `Sync`; every method may be called from any thread. Dropping the last [`Arc`] leaves the
/// segment. In a forked child every method fails with [`OpenError::Forked`], or knows nothing, and
/// dropping does nothing: open the segment anew.
///
/// ```
/// use ringway::shm::{Lifetime, directory::Directory, segment::{RingConfig, Segment, SegmentConfig}};
/// use ringway::shm::storage::{Geometry, Side};
///
/// let place = tempfile::tempdir()?;
/// let directory = Directory::open(place.path(), None)?;
/// let geometry = Geometry {
///     log2_entries: 6, unit_bytes: 64, maxsize: 0, timestamps: false, max_deliveries: 0,
///     producers: Side::Multi, consumers: Side::Multi,
/// };
/// let config = SegmentConfig::new("job-42".parse()?, Lifetime::Ephemeral)
///     .with_ring(RingConfig::new("orders", geometry));
/// let segment = Segment::create(&directory, &config)?;
/// let memory = segment.memory(segment.ring_index("orders")?)?;
/// assert_eq!(memory.geometry().entries(), 64);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Segment {
    view: SegmentView,
    rings: Box<[Mutex<Option<Arc<RingMemory>>>]>,
    /// `None` before it has joined, and while it is cleaned.
    membership: Option<Membership>,
    barrier_refused: bool,
}

/// What can be seen of it.
impl Deref for Segment {
    type Target = SegmentView;

    #[inline]
    fn deref(&self) -> &SegmentView {
        &self.view
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment")
            .field("path", &self.path)
            .field("participant", &self.participant_id())
            .finish_non_exhaustive()
    }
}

impl Segment {
    /// The caller has checked the file, and opened it to write.
    fn of_view(view: SegmentView) -> Self {
        let rings = view.rings().iter().map(|_| Mutex::new(None)).collect();
        Self { view, rings, membership: None, barrier_refused: false }
    }

    /// Takes a place in the table. The caller holds the gate, or the file has no name yet.
    fn join(&mut self, participant_name: &str) -> Result<(), OpenError> {
        // Before anything is put or slept for: from here on, others' barriers include this process.
        if !crate::shm::os::register_barrier() {
            self.barrier_refused = true;
            self.demand_fences();
        }
        let scrub = |id, touched| self.scrub(id, touched);
        let joined = participant::join(&self.file, &self.table, participant_name, scrub);
        self.membership = Some(joined.map_err(|error| match error {
            participant::JoinError::NoPlace => OpenError::TooManyParticipants {
                path: self.path.clone(),
                max: self.table.max_participants(),
            },
            participant::JoinError::Scrub(error) => error,
            participant::JoinError::Io(source) => io_error(&self.path, "joining")(source),
        })?);
        events::attached(&self.path, self.participant_id());
        Ok(())
    }

    /// Removes every trace of a dead participant from the rings of its bitmap. The caller holds its
    /// lock. Killed in the middle, it is done again by the next who takes that lock.
    fn scrub(&self, id: u16, touched: u64) -> Result<(), OpenError> {
        for index in (0..self.rings.len()).filter(|index| touched & (1 << (index % 64)) != 0) {
            let ring = Ring::new(RingMemory::clone(&*self.memory(index)?));
            crate::shm::recovery::scrub_ring(&ring, id);
        }
        events::recovered_participant(&self.path, id);
        Ok(())
    }

    /// Makes every publisher fence: somebody here has no process-wide barrier. Never taken back.
    pub(crate) fn demand_fences(&self) {
        if let Some(control) = self.table.control() {
            // RELAXED: a publisher may see it late, and a sleeper's slice bounds what that costs.
            control.fence_needed.store(1, Ordering::Relaxed);
        }
    }

    /// Maps a ring's extent, once; later calls give the same mapping.
    ///
    /// The memory stays mapped for as long as somebody holds it. Whoever claims or leases in it must
    /// also hold the segment, which [`Segment::peers`] does: the participant leaves with the segment.
    ///
    /// # Errors
    /// [`OpenError::NoSuchRing`], [`OpenError::Forked`], or [`OpenError::Io`] where the system refuses.
    pub fn memory(&self, index: usize) -> Result<Arc<RingMemory>, OpenError> {
        let geometry = self.ring_at(index)?.geometry;
        self.check_origin()?;
        let (Some(slot), Some(&start)) =
            (self.rings.get(index), self.blueprint.plan.rings.get(index))
        else {
            return Err(self.no_such_ring(format!("#{index}")));
        };
        // Nothing under this lock panics half-way.
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = &*slot {
            return Ok(Arc::clone(memory));
        }
        let memory = map_ring(&self.file, start, geometry)
            .map_err(io_error(&self.path, "mapping a ring"))?;
        Ok(Arc::clone(slot.insert(Arc::new(memory))))
    }

    /// Forgets a ring's mapping, which goes when its last holder does; packets stay where they are.
    pub fn trim(&self, index: usize) {
        if self.check_origin().is_ok()
            && let Some(slot) = self.rings.get(index)
        {
            slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// The other participants, as the ring at `index` needs to know them. Keeps the segment.
    #[must_use]
    pub fn peers(self: &Arc<Self>, index: usize) -> Arc<SegmentPeers> {
        Arc::new(SegmentPeers::new(Arc::clone(self), index))
    }

    /// This attachment's id, 1..=1023.
    #[must_use]
    pub fn participant_id(&self) -> u16 {
        self.membership.as_ref().map_or(0, |membership| membership.id)
    }

    /// Says whether the segment can be used: not inherited by a fork, not destroyed. Two loads.
    ///
    /// # Errors
    /// [`Unusable`] says which.
    #[inline]
    pub fn check(&self) -> Result<(), Unusable> {
        let control = self.table.control().ok_or(Unusable::Forked)?;
        // SYNC destroyed (pairs with `mark_destroyed`).
        match control.state.load(Ordering::Acquire) {
            STATE_LIVE => Ok(()),
            _ => Err(Unusable::Destroyed),
        }
    }

    /// Says whether it was destroyed. In a forked child, which cannot know, it says no.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.check() == Err(Unusable::Destroyed)
    }

    /// What a user should be told about: a directory that is not in memory, a kernel without
    /// process-wide barriers.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some((directory, _)) = &self.home
            && !directory.on_tmpfs()
        {
            warnings.push(format!(
                "{} is not on tmpfs: the kernel writes the rings to a disk",
                directory.path().display()
            ));
        }
        if self.barrier_refused {
            warnings.push("the kernel refuses membarrier(2): every put costs a fence".into());
        }
        warnings
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let Some(membership) = self.membership.take() else { return };
        if !self.table.origin().is_here() {
            // A forked child: the parent is the participant. Dropping the lock here does nothing.
            return;
        }
        let id = membership.id;
        if self.lifetime() == Lifetime::Ephemeral {
            self.leave_and_maybe_remove(membership);
        } else {
            participant::leave(&self.table, membership);
        }
        events::detached(&self.path, id);
    }
}

/// The error for what the system said about a path.
fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, doing, source }
}
