//! Where the clones of a descriptor keep the queue they opened.
//!
//! One slot for all clones, so that a clone is the same queue always, whether or not either was used
//! before. A read-write lock guards it: a use takes the read side, for two reference counts; the
//! first use opens under the write side, so that the others wait for it and nobody opens twice. An
//! error leaves the slot empty: the next use tries again. Threads that hammer one descriptor share
//! that lock's cache line; a hot loop holds a [`Queue`].
//!
//! Emptying the slot must not lose packets. What dies with its last user is therefore held on to by
//! an *anchor*: the local queue itself, or the process's participation in an ephemeral segment.

use std::any::Any;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::error::OpenError;
use crate::queue::{Queue, RingQueue};

/// Something that is only ever dropped.
type Anchor = Arc<dyn Any + Send + Sync>;

#[derive(Default)]
struct State {
    opened: Option<Queue>,
    anchor: Option<Anchor>,
}

/// The queue of a descriptor and its clones, once it is open.
#[derive(Default)]
pub(crate) struct Slot {
    state: RwLock<State>,
}

impl Slot {
    /// The queue; opens it if it is not open, or if the open one was inherited by a fork. One
    /// caller opens, the others wait for it.
    #[inline]
    pub(crate) fn get_or_open(
        &self,
        open: impl FnOnce() -> Result<Queue, OpenError>,
    ) -> Result<Queue, OpenError> {
        if let Some(queue) = self.get() {
            return Ok(queue);
        }
        self.open(open)
    }

    #[cold]
    fn open(&self, open: impl FnOnce() -> Result<Queue, OpenError>) -> Result<Queue, OpenError> {
        let mut state = self.write();
        if let Some(queue) = state.opened.as_ref().filter(|queue| is_ours(queue)) {
            return Ok(queue.clone());
        }
        let queue = open()?;
        let before =
            std::mem::replace(&mut *state, State { opened: Some(queue.clone()), anchor: None });
        drop(state);
        // Unmaps and leaves, which takes system calls: not under the lock.
        drop(before);
        Ok(queue)
    }

    /// The queue, if it is open and usable in this process.
    #[inline]
    pub(crate) fn get(&self) -> Option<Queue> {
        self.read().opened.as_ref().filter(|queue| is_ours(queue)).cloned()
    }

    /// Says whether the queue is open, without waiting; `None` while it is being opened.
    pub(crate) fn is_open(&self) -> Option<bool> {
        match self.state.try_read() {
            Ok(state) => Some(state.opened.is_some()),
            Err(TryLockError::Poisoned(state)) => Some(state.into_inner().opened.is_some()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Empties the slot, and keeps what `anchor_of` says must outlive the queue of a ring that can
    /// still be used.
    pub(crate) fn clear(&self, anchor_of: impl FnOnce(&Queue, &RingQueue) -> Option<Anchor>) {
        let mut state = self.write();
        let Some(queue) = state.opened.take() else { return };
        let usable = queue.ring().filter(|ring| !ring.is_destroyed() && !ring.is_forked());
        let anchor = usable.and_then(|ring| anchor_of(&queue, ring));
        let before = std::mem::replace(&mut state.anchor, anchor);
        drop(state);
        drop((queue, before));
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic in a factory leaves the state as it was: empty.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

#[inline]
fn is_ours(queue: &Queue) -> bool {
    !queue.ring().is_some_and(RingQueue::is_forked)
}
