//! What survivors do: nothing here runs while everybody lives.
//!
//! Deaths show in two places. A dead *writer* leaves a claim without a stamp at the head: consumers
//! that wait there, and producers that find the ring full, stamp it SKIPPED. A dead *reader* leaves
//! READING stamps between frontier and head: consumers adopt them, producers at a full ring give
//! them back in its name. Both work under the dead participant's own lock, so that no successor of
//! its id can be at work meanwhile; a successor scrubs before it publishes itself.

use crate::events;
use crate::shm::peers::Peers;
use crate::shm::ring::Ring;
use crate::shm::wait;

/// Skips the claim at the head if its writer is dead. Says whether it did.
#[cold]
pub fn skip_dead_writer(ring: &Ring, peers: &dyn Peers) -> bool {
    let Some((pos, owner)) = ring.pending_claim() else { return false };
    if owner == peers.me() || !peers.is_dead(owner) {
        return false;
    }
    let mut skipped = false;
    peers.with_dead(owner, &mut || skipped = ring.skip_claim_of_dead(pos, owner));
    if skipped {
        events::skipped_dead_writer(ring.label(), owner, pos);
    }
    skipped
}

/// Makes the room that needs no consumer: helps, and passes over what dead writers left at the head.
/// Says whether anything changed.
#[cold]
pub fn pass_dead_writers(ring: &Ring, peers: &dyn Peers) -> bool {
    let mut changed = ring.help_room();
    // No more of them than there are entries, whatever a hostile peer writes behind us.
    for _ in 0..ring.geometry().entries() {
        if !skip_dead_writer(ring, peers) {
            break;
        }
        changed = true;
        ring.help_room();
    }
    changed
}

/// Does all that can be done for room: as [`pass_dead_writers`], and gives back what dead readers
/// hold, which a consumer must then take. Says whether anything changed. Costs a system call for each
/// lease held by others.
#[cold]
pub fn make_room(ring: &Ring, peers: &dyn Peers) -> bool {
    let mut changed = pass_dead_writers(ring, peers);
    if ring.geometry().consumers == crate::shm::storage::Side::Multi {
        let returned = ring.return_what_the_dead_hold(peers);
        if returned {
            events::returned_from_dead_readers(ring.label());
            // Whoever can take it should: we are no consumer.
            wait::wake_one(ring.memory().header(), wait::For::Records, peers);
        }
        changed |= returned;
    }
    changed
}

/// Undoes, in the name of the dead participant `id`, everything it was at in this ring. The caller
/// holds the lock of `id` and has not published itself under that id yet.
pub fn scrub_ring(ring: &Ring, id: u16) {
    wait::forget(ring.memory().header(), id);
    crate::sync::crash_point("scrub.after_forget");
    ring.scrub(id);
}
