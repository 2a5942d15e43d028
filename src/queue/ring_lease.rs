//! A lease of a ring's record: it keeps the ring, and gives the record back unless it is acknowledged.

use std::sync::Arc;

use crate::queue::RecordKind;
use crate::queue::core::Core;
use crate::queue::core_dead::DeadLetter;
use crate::shm::ring::Taken;

/// A record of a ring, leased.
pub(crate) struct RingLease {
    core: Arc<Core>,
    taken: Option<Taken>,
}

impl RingLease {
    pub(crate) fn new(core: Arc<Core>, taken: Taken) -> Self {
        Self { core, taken: Some(taken) }
    }

    /// The payload; empty in a forked child, which has no such memory.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.taken {
            Some(taken) if self.core.is_here() => self.core.ring.payload(taken),
            _ => &[],
        }
    }

    pub(crate) fn kind(&self) -> RecordKind {
        RecordKind(self.taken.as_ref().map_or(0, |taken| taken.kind()))
    }

    pub(crate) fn redeliveries(&self) -> u32 {
        self.taken.as_ref().map_or(0, |taken| taken.redeliveries())
    }

    pub(crate) fn timestamp_ns(&self) -> Option<u64> {
        let taken = self.taken.as_ref().filter(|_| self.core.is_here())?;
        self.core.ring.timestamp(taken)
    }

    pub(crate) fn dead_letter(&self) -> Option<DeadLetter> {
        let taken = self.taken.as_ref().filter(|_| self.core.is_here())?;
        self.core.dead_letter(taken)
    }

    #[inline]
    pub(crate) fn ack(mut self) {
        if let Some(taken) = self.taken.take()
            && self.core.is_here()
        {
            self.core.acknowledge(taken);
        }
    }
}

impl Drop for RingLease {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take()
            && self.core.is_here()
        {
            self.core.give_back(&taken);
        }
    }
}
