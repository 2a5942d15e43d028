//! What an omniscient observer sees at the steps where a promise is kept or broken: puts that
//! succeed, records that are taken, shown, read and acknowledged, and `Closed`.

use super::scenario::Scenario;
use super::world::{Bad, Lease, MAX_LEASES, MAX_PACKETS, World};

impl World {
    /// Counts a put as successful.
    pub(crate) fn succeed(&mut self, packet: u8) {
        if self.told_closed {
            self.fail(Bad::ClosedEarly);
        }
        self.put |= 1 << packet;
    }

    /// A consumer won a fresh record: its producer's order is decided here.
    pub(crate) fn note_taken(&mut self, s: &Scenario, pos: u8) {
        if let Some(packet) = self.ring.units[s.index(pos)].checked_sub(1)
            && usize::from(packet) < MAX_PACKETS
        {
            if self.taken & s.later(packet) != 0 {
                self.fail(Bad::Order);
            }
            self.taken |= 1 << packet;
        }
    }

    /// Adds a lease that is not exposed yet.
    pub(crate) fn hold(&mut self, me: usize, pos: u8, n: u8, flagged: bool) {
        let free = self.procs[me].leases.iter().position(Option::is_none);
        if let Some(i) = free {
            self.procs[me].leases[i] = Some(Lease { pos, n, unit: 0, flagged, returned: false });
        } else {
            unreachable!("a scenario holds at most {MAX_LEASES} leases");
        }
    }

    /// Leases of a participant.
    pub(crate) fn held(&self, me: usize) -> usize {
        self.procs[me].leases.iter().flatten().count()
    }

    /// Shows the application every lease that it has not seen.
    pub(crate) fn expose(&mut self, s: &Scenario, me: usize) {
        for i in 0..MAX_LEASES {
            let Some(mut lease) = self.procs[me].leases[i].filter(|l| l.unit == 0 && !l.returned)
            else {
                continue;
            };
            lease.unit = self.ring.units[s.index(lease.pos)];
            let packet = usize::from(lease.unit.wrapping_sub(1));
            if packet >= MAX_PACKETS {
                self.fail(Bad::Torn);
                lease.unit = u8::MAX;
            } else {
                if self.acked & (1 << packet) != 0 {
                    self.fail(Bad::AckedAgain);
                }
                let count = if lease.flagged { self.ring.counts[s.index(lease.pos)] } else { 0 };
                let before = self.exposed[packet];
                if before > count || (before < count && self.crashes == 0) {
                    self.fail(Bad::Unflagged);
                }
                self.exposed[packet] = (self.exposed[packet] + 1).min(4);
            }
            self.procs[me].leases[i] = Some(lease);
        }
        self.check_readers(s);
    }

    /// Every exposed lease must read its packet in all its units, and alone.
    pub(crate) fn check_readers(&mut self, s: &Scenario) {
        let mut seen: u16 = 0;
        for me in 0..s.roles.len() {
            for i in 0..MAX_LEASES {
                let Some(lease) = self.procs[me].leases[i].filter(|l| l.unit != 0) else {
                    continue;
                };
                let whole = (lease.pos..lease.pos + lease.n)
                    .all(|p| self.ring.units[s.index(p)] == lease.unit);
                if !whole {
                    self.fail(Bad::Torn);
                } else if seen & (1 << lease.unit) != 0 {
                    self.fail(Bad::Stolen);
                }
                seen |= 1 << (lease.unit & 15);
            }
        }
    }

    /// Removes a lease and counts its packet as acknowledged.
    pub(crate) fn acknowledge(&mut self, me: usize, slot: usize) {
        if let Some(lease) = self.procs[me].leases[slot].take()
            && lease.unit != u8::MAX
        {
            self.acked |= 1 << (lease.unit - 1);
        }
        self.procs[me].leases[slot..].rotate_left(1);
    }

    /// A consumer is told `Closed`: everything before must be acknowledged, or leased by itself.
    pub(crate) fn tell_closed(&mut self, me: usize) {
        let own = self.procs[me].leases.iter().flatten();
        let mine = own.filter(|l| l.unit != u8::MAX).fold(0u16, |set, l| set | 1 << (l.unit - 1));
        if self.put & !self.acked & !mine != 0 {
            self.fail(Bad::ClosedEarly);
        }
        self.told_closed = true;
    }
}
