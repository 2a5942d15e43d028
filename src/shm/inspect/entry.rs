//! The entries of a ring, one by one, from the oldest that is in use.
//!
//! The walk follows the records as consumers would: the stamp of a record's first entry says how
//! many units it takes, a claim without a stamp says who writes it. It never trusts what it reads to
//! lead it: after as many units as the ring has, it ends.

use crate::error::OpenError;
use crate::shm::layout::{
    FLAG_IN_DATA, FLAG_KIND, FLAG_REDELIVERIES, INLINE_BYTES_TIMESTAMPED, REDELIVERIES_SHIFT,
};
use crate::shm::ring::Ring;
use crate::shm::ring::stamp::{Bits, Stamp, State};
use crate::shm::segment::SegmentView;
use crate::shm::storage::Side;
use crate::shm::view::RingView;
use crate::sync::Ordering::Acquire;
use crate::sync::fence;

/// Times that an entry is read anew when it changed while it was read.
const TRIES: u32 = 8;

/// What to read of the entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct EntryOptions {
    /// Most bytes to copy of each payload.
    pub payload_bytes: usize,
    /// Also the entries that are not in use: inside large records, reclaimed, never written.
    pub all: bool,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryState {
    /// Claimed by the owner, which writes it: one record of `n` units.
    Writing,
    /// Claimed by the owner, which writes it: a run of `n` records of one unit.
    WritingRun,
    /// Committed by the owner; waits for a consumer.
    Ready,
    /// Leased by the owner.
    Reading,
    /// Taken at once by the owner, which is about to lease them one by one: a run of `n` records of one
    /// unit. The description is that of the first.
    ReadingRun,
    /// Delivered before, and given back, or left by a single consumer that is gone.
    Returned,
    /// Acknowledged; not reclaimed yet.
    Released,
    /// Never committed: its writer died, or gave it up. Consumers pass over it.
    Skipped,
    /// Nothing follows: the ring is closed here.
    Sealed,
    /// Part of the record, or run, before it.
    Interior,
    /// Free for the next lap; the stamp is what the last record left.
    Reclaimed,
    /// Never written.
    Never,
    /// What no ringway writes; see the entry's `fault`.
    Unexplained,
}

impl EntryState {
    /// The name, in lower case with dashes: `ready`, `writing-run`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::WritingRun => "writing-run",
            Self::Ready => "ready",
            Self::Reading => "reading",
            Self::ReadingRun => "reading-run",
            Self::Returned => "returned",
            Self::Released => "released",
            Self::Skipped => "skipped",
            Self::Sealed => "sealed",
            Self::Interior => "interior",
            Self::Reclaimed => "reclaimed",
            Self::Never => "never",
            Self::Unexplained => "unexplained",
        }
    }

    /// Says whether a record of this state has a description and a payload.
    const fn has_payload(self) -> bool {
        matches!(
            self,
            Self::Ready | Self::Reading | Self::ReadingRun | Self::Returned | Self::Released
        )
    }
}

/// One entry as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntrySnapshot {
    /// Its position.
    pub position: u64,
    /// `position` modulo the number of entries.
    pub index: u64,
    /// `position` divided by the number of entries.
    pub lap: u64,
    /// What it is.
    pub state: EntryState,
    /// Who writes, put, holds or acknowledged it, as `state` says; 0 for nobody, or nobody known.
    pub owner: u16,
    /// Units of the record, or records of the run.
    pub n: u64,
    /// Length of the payload in bytes, as the entry says it; 0 where it has none.
    pub len: u32,
    /// The flags as they are; 0 where it has none.
    pub flags: u32,
    /// Record kind.
    pub kind: u8,
    /// Redeliveries begun.
    pub redeliveries: u32,
    /// Whether the payload lies in the entry itself.
    pub inline: bool,
    /// Time of the put (`CLOCK_MONOTONIC`, nanoseconds), where the ring keeps it.
    pub put_at_ns: Option<u64>,
    /// The first bytes of the payload: `None` where there is none, or it could not be read whole.
    pub payload: Option<Vec<u8>>,
    /// The stamp, as it is.
    pub stamp: u64,
    /// The claim word, as it is (many producers only).
    pub claim: Option<u64>,
    /// The take word, as it is (many consumers only).
    pub take: Option<u64>,
    /// What is wrong with it.
    pub fault: Option<&'static str>,
    /// Whether nothing changed while it was read.
    pub consistent: bool,
}

