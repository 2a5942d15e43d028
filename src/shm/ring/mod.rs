//! The ring's algorithm, over storage: no system call, no mapping, no waiting.
//!
//! | file | what |
//! |---|---|
//! | `stamp.rs` | bit packing of stamps, claims and marks |
//! | `producer_single.rs` | one producer: write, stamp, store `tail` |
//! | `producer_multi.rs` | many producers: claim, write, stamp |
//! | `consumer_single.rs` | one consumer: `peek`, expose |
//! | `consumer_single/plain.rs` | one consumer: the short ways |
//! | `consumer_single/run.rs` | one consumer: records exposed at once and read in place |
//! | `consumer_single/acknowledge.rs` | one consumer: acknowledge, give back |
//! | `consumer_multi.rs` | many consumers: take by CAS, release |
//! | `run.rs` | many consumers: records taken at once; what both kinds do to runs |
//! | `adopt.rs` | many consumers: give back, adopt what the dead hold |
//! | `frontier.rs` | reclaiming, helping, skipping what the dead left |
//! | `close.rs` | the seal |
//! | `dead_letter.rs` | records delivered too often, and where they come from |
//! | `occupancy.rs` | how full it is |
//! | `stats.rs` | the counters |
//! | `payload.rs` | the bytes of an owned record |
//!
//! Any producer side goes with any consumer side. What both sides agree on: the entry's *stamp* says
//! that the record is there; the *take word*, where there are many consumers, who has it; `tail` bounds
//! what is claimed, the *reclaim limit* (`head` of a single consumer, `frontier` of many) what may be
//! overwritten. `docs/protocol.md` has the states, the
//! sync points by name, and what a survivor sees after a death between any two lines.

mod adopt;
mod close;
mod consumer_multi;
mod consumer_single;
#[cfg(not(loom))]
mod dead_letter;
mod frontier;
mod occupancy;
mod payload;
mod producer_multi;
mod producer_single;
mod read_ahead;
mod run;
pub mod stamp;
mod stats;

pub use consumer_single::SingleConsumer;
#[cfg(not(loom))]
pub use dead_letter::History;
pub use producer_multi::ProducerCache;
pub use producer_single::{PlainPut, SingleProducer};
pub use run::Run;
pub use stats::RingStats;

use crate::shm::layout::{
    Entry, FLAG_IN_DATA, FLAG_KIND, FLAG_REDELIVERIES, REDELIVERIES_SHIFT, RING_DESTROYED,
    RING_OPEN,
};
use crate::shm::storage::{Geometry, RingMemory, Side};
use crate::sync::Ordering::{Acquire, Relaxed, Release};
use crate::sync::weaken;
use stamp::{Bits, Mark, Stamp, State};

/// Retries after which an operation gives up with `Corrupt`: every retry means that somebody else
/// made progress, so honest peers never come near it, and a hostile one cannot make us spin for
/// ever.
const RETRY_LIMIT: u32 = 1_000_000;

/// A ring: its memory, and the algorithm. Stateless: what a side remembers lives in
/// [`SingleProducer`], [`SingleConsumer`] and [`ProducerCache`].
#[derive(Debug)]
pub struct Ring {
    memory: RingMemory,
    bits: Bits,
    // Derived from the geometry once, for the fast paths.
    entries: u64,
    last_pos: u64,
    /// Many consumers help the frontier once every so many units, a power of two.
    frontier_step: u64,
    inline_bytes: usize,
    /// Longest payload of a record of one unit.
    unit_payload: usize,
    /// Longest record whose lines are handed back.
    hand_back_max: usize,
    /// How far a consumer reads ahead.
    units_ahead: u64,
    max_payload: usize,
    /// What events call it; empty where nobody said.
    label: Box<str>,
}

/// Room for one record or a run, owned by the caller until committed or abandoned.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Claim {
    /// Position of the first entry.
    pub pos: u64,
    /// Units of the record, or records of the run.
    pub n: u64,
}

