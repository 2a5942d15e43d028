//! Locks that die with their holder: one byte of a file each, on an open file description of its own.
//!
//! The descriptor is opened through a kept, lock-free one (`/proc/self/fd/N`, never by path), takes
//! the lock (`F_OFD_SETLK`), is pinned by mapping one page of it that a child does not inherit, and
//! is closed. From then on the mapping is the lock: the kernel frees it with the address space, at
//! death, at exec, or when the [`ByteLock`] is dropped; no forked child keeps it.
//!
//! A process killed between any two of these steps leaves no lock behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::{Mapping, fork_guard, monotonic_ns};

/// How much a lock excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// Excludes exclusive ones.
    Shared,
    /// Excludes all others.
    Exclusive,
}

impl LockKind {
    const fn raw(self) -> libc::c_short {
        match self {
            Self::Shared => libc::F_RDLCK as libc::c_short,
            Self::Exclusive => libc::F_WRLCK as libc::c_short,
        }
    }
}

fn flock(kind: LockKind, first: u64, bytes: u64) -> libc::flock {
    libc::flock {
        l_type: kind.raw(),
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: first as libc::off_t,
        l_len: bytes as libc::off_t,
        // The kernel insists on 0 here for OFD locks, and answers -1: they belong to no process.
        l_pid: 0,
    }
}

/// A held lock over some bytes of a file. Dropped in the process that made it, it is freed; in a
/// forked child, dropping does nothing.
#[derive(Debug)]
pub struct ByteLock {
    _pin: Mapping,
}

impl ByteLock {
    /// Takes the lock over `bytes` bytes from `first` on a new description of `file`; `None` where
    /// somebody else has a conflicting one (this process included).
    ///
    /// # Errors
    /// What the system says, other than that the lock is taken.
    pub fn try_lock(
        file: &File,
        first: u64,
        bytes: u64,
        kind: LockKind,
    ) -> io::Result<Option<Self>> {
        let _no_fork = fork_guard();
        let own = reopen(file)?;
        match fcntl(&own, FcntlArg::F_OFD_SETLK(&flock(kind, first, bytes))) {
            Ok(_) => {}
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        // Where this fails the descriptor closes, and the lock goes with it.
        Ok(Some(Self { _pin: Mapping::pin(&own)? }))
    }

    /// Takes one byte exclusively, or says that it is taken.
    ///
    /// # Errors
    /// As [`ByteLock::try_lock`].
    pub fn try_exclusive(file: &File, byte: u64) -> io::Result<Option<Self>> {
        Self::try_lock(file, byte, 1, LockKind::Exclusive)
    }

    /// Takes one byte shared, or says that somebody has it exclusively.
    ///
    /// # Errors
    /// As [`ByteLock::try_lock`].
    pub fn try_shared(file: &File, byte: u64) -> io::Result<Option<Self>> {
        Self::try_lock(file, byte, 1, LockKind::Shared)
    }

    /// Takes one byte, trying until `deadline_ns` ([`monotonic_ns`]); `None` when it passes.
    ///
    /// Polls, at most every 2 ms: the kernel's own waiting call knows no deadline.
    ///
    /// # Errors
    /// As [`ByteLock::try_lock`].
    pub fn lock_until(
        file: &File,
        byte: u64,
        kind: LockKind,
        deadline_ns: u64,
    ) -> io::Result<Option<Self>> {
        poll_until(deadline_ns, || Self::try_lock(file, byte, 1, kind))
    }
}

/// Tries until it gets something, at most every 2 ms; `None` when `deadline_ns` ([`monotonic_ns`])
/// passes. It tries at least once.
///
/// # Errors
/// The first error of `attempt`.
pub fn poll_until<T>(
    deadline_ns: u64,
    mut attempt: impl FnMut() -> io::Result<Option<T>>,
) -> io::Result<Option<T>> {
    let mut pause = Duration::from_micros(50);
    loop {
        if let Some(got) = attempt()? {
            return Ok(Some(got));
        }
        if monotonic_ns() >= deadline_ns {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(2));
    }
}

/// Opens a new description of the same file, whether it has a name or not.
///
/// # Errors
/// What the system says; without `/proc` it is "not found".
pub fn reopen(file: &File) -> io::Result<File> {
    File::options().read(true).write(true).open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Says whether anybody (this process included) holds the byte, through a descriptor that itself
/// holds no lock: a description never sees its own.
///
/// # Errors
/// What the system says.
pub fn is_held(file: &File, byte: u64) -> io::Result<bool> {
    any_held(file, byte, 1)
}

/// Says whether anybody holds any of `bytes` bytes from `first` on.
///
/// # Errors
/// What the system says.
pub fn any_held(file: &File, first: u64, bytes: u64) -> io::Result<bool> {
    let mut probe = flock(LockKind::Exclusive, first, bytes);
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut probe))?;
    Ok(probe.l_type != libc::F_UNLCK as libc::c_short)
}
