//! A ring with its peers, as one process uses it: waiting, helping and recovering around the ring's
//! algorithm. Everything that puts or gets goes through a [`Core`].

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use crate::error::{GetError, OpenError, PutError};
use crate::events;
use crate::queue::Wait;
use crate::queue::large_claim;
use crate::queue::roles::{Role, RoleGuard, Slot};
use crate::queue::spin::Spin;
use crate::shm::layout::RING_OPEN;
use crate::shm::os::Origin;
use crate::shm::peers::Peers;
use crate::shm::ring::{ProducerCache, Refused, Ring, SingleConsumer, SingleProducer, Taken};
use crate::shm::segment::Segment;
use crate::shm::storage::Side;
use crate::shm::wait::{self, For, LocalWaiters};
use crate::sync::Ordering::{Relaxed, Release};

/// What a ring must know of where it lives: its peers, its roles, and where dead letters go.
pub(crate) trait Home: Peers + std::fmt::Debug {
    /// Takes a role's lock.
    ///
    /// # Errors
    /// [`OpenError::RoleTaken`], or why the queue can no longer be used.
    fn claim_role(&self, role: Role) -> Result<RoleGuard, OpenError>;

    /// Removes the queue; other handles get `Destroyed`.
    ///
    /// # Errors
    /// See [`OpenError`].
    fn destroy(&self) -> Result<(), OpenError>;

    /// The ring that takes packets delivered too often.
    fn dead_letters(&self) -> Option<Arc<Core>>;

    /// Says whether such a ring is named, whether or not it can be reached.
    fn has_dead_letters(&self) -> bool;

    /// The segment, and the ring's index in it; `None` on the heap.
    fn place(&self) -> Option<(&Segment, usize)> {
        None
    }
}

/// One ring as one process uses it. Shared by all handles, leases and reservations of it.
pub(crate) struct Core {
    pub(crate) ring: Ring,
    pub(crate) home: Arc<dyn Home>,
    pub(crate) me: u16,
    origin: Origin,
    pub(crate) cache: ProducerCache,
    pub(crate) getters: LocalWaiters,
    pub(crate) putters: LocalWaiters,
    pub(crate) producer: Mutex<Slot<SingleProducer>>,
    pub(crate) consumer: Mutex<Slot<SingleConsumer>>,
    /// Rung when a slot that was lent to a reservation is back.
    pub(crate) slot_back: Condvar,
    /// Threads that wait for `slot_back`; changed and read under the producer's slot lock only.
    pub(crate) slot_waiters: AtomicUsize,
    /// Leases of a single-consumer ring that have not ended.
    pub(crate) leases: AtomicUsize,
    /// On lines of its own: who waits writes it, and others of this process may put meanwhile.
    pub(crate) spin: CachePadded<Spin>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("ring", &self.ring)
            .field("me", &self.me)
            .finish_non_exhaustive()
    }
}

impl Core {
    pub(crate) fn new(ring: Ring, home: Arc<dyn Home>) -> Self {
        // Before the first claim or lease: where a successor of our id must scrub.
        home.touch();
        if home.fence_needed() {
            // SYNC waiters: this process cannot be reached by a process-wide barrier.
            ring.memory().header().shared.fence_needed.store(1, Release);
        }
        Self {
            me: home.me(),
            origin: Origin::here(),
            cache: ProducerCache::default(),
            getters: LocalWaiters::default(),
            putters: LocalWaiters::default(),
            producer: Mutex::new(Slot::Vacant),
            consumer: Mutex::new(Slot::Vacant),
            slot_back: Condvar::new(),
            slot_waiters: AtomicUsize::new(0),
            leases: AtomicUsize::new(0),
            spin: CachePadded::default(),
            ring,
            home,
        }
    }

    /// Says whether this still is the process that opened the ring.
    #[inline(always)]
    pub(crate) fn is_here(&self) -> bool {
        self.origin.is_here()
    }

