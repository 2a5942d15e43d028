//! One ring as it was found: numbers, positions, waiters, who holds what.

use std::time::Duration;

use super::World;
use super::blocked::{Blocker, blocked_by};
use super::entry::{Entries, EntryOptions, EntryState};
use crate::error::OpenError;
use crate::shm::layout::{MAX_PARTICIPANTS, RING_CLOSED, RING_CLOSING, RING_DESTROYED, RING_OPEN};
use crate::shm::ring::{Ring, RingStats};
use crate::shm::segment::{Role, SegmentView};
use crate::shm::storage::{Geometry, Side};
use crate::shm::view::RingView;

/// Times that a ring is read anew when it went on while it was read.
const TRIES: u32 = 8;
/// Most holds listed for one ring.
const HOLDS_LISTED: usize = 1024;

/// One ring as it was found.
///
/// The numbers are those that `QueueBackend` gives: exact when nothing is in progress.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RingSnapshot {
    /// Its name; empty on the heap.
    pub name: String,
    /// Its index in the segment's directory; 0 on the heap.
    pub index: usize,
    /// The shape.
    pub geometry: Geometry,
    /// The ring of the same segment that takes packets delivered too often.
    pub dead_letter: Option<String>,
    /// Schema tag of a typed ring; 0 for none.
    pub schema_tag: u64,
    /// Packets waiting.
    pub qsize: u64,
    /// Packets leased and not acknowledged, those given back included.
    pub in_flight: u64,
    /// 0.0–1.0: the larger of packets/maxsize and units/capacity.
    pub occupancy: f64,
    /// Units that cannot be claimed: waiting, being written or read, not reclaimed yet.
    pub used_units: u64,
    /// Open, closed, destroyed.
    pub state: RingState,
    /// Whether the positions are used up.
    pub exhausted: bool,
    /// Whether publishers must fence, because somebody has no process-wide barrier.
    pub fence_needed: bool,
    /// Whether a large record waits for room, or has waited and died.
    pub large_claim: bool,
    /// The counters.
    pub counters: RingStats,
    /// The words that say where producers and consumers are.
    pub positions: Positions,
    /// Who sleeps.
    pub waiters: Waiters,
    /// The single producer's role, in a ring that has one.
    pub producer: Option<RoleSnapshot>,
    /// The single consumer's role, in a ring that has one.
    pub consumer: Option<RoleSnapshot>,
    /// The first of those records that somebody writes or reads, oldest first: at most 1024.
    pub holds: Vec<Hold>,
    /// How many such records there are.
    pub holds_total: u64,
    /// Time since the oldest waiting packet was put, where the ring keeps that.
    pub oldest_waiting: Option<Duration>,
    /// Who keeps the ring from going on.
    pub blocked_by: Vec<Blocker>,
    /// What no ringway writes.
    pub faults: Vec<Fault>,
    /// Whether the ring stood still while it was read. Where it did not, the numbers may not go
    /// with each other, and faults of the positions are not looked for.
    pub consistent: bool,
}

/// How open a ring is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RingState {
    /// Takes puts.
    Open,
    /// Closed a moment ago, or by somebody who died at it.
    Closing,
    /// Closed.
    Closed,
    /// Destroyed with its segment.
    Destroyed,
    /// Says something else.
    Unknown(u32),
}

impl RingState {
    const fn of_word(word: u32) -> Self {
        match word {
            RING_OPEN => Self::Open,
            RING_CLOSING => Self::Closing,
            RING_CLOSED => Self::Closed,
            RING_DESTROYED => Self::Destroyed,
            other => Self::Unknown(other),
        }
    }

    /// `open`, `closing`, `closed`, `destroyed` or `unknown`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Destroyed => "destroyed",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// Where producers and consumers are. Positions count units since the creation, and start at
/// `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Positions {
    /// The first position ever used.
    pub first: u64,
    /// Behind the last claimed record.
    pub tail: u64,
    /// Single producer: behind the put in progress, or the tail.
    pub intent: u64,
    /// Many consumers: the next record to take. One: the oldest not acknowledged.
    pub head: u64,
    /// One consumer: the next record to expose.
    pub peek: u64,
    /// Many consumers: everything below is free.
    pub frontier: u64,
    /// One consumer: the mirror of its head that the producer polls.
    pub head_hint: u64,
}

impl Positions {
    fn read(ring: &RingView) -> Self {
        // From the back to the front, so that one that follows another never seems to be ahead of it.
        let (frontier, head_hint) = (ring.frontier(), ring.head_hint());
        let (head, peek) = (ring.head().pos, ring.peek().pos);
        let (tail, intent) = (ring.tail().pos, ring.intent());
        Self { first: ring.first_pos(), tail, intent, head, peek, frontier, head_hint }
    }
}

