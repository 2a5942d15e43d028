//! Watches packets pass through a ring without taking any.
//!
//! A tap follows the records from one position on, as a consumer would, but touches nothing, so the
//! ring does not wait for it. Consumers may be faster: a record that was acknowledged can still be
//! read until its place is used again. Where the tap was too slow even for that, it goes on at the
//! consumers' head and says how many packets it missed.
//!
//! A record that is reported was whole. After the copy its stamp must be of the same lap and length,
//! and its place must not have been up for use again:
//!
//! - not reclaimed yet: then nobody may write there; or
//! - on x86-64, where stores become visible in their order: the tail is so far from the next lap's
//!   use of the place that not even a put in progress, of a quarter of the ring, reaches it.

use super::entry::{describe, put_at};
use crate::error::OpenError;
use crate::shm::layout::{
    FLAG_IN_DATA, FLAG_KIND, FLAG_REDELIVERIES, REDELIVERIES_SHIFT, RING_OPEN,
};
use crate::shm::ring::stamp::{Mark, State};
use crate::shm::segment::SegmentView;
use crate::shm::view::RingView;
use crate::sync::Ordering::Acquire;
use crate::sync::fence;

/// Where a [`Tap`] starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TapStart {
    /// With what is put from now on.
    Now,
    /// With the packets that wait for their first delivery.
    Waiting,
}

/// A packet that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// Its position.
    pub position: u64,
    /// Length of its payload, in bytes.
    pub len: u32,
    /// Record kind.
    pub kind: u8,
    /// Redeliveries begun.
    pub redeliveries: u32,
    /// Time of the put (`CLOCK_MONOTONIC`, nanoseconds), where the ring keeps it.
    pub put_at_ns: Option<u64>,
    /// As many of its first bytes as were asked for.
    pub payload: Vec<u8>,
}

/// What a [`Tap`] reports, in the order of the ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tapped {
    /// A packet passed.
    Packet(Passed),
    /// So many packets were too fast; those whose writer died, or gave up, may be among them.
    Missed(u64),
}

/// What one look of a [`Tap`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Polled {
    /// Packets reported.
    pub seen: u64,
    /// Packets reported as missed.
    pub missed: u64,
    /// What is claimed next is not committed yet: nothing behind it is reported before it is.
    pub waits_for_writer: bool,
    /// The ring is closed or destroyed, and everything before the tail has been reported.
    pub ended: bool,
    /// The ring holds what no ringway writes, at the tap's position: it can go no further.
    pub damaged: bool,
}

/// Watches one ring.
#[derive(Debug)]
pub struct Tap {
    ring: RingView,
    next: Mark,
    /// Units beyond the first of all records claimed, when `next` was last taken from a mark.
    extra_units: u64,
}

enum Look {
    Whole(Passed, u64),
    Skipped(u64, u64),
    Pending,
    Overtaken,
    Damaged,
}

impl Tap {
    /// Watches a ring of a segment.
    ///
    /// # Errors
    /// As [`SegmentView::ring_view`].
    pub fn of_segment(
        segment: &SegmentView,
        index: usize,
        start: TapStart,
    ) -> Result<Self, OpenError> {
        Ok(Self::of_view(segment.ring_view(index)?, start))
    }

    /// Watches any ring.
    #[must_use]
    pub fn of_view(ring: RingView, start: TapStart) -> Self {
        let next = match start {
            TapStart::Now => ring.tail(),
            TapStart::Waiting => ring.exposed(),
        };
        Self { extra_units: ring.extra_put_units(), ring, next }
    }

