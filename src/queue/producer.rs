//! The owned producer: the fastest way to put.
//!
//! Of a single-producer ring it *is* the role: it is given out once, it is `Send` and not shared, and
//! dropping it frees the role. Of a ring with many producers it has its own cache of the other side, and
//! there may be any number.

use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::error::PutError;
use crate::queue::core::Core;
use crate::queue::roles::{RoleGuard, Slot};
use crate::queue::{RecordKind, Wait};
use crate::shm::ring::{Claim, PlainPut, ProducerCache, SingleProducer};
use crate::shm::storage::Side;

/// An owned producer. `try_put` on a single-producer ring is wait-free.
#[derive(Debug)]
pub struct Producer {
    core: Arc<Core>,
    side: ProducerSide,
}

enum ProducerSide {
    /// The state, and the role's lock, which lives as long as the handle.
    Single(SingleProducer, Option<RoleGuard>),
    Multi(ProducerCache),
}

impl std::fmt::Debug for ProducerSide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Single(..) => "Single",
            Self::Multi(_) => "Multi",
        })
    }
}

impl Producer {
    pub(crate) fn new(core: Arc<Core>) -> Result<Self, PutError> {
        if !core.is_here() {
            return Err(PutError::Forked);
        }
        let side = match core.ring.geometry().producers {
            Side::Multi => ProducerSide::Multi(ProducerCache::default()),
            Side::Single => {
                let mut slot = core.lock_producer();
                // An unused or shared role of this process becomes this handle's.
                let (state, guard) = match slot.replace(Slot::Owned) {
                    Slot::Shared(state, guard) => (state, guard),
                    Slot::Vacant => match core.become_producer() {
                        Ok(role) => role,
                        Err(error) => {
                            *slot = Slot::Vacant;
                            return Err(error);
                        }
                    },
                    other => {
                        *slot = other;
                        return Err(PutError::RoleTaken { pid: std::process::id() });
                    }
                };
                ProducerSide::Single(state, Some(guard))
            }
        };
        Ok(Self { core, side })
    }

    /// Puts one record.
    ///
    /// # Errors
    /// See [`PutError`].
    #[inline(always)]
    pub fn put(&mut self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        match self.side {
            ProducerSide::Single(..) => self.put_alone(kind, payload, wait),
            ProducerSide::Multi(_) => self.put_among_many(kind, payload, wait),
        }
    }

    /// What is called from here is called last: so no registers need saving before.
    #[inline(always)]
    fn put_alone(&mut self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        if let ProducerSide::Single(state, _) = &mut self.side {
            match self.core.begin_plain(state, kind.0, payload) {
                PlainPut::Done if !self.core.anyone_waits() => return Ok(()),
                PlainPut::Done => return self.wake(),
                PlainPut::Unfinished => return self.finish(payload.len()),
                PlainPut::Not => {}
            }
        }
        self.put_otherwise(kind, payload, wait)
    }

    #[inline]
    fn put_among_many(
        &mut self,
        kind: RecordKind,
        payload: &[u8],
        wait: Wait,
    ) -> Result<(), PutError> {
        match &self.side {
            ProducerSide::Multi(cache)
                if self.core.put_plain_multi::<false>(cache, kind.0, payload) =>
            {
                Ok(())
            }
            _ => self.put_otherwise(kind, payload, wait),
        }
    }

    #[cold]
    #[inline(never)]
    #[expect(clippy::unnecessary_wraps, reason = "called last by `put`")]
    fn wake(&self) -> Result<(), PutError> {
        self.core.published();
        Ok(())
    }

    #[cold]
    #[inline(never)]
    #[expect(clippy::unnecessary_wraps, reason = "called last by `put`")]
    fn finish(&mut self, len: usize) -> Result<(), PutError> {
        if let ProducerSide::Single(state, _) = &mut self.side {
            self.core.ring.finish_plain(state, len);
            self.core.published();
        }
        Ok(())
    }

