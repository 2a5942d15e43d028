//! Promises about looking: snapshots say what the queues say, disturb nothing, and survive any
//! memory.

mod support;

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;

use proptest::prelude::*;
use ringway::queue::{BlockKind, Lease, Queue, QueueConfig, QueueDescriptor, RecordKind, Side};
use ringway::shm::inspect::{
    Entries, EntryOptions, EntrySnapshot, EntryState, HoldKind, RingSnapshot, RingState,
    SegmentSnapshot, copy_raw,
};
use ringway::shm::ring::stamp::State;
use ringway::shm::ring::{ProducerCache, Ring, RingStats};
use ringway::shm::segment::Segment;
use ringway::shm::storage::{Geometry, RingMemory};
use support::*;

const MODES: [(Side, Side, &str); 4] = [
    (Side::Single, Side::Single, "spsc"),
    (Side::Multi, Side::Single, "mpsc"),
    (Side::Single, Side::Multi, "spmc"),
    (Side::Multi, Side::Multi, "mpmc"),
];
const WHOLE: EntryOptions = EntryOptions { payload_bytes: usize::MAX, all: false };

fn descriptor(place: &Place, id: &str, producers: Side, consumers: Side) -> QueueDescriptor {
    let config = QueueConfig {
        maxsize: 8,
        capacity_packets: Some(32),
        capacity_bytes: Some(8192),
        producers,
        consumers,
        timestamps: true,
        ..QueueConfig::default()
    };
    let descriptor = QueueDescriptor::shm(id).unwrap().with_directory(place.dir.path()).unwrap();
    descriptor.with_config(config).unwrap()
}

fn look(place: &Place, segment: &str) -> SegmentSnapshot {
    let segment = Segment::open_readonly(&place.directory, &name(segment)).unwrap();
    SegmentSnapshot::take(&segment).unwrap()
}

fn entries(place: &Place, segment: &str, options: EntryOptions) -> Vec<EntrySnapshot> {
    let segment = Segment::open_readonly(&place.directory, &name(segment)).unwrap();
    Entries::of_segment(&segment, 0, options).unwrap().collect()
}

fn assert_same_numbers(ring: &RingSnapshot, queue: &Queue) {
    assert_eq!(ring.qsize, queue.qsize());
    assert_eq!(ring.in_flight, queue.in_flight());
    assert_eq!(ring.occupancy, queue.occupancy());
    assert_eq!(ring.geometry.maxsize, queue.maxsize());
    assert_eq!(ring.geometry.max_payload(), queue.max_payload());
    assert_eq!(ring.is_closed(), queue.is_closed());
    assert_eq!(ring.counters, queue.stats());
    assert!(ring.consistent);
    assert_eq!(ring.faults, []);
}

