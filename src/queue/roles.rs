//! Who in this process plays the single producer or consumer of a ring.

use std::thread::ThreadId;

/// A role of a single-sided ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that puts.
    Producer,
    /// The one that gets.
    Consumer,
}

impl Role {
    /// `producer` or `consumer`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

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
