//! One producer: no claim, no CAS. Write, stamp READY, store `tail`.
//!
//! The producer owns `tail` and `intent`, holds the role's lock, and remembers what it last saw of
//! the consumers. Wait-free.
//!
//! | the producer dies… | and its successor sees |
//! |---|---|
//! | before the stamp | nothing; `intent` ahead of `tail`, which only a closer minds |
//! | between stamp and tail | READY of this lap at the tail: rolls over it, and over those behind it |
//! | after that, with the record already taken | a stamp of this lap in any state: rolls over it |

use super::producer_multi::HIGH_WATER_STEP;
use super::stamp::{Mark, State};
use super::{Claim, Refused, Ring};
use crate::shm::answer;
use crate::shm::layout::{Entry, ProducerLine, RING_OPEN};
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::light_barrier;

/// How many entries ahead the producer fetches for writing, so that it need not wait for a line that
/// the consumer still holds.
pub(super) const PREFETCH_AHEAD: u64 = 8;

/// What the holder of the producer's role remembers. Not shared.
#[derive(Debug)]
pub struct SingleProducer {
    /// The tail.
    pos: u64,
    /// The same, packed with its packets.
    word: u64,
    /// The stamp of a record of one unit at the tail: worked out before it is put.
    ready: u64,
    /// Past value of the reclaim limit.
    limit: u64,
    /// Below this position, a record of one unit needs no look at the consumers' words.
    plain_until: u64,
    /// The last look at the exact word found little room.
    scarce: bool,
    /// Past value of what consumers were given, for `maxsize` and the high-water mark.
    exposed: Mark,
    high_water: u64,
    /// Sample the high-water mark when the tail gets here.
    sample_at: u64,
    /// Before this position, `word` is had by adding, `ready` stays, and nothing is to be sampled.
    turn_at: u64,
}

/// How far a put by the short way got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlainPut {
    /// Nothing was put.
    Not,
    /// The record was put.
    Done,
    /// The record was put, and something rare is to be done behind it.
    Unfinished,
}

impl Ring {
    /// Takes over the producer's side; the caller holds the role's lock.
    ///
    /// # Errors
    /// [`Refused::Corrupt`] where the words make no sense.
    pub fn start_producer(&self) -> Result<SingleProducer, Refused> {
        let mut tail = self.load_tail().1;
        let exposed = self.exposed();
        let head = self.load_head().1;
        // Consumers follow stamps, not the tail: they may be ahead of what a dead producer stored.
        for mark in [exposed, head] {
            if mark.pos > tail.pos {
                tail = mark;
            }
        }
        if !crate::sync::mutant("no_roll_over") {
            for _ in 0..=self.entries {
                let (_, stamp) = self.load_stamp(tail.pos);
                if stamp.lap != self.bits.lap(tail.pos) || stamp.state == State::Free {
                    break;
                }
                tail = tail.plus(stamp.n, 1);
            }
        }
        let limit = self.reclaim_limit();
        if tail.pos.saturating_sub(limit) > self.entries || tail.pos > self.last_pos {
            return Err(Refused::Corrupt("a tail out of reach", tail.pos));
        }
        let line = &self.memory().header().producers;
        // SYNC tail: the stamps rolled over are visible to whoever sees this tail.
        line.tail.store(self.bits.pack_mark(tail), Release);
        crate::sync::crash_point("start_producer.between_tail_and_intent");
        // SYNC intent (pairs with `seal_single`).
        line.intent.store(tail.pos, Release);
        Ok(SingleProducer {
            pos: tail.pos,
            word: self.bits.pack_mark(tail),
            ready: self.bits.pack(State::Ready, tail.pos, 1, 0),
            limit,
            plain_until: self.plain_until(limit),
            scarce: false,
            exposed,
            high_water: line.high_water.load(Relaxed), // RELAXED: a statistic.
            sample_at: tail.pos,
            turn_at: tail.pos,
        })
    }

    /// Puts a record that fits one unit, in the data region or in its entry, where that needs no look at
    /// the consumers' words: nearly always. `false` says that nothing was put, and that
    /// [`Ring::claim_single`] has to look.
    #[inline(always)]
    pub fn put_plain<const IN_DATA: bool>(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payload: &[u8],
    ) -> bool {
        match self.begin_plain::<IN_DATA>(mine, kind, payload) {
            PlainPut::Not => return false,
            PlainPut::Done => {}
            PlainPut::Unfinished => self.finish_plain(mine, payload.len()),
        }
        true
    }