/// Walks over the entries of a ring; see [`EntryOptions`]. Ends after each entry at most once,
/// whatever the memory holds.
#[derive(Debug)]
pub struct Entries {
    ring: RingView,
    options: EntryOptions,
    /// Where the walk is, and where it ends at the latest.
    pos: u64,
    end: u64,
    /// For `all`: which entries the walk has met.
    seen: Vec<Seen>,
    rest: usize,
    live: bool,
}

/// The words of a position, as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Words {
    stamp: u64,
    claim: Option<u64>,
    take: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    No,
    Shown,
    Inside,
}

impl Entries {
    /// Walks over a ring of a segment.
    ///
    /// # Errors
    /// As [`SegmentView::ring_view`].
    pub fn of_segment(
        segment: &SegmentView,
        index: usize,
        options: EntryOptions,
    ) -> Result<Self, OpenError> {
        Ok(Self::new(segment.ring_view(index)?, options))
    }

    /// Walks over any ring.
    #[must_use]
    pub fn of_ring(ring: &Ring, options: EntryOptions) -> Self {
        Self::new(ring.view(), options)
    }

    /// Walks over a ring that is only looked at.
    #[must_use]
    pub fn of_view(ring: &RingView, options: EntryOptions) -> Self {
        Self::new(ring.clone(), options)
    }

    fn new(ring: RingView, options: EntryOptions) -> Self {
        let entries = ring.geometry().entries();
        let pos = ring.oldest_not_released();
        let seen = if options.all { vec![Seen::No; entries as usize] } else { Vec::new() };
        Self { ring, options, pos, end: pos.saturating_add(entries), seen, rest: 0, live: true }
    }

    fn bits(&self) -> Bits {
        self.ring.bits()
    }

    fn mark(&mut self, pos: u64, n: u64) {
        let bits = self.bits();
        for at in pos..pos.saturating_add(n).min(self.end) {
            if let Some(seen) = self.seen.get_mut(bits.index(at)) {
                *seen = if at == pos { Seen::Shown } else { Seen::Inside };
            }
        }
    }

    /// The next record in use.
    fn next_live(&mut self) -> Option<EntrySnapshot> {
        while self.live && self.pos < self.end {
            match self.look(self.pos) {
                Look::Entry(entry) => {
                    self.mark(self.pos, entry.n);
                    self.live = entry.state != EntryState::Sealed;
                    self.pos = self.pos.saturating_add(entry.n);
                    return Some(*entry);
                }
                // The ring went on while we walked: so do we.
                Look::Gone(limit) => self.pos = limit.max(self.pos.saturating_add(1)),
                Look::Nothing => self.live = false,
            }
        }
        None
    }

    /// Reads the record at `pos`, until it holds still or we give up on that.
    fn look(&self, pos: u64) -> Look {
        let mut last = Look::Nothing;
        for _ in 0..TRIES {
            let words = self.words(pos);
            last = self.classify(pos, words);
            // SYNC committed (pairs with the stamp's Release): whatever we copied from a later lap
            // comes with the reclaim limit that let it be written.
            fence(Acquire);
            let same = self.words(pos) == words;
            let limit = self.ring.limit();
            if limit > pos {
                return Look::Gone(limit);
            }
            if same {
                return last;
            }
        }
        if let Look::Entry(entry) = &mut last {
            entry.consistent = false;
            entry.payload = None;
            entry.fault = None;
        }
        last
    }

    fn words(&self, pos: u64) -> Words {
        let (claim, take) = (self.ring.claim(pos), self.ring.take(pos));
        Words { stamp: self.ring.stamp(pos).0, claim, take }
    }

