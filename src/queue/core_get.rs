//! Getting: leases, acknowledgements, and giving back.

use std::sync::MutexGuard;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};

use crate::error::{GetError, OpenError};
use crate::queue::core::Core;
use crate::queue::roles::{Role, RoleGuard, Slot};
use crate::queue::{RecordInfo, Wait};
use crate::shm::ring::{Missing, Ring, SingleConsumer, Taken};
use crate::shm::storage::Side;

impl Core {
    /// Takes a record through the shared handle. On a single-consumer ring the caller must wrap it
    /// into a [`RingLease`](crate::queue::ring_lease::RingLease) at once: it is counted.
    #[inline(always)]
    pub(crate) fn take_record(&self, wait: Wait) -> Result<Taken, GetError> {
        let taken = match self.ring.geometry().consumers {
            Side::Multi => self.take_multi(wait)?,
            Side::Single => self.take_shared(wait)?,
        };
        self.room_made_by_taking();
        Ok(taken)
    }

    fn take_shared(&self, wait: Wait) -> Result<Taken, GetError> {
        self.take_in_slot(wait, Self::consumer_slot)
    }

    /// Takes a record as the owned consumer whose state is parked.
    pub(crate) fn take_parked(&self, wait: Wait) -> Result<Taken, GetError> {
        self.take_in_slot(wait, |core| Ok(core.lock_consumer()))
    }

    /// Takes what else lies ready, up to `max` records, through the shared handle; appends it to `out`.
    pub(crate) fn take_more_shared(&self, max: usize, out: &mut Vec<Taken>) {
        if let Ok(slot) = self.consumer_slot() {
            self.take_more(slot, max, out);
        }
    }

    /// As [`Core::take_more_shared`], as the owned consumer whose state is parked.
    pub(crate) fn take_more_parked(&self, max: usize, out: &mut Vec<Taken>) {
        self.take_more(self.lock_consumer(), max, out);
    }

    /// Leases, which are counted: the state is that of the slot. What is wrong with a record is said when it
    /// is the first.
    fn take_more(
        &self,
        mut slot: MutexGuard<'_, Slot<SingleConsumer>>,
        max: usize,
        out: &mut Vec<Taken>,
    ) {
        let state = slot_state(&mut slot);
        let start = out.len();
        while out.len() - start < max {
            if self.ring.take_ready_single(state, max - (out.len() - start), out) != 0 {
                continue;
            }
            match self.next_of(state, |state| self.ring.take_sound_single(state)) {
                Ok(taken) => out.push(taken),
                Err(_) => break,
            }
        }
        // RELAXED: under the slot's lock.
        self.leases.fetch_add(out.len() - start, Relaxed);
        drop(slot);
        self.room_made_by_taking();
    }

    /// Parks the state of an owned consumer that has just taken a record to lease it.
    pub(crate) fn park(&self, state: SingleConsumer) {
        let mut slot = self.lock_consumer();
        // RELAXED: under the slot's lock.
        self.leases.fetch_add(1, Relaxed);
        *slot = Slot::Parked(state);
    }

    /// Takes the parked state back, unless leases are out.
    pub(crate) fn unpark(&self) -> Option<SingleConsumer> {
        if !self.is_here() || self.open_leases() != 0 {
            return None;
        }
        let mut slot = self.lock_consumer();
        match slot.replace(Slot::Owned) {
            Slot::Parked(state) => Some(state),
            other => {
                *slot = other;
                None
            }
        }
    }

