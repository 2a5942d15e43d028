//! Sleeping on a ring, in slices, and what a process owes the others when it leaves a wait.

use std::time::Instant;

use crate::queue::Wait;
use crate::queue::core::Core;
use crate::shm::peers::Woken;
use crate::shm::wait::{self, For, LocalWaiters, SLICE};
use crate::sync::Ordering::Acquire;
use crate::sync::crash_point;

/// Why a sleep ended without what was waited for.
pub(crate) enum Slept {
    /// The deadline passed.
    TimedOut,
    /// A signal was handled, and the caller asked to know.
    Interrupted,
}

impl Core {
    fn local_waiters(&self, what: For) -> &LocalWaiters {
        match what {
            For::Records => &self.getters,
            For::Room => &self.putters,
        }
    }

    /// Sleeps, in slices, until `look` returns something; `look` is told when a slice is over.
    pub(crate) fn sleep_until<T>(
        &self,
        what: For,
        wait: Wait,
        mut look: impl FnMut(bool) -> Option<T>,
    ) -> Result<T, Slept> {
        if let Some(done) = wait::leave_the_woken_alone(|| look(false)) {
            return Ok(done);
        }
        let peers = self.peers();
        let header = self.header();
        let local = self.local_waiters(what);
        // Out of range only for an id no ringway gives; then we sleep by the slice.
        let doorbell = || peers.doorbell(self.me).map_or(0, |bell| bell.load(Acquire));
        // SYNC doorbell: read before the bit is set, so that a wake after it changes it.
        let mut seen = doorbell();
        local.enter(header, what, self.me);
        crash_point("sleep.registered");
        // A slice is over when this long has passed since the last look for the dead, however often
        // the doorbell was rung: it is shared by all that this process waits for.
        let mut slice_began = Instant::now();
        let ended = loop {
            // SYNC waiters: between the bit and the look.
            wait::barrier(header, peers);
            if let Some(done) = look(false) {
                break Ok(done);
            }
            let left = match wait {
                Wait::Until(deadline) => deadline.saturating_duration_since(Instant::now()),
                _ => SLICE,
            };
            if left.is_zero() {
                break Err(Slept::TimedOut);
            }
            let woken = peers.sleep(seen, left.min(SLICE));
            crash_point("sleep.woken");
            // For `leave`: the line comes while we look.
            wait::prefetch(header, what);
            if woken == Woken::Interrupted && matches!(wait, Wait::Interruptible) {
                break Err(Slept::Interrupted);
            }
            // What the wake was for is nearly always there to be seen. The barrier, which interrupts the
            // CPU of whoever rang, is only for those who sleep again.
            if woken == Woken::Rung
                && let Some(done) = look(false)
            {
                break Ok(done);
            }
            if woken != Woken::Rung || slice_began.elapsed() >= SLICE {
                slice_began = Instant::now();
                if let Some(done) = look(true) {
                    break Ok(done);
                }
            }
            seen = doorbell();
            local.again(header, what, self.me);
        };
        local.leave(header, what, self.me);
        crash_point("sleep.left");
        self.pass_on(what);
        ended
    }

    /// Whoever leaves a wait may have eaten a wake that another needs.
    fn pass_on(&self, what: For) {
        // First of all whether anybody is left: the line is at hand, and nearly always nobody is. The ring's
        // own words lie with the other side.
        if !wait::someone_is_left(self.header(), what) {
            return;
        }
        let useful = match what {
            For::Records => self.ring.waiting() != 0 || self.ring.hinted(),
            For::Room => !self.ring.is_full(),
        };
        if useful {
            wait::wake_one(self.header(), what, self.peers());
        }
    }

    /// Registers this process in a ring's set, for a selector.
    pub(crate) fn enter_select(&self) {
        self.getters.enter(self.header(), For::Records, self.me);
    }

    pub(crate) fn select_again(&self) {
        self.getters.again(self.header(), For::Records, self.me);
        wait::barrier(self.header(), self.peers());
    }

    pub(crate) fn leave_select(&self) {
        self.getters.leave(self.header(), For::Records, self.me);
        self.pass_on(For::Records);
    }
}
