//! Many producers: claim, write, stamp.
//!
//! The linearization point of a put is the CAS on `claims[tail]`: it names owner and length at once,
//! so that a survivor can always finish or skip what a dead producer began. `tail` follows, moved by
//! whoever comes first.
//!
//! | a producer dies… | and a survivor sees |
//! |---|---|
//! | before the CAS on the claim | nothing |
//! | between claim and tail | `claims[tail]` of this lap: helps the tail forward |
//! | between claim and stamp | a claim of a dead owner without a stamp: stamps it SKIPPED |
//! | inside a run | the run's first entry is stamped last: all of it is skipped |
//! | after the stamp | a committed record |

use super::producer_single::PREFETCH_AHEAD;
use super::stamp::{Mark, State};
use super::{Claim, RETRY_LIMIT, Refused, Ring};
use crate::shm::answer;
use crate::shm::layout::RING_OPEN;
use crate::sync::AtomicU64;
use crate::sync::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::sync::{mutant, weaken};

/// How far the high-water mark may stay below the truth. A look costs a line of the other side's.
pub(super) const HIGH_WATER_STEP: u64 = 64;

/// What a process remembers of the consumers' side, so that it need not look at their line on every
/// put. Belongs to one handle, or is shared by the threads of one process: the loads and stores of
/// it carry the edge that protects readers from being overwritten (SYNC frontier).
#[derive(Debug, Default)]
pub struct ProducerCache {
    limit: crossbeam_utils::CachePadded<AtomicU64>,
    exposed: AtomicU64,
    /// Not 0: the last look at the frontier found little room.
    scarce: AtomicU64,
    /// Sample the high-water mark when a claim ends beyond.
    sample_at: AtomicU64,
}

impl Ring {
    /// Puts a record that fits one unit, in the data region or in its entry, where that needs no look at
    /// the consumers' words, and nobody is faster: nearly always. `None` says that nothing was put, and
    /// that [`Ring::claim`] has to look.
    #[inline(always)]
    pub fn put_plain_multi<const IN_DATA: bool>(
        &self,
        cache: &ProducerCache,
        kind: u8,
        payload: &[u8],
        me: u16,
    ) -> Option<Claim> {
        let geometry = self.geometry();
        if !self.fits_unit::<IN_DATA>(payload.len()) || geometry.timestamps {
            return None;
        }
        let mut claim = self.claim_at_first_sight(cache, State::Claimed, 1, me)?;
        let entry = self.memory().entry(claim.pos);
        self.write_unit::<IN_DATA>(&mut claim, entry, payload);
        Self::describe_in(entry, kind, payload.len(), !IN_DATA);
        self.publish(&claim, payload.len());
        self.prefetch_data_behind(&claim, payload.len(), !IN_DATA);
        Some(claim)
    }

    /// Claims `n` units for one record.
    ///
    /// # Errors
    /// See [`Refused`]. `Full` is never spurious with respect to the words; the caller recovers
    /// what the dead hold and helps (`help_room`) before it believes it.
    #[inline]
    pub fn claim(&self, cache: &ProducerCache, n: u64, me: u16) -> Result<Claim, Refused> {
        self.claim_as(cache, State::Claimed, n, me)
    }

    /// Claims `n` entries for a run of records that fit one unit each.
    ///
    /// # Errors
    /// See [`Ring::claim`].
    #[inline]
    pub fn claim_run(&self, cache: &ProducerCache, n: u64, me: u16) -> Result<Claim, Refused> {
        self.claim_as(cache, State::Run, n, me)
    }

    #[inline]
    fn claim_as(
        &self,
        cache: &ProducerCache,
        state: State,
        n: u64,
        me: u16,
    ) -> Result<Claim, Refused> {
        match self.claim_at_first_sight(cache, state, n, me) {
            Some(claim) => Ok(claim),
            None => self.claim_slowly(cache, state, n, me),
        }
    }

    /// The common case, without the loop's burden: the tail is as we see it, the cached limit leaves room,
    /// and nobody is faster.
    #[inline(always)]
    fn claim_at_first_sight(
        &self,
        cache: &ProducerCache,
        state: State,
        n: u64,
        me: u16,
    ) -> Option<Claim> {
        if self.closed_word() != RING_OPEN || self.geometry().maxsize != 0 {
            return None;
        }
        let (tail_word, tail) = self.load_tail();
        let (claim_word, _) = self.load_claim(tail.pos);
        let end = tail.pos + n;
        // SYNC frontier: another thread of this process may have refreshed the cache.
        let limit = cache.limit.load(weaken("cache_not_acquired", Acquire));
        let room = end.saturating_sub(limit) <= self.entries && end <= self.last_pos;
        if !room || !self.bits.is_older(claim_word, tail.pos) {
            return None;
        }
        self.claim_at((tail_word, tail), claim_word, state, n, me)
    }

