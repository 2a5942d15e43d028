//! What a process says about itself in a page of a file, which survives it: where it is, since when,
//! and what it has counted. Whoever watches it reads the page.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use ringway::shm::os::monotonic_ns;

use super::plan::{PHASES, Region};
use super::words::{PAGE_BYTES, Words};

const INDEX: u64 = 0;
const PHASE: u64 = 8;
const BEGAN: u64 = 16;
const LIMIT: u64 = 24;
const COUNTERS: u64 = 64;

/// Errors by name: those that can show damage. The last one stands for all others.
pub const ERRORS: [&str; 12] = [
    "corrupt",
    "config_mismatch",
    "permission",
    "no_such_ring",
    "exhausted",
    "destroyed",
    "closed",
    "role_taken",
    "too_many_participants",
    "not_found",
    "io",
    "other",
];

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Segments done.
    Segments,
    /// Segments in which some operation returned an error that an intact one does not give.
    Reported,
    /// The others.
    Undetected,
    /// Panics.
    Panics,
    /// Segments changed in this region: an index into [`Region::ALL`].
    Region(usize),
    /// Segments changed before or during this phase: an index into [`PHASES`].
    Phase(usize),
    /// Segments changed by a second thread all the while.
    During,
    /// Segments with such an error: an index into [`ERRORS`].
    Error(usize),
}

impl Counter {
    fn at(self) -> u64 {
        let regions = Region::ALL.len() as u64;
        let phases = PHASES.len() as u64;
        let slot = match self {
            Self::Segments => 0,
            Self::Reported => 1,
            Self::Undetected => 2,
            Self::Panics => 3,
            Self::During => 4,
            Self::Region(index) => 5 + index as u64,
            Self::Phase(index) => 5 + regions + index as u64,
            Self::Error(index) => 5 + regions + phases + index as u64,
        };
        COUNTERS + 8 * slot
    }
}

/// Where a process is, if it is in the middle of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The segment's index.
    pub index: u64,
    /// What it is doing: an index into [`PHASES`].
    pub phase: usize,
    /// Since when: `CLOCK_MONOTONIC`.
    pub began_ns: u64,
    /// How long that may take.
    pub limit: Duration,
}

/// The page.
#[derive(Debug)]
pub struct Status(Words);

impl Status {
    /// Makes a page of zeros.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        let options =
            File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        options.set_len(PAGE_BYTES)?;
        Words::of(&options, PAGE_BYTES).map(Self)
    }

    /// Opens the page that another process made.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Words::of(&File::options().read(true).write(true).open(path)?, PAGE_BYTES).map(Self)
    }

    /// Says which segment is next.
    pub fn start(&self, index: u64) {
        self.0.word(INDEX).store(index + 1, Relaxed);
    }

    /// Runs something, which is known to be running meanwhile.
    pub fn watched<R>(&self, phase: usize, limit: Duration, run: impl FnOnce() -> R) -> R {
        self.0.word(PHASE).store(phase as u64, Relaxed);
        self.0.word(LIMIT).store(limit.as_nanos() as u64, Relaxed);
        self.0.word(BEGAN).store(monotonic_ns(), Relaxed);
        let result = run();
        self.0.word(BEGAN).store(0, Relaxed);
        result
    }

    /// What is running, and since when; `None` between two operations.
    #[must_use]
    pub fn position(&self) -> Option<Position> {
        let began_ns = self.0.word(BEGAN).load(Relaxed);
        (began_ns != 0).then(|| Position {
            index: self.index(),
            phase: self.0.word(PHASE).load(Relaxed) as usize % PHASES.len(),
            began_ns,
            limit: Duration::from_nanos(self.0.word(LIMIT).load(Relaxed)),
        })
    }

    /// The segment that is being worked on, or was last.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.0.word(INDEX).load(Relaxed).saturating_sub(1)
    }

    /// Counts one.
    pub fn count(&self, what: Counter) {
        self.0.word(what.at()).fetch_add(1, Relaxed);
    }

    /// Reads a counter.
    #[must_use]
    pub fn counted(&self, what: Counter) -> u64 {
        self.0.word(what.at()).load(Relaxed)
    }
}