    fn take_in_slot<'a>(
        &'a self,
        wait: Wait,
        lock: impl Fn(&'a Self) -> Result<MutexGuard<'a, Slot<SingleConsumer>>, GetError>,
    ) -> Result<Taken, GetError> {
        self.check_get()?;
        let mut lost = None;
        let attempt_in = |lost: &mut Option<GetError>| {
            let mut slot = match lock(self) {
                Ok(slot) => slot,
                Err(error) => {
                    *lost = Some(error);
                    return Err(Missing::Destroyed);
                }
            };
            let taken = self.next_single(slot_state(&mut slot))?;
            // RELAXED: under the slot's lock.
            self.leases.fetch_add(1, Relaxed);
            Ok(taken)
        };
        let first = attempt_in(&mut lost);
        if let Some(error) = lost.take() {
            return Err(error);
        }
        let result = match first {
            Ok(taken) => Ok(taken),
            Err(missing) => {
                if wait != Wait::No && missing == Missing::Empty {
                    self.spin.for_record(|| match lock(self) {
                        Ok(mut slot) => {
                            self.ring.stamped_at_cursor(slot_state(&mut slot)).then_some(())
                        }
                        Err(_) => Some(()),
                    });
                }
                if let Ok(mut slot) = lock(self) {
                    self.ring.publish_hint(slot_state(&mut slot));
                }
                self.wait_for_record(missing, wait, || attempt_in(&mut lost))
            }
        };
        // A role that was lost shows as `Destroyed`; but what was taken is taken.
        match (result, lost) {
            (Err(_), Some(error)) => Err(error),
            (result, _) => result,
        }
    }

    #[inline(always)]
    pub(crate) fn check_get(&self) -> Result<(), GetError> {
        if !self.is_here() {
            return Err(GetError::Forked);
        }
        if self.ring.is_destroyed() {
            return Err(GetError::Destroyed);
        }
        Ok(())
    }

    /// Takes, copies and acknowledges what lies ready for the single consumer, if that needs nothing
    /// else.
    #[inline(always)]
    pub(crate) fn get_plain<const IN_DATA: bool>(
        &self,
        mine: &mut SingleConsumer,
        out: &mut Vec<u8>,
    ) -> Option<RecordInfo> {
        self.get_at_once(|ring| ring.get_plain::<IN_DATA>(mine, out))
    }

    /// As [`Core::get_plain`], wherever the payload lies, and however many units it takes.
    #[inline(always)]
    pub(crate) fn get_long(
        &self,
        mine: &mut SingleConsumer,
        out: &mut Vec<u8>,
    ) -> Option<RecordInfo> {
        self.get_at_once(|ring| ring.get_long(mine, out))
    }

    /// Takes, copies and acknowledges what lies ready for many consumers, if that needs nothing else.
    #[inline(always)]
    pub(crate) fn get_plain_multi<const IN_DATA: bool>(
        &self,
        out: &mut Vec<u8>,
    ) -> Option<RecordInfo> {
        // Not by `get_at_once`: what it is given is too long to be inlined, and a get took 195 instructions, not 171.
        if !self.is_here() || self.ring.is_destroyed() || self.ring.hinted() {
            return None;
        }
        let alone = |pos| !self.spin.is_stream(pos);
        let taken = self.ring.get_plain_multi::<IN_DATA>(self.me, alone, out)?;
        self.probe_now_and_then(taken.pos, taken.n);
        let info = RecordInfo::new(&taken, self.ring.timestamp(&taken));
        self.room_made();
        Some(info)
    }

    /// Has the single consumer's next record taken and acknowledged, says what it was, and wakes who waits for
    /// its room.
    #[inline(always)]
    fn get_at_once(&self, get: impl FnOnce(&Ring) -> Option<Taken>) -> Option<RecordInfo> {
        if !self.is_here() || self.ring.is_destroyed() {
            return None;
        }
        let taken = get(&self.ring)?;
        let info = RecordInfo::new(&taken, self.ring.timestamp(&taken));
        self.room_made();
        Some(info)
    }

    /// Spins for something at the head where the caller may wait for it; says whether there is. What lies
    /// there already, and was left by a short way for its length, is not waited for.
    #[inline(always)]
    pub(crate) fn spin_at_head(&self, wait: Wait) -> bool {
        wait != Wait::No && (self.ring.stamped_at_head() || self.spin_for_head())
    }

    #[inline(never)]
    fn spin_for_head(&self) -> bool {
        if !self.is_here() {
            return false;
        }
        self.spin.pace_at(self.ring.head_pos());
        self.spin.for_record(|| self.ring.stamped_at_head().then_some(())).is_some()
    }

