//! What can go wrong, one enum per operation.
//!
//! *Transient* means that the same call may succeed later; *permanent* that it cannot.

use std::path::PathBuf;

/// Why a queue could not be opened: attached or created. Every variant is permanent unless it says
/// otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no segment of this name. Transient: somebody may create it.
    #[error("there is no segment {path}")]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A segment of this name exists already (exclusive creation).
    #[error("the segment {path} exists already")]
    Exists {
        /// The segment's file.
        path: PathBuf,
    },
    /// The segment has no ring of this name.
    #[error("no ring {ring:?} in {path}; it has {have:?}")]
    NoSuchRing {
        /// The segment's file.
        path: PathBuf,
        /// The ring asked for.
        ring: String,
        /// Up to 32 of the rings that exist.
        have: Vec<String>,
    },
    /// The queue exists with another configuration.
    #[error("{queue}: {field} is {theirs} there, but {ours} here")]
    ConfigMismatch {
        /// The queue.
        queue: String,
        /// The field that differs.
        field: &'static str,
        /// The value in this process.
        ours: String,
        /// The value in the existing queue.
        theirs: String,
    },
    /// A field of a descriptor or configuration is wrong.
    #[error("{field}: {reason}")]
    InvalidConfig {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The role is held by a live process. Transient.
    #[error("{queue}: the {role} role is taken by process {pid}")]
    RoleTaken {
        /// The queue.
        queue: String,
        /// `producer` or `consumer`.
        role: &'static str,
        /// The holder, as it sees itself (0 when unknown).
        pid: u32,
    },
    /// The table of participants is full. Transient: one may leave or die.
    #[error("{path}: all {max} participants' places are taken")]
    TooManyParticipants {
        /// The segment's file.
        path: PathBuf,
        /// Places there are.
        max: u32,
    },
    /// The file is not a valid segment of this layout.
    #[error("{path}: {what} (at byte {offset})")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// Where, in bytes from the start of the file.
        offset: u64,
    },
    /// The file or directory belongs to somebody else, or is open to others.
    #[error("{path}: {reason}")]
    Permission {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The shared-memory filesystem is too full. Transient.
    #[error("{path}: no room for {needed} bytes ({available} are free)")]
    NoSpace {
        /// The file that was to be made.
        path: PathBuf,
        /// Bytes needed.
        needed: u64,
        /// Bytes free on that filesystem.
        available: u64,
    },
    /// The segment was destroyed while it was being opened. Transient: open it again.
    #[error("{path}: destroyed")]
    Destroyed {
        /// The file.
        path: PathBuf,
    },
    /// The handle was inherited by a fork. Permanent: open the segment anew.
    #[error("{path}: this handle was inherited by a fork")]
    Forked {
        /// The segment's file.
        path: PathBuf,
    },
    /// No factory is registered for the descriptor's type.
    #[error("no queue type {queue_type:?} is registered in this process")]
    UnknownType {
        /// The type named by the descriptor.
        queue_type: String,
    },
    /// The operating system refused.
    #[error("{path}: {doing}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
}

/// Why a packet was not put. The value stays with the caller.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// There is no room now. Transient.
    #[error("the queue is full")]
    Full,
    /// There was no room until the deadline. Transient.
    #[error("the queue stayed full until the deadline")]
    Timeout,
    /// The queue is closed. Permanent.
    #[error("the queue is closed")]
    Closed,
    /// The queue was destroyed. Permanent.
    #[error("the queue was destroyed")]
    Destroyed,
    /// The packet can never fit. Permanent.
    #[error("a packet of {len} bytes does not fit: the maximum is {max}")]
    TooLarge {
        /// Its payload, in bytes.
        len: usize,
        /// The longest payload of this queue.
        max: usize,
    },
    /// The ring's positions are used up. Permanent: make a new queue.
    #[error("the ring's positions are used up")]
    Exhausted,
    /// Another process, or an owned handle in this one, is the only producer. Transient.
    #[error("the producer role is taken by process {pid}")]
    RoleTaken {
        /// The holder (0 when unknown).
        pid: u32,
    },
    /// The handle was inherited by a fork. Permanent: open the queue anew.
    #[error("this handle was inherited by a fork")]
    Forked,
    /// The ring holds values that no ringway writes. Permanent.
    #[error("the ring is corrupt: {what} at position {pos}")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
        /// Position of the record.
        pos: u64,
    },
    /// A signal arrived while waiting, and the caller asked to know. Transient.
    #[error("interrupted by a signal")]
    Interrupted,
    /// The queue could not be opened on its first use.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// A value could not be serialized, or a registered queue type failed. Permanent.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Why no packet was got.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GetError {
    /// Nothing waits now. Transient.
    #[error("the queue is empty")]
    Empty,
    /// Nothing came until the deadline. Transient.
    #[error("the queue stayed empty until the deadline")]
    Timeout,
    /// Closed, and everything before the close is acknowledged, or leased by the caller itself.
    /// Permanent.
    #[error("the queue is closed and drained")]
    Closed,
    /// Closed and empty, but others still hold packets, which come back if they die. Transient.
    #[error("the queue is closed; others still hold {in_flight} packets")]
    Draining {
        /// Packets leased by others.
        in_flight: u64,
    },
    /// The queue was destroyed. Permanent.
    #[error("the queue was destroyed")]
    Destroyed,
    /// Another process, or an owned handle in this one, is the only consumer. Transient.
    #[error("the consumer role is taken by process {pid}")]
    RoleTaken {
        /// The holder (0 when unknown).
        pid: u32,
    },
    /// The handle was inherited by a fork. Permanent: open the queue anew.
    #[error("this handle was inherited by a fork")]
    Forked,
    /// The ring holds values that no ringway writes. Permanent.
    #[error("the ring is corrupt: {what} at position {pos}")]
    Corrupt {
        /// What is wrong.
        what: &'static str,
        /// Position of the record.
        pos: u64,
    },
    /// A signal arrived while waiting, and the caller asked to know. Transient.
    #[error("interrupted by a signal")]
    Interrupted,
    /// The queue could not be opened on its first use.
    #[error(transparent)]
    Open(#[from] Box<OpenError>),
    /// A payload could not be decoded, or a registered queue type failed. Permanent.
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl From<OpenError> for PutError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}

impl From<OpenError> for GetError {
    fn from(error: OpenError) -> Self {
        Self::Open(Box::new(error))
    }
}