    fn classify(&self, pos: u64, words: Words) -> Look {
        let bits = self.bits();
        let (lap, read) = (bits.lap(pos), bits.unpack(words.stamp));
        let blank = self.blank(pos, words);
        let Words { claim, take, .. } = words;
        let take = take.map(|word| bits.unpack(word)).filter(|take| take.lap >= lap);
        if let Some(take) = take.filter(|take| take.lap == lap) {
            return Look::Entry(Box::new(self.taken(blank, read, take)));
        }
        if read.lap == lap && take.is_none() {
            return Look::Entry(Box::new(self.stamped(blank, read)));
        }
        let unexplained = |fault| {
            Look::Entry(Box::new(EntrySnapshot {
                state: EntryState::Unexplained,
                fault: Some(fault),
                ..blank.clone()
            }))
        };
        if take.is_some() {
            return unexplained("a take word ahead of its position");
        }
        if read.lap > lap {
            return unexplained("a stamp ahead of its position");
        }
        let claimed = claim.map(|word| bits.unpack(word)).filter(|claim| claim.lap >= lap);
        if let Some(claim) = claimed {
            if claim.lap > lap {
                return unexplained("a claim ahead of its position");
            }
            let state = match claim.state {
                State::Claimed => EntryState::Writing,
                State::Run => EntryState::WritingRun,
                State::Closed => EntryState::Sealed,
                _ => return unexplained("a claim in no state"),
            };
            let n = claim.n;
            return Look::Entry(Box::new(EntrySnapshot { state, owner: claim.owner, n, ..blank }));
        }
        let tail = self.ring.tail().pos;
        if pos < tail {
            return unexplained("claimed, but neither claim nor stamp says so");
        }
        // Of several put at once, those before are stamped already, and the tail follows the last.
        if claim.is_none() {
            let intent = self.ring.intent();
            if intent > pos {
                let id = self.ring.shared().producer_id;
                let (owner, n) = (u16::try_from(id).unwrap_or(0), intent - pos);
                let state = EntryState::Writing;
                let far = (n > bits.max_units()).then_some("an intent out of reach");
                let n = n.min(bits.max_units());
                let entry = EntrySnapshot { state, owner, n, fault: far, ..blank };
                return Look::Entry(Box::new(entry));
            }
        }
        Look::Nothing
    }

    /// Describes a record by its stamp of this lap.
    fn stamped(&self, blank: EntrySnapshot, stamp: Stamp) -> EntrySnapshot {
        let pos = blank.position;
        let single = self.ring.geometry().consumers == Side::Single;
        let mut owner = stamp.owner;
        let state = match stamp.state {
            State::Ready if single => {
                if pos < self.ring.peek().pos {
                    let id = self.ring.shared().consumer_id;
                    owner = u16::try_from(id).unwrap_or(0);
                    EntryState::Reading
                } else {
                    EntryState::Ready
                }
            }
            State::Ready => EntryState::Ready,
            State::Released if single => EntryState::Released,
            State::Skipped => EntryState::Skipped,
            _ => EntryState::Unexplained,
        };
        let mut entry = EntrySnapshot { state, owner, n: stamp.n, ..blank };
        if state == EntryState::Unexplained {
            entry.n = 1;
            entry.fault = Some("a stamp in no state");
        }
        self.complete(entry)
    }

    /// Describes a record by its take word of this lap, and the stamp behind it.
    fn taken(&self, blank: EntrySnapshot, stamp: Stamp, take: Stamp) -> EntrySnapshot {
        let state = match take.state {
            State::Reading if take.owner == 0 => EntryState::Returned,
            State::Reading => EntryState::Reading,
            State::Run => EntryState::ReadingRun,
            State::Released => EntryState::Released,
            _ => EntryState::Unexplained,
        };
        let mut entry = EntrySnapshot { state, owner: take.owner, n: take.n, ..blank };
        if state == EntryState::Unexplained {
            entry.n = 1;
            entry.fault = Some("a take word in no state");
        } else if stamp.lap != entry.lap || stamp.state != State::Ready {
            entry.fault = Some("taken, but not committed");
        }
        self.complete(entry)
    }

    /// Adds what the state of a record promises.
    fn complete(&self, mut entry: EntrySnapshot) -> EntrySnapshot {
        if entry.fault.is_none() && entry.position.saturating_add(entry.n) > self.end {
            entry.fault = Some("a record beyond the ring");
        }
        if entry.state.has_payload() {
            self.describe_into(&mut entry);
        }
        entry
    }

