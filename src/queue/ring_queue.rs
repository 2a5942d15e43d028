//! TEMPORARY: a queue behind a mutex in place of the ring, for the tests of the descriptors.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::error::{GetError, OpenError, PutError};
use crate::queue::config::{QueueConfig, ResolvedConfig};
use crate::queue::spec::ShmAddress;
use crate::queue::{
    ForeignLease, ForeignReservation, Lease, QueueBackend, QueueStats, RecordKind, Reservation,
    Wait,
};
use crate::shm::Lifetime;

/// A queue made of a Ringway ring, on the heap or in a segment.
#[derive(Clone)]
pub struct RingQueue {
    shared: Arc<Shared>,
    participation: Option<Arc<Participation>>,
}

struct Shared {
    config: ResolvedConfig,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(RecordKind, Vec<u8>, u32)>,
    in_flight: u64,
    closed: bool,
    destroyed: bool,
    stats: QueueStats,
}

type Key = (Option<std::path::PathBuf>, String);

/// "Files": what is in them stays when nobody has them open.
static FILES: LazyLock<Mutex<HashMap<Key, Arc<Shared>>>> = LazyLock::new(Mutex::default);

/// Unlinks an ephemeral "file" when the last participant leaves.
struct Participation(Key, Arc<Shared>);

impl Drop for Participation {
    fn drop(&mut self) {
        let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.1) == 2
            && files.get(&self.0).is_some_and(|it| Arc::ptr_eq(it, &self.1))
        {
            files.remove(&self.0);
        }
    }
}

pub(crate) fn open_local(_id: &str, config: &QueueConfig) -> Result<RingQueue, OpenError> {
    Ok(RingQueue { shared: Arc::new(Shared::new(config.resolve()?)), participation: None })
}

pub(crate) fn open_shm(address: &ShmAddress, config: &QueueConfig) -> Result<RingQueue, OpenError> {
    let key = (address.directory.clone(), format!("{}:{}", address.segment, address.ring));
    let ours = config.resolve()?;
    let mut files = FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let shared = match files.get(&key) {
        Some(shared) => {
            ours.check_same(&key.1, &shared.config)?;
            Arc::clone(shared)
        }
        None => {
            let shared = Arc::new(Shared::new(ours));
            files.insert(key.clone(), Arc::clone(&shared));
            shared
        }
    };
    let participation = (address.lifetime == Lifetime::Ephemeral)
        .then(|| Arc::new(Participation(key, Arc::clone(&shared))));
    // The participation alone holds the file in this mock: hand the ring a weak life of its own.
    Ok(RingQueue { shared, participation })
}

pub(crate) fn destroy_shm(address: &ShmAddress) -> Result<(), OpenError> {
    let key = (address.directory.clone(), format!("{}:{}", address.segment, address.ring));
    let removed = FILES.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
    match removed {
        Some(shared) => {
            shared.lock().destroyed = true;
            shared.changed.notify_all();
            Ok(())
        }
        None => Err(OpenError::NotFound { path: key.1.into() }),
    }
}

impl RingQueue {
    pub(crate) fn is_destroyed(&self) -> bool {
        self.shared.lock().destroyed
    }

    pub(crate) fn is_forked(&self) -> bool {
        false
    }

    pub(crate) fn schema_tag(&self) -> u64 {
        self.shared.config.schema_tag
    }

    pub(crate) fn participation(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        self.participation.clone().map(|it| it as Arc<dyn Any + Send + Sync>)
    }
}

impl std::fmt::Debug for RingQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RingQueue").finish_non_exhaustive()
    }
}