    #[inline(always)]
    pub(crate) fn peers(&self) -> &dyn Peers {
        // `dyn Home` derefs to its supertrait.
        &*self.home as &dyn Peers
    }

    pub(crate) fn header(&self) -> &crate::shm::layout::RingHeader {
        self.ring.memory().header()
    }

    /// Says whether anyone may be waiting for records. To be called after a commit.
    #[inline(always)]
    pub(crate) fn anyone_waits(&self) -> bool {
        wait::anyone_waits(self.header(), For::Records)
    }

    /// To be called after a commit.
    #[inline(always)]
    pub(crate) fn published(&self) {
        if self.anyone_waits() {
            wait::wake_one(self.header(), For::Records, self.peers());
        }
    }

    /// To be called after a take (`maxsize`) and after an acknowledgement.
    #[inline(always)]
    pub(crate) fn room_made(&self) {
        if wait::anyone_waits(self.header(), For::Room) {
            self.wake_for_room();
        }
        // RELAXED: drainers look again at the end of their slice at the latest.
        if self.header().shared.closed.load(Relaxed) != RING_OPEN {
            wait::wake_all(self.header(), For::Records, self.peers());
        }
    }

    /// To be called after a take, for producers that wait below `maxsize`.
    #[inline(always)]
    pub(crate) fn room_made_by_taking(&self) {
        if self.ring.geometry().maxsize != 0 {
            self.room_made();
        }
    }

    #[cold]
    fn wake_for_room(&self) {
        if self.ring.geometry().consumers == Side::Multi {
            // Two releases at once may each have left the frontier to the other.
            self.ring.help_frontier();
        }
        // RELAXED: where a large claim waits, the first to be woken may not be the one that fits.
        if self.header().shared.large_claim.load(Relaxed) != 0 {
            wait::wake_all(self.header(), For::Room, self.peers());
        } else {
            wait::wake_one(self.header(), For::Room, self.peers());
        }
    }

    /// Most records of so many units that can wait at a time.
    #[inline]
    pub(crate) fn capacity(&self, units: u64) -> u64 {
        match self.ring.geometry().maxsize {
            0 => self.ring.geometry().entries() / units,
            maxsize => maxsize,
        }
    }

    /// Leaves room to a large record that waits for it, for a slice at most: otherwise small ones
    /// would slip past it for ever.
    #[inline(always)]
    pub(crate) fn let_large_claim_pass(&self, wait: Wait) {
        // RELAXED: a hint.
        let word = self.header().shared.large_claim.load(Relaxed);
        if word != 0 && wait != Wait::No {
            large_claim::let_pass(&self.ring, word, wait);
        }
    }

    /// Takes a record of a many-consumer ring.
    #[inline(always)]
    pub(crate) fn take_multi(&self, wait: Wait) -> Result<Taken, GetError> {
        self.check_get()?;
        if let Some(taken) = self.adopt_hinted() {
            return Ok(taken);
        }
        self.spin_at_head(wait);
        self.take_at_head(wait)
    }

    /// As [`Core::take_multi`], for a caller that has spun: sleeps where there is nothing.
    pub(crate) fn take_multi_slowly(&self, wait: Wait) -> Result<Taken, GetError> {
        self.check_get()?;
        match self.adopt_hinted() {
            Some(taken) => Ok(taken),
            None => self.take_at_head(wait),
        }
    }

    /// Takes the record at the head, or sleeps until there is one.
    #[inline(always)]
    fn take_at_head(&self, wait: Wait) -> Result<Taken, GetError> {
        match self.ring.take(self.me) {
            Ok(taken) => {
                self.probe_now_and_then(taken.pos, taken.n);
                Ok(taken)
            }
            Err(missing) => self.wait_for_record(missing, wait, || match self.adopt_hinted() {
                Some(taken) => Ok(taken),
                None => self.ring.take(self.me),
            }),
        }
    }

