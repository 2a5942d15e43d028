//! The payload bytes of a record that is owned: by a claim for writing, by a lease for reading.
//!
//! Lengths are checked against the private geometry on every access, so that neither a mistake here
//! nor a number from shared memory leads out of bounds. Exclusiveness rests on the protocol: a
//! [`Claim`] is made only by the CAS, or the role, that gives the units to this process, and a
//! [`Taken`] only by the one that gives it the record. A *hostile* process that maps the same memory
//! can change bytes under a reader (as with any shared memory); it can do no more than that.

#![allow(unsafe_code, reason = "one of the named places: payload bytes as slices")]

use super::{Claim, Ring, Taken};
use crate::shm::answer::Payload;
#[cfg(not(loom))]
use crate::shm::cpu::reading_takes_lines;
#[cfg(not(loom))]
use crate::shm::layout::INLINE_BYTES_TIMESTAMPED;
use crate::shm::layout::{Entry, INLINE_BYTES};
use crate::sync::Ordering::Relaxed;

/// Longest record whose lines are handed back, in bytes: of longer ones, the first are no longer in the
/// second-level cache.
#[cfg(not(loom))]
const HAND_BACK_MAX: usize = 256 * 1024;

/// The same on this CPU: none where a line is ours alone for having been read.
pub(super) fn hand_back_max() -> usize {
    #[cfg(not(loom))]
    let max = if reading_takes_lines() { 0 } else { HAND_BACK_MAX };
    #[cfg(loom)]
    let max = 0;
    max
}

impl Ring {
    #[inline(always)]
    fn assert_fits(&self, inline: bool, len: usize) {
        let max = if inline { self.inline_bytes } else { self.max_payload };
        assert!(len <= max, "a payload of {len} bytes in a place for {max}");
    }

    /// Copies a payload that fits into an entry that is claimed by this process.
    #[inline(always)]
    pub(super) fn fill(entry: &Entry, bytes: &[u8]) {
        debug_assert!(bytes.len() <= INLINE_BYTES);
        #[cfg(not(loom))]
        // SAFETY: in bounds, as the caller checked. Exclusive: the claim is the caller's.
        unsafe {
            copy_short(bytes.as_ptr(), entry.inline.get().cast(), bytes.len());
        };
        #[cfg(loom)]
        entry.inline.with_mut(|p| {
            // SAFETY: as above; loom checks the exclusiveness.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), p.cast(), bytes.len()) }
        });
        crate::sync::crash_point("write.after_copy");
    }

    /// Copies a payload into the claimed record.
    ///
    /// # Panics
    /// If it does not fit the ring's largest record.
    #[inline(always)]
    pub fn write(&self, claim: &mut Claim, inline: bool, bytes: &[u8]) {
        self.assert_fits(inline, bytes.len());
        if inline {
            Self::fill(self.memory().entry(claim.pos), bytes);
            return;
        }
        #[cfg(not(loom))]
        {
            let target = self.memory().payload_ptr(claim.pos, false);
            // SAFETY: in bounds: `assert_fits`, and units are contiguous up to a quarter of the
            // data region from every start, since the region is mapped twice. Exclusive as above.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
            crate::sync::crash_point("write.after_copy");
        }
        #[cfg(loom)]
        panic!("loom models use inline payloads");
    }

    /// Copies a payload that fits one unit into the claimed record, whose entry this is: into the data
    /// region, or into the entry.
    #[inline(always)]
    pub(super) fn write_unit<const IN_DATA: bool>(
        &self,
        claim: &mut Claim,
        entry: &Entry,
        bytes: &[u8],
    ) {
        if IN_DATA {
            self.write(claim, false, bytes);
        } else {
            Self::fill(entry, bytes);
        }
    }

    /// Says whether a payload fits one unit, in the data region or in its entry.
    #[inline(always)]
    pub(super) fn fits_unit<const IN_DATA: bool>(&self, len: usize) -> bool {
        if IN_DATA { !self.is_inline(len) && len <= self.unit_payload } else { self.is_inline(len) }
    }

