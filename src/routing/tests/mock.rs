//! A queue behind a lock, for tests of the router alone. The only place of these tests that knows
//! how a descriptor comes by its backend ([`descriptor`]).

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{GetError, OpenError, PutError};
use crate::queue::{
    ForeignLease, ForeignReservation, Lease, QueueBackend, QueueDescriptor, QueueStats, RecordKind,
    Reservation, Wait, register_queue_type,
};
use crate::routing::{Connection, Packet, PacketRef, Record, StopSignal};

/// How long a test waits for what must happen.
pub(super) const WATCHDOG: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct State {
    records: VecDeque<(RecordKind, Vec<u8>)>,
    reserved: usize,
    waits: Vec<Wait>,
    closed: bool,
    destroyed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A handle of a mock queue of at most `maxsize` records.
#[derive(Clone, Debug)]
pub(super) struct MockQueue {
    shared: Arc<Shared>,
    maxsize: usize,
}

/// A descriptor whose queue is open already.
pub(super) fn descriptor(queue_id: &str, queue: &MockQueue) -> QueueDescriptor {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    static OPEN: LazyLock<Mutex<HashMap<String, MockQueue>>> = LazyLock::new(|| {
        register_queue_type("mock", |descriptor| {
            let key = descriptor.to_dict()["mock"].as_str().unwrap().to_owned();
            Ok(Arc::new(OPEN.lock().unwrap()[&key].clone()))
        })
        .unwrap();
        Mutex::default()
    });
    let key = NEXT.fetch_add(1, Ordering::Relaxed).to_string();
    OPEN.lock().unwrap().insert(key.clone(), queue.clone());
    let fields = serde_json::json!({"queue_type": "mock", "queue_id": queue_id, "mock": key});
    serde_json::from_value(fields).unwrap()
}

/// A descriptor of a type that nobody registered, which cannot be opened.
pub(super) fn unopenable() -> QueueDescriptor {
    serde_json::from_str(r#"{"queue_type":"carrier-pigeon","queue_id":"coop"}"#).unwrap()
}

impl MockQueue {
    pub(super) fn new(maxsize: usize) -> Self {
        Self { shared: Arc::default(), maxsize }
    }

    /// A queue that is full.
    pub(super) fn full() -> Self {
        Self::filled(1, 1)
    }

    /// A queue of `maxsize` of which `count` are taken, by raw records.
    pub(super) fn filled(maxsize: usize, count: usize) -> Self {
        let queue = Self::new(maxsize);
        for _ in 0..count {
            queue.put(RecordKind::RAW, b"filler", Wait::No).unwrap();
        }
        queue
    }

    /// Target `parallel_index` of group `broadcast_index`, named after both.
    pub(super) fn connect(&self, broadcast_index: u32, parallel_index: u32) -> Connection {
        let name = format!("t{broadcast_index}-{parallel_index}");
        let descriptor = descriptor(&format!("q{broadcast_index}-{parallel_index}"), self);
        Connection::new(broadcast_index, parallel_index, name, descriptor)
    }

    /// Takes the next record, which must come.
    pub(super) fn take(&self) -> (RecordKind, Vec<u8>) {
        let lease = self.lease(Wait::at_most(WATCHDOG)).expect("a record");
        let record = (lease.kind(), lease.to_vec());
        lease.ack();
        record
    }

    /// Takes the next record, which must be a packet.
    pub(super) fn take_packet(&self) -> Packet {
        let (kind, bytes) = self.take();
        assert_eq!(kind, RecordKind::PACKET);
        PacketRef::decode(&bytes).unwrap().to_packet().unwrap()
    }

    /// Takes the next record, which must be a stop signal.
    pub(super) fn take_stop(&self) -> StopSignal {
        let (kind, bytes) = self.take();
        match Record::decode(kind, &bytes).unwrap() {
            Record::Stop(stop) => stop,
            Record::Packet(packet) => panic!("{packet:?}"),
        }
    }

    /// How every reservation so far was to wait.
    pub(super) fn waits(&self) -> Vec<Wait> {
        self.state().waits.clone()
    }

    /// Waits until there were `count` reservations, granted, refused or still waiting.
    pub(super) fn await_reservations(&self, count: usize) {
        let state = self.wait_until(Wait::at_most(WATCHDOG), |state| state.waits.len() >= count);
        assert!(state.waits.len() >= count);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    /// Waits until `ready` says so, or as long as `wait` says.
    fn wait_until(&self, wait: Wait, ready: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while !ready(&state) {
            let left = match wait {
                Wait::No => return state,
                Wait::Forever | Wait::Interruptible => WATCHDOG,
                Wait::Until(until) => until.saturating_duration_since(Instant::now()),
            };
            if left.is_zero() {
                return state;
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap().0;
        }
        state
    }

    fn has_room(&self, state: &State) -> bool {
        self.maxsize == 0 || state.records.len() + state.reserved < self.maxsize
    }
}

struct MockReservation {
    queue: MockQueue,
    kind: RecordKind,
}

impl ForeignReservation for MockReservation {
    fn commit(self: Box<Self>, payload: &[u8]) -> Result<(), PutError> {
        self.queue.state().records.push_back((self.kind, payload.to_vec()));
        Ok(())
    }
}

impl Drop for MockReservation {
    fn drop(&mut self) {
        self.queue.state().reserved -= 1;
        self.queue.shared.changed.notify_all();
    }
}

struct MockLease {
    queue: MockQueue,
    kind: RecordKind,
    payload: Vec<u8>,
}

impl ForeignLease for MockLease {
    fn ack(self: Box<Self>) {}

    fn give_back(self: Box<Self>) {
        self.queue.state().records.push_front((self.kind, self.payload));
        self.queue.shared.changed.notify_all();
    }
}

impl QueueBackend for MockQueue {
    fn reserve(&self, kind: RecordKind, len: usize, wait: Wait) -> Result<Reservation, PutError> {
        self.state().waits.push(wait);
        self.shared.changed.notify_all();
        let done = |state: &State| state.closed || state.destroyed || self.has_room(state);
        let mut state = self.wait_until(wait, done);
        if state.destroyed {
            return Err(PutError::Destroyed);
        }
        if state.closed {
            return Err(PutError::Closed);
        }
        if !self.has_room(&state) {
            return Err(if wait == Wait::No { PutError::Full } else { PutError::Timeout });
        }
        state.reserved += 1;
        drop(state);
        Ok(Reservation::foreign(len, Box::new(MockReservation { queue: self.clone(), kind })))
    }

    fn put(&self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        let mut room = self.reserve(kind, payload.len(), wait)?;
        room.copy_from_slice(payload);
        room.commit()
    }

    fn put_many(
        &self,
        kind: RecordKind,
        payloads: &[&[u8]],
        wait: Wait,
    ) -> (usize, Option<PutError>) {
        for (done, payload) in payloads.iter().enumerate() {
            if let Err(error) = self.put(kind, payload, wait) {
                return (done, Some(error));
            }
        }
        (payloads.len(), None)
    }

    fn lease(&self, wait: Wait) -> Result<Lease, GetError> {
        let mut state = self.wait_until(wait, |state| !state.records.is_empty());
        let (kind, payload) = state.records.pop_front().ok_or(GetError::Empty)?;
        drop(state);
        self.shared.changed.notify_all();
        let end = MockLease { queue: self.clone(), kind, payload: payload.clone() };
        Ok(Lease::foreign(payload, kind, 0, None, Box::new(end)))
    }

    fn lease_many(&self, max: usize, out: &mut Vec<Lease>, wait: Wait) -> Result<usize, GetError> {
        let before = out.len();
        out.push(self.lease(wait)?);
        while out.len() - before < max
            && let Ok(lease) = self.lease(Wait::No)
        {
            out.push(lease);
        }
        Ok(out.len() - before)
    }

    fn qsize(&self) -> u64 {
        self.state().records.len() as u64
    }

    fn in_flight(&self) -> u64 {
        0
    }

    fn maxsize(&self) -> u64 {
        self.maxsize as u64
    }

    fn occupancy(&self) -> f64 {
        if self.maxsize == 0 { 0.0 } else { self.qsize() as f64 / self.maxsize as f64 }
    }

    fn is_full(&self) -> bool {
        !self.has_room(&self.state())
    }

    fn max_payload(&self) -> usize {
        usize::MAX
    }

    fn is_closed(&self) -> bool {
        self.state().closed
    }

    fn close(&self) -> Result<(), PutError> {
        self.state().closed = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    fn destroy(&self) -> Result<(), OpenError> {
        self.state().destroyed = true;
        self.shared.changed.notify_all();
        Ok(())
    }

    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }
}
