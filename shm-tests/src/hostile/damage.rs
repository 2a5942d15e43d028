//! Which words of a segment are changed, and into what: nonsense, and what nearly makes sense.

use std::mem::{offset_of, size_of};

use ringway::queue::Side;
use ringway::shm::layout::{
    ConsumerLine, Control, Entry, MAX_RINGS, PAGE_BYTES, Participant, ProducerLine, RingHeader,
    RingRecord, SegmentHeader, SharedLine, WAITER_WORDS,
};
use ringway::shm::ring::stamp::{Bits, Mark, State};
use xxhash_rust::xxh3::Xxh3;

use super::image::{Image, PLACES, RingPart};
use super::plan::{Region, Write};
use super::{Choose, pick};

/// Picks a word of a region; a region that the image has not got is replaced by its neighbour.
pub(super) fn choose(choose: &mut dyn Choose, image: &Image, region: Region) -> Write {
    let first = choose.below(4) != 0 || image.rings.len() < 2;
    let ring = &image.rings[usize::from(!first)];
    match region {
        Region::Header => raw(choose, image, 0, size_of::<SegmentHeader>() as u64),
        Region::Directory => {
            let bytes = image.rings.len() as u64 * size_of::<RingRecord>() as u64;
            raw(choose, image, PAGE_BYTES, bytes)
        }
        Region::Control => {
            let (at, wide) = pick(
                choose,
                &[
                    (offset_of!(Control, state), false),
                    (offset_of!(Control, fence_needed), false),
                    (offset_of!(Control, joined_total), true),
                    (offset_of!(Control, recovered_total), true),
                ],
            );
            word(choose, image, image.control + at as u64, wide)
        }
        Region::Participants => {
            let (at, wide) = pick(
                choose,
                &[
                    (offset_of!(Participant, state), false),
                    (offset_of!(Participant, state), false),
                    (offset_of!(Participant, rings_touched), true),
                    (offset_of!(Participant, rings_touched), true),
                    (offset_of!(Participant, pid), false),
                    (offset_of!(Participant, start_ticks), true),
                    (offset_of!(Participant, joined_unix_ns), true),
                    (offset_of!(Participant, name), true),
                    (offset_of!(Participant, name) + 24, true),
                ],
            );
            let row = choose.below(PLACES.into()) * size_of::<Participant>() as u64;
            word(choose, image, image.participants + row + at as u64, wide)
        }
        Region::Doorbells => {
            let row = choose.below(PLACES.into()) * size_of::<Participant>() as u64;
            let at = image.participants + row + offset_of!(Participant, doorbell) as u64;
            word(choose, image, at, false)
        }
        Region::Claims if ring.geometry.producers == Side::Multi => {
            let at = ring.start + ring.geometry.claims_offset() + 8 * index(choose, image, ring);
            stamp(choose, image, ring, at)
        }
        Region::Takes if ring.geometry.consumers == Side::Multi => {
            let index = taken_index(choose, image, ring);
            let at = ring.start + ring.geometry.takes_offset() + 8 * index;
            stamp(choose, image, ring, at)
        }
        Region::Claims | Region::Takes | Region::Stamps => {
            let at = entry(choose, image, ring) + offset_of!(Entry, stamp) as u64;
            stamp(choose, image, ring, at)
        }
        Region::Lengths => {
            let entry = entry(choose, image, ring);
            let len = choose.below(3) != 0;
            let field = if len { offset_of!(Entry, len) } else { offset_of!(Entry, flags) };
            let mut write = word(choose, image, entry + field as u64, false);
            if len && choose.once_in(2) {
                let units = choose.below(ring.geometry.entries() / 4 + 1);
                let unit = u64::from(ring.geometry.unit_bytes);
                write.value = (units * unit).wrapping_add(choose.below(3)).wrapping_sub(1);
            }
            write
        }
        Region::Positions => position(choose, image, ring),
        Region::Eventcounts => {
            let (line, summary) = if choose.once_in(2) {
                (offset_of!(RingHeader, get_waiters), offset_of!(SharedLine, get_waiters))
            } else {
                (offset_of!(RingHeader, put_waiters), offset_of!(SharedLine, put_waiters))
            };
            if choose.once_in(2) {
                let at = ring.start + (offset_of!(RingHeader, shared) + summary) as u64;
                return word(choose, image, at, false);
            }
            let at = line as u64 + 8 * choose.below(WAITER_WORDS as u64);
            word(choose, image, ring.start + at, true)
        }
        Region::Shared => {
            let (at, wide) = pick(
                choose,
                &[
                    (offset_of!(SharedLine, closed), false),
                    (offset_of!(SharedLine, closed), false),
                    (offset_of!(SharedLine, recovery), false),
                    (offset_of!(SharedLine, large_claim), true),
                    (offset_of!(SharedLine, large_claim), true),
                    (offset_of!(SharedLine, exhausted), false),
                    (offset_of!(SharedLine, fence_needed), false),
                    (offset_of!(SharedLine, producer_id), false),
                    (offset_of!(SharedLine, consumer_id), false),
                    (offset_of!(SharedLine, first_pos), true),
                ],
            );
            let at = ring.start + (offset_of!(RingHeader, shared) + at) as u64;
            word(choose, image, at, wide)
        }
        Region::Counters => {
            let producers = offset_of!(RingHeader, producers);
            let consumers = offset_of!(RingHeader, consumers);
            let at = pick(
                choose,
                &[
                    producers + offset_of!(ProducerLine, extra_units),
                    producers + offset_of!(ProducerLine, bytes),
                    producers + offset_of!(ProducerLine, high_water),
                    producers + offset_of!(ProducerLine, blocked_ns),
                    consumers + offset_of!(ConsumerLine, extra_units),
                    consumers + offset_of!(ConsumerLine, bytes),
                    consumers + offset_of!(ConsumerLine, redelivered),
                    consumers + offset_of!(ConsumerLine, blocked_ns),
                ],
            );
            word(choose, image, ring.start + at as u64, true)
        }
        Region::Payload => {
            let at = if choose.once_in(2) {
                let inline = offset_of!(Entry, inline) as u64 + 8 * choose.below(6);
                entry(choose, image, ring) + inline
            } else {
                let words = ring.geometry.data_bytes() / 8;
                ring.start + ring.geometry.data_offset() + 8 * choose.below(words)
            };
            word(choose, image, at, true)
        }
    }
}

