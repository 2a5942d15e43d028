//! The owned consumer: the fastest way to get. `held.rs` has its ways to take many.
//!
//! Of a single-consumer ring it *is* the role: it is given out once, it is `Send` and not shared, and
//! dropping it frees the role. Of a ring with many consumers there may be any number.

use std::sync::Arc;

use crate::error::GetError;
use crate::queue::core::Core;
use crate::queue::ring_lease::RingLease;
use crate::queue::roles::{RoleGuard, Slot};
use crate::queue::{Lease, RecordInfo, Wait};
use crate::shm::ring::{SingleConsumer, Taken};
use crate::shm::storage::Side;

/// An owned consumer. `try_get` on a single-consumer ring is wait-free.
#[derive(Debug)]
pub struct Consumer {
    pub(super) core: Arc<Core>,
    pub(super) side: ConsumerSide,
    /// Taken by `hold`, oldest first (`held.rs`).
    pub(super) held: Vec<Taken>,
}

/// Told apart by a number of its own: what the compiler would make of the states' own values takes five
/// more instructions at each get.
#[repr(u8)]
pub(super) enum ConsumerSide {
    Single(SingleConsumer, Option<RoleGuard>),
    /// Leases are out: the state is parked in the core's slot.
    Parked(Option<RoleGuard>),
    Multi,
}

impl std::fmt::Debug for ConsumerSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(..) => "Single",
            Self::Parked(_) => "Parked",
            Self::Multi => "Multi",
        })
    }
}

impl Consumer {
    pub(crate) fn new(core: Arc<Core>) -> Result<Self, GetError> {
        if !core.is_here() {
            return Err(GetError::Forked);
        }
        let side = match core.ring.geometry().consumers {
            Side::Multi => ConsumerSide::Multi,
            Side::Single => {
                let mut slot = core.lock_consumer();
                match slot.replace(Slot::Owned) {
                    Slot::Shared(state, guard) | Slot::Orphaned(state, guard) => {
                        // Leases of the shared handle may still be out: park.
                        *slot = Slot::Parked(state);
                        drop(slot);
                        let side = ConsumerSide::Parked(Some(guard));
                        return Ok(Self { core, side, held: Vec::new() });
                    }
                    Slot::Vacant => match core.become_consumer() {
                        Ok((state, guard)) => ConsumerSide::Single(state, Some(guard)),
                        Err(error) => {
                            *slot = Slot::Vacant;
                            return Err(error);
                        }
                    },
                    other => {
                        *slot = other;
                        return Err(GetError::RoleTaken { pid: std::process::id() });
                    }
                }
            }
        };
        Ok(Self { core, side, held: Vec::new() })
    }

    /// Takes one record, appends its payload to `out` after clearing it, and acknowledges it.
    ///
    /// # Errors
    /// See [`GetError`].
    #[inline]
    pub fn get_into(&mut self, out: &mut Vec<u8>, wait: Wait) -> Result<RecordInfo, GetError> {
        if let Some(info) = self.get_ready::<false>(out) {
            return Ok(info);
        }
        // Out of line, as all that follows: it would cost the first way registers.
        if let Some(info) = self.get_longer(out) {
            return Ok(info);
        }
        if self.spin(wait)
            && let Some(info) = self.get_ready::<false>(out)
        {
            return Ok(info);
        }
        self.get_otherwise(out, wait)
    }

    /// A ready record of one unit, in the data region or in its entry, if it needs nothing else.
    #[inline(always)]
    fn get_ready<const IN_DATA: bool>(&mut self, out: &mut Vec<u8>) -> Option<RecordInfo> {
        match &mut self.side {
            ConsumerSide::Single(state, _) => self.core.get_plain::<IN_DATA>(state, out),
            ConsumerSide::Parked(_) => None,
            ConsumerSide::Multi => self.core.get_plain_multi::<IN_DATA>(out),
        }
    }

    /// [`Consumer::get_ready`] of a record in the data region, of one unit or more.
    #[inline(never)]
    fn get_longer(&mut self, out: &mut Vec<u8>) -> Option<RecordInfo> {
        match (self.get_ready::<true>(out), &mut self.side) {
            (None, ConsumerSide::Single(state, _)) => self.core.get_long(state, out),
            (info, _) => info,
        }
    }