    /// Reads the payload of a record of one unit, whose entry this is, leased by this process.
    #[inline(always)]
    pub(super) fn read_unit<const IN_DATA: bool>(
        &self,
        entry: &Entry,
        taken: &Taken,
        target: Emptied<'_>,
    ) {
        if IN_DATA {
            self.read(taken, target.out);
        } else {
            target.fill(entry, taken.len());
        }
    }

    /// Appends the payload of a leased record to `out`.
    ///
    /// # Panics
    /// Under loom only: if the payload does not lie in its entry.
    #[inline(always)]
    pub fn read(&self, taken: &Taken, out: &mut Vec<u8>) {
        if taken.is_inline() {
            // As much as the short ways need (`Emptied`), for the next record.
            out.reserve(INLINE_BYTES);
        }
        #[cfg(not(loom))]
        out.extend_from_slice(self.payload(taken));
        #[cfg(loom)]
        {
            assert!(taken.is_inline(), "loom models use inline payloads");
            self.assert_fits(true, taken.len());
            Emptied { out }.fill(self.memory().entry(taken.pos), taken.len());
        }
    }

    /// The payload of a leased record.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn payload<'a>(&'a self, taken: &'a Taken) -> &'a [u8] {
        self.assert_fits(taken.is_inline(), taken.len());
        let source = self.memory().payload_ptr(taken.pos, taken.is_inline());
        // SAFETY: in bounds as in `write`; initialised, since the memory was zeroed before its first
        // use; unchanged while the record is ours, except by a hostile process.
        unsafe { core::slice::from_raw_parts(source, taken.len()) }
    }

    /// The payload of a leased record of one unit, whose entry this is.
    ///
    /// # Panics
    /// Never, of a description that was checked.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn payload_in<'a>(&'a self, entry: &'a Entry, taken: &'a Taken) -> &'a [u8] {
        if !taken.is_inline() {
            return self.payload(taken);
        }
        assert!(taken.len() <= INLINE_BYTES, "a payload of {} bytes in an entry", taken.len());
        // SAFETY: the first `len` of the entry's inline bytes, asserted; otherwise as in `payload`.
        unsafe { core::slice::from_raw_parts(entry.inline.get().cast(), taken.len()) }
    }

    /// Writes into the entry and each line of a leased record, before it is released, so that the lines
    /// are ours alone (see `hand_back_lines`). The bytes stay as they are. Many consumers only: a single
    /// one writes its stamp.
    #[inline(always)]
    pub(super) fn hand_back(&self, taken: &Taken) {
        self.hand_back_at(self.memory().entry(taken.pos), taken);
    }

    /// As [`Ring::hand_back`], of a record whose entry the caller has looked up.
    #[inline(always)]
    pub(super) fn hand_back_at(&self, entry: &Entry, taken: &Taken) {
        // RELAXED: what it says already, and while the record is ours, nobody else writes it.
        entry.len.store(taken.len, Relaxed);
        self.hand_back_lines(taken);
    }

    /// Writes into each line of a leased record that lies in the data region, before it is released,
    /// so that the line is ours alone and the next producer fetches it cheaply (`consumer_single.rs`
    /// says why). The bytes stay as they are. Nothing under loom, which has no data region.
    #[inline(always)]
    pub fn hand_back_lines(&self, taken: &Taken) {
        #[cfg(loom)]
        let _ = (taken, self.hand_back_max);
        #[cfg(not(loom))]
        self.rewrite_lines(taken);
    }

    #[cfg(not(loom))]
    #[inline(always)]
    fn rewrite_lines(&self, taken: &Taken) {
        if taken.is_inline() || taken.len() > self.hand_back_max {
            return;
        }
        self.assert_fits(false, taken.len());
        let start = self.memory().payload_ptr(taken.pos, false);
        for offset in (0..taken.len()).step_by(64) {
            let byte = start.wrapping_add(offset);
            // SAFETY: in bounds as in `write`; ours, as in `payload`.
            let value = unsafe { byte.read_volatile() };
            // SAFETY: as for reading; no reference to the payload is left, since the lease is ending.
            unsafe { byte.write_volatile(value) };
        }
    }

    /// Fetches for writing what the next record will need if it is as long as the one just committed: the
    /// lines are the consumer's, and between two records there mostly is time to get them.
    #[inline(always)]
    pub(super) fn prefetch_data_behind(&self, claim: &Claim, len: usize, inline: bool) {
        #[cfg(not(loom))]
        if !inline {
            self.memory().prefetch_data_for_write(claim.pos + claim.n, len);
        }
        #[cfg(loom)]
        let _ = (claim, len, inline);
    }

    /// Where the next record's payload will lie if it is as long as the one just put.
    #[inline(always)]
    pub(super) fn payload_behind(&self, claim: &Claim, len: usize, inline: bool) -> Payload {
        #[cfg(not(loom))]
        if !inline {
            return Payload::at(self.memory().payload_ptr(claim.pos + claim.n, false), len);
        }
        #[cfg(loom)]
        let _ = (claim, len, inline);
        Payload::INLINE
    }

    /// The bytes of a claimed record, to be written in place.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn payload_mut<'a>(
        &'a self,
        claim: &'a mut Claim,
        inline: bool,
        len: usize,
    ) -> &'a mut [u8] {
        self.assert_fits(inline, len);
        let target = self.memory().payload_ptr(claim.pos, inline);
        // SAFETY: as in `write`; the slice borrows the claim mutably.
        unsafe { core::slice::from_raw_parts_mut(target, len) }
    }

    /// The bytes of a claimed record, to be looked at.
    #[cfg(not(loom))]
    #[must_use]
    pub fn claimed_payload<'a>(&'a self, claim: &'a Claim, inline: bool, len: usize) -> &'a [u8] {
        self.assert_fits(inline, len);
        let source = self.memory().payload_ptr(claim.pos, inline);
        // SAFETY: as in `payload_mut`; the slice borrows the claim.
        unsafe { core::slice::from_raw_parts(source, len) }
    }

    /// The first three words of the inline part of an entry whose record is leased.
    #[cfg(not(loom))]
    #[must_use]
    pub(super) fn inline_words(&self, pos: u64) -> [u64; 3] {
        let source = self.memory().payload_ptr(pos, true).cast::<[u64; 3]>();
        // SAFETY: the first 24 of the entry's 48 inline bytes, 16 bytes into a 64-aligned entry;
        // nobody writes while the record is ours, except a hostile process.
        unsafe { source.read() }
    }

    /// Writes the time of the put into record `i` of a claim. Rings that keep timestamps only.
    #[cfg(not(loom))]
    #[inline]
    pub fn write_timestamp(&self, claim: &mut Claim, i: u64, monotonic_ns: u64) {
        debug_assert!(self.geometry().timestamps);
        let base = self.memory().payload_ptr(claim.pos + i, true);
        let target = base.wrapping_add(INLINE_BYTES_TIMESTAMPED).cast::<u64>();
        // SAFETY: the last 8 of the entry's 48 inline bytes; the entry is 64-aligned; exclusive.
        unsafe { target.write(monotonic_ns) };
    }

    /// Reads the time of the put of a leased record (`CLOCK_MONOTONIC`, nanoseconds).
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn timestamp(&self, taken: &Taken) -> Option<u64> {
        if !self.geometry().timestamps {
            return None;
        }
        let base = self.memory().payload_ptr(taken.pos, true);
        let source = base.wrapping_add(INLINE_BYTES_TIMESTAMPED).cast::<u64>();
        // SAFETY: as in `write_timestamp`; nobody writes while the record is ours.
        Some(unsafe { source.read() })
    }
}