#[test]
fn a_snapshot_says_what_the_queue_says_in_every_mode() {
    for (producers, consumers, mode) in MODES {
        let place = place();
        let queue = descriptor(&place, "x", producers, consumers).queue().unwrap();
        let payloads: Vec<Vec<u8>> =
            [0, 5, 40, 41, 700].iter().map(|&len| vec![len as u8; len]).collect();
        for payload in &payloads {
            queue.put(payload).unwrap();
        }
        let snapshot = look(&place, "x");
        assert_same_numbers(&snapshot.rings[0], &queue);
        assert_eq!(snapshot.rings[0].mode(), mode);
        assert_eq!(
            (snapshot.name.as_deref(), snapshot.rings[0].name.as_str()),
            (Some("x"), "queue")
        );
        assert_eq!(snapshot.participants.len(), 1);
        assert_eq!(snapshot.participants[0].pid, std::process::id());
        assert_eq!(snapshot.participants[0].alive, Some(true));

        let leases: Vec<Lease> = (0..2).map(|_| queue.lease().unwrap()).collect();
        let snapshot = look(&place, "x");
        let ring = &snapshot.rings[0];
        assert_same_numbers(ring, &queue);
        assert_eq!((ring.qsize, ring.in_flight), (3, 2));
        assert_eq!(ring.holds.len(), 2, "{mode}: {:?}", ring.holds);
        for hold in &ring.holds {
            assert_eq!((hold.kind, hold.pid), (HoldKind::Reading, Some(std::process::id())));
            assert!(hold.age.is_some());
        }
        assert_eq!(ring.blocked_by.len(), 1);
        assert_eq!(ring.blocked_by[0].kind, BlockKind::Reading);
        assert_eq!(ring.blocked_by[0].position, ring.holds[0].position);
        let blocked = queue.ring().unwrap().blocked_by();
        assert_eq!((blocked[0].id, blocked[0].pid), (1, Some(std::process::id())));

        let found = entries(&place, "x", WHOLE);
        let shown: Vec<_> = found.iter().map(|entry| entry.payload.clone().unwrap()).collect();
        assert_eq!(shown, payloads, "{mode}");
        let states: Vec<_> = found.iter().map(|entry| entry.state).collect();
        use EntryState::{Reading, Ready};
        assert_eq!(states, [Reading, Reading, Ready, Ready, Ready], "{mode}");
        assert!(found.iter().all(|entry| entry.consistent && entry.fault.is_none()));
        assert!(found.iter().all(|entry| entry.put_at_ns.is_some_and(|ns| ns != 0)));

        // Acknowledged out of order: released, and not reclaimed yet.
        let mut leases = leases.into_iter();
        let first = leases.next();
        leases.next().unwrap().ack();
        assert_eq!(entries(&place, "x", WHOLE)[1].state, EntryState::Released, "{mode}");
        drop(first);
        assert_same_numbers(&look(&place, "x").rings[0], &queue);
        queue.close().unwrap();
        let ring = look(&place, "x").rings.remove(0);
        assert_eq!(ring.state, RingState::Closed);
        while queue.try_get().is_ok() {}
        assert_eq!(look(&place, "x").rings[0].qsize, 0);
    }
}

#[test]
fn every_entry_of_the_ring_is_shown_once_when_asked_for() {
    for (producers, consumers, _) in MODES {
        let place = place();
        let queue = descriptor(&place, "x", producers, consumers).queue().unwrap();
        for round in 0..9 {
            queue.put(&[round; 600]).unwrap();
            queue.get().unwrap();
        }
        queue.put(&[1; 600]).unwrap();
        queue.put(b"small").unwrap();
        let options = EntryOptions { payload_bytes: 4, all: true };
        let found = entries(&place, "x", options);
        let mut indices: Vec<_> = found.iter().map(|entry| entry.index).collect();
        indices.sort_unstable();
        assert_eq!(indices, (0..32).collect::<Vec<_>>());
        assert_eq!(found[0].payload.as_deref(), Some(&[1; 4][..]), "cut to what was asked for");
        assert_eq!(found[0].len, 600);
        let interior = found.iter().filter(|entry| entry.state == EntryState::Interior);
        assert_eq!(interior.count() as u64, found[0].n - 1);
        assert!(found.iter().all(|entry| entry.position % 32 == entry.index));
    }
}

#[test]
fn what_is_being_written_names_its_writer_and_shows_no_payload() {
    for (producers, consumers, mode) in MODES {
        let place = place();
        let queue = descriptor(&place, "x", producers, consumers).queue().unwrap();
        let mut reservation = queue.reserve(10).unwrap();
        reservation.copy_from_slice(b"unfinished");
        let ring = look(&place, "x").rings.remove(0);
        assert_eq!(ring.blocked_by.len(), 1, "{mode}");
        let blocker = ring.blocked_by[0];
        assert_eq!((blocker.kind, blocker.id), (BlockKind::Writing, 1));
        assert_eq!((blocker.pid, blocker.alive), (Some(std::process::id()), Some(true)));
        assert_eq!(queue.ring().unwrap().blocked_by()[0].kind, BlockKind::Writing);
        assert_eq!(ring.holds.len(), 1);
        assert_eq!(ring.holds[0].kind, HoldKind::Writing);
        let found = entries(&place, "x", WHOLE);
        assert_eq!((found.len(), found[0].state), (1, EntryState::Writing));
        assert_eq!((found[0].owner, &found[0].payload), (1, &None));
        reservation.commit().unwrap();
        assert_eq!(look(&place, "x").rings[0].blocked_by, []);
        assert_eq!(entries(&place, "x", WHOLE)[0].payload.as_deref(), Some(&b"unfinished"[..]));
    }
}