    /// Reports what has passed since the last look, oldest first, with at most so many bytes of each
    /// payload. Never waits; reports at most as many packets as were there when it was called.
    pub fn poll(&mut self, payload_bytes: usize, mut each: impl FnMut(Tapped)) -> Polled {
        let mut polled = Polled::default();
        // Before the tail: a put that began before the close shows in it.
        let closed = self.ring.shared().closed != RING_OPEN;
        let tail = self.ring.tail().pos;
        while self.next.pos < tail {
            match self.look(self.next.pos, payload_bytes) {
                Look::Whole(passed, n) => {
                    self.next = self.next.plus(n, 1);
                    polled.seen += 1;
                    each(Tapped::Packet(passed));
                }
                Look::Skipped(n, packets) => self.next = self.next.plus(n, packets),
                Look::Pending => {
                    polled.waits_for_writer = true;
                    return polled;
                }
                Look::Overtaken => match self.catch_up() {
                    Some(missed) => {
                        polled.missed += missed;
                        each(Tapped::Missed(missed));
                    }
                    None => return polled,
                },
                Look::Damaged => {
                    polled.damaged = true;
                    return polled;
                }
            }
        }
        polled.ended = closed;
        polled
    }

    fn look(&self, pos: u64, payload_bytes: usize) -> Look {
        let bits = self.ring.bits();
        let (_, stamp) = self.ring.stamp(pos);
        if stamp.lap != bits.lap(pos) {
            return if stamp.lap < bits.lap(pos) { Look::Pending } else { Look::Overtaken };
        }
        let found = match stamp.state {
            State::Ready | State::Reading | State::Released => {
                match self.read(pos, stamp.n, payload_bytes) {
                    Some(passed) => Look::Whole(passed, stamp.n),
                    None => Look::Damaged,
                }
            }
            State::Skipped => Look::Skipped(stamp.n, self.packets_of_skipped(pos, stamp.n)),
            _ => Look::Damaged,
        };
        // SYNC committed: whatever we copied of a later lap comes with what let it be written.
        fence(Acquire);
        let (_, now) = self.ring.stamp(pos);
        if (now.lap, now.n) == (stamp.lap, stamp.n) && self.is_untouched(pos) {
            found
        } else {
            Look::Overtaken
        }
    }

    /// Says whether the place of a record cannot have been written for the next lap yet.
    fn is_untouched(&self, pos: u64) -> bool {
        if pos >= self.ring.limit() {
            return true;
        }
        let bits = self.ring.bits();
        let reach = self.ring.tail().pos.saturating_add(bits.max_units());
        cfg!(target_arch = "x86_64") && reach <= pos.saturating_add(bits.entries())
    }

    /// Reads the record at `pos`; `None` where its length makes no sense.
    fn read(&self, pos: u64, n: u64, payload_bytes: usize) -> Option<Passed> {
        let words = self.ring.description(pos);
        let inline = words.flags & FLAG_IN_DATA == 0;
        let payload = describe(&self.ring, pos, n, inline, words.len, payload_bytes)?;
        Some(Passed {
            position: pos,
            len: words.len,
            kind: (words.flags & FLAG_KIND) as u8,
            redeliveries: (words.flags & FLAG_REDELIVERIES) >> REDELIVERIES_SHIFT,
            put_at_ns: put_at(&self.ring, pos),
            payload,
        })
    }

    fn packets_of_skipped(&self, pos: u64, n: u64) -> u64 {
        let bits = self.ring.bits();
        let claim = self.ring.claim(pos).map(|word| bits.unpack(word));
        match claim {
            Some(claim) if claim.lap == bits.lap(pos) && claim.state == State::Run => n,
            _ => 1,
        }
    }

    /// Goes on at the head, which is the start of a record and knows how many packets came before it;
    /// says how many were missed.
    fn catch_up(&mut self) -> Option<u64> {
        let bits = self.ring.bits();
        let (to, extra_units) = (self.ring.head(), self.ring.extra_put_units());
        let units = to.pos.checked_sub(self.next.pos).filter(|&units| units != 0)?;
        // Marks count packets modulo 2^k; the counters say about how many there were.
        let about = units.saturating_sub(extra_units.saturating_sub(self.extra_units));
        let modulus = bits.entries();
        let exact = to.packets.wrapping_sub(self.next.packets) & (modulus - 1);
        let laps = (about.saturating_sub(exact) + modulus / 2) / modulus;
        (self.next, self.extra_units) = (to, extra_units);
        Some(exact + laps * modulus)
    }
}