    /// As [`Ring::put_plain`], but what is rare behind the stamp is left to [`Ring::finish_plain`], which must
    /// be called next: so nothing is called here, and the caller has no registers to save.
    #[inline(always)]
    pub fn begin_plain<const IN_DATA: bool>(
        &self,
        mine: &mut SingleProducer,
        kind: u8,
        payload: &[u8],
    ) -> PlainPut {
        if !self.fits_unit::<IN_DATA>(payload.len()) {
            return PlainPut::Not;
        }
        // What stores to shared memory cannot change stays in registers.
        let line = &self.memory().header().producers;
        let Some(mut claim) = self.claim_unit(mine) else { return PlainPut::Not };
        let entry = self.memory().entry(claim.pos);
        self.write_unit::<IN_DATA>(&mut claim, entry, payload);
        Self::describe_in(entry, kind, payload.len(), !IN_DATA);
        crate::sync::crash_point("commit_single.before_stamp");
        Self::stamp(entry, mine.ready);
        answer::note_put(entry, 1, || self.payload_behind(&claim, payload.len(), !IN_DATA));
        self.prefetch_data_behind(&claim, payload.len(), !IN_DATA);
        if claim.pos + 1 >= mine.turn_at {
            return PlainPut::Unfinished;
        }
        self.step_tail(line, mine, (1, 1), payload.len() as u64);
        PlainPut::Done
    }

    /// Moves the tail over what [`Ring::begin_plain`] has stamped.
    #[cold]
    pub fn finish_plain(&self, mine: &mut SingleProducer, len: usize) {
        self.put_behind(mine, 1, 1, len as u64);
    }

    /// Claims room for a record of this length, if it fits one unit and needs no look at the consumers' words:
    /// nearly always. `None` says that nothing was claimed, and that [`Ring::claim_single`] has to look.
    #[inline(always)]
    pub fn claim_plain(&self, mine: &mut SingleProducer, len: usize) -> Option<Claim> {
        if len <= self.unit_payload { self.claim_unit(mine) } else { None }
    }

    #[inline(always)]
    fn claim_unit(&self, mine: &SingleProducer) -> Option<Claim> {
        let pos = mine.pos;
        if pos < mine.plain_until { self.announced(pos, 1).ok() } else { None }
    }

    /// Says that `n` units from `pos` are being written, unless the ring is closed: they are the caller's.
    #[inline(always)]
    fn announced(&self, pos: u64, n: u64) -> Result<Claim, Refused> {
        self.announce(pos, n)?;
        self.memory().prefetch_entry_for_write(pos + n + PREFETCH_AHEAD);
        Ok(Claim { pos, n })
    }

    /// Puts as many of these records, from the first on, as fit one unit each and find room without a look
    /// at the consumers' words; says how many. They are announced together and counted together, but
    /// each is stamped as soon as it is written, and may be taken at once. Whoever dies in between
    /// leaves those that are stamped, over which a successor rolls.
    #[inline]
    pub fn put_plain_many(&self, mine: &mut SingleProducer, kind: u8, payloads: &[&[u8]]) -> usize {
        let start = mine.pos;
        let room = mine.plain_until.saturating_sub(start).min(self.bits.max_units());
        let fits = |payload: &&&[u8]| payload.len() <= self.unit_payload;
        let count = payloads.iter().take(room as usize).take_while(fits).count();
        if count == 0 || self.announce(start, count as u64).is_err() {
            return 0;
        }
        let mut bytes = 0;
        for (pos, payload) in (start..).zip(&payloads[..count]) {
            let entry = self.write_unit_at(pos, kind, payload);
            crate::sync::crash_point("commit_single.before_stamp");
            Self::stamp(entry, self.bits.pack(State::Ready, pos, 1, 0));
            bytes += payload.len() as u64;
        }
        self.put_behind(mine, count as u64, count as u64, bytes);
        count
    }

