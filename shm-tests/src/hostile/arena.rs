//! The files of one process, and its second thread that keeps on writing.
//!
//! The files differ in who is alive in them: locks of participants that this process holds on
//! descriptions of its own, as a live participant does. A segment costs writing one of these files
//! anew, not making it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, PoisonError};

use ringway::queue::QueueDescriptor;
use ringway::shm::directory::Directory;
use ringway::shm::inspect::SegmentSnapshot;
use ringway::shm::layout::{LOCK_PARTICIPANT, LOCK_ROLE};
use ringway::shm::names::SegmentName;
use ringway::shm::os::ByteLock;
use ringway::shm::segment::Segment;

use super::damage;
use super::image::{self, Image};
use super::plan::{Plan, When, Write};
use super::words::Words;

/// Ids alive in each file, and whether both roles of the ring are taken there.
const ALIVE: [(&[u64], bool); 4] =
    [(&[], false), (&[2, 3], false), (&[1, 2, 3], false), (&[1], true)];

/// Files in an arena.
pub const FILES: usize = ALIVE.len();

/// The file that has its roles taken.
pub(super) const ROLES_TAKEN: usize = 3;

/// What every file is called, in a directory of its own.
const NAME: &str = "segment";

struct Slot {
    directory: Directory,
    path: PathBuf,
    file: File,
    _locks: Vec<ByteLock>,
}

/// The files of one process.
pub struct Arena {
    root: PathBuf,
    images: Vec<Image>,
    slots: Vec<Slot>,
    scratch: Vec<u8>,
    pub(super) second: Option<Second>,
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("root", &self.root).finish_non_exhaustive()
    }
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

