//! Bit packing: positions, stamps, claim words, and packed (position, packets) words.
//!
//! A *position* counts units for ever; `index = pos & mask`, `lap = pos >> log2`. Rings start at
//! position 2^k, that is at lap 1, so that zeroed memory reads as "an older lap".
//!
//! ```text
//! stamp, claim,  63 ........... k+11 | k+10 ...... 13 | 12 .... 3 | 2 .. 0
//! take           lap                 | n - 1 (k-2 bits)| owner     | state
//! tail, head,    63 ............... k | k-1 ............................ 0
//! peek           position             | packets modulo 2^k
//! ```
//!
//! Laps are compared as they are, never modulo: interior entries of large records keep stamps of
//! any age. Packets are counted modulo 2^k; a difference of 0 between different positions means 2^k.

use crate::shm::layout::MAX_PARTICIPANTS;

/// What a stamp, a claim word or a take word says of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Never written in any lap (zeroed memory).
    Free = 0,
    /// Stamp: committed, may be taken.
    Ready = 1,
    /// Take word: leased by the owner; owner 0 means given back, anyone may take it.
    Reading = 2,
    /// Take word, or a single consumer's stamp: acknowledged.
    Released = 3,
    /// Stamp: never committed, to be passed over.
    Skipped = 4,
    /// Claim: one record of n units, being written by the owner.
    Claimed = 5,
    /// Claim: n records of one unit, being written by the owner. Take word: n records of one unit, taken
    /// by the owner at once.
    Run = 6,
    /// Claim: the seal; nothing follows.
    Closed = 7,
}

impl State {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Free,
        Self::Ready,
        Self::Reading,
        Self::Released,
        Self::Skipped,
        Self::Claimed,
        Self::Run,
        Self::Closed,
    ];

    const fn from_bits(bits: u64) -> Self {
        match bits & 7 {
            1 => Self::Ready,
            2 => Self::Reading,
            3 => Self::Released,
            4 => Self::Skipped,
            5 => Self::Claimed,
            6 => Self::Run,
            7 => Self::Closed,
            _ => Self::Free,
        }
    }
}

const STATE_BITS: u32 = 3;
const OWNER_BITS: u32 = 10;
const N_SHIFT: u32 = STATE_BITS + OWNER_BITS;
/// How much further left the lap lies in a stamp than in a position: there are two bits less between.
const LAP_MOVE: u32 = N_SHIFT - 2;

/// An unpacked stamp, claim or take word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// `pos >> log2` of the record.
    pub lap: u64,
    /// Units of the record or records of the run (`Run`); at least 1.
    pub n: u64,
    /// Participant id, or 0.
    pub owner: u16,
    /// What the owner is doing.
    pub state: State,
}

/// The widths and limits that follow from a ring's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    log2: u32,
    /// Where the lap starts in a stamp.
    lap_shift: u32,
    /// Entries less one.
    mask: u64,
}

impl Bits {
    /// Describes a ring of `2^log2` entries; `log2` lies in [`crate::shm::layout::LOG2_ENTRIES`].
    #[must_use]
    pub const fn new(log2: u32) -> Self {
        Self { log2, lap_shift: log2 + LAP_MOVE, mask: (1 << log2) - 1 }
    }

    /// Number of entries.
    #[inline(always)]
    #[must_use]
    pub const fn entries(self) -> u64 {
        self.mask + 1
    }

    /// Index of a position's entry.
    #[inline(always)]
    #[must_use]
    pub const fn index(self, pos: u64) -> usize {
        (pos & self.mask) as usize
    }

    /// Lap of a position.
    #[inline(always)]
    #[must_use]
    pub const fn lap(self, pos: u64) -> u64 {
        pos >> self.log2
    }

    /// First position of a new ring.
    #[must_use]
    pub const fn first_pos(self) -> u64 {
        self.entries()
    }

    /// First position that can no longer be used: the ring is exhausted when a claim would end
    /// beyond it. 2^52 at 4096 entries: 520 days at 100 million packets a second, 14 years at ten.
    #[must_use]
    pub const fn last_pos(self) -> u64 {
        let packed = 64 - self.log2;
        let stamped = 64 - N_SHIFT + 2;
        let bits = if packed < stamped { packed } else { stamped };
        // One lap of slack, so that no computed position ever leaves the packed width.
        (1 << bits) - 2 * self.entries()
    }

