//! The models, by what they are about.

mod close;
mod data;
mod help;
mod recover;
mod reuse;
mod roles;
mod runs;
mod runs_left;
mod sleep;

use crate::harness::Model;

/// All of them.
pub(crate) static MODELS: &[Model] = &[
    data::SPSC_STREAM,
    data::SPSC_FULL,
    data::MPSC_ORDER,
    data::SPMC_ONCE,
    data::MAXSIZE_ONE,
    data::RUN_LIVE,
    reuse::SPMC_REUSE,
    reuse::MPMC_REUSE,
    reuse::FRONTIER_LEFT,
    reuse::CACHE_SHARED,
    reuse::LAP_WHILE_CLAIMING,
    reuse::LAP_WHILE_TAKING,
    reuse::GIVE_BACK_REUSE,
    help::CLAIM_DIES,
    help::RUN_DIES,
    help::TAKER_DIES,
    help::RELEASE_DIES,
    recover::DEAD_WRITER,
    recover::DEAD_READER,
    recover::SCRUB_OR_ADOPT,
    recover::SCRUB_LEASES_LAPPED,
    recover::SCRUB_CLAIMS_LAPPED,
    recover::RETURNED_BY_PRODUCER,
    recover::GIVE_BACK_HINT,
    runs::RUN_OR_ONE,
    runs::RUN_OR_RUN,
    runs::RUN_REUSE,
    runs::RUN_READ,
    runs::RUN_ROOM,
    runs::RUN_WHILE_LAPPED,
    runs_left::RUN_TAKER_DIES,
    runs_left::RUN_HEIRS,
    runs_left::RUN_SCRUBBED,
    runs_left::SCRUB_BEHIND_RUN,
    runs::RUN_GIVEN_BACK,
    runs::SEAL_RUNS,
    close::SEAL_MPSC,
    close::SEAL_MPMC,
    close::CLOSE_SPSC,
    close::CLOSE_SPSC_MANY,
    close::CLOSE_SPMC,
    close::CLOSE_WAKES,
    roles::PRODUCER_SUCCEEDS,
    roles::CONSUMER_SUCCEEDS,
    sleep::GET_SPSC,
    sleep::GET_FENCED,
    sleep::GET_MPSC,
    sleep::TWO_WAITERS,
    sleep::TWO_RINGS,
    sleep::ROOM_SPSC,
    sleep::ROOM_SPMC,
];
