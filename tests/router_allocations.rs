//! A send that succeeds allocates nothing of its own.
//!
//! The queue here is a mock whose own allocations are not counted, so what is counted is exactly
//! what the router, the report and the wire form add.

#![allow(unsafe_code, reason = "a global allocator cannot be had without")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::{Arc, Mutex};

use ringway::error::{GetError, OpenError, PutError};
use ringway::queue::{
    ForeignReservation, Lease, QueueBackend, QueueDescriptor, QueueStats, RecordKind, Reservation,
    Wait,
};
use ringway::routing::{
    Connection, FullPolicy, GroupStrategy, Packet, PacketRef, PartitionStrategy, Router,
    RouterConfig, SendReport,
};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<Option<u64>> = const { Cell::new(None) };
}

fn count_one() {
    ALLOCATIONS.set(ALLOCATIONS.get().map(|count| count + 1));
}

// SAFETY: every call is handed on to the system's allocator as it came; counting neither allocates
// nor unwinds, since the thread-local has a constant initializer and no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count_one();
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` or `realloc` above, so from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count_one();
        // SAFETY: as for `dealloc`, and the caller vouches for the new size.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

/// How many allocations `run` makes in this thread.
fn allocations(run: impl FnOnce()) -> u64 {
    ALLOCATIONS.set(Some(0));
    run();
    ALLOCATIONS.take().expect("counting")
}

/// Runs `run` without counting.
fn uncounted<T>(run: impl FnOnce() -> T) -> T {
    let count = ALLOCATIONS.take();
    let result = run();
    ALLOCATIONS.set(count);
    result
}

/// Keeps the last record, takes everything.
#[derive(Clone, Debug, Default)]
struct Sink {
    last: Arc<Mutex<Vec<u8>>>,
}

struct Commit(Sink);

impl ForeignReservation for Commit {
    fn commit(self: Box<Self>, payload: &[u8]) -> Result<(), PutError> {
        uncounted(|| *self.0.last.lock().unwrap() = payload.to_vec());
        Ok(())
    }
}

impl QueueBackend for Sink {
    fn reserve(&self, _: RecordKind, len: usize, _: Wait) -> Result<Reservation, PutError> {
        uncounted(|| Ok(Reservation::foreign(len, Box::new(Commit(self.clone())))))
    }

    fn put(&self, kind: RecordKind, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        let mut room = self.reserve(kind, payload.len(), wait)?;
        room.copy_from_slice(payload);
        room.commit()
    }

    fn put_many(&self, _: RecordKind, _: &[&[u8]], _: Wait) -> (usize, Option<PutError>) {
        (0, Some(PutError::Closed))
    }

    fn lease(&self, _: Wait) -> Result<Lease, GetError> {
        Err(GetError::Empty)
    }

    fn lease_many(&self, _: usize, _: &mut Vec<Lease>, _: Wait) -> Result<usize, GetError> {
        Err(GetError::Empty)
    }

    fn qsize(&self) -> u64 {
        0
    }

    fn in_flight(&self) -> u64 {
        0
    }

    fn maxsize(&self) -> u64 {
        0
    }

    fn occupancy(&self) -> f64 {
        0.0
    }

    fn is_full(&self) -> bool {
        false
    }

    fn max_payload(&self) -> usize {
        usize::MAX
    }

    fn is_closed(&self) -> bool {
        false
    }

    fn close(&self) -> Result<(), PutError> {
        Ok(())
    }

    fn destroy(&self) -> Result<(), OpenError> {
        Ok(())
    }

    fn stats(&self) -> QueueStats {
        QueueStats::default()
    }
}

/// The only place here that knows how a descriptor comes by its backend.
fn descriptor(queue_id: &str, sink: &Sink) -> QueueDescriptor {
    QueueDescriptor::for_test(queue_id, Arc::new(sink.clone()))
}

fn router(targets: u32, strategy: impl Into<GroupStrategy>) -> (Router, Sink) {
    let sink = Sink::default();
    let connections = (0..targets)
        .map(|index| {
            let descriptor = descriptor(&format!("sink-{index}"), &sink);
            Connection::new(0, index, format!("sink-{index}"), descriptor)
                .with_full_policy(FullPolicy::Block { timeout: Some(std::time::Duration::MAX) })
        })
        .collect();
    let config = RouterConfig::new(connections).with_strategy(0, strategy);
    let mut router = Router::new(config).unwrap();
    // Opens the queues, which may allocate.
    let all = Packet::new("").with_strategy(PartitionStrategy::Broadcast);
    assert!(router.send(&all).is_complete());
    (router, sink)
}

fn strategies() -> [PartitionStrategy; 6] {
    [
        PartitionStrategy::RoundRobin { skip_full: false },
        PartitionStrategy::RoundRobin { skip_full: true },
        PartitionStrategy::Hash,
        PartitionStrategy::Broadcast,
        PartitionStrategy::LeastLoaded { full_scan: false },
        PartitionStrategy::LeastLoaded { full_scan: true },
    ]
}

#[test]
fn send_of_32_bytes_adds_no_allocation() {
    let packet = Packet::new([7; 32]).with_key(("tenant-7", 42));
    for strategy in strategies() {
        let (mut router, sink) = router(8, strategy);
        let count = allocations(|| {
            for _ in 0..100 {
                assert!(router.send(&packet).is_complete());
            }
        });
        assert_eq!(count, 0, "{strategy}");
        let bytes = sink.last.lock().unwrap();
        assert_eq!(PacketRef::decode(&bytes).unwrap().payload, [7; 32]);
    }
}

#[test]
fn forwarding_from_a_record_adds_no_allocation() {
    let packet = Packet::new([7; 32]).with_key("x".repeat(1000));
    let mut bytes = vec![0; packet.encoded_len()];
    packet.encode_into(&mut bytes).unwrap();
    let (mut router, _) = router(8, PartitionStrategy::Hash);
    let count = allocations(|| {
        let packet = PacketRef::decode(&bytes).unwrap();
        assert!(router.send_view(&packet).is_complete());
        assert!(router.send(&packet_of(&packet)).is_complete());
    });
    // The copy has two parts, payload and key: so the count is a count.
    assert_eq!(count, 2);
}

fn packet_of(view: &PacketRef<'_>) -> Packet {
    view.to_packet().unwrap()
}

#[test]
fn report_that_is_used_again_adds_no_allocation_for_any_number_of_targets() {
    let packet = Packet::new([7; 32]);
    let (mut router, _) = router(50, PartitionStrategy::Broadcast);
    let mut report = SendReport::new();
    let first = allocations(|| router.send_into(&packet.view(), &mut report));
    assert!(first > 0, "more than eight targets do not fit a report without memory");
    let count = allocations(|| {
        for _ in 0..100 {
            router.send_into(&packet.view(), &mut report);
        }
    });
    assert_eq!((count, report.delivered_count()), (0, 50));
}
