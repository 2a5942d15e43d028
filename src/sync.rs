//! The only place that knows whether the code runs for real or under loom.
//!
//! Everything that two threads or two processes share goes through the names below. They are type
//! aliases and small functions, not re-exports, so that clippy can ban the raw ones elsewhere
//! (`clippy.toml`).
//!
//! Two barriers are asymmetric: [`light_barrier`] costs nothing on the fast path, because its
//! partner, the process-wide barrier of `membarrier(2)` issued by a sleeper or a closer, makes every
//! running CPU execute a full fence. Under loom both are a `fence(SeqCst)`.

#[cfg(loom)]
mod imp {
    pub(crate) type AtomicU32 = loom::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = loom::sync::atomic::AtomicU64;
    pub(crate) fn fence(order: Ordering) {
        loom::sync::atomic::fence(order);
    }
    #[expect(dead_code, reason = "what spins is not modelled: models sleep at once")]
    pub(crate) fn spin_hint() {
        loom::hint::spin_loop();
        loom::thread::yield_now();
    }
    pub(crate) use loom::sync::atomic::Ordering;
}

#[cfg(not(loom))]
mod imp {
    pub(crate) type AtomicU32 = core::sync::atomic::AtomicU32;
    pub(crate) type AtomicU64 = core::sync::atomic::AtomicU64;
    #[inline(always)]
    pub(crate) fn fence(order: Ordering) {
        core::sync::atomic::fence(order);
    }
    #[inline(always)]
    pub(crate) fn spin_hint() {
        core::hint::spin_loop();
    }
    pub(crate) use core::sync::atomic::Ordering;
}

pub(crate) use imp::*;

/// Orders this thread's earlier accesses before its later ones *provided that* the other side runs
/// a process-wide barrier (`shm::os::heavy_barrier`) between its own two accesses.
///
/// SYNC asymmetric (pairs with `heavy_barrier`): compiles to a compiler fence.
#[inline(always)]
pub(crate) fn light_barrier() {
    #[cfg(loom)]
    if !mutant("light_barrier_missing") {
        // SYNC asymmetric: loom has no process-wide barrier, so both sides run a fence.
        fence(Ordering::SeqCst);
    }
    #[cfg(not(loom))]
    core::sync::atomic::compiler_fence(Ordering::SeqCst);
}

/// Says whether the deliberate defect `name` is switched on. Always false in ordinary builds, so
/// every branch on it disappears.
#[cfg(not(any(loom, ringway_crash)))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// The ordering of a sync point, or Relaxed where the deliberate defect `name` is switched on.
#[inline(always)]
pub(crate) fn weaken(name: &str, order: Ordering) -> Ordering {
    if mutant(name) { Ordering::Relaxed } else { order }
}

#[cfg(any(loom, ringway_crash))]
pub(crate) use crate::mutants::mutant;

/// Marks a place where a process may be killed: nothing in ordinary builds.
///
/// Built with `--cfg ringway_crash`, or under loom, it calls the hook of `crate::crash`, which a
/// test uses to die, or to stop, right here.
#[cfg(not(any(loom, ringway_crash)))]
#[inline(always)]
pub(crate) const fn crash_point(_name: &'static str) {}

#[cfg(any(loom, ringway_crash))]
pub(crate) use crate::crash::crash_point;
