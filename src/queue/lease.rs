//! Records in place: a lease to read one, a reservation to write one.

use std::fmt;
use std::ops::{Deref, DerefMut};

use crate::error::PutError;
use crate::queue::RecordKind;
use crate::queue::core_dead::DeadLetter;
use crate::queue::core_place::RingReservation;
use crate::queue::ring_lease::RingLease;
use crate::shm::ring::Taken;

/// What a registered kind of queue does when a lease ends.
pub trait ForeignLease: Send {
    /// The record was read: it will not be delivered again.
    fn ack(self: Box<Self>);
    /// The record was not acknowledged: it goes to another consumer.
    fn give_back(self: Box<Self>);
}

/// What a registered kind of queue does with a reservation that is committed.
pub trait ForeignReservation: Send {
    /// Puts the record.
    ///
    /// # Errors
    /// See [`PutError`].
    fn commit(self: Box<Self>, payload: &[u8]) -> Result<(), PutError>;
}

/// What is known of a record besides its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordInfo {
    /// What the record is.
    pub kind: RecordKind,
    /// Length of the payload, in bytes.
    pub len: usize,
    /// How many times it was delivered, this time included (see [`Lease::delivery_count`]).
    pub delivery_count: u32,
    /// Time of the put (`CLOCK_MONOTONIC`, nanoseconds), where the queue keeps it.
    pub timestamp_ns: Option<u64>,
}

impl RecordInfo {
    #[inline(always)]
    pub(crate) fn new(taken: &Taken, timestamp_ns: Option<u64>) -> Self {
        Self {
            kind: RecordKind(taken.kind()),
            len: taken.len(),
            delivery_count: taken.redeliveries() + 1,
            timestamp_ns,
        }
    }
}

/// A record taken and not yet acknowledged; derefs to its payload.
///
/// While it lives, nobody else gets the record, and its memory is not reused. [`Lease::ack`] ends
/// it for good. Dropping it gives the record back: another consumer gets it, flagged as redelivered.
/// So does the death of this process.
#[must_use = "dropping a lease gives the record back"]
pub struct Lease {
    inner: LeaseInner,
}

enum LeaseInner {
    Ring(Option<RingLease>),
    Foreign {
        payload: Vec<u8>,
        kind: RecordKind,
        redeliveries: u32,
        timestamp_ns: Option<u64>,
        end: Option<Box<dyn ForeignLease>>,
    },
}

impl Lease {
    /// Makes a lease of a registered kind of queue.
    pub fn foreign(
        payload: Vec<u8>,
        kind: RecordKind,
        redeliveries: u32,
        timestamp_ns: Option<u64>,
        end: Box<dyn ForeignLease>,
    ) -> Self {
        Self {
            inner: LeaseInner::Foreign {
                payload,
                kind,
                redeliveries,
                timestamp_ns,
                end: Some(end),
            },
        }
    }

    pub(crate) fn ring(lease: RingLease) -> Self {
        Self { inner: LeaseInner::Ring(Some(lease)) }
    }

    /// What the record is.
    #[must_use]
    pub fn kind(&self) -> RecordKind {
        match &self.inner {
            LeaseInner::Ring(lease) => lease.as_ref().map_or(RecordKind::RAW, RingLease::kind),
            LeaseInner::Foreign { kind, .. } => *kind,
        }
    }