impl Shared {
    fn new(config: ResolvedConfig) -> Self {
        Self { config, state: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self, state: &State) -> bool {
        let geometry = &self.config.geometry;
        let waiting = state.waiting.len() as u64;
        (geometry.maxsize > 0 && waiting >= geometry.maxsize)
            || waiting + state.in_flight >= geometry.entries()
    }

    fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match until {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

struct End(Arc<Shared>, RecordKind, Vec<u8>, u32);

impl ForeignLease for End {
    fn ack(self: Box<Self>) {
        self.0.lock().in_flight -= 1;
        self.0.changed.notify_all();
    }

    fn give_back(self: Box<Self>) {
        let Self(shared, kind, payload, redeliveries) = *self;
        let mut state = shared.lock();
        state.in_flight -= 1;
        state.waiting.push_front((kind, payload, redeliveries + 1));
        drop(state);
        shared.changed.notify_all();
    }
}

struct Commit(RingQueue, RecordKind);

impl ForeignReservation for Commit {
    fn commit(self: Box<Self>, payload: &[u8]) -> Result<(), PutError> {
        self.0.put(self.1, payload, Wait::Forever)
    }
}

impl QueueBackend for RingQueue {
    fn reserve(&self, kind: RecordKind, len: usize, wait: Wait) -> Result<Reservation, PutError> {
        let max = self.max_payload();
        if len > max {
            return Err(PutError::TooLarge { len, max });
        }
        if wait == Wait::No && self.is_full() {
            return Err(PutError::Full);
        }
        Ok(Reservation::foreign(len, Box::new(Commit(self.clone(), kind))))
    }

    fn put(&self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        let (len, max) = (payload.len(), self.max_payload());
        let mut state = self.shared.lock();
        loop {
            if state.destroyed {
                return Err(PutError::Destroyed);
            } else if state.closed {
                return Err(PutError::Closed);
            } else if len > max {
                return Err(PutError::TooLarge { len, max });
            } else if !self.shared.is_full(&state) {
                state.waiting.push_back((kind, payload.to_vec(), 0));
                state.stats.puts += 1;
                self.shared.changed.notify_all();
                return Ok(());
            }
            state = match wait {
                Wait::No => return Err(PutError::Full),
                Wait::Until(at) if at <= Instant::now() => return Err(PutError::Timeout),
                Wait::Until(at) => self.shared.wait(state, Some(at)),
                Wait::Forever => self.shared.wait(state, None),
            };
        }
    }

    fn put_many(
        &self,
        kind: RecordKind,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        for (put, payload) in payloads.iter().enumerate() {
            if let Err(error) = self.put(kind, payload, wait) {
                return (put, Some(error));
            }
        }
        (payloads.len(), None)
    }

    fn lease(&self, wait: Wait) -> Result<Lease, GetError> {
        let mut state = self.shared.lock();
        loop {
            if state.destroyed {
                return Err(GetError::Destroyed);
            }
            if let Some((kind, payload, redeliveries)) = state.waiting.pop_front() {
                state.in_flight += 1;
                state.stats.gets += 1;
                self.shared.changed.notify_all();
                let end = End(Arc::clone(&self.shared), kind, payload.clone(), redeliveries);
                return Ok(Lease::foreign(payload, kind, redeliveries, None, Box::new(end)));
            }
            if state.closed {
                match state.in_flight {
                    0 => return Err(GetError::Closed),
                    in_flight if wait == Wait::No => return Err(GetError::Draining { in_flight }),
                    _ => {}
                }
            }
            state = match wait {
                Wait::No => return Err(GetError::Empty),
                Wait::Until(at) if at <= Instant::now() => return Err(GetError::Timeout),
                Wait::Until(at) => self.shared.wait(state, Some(at)),
                Wait::Forever => self.shared.wait(state, None),
            };
        }
    }

    fn lease_many(&self, max: usize, out: &mut Vec<Lease>, wait: Wait) -> Result<usize, GetError> {
        out.push(self.lease(wait)?);
        let mut taken = 1;
        while taken < max {
            match self.lease(Wait::No) {
                Ok(lease) => out.push(lease),
                Err(_) => break,
            }
            taken += 1;
        }
        Ok(taken)
    }

    fn qsize(&self) -> u64 {
        self.shared.lock().waiting.len() as u64
    }

    fn in_flight(&self) -> u64 {
        self.shared.lock().in_flight
    }

    fn maxsize(&self) -> u64 {
        self.shared.config.geometry.maxsize
    }

    fn occupancy(&self) -> f64 {
        let bound = match self.maxsize() {
            0 => self.shared.config.geometry.entries(),
            maxsize => maxsize,
        };
        self.qsize() as f64 / bound as f64
    }

    fn is_full(&self) -> bool {
        self.shared.is_full(&self.shared.lock())
    }

    fn max_payload(&self) -> usize {
        self.shared.config.geometry.max_payload()
    }

    fn is_closed(&self) -> bool {
        self.shared.lock().closed
    }

    fn close(&self) -> Result<(), PutError> {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    fn destroy(&self) -> Result<(), OpenError> {
        FILES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|_, file| !Arc::ptr_eq(file, &self.shared));
        self.shared.lock().destroyed = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    fn stats(&self) -> QueueStats {
        self.shared.lock().stats
    }

    fn ring(&self) -> Option<&RingQueue> {
        Some(self)
    }
}
