//! Read-only snapshots of a segment and its rings: live, wedged, abandoned, or a copy in a file.
//!
//! Nothing here locks or waits, and nothing can write: rings are mapped `PROT_READ`, and read through
//! [`RingView`](crate::shm::view::RingView), which has no way to store. So looking at a ring disturbs nobody, and a ring whose
//! processes are dead or stopped can be looked at as well as any other. Every number from memory is
//! a claim, not a fact: positions bound nothing, every walk ends after as many steps as the ring
//! has entries, and what no ringway writes becomes a [`Fault`] instead of a panic.
//!
//! A live ring changes under the reader. Each part is read, then the words that guard it are read
//! again; what changed in between is read anew a few times, and then marked (`consistent: false`)
//! and shown without payload. So a payload that is shown is a whole one: its stamp was the same
//! before and after the copy, and its units were not yet free for the next lap.
//!
//! | file | what |
//! |---|---|
//! | `inspect.rs` | segments, participants |
//! | `inspect/ring.rs` | one ring: numbers, positions, waiters, who holds what |
//! | `inspect/entry.rs` | the entries of a ring, one by one |
//! | `inspect/blocked.rs` | who keeps a ring from going on |
//! | `inspect/tap.rs` | packets as they pass |

mod blocked;
mod entry;
mod ring;
mod tap;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

pub(crate) use blocked::blocked_by;
pub use blocked::{BlockKind, Blocker};
pub use entry::{Entries, EntryOptions, EntrySnapshot, EntryState};
pub use ring::{Fault, Hold, HoldKind, Positions, RingSnapshot, RingState, RoleSnapshot, Waiters};
pub use tap::{Passed, Polled, Tap, TapStart, Tapped};

use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::os;
use crate::shm::participant;
use crate::shm::segment::{ControlStats, MapPart, Role, Segment, SegmentView};

/// One segment as it was found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SegmentSnapshot {
    /// Its name; `None` for a copy in a file.
    pub name: Option<String>,
    /// Its file.
    pub path: PathBuf,
    /// Size of the file.
    pub total_bytes: u64,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Its identity.
    pub uuid: [u8; 16],
    /// The control words, and what the header says about the creation.
    pub control: ControlStats,
    /// Time since its creation, by the wall clock; `None` when that lies in the future.
    pub age: Option<Duration>,
    /// Everybody in the table who has not left in order, by id.
    pub participants: Vec<ParticipantSnapshot>,
    /// The rings that were asked for, in the order of their indices.
    pub rings: Vec<RingSnapshot>,
    /// What lies where in the file.
    pub memory_map: Vec<MapPart>,
}

/// One participant as the table and its lock describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantSnapshot {
    /// Its id, which is the owner in stamps.
    pub id: u16,
    /// Its process, in its own pid namespace.
    pub pid: u32,
    /// What it calls itself: any text.
    pub name: String,
    /// Says whether a process holds its lock; `None` for a copy in a file, which nobody locks.
    pub alive: Option<bool>,
    /// Whether its process is stopped (SIGSTOP, a debugger): what it holds waits for it. `None` where
    /// nobody can say: it is dead, in a copy, or in another pid namespace.
    pub stopped: Option<bool>,
    /// Wall-clock time of joining, in nanoseconds since 1970.
    pub joined_unix_ns: u64,
    /// Time since it joined; `None` in a copy, whose clock stands still.
    pub age: Option<Duration>,
    /// Bit `ring % 64` is set for the rings it has ever claimed or leased in.
    pub rings_touched: u64,
}

impl SegmentSnapshot {
    /// Looks at a segment and all its rings. The rings are mapped one after the other, so that a
    /// thousand of them do not have to stay mapped.
    ///
    /// # Errors
    /// As [`SegmentView::ring_view`] and [`SegmentView::control_stats`].
    pub fn take(segment: &SegmentView) -> Result<Self, OpenError> {
        Self::take_rings(segment, 0..segment.rings().len())
    }

    /// Looks at a segment and some of its rings.
    ///
    /// # Errors
    /// As [`SegmentSnapshot::take`]; [`OpenError::NoSuchRing`] for an index out of range.
    pub fn take_rings(
        segment: &SegmentView,
        rings: impl IntoIterator<Item = usize>,
    ) -> Result<Self, OpenError> {
        let control = segment.control_stats()?;
        // For all rings, which may be a thousand.
        let _one_mapping = segment.window()?;
        let rings = rings.into_iter().map(|index| RingSnapshot::take(segment, index));
        let since = os::unix_ns().checked_sub(control.created_unix_ns);
        Ok(Self {
            name: segment.name().map(ToString::to_string),
            path: segment.path().to_owned(),
            total_bytes: segment.total_bytes(),
            lifetime: segment.lifetime(),
            uuid: segment.uuid(),
            age: since.map(Duration::from_nanos),
            participants: participants(segment),
            rings: rings.collect::<Result<_, _>>()?,
            memory_map: segment.memory_map(),
            control,
        })
    }

    /// Says whether it is a copy in a file, of which nobody can say who is alive.
    #[must_use]
    pub fn is_copy(&self) -> bool {
        self.name.is_none()
    }
}