    /// Says whether the record may have been delivered before.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        self.delivery_count() > 1
    }

    /// How many times the record was delivered, this time included; after a crash it may count one
    /// too many, never one too few.
    #[must_use]
    pub fn delivery_count(&self) -> u32 {
        match &self.inner {
            LeaseInner::Ring(lease) => lease.as_ref().map_or(0, RingLease::redeliveries) + 1,
            LeaseInner::Foreign { redeliveries, .. } => redeliveries + 1,
        }
    }

    /// Time of the put (`CLOCK_MONOTONIC`, nanoseconds), where the queue keeps it.
    #[must_use]
    pub fn timestamp_ns(&self) -> Option<u64> {
        match &self.inner {
            LeaseInner::Ring(lease) => lease.as_ref().and_then(RingLease::timestamp_ns),
            LeaseInner::Foreign { timestamp_ns, .. } => *timestamp_ns,
        }
    }

    /// Where the record comes from, and how often it was delivered there, if it is a dead letter.
    #[must_use]
    pub fn dead_letter(&self) -> Option<DeadLetter> {
        match &self.inner {
            LeaseInner::Ring(lease) => lease.as_ref().and_then(RingLease::dead_letter),
            LeaseInner::Foreign { .. } => None,
        }
    }

    /// The record's description.
    #[must_use]
    pub fn info(&self) -> RecordInfo {
        RecordInfo {
            kind: self.kind(),
            len: self.len(),
            delivery_count: self.delivery_count(),
            timestamp_ns: self.timestamp_ns(),
        }
    }

    /// Acknowledges the record: it is never delivered again, and its memory may be reused.
    pub fn ack(mut self) {
        match &mut self.inner {
            LeaseInner::Ring(lease) => {
                if let Some(lease) = lease.take() {
                    lease.ack();
                }
            }
            LeaseInner::Foreign { end, .. } => {
                if let Some(end) = end.take() {
                    end.ack();
                }
            }
        }
    }
}

impl Deref for Lease {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.inner {
            LeaseInner::Ring(lease) => lease.as_ref().map_or(&[], RingLease::bytes),
            LeaseInner::Foreign { payload, .. } => payload,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        match &mut self.inner {
            // Its own drop gives the record back.
            LeaseInner::Ring(_) => {}
            LeaseInner::Foreign { end, .. } => {
                if let Some(end) = end.take() {
                    end.give_back();
                }
            }
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("len", &self.len())
            .field("kind", &self.kind())
            .field("delivery_count", &self.delivery_count())
            .finish_non_exhaustive()
    }
}

/// Room for one record, to be written in place; derefs to the bytes.
///
/// The bytes are whatever the last record left there. Dropped without a commit, the room is passed
/// over by the consumers and reclaimed.
#[must_use = "a reservation that is not committed puts nothing"]
pub struct Reservation {
    inner: ReservationInner,
}

enum ReservationInner {
    Ring(Option<RingReservation>),
    Foreign { payload: Vec<u8>, end: Option<Box<dyn ForeignReservation>> },
}

impl Reservation {
    /// Makes a reservation of a registered kind of queue.
    pub fn foreign(len: usize, end: Box<dyn ForeignReservation>) -> Self {
        Self { inner: ReservationInner::Foreign { payload: vec![0; len], end: Some(end) } }
    }

    pub(crate) fn ring(reservation: RingReservation) -> Self {
        Self { inner: ReservationInner::Ring(Some(reservation)) }
    }

    /// Puts the record as it now stands.
    ///
    /// # Errors
    /// [`PutError::Forked`] in a child process; registered kinds of queues may have more.
    pub fn commit(self) -> Result<(), PutError> {
        let len = self.len();
        self.commit_len(len)
    }

    /// Puts the first `len` bytes.
    ///
    /// # Errors
    /// [`PutError::TooLarge`] if `len` is more than was reserved; the reservation is then dropped.
    /// [`PutError::Forked`] in a child process.
    pub fn commit_len(mut self, len: usize) -> Result<(), PutError> {
        let max = self.len();
        if let ReservationInner::Ring(Some(reservation)) = &self.inner
            && !reservation.is_here()
        {
            return Err(PutError::Forked);
        }
        if len > max {
            return Err(PutError::TooLarge { len, max });
        }
        match &mut self.inner {
            ReservationInner::Ring(reservation) => {
                reservation.take().map_or(Ok(()), |reservation| reservation.commit(len))
            }
            ReservationInner::Foreign { payload, end } => {
                end.take().map_or(Ok(()), |end| end.commit(&payload[..len]))
            }
        }
    }
}

impl Deref for Reservation {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.inner {
            ReservationInner::Ring(reservation) => {
                reservation.as_ref().map_or(&[], RingReservation::bytes)
            }
            ReservationInner::Foreign { payload, .. } => payload,
        }
    }
}

impl DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        match &mut self.inner {
            ReservationInner::Ring(reservation) => {
                reservation.as_mut().map_or(&mut [], RingReservation::bytes_mut)
            }
            ReservationInner::Foreign { payload, .. } => payload,
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("len", &self.len()).finish_non_exhaustive()
    }
}
