//! The words of the ring, as the protocol packs them, and nothing else.
//!
//! Positions count for ever; `index = pos % cap`. A model's numbers are tiny, so a byte each is
//! enough, and a state hashes fast.

/// Most entries a modelled ring can have.
pub(crate) const MAX_CAP: usize = 4;

/// What a stamp says of the record that starts at its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Committed, for a consumer to take. With many consumers it stays so until the next lap.
    Ready,
    /// Acknowledged, by the one consumer of its ring.
    Released,
    /// Never committed: its writer died or dropped it.
    Skipped,
}

/// A stamp: lap, length in units, owner, state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) lap: u8,
    pub(crate) n: u8,
    pub(crate) owner: u8,
    pub(crate) state: State,
}

/// What a take word says of the record that starts at its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// Leased by the word's owner; owner 0 means returned.
    Reading,
    /// The first of n one-unit records, all leased at once by the owner, which has not given each
    /// of them its own word yet.
    Run,
    /// Acknowledged.
    Released,
}

/// A take word, of a ring with many consumers, which only they write: lap, length, owner, state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Take {
    pub(crate) lap: u8,
    /// Units of the record, or records of the run: units to the next word in either case.
    pub(crate) n: u8,
    pub(crate) owner: u8,
    pub(crate) held: Held,
}

impl Take {
    /// Packets between the word and the next.
    pub(crate) fn packets(self) -> u8 {
        match self.held {
            Held::Run => self.n,
            Held::Reading | Held::Released => 1,
        }
    }
}

/// What kind of claim a claim word holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Claimed {
    /// One record of n units.
    Record,
    /// n records of one unit.
    Run,
    /// The seal: nothing is claimed at or after it.
    Closed,
}

/// A claim word: lap, length in units, owner, kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Claim {
    pub(crate) lap: u8,
    pub(crate) n: u8,
    pub(crate) owner: u8,
    pub(crate) kind: Claimed,
}

impl Claim {
    /// Packets that the claim counts for in `tail`.
    pub(crate) fn packets(self) -> u8 {
        match self.kind {
            Claimed::Run => self.n,
            Claimed::Record | Claimed::Closed => 1,
        }
    }
}

/// A position packed with the number of packets before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Word {
    pub(crate) pos: u8,
    pub(crate) packets: u8,
}

impl Word {
    /// The word `n` units and `k` packets further on.
    pub(crate) fn plus(self, n: u8, k: u8) -> Self {
        Self { pos: self.pos + n, packets: self.packets + k }
    }
}

/// How the lap of a word compares with the lap of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Age {
    /// Of an earlier lap.
    Older,
    /// Of this very lap.
    Same,
    /// Of a later lap: whoever looks is late.
    Newer,
}

/// All that two processes share of one ring.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ring {
    pub(crate) tail: Word,
    pub(crate) head: Word,
    pub(crate) peek: Word,
    pub(crate) frontier: u8,
    pub(crate) intent: u8,
    pub(crate) closed: u8,
    pub(crate) hint: bool,
    pub(crate) claims: [Claim; MAX_CAP],
    pub(crate) stamps: [Stamp; MAX_CAP],
    /// Of rings with many consumers; the others have none.
    pub(crate) takes: [Take; MAX_CAP],
    /// Redeliveries of the record that starts here.
    pub(crate) counts: [u8; MAX_CAP],
    /// What the unit holds: 0 nothing, a packet's number + 1, or [`writing`] by somebody.
    pub(crate) units: [u8; MAX_CAP],
}

/// The content of a unit while process `me` writes it.
pub(crate) fn writing(me: usize) -> u8 {
    100 + me as u8
}

impl Ring {
    /// An empty ring: positions start one lap in, so that zeroed words read as older.
    pub(crate) fn new(cap: u8) -> Self {
        let start = Word { pos: cap, packets: 0 };
        Self {
            tail: start,
            head: start,
            peek: start,
            frontier: cap,
            intent: cap,
            closed: 0,
            hint: false,
            claims: [Claim { lap: 0, n: 0, owner: 0, kind: Claimed::Record }; MAX_CAP],
            stamps: [Stamp { lap: 0, n: 0, owner: 0, state: State::Ready }; MAX_CAP],
            takes: [Take { lap: 0, n: 0, owner: 0, held: Held::Released }; MAX_CAP],
            counts: [0; MAX_CAP],
            units: [0; MAX_CAP],
        }
    }
}
