//! Which lines of a queue a choice among many queues, and the put that follows, will wait for.
//!
//! Of a thousand queues, those that are picked at random are in no near cache; and what a choice depends on
//! has to be there before anything else can begin. Who knows early what it will look at can ask for it.

use std::mem::offset_of;

use crate::queue::core::Core;
use crate::shm::cpu::prefetch_for_read;
use crate::shm::layout::RingHeader;

/// Addresses, never followed: asking for a line that is gone does no harm.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Warm {
    queue: usize,
    core: usize,
    header: usize,
    owner: (usize, usize),
}

/// What a look at the load, and a claim, read of a [`Core`].
const CORE: [usize; 4] = [
    offset_of!(Core, ring),
    offset_of!(Core, ring) + 64,
    offset_of!(Core, ring) + 128,
    offset_of!(Core, cache),
];

/// And of the ring's header.
const HEADER: [usize; 4] = [
    offset_of!(RingHeader, shared),
    offset_of!(RingHeader, producers),
    offset_of!(RingHeader, consumers),
    offset_of!(RingHeader, frontier),
];

impl Warm {
    pub(crate) fn of(queue: *const u8, core: &Core) -> Self {
        Self {
            queue: queue.addr(),
            core: std::ptr::from_ref(core).addr(),
            header: std::ptr::from_ref(core.ring.memory().header()).addr(),
            owner: (0, 0),
        }
    }

    /// And these bytes, in which its owner keeps it.
    pub(crate) fn with(self, owner: *const u8, len: usize) -> Self {
        Self { owner: (owner.addr(), len), ..self }
    }

    /// Asks for the lines.
    #[inline]
    pub(crate) fn fetch(&self) {
        let fetch = |address: usize| prefetch_for_read(std::ptr::without_provenance(address));
        fetch(self.queue);
        (0..self.owner.1).step_by(64).for_each(|offset| fetch(self.owner.0 + offset));
        CORE.iter().for_each(|offset| fetch(self.core + offset));
        HEADER.iter().for_each(|offset| fetch(self.header + offset));
    }
}