    /// Claims the place at the tail, which held a claim of an older lap, unless somebody is faster.
    #[inline(always)]
    fn claim_at(
        &self,
        (tail_word, tail): (u64, Mark),
        older: u64,
        state: State,
        n: u64,
        me: u16,
    ) -> Option<Claim> {
        let mine = self.bits.pack(state, tail.pos, n, me);
        let slot = self.memory().claim(tail.pos);
        if mutant("claim_without_cas") {
            slot.store(mine, Release);
            self.move_tail(tail_word, tail.plus(n, packets_of(state, n)));
            return Some(Claim { pos: tail.pos, n });
        }
        self.memory().prefetch_entry_for_write(tail.pos + n + PREFETCH_AHEAD);
        // SYNC claimed (pairs with `load_claim`). From an older lap only: the place is ours.
        let order = weaken("claim_relaxed", AcqRel);
        slot.compare_exchange(older, mine, order, Relaxed).ok()?;
        crate::sync::crash_point("claim.between_claim_and_tail");
        self.move_tail(tail_word, tail.plus(n, packets_of(state, n)));
        crate::sync::crash_point("claim.after_tail");
        Some(Claim { pos: tail.pos, n })
    }

    #[inline(never)]
    fn claim_slowly(
        &self,
        cache: &ProducerCache,
        state: State,
        n: u64,
        me: u16,
    ) -> Result<Claim, Refused> {
        let closed = self.closed_word();
        if closed != RING_OPEN {
            return Err(Self::refusal_of_closed(closed));
        }
        for attempt in 0..RETRY_LIMIT {
            let (tail_word, tail) = self.load_tail();
            let (claim_word, claim) = self.load_claim(tail.pos);
            let lap = self.bits.lap(tail.pos);
            if claim.lap == lap {
                if claim.state == State::Closed {
                    if mutant("help_past_seal") {
                        self.move_tail(tail_word, tail.plus(claim.n, 1));
                        continue;
                    }
                    return Err(Refused::Closed);
                }
                // Somebody claimed this place and has not moved the tail yet: help.
                let packets = packets_of(claim.state, claim.n);
                let units = if mutant("help_claim_short") { 1 } else { claim.n };
                crate::sync::crash_point("help.before_tail");
                self.move_tail(tail_word, tail.plus(units, packets));
                continue;
            }
            if claim.lap > lap {
                // The tail we loaded is old. If it is not, no ringway wrote this.
                if self.load_tail().0 == tail_word && self.load_claim(tail.pos).1.lap > lap {
                    return Err(Refused::Corrupt("a claim ahead of the tail", tail.pos));
                }
                continue;
            }
            if tail.pos + n > self.last_pos {
                self.memory().header().shared.exhausted.store(1, Relaxed); // RELAXED: a statistic.
                return Err(Refused::Exhausted);
            }
            if attempt == 0 || !mutant("room_checked_once") {
                self.check_room(cache, tail, n, packets_of(state, n))?;
            }
            let claimed = self.claim_at((tail_word, tail), claim_word, state, n, me);
            if let Some(claim) = claimed {
                return Ok(claim);
            }
        }
        Err(Refused::Corrupt("no progress while claiming", self.load_tail().1.pos))
    }

    /// Says whether the next claim must look at the frontier although the last look found little
    /// room: see `SingleProducer`.
    #[inline(always)]
    #[must_use]
    pub fn room_is_scarce_shared(&self, cache: &ProducerCache, n: u64) -> bool {
        // RELAXED, both: advice.
        cache.scarce.load(Relaxed) != 0
            && (self.load_tail().1.pos + n).saturating_sub(cache.limit.load(Relaxed)) > self.entries
    }

    /// Checks space and `maxsize` against the very tail that is about to be claimed.
    #[inline(always)]
    fn check_room(
        &self,
        cache: &ProducerCache,
        tail: Mark,
        n: u64,
        packets: u64,
    ) -> Result<(), Refused> {
        let end = tail.pos + n;
        // SYNC frontier: another thread of this process may have refreshed the cache.
        if end.saturating_sub(cache.limit.load(weaken("cache_not_acquired", Acquire)))
            > self.entries
        {
            let limit = self.reclaim_limit();
            let scarce = end + self.entries / 8 > limit.saturating_add(self.entries);
            cache.scarce.store(scarce.into(), Relaxed); // RELAXED: advice.
            // SYNC frontier, passed on to our other threads.
            cache.limit.store(limit, weaken("cache_relaxed", Release));
            if end.saturating_sub(limit) > self.entries {
                return Err(Refused::Full);
            }
        }
        let maxsize = self.geometry().maxsize;
        if maxsize != 0 {
            // RELAXED: an old value makes us look again, never claim too much: it only grows.
            let known = self.bits.unpack_mark(cache.exposed.load(Relaxed));
            if self.over_maxsize(known, tail, packets) {
                let exposed = self.exposed();
                // RELAXED: as above.
                cache.exposed.store(self.bits.pack_mark(exposed), Relaxed);
                if self.over_maxsize(exposed, tail, packets) {
                    return Err(Refused::Full);
                }
            }
        }
        Ok(())
    }

