//! Looking at a segment, without changing anything.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::fs::OFlags;

use super::attach::open_named;
use super::{Role, Segment, SegmentView};
use crate::error::OpenError;
use crate::shm::directory::Directory;
use crate::shm::layout::STATE_DESTROYED;
use crate::shm::names::SegmentName;
use crate::shm::os;
use crate::shm::participant::{self, ParticipantInfo};
use crate::shm::storage::Side;

/// A segment's file, as found in a directory, not opened any further.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentEntry {
    /// Its name.
    pub name: SegmentName,
    /// Its file.
    pub path: PathBuf,
    /// Size of the file.
    pub total_bytes: u64,
    /// Bytes the file takes of its filesystem.
    pub allocated_bytes: u64,
}

/// The words of the control page, and what the header says about the creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ControlStats {
    /// Whether it was destroyed.
    pub destroyed: bool,
    /// Whether publishers must fence, because a participant has no process-wide barrier.
    pub fence_needed: bool,
    /// Participants that ever joined.
    pub joined_total: u64,
    /// Participants found dead, and scrubbed.
    pub recovered_total: u64,
    /// Places in the table of participants.
    pub max_participants: u32,
    /// Process that created it, in its own pid namespace.
    pub creator_pid: u32,
    /// Effective user that created it.
    pub creator_uid: u32,
    /// Group that shares it.
    pub group: Option<u32>,
    /// Wall-clock time of creation, in nanoseconds since 1970.
    pub created_unix_ns: u64,
}

/// A part of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapPart {
    /// What lies there: `header`, `directory`, `control`, `participants`, or `header`, `claims`,
    /// `entries`, `data` of a ring.
    pub what: &'static str,
    /// Index of the ring it belongs to.
    pub ring: Option<usize>,
    /// Where, in bytes from the start of the file.
    pub offset: u64,
    /// How much, in bytes.
    pub bytes: u64,
}

impl Segment {
    /// Lists the files of a directory that could be segments, sorted by name. Opens none of them.
    ///
    /// # Errors
    /// [`OpenError::Io`] or [`OpenError::Permission`] where a directory cannot be read.
    pub fn list(directory: &Directory) -> Result<Vec<SegmentEntry>, OpenError> {
        let mut entries = Vec::new();
        for name in directory.names()? {
            let path = directory.path_of(&name);
            // What is gone meanwhile, or cannot be stated, is left out.
            let Ok(stat) = std::fs::symlink_metadata(&path) else { continue };
            let (total_bytes, allocated_bytes) = (stat.size(), stat.blocks() * 512);
            entries.push(SegmentEntry { name, path, total_bytes, allocated_bytes });
        }
        Ok(entries)
    }

    /// Says whether the name leads to the segment of this uuid: for descriptors that remember one.
    ///
    /// # Errors
    /// As [`Segment::open_readonly`], but a missing segment is `Ok(false)`.
    pub fn is_uuid(
        directory: &Directory,
        name: &SegmentName,
        uuid: [u8; 16],
    ) -> Result<bool, OpenError> {
        match open_named(directory, name, OFlags::RDONLY) {
            Err(OpenError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
            Ok(file) => {
                let blueprint = super::blueprint::Blueprint::read(&file, &directory.path_of(name))?;
                Ok(blueprint.header.uuid == uuid)
            }
        }
    }
}

impl SegmentView {
    /// Describes everybody in the table that has not left in order, alive or dead. A system call for
    /// each. Empty in a forked child.
    #[must_use]
    pub fn participants(&self) -> Vec<ParticipantInfo> {
        let last = self.table.max_participants() as u16;
        let alive = |id| os::is_held(&self.file, participant::lock_byte(id)).unwrap_or(true);
        (1..=last).filter_map(|id| participant::info(&self.table, id, alive(id))).collect()
    }

    /// Reads the control words.
    ///
    /// # Errors
    /// [`OpenError::Forked`].
    pub fn control_stats(&self) -> Result<ControlStats, OpenError> {
        self.check_origin()?;
        let forked = || OpenError::Forked { path: self.path.clone() };
        let control = self.table.read_control().ok_or_else(forked)?;
        let header = &self.blueprint.header;
        Ok(ControlStats {
            destroyed: control.state == STATE_DESTROYED,
            fence_needed: control.fence_needed,
            joined_total: control.joined_total,
            recovered_total: control.recovered_total,
            max_participants: header.max_participants,
            creator_pid: header.creator_pid,
            creator_uid: header.creator_uid,
            group: Some(header.group_gid).filter(|&gid| gid != u32::MAX),
            created_unix_ns: header.created_unix_ns,
        })
    }

    /// Says what lies where in the file: every byte of it, in order.
    #[must_use]
    pub fn memory_map(&self) -> Vec<MapPart> {
        let plan = &self.blueprint.plan;
        let mut starts = vec![
            ("header", None, 0),
            ("directory", None, plan.directory_offset),
            ("control", None, plan.control_offset),
            ("participants", None, plan.participants_offset),
        ];
        for (index, (ring, start)) in self.rings().iter().zip(&plan.rings).enumerate() {
            let geometry = &ring.geometry;
            starts.push(("header", Some(index), *start));
            if geometry.producers == Side::Multi {
                starts.push(("claims", Some(index), start + geometry.claims_offset()));
            }
            if geometry.consumers == Side::Multi {
                starts.push(("takes", Some(index), start + geometry.takes_offset()));
            }
            starts.push(("entries", Some(index), start + geometry.entries_offset()));
            starts.push(("data", Some(index), start + geometry.data_offset()));
        }
        let ends = starts.iter().skip(1).map(|&(_, _, start)| start).chain([plan.total_bytes]);
        let ends: Vec<u64> = ends.collect();
        starts
            .iter()
            .zip(ends)
            .map(|(&(what, ring, offset), end)| MapPart { what, ring, offset, bytes: end - offset })
            .collect()
    }

    /// Says whether somebody holds a role. A system call; true when in doubt.
    #[must_use]
    pub fn role_held(&self, ring: usize, role: Role) -> bool {
        os::is_held(&self.file, role.lock_byte(ring)).unwrap_or(true)
    }

    /// Counts the packets of all rings that nobody has acknowledged: waiting, or leased. Exact when
    /// nothing is in progress. Maps every ring for a moment.
    ///
    /// # Errors
    /// As [`SegmentView::ring_view`].
    pub fn packets_left(&self) -> Result<u64, OpenError> {
        let _one_mapping = self.window()?;
        let rings = 0..self.rings().len();
        rings.map(|index| Ok(self.ring_view(index)?.not_acknowledged())).sum()
    }
}
