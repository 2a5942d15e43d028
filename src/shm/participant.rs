//! Joining a segment and leaving it.
//!
//! A participant is a lock on one byte of the segment's file (see `os::lock`); its row in the table is
//! advice about it. Whoever holds the byte owns the row. A survivor that sees a row while its byte is
//! free sees a dead participant, or one that left:
//!
//! ```text
//! line   killed right after                     what survivors see
//! J1     taking the byte                        the row as before, byte free: nothing happened
//! J2     scrubbing some of the rings            JOINED with its bitmap: the next one scrubs all again
//! J3     clearing the bitmap                    JOINED (or FREE) with nothing to scrub
//! J4     writing pid, times, name               as J3, with a mixture of old and new advice
//! J5     state = JOINED                         an ordinary death
//! L1     state = FREE                           one that left in order; the byte is free as well
//! L2     freeing the byte                       the same
//! E1     (last of an ephemeral one) DESTROYED   whoever opens the name finds it destroyed and unlinks
//! E2     unlinking                              nothing
//! ```

use std::fs::File;
use std::io;

use crate::shm::layout::{
    LOCK_PARTICIPANT, MAX_PARTICIPANT_NAME, MAX_PARTICIPANTS, Participant, ROW_FREE, ROW_JOINED,
};
use crate::shm::mapped::Table;
use crate::shm::os::{self, ByteLock};
use crate::sync::{Ordering, crash_point};

/// A participant as others see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParticipantInfo {
    /// Its id, which is the owner in stamps.
    pub id: u16,
    /// Its process, in its own pid namespace.
    pub pid: u32,
    /// Start of that process in clock ticks since boot: tells it from a later one of the same pid.
    pub start_ticks: u64,
    /// What it calls itself.
    pub name: String,
    /// Whether a live process holds its lock. Of a raw copy of a segment: never.
    pub alive: bool,
    /// Wall-clock time of joining, in nanoseconds since 1970.
    pub joined_unix_ns: u64,
    /// Bit `ring % 64` is set for the rings it has ever claimed or leased in.
    pub rings_touched: u64,
}

/// A place in the table: the lock that is the participant's life.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) id: u16,
    /// Freed when dropped.
    _lock: ByteLock,
}

/// Lock byte of a participant.
pub(crate) fn lock_byte(id: u16) -> u64 {
    LOCK_PARTICIPANT + u64::from(id)
}

/// Why nobody joined.
#[derive(Debug)]
pub(crate) enum JoinError<E> {
    /// Every byte is held.
    NoPlace,
    /// The system refused a lock, or the handle is a forked child's.
    Io(io::Error),
    /// A dead predecessor's rings could not be scrubbed.
    Scrub(E),
}

/// Takes a place in the table. The caller holds the gate shared, or the file has no name yet.
///
/// `scrub` removes every trace of an id from the rings of a bitmap; it runs under the lock of that id,
/// before anybody can see the new participant. It must do no harm when it is run twice.
pub(crate) fn join<E>(
    file: &File,
    table: &Table,
    name: &str,
    scrub: impl Fn(u16, u64) -> Result<(), E>,
) -> Result<Membership, JoinError<E>> {
    let control = table.control().ok_or_else(|| JoinError::Io(forked()))?;
    // RELAXED: only spreads those who join at the same time, and makes ids come back late.
    let start = control.joined_total.load(Ordering::Relaxed) % u64::from(table.max_participants());
    let (id, lock) =
        take_place(file, table, start as u32).map_err(JoinError::Io)?.ok_or(JoinError::NoPlace)?;
    crash_point("join.locked"); // J1
    let row = table.row(id).ok_or_else(|| JoinError::Io(forked()))?;
    // RELAXED: the lock orders us after everything its last holder did.
    if row.state.load(Ordering::Relaxed) != ROW_FREE {
        let touched = row.rings_touched.load(Ordering::Relaxed);
        if touched != 0 {
            // On an error the byte is freed, and the row stays for the next one to scrub.
            scrub(id, touched).map_err(JoinError::Scrub)?;
        }
        // RELAXED: a statistic.
        control.recovered_total.fetch_add(1, Ordering::Relaxed);
        crash_point("join.scrubbed"); // J2
    }
    // SYNC scrubbed (pairs with the next joiner's lock): the scrubbing is done before the bitmap says so.
    row.rings_touched.store(0, Ordering::Release);
    crash_point("join.cleared"); // J3
    write_row(row, name);
    crash_point("join.written"); // J4
    // SYNC joined (pairs with `info`): whoever reads JOINED reads this row.
    row.state.store(ROW_JOINED, Ordering::Release);
    crash_point("join.published"); // J5
    // RELAXED: a statistic, and the start of the next search.
    control.joined_total.fetch_add(1, Ordering::Relaxed);
    Ok(Membership { id, _lock: lock })
}