    /// Writes a record that fits one unit, one of many, at a position that is the caller's; its stamp must
    /// follow. Fetches what will be written soon.
    #[inline(always)]
    pub(super) fn write_unit_at(&self, pos: u64, kind: u8, payload: &[u8]) -> &Entry {
        let entry = self.memory().entry_and_fetch(pos, 1 + PREFETCH_AHEAD);
        let (mut claim, inline) = (Claim { pos, n: 1 }, self.is_inline(payload.len()));
        // As `write`, which would check the length once more: 7 of 61 instructions.
        if inline {
            Self::fill(entry, payload);
        } else {
            self.write(&mut claim, false, payload);
        }
        Self::describe_in(entry, kind, payload.len(), inline);
        self.prefetch_data_behind(&claim, payload.len(), inline);
        entry
    }

    /// Where [`Ring::put_plain`] must stop, given a reclaim limit. Never begins where each record
    /// needs more than its entry: a look at what waits, or the time.
    fn plain_until(&self, limit: u64) -> u64 {
        let geometry = self.geometry();
        if geometry.maxsize != 0 || geometry.timestamps {
            return 0;
        }
        limit.saturating_add(self.entries).min(self.last_pos)
    }

    /// Claims `n` units for one record, or for `n` records of one unit.
    ///
    /// # Errors
    /// See [`Refused`].
    #[inline(always)]
    pub fn claim_single(
        &self,
        mine: &mut SingleProducer,
        n: u64,
        packets: u64,
    ) -> Result<Claim, Refused> {
        let pos = mine.pos;
        if (pos + n).wrapping_sub(mine.limit) > self.entries {
            self.refresh_limit(mine, n)?;
        }
        if self.geometry().maxsize != 0 {
            let tail = self.bits.unpack_mark(mine.word);
            if self.over_maxsize(mine.exposed, tail, packets) {
                mine.exposed = self.exposed();
                if self.over_maxsize(mine.exposed, tail, packets) {
                    self.refusal_when_closed()?;
                    return Err(Refused::Full);
                }
            }
        }
        if pos + n > self.last_pos {
            self.memory().header().shared.exhausted.store(1, Relaxed); // RELAXED: a statistic.
            return Err(Refused::Exhausted);
        }
        self.announced(pos, n)
    }