impl Arena {
    /// Makes the files in an empty directory of mode 0700; with `second`, a thread that writes during
    /// operations. Without it, such plans write before the operation.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(root: &Path, second: bool) -> io::Result<Self> {
        let images = image::all(root)?;
        let slots = (0..FILES).map(|index| Slot::new(&root.join(index.to_string()), index));
        Ok(Self {
            root: root.to_owned(),
            images,
            slots: slots.collect::<io::Result<_>>()?,
            scratch: Vec::new(),
            second: second.then(Second::start),
        })
    }

    /// The intact segments.
    #[must_use]
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The image of a plan.
    pub(super) fn image(&self, plan: &Plan) -> &Image {
        &self.images[plan.image]
    }

    /// Where the file of a plan lies.
    pub(super) fn place(&self, plan: &Plan) -> io::Result<(Directory, SegmentName)> {
        Ok((self.slots[plan.file].directory.clone(), NAME.parse().map_err(other)?))
    }

    /// The queue of a plan, not opened.
    pub(super) fn descriptor(&self, plan: &Plan) -> io::Result<QueueDescriptor> {
        let directory = self.slots[plan.file].directory.path();
        image::descriptor(directory, NAME, &self.image(plan).config)
    }

    /// Writes the segment of a plan into its file, changed where the plan says before anything else.
    /// Returns the words of the file where they are to be changed later on.
    pub(super) fn prepare(&mut self, plan: &Plan) -> io::Result<Option<Arc<Words>>> {
        let image = &self.images[plan.image];
        self.scratch.clear();
        self.scratch.extend_from_slice(&image.bytes);
        if plan.when == When::Before(0) {
            for write in &plan.writes {
                let (at, width) = (write.at as usize, if write.wide { 8 } else { 4 });
                let bytes = write.value.to_le_bytes();
                self.scratch[at..at + width].copy_from_slice(&bytes[..width]);
            }
            if plan.sealed {
                damage::reseal(&mut self.scratch);
            }
        }
        let slot = &mut self.slots[plan.file];
        slot.renew_if_gone(plan.file)?;
        let bytes = self.scratch.len() as u64;
        if slot.file.metadata()?.len() != bytes {
            slot.file.set_len(bytes)?;
        }
        slot.file.write_all_at(&self.scratch, 0)?;
        if let Some(bytes) = plan.resize {
            slot.file.set_len(bytes)?;
            return Ok(None);
        }
        match plan.when {
            When::Before(0) | When::Never => Ok(None),
            _ => Words::of(&slot.file, bytes).map(|words| Some(Arc::new(words))),
        }
    }

    /// Writes any bytes at all into the first file, opens it in every way, and drains it.
    ///
    /// # Errors
    /// What the system says about the file itself.
    pub fn try_file(&mut self, bytes: &[u8], sealed: bool) -> io::Result<()> {
        self.scratch.clear();
        self.scratch.extend_from_slice(bytes);
        if sealed {
            damage::reseal(&mut self.scratch);
        }
        let slot = &mut self.slots[0];
        slot.renew_if_gone(0)?;
        slot.file.set_len(self.scratch.len() as u64)?;
        slot.file.write_all_at(&self.scratch, 0)?;
        let descriptor = image::descriptor(slot.directory.path(), NAME, &self.images[0].config)?;
        let name = NAME.parse().map_err(other)?;
        if let Ok(segment) = Segment::open_readonly(&slot.directory, &name) {
            std::hint::black_box(SegmentSnapshot::take(&segment).is_ok());
        }
        if let Ok(queue) = descriptor.queue() {
            let _ = queue.try_put(b"anything");
            for _ in 0..100 {
                if queue.try_get().is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Slot {
    fn new(directory: &Path, index: usize) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(directory, permissions)?;
        let path = directory.join(NAME);
        let (file, locks) = make(&path, index)?;
        let directory = Directory::open(directory, None).map_err(other)?;
        Ok(Self { directory, path, file, _locks: locks })
    }

    /// Makes the file again if a destroyer or a cleaner removed it, or somebody made another one.
    fn renew_if_gone(&mut self, index: usize) -> io::Result<()> {
        let ours = self.file.metadata()?.ino();
        match fs::symlink_metadata(&self.path) {
            Ok(there) if there.ino() == ours => return Ok(()),
            Ok(_) => fs::remove_file(&self.path)?,
            Err(_) => {}
        }
        fs::create_dir_all(self.directory.path())?;
        (self.file, self._locks) = make(&self.path, index)?;
        Ok(())
    }
}

fn make(path: &Path, index: usize) -> io::Result<(File, Vec<ByteLock>)> {
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).mode(0o600).open(path)?;
    let (ids, roles) = ALIVE[index];
    let roles: &[u64] = if roles { &[LOCK_ROLE, LOCK_ROLE + 1] } else { &[] };
    let bytes = ids.iter().map(|id| LOCK_PARTICIPANT + id).chain(roles.iter().copied());
    let locks = bytes.map(|byte| {
        ByteLock::try_exclusive(&file, byte)?.ok_or_else(|| other("a new file that is locked"))
    });
    let locks = locks.collect::<io::Result<_>>()?;
    Ok((file, locks))
}

/// A thread that writes new values and old ones, again and again, while the first one works.
pub(super) struct Second {
    shared: Arc<SecondShared>,
    thread: std::thread::Thread,
}

#[derive(Default)]
struct SecondShared {
    /// Odd while there is something to do.
    turn: AtomicU64,
    /// The last turn that is over.
    over: AtomicU64,
    rounds: AtomicU64,
    job: Mutex<Option<(Arc<Words>, Vec<Write>)>>,
}

impl Second {
    fn start() -> Self {
        let shared = Arc::new(SecondShared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || work(&theirs));
        Self { shared, thread: thread.thread().clone() }
    }

    /// Sets it to work.
    pub(super) fn begin(&self, words: &Arc<Words>, writes: &[Write]) {
        *self.shared.job.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Arc::clone(words), writes.to_vec()));
        self.shared.turn.fetch_add(1, Release);
        self.thread.unpark();
    }

    /// How often it has written everything.
    pub(super) fn rounds(&self) -> u64 {
        self.shared.rounds.load(Relaxed)
    }

    /// Stops it, and waits until it has stopped.
    pub(super) fn end(&self) {
        let turn = self.shared.turn.load(Relaxed);
        if turn.is_multiple_of(2) {
            return;
        }
        self.shared.turn.fetch_add(1, Release);
        while self.shared.over.load(Acquire) < turn {
            std::thread::yield_now();
        }
    }
}

fn work(shared: &SecondShared) {
    let mut done = 0;
    loop {
        // Skips turns that were over before it woke up.
        let turn = shared.turn.load(Acquire);
        if turn <= done || turn.is_multiple_of(2) {
            if turn > done {
                done = turn;
                shared.over.store(turn, Release);
            }
            std::thread::park();
            continue;
        }
        let job = shared.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        while let Some((words, writes)) = &job
            && shared.turn.load(Acquire) == turn
        {
            for write in writes {
                words.store(write.at, write.wide, write.value);
            }
            for write in writes {
                words.store(write.at, write.wide, write.old);
            }
            shared.rounds.fetch_add(1, Relaxed);
        }
        done = turn;
        drop(job);
        shared.over.store(turn, Release);
    }
}
