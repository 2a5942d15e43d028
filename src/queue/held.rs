//! Taking many records and acknowledging them together: what a task does that must pass on what it
//! made of them before it lets them go.
//!
//! A record that is held is leased without a lease's cost: the handle remembers it, and either
//! acknowledges all at once or, dropped, gives all back. Killed in between, the process leaves them
//! to its successor, flagged as redelivered.

use crate::error::GetError;
use crate::queue::consumer::{Consumer, ConsumerSide};
use crate::queue::{RecordInfo, Wait};
use crate::shm::ring::{Missing, Taken};

impl Consumer {
    /// Takes one record to be read in place, and keeps it taken until [`Consumer::ack_held`]. Waits
    /// as `wait` says.
    ///
    /// ```
    /// use ringway::queue::{QueueDescriptor, Wait};
    ///
    /// let queue = QueueDescriptor::local("doc/held")?.queue()?;
    /// queue.put(b"one")?;
    /// queue.put(b"two")?;
    /// let mut consumer = queue.ring().expect("made of a ring").consumer()?;
    /// assert_eq!(consumer.hold(Wait::Forever)?.0, b"one");
    /// let (bytes, _) = consumer.hold_next().expect("a second")?;
    /// assert_eq!(bytes, b"two");
    /// assert!(consumer.hold_next().is_none());
    /// assert_eq!((consumer.held(), queue.in_flight()), (2, 2));
    /// consumer.ack_held(); // both at once
    /// assert_eq!(queue.in_flight(), 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`GetError`].
    pub fn hold(&mut self, wait: Wait) -> Result<(&[u8], RecordInfo), GetError> {
        self.unpark();
        let taken = match &mut self.side {
            ConsumerSide::Single(state, _) => {
                let taken = self.core.take_single(state, wait)?;
                self.core.room_made_by_taking();
                taken
            }
            _ => self.take_uncounted(wait)?,
        };
        Ok(self.keep(taken))
    }

    /// Takes the next record if it lies there ready, as [`Consumer::hold`] does. `None` where there is
    /// none at first sight: it neither waits nor looks for what the dead left, as `hold` does.
    ///
    /// # Errors
    /// [`GetError::Corrupt`], once for each such record.
    #[inline]
    pub fn hold_next(&mut self) -> Option<Result<(&[u8], RecordInfo), GetError>> {
        let taken = match &mut self.side {
            ConsumerSide::Single(state, _) => {
                if self.core.check_get().is_err() {
                    return None;
                }
                let taken = match self.core.ring.take_plain(state) {
                    Some(taken) => Ok(taken),
                    None if self.core.ring.stamped_at_cursor(state) => self.core.next_single(state),
                    None => return None,
                };
                match taken {
                    Ok(taken) => {
                        self.core.room_made_by_taking();
                        taken
                    }
                    Err(Missing::Corrupt(what, pos)) => {
                        return Some(Err(GetError::Corrupt { what, pos }));
                    }
                    Err(_) => return None,
                }
            }
            ConsumerSide::Multi if self.core.ring.stamped_at_head() => {
                match self.core.take_record(Wait::No) {
                    Ok(taken) => taken,
                    Err(error @ GetError::Corrupt { .. }) => return Some(Err(error)),
                    Err(_) => return None,
                }
            }
            _ => return None,
        };
        Some(Ok(self.keep(taken)))
    }

    /// Takes up to `max` records as [`Consumer::hold`] does, all that lie there ready, waiting for the
    /// first only; says how many. Of many consumers, they are taken at once where they are small.
    ///
    /// ```
    /// use ringway::queue::{QueueDescriptor, Wait};
    ///
    /// let queue = QueueDescriptor::local("doc/hold_many")?.queue()?;
    /// queue.put_many(&[&b"one"[..], b"two"])?;
    /// let mut consumer = queue.ring().expect("made of a ring").consumer()?;
    /// let count = consumer.hold_many(32, Wait::Forever)?;
    /// let bytes: Vec<_> = consumer.held_records().map(|(bytes, _)| bytes).collect();
    /// assert_eq!((count, bytes), (2, vec![&b"one"[..], b"two"]));
    /// consumer.ack_held();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`GetError`]. What was taken before a bad record was met stays held.
    pub fn hold_many(&mut self, max: usize, wait: Wait) -> Result<usize, GetError> {
        if max == 0 {
            return Ok(0);
        }
        if let ConsumerSide::Multi = self.side {
            return self.core.take_many(max, &mut self.held, wait);
        }
        let ready = self.hold_ready(max)?;
        if ready != 0 {
            return Ok(ready);
        }
        self.hold(wait)?;
        Ok(1 + self.hold_ready(max - 1)?)
    }