    /// Spins where the caller may wait; says whether there is something to look at.
    #[inline(never)]
    fn spin(&mut self, wait: Wait) -> bool {
        match &mut self.side {
            ConsumerSide::Single(state, _) => self.core.spin_for_next(state, wait),
            ConsumerSide::Parked(_) => false,
            ConsumerSide::Multi => self.core.spin_at_head(wait),
        }
    }

    /// The other ways, after spinning.
    #[inline(never)]
    fn get_otherwise(&mut self, out: &mut Vec<u8>, wait: Wait) -> Result<RecordInfo, GetError> {
        if let Some(info) = self.get_longer(out) {
            return Ok(info);
        }
        match &self.side {
            ConsumerSide::Multi => self.core.get_multi(out, wait),
            _ => self.get_single_slowly(out, wait),
        }
    }

    #[inline(never)]
    fn get_single_slowly(&mut self, out: &mut Vec<u8>, wait: Wait) -> Result<RecordInfo, GetError> {
        out.clear();
        self.unpark();
        if let ConsumerSide::Single(state, _) = &mut self.side {
            let core = &*self.core;
            let taken = core.take_single_slowly(state, wait)?;
            core.ring.read(&taken, out);
            let info = RecordInfo::new(&taken, core.ring.timestamp(&taken));
            core.ring.ack_single(state, &taken);
            core.room_made();
            return Ok(info);
        }
        let taken = self.take(wait)?;
        self.core.ring.read(&taken, out);
        let info = RecordInfo::new(&taken, self.core.ring.timestamp(&taken));
        self.core.acknowledge(taken);
        Ok(info)
    }

    /// Takes one record, hands its payload to `read` in place, and acknowledges it after that. If
    /// `read` panics, the record is given back.
    ///
    /// # Errors
    /// See [`GetError`].
    #[inline]
    pub fn get_with<R>(
        &mut self,
        wait: Wait,
        read: impl FnOnce(&[u8], RecordInfo) -> R,
    ) -> Result<R, GetError> {
        self.unpark();
        let core = &*self.core;
        let (reader, taken) = match &mut self.side {
            ConsumerSide::Multi => (Reader::Multi, core.take_record(wait)?),
            ConsumerSide::Single(state, _) => {
                let exposed = core.expose_single(state, wait);
                let (reader, taken) = match exposed {
                    Some(taken) => (Reader::Exposed(state), taken),
                    None => {
                        let taken = core.take_single_slowly(state, wait)?;
                        (Reader::Single(state), taken)
                    }
                };
                core.room_made_by_taking();
                (reader, taken)
            }
            ConsumerSide::Parked(_) => return self.get_parked_with(wait, read),
        };
        let info = RecordInfo::new(&taken, core.ring.timestamp(&taken));
        let bomb = GiveBack { core, reader, taken };
        let result = read(core.ring.payload(&bomb.taken), info);
        bomb.defuse();
        Ok(result)
    }

    /// As `get_with`, while leases are out.
    fn get_parked_with<R>(
        &mut self,
        wait: Wait,
        read: impl FnOnce(&[u8], RecordInfo) -> R,
    ) -> Result<R, GetError> {
        let lease = self.lease(wait)?;
        let info = lease.info();
        let result = read(&lease, info);
        lease.ack();
        Ok(result)
    }

    /// Takes one record to be read in place; several leases may be held. Dropped without `ack`, it
    /// is given back.
    ///
    /// # Errors
    /// See [`GetError`].
    #[inline]
    pub fn lease(&mut self, wait: Wait) -> Result<Lease, GetError> {
        let taken = self.take(wait)?;
        Ok(Lease::ring(RingLease::new(Arc::clone(&self.core), taken)))
    }

