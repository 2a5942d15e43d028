//! Making a segment. Its file has no name until it is complete, so nobody ever sees half of one, and
//! a creator that dies leaves nothing.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, FallocateFlags, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Gid;

use super::attach::{TRIES, check_pages, open_named};
use super::blueprint::Blueprint;
use super::config::SegmentConfig;
use super::{Segment, SegmentView, io_error};
use crate::error::OpenError;
use crate::shm::directory::{Directory, refused};
use crate::shm::layout::{STATE_DESTROYED, STATE_LIVE};
use crate::shm::os::Access;
use crate::sync::{Ordering, crash_point};

impl Segment {
    /// Creates a segment and takes the first place in it. Exclusive: of several who try at the same
    /// time one succeeds, and the others get [`OpenError::Exists`].
    ///
    /// All space is reserved here, so that a full filesystem is an error now and never a SIGBUS later.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`], [`OpenError::Exists`], [`OpenError::NoSpace`] (with nothing left
    /// behind), [`OpenError::Permission`], [`OpenError::Io`].
    pub fn create(directory: &Directory, config: &SegmentConfig) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        let path = directory.path_of(&config.name);
        check_pages(&path)?;
        for _ in 0..TRIES {
            if name_is_taken(directory, config)? {
                return Err(OpenError::Exists { path });
            }
            let Some(parent) = directory.parent_of(&config.name, true).or_else(missing)? else {
                // Somebody removed the directory when it was empty; make it again.
                continue;
            };
            let built = Self::build(directory, &parent, config);
            let segment = match built.and_then(|segment| segment.link(&parent)) {
                Ok(segment) => segment,
                Err(OpenError::NotFound { .. }) => continue,
                // Exists, or existed for a moment: the loop's head tells which.
                Err(OpenError::Exists { .. }) => continue,
                Err(error) => {
                    directory.remove_empty_parents(&config.name);
                    return Err(error);
                }
            };
            return Ok(Arc::new(segment));
        }
        Err(OpenError::Exists { path })
    }

    /// Attaches to the segment if it exists, and creates it otherwise. An existing one is not compared
    /// with `config`: see [`SegmentView::rings`] and [`SegmentView::lifetime`].
    ///
    /// # Errors
    /// As [`Segment::attach`] and [`Segment::create`], but neither [`OpenError::NotFound`] nor
    /// [`OpenError::Exists`].
    pub fn create_or_attach(
        directory: &Directory,
        config: &SegmentConfig,
    ) -> Result<Arc<Self>, OpenError> {
        config.validate()?;
        for _ in 0..TRIES {
            match Self::attach(directory, &config.name, &config.participant_name) {
                Err(OpenError::NotFound { .. }) => {}
                attached => return attached,
            }
            match Self::create(directory, config) {
                Err(OpenError::Exists { .. }) => {}
                created => return created,
            }
        }
        Err(OpenError::Destroyed { path: directory.path_of(&config.name) })
    }

    /// Makes the whole segment, without a name.
    fn build(
        directory: &Directory,
        parent: &OwnedFd,
        config: &SegmentConfig,
    ) -> Result<Self, OpenError> {
        let path = directory.path_of(&config.name);
        let file = nameless_file(parent, &path, directory.group())?;
        let mut uuid = [0; 16];
        rustix::rand::getrandom(&mut uuid, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| refused(&path, "drawing a uuid", errno))?;
        let mut blueprint = Blueprint::new(config, directory.group(), uuid)?;
        reserve(&file, parent, &path, blueprint.plan.total_bytes)?;
        crash_point("create.reserved");
        blueprint.write(&file).map_err(io_error(&path, "writing the header"))?;
        crash_point("create.written");
        let home = Some((directory.clone(), config.name.clone()));
        let view = SegmentView::assemble(home, path, file, blueprint, Access::Shared)?;
        let mut segment = Self::of_view(view);
        if let Some(control) = segment.table.control() {
            // RELAXED: private until it has a name, and the kernel's own locks publish that.
            control.state.store(STATE_LIVE, Ordering::Relaxed);
        }
        for (index, ring) in config.rings.iter().enumerate() {
            segment.memory(index)?.start_at(config.first_pos(&ring.geometry));
            // A thousand rings need not stay mapped.
            segment.trim(index);
        }
        segment.join(&config.participant_name)?;
        crash_point("create.joined");
        Ok(segment)
    }

    /// Gives the finished file its name: the moment of creation.
    fn link(self, parent: &OwnedFd) -> Result<Self, OpenError> {
        let Some(name) = self.name() else { return Ok(self) };
        let nameless = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match rustix::fs::linkat(CWD, nameless, parent, name.leaf(), AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {
                crash_point("create.named");
                Ok(self)
            }
            Err(Errno::EXIST) => Err(OpenError::Exists { path: self.path.clone() }),
            Err(errno) => Err(refused(&self.path, "naming the file, through /proc/self/fd", errno)),
        }
    }
}