impl Segment {
    /// Looks at the segment and all its rings: what `shm-inspect show` prints. Reads only.
    ///
    /// ```
    /// # let place = tempfile::tempdir()?;
    /// use ringway::shm::{Lifetime, directory::Directory, segment::{RingConfig, Segment, SegmentConfig}};
    /// use ringway::{Queue, QueueConfig};
    ///
    /// let directory = Directory::open(place.path(), None)?;
    /// let config = SegmentConfig::new("job-42".parse()?, Lifetime::Ephemeral)
    ///     .with_ring(RingConfig::new("orders", QueueConfig::default().geometry()?));
    /// let segment = Segment::create(&directory, &config)?;
    /// Queue::of_segment(&segment, "orders")?.put(b"two apples")?;
    ///
    /// let stats = segment.stats()?;
    /// assert_eq!(stats.participants.len(), 1);
    /// assert_eq!((stats.rings[0].qsize, stats.rings[0].counters.bytes_put), (1, 10));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`SegmentSnapshot::take`].
    pub fn stats(&self) -> Result<SegmentSnapshot, OpenError> {
        SegmentSnapshot::take(self)
    }
}

/// Describes everybody in the table who has not left in order. A system call for each.
#[must_use]
pub fn participants(segment: &SegmentView) -> Vec<ParticipantSnapshot> {
    let copy = segment.name().is_none();
    let snapshot = |info: participant::ParticipantInfo| ParticipantSnapshot {
        id: info.id,
        pid: info.pid,
        name: info.name,
        // A file that was opened by its path may be the segment itself.
        alive: if copy && !info.alive { None } else { Some(info.alive) },
        stopped: if info.alive { is_stopped(info.pid, info.start_ticks) } else { None },
        age: os::unix_ns()
            .checked_sub(info.joined_unix_ns)
            .filter(|_| !copy)
            .map(Duration::from_nanos),
        joined_unix_ns: info.joined_unix_ns,
        rings_touched: info.rings_touched,
    };
    segment.participants().into_iter().map(snapshot).collect()
}

/// Says whether the process is stopped, if that pid is still the process that started then.
fn is_stopped(pid: u32, start_ticks: u64) -> Option<bool> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name in parentheses: field 3 is the state, field 22 the start.
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<_> = rest.split_ascii_whitespace().collect();
    let started: u64 = fields.get(19)?.parse().ok()?;
    (started == start_ticks).then(|| matches!(fields.first(), Some(&("T" | "t"))))
}

/// Copies every byte of a segment, and says how many. Of a live one the copy is no single moment:
/// its parts are as old as their turn in the copying.
///
/// # Errors
/// What the system says about either file.
pub fn copy_raw(segment: &SegmentView, to: &mut dyn Write) -> io::Result<u64> {
    const CHUNK_BYTES: u64 = 1 << 20;
    let total = segment.total_bytes();
    let mut chunk = vec![0; CHUNK_BYTES.min(total) as usize];
    let mut at = 0;
    while at < total {
        let bytes = CHUNK_BYTES.min(total - at) as usize;
        segment.file().read_exact_at(&mut chunk[..bytes], at)?;
        to.write_all(&chunk[..bytes])?;
        at += bytes as u64;
    }
    Ok(total)
}

/// Where a ring lives, as far as a snapshot must know: who an id is, and what time it is.
pub(crate) struct World<'a> {
    /// The segment and the index of the ring; `None` on the heap.
    place: Option<(&'a SegmentView, usize)>,
    people: RefCell<HashMap<u16, Person>>,
}

/// What is known about an id.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Person {
    pub(crate) pid: Option<u32>,
    pub(crate) alive: Option<bool>,
    /// Wall-clock time of joining.
    joined_unix_ns: Option<u64>,
}

impl<'a> World<'a> {
    pub(crate) fn of_segment(segment: &'a SegmentView, index: usize) -> Self {
        Self { place: Some((segment, index)), people: RefCell::default() }
    }

    pub(crate) fn of_heap() -> Self {
        Self { place: None, people: RefCell::default() }
    }

    fn is_copy(&self) -> bool {
        self.place.is_some_and(|(segment, _)| segment.name().is_none())
    }

    /// Who `id` is. A system call the first time.
    fn person(&self, id: u16) -> Person {
        if id == 0 {
            return Person::default();
        }
        *self.people.borrow_mut().entry(id).or_insert_with(|| self.ask(id))
    }

    fn ask(&self, id: u16) -> Person {
        let Some((segment, _)) = self.place else {
            let pid = Some(std::process::id());
            return Person { pid, alive: Some(true), joined_unix_ns: None };
        };
        let held = os::is_held(segment.file(), participant::lock_byte(id)).ok();
        let alive = held.filter(|&held| held || !self.is_copy());
        let info = participant::info(segment.table(), id, held.unwrap_or(true));
        let joined_unix_ns = info.as_ref().map(|info| info.joined_unix_ns);
        Person { pid: info.map(|info| info.pid), alive, joined_unix_ns }
    }

    /// Whether somebody has a role; `None` where nobody can say.
    fn role_held(&self, role: Role) -> Option<bool> {
        let (segment, index) = self.place?;
        let held = segment.role_held(index, role);
        if self.is_copy() && !held { None } else { Some(held) }
    }

    /// The id behind a role's word. Threads of one process all are participant 1.
    fn role_id(&self, word: u32) -> u16 {
        match self.place {
            Some(_) => u16::try_from(word).unwrap_or(0),
            None => 1,
        }
    }

    /// How long `person` can have held a packet of that age: not longer than it is a participant.
    fn held_at_most(&self, person: Person, age: Option<Duration>) -> Option<Duration> {
        if self.is_copy() {
            return None;
        }
        let joined = person.joined_unix_ns.and_then(|at| os::unix_ns().checked_sub(at));
        let joined = joined.map(Duration::from_nanos);
        // What is absent bounds nothing.
        [age, joined].into_iter().flatten().min()
    }

    /// How long ago `put_at_ns` was; `None` in a copy, whose clock stands still.
    fn age(&self, put_at_ns: Option<u64>) -> Option<Duration> {
        if self.is_copy() {
            return None;
        }
        os::monotonic_ns().checked_sub(put_at_ns?).map(Duration::from_nanos)
    }
}
