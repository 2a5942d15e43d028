//! How full a ring is: what waits, what is in use, what is leased. Looks, and changes nothing.

use super::Ring;
use super::stamp::State;
use crate::shm::storage::Side;

impl Ring {
    /// Packets waiting: claimed or committed, and given to no consumer yet. Exact when nothing is in
    /// progress, otherwise off by at most the operations in progress.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        // The exposed mark first: it can only grow, so the difference never goes negative.
        let from = self.exposed();
        self.bits.waiting(from, self.load_tail().1)
    }

    /// Units in use: claimed, waiting, leased, or not reclaimed yet. Same exactness.
    #[must_use]
    pub fn used_units(&self) -> u64 {
        let mut limit = self.reclaim_limit();
        let tail = self.load_tail().1.pos;
        if self.geometry().consumers == Side::Multi {
            // The frontier follows late: look past what was released.
            limit = self.passed_from(limit).min(tail);
        }
        tail.saturating_sub(limit).min(self.entries)
    }

    /// 0.0–1.0: the larger of packets/maxsize and units/capacity.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        self.occupied(self.used_units())
    }

    /// As [`Ring::occupancy`], for choosing among many rings: looks at no entry, so what was skipped and is
    /// still to be passed counts as used.
    #[must_use]
    pub fn load(&self) -> f64 {
        let mut limit = self.reclaim_limit();
        let tail = self.load_tail().1.pos;
        if self.geometry().consumers == Side::Multi {
            limit = self.passed_between(limit, self.head_pos()).min(tail);
        }
        self.occupied(tail.saturating_sub(limit).min(self.entries))
    }

    /// Fetches what a look at the load, and the put of a small record after it, will read and write beyond the
    /// header, for one who knows early that both may come.
    #[cfg(not(loom))]
    #[inline]
    pub fn prefetch_put(&self) {
        let tail = self.load_tail().1.pos;
        self.memory.prefetch_place(tail);
        self.memory.prefetch_data_for_write(tail, 64);
        if self.geometry().consumers == Side::Multi {
            self.memory.prefetch_take(self.reclaim_limit());
        }
    }

    fn occupied(&self, units: u64) -> f64 {
        let space = units as f64 / self.entries as f64;
        match self.geometry().maxsize {
            0 => space,
            maxsize => space.max(self.waiting() as f64 / maxsize as f64).min(1.0),
        }
    }

    /// Says whether a packet of 0 bytes would be refused for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let maxsize = self.geometry().maxsize;
        self.used_units() >= self.entries || (maxsize != 0 && self.waiting() >= maxsize)
    }

    /// Records leased and not acknowledged, by anyone but `except` (0 for nobody). Walks the entries
    /// between the reclaim limit and the head.
    #[must_use]
    pub fn leased(&self, except: u16) -> u64 {
        let mut leased = 0;
        if self.geometry().consumers == Side::Multi {
            self.walk_taken(|_, _, take| -> Option<()> {
                let theirs = take.owner != except || except == 0;
                leased += match take.state {
                    State::Run if theirs => take.n,
                    State::Reading if theirs => 1,
                    _ => 0,
                };
                None
            });
            return leased;
        }
        let (mut pos, end) = (self.reclaim_limit(), self.load_peek().pos);
        // A ring has at most `entries` records, whatever the words say.
        for _ in 0..self.entries {
            let (_, stamp) = self.load_stamp(pos);
            if pos >= end || stamp.lap != self.bits.lap(pos) {
                break;
            }
            leased += u64::from(stamp.state == State::Ready && except == 0);
            pos += stamp.n;
        }
        leased
    }
}