#[test]
fn a_sealed_ring_shows_its_seal_and_a_skipped_record_no_payload() {
    let place = place();
    let queue = descriptor(&place, "x", Side::Multi, Side::Multi).queue().unwrap();
    drop(queue.reserve(3).unwrap());
    queue.put(b"last").unwrap();
    let found = entries(&place, "x", WHOLE);
    assert_eq!(found[0].state, EntryState::Skipped);
    assert_eq!(found[0].payload, None);
    queue.close().unwrap();
    let last = queue.lease().unwrap();
    assert!(queue.try_get().is_err());
    let found = entries(&place, "x", WHOLE);
    assert_eq!(found.last().unwrap().state, EntryState::Sealed);
    drop(last);
}

#[test]
fn looking_changes_no_byte_and_a_copy_shows_the_same() {
    for (producers, consumers, _) in MODES {
        let place = place();
        let queue = descriptor(&place, "x", producers, consumers).queue().unwrap();
        queue.put(b"hello").unwrap();
        let lease = queue.lease().unwrap();
        queue.put(&[7; 500]).unwrap();
        let path = place.dir.path().join("x");
        let before = std::fs::read(&path).unwrap();
        let live = look(&place, "x");
        let live_entries = entries(&place, "x", WHOLE);
        assert!(std::fs::read(&path).unwrap() == before);

        let copy = place.dir.path().join("copy.raw");
        let segment = Segment::open_readonly(&place.directory, &name("x")).unwrap();
        let mut file = std::fs::File::create(&copy).unwrap();
        assert_eq!(copy_raw(&segment, &mut file).unwrap(), before.len() as u64);
        drop(lease);
        queue.destroy().unwrap();

        let copy = Segment::open_raw_file(&copy).unwrap();
        let snapshot = SegmentSnapshot::take(&copy).unwrap();
        assert!(snapshot.is_copy());
        assert_eq!(snapshot.uuid, live.uuid);
        assert_eq!(snapshot.participants[0].alive, None);
        let (old, new) = (&live.rings[0], &snapshot.rings[0]);
        assert_eq!(
            (old.qsize, old.in_flight, old.counters),
            (new.qsize, new.in_flight, new.counters)
        );
        assert_eq!(old.positions, new.positions);
        assert_eq!(new.holds.len(), 1);
        assert_eq!((new.holds[0].alive, new.holds[0].age), (None, None));
        assert_eq!(Entries::of_segment(&copy, 0, WHOLE).unwrap().collect::<Vec<_>>(), live_entries);
    }
}

#[test]
fn a_single_consumer_that_is_gone_leaves_returned_records_that_block_nobody() {
    let place = place();
    let queue = descriptor(&place, "x", Side::Multi, Side::Single).queue().unwrap();
    queue.put(b"held").unwrap();
    // A copy of the moment, in which nobody has the role any more.
    let lease = queue.lease().unwrap();
    let path = place.dir.path().join("x");
    let bytes = std::fs::read(&path).unwrap();
    lease.ack();
    queue.destroy().unwrap();
    drop(queue);
    std::fs::write(&path, bytes).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    let snapshot = look(&place, "x");
    let ring = &snapshot.rings[0];
    assert_eq!(snapshot.participants[0].alive, Some(false));
    assert_eq!(ring.consumer.unwrap().held, Some(false));
    assert_eq!(ring.blocked_by, []);
    assert_eq!((ring.holds[0].kind, ring.holds[0].id), (HoldKind::Returned, 0));
    assert_eq!(entries(&place, "x", WHOLE)[0].payload.as_deref(), Some(&b"held"[..]));
}

fn geometry_of(producers: Side, consumers: Side) -> Geometry {
    Geometry { log2_entries: 3, producers, consumers, unit_bytes: 512, ..geometry() }
}