/// An empty vector with room for what fits an entry: its capacity was looked at once, and cannot change.
#[derive(Debug)]
pub(super) struct Emptied<'a> {
    out: &'a mut Vec<u8>,
    /// Where its bytes lie.
    #[cfg(not(loom))]
    place: *mut [u8; INLINE_BYTES],
}

impl<'a> Emptied<'a> {
    /// Empties a vector; `None` if it has not so much room.
    #[inline(always)]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Option<Self> {
        out.clear();
        #[cfg(not(loom))]
        {
            let place = out.spare_capacity_mut().first_chunk_mut::<INLINE_BYTES>()?;
            let place = std::ptr::from_mut(place).cast();
            Some(Self { out, place })
        }
        #[cfg(loom)]
        Some(Self { out })
    }

    /// Copies the payload that lies in an entry leased by this process.
    #[inline(always)]
    fn fill(self, entry: &Entry, len: usize) {
        assert!(len <= INLINE_BYTES, "a payload of {len} bytes in an entry");
        #[cfg(not(loom))]
        {
            // SAFETY: from the whole inline part of an entry, to as many bytes of the vector's own, which
            // nobody has touched since they were found; a fixed length compiles to three loads and
            // stores. The record is the caller's.
            unsafe { self.place.copy_from_nonoverlapping(entry.inline.get().cast(), 1) };
            // SAFETY: the first `len` of the bytes just written.
            unsafe { self.out.set_len(len) };
        }
        #[cfg(loom)]
        entry.inline.with(|p| {
            // SAFETY: in bounds, asserted; loom checks that nobody writes.
            let bytes = unsafe { core::slice::from_raw_parts(p.cast::<u8>(), len) };
            self.out.extend_from_slice(bytes);
        });
    }
}

