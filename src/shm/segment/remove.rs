//! The end of a segment: destroyed by somebody, or left by the last of an ephemeral one.
//!
//! Whoever removes the file holds the gate exclusively, so nobody joins meanwhile. DESTROYED comes
//! first and the unlink second: a name never leads to a live segment that is about to vanish, and one
//! that still leads to a destroyed one is cleared by whoever meets it.

use super::Segment;
use super::attach::gate;
use crate::error::OpenError;
use crate::shm::layout::{LOCK_PARTICIPANT, MAX_PARTICIPANTS, STATE_DESTROYED};
use crate::shm::os::{self, LockKind};
use crate::shm::participant::{self, Membership};
use crate::shm::ring::Ring;
use crate::shm::storage::RingMemory;
use crate::sync::{Ordering, crash_point};

impl Segment {
    /// Destroys the segment: every handle anywhere gets `Destroyed`, sleepers wake, the name is free.
    /// Who has it mapped keeps the memory until they let go. Destroying twice is no error; a successor
    /// of the same name is not touched.
    ///
    /// # Errors
    /// [`OpenError::Forked`], [`OpenError::Permission`], [`OpenError::Io`] (also when a stopped process holds the gate for seconds).
    pub fn destroy(&self) -> Result<(), OpenError> {
        self.check_origin()?;
        self.finish_removal()
    }

    /// Marks it destroyed and unlinks it, under the gate.
    pub(super) fn finish_removal(&self) -> Result<(), OpenError> {
        // SYNC gate (pairs with `attach`): nobody is between checking the state and having joined.
        let _gate = gate(&self.file, &self.path, LockKind::Exclusive)?;
        crash_point("destroy.gate");
        self.finish_removal_under_gate()
    }

    /// As above, for a caller that holds the gate exclusively.
    ///
    /// The state before the rings: a live segment of destroyed rings would be refused to everybody,
    /// and nobody would clear it away. Who still uses the rings of a destroyed one hears of it from
    /// whoever meets the name next.
    pub(super) fn finish_removal_under_gate(&self) -> Result<(), OpenError> {
        self.mark_destroyed();
        crash_point("destroy.state_marked");
        self.mark_rings_destroyed();
        self.remove_under_gate()
    }

    /// Removes a segment in which nobody is left to hear of it, or everybody has; under the gate.
    pub(super) fn remove_under_gate(&self) -> Result<(), OpenError> {
        self.mark_destroyed();
        crash_point("destroy.marked"); // Survivors get Destroyed; who meets the name unlinks it.
        if let Some((directory, name)) = &self.home {
            directory.unlink(name, &self.file)?;
        }
        crash_point("destroy.unlinked"); // Sleepers see DESTROYED at the end of their slice.
        self.ring_everybody();
        Ok(())
    }

    /// Marks every ring, where each operation looks anyway. A ring that cannot be mapped here is left:
    /// its users hear of it when they open it next.
    fn mark_rings_destroyed(&self) {
        for index in 0..self.rings().len() {
            if let Ok(memory) = self.memory(index) {
                Ring::new(RingMemory::clone(&memory)).mark_destroyed();
            }
        }
    }

    fn mark_destroyed(&self) {
        if let Some(control) = self.table.control() {
            // SYNC destroyed (pairs with `check` and `state`).
            control.state.store(STATE_DESTROYED, Ordering::Release);
        }
    }

    /// Wakes every sleeper of the segment.
    fn ring_everybody(&self) {
        let last = self.table.max_participants() as u16;
        for row in (1..=last).filter_map(|id| self.table.row(id)) {
            // SYNC doorbell (pairs with the sleeper's last look at its word): DESTROYED comes before.
            row.doorbell.fetch_add(1, Ordering::Release);
            os::futex_wake(&row.doorbell, u32::MAX);
        }
    }

    /// Leaves an ephemeral segment, and removes it when nobody is left.
    ///
    /// Under the gate, so of several who leave at the same time the last to get it sees that it is the
    /// last. Killed before the unlink, it leaves a file that `clean` removes, or the next one to attach
    /// adopts. Where the gate cannot be had, the file stays for `clean` as well.
    pub(super) fn leave_and_maybe_remove(&self, membership: Membership) {
        if self.is_destroyed() {
            return participant::leave(&self.table, membership);
        }
        let gate = gate(&self.file, &self.path, LockKind::Exclusive);
        crash_point("leave.gate");
        participant::leave(&self.table, membership);
        crash_point("leave.left");
        let bytes = u64::from(MAX_PARTICIPANTS);
        if gate.is_ok() && !os::any_held(&self.file, LOCK_PARTICIPANT + 1, bytes).unwrap_or(true) {
            // Nobody can be told of an error here; the file is then `clean`'s.
            let _ = self.remove_under_gate();
        }
    }
}
