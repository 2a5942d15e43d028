//! Large records that wait for room, so that small ones do not slip past them for ever.
//!
//! The word holds who waits, for how many units, and until when that is to be honoured: a waiter
//! renews it in each slice, so that one that is stopped or dead is forgotten by itself.

use std::time::{Duration, Instant};

use crate::queue::Wait;
use crate::shm::os::monotonic_ns;
use crate::shm::ring::Ring;
use crate::shm::wait::SLICE;
use crate::sync::Ordering::{AcqRel, Relaxed};

const MS: u64 = 1_000_000;
const OWNER_BITS: u32 = 10;
const UNIT_BITS: u32 = 18;
const TIME_MASK: u64 = (1 << (64 - OWNER_BITS - UNIT_BITS)) - 1;

fn pack(until_ms: u64, units: u64, owner: u16) -> u64 {
    ((until_ms & TIME_MASK) << (OWNER_BITS + UNIT_BITS))
        | ((units & ((1 << UNIT_BITS) - 1)) << OWNER_BITS)
        | u64::from(owner)
}

fn honoured_until_ms(word: u64) -> u64 {
    word >> (OWNER_BITS + UNIT_BITS)
}

/// Who waits, for how many units: what a renewal leaves as it is.
fn who_and_units(word: u64) -> u64 {
    word & ((1 << (OWNER_BITS + UNIT_BITS)) - 1)
}

/// An announcement; withdrawn when dropped.
pub(crate) struct Announced<'a> {
    ring: &'a Ring,
    owner: u16,
    units: u64,
}

impl<'a> Announced<'a> {
    pub(crate) fn new(ring: &'a Ring, owner: u16, units: u64) -> Self {
        let announced = Self { ring, owner, units };
        announced.renew();
        announced
    }

    /// Announces it (again), unless another's announcement is still fresh.
    pub(crate) fn renew(&self) {
        let slot = &self.ring.memory().header().shared.large_claim;
        let now = monotonic_ns() / MS;
        let word = slot.load(Relaxed); // RELAXED: a hint.
        let theirs = word & ((1 << OWNER_BITS) - 1) != u64::from(self.owner);
        if word != 0 && theirs && honoured_until_ms(word) > now & TIME_MASK {
            return;
        }
        let mine = pack(now + SLICE.as_millis() as u64, self.units, self.owner);
        // RELAXED: a hint.
        let _ = slot.compare_exchange(word, mine, AcqRel, Relaxed);
        crate::sync::crash_point("large_claim.announced");
    }
}

impl Drop for Announced<'_> {
    fn drop(&mut self) {
        let slot = &self.ring.memory().header().shared.large_claim;
        let word = slot.load(Relaxed); // RELAXED: a hint.
        // Not another's of this process, which has the same owner.
        if who_and_units(word) == who_and_units(pack(0, self.units, self.owner)) {
            // RELAXED: a hint.
            let _ = slot.compare_exchange(word, 0, AcqRel, Relaxed);
        }
    }
}

/// Waits until the announcement is withdrawn, met, or no longer to be honoured.
#[cold]
pub(crate) fn let_pass(ring: &Ring, word: u64, wait: Wait) {
    let units = (word >> OWNER_BITS) & ((1 << UNIT_BITS) - 1);
    let give_up = monotonic_ns() + SLICE.as_nanos() as u64;
    loop {
        let now = monotonic_ns();
        // RELAXED: a hint. Its waiter renews it whenever it wakes: the time changes, no more.
        let current = ring.memory().header().shared.large_claim.load(Relaxed);
        let gone = who_and_units(current) != who_and_units(word);
        let void = honoured_until_ms(current) <= (now / MS) & TIME_MASK;
        let fits = ring.used_units() + units < ring.geometry().entries();
        let late = matches!(wait, Wait::Until(deadline) if Instant::now() >= deadline);
        if gone || void || fits || late || now >= give_up {
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}
