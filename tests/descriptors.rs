//! Descriptors in use: one queue for all clones, opened once, never lost by accident.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use ringway::error::{GetError, OpenError, PutError};
use ringway::queue::{
    Queue, QueueBackend, QueueConfig, QueueDescriptor, RecordKind, RegisterError, Side, Wait,
    register_queue_type, unregister_queue_type,
};
use ringway::shm::Lifetime;
use serde_json::{Map, json};

type TestResult = Result<(), Box<dyn std::error::Error>>;

/// A registered kind that counts how often it is opened, and opens one local queue.
fn counting_kind(queue_type: &str) -> Arc<AtomicUsize> {
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    register_queue_type(queue_type, move |descriptor| {
        counter.fetch_add(1, SeqCst);
        // Gives the others time to come in at the same moment.
        thread::yield_now();
        let id = format!("{}/{}", descriptor.queue_type(), descriptor.queue_id());
        Ok(Arc::clone(QueueDescriptor::local(&id)?.queue()?.backend()))
    })
    .unwrap();
    opened
}

fn of_kind(queue_type: &str) -> QueueDescriptor {
    QueueDescriptor::registered(queue_type, Map::new()).unwrap()
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// One descriptor of each ring-made kind and lifetime, in a directory of its own.
fn one_of_each() -> (tempfile::TempDir, Vec<QueueDescriptor>) {
    let directory = tempfile::tempdir().unwrap();
    let shm = |id| QueueDescriptor::shm(id).unwrap().with_directory(directory.path()).unwrap();
    let all = vec![
        QueueDescriptor::local_unnamed().unwrap(),
        QueueDescriptor::local_unnamed().unwrap().with_lifetime(Lifetime::Keep).unwrap(),
        shm("ephemeral:ring"),
        shm("keep:ring").with_lifetime(Lifetime::Keep).unwrap(),
    ];
    (directory, all)
}

#[test]
fn a_descriptor_as_a_value_touches_no_queue() {
    let opened = counting_kind("value-kind");
    let descriptor = of_kind("value-kind");
    let copy = descriptor.clone();
    assert_eq!(copy, descriptor);
    let _ = (hash_of(&copy), format!("{copy} {copy:?}"), copy.to_json(), copy.to_bytes());
    let _ = (copy.to_dict(), copy.to_serializable_descriptor(), copy.is_open());
    let _ = copy.clone_with_id("other").unwrap();
    copy.clear_cache();
    assert_eq!(opened.load(SeqCst), 0);
    copy.put(b"x").unwrap();
    assert_eq!(opened.load(SeqCst), 1);
}

#[test]
fn sixteen_threads_open_one_descriptor_once() {
    let opened = counting_kind("race-kind");
    for round in 1..=100 {
        let descriptor = of_kind("race-kind");
        let start = Barrier::new(16);
        let queues: Vec<Queue> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| {
                    let (clone, start) = (descriptor.clone(), &start);
                    scope.spawn(move || {
                        start.wait();
                        clone.queue().unwrap()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(queues.iter().all(|queue| queue.same_instance(&queues[0])));
        assert_eq!(opened.load(SeqCst), round);
    }
}

#[test]
fn sixteen_threads_with_descriptors_of_their_own_get_one_local_queue() {
    for _ in 0..50 {
        let json = QueueDescriptor::local_unnamed().unwrap().to_json();
        let start = Barrier::new(16);
        let descriptors: Vec<QueueDescriptor> = thread::scope(|scope| {
            let threads: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        let own = QueueDescriptor::from_json(&json).unwrap();
                        start.wait();
                        own.put(b"x").unwrap();
                        own
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(descriptors[0].qsize().unwrap(), 16);
    }
}

#[test]
fn clones_are_the_same_queue_whichever_was_used_first() {
    let (_directory, all) = one_of_each();
    for descriptor in all {
        let before = descriptor.clone();
        descriptor.put(b"1").unwrap();
        let after = descriptor.clone();
        let read = QueueDescriptor::from_json(&descriptor.to_json()).unwrap();
        let queue = descriptor.queue().unwrap();
        assert!(before.queue().unwrap().same_instance(&queue), "{descriptor}");
        assert!(after.queue().unwrap().same_instance(&queue), "{descriptor}");
        after.put(b"2").unwrap();
        read.put(b"3").unwrap();
        assert_eq!(before.qsize().unwrap(), 3);
        assert_eq!(read.get().unwrap().payload, b"1");
        assert_eq!(before.get().unwrap().payload, b"2");
        drop((descriptor, after, read, queue));
        assert_eq!(before.get().unwrap().payload, b"3");
    }
}

#[test]
fn a_clone_with_another_id_is_another_queue_of_the_same_configuration() {
    let (_directory, all) = one_of_each();
    for descriptor in all {
        let descriptor = descriptor.with_maxsize(1).unwrap();
        let other = descriptor.clone_with_id("other").unwrap();
        assert_ne!(descriptor, other);
        assert_eq!(descriptor.config(), other.config());
        assert_eq!(descriptor.lifetime(), other.lifetime());
        descriptor.put(b"x").unwrap();
        assert!(other.is_empty().unwrap());
        other.put(b"y").unwrap();
        assert!(matches!(other.try_put(b"z"), Err(PutError::Full)));
        assert!(descriptor.clone_with_id("").is_err());
        assert!(descriptor.clone_with_id("a b").is_err());
        other.destroy().unwrap();
    }
}

#[test]
#[expect(clippy::mutable_key_type, reason = "the hash does not depend on what is open")]
fn equality_and_hash_depend_on_kind_and_name_alone() -> TestResult {
    let a = QueueDescriptor::local("eq/a")?;
    let same = a.with_maxsize(7)?.with_lifetime(Lifetime::Keep)?;
    let shm = QueueDescriptor::shm("eq/a")?;
    assert_eq!(a, same);
    assert_eq!(hash_of(&a), hash_of(&same));
    assert_ne!(a, QueueDescriptor::local("eq/b")?);
    assert_ne!(a, shm);
    assert_eq!(shm, QueueDescriptor::shm("eq/a:queue")?);
    assert_ne!(shm, QueueDescriptor::shm("eq/a:other")?);

    same.queue()?;
    let set = HashSet::from([a.clone(), same.clone(), shm.clone(), shm.clone()]);
    assert_eq!(set.len(), 2);

    let unknown = |text| QueueDescriptor::from_json(text);
    let x = unknown(r#"{"queue_type": "x", "queue_id": "1", "color": "red"}"#)?;
    let y = unknown(r#"{"queue_type": "x", "queue_id": "1", "color": "blue"}"#)?;
    assert_eq!((&x, hash_of(&x)), (&y, hash_of(&y)));
    let nameless_red = unknown(r#"{"queue_type": "x", "color": "red"}"#)?;
    let nameless_blue = unknown(r#"{"queue_type": "x", "color": "blue"}"#)?;
    assert_ne!(nameless_red, nameless_blue);
    assert_ne!(nameless_red, x);
    same.destroy()?;
    Ok(())
}

#[test]
fn a_failed_open_is_not_remembered() {
    let attempts = AtomicUsize::new(0);
    register_queue_type("flaky-kind", move |_| match attempts.fetch_add(1, SeqCst) {
        0 => Err(OpenError::NotFound { path: "nowhere".into() }),
        1 => panic!("a factory may panic"),
        _ => Ok(Arc::clone(QueueDescriptor::local("flaky")?.queue()?.backend())),
    })
    .unwrap();
    let descriptor = of_kind("flaky-kind");
    let error = descriptor.put(b"x").unwrap_err();
    let PutError::Open(error) = error else { panic!("{error:?}") };
    assert!(matches!(*error, OpenError::NotFound { .. }));
    let clone = descriptor.clone();
    assert!(thread::spawn(move || clone.try_get().map(drop)).join().is_err());
    descriptor.put(b"x").unwrap();
    assert_eq!(descriptor.get().unwrap().payload, b"x");
}

#[test]
fn clear_cache_never_loses_packets() {
    let (_directory, all) = one_of_each();
    for descriptor in all {
        for n in 0_u8..10 {
            descriptor.put(&[n]).unwrap();
            descriptor.clear_cache();
            assert!(!descriptor.is_open());
            descriptor.trim();
        }
        let lease = descriptor.lease_timeout(Duration::from_secs(20)).unwrap();
        descriptor.clear_cache();
        assert_eq!(*lease, [0], "a lease keeps its memory");
        drop(lease);
        // What was given back may come out of order.
        let mut got: Vec<_> = (0..10)
            .map(|_| {
                let received = descriptor.get_timeout(Duration::from_secs(20)).unwrap();
                descriptor.clear_cache();
                (received.payload[0], received.redelivered)
            })
            .collect();
        got.sort_unstable();
        let expected: Vec<_> = (0..10).map(|n| (n, n == 0)).collect();
        assert_eq!(got, expected, "{descriptor}");
        assert!(descriptor.is_empty().unwrap());
    }
}

/// Says that the test is over, also when it fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

#[test]
fn clear_cache_under_load_loses_nothing() {
    const PACKETS: u64 = 2_000;
    let (_directory, all) = one_of_each();
    for descriptor in all {
        let over = AtomicBool::new(false);
        let sum = thread::scope(|scope| {
            let _done = Done(&over);
            scope.spawn(|| {
                let put = descriptor.clone();
                (0..PACKETS).for_each(|n| put.put(&n.to_le_bytes()).unwrap());
            });
            scope.spawn(|| {
                while !over.load(SeqCst) {
                    descriptor.clear_cache();
                    thread::yield_now();
                }
            });
            (0..PACKETS)
                .map(|_| {
                    let received = descriptor.get_timeout(Duration::from_secs(20)).unwrap();
                    u64::from_le_bytes(received.payload.try_into().unwrap())
                })
                .sum::<u64>()
        });
        assert_eq!(sum, PACKETS * (PACKETS - 1) / 2, "{descriptor}");
    }
}

#[test]
fn a_destroyed_queue_stays_destroyed_until_the_cache_is_cleared() {
    let (_directory, all) = one_of_each();
    for descriptor in all {
        descriptor.put(b"x").unwrap();
        let clone = descriptor.clone();
        let stranger = QueueDescriptor::from_json(&descriptor.to_json()).unwrap();
        stranger.destroy().unwrap();
        for user in [&descriptor, &clone] {
            assert!(matches!(user.try_put(b"y"), Err(PutError::Destroyed)), "{user}");
            assert!(matches!(user.try_get(), Err(GetError::Destroyed)), "{user}");
        }
        descriptor.destroy().unwrap();
        clone.clear_cache();
        assert!(descriptor.is_empty().unwrap());
        descriptor.put(b"new").unwrap();
        assert_eq!(stranger.get().unwrap().payload, b"new");
        stranger.destroy().unwrap();
    }
}

#[test]
fn destroying_what_is_not_open_makes_nothing() {
    let (directory, all) = one_of_each();
    for descriptor in all {
        descriptor.destroy().unwrap();
        assert!(!descriptor.is_open());
    }
    // The place for segments may have been made, in a directory that others may read; nothing in it.
    let empty = |path: &std::path::Path| path.is_dir() && path.read_dir().unwrap().count() == 0;
    let left = directory.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = left.filter(|path| !empty(path)).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_local_queue_lives_as_its_lifetime_says() -> TestResult {
    let ephemeral = QueueDescriptor::local("lifetime/ephemeral")?;
    let json = ephemeral.to_json();
    let unused = ephemeral.to_serializable_descriptor();
    ephemeral.put(b"x")?;
    drop(ephemeral);
    assert!(unused.is_empty()?, "an unused descriptor holds nothing");
    assert!(QueueDescriptor::from_json(&json)?.is_empty()?);

    let keep = QueueDescriptor::local("lifetime/keep")?.with_lifetime(Lifetime::Keep)?;
    let json = keep.to_json();
    keep.put(b"x")?;
    drop(keep);
    let again = QueueDescriptor::from_json(&json)?;
    assert_eq!(again.try_get()?.payload, b"x");
    again.destroy()?;
    Ok(())
}

#[test]
fn the_same_local_id_with_another_configuration_is_a_mismatch() {
    let base = QueueConfig { max_deliveries: 5, ..Default::default() };
    let first = QueueDescriptor::local("mismatch").unwrap().with_config(base.clone()).unwrap();
    first.put(b"x").unwrap();
    let different = [
        ("maxsize", QueueConfig { maxsize: 5, ..base.clone() }),
        ("capacity_packets", QueueConfig { capacity_packets: Some(8), ..base.clone() }),
        ("capacity_bytes", QueueConfig { capacity_bytes: Some(1 << 20), ..base.clone() }),
        ("capacity_bytes", QueueConfig { max_payload: Some(1 << 20), ..base.clone() }),
        ("producers", QueueConfig { producers: Side::Single, ..base.clone() }),
        ("consumers", QueueConfig { consumers: Side::Single, ..base.clone() }),
        ("timestamps", QueueConfig { timestamps: true, ..base.clone() }),
        ("max_deliveries", QueueConfig { max_deliveries: 3, ..base.clone() }),
        ("dead_letter", QueueConfig { dead_letter: Some("dead".into()), ..base.clone() }),
        ("schema", QueueConfig { schema: Some("a/v1".into()), ..base.clone() }),
    ];
    for (expected, config) in different {
        let other = QueueDescriptor::local("mismatch").unwrap().with_config(config).unwrap();
        match other.queue() {
            Err(OpenError::ConfigMismatch { field, ours, theirs, queue }) => {
                assert_eq!((field, &*queue), (expected, "mismatch"));
                assert_ne!(ours, theirs);
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    let keep = first.with_lifetime(Lifetime::Keep).unwrap();
    let error = keep.queue().unwrap_err();
    assert!(matches!(error, OpenError::ConfigMismatch { field: "lifetime", .. }), "{error}");
    let spelled = QueueConfig { capacity_packets: Some(4096), ..base };
    let spelled = first.with_config(spelled).unwrap();
    assert_eq!(spelled.get().unwrap().payload, b"x", "the same shape in other words");
}

#[test]
fn using_an_unknown_type_names_it_and_registering_makes_it_work() -> TestResult {
    let text = r#"{"queue_type":"late-kind","queue_id":"7","servers":["a","b"]}"#;
    let descriptor = QueueDescriptor::from_json(text)?;
    match descriptor.queue() {
        Err(OpenError::UnknownType { queue_type }) => assert_eq!(queue_type, "late-kind"),
        other => panic!("{other:?}"),
    }
    let seen = Arc::new(std::sync::Mutex::new(None));
    let see = Arc::clone(&seen);
    register_queue_type("late-kind", move |descriptor| {
        *see.lock().unwrap() = descriptor.field("servers").cloned();
        Ok(Arc::clone(QueueDescriptor::local("late")?.queue()?.backend()))
    })?;
    descriptor.put(b"x")?;
    assert_eq!(*seen.lock().unwrap(), Some(json!(["a", "b"])));
    assert_eq!(descriptor.get()?.payload, b"x");
    assert!(unregister_queue_type("late-kind"));
    assert!(!unregister_queue_type("late-kind"));
    descriptor.put(b"open queues stay open")?;
    let fresh = QueueDescriptor::from_json(text)?;
    assert!(matches!(fresh.queue(), Err(OpenError::UnknownType { .. })));
    Ok(())
}

#[test]
fn a_type_is_registered_once_and_not_in_place_of_ours() {
    counting_kind("twice");
    let fail = |_: &QueueDescriptor| -> Result<Arc<dyn QueueBackend>, OpenError> {
        Err(OpenError::NotFound { path: "x".into() })
    };
    let twice = RegisterError::AlreadyRegistered { queue_type: "twice".into() };
    assert_eq!(register_queue_type("twice", fail), Err(twice));
    for reserved in ["local", "shm", ""] {
        let expected = RegisterError::Reserved { queue_type: reserved.into() };
        assert_eq!(register_queue_type(reserved, fail), Err(expected));
    }
    assert!(ringway::queue::registered_queue_types().contains(&"twice".to_owned()));
    of_kind("twice").put(b"x").unwrap();
}

#[test]
fn every_operation_works_on_every_ring_made_kind() {
    let (_directory, all) = one_of_each();
    for base in all {
        let id = format!("{}-ops", base.queue_id().split(':').next().unwrap());
        let queue = base.clone_with_id(&id).unwrap().with_maxsize(3).unwrap();
        queue.put(b"a").unwrap();
        queue.put_timeout(b"b", Duration::from_secs(9)).unwrap();
        queue.put_record(RecordKind::STOP, b"c", Wait::No).unwrap();
        assert!(matches!(queue.try_put(b"d"), Err(PutError::Full)));
        let soon = Duration::from_millis(1);
        assert!(matches!(queue.put_timeout(b"d", soon), Err(PutError::Timeout)));
        assert!(matches!(queue.put_deadline(b"d", Instant::now()), Err(PutError::Timeout)));
        assert_eq!((queue.qsize().unwrap(), queue.maxsize().unwrap()), (3, 3));
        assert!(queue.is_full().unwrap() && queue.occupancy().unwrap() >= 1.0);

        let lease = queue.lease().unwrap();
        let second = queue.try_lease().unwrap();
        assert_eq!((&*lease, &*second, queue.in_flight().unwrap()), (&b"a"[..], &b"b"[..], 2));
        second.ack();
        drop(lease);
        let (back, third) = (queue.get().unwrap(), queue.try_get().unwrap());
        // What was given back may come out of order.
        let (back, third) = if back.redelivered { (back, third) } else { (third, back) };
        assert_eq!((&*back.payload, back.redelivered, back.delivery_count), (&b"a"[..], true, 2));
        assert_eq!((&*third.payload, third.kind), (&b"c"[..], RecordKind::STOP));
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
        assert!(matches!(queue.get_timeout(soon), Err(GetError::Timeout)));
        assert!(matches!(queue.lease_timeout(soon), Err(GetError::Timeout)));
        assert!(matches!(queue.get_deadline(Instant::now()), Err(GetError::Timeout)));

        let mut room = queue.reserve(3).unwrap();
        room.copy_from_slice(b"xyz");
        room.commit_len(2).unwrap();
        drop(queue.try_reserve(1).unwrap());
        assert_eq!(queue.get().unwrap().payload, b"xy");

        queue.put_many(&[b"1", b"2"]).unwrap();
        let error = queue.try_put_many(&[b"3", b"4"]).unwrap_err();
        assert_eq!(error.put, 1);
        assert!(matches!(error.error, PutError::Full));
        assert!(queue.get_many(0).unwrap().is_empty());
        let got: Vec<_> = queue.get_many(2).unwrap().into_iter().map(|it| it.payload).collect();
        assert_eq!(got, [b"1", b"2"]);
        let leases = queue.lease_many(9, Wait::No).unwrap();
        assert_eq!(leases.len(), 1);

        let max = queue.max_payload().unwrap();
        let error = queue.put(&vec![0; max + 1]).unwrap_err();
        assert!(
            matches!(error, PutError::TooLarge { len, max: most } if len == max + 1 && most == max)
        );

        queue.close().unwrap();
        assert!(queue.is_closed().unwrap());
        assert!(matches!(queue.put(b"late"), Err(PutError::Closed)));
        drop(leases);
        assert_eq!(queue.try_get_many(9).unwrap()[0].payload, b"3");
        assert!(matches!(queue.get(), Err(GetError::Closed)));
        assert!(queue.is_empty().unwrap());
        assert!(queue.stats().unwrap().puts >= 7);
        queue.destroy().unwrap();
    }
}

#[test]
fn threads_of_one_descriptor_wake_each_other() {
    let descriptor = QueueDescriptor::local_unnamed().unwrap().with_maxsize(1).unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            let clone = descriptor.clone();
            scope.spawn(move || (0..500).for_each(|_| clone.put(b"x").unwrap()));
        }
        for _ in 0..1000 {
            descriptor.get_timeout(Duration::from_secs(20)).unwrap();
        }
    });
    assert!(descriptor.is_empty().unwrap());
}
