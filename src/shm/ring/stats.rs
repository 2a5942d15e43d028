//! The counters: on lines their writers own anyway, and mostly derived from positions.
//!
//! A position counts units; so puts are positions less the units beyond the first of large records,
//! less what was skipped. Advisory: a process that dies between an operation and its counter leaves
//! it one too low. Exact when nothing is in progress and nobody died.

#[cfg(not(loom))]
use super::Ring;

/// Numbers of one ring since its creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct RingStats {
    /// Packets ever put.
    pub puts: u64,
    /// Packets ever taken for the first time.
    pub gets: u64,
    /// Payload bytes ever put.
    pub bytes_put: u64,
    /// Payload bytes ever taken for the first time. Of many consumers: what was put less what waits.
    pub bytes_got: u64,
    /// Times a blocking put had to wait.
    pub full_waits: u64,
    /// Times a blocking get had to wait.
    pub empty_waits: u64,
    /// Puts refused because the ring was full.
    pub refused: u64,
    /// Packets delivered again.
    pub redelivered: u64,
    /// Packets claimed but never committed.
    pub skipped: u64,
    /// Packets delivered too often: moved to the dead-letter ring, or dropped for want of one.
    pub dead_lettered: u64,
    /// Times that such a packet found no room in the dead-letter ring, and stayed.
    pub dead_letters_kept: u64,
    /// Most packets seen waiting: at least what waits now, at most 64 below the truth.
    pub high_water: u64,
    /// Nanoseconds that blocking puts waited.
    pub put_blocked_ns: u64,
    /// Nanoseconds that blocking gets waited.
    pub get_blocked_ns: u64,
}

#[cfg(not(loom))]
impl Ring {
    /// The counters. Each is one load; together they are no snapshot.
    #[must_use]
    pub fn stats(&self) -> RingStats {
        self.view().stats()
    }
}