/// Words that look like those of the ring, and words that look like nothing.
fn word() -> impl Strategy<Value = u64> {
    let bits = geometry_of(Side::Multi, Side::Multi).bits();
    prop_oneof![
        Just(0),
        Just(u64::MAX),
        any::<u64>(),
        0_u64..40,
        (0_u64..40).prop_map(|pos| pos << 3),
        (0_usize..8, 0_u64..40, 1_u64..=2, 0_u16..=1023)
            .prop_map(move |(state, pos, n, owner)| bits.pack(State::ALL[state], pos, n, owner)),
    ]
}

proptest! {
    #[test]
    fn any_memory_at_all_gives_a_snapshot_and_ends(
        mode in 0_usize..4,
        header in proptest::collection::vec(word(), 16),
        stamps in proptest::collection::vec(word(), 8),
        claims in proptest::collection::vec(word(), 8),
        takes in proptest::collection::vec(word(), 8),
        lens: [u32; 8],
        flags: [u32; 8],
    ) {
        let (producers, consumers, _) = MODES[mode];
        let geometry = geometry_of(producers, consumers);
        let memory = RingMemory::on_heap(geometry, geometry.bits().first_pos());
        let ring = Ring::new(memory);
        let to = ring.memory().header();
        let words = [
            &to.producers.tail, &to.producers.intent, &to.producers.extra_units, &to.producers.bytes,
            &to.consumers.head, &to.consumers.peek, &to.consumers.extra_units,
            &to.frontier.frontier, &to.hint.head_hint, &to.shared.first_pos, &to.shared.skipped,
            &to.get_waiters.words[0], &to.get_waiters.words[15], &to.put_waiters.words[0],
            &to.producers.high_water, &to.shared.large_claim,
        ];
        for (word, value) in words.into_iter().zip(&header) {
            word.store(*value, Relaxed);
        }
        to.shared.closed.store(header[0] as u32, Relaxed);
        to.shared.consumer_id.store(header[1] as u32, Relaxed);
        to.shared.producer_id.store(header[2] as u32, Relaxed);
        for pos in 0..8 {
            let entry = ring.memory().entry(pos);
            entry.stamp.store(stamps[pos as usize], Relaxed);
            entry.len.store(lens[pos as usize], Relaxed);
            entry.flags.store(flags[pos as usize], Relaxed);
            if producers == Side::Multi {
                ring.memory().claim(pos).store(claims[pos as usize], Relaxed);
            }
            if consumers == Side::Multi {
                ring.memory().take(pos).store(takes[pos as usize], Relaxed);
            }
        }
        let snapshot = RingSnapshot::of_local(&ring);
        prop_assert!(snapshot.qsize <= 8 && snapshot.in_flight <= 9);
        prop_assert!((0.0..=1.0).contains(&snapshot.occupancy));
        prop_assert!(snapshot.waiters.get.iter().all(|&id| (1..=1023).contains(&id)));
        let live = Entries::of_ring(&ring, WHOLE).collect::<Vec<_>>();
        prop_assert!(live.len() <= 8);
        for entry in &live {
            prop_assert!(entry.payload.as_ref().is_none_or(|bytes| bytes.len() <= 1024));
        }
        let all = Entries::of_ring(&ring, EntryOptions { payload_bytes: 16, all: true });
        let mut indices: Vec<_> = all.map(|entry| entry.index).collect();
        indices.sort_unstable();
        prop_assert_eq!(indices, (0..8).collect::<Vec<_>>());
    }
}

#[test]
fn garbage_is_named() {
    let geometry = geometry_of(Side::Multi, Side::Multi);
    let first = geometry.bits().first_pos();
    let ring = || Ring::new(RingMemory::on_heap(geometry, first));
    let faults = |ring: &Ring| -> Vec<_> {
        RingSnapshot::of_local(ring).faults.iter().map(|fault| fault.what).collect()
    };
    assert_eq!(faults(&ring()), Vec::<&str>::new());
    let broken = ring();
    broken.memory().header().frontier.frontier.store(first + 1, Relaxed);
    assert_eq!(faults(&broken), ["a frontier ahead of the head"]);
    let broken = ring();
    broken.memory().header().shared.closed.store(9, Relaxed);
    assert_eq!(faults(&broken), ["a closed word in no state"]);
    let broken = ring();
    let claim = broken.claim(&ProducerCache::default(), 1, 3).unwrap();
    broken.commit(&claim, 0, 5, true);
    assert_eq!(faults(&broken), Vec::<&str>::new());
    broken.memory().entry(first).len.store(49, Relaxed);
    assert_eq!(faults(&broken), ["a length beyond its record"]);
    broken.memory().entry(first).stamp.store(0, Relaxed);
    assert_eq!(faults(&broken), Vec::<&str>::new(), "it is still claimed");
    broken.memory().claim(first).store(0, Relaxed);
    assert_eq!(faults(&broken), ["claimed, but neither claim nor stamp says so"]);
}

