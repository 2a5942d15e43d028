//! A segment to look at: what it is made of, who is in it, and its rings, all of it read only.
//!
//! Opened by itself, a [`SegmentView`] maps everything `PROT_READ`: nothing it does can change a byte.
//! An attached [`Segment`] has one as well, and hands it out; through it, too, nothing can be changed.
//! It joins nothing and takes no lock, so it works on wedged, abandoned and destroyed segments.

use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::blueprint::Blueprint;
use super::{RingConfig, io_error};
use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::directory::Directory;
use crate::shm::layout::STATE_LIVE;
use crate::shm::mapped::{Table, Window};
use crate::shm::names::SegmentName;
use crate::shm::os::Access;
use crate::shm::view::RingView;

/// A checked file, opened to look at.
///
/// `Send` and `Sync`. In a forked child its methods fail with [`OpenError::Forked`], or know nothing.
pub struct SegmentView {
    /// Where the file has its name; a raw file has none.
    pub(super) home: Option<(Directory, SegmentName)>,
    pub(super) path: PathBuf,
    /// The kept descriptor. No lock is ever taken on it, so it sees everybody's, and a forked child
    /// that inherits it keeps nobody alive.
    pub(super) file: File,
    pub(super) blueprint: Blueprint,
    pub(super) indices: HashMap<String, usize>,
    pub(super) table: Table,
    /// The mapping through which rings are looked at, as long as somebody looks.
    window: Mutex<Weak<Window>>,
}

impl fmt::Debug for SegmentView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentView").field("path", &self.path).finish_non_exhaustive()
    }
}

impl SegmentView {
    pub(super) fn assemble(
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
        let indices = names.zip(0..).collect();
        Ok(Self { home, file, table, indices, path, blueprint, window: Mutex::default() })
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

    pub(super) fn no_such_ring(&self, ring: String) -> OpenError {
        const SHOWN: usize = 32;
        let have = self.rings().iter().take(SHOWN).map(|ring| ring.name.clone()).collect();
        OpenError::NoSuchRing { path: self.path.clone(), ring, have }
    }

    pub(super) fn ring_at(&self, index: usize) -> Result<&RingConfig, OpenError> {
        self.ring_config(index).ok_or_else(|| self.no_such_ring(format!("#{index}")))
    }

    /// Maps the whole file to look at its rings, or finds it mapped; it stays so as long as the result
    /// or one of the rings is held.
    pub(crate) fn window(&self) -> Result<Arc<Window>, OpenError> {
        self.check_origin()?;
        // Nothing under this lock panics half-way.
        let mut slot = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(window) = slot.upgrade() {
            return Ok(window);
        }
        let window = Window::map(&self.file, self.total_bytes());
        let window = Arc::new(window.map_err(io_error(&self.path, "mapping the segment"))?);
        *slot = Arc::downgrade(&window);
        Ok(window)
    }

    /// Opens a ring to look at, on pages that cannot be written.
    ///
    /// # Errors
    /// [`OpenError::NoSuchRing`], [`OpenError::Forked`], or [`OpenError::Io`] where the system refuses.
    pub fn ring_view(&self, index: usize) -> Result<RingView, OpenError> {
        let geometry = self.ring_at(index)?.geometry;
        let window = self.window()?;
        let start = self.blueprint.plan.rings.get(index);
        start
            .and_then(|&start| window.ring(start, geometry))
            .ok_or_else(|| self.no_such_ring(format!("#{index}")))
    }

    /// Says whether it was destroyed. In a forked child, which cannot know, it says no.
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.table.read_control().is_some_and(|control| control.state != STATE_LIVE)
    }

    /// Says whether its name still leads to this very file. Costs system calls.
    #[must_use]
    pub fn still_linked(&self) -> bool {
        self.home.as_ref().is_some_and(|(directory, name)| directory.leads_to(name, &self.file))
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn table(&self) -> &Table {
        &self.table
    }

    pub(super) fn check_origin(&self) -> Result<(), OpenError> {
        if self.table.origin().is_here() {
            Ok(())
        } else {
            Err(OpenError::Forked { path: self.path.clone() })
        }
    }
}