    /// Takes, copies and acknowledges a record of a many-consumer ring, for a caller that has spun.
    pub(crate) fn get_multi(&self, out: &mut Vec<u8>, wait: Wait) -> Result<RecordInfo, GetError> {
        out.clear();
        let taken = self.take_multi_slowly(wait)?;
        self.room_made_by_taking();
        self.ring.read(&taken, out);
        let info = RecordInfo::new(&taken, self.ring.timestamp(&taken));
        self.release(&taken);
        self.room_made();
        Ok(info)
    }

    /// Acknowledges a record of a many-consumer ring that was just taken.
    #[inline(always)]
    pub(crate) fn release(&self, taken: &Taken) {
        if self.spin.is_stream(taken.pos) {
            self.ring.release(taken, self.me);
        } else {
            self.ring.release_alone(taken, self.me);
        }
    }

    /// Takes a record as the single consumer.
    #[inline(always)]
    pub(crate) fn take_single(
        &self,
        mine: &mut SingleConsumer,
        wait: Wait,
    ) -> Result<Taken, GetError> {
        match self.soon_single(mine, wait, |ring, mine| ring.take_plain(mine)) {
            Some(taken) => Ok(taken),
            None => self.take_single_slowly(mine, wait),
        }
    }

    /// Exposes a record to the single consumer, if that needs nothing but spinning.
    #[inline(always)]
    pub(crate) fn expose_single(&self, mine: &mut SingleConsumer, wait: Wait) -> Option<Taken> {
        self.soon_single(mine, wait, |ring, mine| Some(ring.expose_plain(mine)?.1))
    }

    /// What lies ready for the single consumer, or does after spinning, if that needs nothing else.
    #[inline(always)]
    fn soon_single(
        &self,
        mine: &mut SingleConsumer,
        wait: Wait,
        take: impl Fn(&Ring, &mut SingleConsumer) -> Option<Taken>,
    ) -> Option<Taken> {
        let take = |mine: &mut SingleConsumer| {
            if self.check_get().is_ok() { take(&self.ring, mine) } else { None }
        };
        if let Some(taken) = take(mine) {
            return Some(taken);
        }
        if self.spin_for_next(mine, wait) { take(mine) } else { None }
    }

    /// Spins for the single consumer's next record where the caller may wait for it; says whether
    /// there is something to look at. What lies there already, and was left by a short way for its length,
    /// is not waited for.
    #[inline(never)]
    pub(crate) fn spin_for_next(&self, mine: &mut SingleConsumer, wait: Wait) -> bool {
        if wait == Wait::No || !self.is_here() {
            return false;
        }
        if self.ring.stamped_at_cursor(mine) {
            return true;
        }
        if !self.spin.pace_at(mine.next_pos()) {
            mine.comes_alone();
        }
        self.spin.for_record(|| self.ring.stamped_at_cursor(mine).then_some(())).is_some()
    }

    /// As [`Core::take_single`], for a caller that has spun: sleeps where there is nothing.
    #[inline(never)]
    pub(crate) fn take_single_slowly(
        &self,
        mine: &mut SingleConsumer,
        wait: Wait,
    ) -> Result<Taken, GetError> {
        self.check_get()?;
        let missing = match self.next_single(mine) {
            Ok(taken) => return Ok(taken),
            Err(missing) => missing,
        };
        self.ring.publish_hint(mine);
        self.wait_for_record(missing, wait, || self.next_single(mine))
    }

    /// Takes the next record that is no dead letter.
    #[inline(always)]
    pub(crate) fn next_single(&self, mine: &mut SingleConsumer) -> Result<Taken, Missing> {
        self.next_of(mine, |mine| self.ring.take_single(mine))
    }

    #[inline(always)]
    fn next_of(
        &self,
        mine: &mut SingleConsumer,
        take: impl Fn(&mut SingleConsumer) -> Result<Taken, Missing>,
    ) -> Result<Taken, Missing> {
        loop {
            match take(mine) {
                Ok(taken) if !self.is_dead_letter(&taken) => return Ok(taken),
                Ok(taken) => self.end_dead_letter_single(mine, taken),
                Err(missing) => {
                    if mine.keeps_dead_letters() {
                        self.retry_kept(mine);
                    }
                    return Err(missing);
                }
            }
        }
    }

