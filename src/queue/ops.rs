//! The operations that an opened queue and a descriptor share, written once.
//!
//! A macro, not a trait: the methods are inherent, so that nothing has to be imported, and nobody
//! gets [`QueueBackend::put`](crate::queue::QueueBackend::put) by `Deref` for want of an import. The
//! type it is used in has `fn run<R>(&self, op: impl FnOnce(&(dyn QueueBackend + 'static)) -> R)
//! -> Result<R, OpenError>`.

/// Defines `put…`, `reserve…`, `get…` and `lease…` in an `impl` block.
macro_rules! queue_ops {
    () => {
        /// Puts a packet behind all others, waiting for room as long as it takes.
        ///
        /// # Errors
        /// See [`PutError`]; never `Full` or `Timeout`. The packet was then not put.
        #[inline]
        pub fn put(&self, payload: &[u8]) -> Result<(), PutError> {
            self.put_record(RecordKind::RAW, payload, Wait::Forever)
        }

        /// Puts a packet if there is room now. A refusal is never spurious.
        ///
        /// # Errors
        /// [`PutError::Full`] when there is none; otherwise as [`Self::put`].
        #[inline]
        pub fn try_put(&self, payload: &[u8]) -> Result<(), PutError> {
            self.put_record(RecordKind::RAW, payload, Wait::No)
        }

        /// Puts a packet, waiting for room for at most `timeout`.
        ///
        /// # Errors
        /// [`PutError::Timeout`] when there was none in time; otherwise as [`Self::put`].
        pub fn put_timeout(&self, payload: &[u8], timeout: Duration) -> Result<(), PutError> {
            self.put_record(RecordKind::RAW, payload, Wait::at_most(timeout))
        }

        /// Puts a packet, waiting for room until `deadline`.
        ///
        /// # Errors
        /// [`PutError::Timeout`] when there was none in time; otherwise as [`Self::put`].
        pub fn put_deadline(&self, payload: &[u8], deadline: Instant) -> Result<(), PutError> {
            self.put_record(RecordKind::RAW, payload, Wait::Until(deadline))
        }

        /// Puts a record of any kind, waiting as told.
        ///
        /// # Errors
        /// See [`PutError`]; the record was then not put.
        #[inline]
        pub fn put_record(
            &self,
            kind: RecordKind,
            payload: &[u8],
            wait: Wait,
        ) -> Result<(), PutError> {
            self.run(|queue| queue.put(kind, payload, wait))?
        }

        /// Puts packets in order, waiting for room as long as it takes. Packets of others may come
        /// in between.
        ///
        /// # Errors
        /// [`PutManyError`] says how many were put before the first that was refused, and why.
        pub fn put_many(&self, payloads: &[&[u8]]) -> Result<(), PutManyError> {
            self.put_records(RecordKind::RAW, payloads, Wait::Forever)
        }

        /// Puts as many of the packets, in order, as there is room for now.
        ///
        /// # Errors
        /// As [`Self::put_many`], with [`PutError::Full`] for want of room.
        pub fn try_put_many(&self, payloads: &[&[u8]]) -> Result<(), PutManyError> {
            self.put_records(RecordKind::RAW, payloads, Wait::No)
        }

        /// Puts records of any kind in order, waiting as told.
        ///
        /// # Errors
        /// As [`Self::put_many`].
        pub fn put_records(
            &self,
            kind: RecordKind,
            payloads: &[&[u8]],
            wait: Wait,
        ) -> Result<(), PutManyError> {
            match self.run(|queue| queue.put_many(kind, payloads, wait)) {
                Ok((_, None)) => Ok(()),
                Ok((put, Some(error))) => Err(PutManyError { put, error }),
                Err(error) => Err(PutManyError { put: 0, error: error.into() }),
            }
        }

        /// Claims room for a packet of `len` bytes, to be written in place and committed, waiting
        /// as long as it takes.
        ///
        /// A single producer puts nothing else until its reservation ends: a put by the thread that
        /// reserved is [`PutError::RoleTaken`], puts by others wait. So a reservation that is sent to
        /// another thread must end before that thread puts, or its put waits for itself.
        ///
        /// # Errors
        /// As [`Self::put`].
        pub fn reserve(&self, len: usize) -> Result<Reservation, PutError> {
            self.reserve_record(RecordKind::RAW, len, Wait::Forever)
        }

        /// Claims room for a packet of `len` bytes if there is some now.
        ///
        /// # Errors
        /// As [`Self::try_put`].
        pub fn try_reserve(&self, len: usize) -> Result<Reservation, PutError> {
            self.reserve_record(RecordKind::RAW, len, Wait::No)
        }

        /// Claims room for a record of any kind, waiting as told.
        ///
        /// # Errors
        /// See [`PutError`].
        #[inline]
        pub fn reserve_record(
            &self,
            kind: RecordKind,
            len: usize,
            wait: Wait,
        ) -> Result<Reservation, PutError> {
            self.run(|queue| queue.reserve(kind, len, wait))?
        }

        /// Gets the oldest packet, waiting as long as it takes: a lease, a copy and an
        /// acknowledgement.
        ///
        /// # Errors
        /// See [`GetError`]; never `Empty`, `Timeout` or `Draining`.
        #[inline]
        pub fn get(&self) -> Result<Received, GetError> {
            self.get_record(Wait::Forever)
        }

        /// Gets the oldest packet if one waits now.
        ///
        /// # Errors
        /// [`GetError::Empty`] when none does, [`GetError::Draining`] when the queue is closed and
        /// others hold what may come back; otherwise as [`Self::get`].
        #[inline]
        pub fn try_get(&self) -> Result<Received, GetError> {
            self.get_record(Wait::No)
        }

        /// Gets the oldest packet, waiting for at most `timeout`.
        ///
        /// # Errors
        /// [`GetError::Timeout`] when none came in time; otherwise as [`Self::get`].
        pub fn get_timeout(&self, timeout: Duration) -> Result<Received, GetError> {
            self.get_record(Wait::at_most(timeout))
        }

        /// Gets the oldest packet, waiting until `deadline`.
        ///
        /// # Errors
        /// [`GetError::Timeout`] when none came in time; otherwise as [`Self::get`].
        pub fn get_deadline(&self, deadline: Instant) -> Result<Received, GetError> {
            self.get_record(Wait::Until(deadline))
        }

        /// Gets the oldest record, waiting as told.
        ///
        /// # Errors
        /// See [`GetError`].
        #[inline]
        pub fn get_record(&self, wait: Wait) -> Result<Received, GetError> {
            self.lease_record(wait).map(Received::take)
        }

        /// Gets up to `max` packets in order, waiting as long as it takes for the first and not at
        /// all for the others. None, without waiting, when `max` is 0.
        ///
        /// # Errors
        /// As [`Self::get`]; then nothing was taken.
        pub fn get_many(&self, max: usize) -> Result<Vec<Received>, GetError> {
            self.get_records(max, Wait::Forever)
        }

        /// Gets up to `max` of the packets that wait now, in order.
        ///
        /// # Errors
        /// As [`Self::try_get`]; then nothing was taken.
        pub fn try_get_many(&self, max: usize) -> Result<Vec<Received>, GetError> {
            self.get_records(max, Wait::No)
        }

        /// Gets up to `max` records in order, waiting as told for the first.
        ///
        /// # Errors
        /// See [`GetError`]; then nothing was taken.
        pub fn get_records(&self, max: usize, wait: Wait) -> Result<Vec<Received>, GetError> {
            let leases = self.lease_many(max, wait)?;
            Ok(leases.into_iter().map(Received::take).collect())
        }

        /// Takes the oldest packet to be read in place, waiting as long as it takes.
        ///
        /// # Errors
        /// As [`Self::get`].
        pub fn lease(&self) -> Result<Lease, GetError> {
            self.lease_record(Wait::Forever)
        }

        /// Takes the oldest packet to be read in place if one waits now.
        ///
        /// # Errors
        /// As [`Self::try_get`].
        pub fn try_lease(&self) -> Result<Lease, GetError> {
            self.lease_record(Wait::No)
        }

        /// Takes the oldest packet to be read in place, waiting for at most `timeout`.
        ///
        /// # Errors
        /// As [`Self::get_timeout`].
        pub fn lease_timeout(&self, timeout: Duration) -> Result<Lease, GetError> {
            self.lease_record(Wait::at_most(timeout))
        }

        /// Takes the oldest record to be read in place, waiting as told.
        ///
        /// # Errors
        /// See [`GetError`].
        #[inline]
        pub fn lease_record(&self, wait: Wait) -> Result<Lease, GetError> {
            self.run(|queue| queue.lease(wait))?
        }

        /// Takes up to `max` records to be read in place, waiting as told for the first. None,
        /// without waiting, when `max` is 0.
        ///
        /// # Errors
        /// See [`GetError`]; then nothing was taken.
        pub fn lease_many(&self, max: usize, wait: Wait) -> Result<Vec<Lease>, GetError> {
            let mut leases = Vec::new();
            if max > 0 {
                self.run(|queue| queue.lease_many(max, &mut leases, wait))??;
            }
            Ok(leases)
        }
    };
}

pub(crate) use queue_ops;