/// Where the oldest record of a ring is, in the image: what is looked at first.
fn head(image: &Image, ring: &RingPart) -> Mark {
    let at = offset_of!(RingHeader, consumers) + offset_of!(ConsumerLine, head);
    ring.geometry.bits().unpack_mark(read(image, ring.start + at as u64, true))
}

/// The index of an entry, mostly of one near the head.
fn index(choose: &mut dyn Choose, image: &Image, ring: &RingPart) -> u64 {
    let entries = ring.geometry.entries();
    match choose.below(4) {
        0 => choose.below(entries),
        _ => (head(image, ring).pos + choose.below(6)) % entries,
    }
}

/// The index of a take word, mostly of a record that is held, or of one near the head.
fn taken_index(choose: &mut dyn Choose, image: &Image, ring: &RingPart) -> u64 {
    let entries = ring.geometry.entries();
    let frontier = read(image, ring.start + offset_of!(RingHeader, frontier) as u64, true);
    match choose.below(8) {
        0 => choose.below(entries),
        1..=3 => (head(image, ring).pos + choose.below(3)) % entries,
        _ => (frontier + choose.below(8)) % entries,
    }
}

fn entry(choose: &mut dyn Choose, image: &Image, ring: &RingPart) -> u64 {
    let index = index(choose, image, ring);
    ring.start + ring.geometry.entries_offset() + index * size_of::<Entry>() as u64
}

fn read(image: &Image, at: u64, wide: bool) -> u64 {
    let at = at as usize;
    let mut bytes = [0; 8];
    let width = if wide { 8 } else { 4 };
    bytes[..width].copy_from_slice(&image.bytes[at..at + width]);
    u64::from_le_bytes(bytes)
}

/// Bytes of which nothing is known.
fn raw(choose: &mut dyn Choose, image: &Image, from: u64, bytes: u64) -> Write {
    let wide = choose.once_in(2);
    let width = if wide { 8 } else { 4 };
    let at = from + width * choose.below(bytes / width);
    word(choose, image, at, wide)
}

