//! The participants of a segment, as the algorithm of one of its rings sees them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::shm::layout::MAX_PARTICIPANTS;
use crate::shm::os::{self, ByteLock};
use crate::shm::participant::lock_byte;
use crate::shm::peers::{Peers, Woken};
use crate::shm::segment::{Role, Segment};
use crate::sync::{AtomicU32, Ordering, crash_point};

/// [`Peers`] of a mapped ring. Keeps the segment, and with it the participant, alive.
///
/// In a forked child everything here does nothing: nobody is dead, no
/// doorbell is there.
pub struct SegmentPeers {
    segment: Arc<Segment>,
    ring: usize,
    me: u16,
    /// Not 0: the bit of this ring is set in our row.
    touched: AtomicU32,
}

impl fmt::Debug for SegmentPeers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentPeers")
            .field("segment", &self.segment)
            .field("ring", &self.ring)
            .finish_non_exhaustive()
    }
}

impl SegmentPeers {
    pub(crate) fn new(segment: Arc<Segment>, ring: usize) -> Self {
        let me = segment.participant_id();
        Self { segment, ring, me, touched: AtomicU32::new(0) }
    }

    /// The segment.
    #[must_use]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Index of the ring.
    #[must_use]
    pub fn ring(&self) -> usize {
        self.ring
    }

    fn usable(&self, id: u16) -> bool {
        let somebody = id != 0 && u32::from(id) <= MAX_PARTICIPANTS && id != self.me;
        somebody && self.segment.table().origin().is_here()
    }
}

impl Peers for SegmentPeers {
    #[inline]
    fn me(&self) -> u16 {
        self.me
    }

    /// Asks for the lock of `id`. An id beyond the table, which only a corrupt stamp can name, has no
    /// live holder either, so such a record can be recovered as well.
    fn is_dead(&self, id: u16) -> bool {
        self.usable(id) && !os::is_held(self.segment.file(), lock_byte(id)).unwrap_or(true)
    }

    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool {
        if !self.usable(id) || self.me == 0 {
            return false;
        }
        // SYNC dead (pairs with a joiner's lock): no successor of that id while we work. Killed under it,
        // we leave the record as it is, for the next recoverer.
        match ByteLock::try_exclusive(self.segment.file(), lock_byte(id)) {
            Ok(Some(_lock)) => {
                crash_point("recover.locked");
                f();
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn doorbell(&self, id: u16) -> Option<&AtomicU32> {
        self.segment.table().row(id).map(|row| &row.doorbell)
    }

    #[inline]
    fn touch(&self) {
        // SYNC touched (pairs with the store below): the bit was set before any claim of ours.
        if self.touched.load(Ordering::Acquire) == 0 {
            self.touch_first();
        }
    }

    fn fence_needed(&self) -> bool {
        !os::register_barrier()
    }

    fn heavy_barrier(&self) -> bool {
        os::heavy_barrier()
    }

    fn producer_is_gone(&self) -> bool {
        !self.segment.role_held(self.ring, Role::Producer)
    }

    fn sleep(&self, seen: u32, timeout: Duration) -> Woken {
        match self.doorbell(self.me) {
            Some(doorbell) => os::sleep_on(doorbell, seen, timeout),
            None => Woken::TimedOut,
        }
    }

    fn wake(&self, id: u16) -> usize {
        crash_point("wake.before_futex");
        self.doorbell(id).map_or(0, |doorbell| os::futex_wake(doorbell, u32::MAX))
    }
}

impl SegmentPeers {
    #[cold]
    fn touch_first(&self) {
        if self.me == 0 {
            return;
        }
        if let Some(row) = self.segment.table().row(self.me) {
            // SYNC touched (pairs with whoever takes our lock after our death): before the first claim.
            row.rings_touched.fetch_or(1 << (self.ring % 64), Ordering::AcqRel);
            crash_point("touch.published");
            // SYNC touched (pairs with the load above).
            self.touched.store(1, Ordering::Release);
        }
    }
}