    /// Locks the consumer's slot with the state in it, taking the role if need be.
    fn consumer_slot(&self) -> Result<MutexGuard<'_, Slot<SingleConsumer>>, GetError> {
        let mut slot = self.lock_consumer();
        match &*slot {
            Slot::Shared(..) => Ok(slot),
            Slot::Vacant => {
                let (state, guard) = self.become_consumer()?;
                *slot = Slot::Shared(state, guard);
                Ok(slot)
            }
            Slot::Orphaned(..) => {
                if let Slot::Orphaned(state, guard) = slot.replace(Slot::Vacant) {
                    *slot = Slot::Shared(state, guard);
                }
                Ok(slot)
            }
            _ => Err(GetError::RoleTaken { pid: std::process::id() }),
        }
    }

    /// Takes the consumer's role and starts where the last one stopped.
    pub(crate) fn become_consumer(&self) -> Result<(SingleConsumer, RoleGuard), GetError> {
        let guard = self.home.claim_role(Role::Consumer).map_err(|error| match error {
            OpenError::RoleTaken { pid, .. } => GetError::RoleTaken { pid },
            OpenError::Destroyed { .. } => GetError::Destroyed,
            OpenError::Forked { .. } => GetError::Forked,
            other => other.into(),
        })?;
        match self.ring.start_consumer() {
            Ok(state) => Ok((state, guard)),
            Err(Missing::Corrupt(what, pos)) => Err(GetError::Corrupt { what, pos }),
            Err(_) => Err(GetError::Destroyed),
        }
    }

    /// Ends a lease for good.
    #[inline]
    pub(crate) fn acknowledge(&self, taken: Taken) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.release(&taken, self.me),
            Side::Single => self.end_single(|core, state| {
                core.ring.ack_single(state, &taken);
            }),
        }
        self.room_made();
    }

    /// Acknowledges a record that a handle holds while the state is parked here.
    pub(crate) fn acknowledge_parked(&self, taken: &Taken) {
        if let Slot::Parked(state) = &mut *self.lock_consumer() {
            self.ring.ack_single(state, taken);
        }
    }

    /// Ends a lease by giving the record back.
    pub(crate) fn give_back(&self, taken: &Taken) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.give_back(taken),
            Side::Single => self.end_single(|core, state| {
                core.ring.give_back_single(state, taken.pos);
            }),
        }
        self.published();
    }

    fn end_single(&self, end: impl FnOnce(&Self, &mut SingleConsumer)) {
        let mut slot = self.lock_consumer();
        match &mut *slot {
            Slot::Shared(state, _) | Slot::Parked(state) | Slot::Orphaned(state, _) => {
                end(self, state);
            }
            // The role went with a destroyed queue: nothing is left to end.
            Slot::Vacant | Slot::Owned | Slot::Lent(_) => {}
        }
        // SYNC leases (pairs with `Consumer::local`): what this lease did to the state is visible
        // to the owner that takes it back.
        let last = self.leases.fetch_sub(1, AcqRel) == 1;
        if last && matches!(&*slot, Slot::Orphaned(..)) {
            *slot = Slot::Vacant;
        }
    }

    /// Leases of a single-consumer ring that have not ended.
    #[inline(always)]
    pub(crate) fn open_leases(&self) -> usize {
        self.leases.load(Acquire) // SYNC leases.
    }
}

/// The state in a slot that `consumer_slot` returned.
fn slot_state<'a>(slot: &'a mut MutexGuard<'_, Slot<SingleConsumer>>) -> &'a mut SingleConsumer {
    match &mut **slot {
        Slot::Shared(state, _) | Slot::Parked(state) | Slot::Orphaned(state, _) => state,
        _ => unreachable!("consumer_slot returns a slot with a state"),
    }
}