/// A word, changed into something near it, or at the ends of its range, or anything.
fn word(choose: &mut dyn Choose, image: &Image, at: u64, wide: bool) -> Write {
    let old = read(image, at, wide);
    let bits = if wide { 64 } else { 32 };
    let value = match choose.below(8) {
        0 | 1 => old ^ (1 << choose.below(bits)),
        2 => old.wrapping_add(1 + choose.below(4)),
        3 => old.wrapping_sub(1 + choose.below(4)),
        4 => pick(choose, &[0, 1, 2, 3, 7, 0x7fff_ffff, 0xffff_ffff, u64::MAX, 1 << 63]),
        5 => u64::from(MAX_RINGS) + choose.below(3),
        _ => choose.next_u64(),
    };
    Write { at, wide, value: if value == old { !old } else { value }, old }
}

/// A stamp, a claim word or a take word: any, or one that is nearly right.
fn stamp(choose: &mut dyn Choose, image: &Image, ring: &RingPart, at: u64) -> Write {
    if choose.below(4) == 0 {
        return word(choose, image, at, true);
    }
    let bits = ring.geometry.bits();
    let old = bits.unpack(read(image, at, true));
    let state = pick(
        choose,
        &[
            State::Free,
            State::Ready,
            State::Ready,
            State::Reading,
            State::Reading,
            State::Released,
            State::Skipped,
            State::Claimed,
            State::Run,
            State::Closed,
        ],
    );
    let owner = pick(choose, &[0, 0, 1, 2, 3, 4, 5, 8, 9, 1023]);
    let lap = match choose.below(6) {
        0 => old.lap + 1,
        1 => bits.lap(bits.last_pos()),
        2 | 3 => bits.lap(head(image, ring).pos),
        _ => old.lap,
    };
    let n = 1 + choose.below(bits.max_units());
    let value = bits.pack(state, lap.min(last_lap(bits)) * bits.entries(), n, owner);
    Write { at, wide: true, value, old: read(image, at, true) }
}

fn last_lap(bits: Bits) -> u64 {
    bits.lap(bits.last_pos())
}

/// A tail, head, peek, frontier…: any, or one that is nearly right, or at the end of the range.
fn position(choose: &mut dyn Choose, image: &Image, ring: &RingPart) -> Write {
    let bits = ring.geometry.bits();
    let (producers, consumers) =
        (offset_of!(RingHeader, producers), offset_of!(RingHeader, consumers));
    let (at, packed) = pick(
        choose,
        &[
            (producers + offset_of!(ProducerLine, tail), true),
            (producers + offset_of!(ProducerLine, intent), false),
            (consumers + offset_of!(ConsumerLine, head), true),
            (consumers + offset_of!(ConsumerLine, head), true),
            (consumers + offset_of!(ConsumerLine, peek), true),
            (offset_of!(RingHeader, frontier), false),
            (offset_of!(RingHeader, hint), false),
        ],
    );
    let at = ring.start + at as u64;
    if choose.below(4) == 0 {
        return word(choose, image, at, true);
    }
    let old = read(image, at, true);
    let now = if packed { bits.unpack_mark(old).pos } else { old };
    let entries = bits.entries();
    let near =
        pick(choose, &[0, 1, 2, entries / 4, entries - 1, entries, entries + 1, 5 * entries]);
    let pos = match choose.below(5) {
        0 => now.wrapping_add(near),
        1 => now.saturating_sub(near),
        2 => bits.last_pos().wrapping_add(near).wrapping_sub(entries),
        3 => near,
        _ => (u64::MAX >> if packed { entries.ilog2() } else { 0 }) - near,
    };
    let mark = Mark { pos, packets: choose.below(entries) };
    let value = if packed { bits.pack_mark(mark) } else { pos };
    Write { at, wide: true, value, old }
}

/// Computes the checksum anew, so that a change is not noticed by that alone.
pub(super) fn reseal(bytes: &mut [u8]) {
    let word = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 4)
            .map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]))
    };
    let checksum = offset_of!(SegmentHeader, checksum);
    let header_bytes = size_of::<SegmentHeader>();
    if bytes.len() < header_bytes {
        return;
    }
    bytes[checksum..checksum + 8].fill(0);
    let rings = word(bytes, offset_of!(SegmentHeader, rings)).min(MAX_RINGS) as usize;
    let directory = PAGE_BYTES as usize..PAGE_BYTES as usize + rings * size_of::<RingRecord>();
    let mut hash = Xxh3::new();
    hash.update(&bytes[..header_bytes]);
    hash.update(bytes.get(directory).unwrap_or(&[]));
    let sum = hash.digest();
    bytes[checksum..checksum + 8].copy_from_slice(&sum.to_le_bytes());
}