    /// Adopts a record if the hint says that one lies about.
    #[inline(always)]
    fn adopt_hinted(&self) -> Option<Taken> {
        if self.ring.hinted() { self.adopt() } else { None }
    }

    /// Takes up to `max` records of a many-consumer ring, waiting for the first only; appends them to
    /// `out`, and says how many.
    pub(crate) fn take_many(
        &self,
        max: usize,
        out: &mut Vec<Taken>,
        wait: Wait,
    ) -> Result<usize, GetError> {
        if max == 0 {
            return Ok(0);
        }
        self.check_get()?;
        let start = out.len();
        match self.adopt_hinted() {
            Some(taken) => out.push(taken),
            None => _ = self.spin_at_head(wait),
        }
        while out.len() - start < max {
            if self.take_run(max - (out.len() - start), out) != 0 {
                continue;
            }
            if out.len() != start {
                // Whatever is wrong with the next one is said when it is the first.
                break;
            }
            out.push(self.take_at_head(wait)?);
        }
        self.room_made_by_taking();
        Ok(out.len() - start)
    }

    /// Takes what lies ready in a many-consumer ring at first sight, up to `max` records; 0 where there is
    /// nothing, or a record lies about that was given back: that one comes first, by `take_multi`.
    #[inline]
    pub(crate) fn take_ready(&self, max: usize, out: &mut Vec<Taken>) -> usize {
        if self.ring.hinted() { 0 } else { self.take_run(max, out) }
    }

    /// Takes what lies ready at the head, up to `max` records.
    #[inline]
    fn take_run(&self, max: usize, out: &mut Vec<Taken>) -> usize {
        let count = self.ring.take_ready(max, self.me, out);
        if count != 0 {
            let first = &out[out.len() - count];
            self.probe_now_and_then(first.pos, count as u64 * first.n);
        }
        count
    }

    /// Looks whether the holder of the oldest lease lives, every so many takes: a busy ring is never
    /// idle, and would notice only once it is full.
    #[inline(always)]
    pub(crate) fn probe_now_and_then(&self, pos: u64, n: u64) {
        if pos & 0x3ff < n {
            self.probe();
        }
    }

    #[cold]
    fn probe(&self) {
        match self.ring.pending_lease() {
            // A dead letter that found no room, or one given back by somebody who then died.
            Some((_, 0)) => self.ring.set_hint(),
            Some((_, owner)) if owner != self.me && self.peers().is_dead(owner) => {
                self.ring.return_what_the_dead_hold(self.peers());
            }
            _ => {}
        }
    }

    /// Closes the ring for puts, and wakes everybody.
    pub(crate) fn close(&self) {
        let open = !self.ring.is_closed();
        self.ring.begin_close();
        self.finish_close();
        self.wake_everybody();
        if open {
            events::closed(self.ring.label());
        }
    }

    fn wake_everybody(&self) {
        wait::wake_all(self.header(), For::Records, self.peers());
        wait::wake_all(self.header(), For::Room, self.peers());
        self.slot_back.notify_all();
    }

    /// Marks the ring destroyed, and wakes everybody to hear of it.
    pub(crate) fn destroyed(&self) {
        self.ring.mark_destroyed();
        self.wake_everybody();
    }

    pub(crate) fn finish_close(&self) {
        wait::barrier(self.header(), self.peers());
        self.ring.finish_close();
    }

    pub(crate) fn lock_producer(&self) -> MutexGuard<'_, Slot<SingleProducer>> {
        self.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock_consumer(&self) -> MutexGuard<'_, Slot<SingleConsumer>> {
        self.consumer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn put_error(refused: Refused) -> PutError {
    match refused {
        Refused::Full => PutError::Full,
        Refused::Closed => PutError::Closed,
        Refused::Destroyed => PutError::Destroyed,
        Refused::Exhausted => PutError::Exhausted,
        Refused::Corrupt(what, pos) => PutError::Corrupt { what, pos },
    }
}
