//! What moves packets from one process to the other, as the workloads see it.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::payload::Source;
use crate::sizing::RingSize;

/// The sending end. It writes every byte of every payload (`payload::write`).
pub(crate) trait Outlet {
    /// Sends packets `first`, `first + 1`, … `first + n - 1`, as one batch if it can.
    ///
    /// # Errors
    /// When the transport refuses for good.
    fn send(&mut self, first: u64, n: usize) -> Result<()>;

    /// Where payloads are made before they are sent; none where they are written in place.
    fn source(&mut self) -> Option<&mut Source> {
        None
    }

    /// Makes the payload of the packet that is sent next, while nobody waits for it: what a ping-pong
    /// measures is the way of a payload, not how it came about.
    #[inline]
    fn prepare(&mut self, next: u64) {
        if let Some(source) = self.source() {
            source.one(next);
        }
    }
}

/// The receiving end. It reads every byte of every payload (`payload::read`).
pub(crate) trait Inlet {
    /// Waits for packet `expected`, and receives it and up to `max - 1` after it. Says how many.
    ///
    /// # Errors
    /// `Damaged` when another packet, or half of one, arrives; or when the transport refuses.
    fn receive(&mut self, expected: u64, max: usize) -> Result<usize>;

    /// Receives packet `expected` if it is there. Says whether it was.
    ///
    /// # Errors
    /// As [`Inlet::receive`].
    fn try_receive(&mut self, expected: u64) -> Result<bool>;
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Transport {
    /// A Ringway ring in shared memory
    Ring,
    /// Shared memory with two counters and nothing else: the copy ceiling as a transport
    Bare,
    /// Shared memory with a stamp and the payload in each line, and nothing else (`latency` only)
    Line,
}

/// What the ring promises about its ends; two processes take part in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Single producer, single consumer
    Spsc,
    /// Multi producer, single consumer
    Mpsc,
    /// Single producer, multi consumer
    Spmc,
    /// Multi producer, multi consumer
    Mpmc,
}

impl Mode {
    /// The strongest promise that so many producers and consumers keep.
    pub(crate) fn fitting(producers: usize, consumers: usize) -> Self {
        match (producers, consumers) {
            (..=1, ..=1) => Self::Spsc,
            (_, ..=1) => Self::Mpsc,
            (..=1, _) => Self::Spmc,
            _ => Self::Mpmc,
        }
    }

    /// Says whether there may be several producers.
    pub(crate) fn many_producers(self) -> bool {
        matches!(self, Self::Mpsc | Self::Mpmc)
    }

    /// Says whether there may be several consumers.
    pub(crate) fn many_consumers(self) -> bool {
        matches!(self, Self::Spmc | Self::Mpmc)
    }
}

/// Everything both processes must agree on about a transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkSpec {
    /// What moves the packets.
    pub(crate) transport: Transport,
    /// What the ring promises.
    pub(crate) mode: Mode,
    /// Bytes of each payload.
    pub(crate) payload: usize,
    /// Packets put by one call.
    pub(crate) batch: usize,
    /// Whether payloads are written and read where they lie (reserve, lease), or copied.
    pub(crate) in_place: bool,
    /// The ring's measures.
    pub(crate) size: RingSize,
    /// Where segments go; unnamed memory needs none.
    pub(crate) directory: Option<PathBuf>,
}
