//! The single producer and the single consumer of a ring: a lock byte each.
//!
//! A holder that dies frees its byte with its address space, so a role is never taken over while the
//! old holder can still execute an instruction.

use std::sync::Arc;

use super::config::invalid;
use super::{Segment, io_error};
use crate::error::OpenError;
use crate::shm::layout::{LOCK_ROLE, SharedLine};
use crate::shm::os::ByteLock;
use crate::shm::participant;
use crate::shm::storage::{Geometry, Side};
use crate::sync::{AtomicU32, Ordering, crash_point};

/// A side of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The side that puts.
    Producer,
    /// The side that gets.
    Consumer,
}

impl Role {
    /// `producer` or `consumer`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }

    pub(super) fn lock_byte(self, ring: usize) -> u64 {
        LOCK_ROLE + 2 * ring as u64 + u64::from(self == Self::Consumer)
    }

    fn side(self, geometry: &Geometry) -> Side {
        match self {
            Self::Producer => geometry.producers,
            Self::Consumer => geometry.consumers,
        }
    }

    fn holder(self, line: &SharedLine) -> &AtomicU32 {
        match self {
            Self::Producer => &line.producer_id,
            Self::Consumer => &line.consumer_id,
        }
    }
}

/// A role that is ours until this is dropped, or the process dies. Keeps the segment.
#[derive(Debug)]
pub struct RoleGuard {
    // Freed before the participant leaves: fields drop in this order.
    _lock: ByteLock,
    _segment: Arc<Segment>,
}

impl Segment {
    /// Takes the role of the single producer or consumer of a ring. Exclusive among all attachments
    /// and threads, this one's own included.
    ///
    /// # Errors
    /// [`OpenError::RoleTaken`] with the holder's process, as far as the table tells;
    /// [`OpenError::InvalidConfig`] where that side of the ring has no single holder;
    /// [`OpenError::NoSuchRing`], [`OpenError::Forked`], [`OpenError::Destroyed`], [`OpenError::Io`].
    pub fn claim_role(self: &Arc<Self>, ring: usize, role: Role) -> Result<RoleGuard, OpenError> {
        let config = self.ring_at(ring)?;
        if role.side(&config.geometry) != Side::Single {
            let reason = format!("any number of {}s may use ring {}", role.name(), config.name);
            return Err(invalid("role", reason));
        }
        self.check_origin()?;
        if self.is_destroyed() {
            return Err(OpenError::Destroyed { path: self.path.clone() });
        }
        let memory = self.memory(ring)?;
        let holder = role.holder(&memory.header().shared);
        let lock = ByteLock::try_exclusive(&self.file, role.lock_byte(ring))
            .map_err(io_error(&self.path, "taking a role"))?;
        let Some(lock) = lock else {
            // RELAXED: advice; it may name the holder before.
            let id = u16::try_from(holder.load(Ordering::Relaxed)).unwrap_or(0);
            let pid = participant::info(&self.table, id, true).map_or(0, |info| info.pid);
            let queue = format!("{}:{}", self.display_name(), config.name);
            return Err(OpenError::RoleTaken { queue, role: role.name(), pid });
        };
        crash_point("role.locked"); // The byte is free again; the word names the holder before.
        // RELAXED: as above.
        holder.store(self.participant_id().into(), Ordering::Relaxed);
        Ok(RoleGuard { _lock: lock, _segment: Arc::clone(self) })
    }

    fn display_name(&self) -> String {
        match self.name() {
            Some(name) => name.to_string(),
            None => self.path.display().to_string(),
        }
    }
}