/// Copies up to 48 bytes by overlapping moves: without the call to `memcpy`, whose overhead is more
/// than the copy.
///
/// # Safety
/// As for `copy_nonoverlapping`; `len` is at most 48.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_short(from: *const u8, to: *mut u8, len: usize) {
    /// Moves the first and the last `N` bytes of `len`.
    ///
    /// # Safety
    /// As above, and `N <= len`.
    #[inline(always)]
    unsafe fn both_ends<const N: usize>(from: *const u8, to: *mut u8, len: usize) {
        // SAFETY: the first `N` of `len` bytes.
        let first = unsafe { from.cast::<[u8; N]>().read() };
        // SAFETY: the last `N` of `len` bytes.
        let last = unsafe { from.wrapping_add(len - N).cast::<[u8; N]>().read() };
        // SAFETY: as for reading.
        unsafe { to.cast::<[u8; N]>().write(first) };
        // SAFETY: as for reading.
        unsafe { to.wrapping_add(len - N).cast::<[u8; N]>().write(last) };
    }
    if len >= 16 {
        if len > 32 {
            // SAFETY: bytes 16 to 32 of more than 32.
            let middle = unsafe { from.wrapping_add(16).cast::<[u8; 16]>().read() };
            // SAFETY: as for reading.
            unsafe { to.wrapping_add(16).cast::<[u8; 16]>().write(middle) };
        }
        // SAFETY: at least 16 bytes.
        unsafe { both_ends::<16>(from, to, len) };
    } else if len >= 8 {
        // SAFETY: at least 8 bytes.
        unsafe { both_ends::<8>(from, to, len) };
    } else if len >= 4 {
        // SAFETY: at least 4 bytes.
        unsafe { both_ends::<4>(from, to, len) };
    } else if len != 0 {
        // One to three: the first, the one in the middle, and the last. No call, for which the caller would
        // have to save its registers.
        for at in [0, len / 2, len - 1] {
            // SAFETY: one of `len` bytes.
            let byte = unsafe { from.wrapping_add(at).read() };
            // SAFETY: as for reading.
            unsafe { to.wrapping_add(at).write(byte) };
        }
    }
}
