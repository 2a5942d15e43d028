//! What the library tells `tracing`: joining and leaving, recovery, redelivery, close, dead letters.
//!
//! Nothing on the way of an ordinary packet comes here. Every function is cold, and without a
//! subscriber it is one load. A subscriber runs in the middle of the operation, so it must not use the
//! queue that the event is about.
//!
//! | event | level | fields |
//! |---|---|---|
//! | `attached`, `detached` | DEBUG | `segment` (path), `participant` |
//! | `recovered participant` | INFO | `segment`, `participant`: its id was scrubbed for a successor |
//! | `skipped what a dead writer claimed` | INFO | `queue`, `participant`, `position` |
//! | `returned what dead readers held` | INFO | `queue` |
//! | `redelivered` | INFO | `queue`, `position`, `redeliveries` |
//! | `closed` | INFO | `queue` |
//! | `dead letter` | WARN | `queue`, `position`, `redeliveries`, `to`: `ring`, or `nowhere` |

#![cfg_attr(loom, allow(unused_variables, reason = "models have no subscriber"))]

#[cfg(not(loom))]
use std::path::Path;

macro_rules! event {
    ($level:ident, $($rest:tt)*) => {
        #[cfg(not(loom))]
        tracing::event!(target: "ringway", tracing::Level::$level, $($rest)*);
    };
}

#[cfg(not(loom))]
#[cold]
pub(crate) fn attached(segment: &Path, participant: u16) {
    event!(DEBUG, segment = %segment.display(), participant, "attached");
}

#[cfg(not(loom))]
#[cold]
pub(crate) fn detached(segment: &Path, participant: u16) {
    event!(DEBUG, segment = %segment.display(), participant, "detached");
}

#[cfg(not(loom))]
#[cold]
pub(crate) fn recovered_participant(segment: &Path, participant: u16) {
    event!(INFO, segment = %segment.display(), participant, "recovered participant");
}

#[cold]
pub(crate) fn skipped_dead_writer(queue: &str, participant: u16, position: u64) {
    event!(INFO, queue, participant, position, "skipped what a dead writer claimed");
}

#[cold]
pub(crate) fn returned_from_dead_readers(queue: &str) {
    event!(INFO, queue, "returned what dead readers held");
}

#[cold]
pub(crate) fn redelivered(queue: &str, position: u64, redeliveries: u32) {
    event!(INFO, queue, position, redeliveries, "redelivered");
}

#[cfg(not(loom))]
#[cold]
pub(crate) fn closed(queue: &str) {
    event!(INFO, queue, "closed");
}

#[cfg(not(loom))]
#[cold]
pub(crate) fn dead_letter(queue: &str, position: u64, redeliveries: u32, to: &str) {
    event!(WARN, queue, position, redeliveries, to, "dead letter");
}