    /// The other ways: out of line, since they would cost the first one registers.
    #[inline(never)]
    fn put_otherwise(
        &mut self,
        kind: RecordKind,
        payload: &[u8],
        wait: Wait,
    ) -> Result<(), PutError> {
        match &mut self.side {
            ProducerSide::Single(state, _) => {
                if self.core.put_plain_in_data(state, kind.0, payload) {
                    return Ok(());
                }
                self.core.put_single(state, kind.0, payload, wait)
            }
            ProducerSide::Multi(cache) => {
                if self.core.put_plain_multi::<true>(cache, kind.0, payload) {
                    return Ok(());
                }
                self.core.put_multi(cache, kind.0, payload, wait)
            }
        }
    }

    /// Puts records in order, waking consumers once for each run: `(how many, why not all)`.
    #[inline]
    pub fn put_many(
        &mut self,
        kind: RecordKind,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        match &mut self.side {
            ProducerSide::Single(state, _) => {
                self.core.put_all_single(state, kind.0, payloads, wait)
            }
            ProducerSide::Multi(cache) => self.core.put_runs(cache, kind.0, payloads, wait),
        }
    }

    /// Claims room for a record of `len` bytes, to be written in place and committed.
    ///
    /// # Errors
    /// See [`PutError`].
    #[inline]
    pub fn reserve(
        &mut self,
        kind: RecordKind,
        len: usize,
        wait: Wait,
    ) -> Result<InPlace<'_>, PutError> {
        let core = &*self.core;
        let (claim, state) = match &mut self.side {
            ProducerSide::Single(state, _) => (core.claim_in_place(state, len, wait)?, Some(state)),
            ProducerSide::Multi(cache) => (core.claim_in_place_multi(cache, len, wait)?, None),
        };
        let inline = core.is_inline(len);
        Ok(InPlace { core, claim, state, kind: kind.0, len, inline })
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        if let ProducerSide::Single(_, guard) = &mut self.side
            && self.core.is_here()
        {
            let mut slot = self.core.lock_producer();
            // Under the slot's lock: whoever finds it vacant finds the role free.
            drop(guard.take());
            *slot = Slot::Vacant;
            self.core.slot_back.notify_all();
        }
    }
}

/// Room for one record of a [`Producer`]; derefs to the bytes, which are whatever the last record
/// left there. Dropped without a commit, it puts nothing.
#[must_use = "a reservation that is not committed puts nothing"]
pub struct InPlace<'a> {
    core: &'a Core,
    claim: Claim,
    state: Option<&'a mut SingleProducer>,
    kind: u8,
    len: usize,
    inline: bool,
}

impl InPlace<'_> {
    /// Puts the record as it now stands.
    ///
    /// # Errors
    /// [`PutError::Forked`] in a child process.
    #[inline]
    pub fn commit(self) -> Result<(), PutError> {
        let len = self.len;
        self.commit_len(len)
    }

    /// Puts the first `len` bytes.
    ///
    /// # Errors
    /// [`PutError::TooLarge`] if `len` is more than was reserved; nothing is put then.
    /// [`PutError::Forked`] in a child process.
    #[inline]
    pub fn commit_len(self, len: usize) -> Result<(), PutError> {
        // A forked child has no such memory.
        if !self.core.is_here() {
            return Err(PutError::Forked);
        }
        if len > self.len {
            return Err(PutError::TooLarge { len, max: self.len });
        }
        // Committed, not given up: nothing is left to drop.
        let mut this = ManuallyDrop::new(self);
        let InPlace { core, claim, state, kind, inline, .. } = &mut *this;
        core.commit_in_place(claim, state.as_deref_mut(), *kind, len, *inline);
        Ok(())
    }
}

impl Deref for InPlace<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        if !self.core.is_here() {
            return &[];
        }
        self.core.ring.claimed_payload(&self.claim, self.inline, self.len)
    }
}

impl DerefMut for InPlace<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        if !self.core.is_here() {
            return &mut [];
        }
        self.core.ring.payload_mut(&mut self.claim, self.inline, self.len)
    }
}

impl Drop for InPlace<'_> {
    fn drop(&mut self) {
        // A forked child has no such memory.
        if self.core.is_here() {
            self.core.abandon_in_place(&self.claim, self.state.as_deref());
        }
    }
}

impl std::fmt::Debug for InPlace<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InPlace").field("len", &self.len).finish_non_exhaustive()
    }
}
