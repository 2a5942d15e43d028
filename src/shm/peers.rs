//! What a ring must know of the other participants: who is dead, and how to wake them.
//!
//! The ring's algorithm makes no system calls; it asks its [`Peers`]. A mapped ring's peers are the
//! participants of its segment (`participant.rs`); a ring on the heap has threads of one process,
//! none of which dies alone; loom and the tests bring their own.

use crate::sync::AtomicU32;

/// The participants of one ring's segment, as seen by one of them.
///
/// All methods may be called from any thread at any time.
pub trait Peers: Send + Sync {
    /// This participant's id, 1..=1023.
    fn me(&self) -> u16;

    /// Says whether no live process holds `id`. `false` when in doubt. Never true for `me`.
    /// Costs a system call.
    fn is_dead(&self, id: u16) -> bool;

    /// Runs `f` while holding the lock of the dead participant `id`, and says whether it ran. It
    /// does not run when `id` is alive, or when somebody else holds its lock just now: a
    /// recoverer that works under a dead participant's own lock cannot meet a successor of that id.
    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool;

    /// The futex word on which participant `id` sleeps; `None` for an id out of range.
    fn doorbell(&self, id: u16) -> Option<&AtomicU32>;

    /// Marks this ring as touched in this participant's row, before its first claim or lease.
    fn touch(&self);

    /// Says whether this process could not register for process-wide barriers, so that every
    /// publisher of the ring must fence.
    fn fence_needed(&self) -> bool;

    /// Makes every running thread of every participant execute a full fence, and says whether the
    /// kernel did so. Where it refuses, publishers must fence (`SharedLine::fence_needed`).
    fn heavy_barrier(&self) -> bool;

    /// Says whether nobody holds the producer's role of this ring. `false` when in doubt.
    fn producer_is_gone(&self) -> bool;

    /// Sleeps until the doorbell of `me` differs from `seen`, or the timeout ends.
    fn sleep(&self, seen: u32, timeout: core::time::Duration) -> Woken;

    /// Wakes every thread that sleeps on the doorbell of `id`, which was changed before; says how
    /// many there were.
    fn wake(&self, id: u16) -> usize;
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The doorbell was rung, before or during the sleep.
    Rung,
    /// The time is over.
    TimedOut,
    /// A signal was handled.
    Interrupted,
}
