//! What goes through the rings of a service: requests and replies, each a head in front of its payload.
//!
//! Both are postcard; the processes of a job run one program, or programs whose spec has one version.

use serde::{Deserialize, Serialize};

/// A request, in front of its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RequestHead<'a> {
    pub(crate) call: u64,
    /// Place of the caller in the plan.
    pub(crate) client: u32,
    /// The caller among the participants of the segment.
    pub(crate) participant: u16,
    /// On the monotonic clock, in nanoseconds.
    pub(crate) sent_ns: u64,
    /// On the same; 0 for none.
    pub(crate) deadline_ns: u64,
    pub(crate) method: &'a str,
}

/// A reply, in front of its payload.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReplyHead {
    pub(crate) call: u64,
    pub(crate) outcome: Outcome,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done,
    NoSuchMethod(Vec<String>),
    Handler { code: i32, message: String },
    BadRequest(String),
    DeadlineExceeded,
    TooLarge { len: u64, max: u64 },
}
