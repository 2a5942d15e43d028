//! What survivors do for the dead.

use crate::shm::layout::WaiterLine;
use crate::shm::storage::RingMemory;
use crate::sync::Ordering;

/// Removes every trace of the dead participant `id` from a ring. The caller holds that participant's
/// lock, so no live process uses the id.
pub(crate) fn scrub_ring(memory: &RingMemory, id: u16) {
    let header = memory.header();
    forget_waiter(&header.get_waiters, id);
    forget_waiter(&header.put_waiters, id);
}

fn forget_waiter(line: &WaiterLine, id: u16) {
    if let Some(word) = line.words.get(usize::from(id) / 64) {
        // RELAXED: a bit too many rings a doorbell that nobody listens to.
        word.fetch_and(!(1 << (id % 64)), Ordering::Relaxed);
    }
}
