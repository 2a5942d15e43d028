//! Where segments lie: a directory that nobody else can have made or can write to.
//!
//! Every path is walked from a kept descriptor, one part at a time, following no symbolic link; each
//! directory's owner and mode are checked on the opened descriptor, not on its name. A process killed
//! while it makes directories leaves empty ones, which the next removal of a segment there clears.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::OpenError;
use crate::shm::names::{MAX_NAME_PARTS, SegmentName};

mod trust;

pub(crate) use trust::complain_about;
pub use trust::group_id;
use trust::{complain_about_shared, make_directory};

/// Environment variable that says where segments lie.
pub const DIRECTORY_VARIABLE: &str = "RINGWAY_DIR";
/// Where segments lie otherwise, in a directory of our own.
pub const DEFAULT_PLACE: &str = "/dev/shm";

/// An open, checked directory of segments. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Directory {
    fd: Arc<OwnedFd>,
    path: Arc<Path>,
    group: Option<u32>,
    on_tmpfs: bool,
}

impl Directory {
    /// Opens, or makes, the directory that the environment names: `$RINGWAY_DIR`, else
    /// `/dev/shm/ringway-<uid>`. See [`Directory::open`].
    ///
    /// # Errors
    /// As [`Directory::open`].
    pub fn from_env(group: Option<u32>) -> Result<Self, OpenError> {
        Self::open(&Self::place_from_env(), group)
    }

    /// The place that the environment names: `$RINGWAY_DIR`, else `/dev/shm`.
    #[must_use]
    pub fn place_from_env() -> PathBuf {
        match std::env::var_os(DIRECTORY_VARIABLE) {
            Some(place) if !place.is_empty() => place.into(),
            _ => DEFAULT_PLACE.into(),
        }
    }

    /// Opens `place`, or makes it (its parent must exist).
    ///
    /// A directory of ours that nobody else can enter (mode 0700) is used as it is. In a place that
    /// others may read, or that is shared with the sticky bit set, like `/tmp`, our own child
    /// `ringway-<uid>` (0700) is used, and made where it is missing.
    ///
    /// With a `group`, the directory has mode 0770, that group and any owner, and its child in a shared
    /// place is called `ringway-group-<gid>`: every member of the group is trusted.
    ///
    /// # Errors
    /// [`OpenError::Permission`] for a directory that somebody else made or can change, for a symbolic
    /// link, and where the system refuses; [`OpenError::Io`] for the rest.
    pub fn open(place: &Path, group: Option<u32>) -> Result<Self, OpenError> {
        Self::open_or_make(place, group, true)
    }

    /// Opens `place` as [`Directory::open`] does, but makes nothing: for those who only look.
    ///
    /// # Errors
    /// As [`Directory::open`]; [`OpenError::NotFound`] where it is missing, or our own child in a
    /// shared place is.
    pub fn open_existing(place: &Path, group: Option<u32>) -> Result<Self, OpenError> {
        Self::open_or_make(place, group, false)
    }

    fn open_or_make(place: &Path, group: Option<u32>, make: bool) -> Result<Self, OpenError> {
        let place = std::path::absolute(place).map_err(|source| OpenError::Io {
            path: place.to_owned(),
            doing: "finding the directory",
            source,
        })?;
        let fd = match open_directory(CWD, place.as_os_str()) {
            Err(Errno::NOENT) if make => make_directory(CWD, place.as_os_str(), group)
                .and_then(|()| open_directory(CWD, place.as_os_str())),
            opened => opened,
        }
        .map_err(|errno| match errno {
            // Its parent is missing; `NotFound` would speak of a segment.
            Errno::NOENT if make => OpenError::Io {
                path: place.clone(),
                doing: "making the directory",
                source: errno.into(),
            },
            _ => refused(&place, "opening the directory", errno),
        })?;
        let stat = stat_of(&fd, &place)?;
        if complain_about(&stat, group).is_none() {
            return Self::checked(fd, place, group);
        }
        if let Some(reason) = complain_about_shared(&stat) {
            return Err(OpenError::Permission { path: place, reason });
        }
        let child = match group {
            None => format!("ringway-{}", rustix::process::geteuid().as_raw()),
            Some(gid) => format!("ringway-group-{gid}"),
        };
        let (fd, path) = enter(&fd, &place, child.as_ref(), group, make)?;
        Self::checked(fd, path, group)
    }