/// Says whether the name leads to something that stays. A destroyed segment whose destroyer died is
/// removed first.
fn name_is_taken(directory: &Directory, config: &SegmentConfig) -> Result<bool, OpenError> {
    // A directory that cannot be trusted is an error of its own.
    if directory.parent_of(&config.name, false)?.is_none() {
        return Ok(false);
    }
    let file = match open_named(directory, &config.name, OFlags::RDWR) {
        Ok(file) => file,
        Err(OpenError::NotFound { .. }) => return Ok(false),
        // Not ours to judge, but there.
        Err(_) => return Ok(true),
    };
    let view = SegmentView::of_named(directory, &config.name, file, Access::Shared);
    let Ok(there) = view.map(Segment::of_view) else {
        return Ok(true);
    };
    if there.state().is_ok_and(|state| state == STATE_DESTROYED) {
        there.finish_removal()?;
        return Ok(false);
    }
    Ok(there.still_linked())
}

fn missing<T>(error: OpenError) -> Result<Option<T>, OpenError> {
    match error {
        OpenError::NotFound { .. } => Ok(None),
        error => Err(error),
    }
}

fn nameless_file(parent: &OwnedFd, path: &Path, group: Option<u32>) -> Result<File, OpenError> {
    let owner = Mode::RUSR | Mode::WUSR;
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(parent, ".", flags, owner).map_err(|errno| match errno {
        Errno::OPNOTSUPP | Errno::ISDIR => {
            io_error(path, "making a nameless file")(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "this filesystem has no O_TMPFILE; use tmpfs (/dev/shm), ext4, xfs or btrfs",
            ))
        }
        _ => refused(path, "making a nameless file", errno),
    })?;
    let mode = match group {
        None => owner,
        Some(gid) => {
            rustix::fs::fchown(&fd, None, Some(Gid::from_raw(gid)))
                .map_err(|errno| refused(path, "giving the file to the group", errno))?;
            owner | Mode::RGRP | Mode::WGRP
        }
    };
    // Whatever the umask was.
    rustix::fs::fchmod(&fd, mode).map_err(|errno| refused(path, "setting the mode", errno))?;
    Ok(File::from(fd))
}

/// Reserves every byte. On failure the nameless file goes with its descriptor.
fn reserve(file: &File, parent: &OwnedFd, path: &Path, bytes: u64) -> Result<(), OpenError> {
    let available =
        || rustix::fs::fstatvfs(parent).map_or(0, |fs| fs.f_bavail.saturating_mul(fs.f_frsize));
    let before = available();
    if bytes > before {
        // Some filesystems fill up before they refuse, and starve everybody meanwhile.
        let path = path.to_owned();
        return Err(OpenError::NoSpace { path, needed: bytes, available: before });
    }
    loop {
        return match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
            Ok(()) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(Errno::NOSPC | Errno::NOMEM | Errno::DQUOT | Errno::FBIG) => {
                Err(OpenError::NoSpace { path: path.to_owned(), needed: bytes, available: before })
            }
            Err(errno) => Err(refused(path, "reserving the space", errno)),
        };
    }
}
