//! What is changed in a segment, when, and what is then done with it.

use super::image::Image;
use super::{Choose, damage, pick};

/// A part of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Region {
    /// The header, and the length of the file.
    Header,
    /// The directory of rings.
    Directory,
    /// The control page.
    Control,
    /// Rows of participants, without their doorbells.
    Participants,
    /// The words that participants sleep on.
    Doorbells,
    /// Claim words.
    Claims,
    /// Take words.
    Takes,
    /// Stamps of entries.
    Stamps,
    /// Lengths and flags of entries.
    Lengths,
    /// Tail, head, peek, frontier, intent, hint.
    Positions,
    /// Sets of waiters, and their summaries.
    Eventcounts,
    /// Closed, recovery hint, large claim, exhausted, roles.
    Shared,
    /// Statistics.
    Counters,
    /// Payload bytes.
    Payload,
}

impl Region {
    /// All of them, with how many of a hundred plans each is given.
    pub const ALL: [(Self, u64); 14] = [
        (Self::Header, 9),
        (Self::Directory, 8),
        (Self::Control, 5),
        (Self::Participants, 7),
        (Self::Doorbells, 3),
        (Self::Claims, 11),
        (Self::Takes, 10),
        (Self::Stamps, 10),
        (Self::Lengths, 9),
        (Self::Positions, 14),
        (Self::Eventcounts, 4),
        (Self::Shared, 6),
        (Self::Counters, 2),
        (Self::Payload, 2),
    ];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Directory => "directory",
            Self::Control => "control",
            Self::Participants => "participants",
            Self::Doorbells => "doorbells",
            Self::Claims => "claims",
            Self::Takes => "takes",
            Self::Stamps => "stamps",
            Self::Lengths => "lengths",
            Self::Positions => "positions",
            Self::Eventcounts => "eventcounts",
            Self::Shared => "shared",
            Self::Counters => "counters",
            Self::Payload => "payload",
        }
    }

    /// Read with `pread` before anything is mapped, and never again.
    #[must_use]
    pub fn is_immutable(self) -> bool {
        matches!(self, Self::Header | Self::Directory)
    }
}

/// One word that is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Where, in bytes from the start of the file.
    pub at: u64,
    /// Eight bytes, or four.
    pub wide: bool,
    /// What it becomes.
    pub value: u64,
    /// What it was in the image.
    pub old: u64,
}

/// When the words are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Before step `n`; before step 0 is before anybody has opened the segment.
    Before(usize),
    /// While step `n`, and all that follow, run: a second thread writes the new values and the old
    /// ones, again and again.
    During(usize),
    /// Never: to see that an intact segment reports nothing.
    Never,
}

/// Something that a user does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opens the queue (again).
    Attach,
    /// `try_put` of so many bytes.
    TryPut(usize),
    /// A put with a deadline of a moment.
    PutUntil(usize),
    /// `try_put_many`.
    PutMany(usize),
    /// `try_reserve`, then commit of half of it, or not.
    Reserve(usize, bool),
    /// Puts through an owned handle.
    OwnedPut(usize),
    /// `try_get`.
    TryGet,
    /// A get with a deadline of a moment.
    GetUntil,
    /// `try_get_many`.
    GetMany(usize),
    /// Gets through an owned handle.
    OwnedGet,
    /// Holds so many through an owned handle, and acknowledges them together, or gives them back.
    Hold(usize, bool),
    /// A look at two queues at once, with a deadline of a moment.
    Select,
    /// `try_lease`, held.
    Lease,
    /// Acknowledges the oldest lease held.
    Ack,
    /// Gives the newest lease held back.
    GiveBack,
    /// Counters and sizes.
    Count,
    /// Names who blocks.
    BlockedBy,
    /// What `shm-inspect` does: opens it to look, and looks at everything.
    Inspect,
    /// Another participant joins, which scrubs what a dead one left, and leaves.
    Join,
    /// Forgets the mapping.
    Trim,
    /// Closes the queue.
    Close,
    /// Takes what is left.
    Drain,
    /// Leaves, and cleans the directory up as after a crash.
    Clean,
    /// Destroys the segment.
    Destroy,
    /// Does what must not be, to see that it is noticed.
    Fail(Fault),
}

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A panic.
    Panic,
    /// A death by a signal.
    Crash,
    /// A `try_*` that does not return.
    Hang,
}

/// What a step belongs to in reports.
pub const PHASES: [&str; 7] = ["attach", "put", "get", "lease", "close", "inspect", "recovery"];