/// Who sleeps on a ring, or slept there when it died: participants' ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiters {
    /// Until something is put.
    pub get: Vec<u16>,
    /// Until there is room.
    pub put: Vec<u16>,
}

/// A role that one participant at a time has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleSnapshot {
    /// Who took it last; 0 for nobody.
    pub id: u16,
    /// Its process, in its own pid namespace.
    pub pid: Option<u32>,
    /// Whether somebody has it now; `None` where nobody can say.
    pub held: Option<bool>,
}

/// A record that somebody writes or reads, or that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hold {
    /// What is done with it.
    pub kind: HoldKind,
    /// By whom; 0 for nobody.
    pub id: u16,
    /// Its process, in its own pid namespace; `None` where nobody says.
    pub pid: Option<u32>,
    /// Whether it lives; `None` where nobody can say.
    pub alive: Option<bool>,
    /// Position of the record.
    pub position: u64,
    /// Its units, or the records of a run.
    pub n: u64,
    /// Time since the packet was put, where the ring keeps that.
    pub age: Option<Duration>,
    /// How long it can have been held at most: since the put, or since its holder joined.
    pub at_most: Option<Duration>,
}

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoldKind {
    /// Claimed, and not committed.
    Writing,
    /// Leased, and not acknowledged.
    Reading,
    /// Delivered before; waits for anyone.
    Returned,
}

impl HoldKind {
    /// `writing`, `reading` or `returned`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Writing => "writing",
            Self::Reading => "reading",
            Self::Returned => "returned",
        }
    }
}

/// Something in a ring that no ringway writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What is wrong.
    pub what: &'static str,
    /// The position it is about.
    pub position: u64,
}

impl RingSnapshot {
    /// Looks at a ring of a segment.
    ///
    /// # Errors
    /// As [`SegmentView::ring_view`].
    pub fn take(segment: &SegmentView, index: usize) -> Result<Self, OpenError> {
        let ring = segment.ring_view(index)?;
        let mut snapshot = Self::look(&ring, &World::of_segment(segment, index));
        if let Some(config) = segment.ring_config(index) {
            snapshot.name.clone_from(&config.name);
            snapshot.dead_letter.clone_from(&config.dead_letter);
            snapshot.schema_tag = config.schema_tag;
        }
        snapshot.index = index;
        Ok(snapshot)
    }

    /// Looks at a ring on the heap.
    #[must_use]
    pub fn of_local(ring: &Ring) -> Self {
        Self::look(&ring.view(), &World::of_heap())
    }

    fn look(ring: &RingView, world: &World<'_>) -> Self {
        let mut tries = 1;
        loop {
            let mut snapshot = Self::look_once(ring, world);
            snapshot.consistent = Positions::read(ring) == snapshot.positions;
            if snapshot.consistent || tries == TRIES {
                if snapshot.consistent {
                    snapshot.faults.splice(0..0, faults(ring, &snapshot));
                }
                return snapshot;
            }
            tries += 1;
        }
    }

    fn look_once(ring: &RingView, world: &World<'_>) -> Self {
        let (geometry, shared) = (*ring.geometry(), ring.shared());
        let positions = Positions::read(ring);
        let (get_waiters, put_waiters) = ring.waiters();
        let role = |side, role, word: u32| {
            (side == Side::Single).then(|| {
                let id = world.role_id(word);
                RoleSnapshot { id, pid: world.person(id).pid, held: world.role_held(role) }
            })
        };
        let mut snapshot = Self {
            name: String::new(),
            index: 0,
            geometry,
            dead_letter: None,
            schema_tag: 0,
            qsize: ring.waiting(),
            in_flight: ring.leased(),
            occupancy: ring.occupancy(),
            used_units: ring.used_units(),
            state: RingState::of_word(shared.closed),
            exhausted: shared.exhausted,
            fence_needed: shared.fence_needed,
            large_claim: shared.large_claim,
            counters: ring.stats(),
            positions,
            waiters: Waiters { get: waiters(&get_waiters), put: waiters(&put_waiters) },
            producer: role(geometry.producers, Role::Producer, shared.producer_id),
            consumer: role(geometry.consumers, Role::Consumer, shared.consumer_id),
            holds: Vec::new(),
            holds_total: 0,
            oldest_waiting: None,
            blocked_by: blocked_by(ring, world),
            faults: Vec::new(),
            consistent: false,
        };
        snapshot.walk(ring, world);
        snapshot
    }

