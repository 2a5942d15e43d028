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

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use blueprint::Blueprint;
pub use clean::{CleanOptions, CleanOutcome, CleanReport};
pub use config::{RingConfig, SegmentConfig};
pub use inspect::{ControlStats, MapPart, SegmentEntry};
pub use roles::{Role, RoleGuard};

use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::directory::Directory;
use crate::shm::layout::STATE_LIVE;
use crate::shm::mapped::{Table, map_ring};
use crate::shm::names::SegmentName;
use crate::shm::os::Access;
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
    /// Where the file has its name; a raw file has none.
    home: Option<(Directory, SegmentName)>,
    path: PathBuf,
    /// The kept descriptor. No lock is ever taken on it, so it sees everybody's, and a forked child
    /// that inherits it keeps nobody alive.
    file: File,
    blueprint: Blueprint,
    indices: HashMap<String, usize>,
    table: Table,
    access: Access,
    rings: Box<[Mutex<Option<Arc<RingMemory>>>]>,
    /// `None` where it was opened to look only.
    membership: Option<Membership>,
    barrier_refused: bool,
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
    fn assemble(
        home: Option<(Directory, SegmentName)>,
        path: PathBuf,
        file: File,
        blueprint: Blueprint,
        access: Access,
    ) -> Result<Self, OpenError> {
        let header = &blueprint.header;
        let table = Table::map(&file, header.control_offset, header.max_participants, access)
            .map_err(io_error(&path, "mapping the table of participants"))?;
        let names = blueprint.rings.iter().map(|ring| ring.name.clone());
        Ok(Self {
            home,
            file,
            table,
            access,
            indices: names.zip(0..).collect(),
            rings: blueprint.rings.iter().map(|_| Mutex::new(None)).collect(),
            path,
            blueprint,
            membership: None,
            barrier_refused: false,
        })
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
        Ok(())
    }

    /// Removes every trace of a dead participant from the rings of its bitmap. The caller holds its
    /// lock. Killed in the middle, it is done again by the next who takes that lock.
    fn scrub(&self, id: u16, touched: u64) -> Result<(), OpenError> {
        for index in (0..self.rings.len()).filter(|index| touched & (1 << (index % 64)) != 0) {
            let ring = Ring::new(RingMemory::clone(&*self.memory(index)?));
            crate::shm::recovery::scrub_ring(&ring, id);
        }
        Ok(())
    }

    /// Makes every publisher fence: somebody here has no process-wide barrier. Never taken back.
    pub(crate) fn demand_fences(&self) {
        if let Some(control) = self.table.control() {
            // RELAXED: a publisher may see it late, and a sleeper's slice bounds what that costs.
            control.fence_needed.store(1, Ordering::Relaxed);
        }
    }

    /// Its name; `None` for a raw file.
    #[must_use]
    pub fn name(&self) -> Option<&SegmentName> {
        self.home.as_ref().map(|(_, name)| name)
    }

    /// Where its file was opened.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its identity: random, fixed at creation. A later segment of the same name has another one.
    #[must_use]
    pub fn uuid(&self) -> [u8; 16] {
        self.blueprint.header.uuid
    }

    /// How long it lives.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.blueprint.lifetime
    }

    /// Size of the file, in bytes, all of it reserved.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.blueprint.plan.total_bytes
    }

    /// All rings, in the order of their indices.
    #[must_use]
    pub fn rings(&self) -> &[RingConfig] {
        &self.blueprint.rings
    }

    /// A ring's configuration; `None` for an index out of range.
    #[must_use]
    pub fn ring_config(&self, index: usize) -> Option<&RingConfig> {
        self.blueprint.rings.get(index)
    }

    /// Finds a ring by its name.
    ///
    /// # Errors
    /// [`OpenError::NoSuchRing`] names those there are.
    pub fn ring_index(&self, name: &str) -> Result<usize, OpenError> {
        self.indices.get(name).copied().ok_or_else(|| self.no_such_ring(name.to_owned()))
    }

    fn no_such_ring(&self, ring: String) -> OpenError {
        const SHOWN: usize = 32;
        let have = self.rings().iter().take(SHOWN).map(|ring| ring.name.clone()).collect();
        OpenError::NoSuchRing { path: self.path.clone(), ring, have }
    }

    fn ring_at(&self, index: usize) -> Result<&RingConfig, OpenError> {
        self.ring_config(index).ok_or_else(|| self.no_such_ring(format!("#{index}")))
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
        let memory = map_ring(&self.file, start, geometry, self.access)
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

    /// This attachment's id, 1..=1023; 0 where it was opened to look only.
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

    /// Says whether its name still leads to this very file. Costs system calls.
    #[must_use]
    pub fn still_linked(&self) -> bool {
        self.home.as_ref().is_some_and(|(directory, name)| directory.leads_to(name, &self.file))
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

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    fn check_origin(&self) -> Result<(), OpenError> {
        if self.table.origin().is_here() {
            Ok(())
        } else {
            Err(OpenError::Forked { path: self.path.clone() })
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let Some(membership) = self.membership.take() else { return };
        if !self.table.origin().is_here() {
            // A forked child: the parent is the participant. Dropping the lock here does nothing.
            return;
        }
        if self.lifetime() == Lifetime::Ephemeral {
            self.leave_and_maybe_remove(membership);
        } else {
            participant::leave(&self.table, membership);
        }
    }
}

/// The error for what the system said about a path.
fn io_error(path: &Path, doing: &'static str) -> impl FnOnce(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Io { path, doing, source }
}