    /// Most units of one record, and most records of one run.
    #[inline(always)]
    #[must_use]
    pub const fn max_units(self) -> u64 {
        self.entries() / 4
    }

    /// Packs a stamp, claim or take word. `n` lies in `1..=max_units`.
    #[inline(always)]
    #[must_use]
    pub const fn pack(self, state: State, pos: u64, n: u64, owner: u16) -> u64 {
        debug_assert!(n >= 1 && n <= self.max_units() && owner as u32 <= MAX_PARTICIPANTS);
        self.lap_bits(pos) | ((n - 1) << N_SHIFT) | ((owner as u64) << STATE_BITS) | state as u64
    }

    /// The lap's part of a stamp, claim or take word: `lap << lap_shift`, by a shift whose width does not
    /// depend on the ring.
    #[inline(always)]
    const fn lap_bits(self, pos: u64) -> u64 {
        (pos & !self.mask) << LAP_MOVE
    }

    /// Says whether a stamp, claim or take word is of an older lap than a position.
    #[inline(always)]
    #[must_use]
    pub const fn is_older(self, word: u64, pos: u64) -> bool {
        word < self.lap_bits(pos)
    }

    /// The same word of a record in another state.
    #[inline(always)]
    #[must_use]
    pub const fn in_state(word: u64, state: State) -> u64 {
        word & !((1 << STATE_BITS) - 1) | state as u64
    }

    /// Unpacks a stamp, claim or take word. Total: every word means something, and `n` is always in
    /// `1..=max_units` and `owner` in `0..=MAX_PARTICIPANTS`, whatever a hostile peer wrote.
    #[inline(always)]
    #[must_use]
    pub const fn unpack(self, word: u64) -> Stamp {
        Stamp {
            lap: word >> self.lap_shift,
            n: ((word >> N_SHIFT) & (self.mask >> 2)) + 1,
            owner: ((word >> STATE_BITS) & ((1 << OWNER_BITS) - 1)) as u16,
            state: State::from_bits(word),
        }
    }

    /// Packs a position with the packets counted up to it.
    #[inline(always)]
    #[must_use]
    pub const fn pack_mark(self, mark: Mark) -> u64 {
        // A shift by a width that depends on the ring takes longer than this.
        mark.pos.wrapping_mul(self.entries()) | (mark.packets & self.mask)
    }

    /// The packed mark that lies `units` and `packets` behind the one packed in `word`, if it lies before
    /// that one's [`Bits::steps_end`].
    #[inline(always)]
    #[must_use]
    pub const fn step_mark(self, word: u64, units: u64, packets: u64) -> u64 {
        word.wrapping_add(units * self.entries() + packets)
    }

    /// The first position behind a mark that lies in another lap, or at which the packets may be counted
    /// from 0 again. No record is more packets than units: so it stays true of marks further on.
    #[must_use]
    pub const fn steps_end(self, mark: Mark) -> u64 {
        let (units, packets) = (mark.pos & self.mask, mark.packets & self.mask);
        mark.pos + self.entries() - if units > packets { units } else { packets }
    }

    /// Unpacks a `tail`, `head` or `peek` word. Total.
    #[inline(always)]
    #[must_use]
    pub const fn unpack_mark(self, word: u64) -> Mark {
        Mark { pos: word >> self.log2, packets: word & self.mask }
    }

    /// Packets between two marks; saturates at 2^k where a hostile or torn pair says more.
    #[inline(always)]
    #[must_use]
    pub const fn waiting(self, from: Mark, to: Mark) -> u64 {
        if to.pos <= from.pos {
            return 0;
        }
        let packets = to.packets.wrapping_sub(from.packets) & self.mask;
        if packets == 0 { self.entries() } else { packets }
    }
}

/// A position with the number of packets (modulo 2^k) claimed, taken or acknowledged up to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Mark {
    /// The position, in units.
    pub pos: u64,
    /// Packets up to it, modulo 2^k.
    pub packets: u64,
}