    /// `spsc`, `mpsc`, `spmc` or `mpmc`.
    #[must_use]
    pub const fn mode(&self) -> &'static str {
        match (self.geometry.producers, self.geometry.consumers) {
            (Side::Single, Side::Single) => "spsc",
            (Side::Multi, Side::Single) => "mpsc",
            (Side::Single, Side::Multi) => "spmc",
            (Side::Multi, Side::Multi) => "mpmc",
        }
    }

    /// Says whether puts are refused for good.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state != RingState::Open
    }

    /// Finds what somebody writes or reads, and what is wrong.
    fn walk(&mut self, ring: &RingView, world: &World<'_>) {
        let abandoned = world.role_held(Role::Consumer) == Some(false);
        for entry in Entries::of_view(ring, EntryOptions::default()) {
            if let Some(what) = entry.fault
                && self.faults.len() < HOLDS_LISTED
            {
                self.faults.push(Fault { what, position: entry.position });
            }
            let waits = matches!(entry.state, EntryState::Ready | EntryState::Returned);
            if waits && self.oldest_waiting.is_none() {
                self.oldest_waiting = world.age(entry.put_at_ns);
            }
            let single = self.geometry.consumers == Side::Single;
            let kind = match entry.state {
                EntryState::Writing | EntryState::WritingRun => HoldKind::Writing,
                EntryState::Reading if single && abandoned => HoldKind::Returned,
                EntryState::Reading | EntryState::ReadingRun => HoldKind::Reading,
                EntryState::Returned => HoldKind::Returned,
                _ => continue,
            };
            self.holds_total += 1;
            if self.holds.len() == HOLDS_LISTED {
                continue;
            }
            let id = match kind {
                HoldKind::Returned => 0,
                HoldKind::Reading if single => world.role_id(entry.owner.into()),
                HoldKind::Writing if self.geometry.producers == Side::Single => {
                    world.role_id(entry.owner.into())
                }
                _ => entry.owner,
            };
            let person = world.person(id);
            let age = world.age(entry.put_at_ns);
            self.holds.push(Hold {
                kind,
                id,
                pid: person.pid,
                alive: person.alive,
                position: entry.position,
                n: entry.n,
                age,
                at_most: world.held_at_most(person, age),
            });
        }
    }
}

/// The time of the put of the record at `pos`, where the ring keeps it.
pub(super) fn put_at(ring: &RingView, pos: u64) -> Option<u64> {
    super::entry::put_at(ring, pos)
}

/// What is wrong with the words of a ring that stood still.
fn faults(ring: &RingView, snapshot: &RingSnapshot) -> Vec<Fault> {
    let (geometry, bits) = (ring.geometry(), ring.bits());
    let at = snapshot.positions;
    let (many_consumers, many_producers) =
        (geometry.consumers == Side::Multi, geometry.producers == Side::Multi);
    let limit = ring.limit();
    let exposed = if many_consumers { at.head } else { at.peek };
    // A single producer stamps a record before it stores the tail, and may die in between.
    let ahead = if many_producers { 0 } else { bits.max_units() };
    let entries = bits.entries();
    let checks = [
        (many_consumers && at.frontier > at.head, "a frontier ahead of the head", at.frontier),
        (exposed > at.tail.saturating_add(ahead), "consumers ahead of the tail", exposed),
        (at.tail.saturating_sub(limit) > entries, "a tail out of reach", at.tail),
        (
            !many_consumers && at.peek.saturating_sub(at.head) > entries,
            "a peek out of reach",
            at.peek,
        ),
        (
            !many_producers && at.intent.saturating_sub(at.tail) > bits.max_units(),
            "an intent out of reach",
            at.intent,
        ),
        (at.tail > bits.last_pos().saturating_add(entries), "a tail beyond the last", at.tail),
        (at.first > at.tail || at.first < entries, "a first position out of range", at.first),
    ];
    let state = match snapshot.state {
        RingState::Unknown(word) => {
            Some(Fault { what: "a closed word in no state", position: word.into() })
        }
        _ => None,
    };
    let wrong = checks.into_iter().filter(|&(wrong, ..)| wrong);
    wrong.map(|(_, what, position)| Fault { what, position }).chain(state).collect()
}

fn waiters(words: &[u64]) -> Vec<u16> {
    let mut ids = Vec::new();
    for (index, &word) in (0_u16..).zip(words) {
        let mut bits = word;
        while bits != 0 {
            let id = index * 64 + bits.trailing_zeros() as u16;
            if id != 0 && u32::from(id) <= MAX_PARTICIPANTS {
                ids.push(id);
            }
            bits &= bits - 1;
        }
    }
    ids
}
