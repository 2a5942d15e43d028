//! Forks: keeping descriptors out of children, and noticing that one is a child.
//!
//! A lock belongs to an open file description, and a fork shares every description that is open at
//! that moment. [`fork_guard`] is a process-wide mutex held from opening a lock's descriptor to
//! closing it; a `pthread_atfork` handler takes it around every fork.
//!
//! An [`Origin`] remembers in which process a handle was made, and costs one load to check: it
//! compares with a word in a page that the kernel wipes in a child (`MADV_WIPEONFORK`). The atfork
//! handler also writes that word, for kernels that do not wipe.
//!
//! `posix_spawn` (which `std::process::Command` uses) runs no handlers: its child shares our memory
//! until it executes, some microseconds later, and close-on-exec closes what it inherited.

use std::sync::OnceLock;

use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous};
use rustix::thread::futex;

use super::page_bytes;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// Held around open → lock → map → close, and around every fork: 0 free, 1 held, 2 held with
/// waiters. Not a `std` mutex, since the atfork handlers unlock what another handler locked.
static HELD: AtomicU32 = AtomicU32::new(0);

/// Counts the forks of this process's ancestry. In ordinary memory, so that a child goes on
/// counting where its parent was. Never 0.
static FORKS: AtomicU64 = AtomicU64::new(1);

/// No fork happens in this process while one of these lives. Keep it short: a fork waits.
#[derive(Debug)]
pub struct ForkGuard(());

/// Waits until no other thread holds the guard and no fork is under way.
#[must_use]
pub fn fork_guard() -> ForkGuard {
    // The handlers must be there before the first guard that they shall wait for.
    page();
    lock();
    ForkGuard(())
}

impl Drop for ForkGuard {
    fn drop(&mut self) {
        unlock();
    }
}

fn lock() {
    // SYNC fork-guard (pairs with `unlock`).
    if HELD.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
        return;
    }
    // SYNC fork-guard (pairs with `unlock`): 2, since others may sleep.
    while HELD.swap(2, Ordering::Acquire) != 0 {
        // Any way it ends, look again.
        let _ = futex::wait(&HELD, futex::Flags::PRIVATE, 2, None);
    }
}

fn unlock() {
    // SYNC fork-guard (pairs with `lock`).
    if HELD.swap(0, Ordering::Release) == 2 {
        let _ = futex::wake(&HELD, futex::Flags::PRIVATE, 1);
    }
}

extern "C" fn before_fork() {
    lock();
}

extern "C" fn after_fork_in_parent() {
    unlock();
}

extern "C" fn after_fork_in_child() {
    // RELAXED: a child starts with one thread.
    let forks = FORKS.fetch_add(1, Ordering::Relaxed) + 1;
    page().store(forks, Ordering::Relaxed);
    unlock();
}

/// The word that a fork changes.
fn page() -> &'static AtomicU64 {
    static PAGE: OnceLock<&'static AtomicU64> = OnceLock::new();
    PAGE.get_or_init(|| {
        let word = wiped_word().unwrap_or_else(|| Box::leak(Box::new(AtomicU64::new(0))));
        // RELAXED: the `OnceLock` publishes it.
        word.store(FORKS.load(Ordering::Relaxed), Ordering::Relaxed);
        // SAFETY: the handlers are `extern "C"` functions without arguments that live for ever.
        // They only use atomics and futexes, which is allowed in a child of a threaded process.
        let _ = unsafe {
            nix::libc::pthread_atfork(
                Some(before_fork),
                Some(after_fork_in_parent),
                Some(after_fork_in_child),
            )
        };
        word
    })
}

/// A word in a page of its own that reads 0 in a child; `None` where the kernel has no such page.
fn wiped_word() -> Option<&'static AtomicU64> {
    let bytes = core::num::NonZeroUsize::new(page_bytes() as usize)?;
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new private mapping, at an address of the kernel's choice.
    let page = unsafe { mmap_anonymous(None, bytes, protection, MapFlags::MAP_PRIVATE) }.ok()?;
    // SAFETY: the page just mapped. Where the advice fails the handler alone does the work.
    let _ = unsafe { madvise(page, bytes.get(), MmapAdvise::MADV_WIPEONFORK) };
    // SAFETY: aligned, zeroed, never unmapped; private to this process.
    Some(unsafe { page.cast::<AtomicU64>().as_ref() })
}

/// This process's generation: differs from that of every ancestor. Never 0.
pub(super) fn generation() -> u64 {
    let word = page();
    // RELAXED: it changes in a fork only.
    let now = word.load(Ordering::Relaxed);
    if now != 0 {
        return now;
    }
    // A child made without handlers (a bare `clone`): the page is wiped and nobody has counted yet.
    // RELAXED: whichever thread comes first, all agree on what the word says.
    let next = FORKS.fetch_add(1, Ordering::Relaxed) + 1;
    match word.compare_exchange(0, next, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => next,
        Err(theirs) => theirs,
    }
}

/// In which process something was made.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    word: &'static AtomicU64,
    generation: u64,
}

impl Origin {
    /// This process, from now on.
    #[must_use]
    pub fn here() -> Self {
        Self { word: page(), generation: generation() }
    }

    /// Says whether this still is that process, and not a child. One load.
    #[inline(always)]
    #[must_use]
    pub fn is_here(&self) -> bool {
        // RELAXED: it changes in a fork only, which copies one thread with its own past.
        self.word.load(Ordering::Relaxed) == self.generation
    }

    /// A number that differs between a process and its children.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