impl Mark {
    /// The mark `units` and `packets` further on.
    #[inline(always)]
    #[must_use]
    pub const fn plus(self, units: u64, packets: u64) -> Self {
        Self { pos: self.pos + units, packets: self.packets.wrapping_add(packets) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_packed_stamp_unpacks_to_itself(
            log2 in 3u32..=20, pos_seed: u64, n_seed: u64, owner in 0u16..=1023, state in 0usize..8,
        ) {
            let bits = Bits::new(log2);
            let pos = pos_seed % bits.last_pos();
            let n = n_seed % bits.max_units() + 1;
            let stamp = bits.unpack(bits.pack(State::ALL[state], pos, n, owner));
            prop_assert_eq!(stamp, Stamp { lap: bits.lap(pos), n, owner, state: State::ALL[state] });
        }

        #[test]
        fn a_word_is_older_than_a_position_if_its_lap_is(log2 in 3u32..=20, word: u64, pos_seed: u64) {
            let bits = Bits::new(log2);
            let pos = pos_seed % (bits.last_pos() + bits.entries());
            prop_assert_eq!(bits.is_older(word, pos), bits.unpack(word).lap < bits.lap(pos));
            let near = bits.pack(State::Ready, pos, 1, 0) ^ (word & 0xffff);
            prop_assert_eq!(bits.is_older(near, pos), bits.unpack(near).lap < bits.lap(pos));
        }

        #[test]
        fn a_word_in_another_state_says_the_same_otherwise(log2 in 3u32..=20, word: u64, state in 0usize..8) {
            let bits = Bits::new(log2);
            let changed = bits.unpack(Bits::in_state(word, State::ALL[state]));
            prop_assert_eq!(changed, Stamp { state: State::ALL[state], ..bits.unpack(word) });
        }

        #[test]
        fn a_packed_mark_unpacks_to_itself(log2 in 3u32..=20, pos_seed: u64, packets: u64) {
            let bits = Bits::new(log2);
            let mark = Mark {
                pos: pos_seed % (bits.last_pos() + bits.entries()),
                packets: packets % bits.entries(),
            };
            prop_assert_eq!(bits.unpack_mark(bits.pack_mark(mark)), mark);
        }

        #[test]
        fn a_mark_within_reach_is_had_by_adding(
            log2 in 3u32..=20, pos_seed: u64, packets: u64, steps in prop::collection::vec((1u64..9, 0u64..9), 1..40),
        ) {
            let bits = Bits::new(log2);
            let start = Mark { pos: pos_seed % bits.last_pos(), packets };
            let (mut mark, mut word, end) = (start, bits.pack_mark(start), bits.steps_end(start));
            prop_assert!(end > start.pos);
            for (units, packets) in steps {
                let packets = packets.min(units);
                mark = mark.plus(units, packets);
                if mark.pos >= end {
                    break;
                }
                word = bits.step_mark(word, units, packets);
                prop_assert_eq!(word, bits.pack_mark(mark));
                prop_assert_eq!(bits.lap(start.pos), bits.lap(mark.pos));
                prop_assert!(bits.steps_end(mark) >= end);
            }
        }

        #[test]
        fn any_word_unpacks_within_bounds(log2 in 3u32..=20, word: u64) {
            let bits = Bits::new(log2);
            let stamp = bits.unpack(word);
            prop_assert!(stamp.n >= 1 && stamp.n <= bits.max_units());
            prop_assert!(u32::from(stamp.owner) <= MAX_PARTICIPANTS);
        }
    }

    #[test]
    fn zeroed_memory_reads_as_an_older_lap() {
        for log2 in 3..=20 {
            let bits = Bits::new(log2);
            assert!(bits.unpack(0).lap < bits.lap(bits.first_pos()));
        }
    }

    #[test]
    fn a_full_ring_of_single_units_counts_all_its_packets() {
        let bits = Bits::new(4);
        let from = Mark { pos: 16, packets: 0 };
        assert_eq!(bits.waiting(from, from), 0);
        assert_eq!(bits.waiting(from, from.plus(16, 16)), 16);
        assert_eq!(bits.waiting(from, from.plus(16, 4)), 4);
    }

    #[test]
    fn four_thousand_entries_last_for_years() {
        let bits = Bits::new(12);
        let years_at_ten_million_a_second =
            bits.last_pos() as f64 / 10e6 / (365.25 * 24.0 * 3600.0);
        assert!(years_at_ten_million_a_second > 14.0);
    }
}
