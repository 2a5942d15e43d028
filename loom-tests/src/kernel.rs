//! The kernel as the models see it: locks that are freed at death, futexes, process-wide barriers.

use core::time::Duration;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU32, Ordering, fence};
use loom::sync::{Condvar, Mutex};
use ringway::mutants::mutant;
use ringway::shm::peers::{Peers, Woken};

/// Participants that a model can have: ids 1, 2 and 3.
pub(crate) const IDS: usize = 4;

const FREE: u32 = 0;
const HELD: u32 = 1;

/// What is shared by all participants of a model.
pub(crate) struct Kernel {
    /// Each participant's lock. Taking and freeing are one step each, and order what came before.
    locks: [AtomicU32; IDS],
    doorbells: [AtomicU32; IDS],
    beds: [Bed; IDS],
}

/// The sleepers on one doorbell. A futex compares and falls asleep in one step, as here.
struct Bed {
    state: Mutex<Sleepers>,
    woken: Condvar,
}

#[derive(Default)]
struct Sleepers {
    asleep: usize,
    wakes: u64,
}

impl Kernel {
    /// A kernel in which everybody is alive.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            locks: core::array::from_fn(|_| AtomicU32::new(HELD)),
            doorbells: core::array::from_fn(|_| AtomicU32::new(0)),
            beds: core::array::from_fn(|_| Bed {
                state: Mutex::new(Sleepers::default()),
                woken: Condvar::new(),
            }),
        })
    }

    /// Frees the lock of a participant that has died.
    pub(crate) fn bury(&self, id: u16) {
        self.locks[usize::from(id)].store(FREE, Ordering::Release);
    }

    /// Takes the lock of a free id, as a joiner does: it may then scrub, and is alive.
    pub(crate) fn join(&self, id: u16) -> bool {
        self.take(id)
    }

    fn take(&self, id: u16) -> bool {
        let lock = &self.locks[usize::from(id)];
        lock.compare_exchange(FREE, HELD, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The kernel as one participant sees it.
    pub(crate) fn seen_by(self: &Arc<Self>, id: u16) -> Me {
        Me { kernel: Arc::clone(self), id }
    }
}

/// One participant.
pub(crate) struct Me {
    kernel: Arc<Kernel>,
    id: u16,
}

impl Me {
    /// The value to be given to [`Peers::sleep`].
    pub(crate) fn doorbell_value(&self) -> u32 {
        self.kernel.doorbells[usize::from(self.id)].load(Ordering::Acquire)
    }
}

impl Peers for Me {
    fn me(&self) -> u16 {
        self.id
    }

    fn is_dead(&self, id: u16) -> bool {
        let lock = &self.kernel.locks[usize::from(id)];
        // A probe of the lock; a read-modify-write, since the kernel never answers from the past.
        lock.compare_exchange(FREE, FREE, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool {
        if mutant("recover_without_lock") {
            f();
            return true;
        }
        if !self.kernel.take(id) {
            return false;
        }
        f();
        self.kernel.bury(id);
        true
    }

    fn doorbell(&self, id: u16) -> Option<&AtomicU32> {
        self.kernel.doorbells.get(usize::from(id))
    }

    fn touch(&self) {}

    fn fence_needed(&self) -> bool {
        false
    }

    fn heavy_barrier(&self) -> bool {
        if !mutant("heavy_barrier_missing") {
            fence(Ordering::SeqCst);
        }
        true
    }

    fn producer_is_gone(&self) -> bool {
        false
    }

    /// Sleeps without a time limit: a lost wake-up is a deadlock, which loom reports.
    fn sleep(&self, seen: u32, _: Duration) -> Woken {
        let bed = &self.kernel.beds[usize::from(self.id)];
        let Ok(mut state) = bed.state.lock() else { return Woken::Interrupted };
        if self.doorbell_value() != seen {
            return Woken::Rung;
        }
        state.asleep += 1;
        let ticket = state.wakes;
        while state.wakes == ticket {
            match bed.woken.wait(state) {
                Ok(again) => state = again,
                Err(_) => return Woken::Interrupted,
            }
        }
        Woken::Rung
    }

    fn wake(&self, id: u16) -> usize {
        let bed = &self.kernel.beds[usize::from(id)];
        let Ok(mut state) = bed.state.lock() else { return 0 };
        let asleep = core::mem::take(&mut state.asleep);
        if asleep != 0 {
            state.wakes += 1;
            bed.woken.notify_all();
        }
        asleep
    }
}