    /// Takes up to `max` records, waiting for the first only; appends them to `out`, and says how
    /// many.
    ///
    /// # Errors
    /// See [`GetError`]; then nothing was taken.
    pub fn lease_many(
        &mut self,
        max: usize,
        out: &mut Vec<Lease>,
        wait: Wait,
    ) -> Result<usize, GetError> {
        // Behind what is held, for a moment: no vector of its own at each call.
        let start = self.held.len();
        match &self.side {
            _ if max == 0 => {}
            ConsumerSide::Multi => _ = self.core.take_many(max, &mut self.held, wait)?,
            ConsumerSide::Single(..) | ConsumerSide::Parked(_) => {
                let first = self.take(wait)?;
                self.held.push(first);
                self.core.take_more_parked(max - 1, &mut self.held);
            }
        }
        let count = self.held.len() - start;
        let lease = |taken| Lease::ring(RingLease::new(Arc::clone(&self.core), taken));
        out.extend(self.held.drain(start..).map(lease));
        Ok(count)
    }

    /// Takes a record whose end goes through the core: the state of a single consumer is parked
    /// there as long as leases are out.
    pub(super) fn take(&mut self, wait: Wait) -> Result<Taken, GetError> {
        self.unpark();
        match &mut self.side {
            ConsumerSide::Multi => self.core.take_record(wait),
            ConsumerSide::Parked(_) => {
                let taken = self.core.take_parked(wait)?;
                self.core.room_made_by_taking();
                Ok(taken)
            }
            ConsumerSide::Single(state, guard) => {
                let taken = self.core.take_single(state, wait)?;
                let parked = ConsumerSide::Parked(guard.take());
                if let ConsumerSide::Single(state, _) = std::mem::replace(&mut self.side, parked) {
                    self.core.park(state);
                }
                self.core.room_made_by_taking();
                Ok(taken)
            }
        }
    }

    /// Takes the parked state back when no lease is out: only this handle makes new ones.
    #[inline]
    pub(super) fn unpark(&mut self) {
        if let ConsumerSide::Parked(guard) = &mut self.side
            && let Some(state) = self.core.unpark()
        {
            self.side = ConsumerSide::Single(state, guard.take());
        }
    }
}

/// Whose record is being read.
enum Reader<'a> {
    /// One of many consumers'.
    Multi,
    /// A single consumer's that holds it.
    Single(&'a mut SingleConsumer),
    /// A single consumer's that will have held it only if it is not acknowledged now.
    Exposed(&'a mut SingleConsumer),
}

/// Gives a record back if its reader panics.
struct GiveBack<'a> {
    core: &'a Core,
    reader: Reader<'a>,
    taken: Taken,
}

impl GiveBack<'_> {
    #[inline(always)]
    fn defuse(self) {
        let mut this = std::mem::ManuallyDrop::new(self);
        let this = &mut *this;
        let core = this.core;
        // A child that forked inside the reader has no such memory.
        if core.is_here() {
            match &mut this.reader {
                Reader::Multi => core.release(&this.taken),
                Reader::Single(state) => core.ring.ack_single(state, &this.taken),
                Reader::Exposed(state) => {
                    let entry = core.ring.memory().entry(this.taken.pos);
                    core.ring.end_exposed(state, entry, &this.taken);
                }
            }
            core.room_made();
        }
    }
}

impl Drop for GiveBack<'_> {
    fn drop(&mut self) {
        if !self.core.is_here() {
            return;
        }
        if let Reader::Exposed(state) = &mut self.reader {
            self.core.ring.keep_exposed(state, &self.taken);
        }
        match &mut self.reader {
            Reader::Multi => self.core.give_back(&self.taken),
            Reader::Single(state) | Reader::Exposed(state) => {
                self.core.ring.give_back_single(state, self.taken.pos);
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.give_back_held();
        if !self.core.is_here() {
            return;
        }
        match &mut self.side {
            ConsumerSide::Multi => {}
            ConsumerSide::Single(state, guard) => {
                let mut slot = self.core.lock_consumer();
                self.core.ring.publish_hint(state);
                // Under the slot's lock: whoever finds it vacant finds the role free.
                drop(guard.take());
                *slot = Slot::Vacant;
            }
            ConsumerSide::Parked(guard) => {
                let mut slot = self.core.lock_consumer();
                match (slot.replace(Slot::Vacant), guard.take()) {
                    (Slot::Parked(mut state), Some(guard)) => {
                        self.core.ring.publish_hint(&mut state);
                        if self.core.open_leases() != 0 {
                            *slot = Slot::Orphaned(state, guard);
                        }
                    }
                    (other, _) => *slot = other,
                }
            }
        }
    }
}
