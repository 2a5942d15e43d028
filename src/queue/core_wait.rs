//! Waiting for room and for records: the last look before a refusal, the spin, the sleep, and what
//! is done for the dead at the end of each slice.

use std::time::Instant;

use crate::error::{GetError, PutError};
use crate::queue::Wait;
use crate::queue::core::{Core, put_error};
use crate::queue::core_sleep::Slept;
use crate::queue::large_claim;
use crate::shm::recovery;
use crate::shm::ring::{Missing, Refused, Taken};
use crate::shm::storage::Side;
use crate::shm::wait::For;
use crate::sync::Ordering::Relaxed;

/// Looks of one try, each after something changed. There is no need for so many, unless a hostile
/// peer undoes each change at once.
const MOST_LOOKS: u32 = 1 << 16;

enum Explained {
    Final(GetError),
    Again,
    Wait,
}

impl Core {
    /// Retries `attempt` until it succeeds, cannot succeed, or the time is over. `refused` is why
    /// it did not succeed at once.
    #[cold]
    pub(crate) fn wait_for_room<T>(
        &self,
        refused: Refused,
        units: u64,
        wait: Wait,
        mut attempt: impl FnMut() -> Result<T, Refused>,
    ) -> Result<T, PutError> {
        let mut tries = || match attempt() {
            Ok(done) => Some(Ok(done)),
            Err(Refused::Full) => None,
            Err(other) => Some(Err(put_error(other))),
        };
        if refused != Refused::Full {
            return Err(put_error(refused));
        }
        let line = &self.header().producers;
        if wait == Wait::No {
            // The last look before `Full`: help, skip the dead, and try again as long as that
            // changes something; and once more, since it may have changed since the first try.
            for _ in 0..MOST_LOOKS {
                let changed = recovery::pass_dead_writers(&self.ring, self.peers());
                if let Some(done) = tries() {
                    return done;
                }
                if !changed {
                    break;
                }
            }
            line.refused.fetch_add(1, Relaxed); // RELAXED: a statistic.
            return Err(PutError::Full);
        }
        if let Some(done) = self.spin.for_room(self.capacity(units), || {
            self.ring.help_room();
            tries()
        }) {
            return done;
        }
        let began = Instant::now();
        line.full_waits.fetch_add(1, Relaxed); // RELAXED: a statistic.
        let announced =
            (units > 1).then(|| large_claim::Announced::new(&self.ring, self.me, units));
        let result = self.sleep_until(For::Room, wait, |slice_over| {
            if let Some(announced) = &announced {
                announced.renew();
            }
            if slice_over {
                recovery::make_room(&self.ring, self.peers());
            } else {
                self.ring.help_room();
            }
            tries()
        });
        drop(announced);
        let blocked = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        line.blocked_ns.fetch_add(blocked, Relaxed); // RELAXED: a statistic.
        result.unwrap_or_else(|slept| {
            Err(match slept {
                Slept::TimedOut => PutError::Timeout,
                Slept::Interrupted => PutError::Interrupted,
            })
        })
    }

    /// Retries `attempt` until it succeeds, cannot succeed, or the time is over. `missing` is why it
    /// did not succeed at once.
    #[cold]
    pub(crate) fn wait_for_record(
        &self,
        missing: Missing,
        wait: Wait,
        mut attempt: impl FnMut() -> Result<Taken, Missing>,
    ) -> Result<Taken, GetError> {
        // A bad record was passed over when it was found: the next attempt would not see it again.
        if let Missing::Corrupt(what, pos) = missing {
            return Err(GetError::Corrupt { what, pos });
        }
        let mut tries = || -> Option<Result<Taken, GetError>> {
            let mut gone = false;
            for _ in 0..MOST_LOOKS {
                match attempt() {
                    Ok(taken) => return Some(Ok(taken)),
                    Err(why) => {
                        let pending = matches!(why, Missing::Pending { owner: 0, .. });
                        if pending && !gone && self.peers().producer_is_gone() {
                            // It may have committed between our look and its end: look again.
                            gone = true;
                            continue;
                        }
                        return match self.explain(why, gone) {
                            Explained::Final(error) => Some(Err(error)),
                            Explained::Again => continue,
                            Explained::Wait => None,
                        };
                    }
                }
            }
            None
        };
        // The last look: what was refused first may have changed, and the idle look for the dead.
        if let Some(done) = self.idle_look(&mut tries) {
            return done;
        }
        if wait == Wait::No {
            return Err(self.nothing_now());
        }
        let began = Instant::now();
        let line = &self.header().consumers;
        line.empty_waits.fetch_add(1, Relaxed); // RELAXED: a statistic.
        let result = self.sleep_until(For::Records, wait, |slice_over| {
            if slice_over { self.idle_look(&mut tries) } else { tries() }
        });
        let blocked = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        line.blocked_ns.fetch_add(blocked, Relaxed); // RELAXED: a statistic.
        result.unwrap_or_else(|slept| {
            Err(match slept {
                Slept::TimedOut => GetError::Timeout,
                Slept::Interrupted => GetError::Interrupted,
            })
        })
    }

    /// Skips dead writers, adopts from dead readers, then tries as usual.
    fn idle_look(
        &self,
        tries: &mut impl FnMut() -> Option<Result<Taken, GetError>>,
    ) -> Option<Result<Taken, GetError>> {
        for _ in 0..MOST_LOOKS {
            let skipped = recovery::skip_dead_writer(&self.ring, self.peers());
            if self.ring.geometry().consumers == Side::Multi
                && let Some(taken) = self.adopt()
            {
                return Some(Ok(taken));
            }
            let done = tries();
            // Behind one that was skipped there may be another.
            if done.is_some() || !skipped {
                return done;
            }
        }
        None
    }

    /// Says what `why` means for the caller; `gone` says that the single producer was seen to be gone
    /// before that look.
    fn explain(&self, why: Missing, gone: bool) -> Explained {
        match why {
            Missing::Empty => Explained::Wait,
            Missing::Destroyed => Explained::Final(GetError::Destroyed),
            Missing::Corrupt(what, pos) => Explained::Final(GetError::Corrupt { what, pos }),
            Missing::Closing => {
                self.finish_close();
                Explained::Again
            }
            // A put that began before the close. If its producer is dead, nothing more comes; a
            // successor sees `closed` before it writes.
            Missing::Pending { owner: 0, .. } if gone => self.sealed(),
            Missing::Pending { .. } => Explained::Wait,
            Missing::Sealed => self.sealed(),
        }
    }

    fn sealed(&self) -> Explained {
        let except = match self.ring.geometry().consumers {
            Side::Multi => self.me,
            // All leases of a single consumer are this process's own; dead letters that found no
            // room are nobody's.
            Side::Single if self.kept_by_single() != 0 => return Explained::Wait,
            Side::Single => return Explained::Final(GetError::Closed),
        };
        if self.ring.leased(except) == 0 {
            Explained::Final(GetError::Closed)
        } else {
            Explained::Wait
        }
    }

    fn nothing_now(&self) -> GetError {
        if !self.ring.is_closed() {
            return GetError::Empty;
        }
        let in_flight = match self.ring.geometry().consumers {
            Side::Multi => self.ring.leased(self.me),
            Side::Single => self.kept_by_single(),
        };
        // The last look would have said `Closed`, were nothing left: somebody holds a record, or is
        // still writing one.
        GetError::Draining { in_flight }
    }
}