    fn checked(fd: OwnedFd, path: PathBuf, group: Option<u32>) -> Result<Self, OpenError> {
        const TMPFS_MAGIC: u64 = 0x0102_1994;
        const RAMFS_MAGIC: u64 = 0x8584_58f6;
        let kind = rustix::fs::fstatfs(&fd)
            .map_err(|errno| refused(&path, "asking for the filesystem", errno))?
            .f_type as u64;
        let on_tmpfs = kind == TMPFS_MAGIC || kind == RAMFS_MAGIC;
        Ok(Self { fd: Arc::new(fd), path: path.into(), group, on_tmpfs })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The group that shares it.
    #[must_use]
    pub fn group(&self) -> Option<u32> {
        self.group
    }

    /// Says whether it lies in memory. Elsewhere the kernel writes the rings to a disk, again and
    /// again.
    #[must_use]
    pub fn on_tmpfs(&self) -> bool {
        self.on_tmpfs
    }

    /// Where a segment of this name lies.
    #[must_use]
    pub fn path_of(&self, name: &SegmentName) -> PathBuf {
        self.path.join(name.as_str())
    }

    /// Lists the names of all regular files that could be segments, sorted.
    ///
    /// # Errors
    /// [`OpenError::Io`] or [`OpenError::Permission`] where a directory cannot be read.
    pub fn names(&self) -> Result<Vec<SegmentName>, OpenError> {
        let mut names = Vec::new();
        self.walk(&self.fd, "", 1, &mut names)?;
        names.sort();
        Ok(names)
    }

    fn walk(
        &self,
        fd: &OwnedFd,
        prefix: &str,
        depth: usize,
        names: &mut Vec<SegmentName>,
    ) -> Result<(), OpenError> {
        let path = self.path.join(prefix);
        let fail = |errno| refused(&path, "listing the directory", errno);
        let entries = match Dir::read_from(fd) {
            // Removed since it was opened.
            Err(Errno::NOENT) => return Ok(()),
            entries => entries.map_err(fail)?,
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let Ok(part) = entry.file_name().to_str() else { continue };
            let name = format!("{prefix}{part}");
            // `.` and `..` are no names either.
            let Ok(name) = SegmentName::new(name) else { continue };
            match file_type(fd, &entry) {
                Some(FileType::RegularFile) => names.push(name),
                Some(FileType::Directory) if depth < MAX_NAME_PARTS => {
                    match open_directory(fd, OsStr::new(part)) {
                        Ok(child) => self.walk(&child, &format!("{name}/"), depth + 1, names)?,
                        // Removed since, or not ours.
                        Err(Errno::NOENT | Errno::ACCESS) => {}
                        Err(errno) => return Err(refused(&path, "opening a directory", errno)),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens the directory that holds the file of `name`, checking every step; makes what is missing
    /// when `make`. `Ok(None)`: it is missing.
    pub(crate) fn parent_of(
        &self,
        name: &SegmentName,
        make: bool,
    ) -> Result<Option<Arc<OwnedFd>>, OpenError> {
        let mut fd = Arc::clone(&self.fd);
        let mut path = self.path.to_path_buf();
        for part in name.parents() {
            match enter(&fd, &path, part.as_ref(), self.group, make) {
                Ok((next, next_path)) => {
                    fd = Arc::new(next);
                    path = next_path;
                }
                Err(OpenError::NotFound { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(fd))
    }

    /// Says whether the name leads to the inode of `file`.
    pub(crate) fn leads_to(&self, name: &SegmentName, file: &File) -> bool {
        let Ok(Some(parent)) = self.parent_of(name, false) else { return false };
        let named = rustix::fs::statat(&*parent, name.leaf(), AtFlags::SYMLINK_NOFOLLOW);
        match (named, rustix::fs::fstat(file)) {
            (Ok(named), Ok(ours)) => (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino),
            _ => false,
        }
    }

    /// Removes the name if it leads to the inode of `file`, and the directories it leaves empty; says
    /// whether it removed it.
    ///
    /// The caller holds the segment's gate exclusively: a name leads elsewhere only after this inode
    /// was unlinked, which needs the same gate.
    pub(crate) fn unlink(&self, name: &SegmentName, file: &File) -> Result<bool, OpenError> {
        if !self.leads_to(name, file) {
            return Ok(false);
        }
        let Some(parent) = self.parent_of(name, false)? else { return Ok(false) };
        match rustix::fs::unlinkat(&*parent, name.leaf(), AtFlags::empty()) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(refused(&self.path_of(name), "unlinking", errno)),
        }
        // Dying here leaves empty directories.
        self.remove_empty_parents(name);
        Ok(true)
    }

    /// Removes empty directories below this one, which a creator leaves that died at the wrong moment.
    /// One that is about to put a file there makes them again.
    pub(crate) fn remove_empty_directories(&self) {
        remove_empty_below(&self.fd, 1);
    }

    /// Removes the directories of a name that are empty, as far as that goes.
    pub(crate) fn remove_empty_parents(&self, name: &SegmentName) {
        let mut rest = name.as_str();
        while let Some((parents, _)) = rest.rsplit_once('/') {
            let Ok(directory) = SegmentName::new(parents) else { return };
            let Ok(Some(above)) = self.parent_of(&directory, false) else { return };
            if rustix::fs::unlinkat(&*above, directory.leaf(), AtFlags::REMOVEDIR).is_err() {
                return;
            }
            rest = parents;
        }
    }
}

/// Enters one part of a path, and checks what it is.
fn enter(
    fd: &OwnedFd,
    path: &Path,
    part: &OsStr,
    group: Option<u32>,
    make: bool,
) -> Result<(OwnedFd, PathBuf), OpenError> {
    let path = path.join(part);
    let mut opened = open_directory(fd, part);
    if make && matches!(opened, Err(Errno::NOENT)) {
        make_directory(fd, part, group)
            .map_err(|errno| refused(&path, "making the directory", errno))?;
        opened = open_directory(fd, part);
    }
    let entered = opened.map_err(|errno| refused(&path, "opening the directory", errno))?;
    match complain_about(&stat_of(&entered, &path)?, group) {
        None => Ok((entered, path)),
        Some(reason) => Err(OpenError::Permission { path, reason }),
    }
}

fn open_directory(at: impl std::os::fd::AsFd, part: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, part.as_bytes(), flags, Mode::empty())
}

fn remove_empty_below(fd: &OwnedFd, depth: usize) {
    let Ok(entries) = Dir::read_from(fd) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let dots = [c".", c".."].contains(&name);
        if dots || depth >= MAX_NAME_PARTS || file_type(fd, &entry) != Some(FileType::Directory) {
            continue;
        }
        if let Ok(child) = open_directory(fd, OsStr::from_bytes(name.to_bytes())) {
            remove_empty_below(&child, depth + 1);
        }
        // Fails where something is in it, which is as it should be.
        let _ = rustix::fs::unlinkat(fd, name, AtFlags::REMOVEDIR);
    }
}

fn file_type(fd: &OwnedFd, entry: &rustix::fs::DirEntry) -> Option<FileType> {
    match entry.file_type() {
        FileType::Unknown => rustix::fs::statat(fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW)
            .ok()
            .map(|stat| FileType::from_raw_mode(stat.st_mode)),
        known => Some(known),
    }
}

pub(crate) fn stat_of(fd: impl std::os::fd::AsFd, path: &Path) -> Result<Stat, OpenError> {
    rustix::fs::fstat(fd).map_err(|errno| refused(path, "asking for owner and mode", errno))
}

/// The error for what the system said about a path.
pub(crate) fn refused(path: &Path, doing: &'static str, errno: Errno) -> OpenError {
    let path = path.to_owned();
    let permission = |reason: &str| OpenError::Permission {
        path: path.clone(),
        reason: format!("{doing}: {reason}"),
    };
    match errno {
        Errno::NOENT => OpenError::NotFound { path },
        Errno::LOOP => permission("it is a symbolic link"),
        Errno::NOTDIR => permission("it is a symbolic link, or no directory"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            permission(&io::Error::from(errno).to_string())
        }
        _ => OpenError::Io { path, doing, source: errno.into() },
    }
}