    /// Reads length, flags, time and payload.
    fn describe_into(&self, entry: &mut EntrySnapshot) {
        let words = self.ring.description(entry.position);
        (entry.len, entry.flags) = (words.len, words.flags);
        entry.kind = (entry.flags & FLAG_KIND) as u8;
        entry.redeliveries = (entry.flags & FLAG_REDELIVERIES) >> REDELIVERIES_SHIFT;
        entry.inline = entry.flags & FLAG_IN_DATA == 0;
        entry.put_at_ns = put_at(&self.ring, entry.position);
        let most = self.options.payload_bytes;
        let n = if entry.state == EntryState::ReadingRun { 1 } else { entry.n };
        entry.payload = describe(&self.ring, entry.position, n, entry.inline, entry.len, most);
        if entry.payload.is_none() {
            entry.fault = Some("a length beyond its record");
        }
    }

    fn blank(&self, pos: u64, Words { stamp, claim, take }: Words) -> EntrySnapshot {
        let bits = self.bits();
        EntrySnapshot {
            position: pos,
            index: bits.index(pos) as u64,
            lap: bits.lap(pos),
            state: EntryState::Never,
            owner: 0,
            n: 1,
            len: 0,
            flags: 0,
            kind: 0,
            redeliveries: 0,
            inline: true,
            put_at_ns: None,
            payload: None,
            stamp,
            claim,
            take,
            fault: None,
            consistent: true,
        }
    }

    /// The next entry that the walk did not show, in the order of the indices.
    fn next_unused(&mut self) -> Option<EntrySnapshot> {
        while let Some(&seen) = self.seen.get(self.rest) {
            let index = self.rest as u64;
            self.rest += 1;
            if seen == Seen::Shown {
                continue;
            }
            let bits = self.bits();
            let words = self.words(index);
            let (word, stamp) = (words.stamp, bits.unpack(words.stamp));
            let start = self.end.saturating_sub(bits.entries());
            let (state, pos) = if seen == Seen::Inside {
                // The one position of this index within the walk.
                let ahead = index.wrapping_sub(bits.index(start) as u64) & (bits.entries() - 1);
                (EntryState::Interior, start.saturating_add(ahead))
            } else if word == 0 {
                (EntryState::Never, index)
            } else {
                (EntryState::Reclaimed, (stamp.lap << bits.entries().trailing_zeros()) | index)
            };
            let blank = self.blank(pos, words);
            let owner = if state == EntryState::Reclaimed { stamp.owner } else { 0 };
            return Some(EntrySnapshot { state, owner, ..blank });
        }
        None
    }
}

impl Iterator for Entries {
    type Item = EntrySnapshot;

    fn next(&mut self) -> Option<EntrySnapshot> {
        self.next_live().or_else(|| self.next_unused())
    }
}

enum Look {
    Entry(Box<EntrySnapshot>),
    /// Reclaimed meanwhile, up to here.
    Gone(u64),
    /// Neither claimed nor committed.
    Nothing,
}

/// Copies the first bytes of a record of `n` units, at most so many; `None` where it cannot be that
/// long.
pub(super) fn describe(
    ring: &RingView,
    pos: u64,
    n: u64,
    inline: bool,
    len: u32,
    most: usize,
) -> Option<Vec<u8>> {
    let geometry = ring.geometry();
    let max = if inline {
        geometry.inline_bytes()
    } else {
        geometry.max_payload().min(n as usize * geometry.unit_bytes as usize)
    };
    let len = len as usize;
    (len <= max).then(|| ring.copy(pos, inline, len.min(most)))
}

/// The time of the put, where the ring keeps it.
pub(super) fn put_at(ring: &RingView, pos: u64) -> Option<u64> {
    if !ring.geometry().timestamps {
        return None;
    }
    let bytes = ring.copy(pos, true, INLINE_BYTES_TIMESTAMPED + 8);
    let time = bytes.get(INLINE_BYTES_TIMESTAMPED..)?.try_into().ok()?;
    Some(u64::from_le_bytes(time))
}
