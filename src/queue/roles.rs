//! Who in this process plays the single producer or consumer of a ring.

use std::thread::ThreadId;

pub use crate::shm::segment::Role;

/// What holds a role's lock.
pub(crate) type RoleGuard = Box<dyn Send + Sync>;

/// The state of one side of a single-sided ring in this process.
pub(crate) enum Slot<T> {
    /// Not ours, or not used yet.
    Vacant,
    /// Used through the shared queue handle, under the slot's lock.
    Shared(T, RoleGuard),
    /// Lent by the shared queue handle to a reservation of this thread.
    Lent(ThreadId),
    /// Handed out as an owned handle, which holds the state.
    Owned,
    /// Handed out as an owned handle, which parked the state here so that leases can end.
    Parked(T),
    /// The owned handle is gone, its leases are not: the last of them gives up the role.
    Orphaned(T, RoleGuard),
}

impl<T> Slot<T> {
    /// Takes the slot's content, leaving `instead`.
    pub(crate) fn replace(&mut self, instead: Self) -> Self {
        std::mem::replace(self, instead)
    }
}
