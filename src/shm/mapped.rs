//! The mapped parts of a segment: the control words with the table of participants, and the rings.
//!
//! Everything reached through a reference here is an atomic (or a payload guarded by a stamp), so a
//! peer that dies or lies in the middle leaves values, not undefined behaviour.

#![allow(unsafe_code, reason = "one of the named places: types a mapping of a segment")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::shm::layout::{Control, MAX_PARTICIPANT_NAME, PAGE_BYTES, Participant};
use crate::shm::os::{Access, Mapping, Origin};
use crate::shm::storage::{Geometry, RingMemory};
use crate::shm::view::RingView;
use crate::sync::Ordering::{Acquire, Relaxed};
use crate::sync::fence;

/// The control page and the table of participants, which lie next to each other.
#[derive(Debug)]
pub(crate) struct Table {
    mapping: Mapping,
    origin: Origin,
    max_participants: u32,
    /// Mapped to be written. Where it is not, no reference is given out through which one could.
    writable: bool,
}

/// The control words, as they were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlWords {
    pub(crate) state: u32,
    pub(crate) fence_needed: bool,
    pub(crate) joined_total: u64,
    pub(crate) recovered_total: u64,
}

/// A participant's row, as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowWords {
    pub(crate) state: u32,
    pub(crate) pid: u32,
    pub(crate) start_ticks: u64,
    pub(crate) joined_unix_ns: u64,
    pub(crate) rings_touched: u64,
    pub(crate) name: [u8; MAX_PARTICIPANT_NAME],
}

impl Table {
    /// Maps the control page and, right behind it, a table of so many places. The file was checked to
    /// have them.
    pub(crate) fn map(
        file: &File,
        control_offset: u64,
        max_participants: u32,
        access: Access,
    ) -> io::Result<Self> {
        let table = u64::from(max_participants) * size_of::<Participant>() as u64;
        let bytes = PAGE_BYTES + table.next_multiple_of(PAGE_BYTES);
        let mapping = Mapping::of_file(file, control_offset, bytes, 0, access)?;
        let writable = access == Access::Shared;
        Ok(Self { origin: mapping.origin(), mapping, max_participants, writable })
    }

    /// In which process this is mapped.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Places in the table.
    pub(crate) fn max_participants(&self) -> u32 {
        self.max_participants
    }

    /// The control words; `None` in a forked child, which has no such mapping, and where the table is
    /// mapped to be read only.
    #[inline(always)]
    pub(crate) fn control(&self) -> Option<&Control> {
        if self.writable { self.readable_control() } else { None }
    }

    #[inline(always)]
    fn readable_control(&self) -> Option<&Control> {
        if !self.origin.is_here() {
            return None;
        }
        let control: *const Control = self.mapping.base().cast_const().cast();
        // SAFETY: the first page of our mapping, aligned to a page, alive as long as `self`, and made
        // of atomics only.
        Some(unsafe { &*control })
    }

    /// A participant's row; `None` for an id out of range, in a forked child, and where the table is
    /// mapped to be read only.
    pub(crate) fn row(&self, id: u16) -> Option<&Participant> {
        if self.writable { self.readable_row(id) } else { None }
    }

    /// Reads the control words, whatever the access; `None` in a forked child. Loads only, and
    /// relaxed ones: see `shm::view`.
    pub(crate) fn read_control(&self) -> Option<ControlWords> {
        let control = self.readable_control()?;
        // RELAXED: the fence orders it.
        let state = control.state.load(Relaxed);
        fence(Acquire); // SYNC destroyed (pairs with `mark_destroyed`).
        // RELAXED: a snapshot for people, each word by itself.
        Some(ControlWords {
            state,
            fence_needed: control.fence_needed.load(Relaxed) != 0,
            joined_total: control.joined_total.load(Relaxed),
            recovered_total: control.recovered_total.load(Relaxed),
        })
    }

    /// Reads a participant's row, as [`Table::read_control`].
    pub(crate) fn read_row(&self, id: u16) -> Option<RowWords> {
        let row = self.readable_row(id)?;
        // RELAXED: the fence orders it.
        let state = row.state.load(Relaxed);
        fence(Acquire); // SYNC joined (pairs with `join`).
        let mut name = [0; MAX_PARTICIPANT_NAME];
        for (bytes, word) in name.chunks_exact_mut(8).zip(&row.name) {
            // RELAXED: as all of the row, it may be half of the next participant's: for people.
            bytes.copy_from_slice(&word.load(Relaxed).to_le_bytes());
        }
        Some(RowWords {
            state,
            pid: row.pid.load(Relaxed),
            start_ticks: row.start_ticks.load(Relaxed),
            joined_unix_ns: row.joined_unix_ns.load(Relaxed),
            rings_touched: row.rings_touched.load(Relaxed),
            name,
        })
    }

    fn readable_row(&self, id: u16) -> Option<&Participant> {
        if id == 0 || u32::from(id) > self.max_participants || !self.origin.is_here() {
            return None;
        }
        let at = PAGE_BYTES as usize + (usize::from(id) - 1) * size_of::<Participant>();
        let row: *const Participant = self.mapping.base().wrapping_add(at).cast_const().cast();
        // SAFETY: inside the mapping, since `map` made room for `max_participants` rows
        // of 128 bytes from a page boundary; alive as long as `self`; made of atomics only.
        Some(unsafe { &*row })
    }
}

/// A whole file, mapped once so that its rings can be looked at: the pages cannot be written.
#[derive(Debug)]
pub(crate) struct Window(Mapping);

impl Window {
    /// Maps the first `bytes` bytes of a file that is at least so long.
    pub(crate) fn map(file: &File, bytes: u64) -> io::Result<Self> {
        Ok(Self(Mapping::of_file(file, 0, bytes, 0, Access::ReadOnly)?))
    }

    /// The ring whose extent starts at `offset`; `None` where it does not lie in the window.
    pub(crate) fn ring(self: &Arc<Self>, offset: u64, geometry: Geometry) -> Option<RingView> {
        let end = offset.checked_add(geometry.extent_bytes())?;
        if end > self.0.len_bytes() as u64 || !offset.is_multiple_of(PAGE_BYTES) {
            return None;
        }
        let base = self.0.base().wrapping_add(offset as usize);
        let owner: Arc<Self> = Arc::clone(self);
        // SAFETY: `base` leads to the extent, as was just checked, at a page boundary, for as long as
        // the owner lives; `geometry` was validated. It goes to a `RingView`, which never stores, and
        // knows that the data region is mapped once.
        let memory = unsafe { RingMemory::from_mapping(base, geometry, owner) };
        Some(RingView::of_window(memory))
    }
}

/// Maps a ring whose extent starts at `offset` in a file that is long enough, its data region twice.
pub(crate) fn map_ring(file: &File, offset: u64, geometry: Geometry) -> io::Result<RingMemory> {
    let (bytes, mirrored) = (geometry.extent_bytes(), geometry.data_bytes());
    let mapping = Mapping::of_file(file, offset, bytes, mirrored, Access::Shared)?;
    let base = mapping.base();
    // SAFETY: `base` leads to the extent with its last `data_bytes` mapped again behind it, for as long
    // as the owner, which is the mapping itself, lives; `geometry` was validated; the offset came from
    // the one plan of such a file. It is writable.
    Ok(unsafe { RingMemory::from_mapping(base, geometry, Arc::new(mapping)) })
}
