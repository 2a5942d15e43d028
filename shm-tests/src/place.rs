//! A directory for one test: segments in one half of it, logs in the other.
//!
//! It is removed when dropped, also when the test fails. A test process that is killed leaves its
//! directories; the next one removes them: each is held by a lock (`flock`) that dies with the
//! process, and carries its pid in its name.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Once;

use ringway::queue::{QueueConfig, QueueDescriptor};
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::segment::Segment;

use crate::peer::Peer;

const PREFIX: &str = "ringway-test-";

/// The directory of one test. Peers are to be dropped before it.
#[derive(Debug)]
pub struct Place {
    program: PathBuf,
    segments: PathBuf,
    logs: PathBuf,
    _lock: File,
    dir: tempfile::TempDir,
}

impl Place {
    /// Makes a directory; `program` is the scripted peer's.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(program: impl Into<PathBuf>) -> Self {
        static SWEEP: Once = Once::new();
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        SWEEP.call_once(|| sweep(&root));
        let dir = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(root)
            .expect("a directory for the test");
        let lock = File::open(dir.path()).expect("opening the test's directory");
        lock.lock().expect("locking the test's directory");
        let make = |name| {
            let path = dir.path().join(name);
            fs::create_dir(&path).expect("making a directory");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("chmod");
            path
        };
        let (segments, logs) = (make("segments"), make("logs"));
        Self { program: program.into(), segments, logs, _lock: lock, dir }
    }

    /// The whole directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The program of its peers.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where the segments are.
    #[must_use]
    pub fn segments(&self) -> &Path {
        &self.segments
    }

    /// Where the logs are.
    #[must_use]
    pub fn logs(&self) -> &Path {
        &self.logs
    }

    /// The directory of the segments, opened.
    ///
    /// # Panics
    /// When it cannot be opened.
    #[must_use]
    pub fn directory(&self) -> Directory {
        Directory::open(&self.segments, None).expect("the directory of segments")
    }

    /// Names an ephemeral queue here.
    ///
    /// # Panics
    /// On a configuration that is not valid.
    #[must_use]
    pub fn queue(&self, id: &str, config: QueueConfig) -> QueueDescriptor {
        self.queue_of(id, config, Lifetime::Ephemeral)
    }

    /// Names a queue here.
    ///
    /// # Panics
    /// On a configuration that is not valid.
    #[must_use]
    pub fn queue_of(&self, id: &str, config: QueueConfig, lifetime: Lifetime) -> QueueDescriptor {
        QueueDescriptor::shm(id)
            .and_then(|queue| queue.with_directory(&self.segments))
            .and_then(|queue| queue.with_lifetime(lifetime))
            .and_then(|queue| queue.with_config(config))
            .expect("a valid descriptor")
    }

    /// Starts a peer.
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer::start(&self.program)
    }

    /// Names of all that is left in the directory of segments.
    ///
    /// # Panics
    /// When it cannot be listed.
    #[must_use]
    pub fn left(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.segments).expect("listing the segments");
        entries
            .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect()
    }

    /// Says which id process `pid` has as a participant of the segment `name`, if it is one.
    #[must_use]
    pub fn participant(&self, name: &str, pid: u32) -> Option<u16> {
        let segment = Segment::open_readonly(&self.directory(), &name.parse().ok()?).ok()?;
        segment.participants().iter().find(|info| info.pid == pid).map(|info| info.id)
    }
}

/// Removes what test processes left behind that were killed.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let gone = !Path::new(&format!("/proc/{pid}")).exists();
        if gone && File::open(entry.path()).is_ok_and(|dir| dir.try_lock().is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