    /// Says that `n` units from `pos` are being written, unless the ring is closed.
    #[inline(always)]
    fn announce(&self, pos: u64, n: u64) -> Result<(), Refused> {
        let line = &self.memory().header().producers;
        // SYNC intent (pairs with `seal_single`, through the closer's process-wide barrier): either
        // we see `closed`, or the consumers see that we are writing.
        if crate::sync::mutant("intent_after_closed") {
            self.refusal_when_closed()?;
            line.intent.store(pos + n, Relaxed);
        } else {
            line.intent.store(pos + n, Relaxed);
            light_barrier();
            self.fence_where_needed();
            if let Err(refused) = self.refusal_when_closed() {
                line.intent.store(pos, Release);
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Says whether the next claim must look at the consumers' words although the last look found
    /// little room: then it pays to wait a moment, or both sides fight for one line at every packet.
    #[inline(always)]
    #[must_use]
    pub fn room_is_scarce(&self, mine: &SingleProducer, n: u64) -> bool {
        mine.scarce && (mine.pos + n).wrapping_sub(mine.limit) > self.entries
    }

    #[inline(always)]
    fn refusal_when_closed(&self) -> Result<(), Refused> {
        match self.closed_word() {
            RING_OPEN => Ok(()),
            word => Err(Self::refusal_of_closed(word)),
        }
    }

    /// Looks at the mirror of the head, then at the exact word.
    #[cold]
    fn refresh_limit(&self, mine: &mut SingleProducer, n: u64) -> Result<(), Refused> {
        let end = mine.pos + n;
        let order = crate::sync::weaken("hint_not_acquired", Acquire);
        // SYNC head-hint (pairs with the consumer's lazy store): carries the same edge as the head.
        mine.limit = mine.limit.max(self.memory().header().hint.head_hint.load(order));
        if end.saturating_sub(mine.limit) > self.entries {
            mine.limit = self.reclaim_limit();
            mine.scarce = end + self.entries / 8 > mine.limit.saturating_add(self.entries);
            if end.saturating_sub(mine.limit) > self.entries {
                self.refusal_when_closed()?;
                return Err(Refused::Full);
            }
        }
        if mine.limit > mine.pos {
            return Err(Refused::Corrupt("a reclaim limit ahead of the tail", mine.limit));
        }
        mine.plain_until = self.plain_until(mine.limit);
        Ok(())
    }

    /// Commits the record claimed last, whose payload is written.
    #[inline(always)]
    pub fn commit_single(
        &self,
        mine: &mut SingleProducer,
        claim: &Claim,
        kind: u8,
        len: usize,
        inline: bool,
    ) {
        let entry = self.memory().entry(claim.pos);
        Self::describe_in(entry, kind, len, inline);
        crate::sync::crash_point("commit_single.before_stamp");
        let ready = match claim.n {
            1 => mine.ready,
            n => self.bits.pack(State::Ready, claim.pos, n, 0),
        };
        Self::stamp(entry, ready);
        answer::note_put(entry, claim.n, || self.payload_behind(claim, len, inline));
        self.prefetch_data_behind(claim, len, inline);
        self.put_behind(mine, claim.n, 1, len as u64);
    }

    /// Moves the tail over what was just stamped, and counts it.
    #[inline(always)]
    fn put_behind(&self, mine: &mut SingleProducer, n: u64, packets: u64, bytes: u64) {
        let line = &self.memory().header().producers;
        if mine.pos + n < mine.turn_at {
            return self.step_tail(line, mine, (n, packets), bytes);
        }
        crate::sync::crash_point("commit_single.between_stamp_and_tail");
        self.turn_tail(mine, n, packets);
        Self::store_tail(line, mine, (n, packets), bytes);
    }

    /// As [`Ring::put_behind`], where what follows from the tail is had by adding.
    #[inline(always)]
    fn step_tail(
        &self,
        line: &ProducerLine,
        mine: &mut SingleProducer,
        (n, packets): (u64, u64),
        bytes: u64,
    ) {
        crate::sync::crash_point("commit_single.between_stamp_and_tail");
        mine.pos += n;
        mine.word = self.bits.step_mark(mine.word, n, packets);
        Self::store_tail(line, mine, (n, packets), bytes);
    }

    #[inline(always)]
    fn store_tail(
        line: &ProducerLine,
        mine: &SingleProducer,
        (n, packets): (u64, u64),
        bytes: u64,
    ) {
        // SYNC tail (pairs with `load_tail`).
        line.tail.store(mine.word, Release);
        // RELAXED: a statistic, which we alone write.
        line.bytes.store(line.bytes.load(Relaxed).wrapping_add(bytes), Relaxed);
        if n != packets {
            let extra = line.extra_units.load(Relaxed).wrapping_add(n - packets); // RELAXED: as above.
            line.extra_units.store(extra, Relaxed); // RELAXED: as above.
        }
    }

    /// Works out anew what follows from the tail, which moved so far, and samples the high-water mark if it is
    /// time.
    #[cold]
    fn turn_tail(&self, mine: &mut SingleProducer, n: u64, packets: u64) {
        let tail = self.bits.unpack_mark(mine.word).plus(n, packets);
        mine.pos = tail.pos;
        mine.word = self.bits.pack_mark(tail);
        mine.ready = self.bits.pack(State::Ready, tail.pos, 1, 0);
        if tail.pos >= mine.sample_at {
            self.sample_high_water(mine, tail);
        }
        mine.turn_at = self.bits.steps_end(tail).min(mine.sample_at);
    }

    /// Gives up the room claimed last: nothing was published, so nothing remains.
    pub fn abandon_single(&self, mine: &SingleProducer) {
        // SYNC intent: nothing is being written any more.
        self.memory().header().producers.intent.store(mine.pos, Release);
    }

    /// Compares what waits with the mark, and says when to look next: when as many records more
    /// have been put as it would take to beat it by `HIGH_WATER_STEP`.
    fn sample_high_water(&self, mine: &mut SingleProducer, tail: Mark) {
        mine.exposed = self.exposed();
        let waiting = self.bits.waiting(mine.exposed, tail);
        if waiting > mine.high_water {
            mine.high_water = waiting;
            // RELAXED: a statistic; we alone write it.
            self.memory().header().producers.high_water.store(waiting, Relaxed);
        }
        let more = (mine.high_water - waiting).saturating_add(HIGH_WATER_STEP);
        mine.sample_at = tail.pos.saturating_add(more);
    }
}
