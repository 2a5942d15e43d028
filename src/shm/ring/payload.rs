//! The payload bytes of a record that is owned: by a claim for writing, by a lease for reading.
//!
//! Lengths are checked against the private geometry on every access, so that neither a mistake here
//! nor a number from shared memory leads out of bounds. Exclusiveness rests on the protocol: a
//! [`Claim`] is made only by the CAS, or the role, that gives the units to this process, and a
//! [`Taken`] only by the one that gives it the record. A *hostile* process that maps the same memory
//! can change bytes under a reader (as with any shared memory); it can do no more than that.

#![allow(unsafe_code, reason = "one of the named places: payload bytes as slices")]

use super::{Claim, Ring, Taken};
#[cfg(not(loom))]
use crate::shm::layout::INLINE_BYTES_TIMESTAMPED;

impl Ring {
    #[inline(always)]
    fn assert_fits(&self, inline: bool, len: usize) {
        let geometry = self.geometry();
        let max = if inline { geometry.inline_bytes() } else { geometry.max_payload() };
        assert!(len <= max, "a payload of {len} bytes in a place for {max}");
    }

    /// Copies a payload into the claimed record, or into record `i` of a claimed run.
    ///
    /// # Panics
    /// If it does not fit the ring's largest record.
    #[inline(always)]
    pub fn write(&self, claim: &mut Claim, i: u64, inline: bool, bytes: &[u8]) {
        self.assert_fits(inline, bytes.len());
        #[cfg(not(loom))]
        {
            let target = self.memory().payload_ptr(claim.pos + i, inline);
            // SAFETY: in bounds: `assert_fits`, and units are contiguous up to a quarter of the
            // data region from every start, since the region is mapped twice. Exclusive: the claim
            // is ours, and `&mut`.
            unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        }
        #[cfg(loom)]
        {
            assert!(inline, "loom models use inline payloads");
            self.memory().entry(claim.pos + i).inline.with_mut(|p| {
                // SAFETY: as above; loom checks the exclusiveness.
                unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), p.cast(), bytes.len()) }
            });
        }
    }

    /// Appends the payload of a leased record to `out`.
    #[inline(always)]
    pub fn read(&self, taken: &Taken, out: &mut Vec<u8>) {
        #[cfg(not(loom))]
        out.extend_from_slice(self.payload(taken));
        #[cfg(loom)]
        {
            self.assert_fits(taken.inline, taken.len);
            assert!(taken.inline, "loom models use inline payloads");
            self.memory().entry(taken.pos).inline.with(|p| {
                // SAFETY: in bounds, asserted; loom checks that nobody writes.
                let bytes = unsafe { core::slice::from_raw_parts(p.cast::<u8>(), taken.len) };
                out.extend_from_slice(bytes);
            });
        }
    }

    /// The payload of a leased record.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn payload<'a>(&'a self, taken: &'a Taken) -> &'a [u8] {
        self.assert_fits(taken.inline, taken.len);
        let source = self.memory().payload_ptr(taken.pos, taken.inline);
        // SAFETY: in bounds as in `write`; initialised, since the memory was zeroed before its first
        // use; unchanged while the record is ours, except by a hostile process.
        unsafe { core::slice::from_raw_parts(source, taken.len) }
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
