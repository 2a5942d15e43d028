//! Putting in place: room is claimed, written by the caller, and committed.

use std::sync::Arc;

use crate::error::PutError;
use crate::queue::core::Core;
use crate::queue::core_put::shared;
use crate::queue::roles::{RoleGuard, Slot};
use crate::queue::{RecordKind, Wait};
use crate::shm::ring::{Claim, ProducerCache, SingleProducer};
use crate::shm::storage::Side;
use crate::sync::Ordering;

impl Core {
    /// Claims room for a record to be written in place.
    pub(crate) fn reserve_record(
        self: &Arc<Self>,
        kind: RecordKind,
        len: usize,
        wait: Wait,
    ) -> Result<RingReservation, PutError> {
        self.check_put(len)?;
        let units = self.ring.units(len);
        let (claim, lent) = match self.ring.geometry().producers {
            Side::Multi => (self.claim_multi(&self.cache, units, wait)?, None),
            Side::Single => {
                let (claim, state, guard) = self.lend_producer(units, wait)?;
                (claim, Some((state, guard)))
            }
        };
        let inline = self.is_inline(len);
        let core = Arc::clone(self);
        Ok(RingReservation { core, claim: Some(claim), lent, kind: kind.0, len, inline })
    }

    /// Claims room to write in place, as the single producer.
    #[inline]
    pub(crate) fn claim_in_place(
        &self,
        mine: &mut SingleProducer,
        len: usize,
        wait: Wait,
    ) -> Result<Claim, PutError> {
        if self.is_here()
            && let Some(claim) = self.ring.claim_plain(mine, len)
        {
            return Ok(claim);
        }
        self.claim_in_place_slowly(mine, len, wait)
    }

    #[inline(never)]
    fn claim_in_place_slowly(
        &self,
        mine: &mut SingleProducer,
        len: usize,
        wait: Wait,
    ) -> Result<Claim, PutError> {
        self.check_put(len)?;
        let units = self.ring.units(len);
        if wait != Wait::No && self.ring.room_is_scarce(mine, units) {
            self.spin.pace_room(self.capacity(units));
        }
        match self.ring.claim_single(mine, units, 1) {
            Ok(claim) => Ok(claim),
            Err(refused) => {
                self.wait_for_room(refused, units, wait, || self.ring.claim_single(mine, units, 1))
            }
        }
    }

    /// Claims room to write in place, as one of many producers.
    #[inline]
    pub(crate) fn claim_in_place_multi(
        &self,
        cache: &ProducerCache,
        len: usize,
        wait: Wait,
    ) -> Result<Claim, PutError> {
        self.check_put(len)?;
        self.claim_multi(cache, self.ring.units(len), wait)
    }

    /// Commits what was written in place.
    #[inline]
    pub(crate) fn commit_in_place(
        &self,
        claim: &mut Claim,
        state: Option<&mut SingleProducer>,
        kind: u8,
        len: usize,
        inline: bool,
    ) {
        self.stamp_time(claim, 0);
        match state {
            Some(state) => self.ring.commit_single(state, claim, kind, len, inline),
            None => self.ring.commit(claim, kind, len, inline),
        }
        self.published();
    }

    /// Gives up room that was to be written in place.
    pub(crate) fn abandon_in_place(&self, claim: &Claim, state: Option<&SingleProducer>) {
        match state {
            Some(state) => self.ring.abandon_single(state),
            None => self.ring.abandon(claim, self.me),
        }
        // Consumers may wait for what lies behind it, drainers for this, producers for its room.
        self.published();
        self.room_made();
    }

    /// Claims room, and takes the producer's state out of its slot until the record is committed.
    fn lend_producer(
        &self,
        units: u64,
        wait: Wait,
    ) -> Result<(Claim, SingleProducer, RoleGuard), PutError> {
        let mut lent = None;
        let mut lost = None;
        let mut attempt = || {
            let mut slot = match self.producer_slot(wait) {
                Ok(slot) => slot,
                Err(error) => {
                    lost = Some(error);
                    return Ok(());
                }
            };
            let claim = self.ring.claim_single(shared(&mut slot), units, 1)?;
            if let Slot::Shared(state, guard) =
                slot.replace(Slot::Lent(std::thread::current().id()))
            {
                lent = Some((claim, state, guard));
            }
            Ok(())
        };
        let first = attempt();
        if let Err(refused) = first {
            self.wait_for_room(refused, units, wait, attempt)?;
        }
        if let Some(error) = lost {
            return Err(error);
        }
        // A slot that `producer_slot` returned is `Shared`.
        lent.ok_or_else(|| PutError::RoleTaken { pid: std::process::id() })
    }
}

/// Room in a ring, to be written in place.
pub(crate) struct RingReservation {
    core: Arc<Core>,
    claim: Option<Claim>,
    lent: Option<(SingleProducer, RoleGuard)>,
    kind: u8,
    len: usize,
    inline: bool,
}

impl RingReservation {
    /// Says whether this still is the process that reserved.
    pub(crate) fn is_here(&self) -> bool {
        self.core.is_here()
    }

    /// The bytes; empty in a forked child, which has no such memory.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.claim {
            Some(claim) if self.core.is_here() => {
                self.core.ring.claimed_payload(claim, self.inline, self.len)
            }
            _ => &[],
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match &mut self.claim {
            Some(claim) if self.core.is_here() => {
                self.core.ring.payload_mut(claim, self.inline, self.len)
            }
            _ => &mut [],
        }
    }

    pub(crate) fn commit(mut self, len: usize) -> Result<(), PutError> {
        if !self.core.is_here() {
            return Err(PutError::Forked);
        }
        let Some(mut claim) = self.claim.take() else { return Ok(()) };
        let core = Arc::clone(&self.core);
        let mut lent = self.lent.take();
        let state = lent.as_mut().map(|(state, _)| state);
        core.commit_in_place(&mut claim, state, self.kind, len, self.inline);
        match lent {
            Some((state, guard)) => core.return_producer(state, guard),
            None => core.ring.sample_high_water_shared(&core.cache, &claim),
        }
        Ok(())
    }
}

impl Core {
    fn return_producer(&self, state: SingleProducer, guard: RoleGuard) {
        let mut slot = self.lock_producer();
        *slot = Slot::Shared(state, guard);
        // RELAXED: under the slot's lock.
        let waiters = self.slot_waiters.load(Ordering::Relaxed);
        drop(slot);
        // Ringing is a system call, even where nobody waits. All, because a slot that is not lent
        // serves them one after another, and who merely puts rings no more.
        if waiters > 0 {
            self.slot_back.notify_all();
        }
    }
}

impl Drop for RingReservation {
    fn drop(&mut self) {
        let Some(claim) = self.claim.take() else { return };
        if !self.core.is_here() {
            return;
        }
        let lent = self.lent.take();
        self.core.abandon_in_place(&claim, lent.as_ref().map(|(state, _)| state));
        if let Some((state, guard)) = lent {
            self.core.return_producer(state, guard);
        }
    }
}
