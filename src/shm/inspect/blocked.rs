//! Who keeps a ring from going on.
//!
//! Consumers cannot pass a record that is claimed and not committed, and room behind a record that
//! is being read cannot be used again. While the owner lives, nobody may take either from it: it may
//! be about to write or to read. When it is dead, the next who needs the place recovers it.

use std::time::Duration;

use super::World;
use super::ring::put_at;
use crate::shm::layout::REDELIVERIES_SHIFT;
use crate::shm::ring::stamp::State;
use crate::shm::segment::Role;
use crate::shm::storage::Side;
use crate::shm::view::RingView;

/// Somebody who keeps a ring from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocker {
    /// Its id; 0 where nobody says.
    pub id: u16,
    /// Its process, in its own pid namespace; `None` where nobody says.
    pub pid: Option<u32>,
    /// Whether it lives; a dead one's record is recovered by whoever needs the place next. `None`
    /// where nobody can say.
    pub alive: Option<bool>,
    /// Position of the record.
    pub position: u64,
    /// What it is doing.
    pub kind: BlockKind,
    /// Time since the packet was put, where the ring keeps that.
    pub age: Option<Duration>,
}

/// What somebody does who keeps a ring from going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockKind {
    /// Writes the record at the head: nobody gets what lies behind it.
    Writing,
    /// Reads the oldest record: no room from there on can be used again.
    Reading,
    /// Nobody: the oldest record was delivered too often, and the dead-letter ring has no room for it.
    DeadLetter,
}

impl BlockKind {
    /// `writing`, `reading` or `dead letter`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Reading => "reading",
            Self::DeadLetter => "dead letter",
        }
    }
}

/// Names whoever writes the record at the head, and whoever reads the oldest. Reads only.
pub(crate) fn blocked_by(ring: &RingView, world: &World<'_>) -> Vec<Blocker> {
    let geometry = ring.geometry();
    let kept = kept(ring);
    let writing = match geometry.producers {
        Side::Multi => ring.pending_claim(),
        Side::Single => writing_alone(ring, world),
    };
    let reading = match geometry.consumers {
        // Owner 0: it was given back, and waits for anyone.
        Side::Multi => ring.pending_lease().filter(|&(_, owner)| owner != 0),
        Side::Single => reading_alone(ring, world).filter(|_| kept.is_none()),
    };
    let kept = kept.map(|pos| (pos, 0));
    let describe = |found: Option<(u64, u16)>, kind, age: fn(&RingView, u64) -> Option<u64>| {
        found.map(|(position, id)| {
            let person = world.person(id);
            let age = world.age(age(ring, position));
            Blocker { id, pid: person.pid, alive: person.alive, position, kind, age }
        })
    };
    // What is being written has no time yet.
    let writing = describe(writing, BlockKind::Writing, |_, _| None);
    let reading = describe(reading, BlockKind::Reading, put_at);
    let kept = describe(kept, BlockKind::DeadLetter, put_at);
    writing.into_iter().chain(reading).chain(kept).collect()
}

/// The oldest record, if it is a dead letter that nobody holds: it found no room where it belongs.
fn kept(ring: &RingView) -> Option<u64> {
    let max = ring.geometry().max_deliveries;
    let (pos, state) = match ring.geometry().consumers {
        Side::Multi => (ring.oldest_not_released(), State::Reading),
        Side::Single => (ring.head().pos, State::Ready),
    };
    let record = ring.record(pos);
    let nobodys = record.is_some_and(|record| record.state == state && record.owner == 0);
    let redeliveries = ring.description(pos).flags >> REDELIVERIES_SHIFT;
    (max != 0 && nobodys && redeliveries >= max).then_some(pos)
}

/// The put of a single producer that is in progress right where the consumers stand.
pub(super) fn writing_alone(ring: &RingView, world: &World<'_>) -> Option<(u64, u16)> {
    let bits = ring.bits();
    // In the order in which they follow each other.
    let exposed = ring.exposed().pos;
    let tail = ring.tail().pos;
    let intent = ring.intent();
    // A stamp of this lap where the consumers stand: committed, and the tail is about to follow.
    let stamp = ring.stamp(exposed).1;
    let writing = exposed >= tail && intent > exposed && stamp.lap < bits.lap(exposed);
    writing.then(|| (exposed, world.role_id(ring.shared().producer_id)))
}

/// The oldest record that a single consumer was given and has not acknowledged.
fn reading_alone(ring: &RingView, world: &World<'_>) -> Option<(u64, u16)> {
    let bits = ring.bits();
    let head = ring.head().pos;
    let peek = ring.peek().pos;
    let stamp = ring.stamp(head).1;
    let held = head < peek && stamp.lap == bits.lap(head) && stamp.state == State::Ready;
    // Without a consumer it waits for the next one, and nobody holds it.
    if !held || world.role_held(Role::Consumer) == Some(false) {
        return None;
    }
    Some((head, world.role_id(ring.shared().consumer_id)))
}
