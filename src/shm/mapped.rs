//! The mapped parts of a segment: the control words with the table of participants, and the rings.
//!
//! Everything reached through a reference here is an atomic (or a payload guarded by a stamp), so a
//! peer that dies or lies in the middle leaves values, not undefined behaviour.

#![allow(unsafe_code, reason = "one of the named places: types a mapping of a segment")]

use std::fs::File;
use std::io;
use std::sync::Arc;

use crate::shm::layout::{Control, PAGE_BYTES, Participant};
use crate::shm::os::{Access, Mapping, Origin};
use crate::shm::storage::{Geometry, RingMemory};

/// The control page and the table of participants, which lie next to each other.
#[derive(Debug)]
pub(crate) struct Table {
    mapping: Mapping,
    origin: Origin,
    max_participants: u32,
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
        Ok(Self { origin: mapping.origin(), mapping, max_participants })
    }

    /// In which process this is mapped.
    pub(crate) fn origin(&self) -> Origin {
        self.origin
    }

    /// Places in the table.
    pub(crate) fn max_participants(&self) -> u32 {
        self.max_participants
    }

    /// The control words; `None` in a forked child, which has no such mapping.
    #[inline(always)]
    pub(crate) fn control(&self) -> Option<&Control> {
        if !self.origin.is_here() {
            return None;
        }
        let control: *const Control = self.mapping.base().cast_const().cast();
        // SAFETY: the first page of our mapping, aligned to a page, alive as long as `self`, and made
        // of atomics only.
        Some(unsafe { &*control })
    }

    /// A participant's row; `None` for an id out of range, and in a forked child.
    pub(crate) fn row(&self, id: u16) -> Option<&Participant> {
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

/// Maps a ring whose extent starts at `offset` in a file that is long enough, its data region twice.
pub(crate) fn map_ring(
    file: &File,
    offset: u64,
    geometry: Geometry,
    access: Access,
) -> io::Result<RingMemory> {
    let (bytes, mirrored) = (geometry.extent_bytes(), geometry.data_bytes());
    let mapping = Mapping::of_file(file, offset, bytes, mirrored, access)?;
    let base = mapping.base();
    // SAFETY: `base` leads to the extent with its last `data_bytes` mapped again behind it, for as long
    // as the owner, which is the mapping itself, lives; `geometry` was validated; the offset came from
    // the one plan of such a file. A private mapping is writable as well.
    Ok(unsafe { RingMemory::from_mapping(base, geometry, Arc::new(mapping)) })
}