/// Gives a place back. What the participant held in rings it has given back before.
pub(crate) fn leave(table: &Table, membership: Membership) {
    if let Some(row) = table.row(membership.id) {
        // SYNC left (pairs with the next joiner's lock): nothing of ours is left in the rings.
        row.state.store(ROW_FREE, Ordering::Release); // L1
    }
    crash_point("leave.freed");
    drop(membership); // L2
}

/// Finds a free byte: among rows that say so first, then among those of the dead. A recoverer holds a
/// dead one's byte for a moment, so a full table is looked at a few times.
fn take_place(file: &File, table: &Table, start: u32) -> io::Result<Option<(u16, ByteLock)>> {
    const ROUNDS: u32 = 5;
    let max = table.max_participants().min(MAX_PARTICIPANTS);
    for round in 0..ROUNDS {
        for wanted in [ROW_FREE, ROW_JOINED] {
            for step in 0..max {
                let id = ((start + step) % max + 1) as u16;
                let row = table.row(id).ok_or_else(forked)?;
                // RELAXED: a hint; the lock is the truth. Anything but FREE counts as joined.
                let state = row.state.load(Ordering::Relaxed);
                if (state == ROW_FREE) != (wanted == ROW_FREE) {
                    continue;
                }
                if let Some(lock) = ByteLock::try_exclusive(file, lock_byte(id))? {
                    return Ok(Some((id, lock)));
                }
            }
        }
        if round + 1 < ROUNDS {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }
    Ok(None)
}

fn write_row(row: &Participant, name: &str) {
    // RELAXED: published by the store of `state`; nobody decides anything by these.
    row.pid.store(std::process::id(), Ordering::Relaxed);
    row.start_ticks.store(start_ticks(), Ordering::Relaxed);
    row.joined_unix_ns.store(os::unix_ns(), Ordering::Relaxed);
    for (word, bytes) in row.name.iter().zip(name_bytes(name).chunks_exact(8)) {
        let mut raw = [0; 8];
        raw.copy_from_slice(bytes);
        word.store(u64::from_le_bytes(raw), Ordering::Relaxed);
    }
    // The doorbell is left as it is: it only ever counts up, so a late ring wakes and harms nobody.
}

/// As much of the name as fits, in whole characters.
fn name_bytes(name: &str) -> [u8; MAX_PARTICIPANT_NAME] {
    let mut bytes = [0; MAX_PARTICIPANT_NAME];
    let end = name.floor_char_boundary(MAX_PARTICIPANT_NAME);
    bytes[..end].copy_from_slice(&name.as_bytes()[..end]);
    bytes
}

/// Start of this process: field 22 of `/proc/self/stat`, counted behind the name in parentheses.
fn start_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    stat.rsplit_once(')')
        .and_then(|(_, rest)| rest.split_ascii_whitespace().nth(19)?.parse().ok())
        .unwrap_or(0)
}

/// Describes participant `id`; `None` for a row that is free. `alive`: what the lock says.
pub(crate) fn info(table: &Table, id: u16, alive: bool) -> Option<ParticipantInfo> {
    let row = table.read_row(id)?;
    if row.state != ROW_JOINED {
        return None;
    }
    let end = row.name.iter().position(|&byte| byte == 0).unwrap_or(row.name.len());
    Some(ParticipantInfo {
        id,
        pid: row.pid,
        start_ticks: row.start_ticks,
        name: String::from_utf8_lossy(&row.name[..end]).into_owned(),
        alive,
        joined_unix_ns: row.joined_unix_ns,
        rings_touched: row.rings_touched,
    })
}

fn forked() -> io::Error {
    io::Error::other("this handle was inherited by a fork")
}