    /// Says whether `packets` more would be too many; also when `exposed` is too old to count with.
    #[inline(always)]
    pub(super) fn over_maxsize(&self, exposed: Mark, tail: Mark, packets: u64) -> bool {
        tail.pos.saturating_sub(exposed.pos) > self.entries
            || self.bits.waiting(exposed, tail) + packets > self.geometry().maxsize
    }

    /// Moves the tail over a claim, unless somebody already did.
    #[inline(always)]
    pub(super) fn move_tail(&self, from: u64, to: Mark) {
        let to = self.bits.pack_mark(to);
        // SYNC tail (pairs with `load_tail`). Failure means that somebody helped.
        let _ = self.memory().header().producers.tail.compare_exchange(
            from,
            to,
            weaken("tail_cas_relaxed", AcqRel),
            Relaxed,
        );
    }

    /// Commits a claimed record whose payload is written.
    #[inline]
    pub fn commit(&self, claim: &Claim, kind: u8, len: usize, inline: bool) {
        self.describe(claim.pos, kind, len, inline);
        self.publish(claim, len);
        self.prefetch_data_behind(claim, len, inline);
    }

    /// Stamps a described record of `len` bytes, and counts it.
    #[inline(always)]
    pub(super) fn publish(&self, claim: &Claim, len: usize) {
        crate::sync::crash_point("commit.before_stamp");
        self.stamp_ready(claim.pos, claim.n);
        answer::note_put(self.memory().entry(claim.pos), claim.n, || {
            self.payload_behind(claim, len, self.is_inline(len))
        });
        crate::sync::crash_point("commit.after_stamp");
        self.count_put(claim.n - 1, len as u64);
    }

    /// Samples the high-water mark, now and then: at least whenever 64 more packets than the mark can
    /// be waiting.
    #[inline(always)]
    pub fn sample_high_water_shared(&self, cache: &ProducerCache, claim: &Claim) {
        // RELAXED: a statistic.
        if claim.pos + claim.n > cache.sample_at.load(Relaxed) {
            self.sample_high_water_now(cache);
        }
    }

    #[cold]
    fn sample_high_water_now(&self, cache: &ProducerCache) {
        let line = &self.memory().header().producers;
        let waiting = self.waiting();
        // RELAXED: a statistic.
        let high = line.high_water.fetch_max(waiting, Relaxed).max(waiting);
        let next =
            self.load_tail().1.pos.saturating_add(high - waiting).saturating_add(HIGH_WATER_STEP);
        // RELAXED: as above.
        cache.sample_at.store(next, Relaxed);
    }

    /// Writes the records of a claimed run, each of which fits one unit, and stamps all but the first. `finish`
    /// is called for each before its stamp, with its number. Says how many bytes there were; the run is
    /// published by [`Ring::commit_run`].
    #[inline(never)]
    pub fn write_run(
        &self,
        claim: &mut Claim,
        kind: u8,
        payloads: &[&[u8]],
        finish: impl Fn(&mut Claim, u64),
    ) -> u64 {
        debug_assert_eq!(claim.n, payloads.len() as u64);
        let mut bytes = 0;
        for (i, payload) in (0..claim.n).zip(payloads) {
            let pos = claim.pos + i;
            let entry = self.write_unit_at(pos, kind, payload);
            finish(claim, i);
            if i != 0 || mutant("run_first_to_last") {
                Self::stamp(entry, self.bits.pack(State::Ready, pos, 1, 0));
                crate::sync::crash_point("run.between_stamps");
            }
            bytes += payload.len() as u64;
        }
        bytes
    }

    /// Publishes a run that was written, by the stamp of its first record: no consumer gets past it before
    /// the others are there, and a run whose producer dies on the way is skipped as a whole.
    #[inline]
    pub fn commit_run(&self, claim: &Claim, bytes: u64) {
        crate::sync::crash_point("commit.before_stamp");
        self.stamp_ready(claim.pos, 1);
        crate::sync::crash_point("commit.after_stamp");
        self.count_put(0, bytes);
    }

    /// Gives up a claim: consumers pass over it.
    pub fn abandon(&self, claim: &Claim, me: u16) {
        let word = self.bits.pack(State::Skipped, claim.pos, claim.n, me);
        // SYNC released (pairs with `load_stamp`): our writes to the units are over.
        self.memory().entry(claim.pos).stamp.store(word, Release);
        let packets = self.packets_of_skipped(claim.pos, claim.n);
        // RELAXED: statistics.
        self.memory().header().shared.skipped.fetch_add(packets, Relaxed);
        self.count_put(claim.n.saturating_sub(packets), 0);
    }

    #[inline(always)]
    fn count_put(&self, extra_units: u64, bytes: u64) {
        let line = &self.memory().header().producers;
        // RELAXED: statistics, after the record is visible: they delay nobody.
        line.bytes.fetch_add(bytes, Relaxed);
        if extra_units != 0 {
            // RELAXED: as above.
            line.extra_units.fetch_add(extra_units, Relaxed);
        }
    }
}

/// Packets of a claim of `n` units: each of a run is one.
#[inline(always)]
fn packets_of(state: State, n: u64) -> u64 {
    if state == State::Run { n } else { 1 }
}