    /// As [`Consumer::hold_many`], but of what lies ready at first sight: it does not wait. 0 where there
    /// is nothing. What was given back comes before what waits.
    ///
    /// # Errors
    /// [`GetError::Corrupt`] where the first is bad, once for each such record.
    #[inline]
    pub fn hold_ready(&mut self, max: usize) -> Result<usize, GetError> {
        if max == 0 || self.core.check_get().is_err() {
            return Ok(0);
        }
        let count = match &mut self.side {
            ConsumerSide::Multi => self.core.take_ready(max, &mut self.held),
            ConsumerSide::Single(state, _) => {
                self.core.ring.take_ready_single(state, max, &mut self.held)
            }
            ConsumerSide::Parked(_) => 0,
        };
        if count == 0 {
            return Ok(usize::from(self.hold_next().transpose()?.is_some()));
        }
        self.core.room_made_by_taking();
        Ok(count)
    }

    /// The records that are held, oldest first.
    pub fn held_records(&self) -> impl Iterator<Item = (&[u8], RecordInfo)> {
        let held = if self.core.is_here() { &self.held[..] } else { &[] };
        held.iter().map(|taken| self.show(taken))
    }

    /// One of the records that are held; 0 is the oldest.
    #[inline]
    #[must_use]
    pub fn held_record(&self, index: usize) -> Option<(&[u8], RecordInfo)> {
        let taken = self.held.get(index).filter(|_| self.core.is_here())?;
        Some(self.show(taken))
    }

    #[inline]
    fn show<'a>(&'a self, taken: &'a Taken) -> (&'a [u8], RecordInfo) {
        let info = RecordInfo::new(taken, self.core.ring.timestamp(taken));
        (self.core.ring.payload(taken), info)
    }

    /// The record that was held last, if any is held.
    #[must_use]
    pub fn last_held(&self) -> Option<(&[u8], RecordInfo)> {
        self.held_record(self.held.len().checked_sub(1)?)
    }

    /// How many records are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// Acknowledges all records that are held, oldest first; wakes a producer once.
    pub fn ack_held(&mut self) {
        self.ack_oldest(self.held.len());
    }

    /// Acknowledges the `count` records that were held first, or all if there are fewer; wakes a
    /// producer once.
    pub fn ack_oldest(&mut self, count: usize) {
        if !self.core.is_here() {
            return self.held.clear();
        }
        let count = count.min(self.held.len());
        if count == 0 {
            return;
        }
        self.unpark();
        let oldest = &self.held[..count];
        match &mut self.side {
            ConsumerSide::Single(state, _) => {
                self.core.ring.ack_many_single(state, oldest);
            }
            ConsumerSide::Parked(_) => {
                oldest.iter().for_each(|taken| self.core.acknowledge_parked(taken));
            }
            ConsumerSide::Multi => self.core.ring.release_many(oldest, self.core.me),
        }
        self.held.drain(..count);
        self.core.room_made();
    }

    /// Gives all records back that are held. A single consumer's come again when the next one takes
    /// the role.
    pub(super) fn give_back_held(&mut self) {
        if !self.core.is_here() {
            return self.held.clear();
        }
        match &mut self.side {
            ConsumerSide::Multi => {
                for taken in self.held.drain(..) {
                    self.core.give_back(&taken);
                }
            }
            ConsumerSide::Single(state, _) => {
                for taken in self.held.drain(..) {
                    self.core.ring.give_back_single(state, taken.pos);
                }
            }
            ConsumerSide::Parked(_) => self.held.clear(),
        }
    }

    /// Takes a record of a many-consumer ring, or as the single consumer whose state is parked.
    fn take_uncounted(&mut self, wait: Wait) -> Result<Taken, GetError> {
        match self.side {
            ConsumerSide::Multi => self.core.take_record(wait),
            // Leases are out, which are counted: this one is none of them.
            _ => {
                let taken = self.core.take_parked(wait)?;
                // RELAXED: the count changes under the slot's lock, or where no lease can end.
                self.core.leases.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
                Ok(taken)
            }
        }
    }

    #[inline]
    fn keep(&mut self, taken: Taken) -> (&[u8], RecordInfo) {
        self.held.push(taken);
        self.show(&self.held[self.held.len() - 1])
    }
}