impl Step {
    /// Index in [`PHASES`].
    #[must_use]
    pub fn phase(self) -> usize {
        match self {
            Self::Attach | Self::Trim => 0,
            Self::TryPut(_)
            | Self::PutUntil(_)
            | Self::PutMany(_)
            | Self::Reserve(..)
            | Self::OwnedPut(_)
            | Self::Fail(_) => 1,
            Self::TryGet | Self::GetUntil | Self::GetMany(_) | Self::OwnedGet | Self::Select => 2,
            Self::Hold(..) | Self::Lease | Self::Ack | Self::GiveBack => 3,
            Self::Close | Self::Drain | Self::Destroy => 4,
            Self::Count | Self::BlockedBy | Self::Inspect => 5,
            Self::Join | Self::Clean => 6,
        }
    }
}

/// What is done to one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Which image.
    pub image: usize,
    /// Which file: who is alive in it.
    pub file: usize,
    /// Where it is changed.
    pub region: Region,
    /// The changes.
    pub writes: Vec<Write>,
    /// Whether the checksum is made right afterwards.
    pub sealed: bool,
    /// A new length of the file.
    pub resize: Option<u64>,
    /// When.
    pub when: When,
    /// What is then done.
    pub steps: Vec<Step>,
}

/// Longest payload of the images' rings.
const MOST_BYTES: u64 = 1024;

impl Plan {
    /// Draws up a plan.
    pub fn new(choose: &mut dyn Choose, images: &[Image], files: usize) -> Self {
        let image_index = choose.below(images.len() as u64) as usize;
        let image = &images[image_index];
        let region = region(choose);
        let writes = (0..1 + choose.below(4)).map(|_| damage::choose(choose, image, region));
        let mut writes: Vec<Write> = writes.collect();
        if choose.once_in(4) {
            let second = self::region(choose);
            if second.is_immutable() == region.is_immutable() {
                writes.push(damage::choose(choose, image, second));
            }
        }
        let steps = steps(choose);
        let resize = (region == Region::Header && choose.once_in(8)).then(|| {
            let bytes = image.bytes.len() as u64;
            pick(choose, &[0, 1, 127, 4095, 4096, 8192, bytes / 2, bytes - 1, bytes + 1, bytes * 2])
        });
        let at = choose.below(steps.len() as u64) as usize;
        let when = match choose.below(8) {
            // What is read once, and never mapped, is changed before, or while somebody attaches.
            _ if resize.is_some() => When::Before(0),
            0 if region.is_immutable() => When::During(0),
            _ if region.is_immutable() => When::Before(0),
            0 | 1 => When::During(at),
            2..=4 => When::Before(at),
            _ => When::Before(0),
        };
        let sealed = region.is_immutable() && choose.below(5) < 3;
        let file = choose.below(files as u64) as usize;
        Self { image: image_index, file, region, writes, sealed, resize, when, steps }
    }

    /// The phase that the change falls into.
    #[must_use]
    pub fn phase(&self) -> usize {
        match self.when {
            When::Before(at) | When::During(at) => {
                self.steps.get(at).map_or(0, |step| step.phase())
            }
            When::Never => 0,
        }
    }
}

fn region(choose: &mut dyn Choose) -> Region {
    let mut left = choose.below(100);
    for (region, share) in Region::ALL {
        if left < share {
            return region;
        }
        left -= share;
    }
    Region::Stamps
}

fn steps(choose: &mut dyn Choose) -> Vec<Step> {
    let mut steps = vec![Step::Attach];
    for _ in 0..3 + choose.below(6) {
        let len = pick(choose, &[0, 8, 40, 48, 49, 255, 256, MOST_BYTES, MOST_BYTES + 1]) as usize;
        steps.push(match choose.below(42) {
            0..=5 => Step::TryPut(len),
            6 => Step::PutUntil(len),
            7 | 8 => Step::PutMany(1 + choose.below(9) as usize),
            9 | 10 => Step::Reserve(len, choose.once_in(2)),
            11 | 12 => Step::OwnedPut(len),
            13..=18 => Step::TryGet,
            19 => Step::GetUntil,
            20 => Step::GetMany(1 + choose.below(9) as usize),
            21 | 22 => Step::OwnedGet,
            23 => Step::Select,
            24..=26 => Step::Lease,
            27 | 28 => Step::Ack,
            29 | 30 => Step::GiveBack,
            31 | 32 => Step::Count,
            33 => Step::BlockedBy,
            34 => Step::Inspect,
            35 | 36 => Step::Join,
            37 => Step::Trim,
            38 => Step::Attach,
            39 | 40 => Step::Hold(1 + choose.below(9) as usize, choose.once_in(2)),
            _ => Step::Close,
        });
    }
    match choose.below(8) {
        0 => steps.extend([Step::Close, Step::Drain]),
        1 => steps.push(Step::Destroy),
        2 => steps.push(Step::Clean),
        _ => steps.push(Step::Drain),
    }
    steps
}
