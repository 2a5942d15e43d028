//! Removing what nobody uses any more, and never anything that somebody does.
//!
//! Under the gate (so nobody joins), a cleaner takes every participant's byte at once; only then is
//! the segment abandoned, and only then is it removed. Killed at any point, its locks are free again,
//! and the segment is either untouched or marked destroyed, which the next who meets it completes.

use std::path::PathBuf;

use rustix::fs::OFlags;

use super::attach::open_named;
use super::{Segment, SegmentView, io_error};
use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::directory::{Directory, stat_of};
use crate::shm::layout::{LOCK_GATE, LOCK_PARTICIPANT, MAX_PARTICIPANTS, STATE_DESTROYED};
use crate::shm::names::SegmentName;
use crate::shm::os::{Access, ByteLock, LockKind};
use crate::sync::crash_point;

/// What may be removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct CleanOptions {
    /// Also `keep` segments in which packets wait.
    pub discard: bool,
    /// Spare `ephemeral` and `job` segments in which packets wait, too.
    pub spare_packets: bool,
    /// Remove nothing: say what would be removed.
    pub dry_run: bool,
}

/// What was done about one segment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CleanReport {
    /// Its name.
    pub name: SegmentName,
    /// Its file.
    pub path: PathBuf,
    /// What was done, and why.
    pub outcome: CleanOutcome,
}

/// What was done about a segment, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CleanOutcome {
    /// Removed; nobody was alive in it. So many packets, which were not acknowledged, went with it.
    Removed {
        /// Packets thrown away.
        packets: u64,
    },
    /// Left alone: somebody is alive in it, or just joins.
    Live,
    /// Left alone: it is to be kept, or packets are to be spared, and it holds so many packets that are not acknowledged.
    Kept {
        /// Packets in it.
        packets: u64,
    },
    /// Left alone: it is no job's segment (where only those were asked for).
    OtherLifetime(Lifetime),
    /// Left alone: it could not be read, and says so.
    Unreadable(String),
    /// There was nothing any more.
    Gone,
}

impl Segment {
    /// Removes every segment of a directory in which nobody is alive: `ephemeral` and `job` ones
    /// whatever they hold, `keep` ones when they are empty (or with [`CleanOptions::discard`]). Whatever
    /// is no readable segment stays, and is reported. Directories that are left empty go as well.
    ///
    /// # Errors
    /// [`OpenError::Io`] or [`OpenError::Permission`] where the directory cannot be listed; what goes
    /// wrong with one segment is in its report.
    pub fn clean_abandoned(
        directory: &Directory,
        options: CleanOptions,
    ) -> Result<Vec<CleanReport>, OpenError> {
        let reports = directory
            .names()?
            .into_iter()
            .map(|name| {
                let outcome = clean_one(directory, &name, options, false)
                    .unwrap_or_else(|error| CleanOutcome::Unreadable(error.to_string()));
                CleanReport { path: directory.path_of(&name), name, outcome }
            })
            .collect();
        if !options.dry_run {
            directory.remove_empty_directories();
        }
        Ok(reports)
    }

    /// Removes what an earlier run of a job left behind, whatever it holds. A segment that is alive, or
    /// that is no job's, is left alone.
    ///
    /// # Errors
    /// As [`Segment::attach`], but a missing segment is [`CleanOutcome::Gone`].
    pub fn remove_stale_job(
        directory: &Directory,
        name: &SegmentName,
    ) -> Result<CleanOutcome, OpenError> {
        clean_one(directory, name, CleanOptions { discard: true, ..CleanOptions::default() }, true)
    }
}

fn clean_one(
    directory: &Directory,
    name: &SegmentName,
    options: CleanOptions,
    only_jobs: bool,
) -> Result<CleanOutcome, OpenError> {
    let file = match open_named(directory, name, OFlags::RDWR) {
        Err(OpenError::NotFound { .. }) => return Ok(CleanOutcome::Gone),
        opened => opened?,
    };
    let segment = Segment::of_view(SegmentView::of_named(directory, name, file, Access::Shared)?);
    let path = segment.path();
    if only_jobs && segment.lifetime() != Lifetime::Job {
        return Ok(CleanOutcome::OtherLifetime(segment.lifetime()));
    }
    // SYNC gate (pairs with `attach`): nobody joins from here on. Somebody who does just now is alive.
    let gate = ByteLock::try_exclusive(segment.file(), LOCK_GATE)
        .map_err(io_error(path, "taking the gate"))?;
    let Some(_gate) = gate else { return Ok(CleanOutcome::Live) };
    if stat_of(segment.file(), path)?.st_nlink == 0 {
        return Ok(CleanOutcome::Gone);
    }
    if segment.state()? == STATE_DESTROYED {
        // Its destroyer died before the unlink; who is still in it may not know yet.
        if !options.dry_run {
            segment.finish_removal_under_gate()?;
        }
        return Ok(CleanOutcome::Removed { packets: 0 });
    }
    // Every byte there can be, at once: one that is held shows somebody alive.
    let first = LOCK_PARTICIPANT + 1;
    let everybody =
        ByteLock::try_lock(segment.file(), first, MAX_PARTICIPANTS.into(), LockKind::Exclusive)
            .map_err(io_error(path, "taking the participants' locks"))?;
    let Some(_everybody) = everybody else { return Ok(CleanOutcome::Live) };
    crash_point("clean.locked");
    let packets = segment.packets_left()?;
    let spared = segment.lifetime() == Lifetime::Keep || options.spare_packets;
    if spared && packets != 0 && !options.discard {
        return Ok(CleanOutcome::Kept { packets });
    }
    if !options.dry_run {
        segment.remove_under_gate()?;
    }
    Ok(CleanOutcome::Removed { packets })
}
