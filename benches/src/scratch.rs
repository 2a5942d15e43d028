//! The directory of a run's segments: its own, under Ringway's, gone at the end.
//!
//! A run holds a lock on its directory (`flock`), so that a later run can tell the directory of one
//! that was killed, and removes it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::{BenchError, Doing, Result};
use crate::peers::remove_at_exit;

const PREFIX: &str = "bench-";

/// A run's directory. It is removed by `peers::clean_up`, on every way out.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Where the segments go.
    pub(crate) path: PathBuf,
    /// Says that the run lives.
    _lock: File,
}

impl Scratch {
    /// Makes the run's directory, and removes those of runs that were killed.
    ///
    /// # Errors
    /// `Usage` when Ringway's directory is somebody else's or open to others, `Os` when the system
    /// refuses.
    pub(crate) fn create() -> Result<Self> {
        Self::create_under(&ringway_directory())
    }

    fn create_under(parent: &Path) -> Result<Self> {
        let doing = || format!("making a directory under {}", parent.display());
        DirBuilder::new().recursive(true).mode(0o700).create(parent).doing(doing())?;
        check_owner(parent)?;
        remove_abandoned(parent);
        loop {
            let path = tempfile::Builder::new()
                .prefix(PREFIX)
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(parent)
                .doing(doing())?
                .keep();
            let lock = File::open(&path).doing(doing())?;
            flock(&lock, FlockOperation::LockExclusive).doing(doing())?;
            // Another run may have taken it for abandoned before it was locked.
            if path.exists() {
                remove_at_exit(path.clone());
                return Ok(Self { path, _lock: lock });
            }
        }
    }
}

/// Ringway's directory: `RINGWAY_DIR`, or the user's own under `/dev/shm`.
fn ringway_directory() -> PathBuf {
    std::env::var_os("RINGWAY_DIR").map_or_else(
        || format!("/dev/shm/ringway-{}", rustix::process::geteuid().as_raw()).into(),
        PathBuf::from,
    )
}

fn check_owner(directory: &Path) -> Result<()> {
    let meta =
        fs::symlink_metadata(directory).doing(format!("looking at {}", directory.display()))?;
    let whose = if !meta.is_dir() {
        "is not a directory"
    } else if meta.uid() != rustix::process::geteuid().as_raw() {
        "belongs to another user"
    } else if meta.mode() & 0o022 != 0 {
        "may be written by others"
    } else {
        return Ok(());
    };
    Err(BenchError::Usage(format!("{} {whose} (see RINGWAY_DIR)", directory.display())))
}

/// Removes what killed runs left. What cannot be removed stays: it harms no measurement.
fn remove_abandoned(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            let _ = remove_if_abandoned(&entry.path());
        }
    }
}

fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::{PREFIX, Scratch, remove_abandoned};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_killed_runs_directory_goes_and_a_live_ones_stays() {
        let parent = tempfile::tempdir().unwrap();
        let abandoned = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&abandoned).unwrap();
        fs::write(abandoned.join("segment"), b"x").unwrap();
        let stranger = parent.path().join("job-42");
        fs::create_dir(&stranger).unwrap();

        let run = Scratch::create_under(parent.path()).unwrap();
        assert!(!abandoned.exists());
        assert!(stranger.exists());
        remove_abandoned(parent.path());
        assert!(run.path.exists());
        assert_eq!(fs::metadata(&run.path).unwrap().permissions().mode() & 0o777, 0o700);
        crate::peers::clean_up();
        assert!(!run.path.exists());
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = Scratch::create_under(parent.path()).unwrap_err().to_string();
        assert!(error.contains("written by others"), "{error}");
    }
}
