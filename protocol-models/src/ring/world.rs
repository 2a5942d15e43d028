//! The state of a model: the shared words, each participant's private state, and what an
//! omniscient observer remembers.

use super::scenario::{Kind, Scenario};
use super::words::{Age, Held, Ring, Stamp, State, Take, Word};
use super::{
    adopt, consumer_many, consumer_one, frontier, full, join, producer_many, producer_one,
};

/// Most participants of a scenario.
pub(crate) const MAX_PROCS: usize = 5;
/// Most leases of one consumer.
pub(crate) const MAX_LEASES: usize = 3;
/// Most packets of a scenario.
pub(crate) const MAX_PACKETS: usize = 10;

/// Where a participant is in its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pc {
    /// Not started: waits for its predecessor's death.
    Absent,
    /// Killed.
    Dead,
    /// Its program is finished; it stays attached.
    Done,
    /// Scrubbing under the lock of its id, before it joins.
    Join(join::Pc),
    /// A producer of a many-producer ring.
    PutMany(producer_many::Pc),
    /// The producer of a one-producer ring.
    PutOne(producer_one::Pc),
    /// A producer at a full ring.
    Full(full::Pc),
    /// A consumer of a many-consumer ring.
    GetMany(consumer_many::Pc),
    /// The same, looking for records to adopt.
    Adopt(adopt::Pc),
    /// The consumer of a one-consumer ring.
    GetOne(consumer_one::Pc),
    /// Helping the frontier.
    Frontier(frontier::Pc, frontier::After),
    /// A closer about to set `closed` to this.
    Close(u8),
}

/// A record that a consumer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Lease {
    pub(crate) pos: u8,
    pub(crate) n: u8,
    /// What the reader believes it reads; 0 before exposure.
    pub(crate) unit: u8,
    pub(crate) flagged: bool,
    /// Dropped without an ack, by the consumer of a one-consumer ring.
    pub(crate) returned: bool,
}

/// A store that has not left the store buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Store {
    Intent(u8),
    Stamp(u8, Stamp),
    Tail(Word),
}

/// One participant's private state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proc {
    pub(crate) pc: Pc,
    /// Its next call.
    pub(crate) call: u8,
    pub(crate) leases: [Option<Lease>; MAX_LEASES],
    pub(crate) buffer: [Option<Store>; 4],
}

/// What is at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// Taken, released or not.
    Taken(Take),
    /// Skipped, so many units.
    Skipped(u8),
    /// Committed.
    Ready,
    /// Not committed.
    Older,
    /// Used again since.
    Newer,
}

/// What must never happen; each is a bit of [`World::bad`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bad {
    /// A reader was exposed to something else than one whole committed packet.
    Torn,
    /// Two live consumers hold the same record.
    Stolen,
    /// A packet was delivered after its ack.
    AckedAgain,
    /// A packet came again without a flag, or with too small a count; or with too large a count
    /// though nobody died.
    Unflagged,
    /// A producer's packets were taken out of order.
    Order,
    /// A put was refused while there was room.
    Refused,
    /// `Closed` was returned with unacknowledged packets before the seal, or a put succeeded after.
    ClosedEarly,
}

/// The state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) ring: Ring,
    pub(crate) procs: [Proc; MAX_PROCS],
    /// Who holds the lock of an id: participant + 1, or 0.
    pub(crate) locks: [u8; MAX_PROCS + 1],
    pub(crate) crashes: u8,
    pub(crate) gives: u8,
    /// Packets whose put succeeded.
    pub(crate) put: u16,
    /// Packets taken for the first time.
    pub(crate) taken: u16,
    /// Packets acknowledged.
    pub(crate) acked: u16,
    /// Times each packet was exposed.
    pub(crate) exposed: [u8; MAX_PACKETS],
    /// Some consumer was told `Closed`.
    pub(crate) told_closed: bool,
    pub(crate) bad: u8,
}

impl World {
    /// Remembers that something forbidden happened.
    pub(crate) fn fail(&mut self, bad: Bad) {
        self.bad |= 1 << bad as u8;
    }

    /// The stamp where the record at `pos` starts.
    pub(crate) fn stamp(&self, s: &Scenario, pos: u8) -> Stamp {
        self.ring.stamps[s.index(pos)]
    }

    /// CAS of a stamp.
    pub(crate) fn cas_stamp(&mut self, s: &Scenario, pos: u8, old: Stamp, new: Stamp) -> bool {
        let word = &mut self.ring.stamps[s.index(pos)];
        let same = *word == old;
        if same {
            *word = new;
        }
        same
    }

    /// The take word of the record that starts at `pos`.
    pub(crate) fn take(&self, s: &Scenario, pos: u8) -> Take {
        self.ring.takes[s.index(pos)]
    }

    /// Plain store of a take word.
    pub(crate) fn store_take(&mut self, s: &Scenario, pos: u8, held: Held, n: u8, owner: u8) {
        self.ring.takes[s.index(pos)] = Take { lap: s.lap(pos), n, owner, held };
    }

    /// CAS of a take word.
    pub(crate) fn cas_take(&mut self, s: &Scenario, pos: u8, old: Take, new: Take) -> bool {
        let word = &mut self.ring.takes[s.index(pos)];
        let same = *word == old;
        if same {
            *word = new;
        }
        same
    }

