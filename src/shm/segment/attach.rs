//! Opening a segment that exists: to take part in it, or to look at it.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::blueprint::Blueprint;
use super::{GATE_PATIENCE, Segment, SegmentView, io_error};
use crate::error::OpenError;
use crate::shm::directory::{Directory, complain_about, refused, stat_of};
use crate::shm::layout::{
    LOCK_GATE, LOCK_GATE_TURN, PAGE_BYTES, STATE_DESTROYED, STATE_LIVE, SegmentHeader,
};
use crate::shm::names::SegmentName;
use crate::shm::os::{self, Access, ByteLock, LockKind};
use crate::sync::{Ordering, crash_point};

/// Times that a name is looked up again when the segment it led to was just removed.
pub(super) const TRIES: u32 = 100;

impl Segment {
    /// Attaches to an existing segment, after checking every byte of its immutable part, and takes a
    /// place in its table of participants under the name `participant_name`.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::Permission`], [`OpenError::Corrupt`] (also for whatever
    /// is no segment of this layout), [`OpenError::TooManyParticipants`], [`OpenError::Io`];
    /// [`OpenError::Destroyed`] where it keeps being replaced.
    pub fn attach(
        directory: &Directory,
        name: &SegmentName,
        participant_name: &str,
    ) -> Result<Arc<Self>, OpenError> {
        let path = directory.path_of(name);
        for _ in 0..TRIES {
            let file = open_named(directory, name, OFlags::RDWR)?;
            // SYNC gate (pairs with `destroy`, `clean`): nobody removes the file while we join.
            let gate = gate(&file, &path, LockKind::Shared)?;
            crash_point("attach.gate");
            if stat_of(&file, &path)?.st_nlink == 0 {
                // Removed between opening it and the gate; a successor may have the name.
                continue;
            }
            let view = SegmentView::of_named(directory, name, file, Access::Shared)?;
            let mut segment = Self::of_view(view);
            match segment.state()? {
                STATE_DESTROYED => {
                    // Its destroyer died before the unlink: finish that, and look again.
                    drop(gate);
                    segment.finish_removal()?;
                }
                _ => {
                    segment.join(participant_name)?;
                    return Ok(Arc::new(segment));
                }
            }
        }
        Err(OpenError::Destroyed { path })
    }

    /// Opens a segment to look at it: joins nothing, takes no lock, and cannot change a byte of it.
    /// Works on wedged, abandoned and destroyed ones.
    ///
    /// Everything is mapped read only, and [`SegmentView`] has no way to write.
    ///
    /// # Errors
    /// As [`Segment::attach`], without those about joining.
    pub fn open_readonly(
        directory: &Directory,
        name: &SegmentName,
    ) -> Result<Arc<SegmentView>, OpenError> {
        let file = open_named(directory, name, OFlags::RDONLY)?;
        Ok(Arc::new(SegmentView::of_named(directory, name, file, Access::ReadOnly)?))
    }

    /// Opens a copy of a segment's file, wherever it lies and whoever owns it, to look at it. As
    /// [`Segment::open_readonly`], but without a name.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::Permission`] where the system refuses,
    /// [`OpenError::Corrupt`], [`OpenError::Io`].
    pub fn open_raw_file(path: &Path) -> Result<Arc<SegmentView>, OpenError> {
        check_pages(path)?;
        let file = open_unnamed(path)?;
        let blueprint = Blueprint::read(&file, path)?;
        let path = path.to_owned();
        Ok(Arc::new(SegmentView::assemble(None, path, file, blueprint, Access::ReadOnly)?))
    }

    /// The state word, which is one of the two.
    pub(super) fn state(&self) -> Result<u32, OpenError> {
        self.check_origin()?;
        let control = self.table.control().ok_or(OpenError::Forked { path: self.path.clone() })?;
        // SYNC destroyed (pairs with `mark_destroyed`).
        match control.state.load(Ordering::Acquire) {
            state @ (STATE_LIVE | STATE_DESTROYED) => Ok(state),
            other => Err(OpenError::Corrupt {
                path: self.path.clone(),
                what: format!("state {other} is neither live nor destroyed"),
                offset: self.blueprint.plan.control_offset,
            }),
        }
    }
}

impl SegmentView {
    /// Reads, checks and maps a file opened by its name.
    pub(super) fn of_named(
        directory: &Directory,
        name: &SegmentName,
        file: File,
        access: Access,
    ) -> Result<Self, OpenError> {
        let path = directory.path_of(name);
        check_pages(&path)?;
        let blueprint = Blueprint::read(&file, &path)?;
        let (header, stat) = (&blueprint.header, stat_of(&file, &path)?);
        // `creator_uid` is as the creator's user namespace had it: advice. The owner was checked.
        if header.group_gid != u32::MAX && header.group_gid != stat.st_gid {
            let what = format!("group_gid is {}, the file's {}", header.group_gid, stat.st_gid);
            let offset = std::mem::offset_of!(SegmentHeader, group_gid) as u64;
            return Err(OpenError::Corrupt { path, what, offset });
        }
        Self::assemble(Some((directory.clone(), name.clone())), path, file, blueprint, access)
    }
}

