//! Whom a directory or a file can be trusted to be made by, and for whom it is made.
//!
//! Asked of opened descriptors only, never of names. Everybody in a shared directory's group is
//! trusted; nobody else is, but root.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, Stat};
use rustix::io::Errno;
use rustix::process::Gid;

use super::open_directory;
use crate::error::OpenError;

/// The number of a group, from its name or from that number itself.
///
/// # Errors
/// [`OpenError::InvalidConfig`] where there is no such group.
pub fn group_id(group: &str) -> Result<u32, OpenError> {
    let invalid = |reason: String| OpenError::InvalidConfig { field: "group", reason };
    // The largest number stands for no group at all, here as in the kernel.
    if let Some(gid) = group.parse().ok().filter(|&gid| gid != u32::MAX) {
        return Ok(gid);
    }
    match nix::unistd::Group::from_name(group) {
        Ok(Some(found)) => Ok(found.gid.as_raw()),
        Ok(None) => Err(invalid(format!("there is no group {group:?}"))),
        Err(errno) => Err(invalid(format!("looking {group:?} up: {errno}"))),
    }
}

/// Makes a directory for us, or for the group. That it exists is no error; who made it is checked
/// after it is opened.
pub(super) fn make_directory(
    at: impl std::os::fd::AsFd,
    part: &OsStr,
    group: Option<u32>,
) -> Result<(), Errno> {
    match rustix::fs::mkdirat(&at, part.as_bytes(), Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => return Ok(()),
        Err(errno) => return Err(errno),
    }
    // Dying here leaves a directory that members of the group are refused, until its owner comes by.
    let made = open_directory(&at, part)?;
    if rustix::fs::fstat(&made)?.st_uid != rustix::process::geteuid().as_raw() {
        // Somebody put another one in its place; whoever opens it next says so.
        return Ok(());
    }
    let mode = if group.is_some() { Mode::RWXU | Mode::RWXG } else { Mode::RWXU };
    if group.is_some() {
        rustix::fs::fchown(&made, None, group.map(Gid::from_raw))?;
    }
    // Whatever the umask was.
    rustix::fs::fchmod(&made, mode)
}

/// Says why a directory or a segment's file cannot be trusted, if it cannot.
pub(crate) fn complain_about(stat: &Stat, group: Option<u32>) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    let mode = stat.st_mode & 0o777;
    let for_group = group.is_some_and(|gid| stat.st_gid == gid);
    let forbidden = if for_group { 0o007 } else { 0o077 };
    if mode & forbidden != 0 {
        return Some(format!(
            "its mode is {mode:o}, which is open to {}",
            if mode & 0o007 != 0 { "others" } else { "a group" }
        ));
    }
    // A shared directory may have been made by any member of the group, and by nobody else.
    if stat.st_uid != me && !for_group {
        return Some(format!("it belongs to user {}, not to {me}", stat.st_uid));
    }
    None
}

/// Says why a directory of our own would not be safe in this place, if it would not.
pub(super) fn complain_about_shared(stat: &Stat) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    if stat.st_uid != me && stat.st_uid != 0 {
        return Some(format!("it belongs to user {}, not to {me} or root", stat.st_uid));
    }
    if stat.st_mode & 0o022 != 0 && stat.st_mode & 0o1000 == 0 {
        return Some(format!(
            "its mode is {:o}: others can replace what is in it, since it is not sticky",
            stat.st_mode & 0o7777
        ));
    }
    None
}