    /// What an observer of all words sees at a position of a ring with many consumers. It knows a
    /// word that was never written by its length, which is 0.
    pub(crate) fn at(&self, s: &Scenario, pos: u8) -> At {
        let take = self.take(s, pos);
        let stamp = self.stamp(s, pos);
        match (s.age(take.lap, pos), s.age(stamp.lap, pos), stamp.state) {
            (Age::Newer, ..) | (_, Age::Newer, _) => At::Newer,
            (Age::Same, ..) if take.n > 0 => At::Taken(take),
            (_, Age::Same, State::Skipped) if stamp.n > 0 => At::Skipped(stamp.n),
            (_, Age::Same, _) if stamp.n > 0 => At::Ready,
            _ => At::Older,
        }
    }

    /// Where the frontier of a ring with many consumers would be, had somebody helped it.
    pub(crate) fn reclaimable(&self, s: &Scenario) -> u8 {
        let mut low = self.ring.frontier;
        loop {
            low += match self.at(s, low) {
                At::Taken(Take { held: Held::Released, n, .. }) | At::Skipped(n) => n,
                _ => return low,
            };
        }
    }

    /// Whether the lock of an id is free, that is, whether its owner is dead.
    pub(crate) fn dead(&self, s: &Scenario, id: u8) -> bool {
        if s.locks {
            return self.locks[usize::from(id)] == 0;
        }
        !s.roles
            .iter()
            .zip(&self.procs)
            .any(|(role, p)| role.id == id && !matches!(p.pc, Pc::Dead | Pc::Absent))
    }

    /// Whether the lock of the producer's role is free.
    pub(crate) fn role_is_free(&self, s: &Scenario) -> bool {
        !s.roles
            .iter()
            .zip(&self.procs)
            .any(|(role, p)| role.kind == Kind::Producer && !matches!(p.pc, Pc::Dead | Pc::Absent))
    }

    /// Packets of the skipped record at `pos`, from its claim word. Only whoever then moves `head`
    /// from `pos` relies on it: while `head` is there, nobody can claim or seal the next lap.
    pub(crate) fn skipped_packets(&self, s: &Scenario, pos: u8) -> u8 {
        let claim = self.ring.claims[s.index(pos)];
        if claim.lap == s.lap(pos) { claim.packets() } else { 1 }
    }

    /// CAS of `head` from `pos` over `n` units and `k` packets.
    pub(crate) fn advance_head(&mut self, pos: u8, n: u8, k: u8) {
        if self.ring.head.pos == pos {
            self.ring.head = self.ring.head.plus(n, k);
        }
    }

    /// The same over a skipped record. The number of packets belongs to the position, and the claim
    /// word cannot change while `head` is here, so that loading both and then a CAS of the word
    /// equals this one step.
    pub(crate) fn advance_head_over_skipped(&mut self, s: &Scenario, pos: u8, n: u8) {
        self.advance_head(pos, n, self.skipped_packets(s, pos));
    }

    /// Says whether `head` has reached `to`; if not, moves it over one record that is taken or
    /// skipped: loads of `head` and of what is there, and a CAS, in one step for the same reason.
    pub(crate) fn head_reaches(&mut self, s: &Scenario, to: u8) -> bool {
        let head = self.ring.head;
        if head.pos >= to {
            return true;
        }
        match self.at(s, head.pos) {
            At::Taken(take) => self.advance_head(head.pos, take.n, take.packets()),
            At::Skipped(n) => self.advance_head_over_skipped(s, head.pos, n),
            At::Ready | At::Older | At::Newer => {}
        }
        false
    }

    /// Marks the units of a record as being written by `me`.
    pub(crate) fn start_writing(&mut self, s: &Scenario, me: usize, pos: u8, n: u8) {
        for p in pos..pos + n {
            self.ring.units[s.index(p)] = super::words::writing(me);
        }
    }

    /// Finishes the payload of a record; the units must still be the writer's own.
    pub(crate) fn finish_writing(
        &mut self,
        s: &Scenario,
        me: usize,
        pos: u8,
        n: u8,
        packet: Option<u8>,
    ) {
        for p in pos..pos + n {
            let i = s.index(p);
            if self.ring.units[i] != super::words::writing(me) {
                self.fail(Bad::Torn);
            }
            self.ring.units[i] = packet.map_or(0, |k| k + 1);
        }
        self.ring.counts[s.index(pos)] = 0;
    }

    /// Makes the oldest store of a buffer visible.
    pub(crate) fn flush(&mut self, me: usize) {
        match self.procs[me].buffer[0].take() {
            Some(Store::Intent(v)) => self.ring.intent = v,
            Some(Store::Stamp(i, v)) => self.ring.stamps[usize::from(i)] = v,
            Some(Store::Tail(v)) => self.ring.tail = v,
            None => {}
        }
        self.procs[me].buffer.rotate_left(1);
    }

    /// A membarrier: every store buffer is drained.
    pub(crate) fn membarrier(&mut self) {
        for me in 0..MAX_PROCS {
            while self.procs[me].buffer[0].is_some() {
                self.flush(me);
            }
        }
    }

    /// Kills a participant: its stores drain, the kernel frees its locks.
    pub(crate) fn kill(&mut self, me: usize) {
        while self.procs[me].buffer[0].is_some() {
            self.flush(me);
        }
        let p = &mut self.procs[me];
        p.pc = Pc::Dead;
        p.call = 0;
        p.leases = [None; MAX_LEASES];
        for lock in &mut self.locks {
            if usize::from(*lock) == me + 1 {
                *lock = 0;
            }
        }
    }
}