/// Takes the gate, waiting a while for others to let go of it.
///
/// Joiners that come one after the other would keep it shared for ever, so whoever wants it exclusively
/// takes the *turn* first, which joiners look at: no new ones come until that one has passed. Killed
/// while waiting, it frees the turn.
pub(super) fn gate(file: &File, path: &Path, kind: LockKind) -> Result<ByteLock, OpenError> {
    let deadline = os::deadline_after(GATE_PATIENCE);
    let taken = match kind {
        LockKind::Exclusive => pass_in_turn(file, deadline),
        LockKind::Shared => pass_after_turns(file, deadline),
    };
    match taken {
        Ok(Some(gate)) => Ok(gate),
        Ok(None) => Err(io_error(path, "waiting for the gate")(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            "others held it all the time; is a process stopped that joins or removes the segment?",
        ))),
        Err(source) => Err(io_error(path, "taking the gate, through /proc/self/fd")(source)),
    }
}

fn pass_in_turn(file: &File, deadline_ns: u64) -> std::io::Result<Option<ByteLock>> {
    let kind = LockKind::Exclusive;
    let Some(_turn) = ByteLock::lock_until(file, LOCK_GATE_TURN, kind, deadline_ns)? else {
        return Ok(None);
    };
    crash_point("gate.turn");
    ByteLock::lock_until(file, LOCK_GATE, kind, deadline_ns)
}

fn pass_after_turns(file: &File, deadline_ns: u64) -> std::io::Result<Option<ByteLock>> {
    os::poll_until(deadline_ns, || {
        if os::is_held(file, LOCK_GATE_TURN)? {
            return Ok(None);
        }
        ByteLock::try_shared(file, LOCK_GATE)
    })
}

/// Opens a copy in a file, wherever it lies, to read it.
pub(super) fn open_unnamed(path: &Path) -> Result<File, OpenError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| refused(path, "opening the file", errno))?;
    let file = File::from(fd);
    check_kind(&stat_of(&file, path)?, path)?;
    Ok(file)
}

/// Opens the file of a name, following no link, and checks what it is and whose.
pub(super) fn open_named(
    directory: &Directory,
    name: &SegmentName,
    how: OFlags,
) -> Result<File, OpenError> {
    let path = directory.path_of(name);
    let Some(parent) = directory.parent_of(name, false)? else {
        return Err(OpenError::NotFound { path });
    };
    // NONBLOCK: opening a FIFO must not wait for its other end.
    let flags = how | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd =
        rustix::fs::openat(&*parent, name.leaf(), flags, Mode::empty()).map_err(
            |errno| match errno {
                Errno::ISDIR => not_regular(&path, "a directory"),
                Errno::NXIO | Errno::NODEV => not_regular(&path, "a socket or a device"),
                _ => refused(&path, "opening the file", errno),
            },
        )?;
    let file = File::from(fd);
    let stat = stat_of(&file, &path)?;
    check_kind(&stat, &path)?;
    if let Some(reason) = complain_about(&stat, directory.group()) {
        return Err(OpenError::Permission { path, reason });
    }
    if stat.st_nlink > 1 {
        let reason = format!("it has {} names, so it could be removed only in part", stat.st_nlink);
        return Err(OpenError::Permission { path, reason });
    }
    Ok(file)
}

fn check_kind(stat: &Stat, path: &Path) -> Result<(), OpenError> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Fifo => Err(not_regular(path, "a FIFO")),
        FileType::Directory => Err(not_regular(path, "a directory")),
        _ => Err(not_regular(path, "a device")),
    }
}

fn not_regular(path: &Path, kind: &str) -> OpenError {
    OpenError::Corrupt {
        path: path.to_owned(),
        what: format!("it is {kind}, no segment"),
        offset: 0,
    }
}

/// Refuses kernels whose pages are larger than the layout's: parts could not be mapped apart.
pub(super) fn check_pages(path: &Path) -> Result<(), OpenError> {
    let bytes = os::page_bytes();
    if bytes == PAGE_BYTES {
        return Ok(());
    }
    Err(io_error(path, "mapping")(std::io::Error::new(
        std::io::ErrorKind::Unsupported,
        format!("this kernel has pages of {bytes} bytes; segments are laid out for {PAGE_BYTES}"),
    )))
}