/// A record owned by the caller until released or given back. The numbers are checked.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub struct Taken {
    /// Position of its entry.
    pub pos: u64,
    /// Its units.
    pub n: u64,
    /// Payload length in bytes, within the record's bounds.
    len: u32,
    /// The entry's flags, as they were when the record was taken.
    flags: u32,
}

impl Taken {
    /// Reads a description, once; it is still to be checked.
    #[inline(always)]
    fn read(entry: &Entry, pos: u64, n: u64) -> Self {
        // RELAXED, both: ordered by the stamp's Acquire (SYNC committed).
        let (len, flags) = (entry.len.load(Relaxed), entry.flags.load(Relaxed));
        Self { pos, n, len, flags }
    }

    /// Payload length in bytes, within the record's bounds.
    #[inline(always)]
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a record of no bytes is a record")]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Says whether the payload lies in the entry itself.
    #[inline(always)]
    #[must_use]
    pub fn is_inline(&self) -> bool {
        self.flags & FLAG_IN_DATA == 0
    }

    /// Record kind, as the producer gave it.
    #[inline(always)]
    #[must_use]
    pub fn kind(&self) -> u8 {
        (self.flags & FLAG_KIND) as u8
    }

    /// Redeliveries begun, this one included.
    #[inline(always)]
    #[must_use]
    pub fn redeliveries(&self) -> u32 {
        self.flags >> REDELIVERIES_SHIFT
    }
}

/// Why room was not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No room, or `maxsize` packets wait.
    Full,
    /// Closed.
    Closed,
    /// Destroyed.
    Destroyed,
    /// The positions are used up.
    Exhausted,
    /// The ring holds values that no ringway writes.
    Corrupt(&'static str, u64),
}

/// Why no record was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing is committed, and nothing is being written.
    Empty,
    /// The record at this position is claimed by `owner`, and not committed yet.
    Pending {
        /// Position of the record.
        pos: u64,
        /// The participant that claimed it; 0 for a single producer.
        owner: u16,
    },
    /// Closed: nothing follows. Others may still hold records.
    Sealed,
    /// Destroyed.
    Destroyed,
    /// A single producer may be in the middle of a put that began before the close; or the closer
    /// died before its barrier. `close.rs` says what to do.
    Closing,
    /// The ring, or this record (which is then released), holds values that no ringway writes.
    Corrupt(&'static str, u64),
}

impl Ring {
    /// Makes a ring of its memory.
    #[must_use]
    pub fn new(memory: RingMemory) -> Self {
        let geometry = memory.geometry();
        let bits = geometry.bits();
        Self {
            bits,
            entries: bits.entries(),
            last_pos: bits.last_pos(),
            frontier_step: (bits.entries() / 8).min(16),
            inline_bytes: geometry.inline_bytes(),
            unit_payload: (geometry.unit_bytes as usize)
                .min(geometry.max_payload())
                .max(geometry.inline_bytes()),
            max_payload: geometry.max_payload(),
            hand_back_max: payload::hand_back_max(),
            units_ahead: read_ahead::units_ahead(geometry.unit_bytes),
            memory,
            label: Box::default(),
        }
    }

    /// Says what events call it: `SEGMENT:RING`.
    #[must_use]
    pub fn labelled(self, label: impl Into<Box<str>>) -> Self {
        Self { label: label.into(), ..self }
    }

