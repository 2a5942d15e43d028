//! A ring as somebody sees it who may only look: loads, and nothing else.
//!
//! A [`RingView`] leads to the same memory as a ring, and has no way to store: its memory is private
//! to this file, and every function here loads. So it may stand on a mapping that is `PROT_READ`,
//! where a store would kill the process. Loads are `Relaxed`, followed by a fence where something
//! depends on the order: of atomic loads only the relaxed ones are guaranteed to work on read-only
//! memory (`core::sync::atomic`, "Atomic accesses to read-only memory").
//!
//! Nothing read here is believed: positions are masked by a private copy of the geometry, and every
//! walk ends after as many steps as the ring has entries. Whoever writes may be killed at any point.

use crate::shm::layout::{RingHeader, SharedLine};
use crate::shm::ring::RingStats;
use crate::shm::ring::stamp::{Bits, Mark, Stamp, State};
use crate::shm::storage::{Geometry, RingMemory, Side};
use crate::sync::Ordering::{Acquire, Relaxed};
use crate::sync::{AtomicU32, AtomicU64, fence};

/// A ring to look at. Cheap to clone; keeps the mapping.
#[derive(Clone, Debug)]
pub struct RingView {
    /// Never handed out.
    memory: RingMemory,
    bits: Bits,
    /// The data region is mapped once: what runs over its end goes on at its start.
    wraps: bool,
}

/// The words that everybody reads and hardly anybody writes, as they were found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedWords {
    pub(crate) closed: u32,
    pub(crate) exhausted: bool,
    pub(crate) fence_needed: bool,
    pub(crate) large_claim: bool,
    pub(crate) producer_id: u32,
    pub(crate) consumer_id: u32,
}

/// What an entry says of its record, as it was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Description {
    pub(crate) len: u32,
    pub(crate) flags: u32,
}

impl RingView {
    /// Looks at memory that somebody else uses.
    fn new(memory: RingMemory) -> Self {
        Self { bits: memory.geometry().bits(), memory, wraps: false }
    }

    /// Looks at memory that is mapped to be read only, without the second mapping of the data region.
    pub(crate) fn of_window(memory: RingMemory) -> Self {
        Self { wraps: true, ..Self::new(memory) }
    }

