//! Putting: one record, a run, or in place.

use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{OpenError, PutError};
use crate::queue::Wait;
use crate::queue::core::{Core, put_error};
use crate::queue::roles::{Role, RoleGuard, Slot};
use crate::shm::os::monotonic_ns;
use crate::shm::ring::{Claim, PlainPut, ProducerCache, Refused, SingleProducer};
use crate::shm::storage::Side;
use crate::shm::wait::SLICE;
use crate::sync::Ordering;

/// Most records of one claim of `put_many`: as many as amortize the claim.
const RUN_MAX: usize = 64;

impl Core {
    /// What every put checks first: that this is the process that opened the ring, and that the
    /// payload can ever fit.
    #[inline(always)]
    pub(crate) fn check_put(&self, len: usize) -> Result<(), PutError> {
        if !self.is_here() {
            return Err(PutError::Forked);
        }
        let max = self.ring.max_payload();
        if len > max {
            return Err(PutError::TooLarge { len, max });
        }
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn is_inline(&self, len: usize) -> bool {
        self.ring.is_inline(len)
    }

    #[inline(always)]
    pub(crate) fn stamp_time(&self, claim: &mut Claim, i: u64) {
        if self.ring.geometry().timestamps {
            self.ring.write_timestamp(claim, i, monotonic_ns());
        }
    }

    /// Puts one record through the shared handle.
    #[inline]
    pub(crate) fn put_record(&self, kind: u8, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        match self.ring.geometry().producers {
            Side::Multi if self.put_plain_multi::<false>(&self.cache, kind, payload) => Ok(()),
            Side::Multi => self.put_multi(&self.cache, kind, payload, wait),
            Side::Single => self.put_shared(kind, payload, wait),
        }
    }

    /// Puts one record into a many-producer ring, where nothing has to be looked at or waited for, and the
    /// record fits one unit; `false` if that is not so, and nothing was put.
    #[inline(always)]
    pub(crate) fn put_plain_multi<const IN_DATA: bool>(
        &self,
        cache: &ProducerCache,
        kind: u8,
        payload: &[u8],
    ) -> bool {
        // RELAXED: a hint that a large record waits for room.
        if !self.is_here() || self.header().shared.large_claim.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let put = self.ring.put_plain_multi::<IN_DATA>(cache, kind, payload, self.me);
        let Some(claim) = put else { return false };
        self.published();
        self.ring.sample_high_water_shared(cache, &claim);
        true
    }

    /// Puts one record into a many-producer ring.
    #[inline(always)]
    pub(crate) fn put_multi(
        &self,
        cache: &ProducerCache,
        kind: u8,
        payload: &[u8],
        wait: Wait,
    ) -> Result<(), PutError> {
        self.check_put(payload.len())?;
        let units = self.ring.units(payload.len());
        let mut claim = self.claim_multi(cache, units, wait)?;
        let inline = self.is_inline(payload.len());
        self.ring.write(&mut claim, inline, payload);
        self.stamp_time(&mut claim, 0);
        self.ring.commit(&claim, kind, payload.len(), inline);
        self.published();
        self.ring.sample_high_water_shared(cache, &claim);
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn claim_multi(
        &self,
        cache: &ProducerCache,
        units: u64,
        wait: Wait,
    ) -> Result<Claim, PutError> {
        self.let_large_claim_pass(wait);
        if wait != Wait::No && self.ring.room_is_scarce_shared(cache, units) {
            self.spin.pace_room(self.capacity(units));
        }
        match self.ring.claim(cache, units, self.me) {
            Ok(claim) => Ok(claim),
            Err(refused) => {
                self.wait_for_room(refused, units, wait, || self.ring.claim(cache, units, self.me))
            }
        }
    }

    /// Puts one record into the data region of a single-producer ring, as its producer, where nothing has
    /// to be looked at or waited for, and the record fits one unit; `false` if that is not so, and nothing
    /// was put.
    #[inline(always)]
    pub(crate) fn put_plain_in_data(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payload: &[u8],
    ) -> bool {
        let done = self.is_here() && self.ring.put_plain::<true>(mine, kind, payload);
        if done {
            self.published();
        }
        done
    }

    /// As [`Core::put_plain_in_data`], but into the entry, and whoever calls it does what is rare behind the
    /// put, and wakes.
    #[inline(always)]
    pub(crate) fn begin_plain(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payload: &[u8],
    ) -> PlainPut {
        if self.is_here() {
            self.ring.begin_plain::<false>(mine, kind, payload)
        } else {
            PlainPut::Not
        }
    }

    /// Puts one record into a single-producer ring, as its producer.
    #[inline(never)]
    pub(crate) fn put_single(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payload: &[u8],
        wait: Wait,
    ) -> Result<(), PutError> {
        self.check_put(payload.len())?;
        let units = self.ring.units(payload.len());
        if wait != Wait::No && self.ring.room_is_scarce(mine, units) {
            self.spin.pace_room(self.capacity(units));
        }
        match self.try_put_single(mine, kind, payload, units) {
            Ok(()) => {}
            Err(refused) => {
                self.wait_for_room(refused, units, wait, || {
                    self.try_put_single(mine, kind, payload, units)
                })?;
            }
        }
        self.published();
        Ok(())
    }

    /// Puts one record, which takes so many units, if there is room now.
    #[inline(always)]
    fn try_put_single(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payload: &[u8],
        units: u64,
    ) -> Result<(), Refused> {
        let mut claim = self.ring.claim_single(mine, units, 1)?;
        let inline = self.is_inline(payload.len());
        self.ring.write(&mut claim, inline, payload);
        self.stamp_time(&mut claim, 0);
        self.ring.commit_single(mine, &claim, kind, payload.len(), inline);
        Ok(())
    }

    /// Puts one record into a single-producer ring through the shared handle: the slot is locked
    /// for each try, never while waiting.
    fn put_shared(&self, kind: u8, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        self.check_put(payload.len())?;
        let units = self.ring.units(payload.len());
        let first = {
            let mut slot = self.producer_slot(wait)?;
            self.try_put_single(shared(&mut slot), kind, payload, units)
        };
        if let Err(refused) = first {
            let mut lost = None;
            let done =
                self.wait_for_room(refused, units, wait, || match self.producer_slot(wait) {
                    Ok(mut slot) => self.try_put_single(shared(&mut slot), kind, payload, units),
                    Err(error) => {
                        lost = Some(error);
                        Ok(())
                    }
                });
            if let Some(error) = lost {
                return Err(error);
            }
            done?;
        }
        self.published();
        Ok(())
    }

    /// Locks the producer's slot in state `Shared`, taking the role if need be.
    pub(crate) fn producer_slot(
        &self,
        wait: Wait,
    ) -> Result<MutexGuard<'_, Slot<SingleProducer>>, PutError> {
        let mut slot = self.lock_producer();
        loop {
            match &*slot {
                Slot::Shared(..) => return Ok(slot),
                Slot::Vacant => {
                    let (state, guard) = self.become_producer()?;
                    *slot = Slot::Shared(state, guard);
                    return Ok(slot);
                }
                Slot::Lent(_) if self.ring.is_destroyed() => return Err(PutError::Destroyed),
                Slot::Lent(_) if self.ring.is_closed() => return Err(PutError::Closed),
                Slot::Lent(thread) if *thread != std::thread::current().id() => {
                    // Another thread writes in place: its record comes first. In slices, so that
                    // what another process closes or destroys is noticed.
                    slot = match wait {
                        Wait::No => return Err(PutError::RoleTaken { pid: std::process::id() }),
                        Wait::Until(deadline) => {
                            let left = deadline.saturating_duration_since(Instant::now());
                            if left.is_zero() {
                                return Err(PutError::Timeout);
                            }
                            self.wait_for_slot(slot, left.min(SLICE))
                        }
                        Wait::Forever | Wait::Interruptible => self.wait_for_slot(slot, SLICE),
                    };
                }
                _ => return Err(PutError::RoleTaken { pid: std::process::id() }),
            }
        }
    }

    /// Waits until the slot is back, or for no reason.
    fn wait_for_slot<'a>(
        &self,
        slot: MutexGuard<'a, Slot<SingleProducer>>,
        left: Duration,
    ) -> MutexGuard<'a, Slot<SingleProducer>> {
        // RELAXED, both: under the slot's lock.
        self.slot_waiters.fetch_add(1, Ordering::Relaxed);
        let waited = self.slot_back.wait_timeout(slot, left);
        let slot = waited.unwrap_or_else(PoisonError::into_inner).0;
        self.slot_waiters.fetch_sub(1, Ordering::Relaxed);
        slot
    }

    /// Takes the producer's role and starts where the last one stopped.
    pub(crate) fn become_producer(&self) -> Result<(SingleProducer, RoleGuard), PutError> {
        // Whoever holds the role, a closed queue is closed for everybody.
        if self.ring.is_destroyed() {
            return Err(PutError::Destroyed);
        }
        if self.ring.is_closed() {
            return Err(PutError::Closed);
        }
        let guard = self.home.claim_role(Role::Producer).map_err(|error| match error {
            OpenError::RoleTaken { pid, .. } => PutError::RoleTaken { pid },
            OpenError::Destroyed { .. } => PutError::Destroyed,
            OpenError::Forked { .. } => PutError::Forked,
            other => other.into(),
        })?;
        let state = self.ring.start_producer().map_err(put_error)?;
        Ok((state, guard))
    }

    /// Puts many records in order: `(how many, why not all)`.
    pub(crate) fn put_all(
        &self,
        kind: u8,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        if self.ring.geometry().producers == Side::Multi {
            return self.put_runs(&self.cache, kind, payloads, wait);
        }
        let mut done = 0;
        while let Some(payload) = payloads.get(done) {
            let put = match self.put_shared_plain(kind, &payloads[done..], wait) {
                Ok(0) => self.put_shared(kind, payload, wait).map(|()| 1),
                put => put,
            };
            match put {
                Ok(count) => done += count,
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    /// Puts as many of these records through the shared handle as need no look at the consumers' words; says
    /// how many.
    fn put_shared_plain(
        &self,
        kind: u8,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> Result<usize, PutError> {
        // As of one put: whoever puts what can never fit hears of that first.
        self.check_put(payloads.first().map_or(0, |payload| payload.len()))?;
        let count = {
            let mut slot = self.producer_slot(wait)?;
            self.ring.put_plain_many(shared(&mut slot), kind, payloads)
        };
        if count != 0 {
            self.published();
        }
        Ok(count)
    }

    /// Puts many records into a single-producer ring, as its producer; wakes once.
    pub(crate) fn put_all_single(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        if !self.is_here() {
            return (0, Some(PutError::Forked));
        }
        let mut done = 0;
        loop {
            done += self.ring.put_plain_many(mine, kind, &payloads[done..]);
            // Too long for one unit, or the consumers' words have to be looked at.
            let Some(payload) = payloads.get(done) else { break };
            if let Err(error) = self.check_put(payload.len()) {
                self.published();
                return (done, Some(error));
            }
            let units = self.ring.units(payload.len());
            if self.try_put_single(mine, kind, payload, units).is_err() {
                self.published();
                if let Err(error) = self.put_single(mine, kind, payload, wait) {
                    return (done, Some(error));
                }
            }
            done += 1;
        }
        self.published();
        (payloads.len(), None)
    }

    /// Puts many records into a many-producer ring: one claim for each run of records that fit a
    /// unit, an ordinary put for each larger one.
    pub(crate) fn put_runs(
        &self,
        cache: &ProducerCache,
        kind: u8,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        let mut done = 0;
        let most = RUN_MAX.min(self.ring.geometry().bits().max_units() as usize);
        while done < payloads.len() {
            let fit = |payload: &&&[u8]| self.ring.units(payload.len()) == 1;
            let run = payloads[done..].iter().take(most).take_while(fit).count();
            let put = if run <= 1 {
                self.put_multi(cache, kind, payloads[done], wait).map(|()| 1)
            } else {
                self.put_run(cache, kind, &payloads[done..done + run], wait)
            };
            match put {
                Ok(count) => done += count,
                Err(error) => return (done, Some(error)),
            }
        }
        (done, None)
    }

    /// Puts a run, or as much of it as there is room for now, at least one record.
    fn put_run(
        &self,
        cache: &ProducerCache,
        kind: u8,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> Result<usize, PutError> {
        self.check_put(0)?;
        self.let_large_claim_pass(wait);
        let mut count = payloads.len();
        if wait != Wait::No && self.ring.room_is_scarce_shared(cache, count as u64) {
            self.spin.pace_room(self.capacity(1));
        }
        let mut claim = loop {
            match self.ring.claim_run(cache, count as u64, self.me) {
                Ok(claim) => break claim,
                Err(Refused::Full) if count > 1 => count /= 2,
                Err(refused) => {
                    break self.wait_for_room(refused, 1, wait, || {
                        self.ring.claim_run(cache, 1, self.me)
                    })?;
                }
            }
        };
        let stamp_time = |claim: &mut Claim, i| self.stamp_time(claim, i);
        let bytes = self.ring.write_run(&mut claim, kind, &payloads[..count], stamp_time);
        self.ring.commit_run(&claim, bytes);
        self.published();
        self.ring.sample_high_water_shared(cache, &claim);
        Ok(count)
    }
}

/// The state in a slot that `producer_slot` returned.
pub(crate) fn shared<'a>(
    slot: &'a mut MutexGuard<'_, Slot<SingleProducer>>,
) -> &'a mut SingleProducer {
    match &mut **slot {
        Slot::Shared(state, _) => state,
        _ => unreachable!("producer_slot returns a shared slot"),
    }
}