/// A payload that names its number in every byte group, so that halves of two do not fit together.
fn numbered(number: u64, len: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(len).collect()
}

/// Ends the threads that look at it, also when the test fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn a_ring_at_full_speed_never_shows_half_a_record() {
    for (producers, consumers, mode) in MODES {
        let config = QueueConfig {
            capacity_packets: Some(16),
            producers,
            consumers,
            ..QueueConfig::default()
        };
        let queue = QueueDescriptor::local(&format!("inspect/{mode}")).unwrap();
        let queue = queue.with_config(config).unwrap().queue().unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0_u64;
                while !stop.load(SeqCst) {
                    let payload = numbered(number, 8 + (number % 90) as usize * 8);
                    let _ = queue.put_timeout(&payload, Duration::from_millis(10));
                    number += 1;
                }
            });
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    let _ = queue.get_timeout(Duration::from_millis(10));
                }
            });
            let _stop = StopOnDrop(&stop);
            let ring = queue.ring().unwrap().raw();
            let (mut whole, mut looks) = (0, 0);
            wait_until("enough records were seen", || {
                looks += 1;
                for entry in Entries::of_ring(ring, WHOLE) {
                    if let Some(payload) = &entry.payload {
                        assert!(entry.consistent);
                        assert_eq!(payload.len(), entry.len as usize);
                        let number = payload[..8].try_into().map(u64::from_le_bytes).unwrap();
                        assert!(*payload == numbered(number, payload.len()), "{mode}: torn");
                        whole += 1;
                    }
                    assert_eq!(entry.fault, None, "{mode}: {entry:?}");
                }
                let snapshot = RingSnapshot::of_local(ring);
                assert_eq!(snapshot.faults, [], "{mode}");
                whole > 5_000 && looks > 2_000
            });
        });
        let quiet = RingSnapshot::of_local(queue.ring().unwrap().raw());
        assert_same_numbers(&quiet, &queue);
    }
}

#[test]
fn waiters_and_kinds_are_shown() {
    let place = place();
    let descriptor = descriptor(&place, "x", Side::Multi, Side::Multi);
    let queue = descriptor.queue().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| queue.get().unwrap());
        wait_until("it sleeps", || look(&place, "x").rings[0].waiters.get == [1]);
        queue.put(b"wake").unwrap();
    });
    queue.put_record(RecordKind::STOP, b"stop", ringway::queue::Wait::No).unwrap();
    let lease = queue.lease().unwrap();
    drop(lease);
    let found = entries(&place, "x", WHOLE);
    assert_eq!((found[0].kind, found[0].state), (2, EntryState::Returned));
    drop(queue.lease().unwrap());
    assert_eq!(entries(&place, "x", WHOLE)[0].redeliveries, 1);
    assert_ne!(look(&place, "x").rings[0].counters, RingStats::default());
}

#[test]
fn a_record_that_runs_over_the_end_of_the_ring_is_shown_whole() {
    let place = place();
    for (producers, consumers, mode) in MODES {
        let queue = descriptor(&place, mode, producers, consumers).queue().unwrap();
        // 32 units of 256 bytes: records of 3 units end at 3, 6, ... 30, 33.
        for number in 0_u64..64 {
            let payload: Vec<u8> = (0..700).map(|at| (number as usize * 7 + at) as u8).collect();
            queue.put(&payload).unwrap();
            let found = entries(&place, mode, WHOLE);
            assert_eq!(found.last().unwrap().payload.as_ref(), Some(&payload), "{mode} {number}");
            assert_eq!(queue.get().unwrap().payload, payload);
        }
    }
}