    /// The shape.
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        self.memory.geometry()
    }

    pub(crate) fn bits(&self) -> Bits {
        self.bits
    }

    /// Loads a word of the header with what was written before it.
    fn word(&self, pick: impl FnOnce(&RingHeader) -> &AtomicU64) -> u64 {
        acquire(pick(self.memory.header()))
    }

    /// Loads a counter.
    fn count(&self, pick: impl FnOnce(&RingHeader) -> &AtomicU64) -> u64 {
        pick(self.memory.header()).load(Relaxed) // RELAXED: a statistic.
    }

    fn mark(&self, pick: impl FnOnce(&RingHeader) -> &AtomicU64) -> Mark {
        self.bits.unpack_mark(self.word(pick))
    }

    /// The stamp of a position, as it is and unpacked.
    pub(crate) fn stamp(&self, pos: u64) -> (u64, Stamp) {
        // SYNC committed, released (pairs with the stamps' stores).
        let word = acquire(&self.memory.entry(pos).stamp);
        (word, self.bits.unpack(word))
    }

    /// The claim word of a position, as it is; `None` in a ring with one producer.
    pub(crate) fn claim(&self, pos: u64) -> Option<u64> {
        let many = self.geometry().producers == Side::Multi;
        many.then(|| acquire(self.memory.claim(pos))) // SYNC claimed.
    }

    /// The take word of a position, as it is; `None` in a ring with one consumer.
    pub(crate) fn take(&self, pos: u64) -> Option<u64> {
        let many = self.geometry().consumers == Side::Multi;
        many.then(|| acquire(self.memory.take(pos))) // SYNC taken, released, given-back.
    }

    /// What is known of the record that begins at `pos`: the take word of this lap where somebody took
    /// it, or else the stamp of this lap; with the words as they are. `None` where neither is of this lap.
    pub(crate) fn record(&self, pos: u64) -> Option<Stamp> {
        let lap = self.bits.lap(pos);
        let take = self.take(pos).map(|word| self.bits.unpack(word));
        take.filter(|take| take.lap == lap)
            .or_else(|| Some(self.stamp(pos).1).filter(|stamp| stamp.lap == lap))
    }

    /// Behind the last claimed record.
    pub(crate) fn tail(&self) -> Mark {
        self.mark(|header| &header.producers.tail) // SYNC tail.
    }

    /// Many consumers: the next record to take. One: the oldest not acknowledged.
    pub(crate) fn head(&self) -> Mark {
        self.mark(|header| &header.consumers.head) // SYNC head.
    }

    /// One consumer: the next record to expose.
    pub(crate) fn peek(&self) -> Mark {
        self.mark(|header| &header.consumers.peek) // SYNC peek.
    }

    /// The next record that no consumer has been given.
    pub(crate) fn exposed(&self) -> Mark {
        match self.geometry().consumers {
            Side::Multi => self.head(),
            Side::Single => self.peek(),
        }
    }

    /// One producer: behind the put in progress, or the tail.
    pub(crate) fn intent(&self) -> u64 {
        self.word(|header| &header.producers.intent) // SYNC intent.
    }

    /// Many consumers: everything below is free.
    pub(crate) fn frontier(&self) -> u64 {
        self.word(|header| &header.frontier.frontier) // SYNC frontier.
    }

    /// One consumer: the mirror of its head.
    pub(crate) fn head_hint(&self) -> u64 {
        self.word(|header| &header.hint.head_hint) // SYNC head-hint.
    }

    /// Units beyond the first of all records ever claimed.
    pub(crate) fn extra_put_units(&self) -> u64 {
        self.count(|header| &header.producers.extra_units)
    }

    /// The first position ever used.
    pub(crate) fn first_pos(&self) -> u64 {
        self.count(|header| &header.shared.first_pos)
    }

    /// Everything below may be overwritten.
    pub(crate) fn limit(&self) -> u64 {
        match self.geometry().consumers {
            Side::Multi => self.frontier(),
            Side::Single => self.head().pos,
        }
    }

    /// The words of the shared line, each by itself.
    pub(crate) fn shared(&self) -> SharedWords {
        let line: &SharedLine = &self.memory.header().shared;
        // RELAXED, all of them: advice, and for people.
        let word = |word: &AtomicU32| word.load(Relaxed);
        SharedWords {
            closed: word(&line.closed),
            exhausted: word(&line.exhausted) != 0,
            fence_needed: word(&line.fence_needed) != 0,
            large_claim: line.large_claim.load(Relaxed) != 0,
            producer_id: word(&line.producer_id),
            consumer_id: word(&line.consumer_id),
        }
    }

    /// The bits of those who sleep until something is put, and until there is room.
    pub(crate) fn waiters(&self) -> (Vec<u64>, Vec<u64>) {
        let header = self.memory.header();
        // RELAXED: a snapshot for people.
        let words = |words: &[AtomicU64]| words.iter().map(|word| word.load(Relaxed)).collect();
        (words(&header.get_waiters.words), words(&header.put_waiters.words))
    }

    /// Length and flags of the record at `pos`; ordered by the stamp that the caller read.
    pub(crate) fn description(&self, pos: u64) -> Description {
        let entry = self.memory.entry(pos);
        // RELAXED, both: ordered by the stamp (SYNC committed).
        Description { len: entry.len.load(Relaxed), flags: entry.flags.load(Relaxed) }
    }

    /// Copies the first bytes of the record at `pos`, whoever owns it. They may be half of one record
    /// and half of the next: the caller checks the stamp and the limit afterwards, behind a fence.
    pub(crate) fn copy(&self, pos: u64, inline: bool, len_bytes: usize) -> Vec<u8> {
        let data_bytes = self.geometry().data_bytes() as usize;
        let start = self.bits.index(pos) * self.geometry().unit_bytes as usize;
        if inline || !self.wraps || len_bytes <= data_bytes - start {
            return self.memory.copy_unowned(pos, inline, len_bytes);
        }
        // Whole units up to the end, the rest from the start.
        let mut bytes = self.memory.copy_unowned(pos, false, data_bytes - start);
        bytes.extend(self.memory.copy_unowned(0, false, len_bytes - (data_bytes - start)));
        bytes
    }

    /// Packets waiting, as `Ring::waiting`.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        // The exposed mark first: it can only grow, so the difference never goes negative.
        let from = self.exposed();
        self.bits.waiting(from, self.tail())
    }

    /// Units in use, as `Ring::used_units`.
    #[must_use]
    pub fn used_units(&self) -> u64 {
        let mut limit = self.limit();
        let tail = self.tail().pos;
        if self.geometry().consumers == Side::Multi {
            // The frontier follows late: look past what was released.
            limit = self.passed_from(limit).min(tail);
        }
        tail.saturating_sub(limit).min(self.bits.entries())
    }

    /// Many consumers: the first record from `from` on that is neither released nor skipped.
    fn passed_from(&self, from: u64) -> u64 {
        let mut to = from;
        while to.saturating_sub(from) < self.bits.entries() {
            match self.record(to) {
                Some(Stamp { state: State::Released | State::Skipped, n, .. }) => {
                    to = to.saturating_add(n);
                }
                _ => break,
            }
        }
        to
    }

    /// 0.0–1.0: the larger of packets/maxsize and units/capacity.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        let space = self.used_units() as f64 / self.bits.entries() as f64;
        match self.geometry().maxsize {
            0 => space,
            maxsize => space.max(self.waiting() as f64 / maxsize as f64).min(1.0),
        }
    }

    /// Records leased and not acknowledged, as `Ring::leased(0)`.
    #[must_use]
    pub fn leased(&self) -> u64 {
        let many = self.geometry().consumers == Side::Multi;
        let start = self.limit();
        let (mut pos, end) = (start, self.exposed().pos);
        let mut leased = 0;
        // Whatever the words say, a ring has so many units.
        while pos.saturating_sub(start) < self.bits.entries() {
            let Some(record) = self.record(pos) else { break };
            leased += match record.state {
                State::Reading if many => 1,
                State::Run if many => record.n,
                // A taker may have written its word and not moved the head yet; beyond, all is ready.
                State::Ready if many => break,
                _ if pos >= end && !many => break,
                State::Ready => 1,
                _ => 0,
            };
            pos = pos.saturating_add(record.n);
        }
        leased
    }

    /// Packets that nobody has acknowledged, a claim at the tail that nobody has helped forward
    /// included. For a ring in which nobody is alive.
    #[must_use]
    pub(crate) fn not_acknowledged(&self) -> u64 {
        let (head, tail) = (self.head(), self.tail());
        let mut packets = self.bits.waiting(head, tail);
        if let Some(word) = self.claim(tail.pos) {
            let claim = self.bits.unpack(word);
            let claimed = matches!(claim.state, State::Claimed | State::Run);
            packets += u64::from(claimed && claim.lap == self.bits.lap(tail.pos));
        }
        if self.geometry().consumers == Side::Multi {
            let mut pos = self.frontier();
            for _ in 0..self.bits.entries() {
                if pos >= head.pos {
                    break;
                }
                let record = self.record(pos);
                packets += match record {
                    Some(Stamp { state: State::Reading | State::Ready, .. }) => 1,
                    Some(Stamp { state: State::Run, n, .. }) => n,
                    _ => 0,
                };
                pos = pos.saturating_add(record.map_or(1, |record| record.n));
            }
        }
        packets
    }

    /// The producer that blocks the head: `(position, owner)` of a claim without a stamp.
    pub(crate) fn pending_claim(&self) -> Option<(u64, u16)> {
        let pos = self.exposed().pos;
        let claim = self.bits.unpack(self.claim(pos)?);
        let lap = self.bits.lap(pos);
        let writing = matches!(claim.state, State::Claimed | State::Run);
        (claim.lap == lap && self.stamp(pos).1.lap < lap && writing).then_some((pos, claim.owner))
    }

    /// The consumer that blocks reclaiming; owner 0 means given back.
    pub(crate) fn pending_lease(&self) -> Option<(u64, u16)> {
        if self.geometry().consumers == Side::Single {
            return None;
        }
        let pos = self.oldest_not_released();
        let held = |record: &Stamp| matches!(record.state, State::Reading | State::Run);
        self.record(pos).filter(held).map(|record| (pos, record.owner))
    }

    /// The first record that is in use: it keeps the frontier of many consumers, or would if that had
    /// followed.
    pub(crate) fn oldest_not_released(&self) -> u64 {
        match self.geometry().consumers {
            // Consumers have yet to pass what was skipped behind their head.
            Side::Multi => self.passed_from(self.limit()).min(self.head().pos),
            Side::Single => self.limit(),
        }
    }

    /// Payload bytes that wait: committed, and given to no consumer yet. Walks over them.
    fn bytes_waiting(&self) -> u64 {
        let (mut pos, tail) = (self.exposed().pos, self.tail().pos);
        let mut bytes = 0_u64;
        for _ in 0..self.bits.entries() {
            let (_, stamp) = self.stamp(pos);
            let lap = self.bits.lap(pos);
            let n = if stamp.lap == lap {
                if stamp.state == State::Ready {
                    bytes = bytes.saturating_add(self.description(pos).len.into());
                }
                stamp.n
            } else {
                // Being written.
                let claim = self.claim(pos).map(|word| self.bits.unpack(word));
                claim.filter(|claim| claim.lap == lap).map_or(1, |claim| claim.n)
            };
            pos = pos.saturating_add(n);
            if pos >= tail {
                break;
            }
        }
        bytes
    }

    /// The counters. Each is one load, but for `bytes_got` of many consumers; together they are no
    /// snapshot.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        let first = self.first_pos();
        let skipped = self.count(|header| &header.shared.skipped);
        let taken = self.exposed().pos.saturating_sub(first);
        let put = self.tail().pos.saturating_sub(first);
        let extra_put = self.count(|header| &header.producers.extra_units);
        let extra_got = self.count(|header| &header.consumers.extra_units);
        let bytes_put = self.count(|header| &header.producers.bytes);
        let bytes_got = match self.geometry().consumers {
            // What was put and waits no more: the consumers have no counter, and no line to fight for.
            Side::Multi if taken < put => bytes_put.saturating_sub(self.bytes_waiting()),
            Side::Multi => bytes_put,
            Side::Single => self.count(|header| &header.consumers.bytes),
        };
        RingStats {
            puts: put.saturating_sub(extra_put).saturating_sub(skipped),
            gets: taken.saturating_sub(extra_got),
            bytes_put,
            bytes_got,
            full_waits: self.count(|header| &header.producers.full_waits),
            empty_waits: self.count(|header| &header.consumers.empty_waits),
            refused: self.count(|header| &header.producers.refused),
            redelivered: self.count(|header| &header.consumers.redelivered),
            skipped,
            dead_lettered: self.count(|header| &header.shared.dead_lettered),
            dead_letters_kept: self.count(|header| &header.shared.dead_letters_kept),
            high_water: self.count(|header| &header.producers.high_water).max(self.waiting()),
            put_blocked_ns: self.count(|header| &header.producers.blocked_ns),
            get_blocked_ns: self.count(|header| &header.consumers.blocked_ns),
        }
    }
}

/// Loads a word, and sees what its writer wrote before it. No `Acquire` load: see above.
fn acquire(word: &AtomicU64) -> u64 {
    // RELAXED: the fence behind it orders it.
    let value = word.load(Relaxed);
    // SYNC: that of the word, which the caller names.
    fence(Acquire);
    value
}

impl crate::shm::ring::Ring {
    /// The same ring, to look at only.
    #[must_use]
    pub fn view(&self) -> RingView {
        RingView::new(RingMemory::clone(self.memory()))
    }
}