    /// What events call it; empty where nobody said.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Longest payload, in bytes.
    #[inline(always)]
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.max_payload
    }

    /// Says whether a payload of this length lives in its entry.
    #[inline(always)]
    #[must_use]
    pub fn is_inline(&self, len: usize) -> bool {
        len <= self.inline_bytes
    }

    /// Units that a payload of this length takes.
    #[inline(always)]
    #[must_use]
    pub fn units(&self, len: usize) -> u64 {
        if self.is_inline(len) { 1 } else { self.geometry().units(len) }
    }

    /// The memory.
    #[must_use]
    pub fn memory(&self) -> &RingMemory {
        &self.memory
    }

    /// The shape.
    #[inline(always)]
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        self.memory.geometry()
    }

    #[inline(always)]
    fn load_stamp(&self, pos: u64) -> (u64, Stamp) {
        // SYNC committed, released (pairs with the stores of READY, and of SKIPPED and a single
        // consumer's RELEASED): the payload behind READY is visible to the taker; all reads before
        // RELEASED are over.
        let word = self.memory.entry(pos).stamp.load(weaken("stamp_not_acquired", Acquire));
        (word, self.bits.unpack(word))
    }

    #[inline(always)]
    fn load_claim(&self, pos: u64) -> (u64, Stamp) {
        // SYNC claimed (pairs with the CAS that claims): who sees the claim sees what led to it.
        let word = self.memory.claim(pos).load(weaken("claim_not_acquired", Acquire));
        (word, self.bits.unpack(word))
    }

    #[inline(always)]
    fn load_tail(&self) -> (u64, Mark) {
        // SYNC tail (pairs with its CAS and store): claims below the tail are visible.
        let word = self.memory.header().producers.tail.load(weaken("tail_not_acquired", Acquire));
        (word, self.bits.unpack_mark(word))
    }

    #[inline(always)]
    fn load_head(&self) -> (u64, Mark) {
        // SYNC head (pairs with its CAS and store): a producer that sees the head of a single
        // consumer sees its reads finished.
        let word = self.memory.header().consumers.head.load(weaken("head_not_acquired", Acquire));
        (word, self.bits.unpack_mark(word))
    }

    #[inline(always)]
    fn load_peek(&self) -> Mark {
        // SYNC peek (pairs with its store).
        let word = self.memory.header().consumers.peek.load(Acquire);
        self.bits.unpack_mark(word)
    }

    /// The next record that no consumer has been given: `head` of many consumers, `peek` of one.
    #[inline(always)]
    fn exposed(&self) -> Mark {
        match self.geometry().consumers {
            Side::Multi => self.load_head().1,
            Side::Single => self.load_peek(),
        }
    }

    /// Everything below may be overwritten.
    #[inline(always)]
    fn reclaim_limit(&self) -> u64 {
        match self.geometry().consumers {
            // SYNC frontier (pairs with its CAS): all readers below are done. This is the edge that
            // keeps a producer from overwriting what a consumer still reads.
            Side::Multi => {
                let frontier = &self.memory.header().frontier.frontier;
                frontier.load(weaken("frontier_not_acquired", Acquire))
            }
            Side::Single => self.load_head().1.pos,
        }
    }

    /// The next record that many consumers compete for.
    #[inline(always)]
    #[must_use]
    pub fn head_pos(&self) -> u64 {
        self.load_head().1.pos
    }

    /// Says whether something was stamped at the head since: what a consumer that spins looks at, so
    /// that it touches the one line the producer is about to write, and no other.
    #[inline(always)]
    #[must_use]
    pub fn stamped_at_head(&self) -> bool {
        let pos = self.head_pos();
        !self.bits.is_older(self.load_stamp(pos).0, pos)
    }

    /// Closed or destroyed, as far as this CPU has heard.
    #[inline(always)]
    fn closed_word(&self) -> u32 {
        // RELAXED: a put that begins after `close` returned must see it, and does, since whatever
        // told the caller that it returned orders the two. Exactness at the seal: `close.rs`.
        self.memory.header().shared.closed.load(Relaxed)
    }

    /// The publisher's half of a fence pair, where the kernel has no process-wide barrier.
    #[inline(always)]
    fn fence_where_needed(&self) {
        // RELAXED: the flag is set before whoever set it relies on it.
        if self.memory.header().shared.fence_needed.load(Relaxed) != 0 {
            // SYNC intent.
            crate::sync::fence(crate::sync::Ordering::SeqCst);
        }
    }

    fn refusal_of_closed(word: u32) -> Refused {
        if word == RING_DESTROYED { Refused::Destroyed } else { Refused::Closed }
    }

    /// Says whether the ring was closed or destroyed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed_word() != RING_OPEN
    }

    /// Says whether the ring was destroyed.
    #[inline(always)]
    #[must_use]
    pub fn is_destroyed(&self) -> bool {
        self.closed_word() == RING_DESTROYED
    }

    /// Packets of a record that was passed over: a dead run counts as many as it claimed.
    fn packets_of_skipped(&self, pos: u64, n: u64) -> u64 {
        if self.geometry().producers == Side::Single {
            return 1;
        }
        let (_, claim) = self.load_claim(pos);
        if claim.lap == self.bits.lap(pos) && claim.state == State::Run { n } else { 1 }
    }

    /// Writes the record's description; the stamp must follow.
    #[inline(always)]
    fn describe(&self, pos: u64, kind: u8, len: usize, inline: bool) {
        Self::describe_in(self.memory.entry(pos), kind, len, inline);
    }

    #[inline(always)]
    fn describe_in(entry: &Entry, kind: u8, len: usize, inline: bool) {
        let flags = u32::from(kind) | if inline { 0 } else { FLAG_IN_DATA };
        // RELAXED: published by the stamp's Release (SYNC committed).
        entry.len.store(len as u32, Relaxed);
        // RELAXED: as above.
        entry.flags.store(flags, Relaxed);
    }

    /// Stamps a described record READY: from here on it survives its writer.
    #[inline(always)]
    fn stamp_ready(&self, pos: u64, n: u64) {
        // No owner: so a consumer can compare the whole word with what it expects.
        Self::stamp(self.memory.entry(pos), self.bits.pack(State::Ready, pos, n, 0));
    }

    #[inline(always)]
    fn stamp(entry: &Entry, ready: u64) {
        // SYNC committed (pairs with `load_stamp`): payload and description are visible before the
        // stamp says READY. A plain store: only the owner of the claim writes the stamp while it
        // lives, and its life is a kernel lock, not a guess.
        entry.stamp.store(ready, weaken("ready_relaxed", Release));
    }

    /// Reads and checks the description of a record whose stamp the caller holds.
    #[inline(always)]
    fn describe_taken(&self, pos: u64, n: u64) -> Result<Taken, Missing> {
        self.describe_at(self.memory.entry(pos), pos, n)
    }

    /// As [`Ring::describe_taken`], given the entry.
    #[inline(always)]
    fn describe_at(&self, entry: &Entry, pos: u64, n: u64) -> Result<Taken, Missing> {
        let taken = Taken::read(entry, pos, n);
        let unit = self.geometry().unit_bytes as usize;
        let max = if taken.is_inline() { self.inline_bytes } else { n as usize * unit };
        if taken.len() > max {
            return Err(Missing::Corrupt("a length beyond its record", pos));
        }
        Ok(taken)
    }

    /// As [`Ring::describe_taken`], of a record of one unit whose payload lies in the data region, or else
    /// in its entry. `None` if it lies in the other, or makes no sense.
    #[inline(always)]
    fn describe_unit<const IN_DATA: bool>(&self, entry: &Entry, pos: u64) -> Option<Taken> {
        let taken = Taken::read(entry, pos, 1);
        let max = if IN_DATA { self.unit_payload } else { self.inline_bytes };
        (taken.is_inline() != IN_DATA && taken.len() <= max).then_some(taken)
    }

    /// Raises the count of redeliveries of a record the caller holds, before it is exposed again;
    /// returns the entry's flags.
    fn raise_redeliveries(&self, pos: u64) -> u32 {
        let entry = self.memory.entry(pos);
        // RELAXED: only the holder of the record writes this, and the next holder learns of it
        // through the take word (SYNC given-back) or the dead holder's lock.
        let mut flags = entry.flags.load(Relaxed);
        if flags & FLAG_REDELIVERIES != FLAG_REDELIVERIES {
            flags += 1 << REDELIVERIES_SHIFT;
            // RELAXED: as above.
            entry.flags.store(flags, Relaxed);
        }
        // RELAXED: a statistic.
        self.memory.header().consumers.redelivered.fetch_add(1, Relaxed);
        crate::events::redelivered(&self.label, pos, flags >> REDELIVERIES_SHIFT);
        flags
    }
}

#[cfg(test)]
mod tests;
