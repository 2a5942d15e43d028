//! What became of a packet.
//!
//! A report says of every target that was picked either that the packet was committed to its queue,
//! or why not. It is built on the way, from what the queues answered, and keeps nothing on the heap
//! unless something went wrong or more than eight targets took the packet.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::WireError;
use crate::error::PutError;

/// Where a connection stands in a router. Prints as `group.target`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub struct TargetId {
    /// Its group.
    pub broadcast_index: u32,
    /// Its place in the group.
    pub parallel_index: u32,
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.broadcast_index, self.parallel_index)
    }
}

/// Why a target, or a whole group, did not get a packet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue was full, and the connection's policy is to drop. The packet is counted as
    /// dropped.
    #[error("the queue is full, the packet was dropped")]
    Dropped,
    /// The queue refused. Transient where the [`PutError`] is.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The packet was to be hashed and has no key. Permanent.
    #[error("the packet has no key to be hashed")]
    Unkeyed,
    /// The group's function picked a target that there is not. Permanent.
    #[error("the custom strategy picked target {picked} of {count}")]
    BadChoice {
        /// What it picked.
        picked: usize,
        /// How many targets the group has.
        count: usize,
    },
    /// The packet has no wire form. Permanent.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The router has no such target. Permanent.
    #[error("the router has no such target")]
    NoSuchTarget,
}

/// A target that did not get the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissedTarget {
    /// Its place in the group.
    pub parallel_index: u32,
    /// Its name.
    pub name: Arc<str>,
    /// Name of its queue.
    pub queue_id: Arc<str>,
}

/// One thing that went wrong with a send.
#[derive(Debug)]
#[non_exhaustive]
pub struct Problem {
    /// The group.
    pub broadcast_index: u32,
    /// The target; `None` where the group as a whole got nothing.
    pub target: Option<MissedTarget>,
    /// Why.
    pub error: SendError,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { broadcast_index: group, target, error } = self;
        match target {
            Some(MissedTarget { parallel_index, name, queue_id }) => {
                write!(f, "{name} ({group}.{parallel_index}, queue {queue_id}): {error}")
            }
            None => write!(f, "group {group}: {error}"),
        }
    }
}

const INLINE: usize = 8;

/// What became of one packet or stop signal.
///
/// Every target that was picked is either among the [`SendReport::delivered`], and the packet is
/// then committed to its queue, or among the [`SendReport::problems`] with the reason. Making a
/// report allocates nothing while there is no problem and at most eight targets were reached; one
/// that is used again ([`super::Router::send_into`]) keeps its memory.
#[derive(Debug, Default)]
#[must_use = "a send can fail: the report says where"]
pub struct SendReport {
    inline: [TargetId; INLINE],
    inline_len: usize,
    more: Vec<TargetId>,
    problems: Vec<Problem>,
    declined: u32,
}

impl SendReport {
    /// Makes a report of nothing, to be filled by [`super::Router::send_into`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether every target that was picked has the packet. A dropped packet is not complete;
    /// a send to a router without connections is.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.problems.is_empty()
    }

    /// The targets whose queues have the packet.
    pub fn delivered(&self) -> impl Iterator<Item = TargetId> {
        self.inline[..self.inline_len].iter().chain(&self.more).copied()
    }

    /// How many targets have the packet.
    #[must_use]
    pub fn delivered_count(&self) -> usize {
        self.inline_len + self.more.len()
    }

    /// What went wrong.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// What went wrong other than packets dropped by the policy of their connection.
    pub fn failures(&self) -> impl Iterator<Item = &Problem> {
        self.problems.iter().filter(|problem| !matches!(problem.error, SendError::Dropped))
    }

    /// How many targets dropped the packet by policy.
    #[must_use]
    pub fn dropped_count(&self) -> usize {
        self.problems.len() - self.failures().count()
    }

    /// How many groups declined the packet ([`super::Choice::Decline`]).
    #[must_use]
    pub fn declined_count(&self) -> u32 {
        self.declined
    }

    /// Turns anything undelivered, dropped packets included, into an error.
    ///
    /// # Errors
    /// [`Undelivered`] unless the report [is complete](Self::is_complete).
    pub fn into_result(self) -> Result<Self, Undelivered> {
        if self.is_complete() { Ok(self) } else { Err(Undelivered(Box::new(self))) }
    }

    /// Turns anything undelivered into an error, except what was dropped by policy.
    ///
    /// # Errors
    /// [`Undelivered`] where there are [failures](Self::failures).
    pub fn into_result_allowing_drops(self) -> Result<Self, Undelivered> {
        if self.failures().next().is_none() { Ok(self) } else { Err(Undelivered(Box::new(self))) }
    }

    pub(super) fn clear(&mut self) {
        self.inline_len = 0;
        self.more.clear();
        self.problems.clear();
        self.declined = 0;
    }

    pub(super) fn add_delivered(&mut self, target: TargetId) {
        match self.inline.get_mut(self.inline_len) {
            Some(slot) => {
                *slot = target;
                self.inline_len += 1;
            }
            None => self.more.push(target),
        }
    }

    #[cold]
    pub(super) fn add_problem(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    pub(super) fn add_declined(&mut self) {
        self.declined += 1;
    }
}

impl fmt::Display for SendReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivered = self.delivered_count();
        write!(f, "delivered to {delivered} of {}", delivered + self.problems.len())?;
        for (nth, target) in self.delivered().enumerate() {
            write!(f, "{}{target}", if nth == 0 { ": " } else { ", " })?;
        }
        if self.declined > 0 {
            write!(f, "; declined by {} groups", self.declined)?;
        }
        for problem in &self.problems {
            write!(f, "; {problem}")?;
        }
        Ok(())
    }
}

/// Says that a send was not complete; prints what the report prints.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Undelivered(Box<SendReport>);

impl Undelivered {
    /// The report.
    #[must_use = "a send failed: the report says where"]
    pub fn into_report(self) -> SendReport {
        *self.0
    }

    /// What went wrong.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        self.0.problems()
    }
}
