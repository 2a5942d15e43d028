//! One attachment for each segment in a process.
//!
//! The table is only ever locked under the fork guard, so a forked child finds it unlocked; the
//! generation in its key keeps the child from its parent's attachments.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::Segment;
use super::config::SegmentConfig;
use crate::error::OpenError;
use crate::shm::directory::Directory;
use crate::shm::names::SegmentName;
use crate::shm::os::{Origin, fork_guard};

type Slot = Arc<Mutex<Weak<Segment>>>;
type Slots = HashMap<(u64, PathBuf), Slot>;

static SLOTS: LazyLock<Mutex<Slots>> = LazyLock::new(Mutex::default);

impl Segment {
    /// Attaches as [`Segment::attach`] does, but once in a process: as long as an earlier attachment is
    /// held somewhere, and its name still leads to the very file, that one is returned.
    ///
    /// # Errors
    /// As [`Segment::attach`].
    pub fn shared(
        directory: &Directory,
        name: &SegmentName,
        participant_name: &str,
    ) -> Result<Arc<Self>, OpenError> {
        Self::cached(directory, name, || Self::attach(directory, name, participant_name))
    }

    /// As [`Segment::shared`], but creates the segment where it is missing.
    ///
    /// # Errors
    /// As [`Segment::create_or_attach`].
    pub fn shared_or_create(
        directory: &Directory,
        config: &SegmentConfig,
    ) -> Result<Arc<Self>, OpenError> {
        Self::cached(directory, &config.name, || Self::create_or_attach(directory, config))
    }

    /// Whoever comes first for a path attaches; others for the same path wait for it.
    fn cached(
        directory: &Directory,
        name: &SegmentName,
        attach: impl FnOnce() -> Result<Arc<Self>, OpenError>,
    ) -> Result<Arc<Self>, OpenError> {
        let slot = slot_of(directory.path_of(name));
        let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = slot.upgrade()
            && segment.check().is_ok()
            && segment.still_linked()
        {
            return Ok(segment);
        }
        let segment = attach()?;
        *slot = Arc::downgrade(&segment);
        Ok(segment)
    }
}

fn slot_of(path: PathBuf) -> Slot {
    let generation = Origin::here().generation();
    let _no_fork = fork_guard();
    let mut slots = SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
    // A process that opens segment after segment does not keep the old paths. Nobody else can get hold
    // of a slot that only the table has.
    slots.retain(|(theirs, _), slot| {
        *theirs == generation
            && (Arc::strong_count(slot) > 1
                || slot.try_lock().is_ok_and(|segment| segment.strong_count() > 0))
    });
    Arc::clone(slots.entry((generation, path)).or_default())
}
