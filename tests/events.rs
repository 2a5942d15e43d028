//! Promises about what `tracing` is told: what happens rarely, once each; of ordinary packets nothing.
//!
//! A subscriber is one for the whole process, so all of it is in one test.

mod support;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringway::queue::{Queue, QueueConfig, QueueDescriptor, RecordKind, Side, Wait};
use ringway::shm::segment::Segment;
use support::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps `LEVEL message field=value …` of every event, at every level.
struct Keeper;

impl tracing::Subscriber for Keeper {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, _: &Attributes<'_>) -> Id {
        panic!("the library makes no spans")
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_str(&mut self, field: &Field, value: &str) {
                let _ = write!(self.0, " {}={value}", field.name());
            }
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                match field.name() {
                    "message" => self.0.insert_str(0, &format!("{value:?}")),
                    name => _ = write!(self.0, " {name}={value:?}"),
                }
            }
        }
        assert_eq!(event.metadata().target(), "ringway");
        let mut line = Line(String::new());
        event.record(&mut line);
        let line = format!("{} {}", event.metadata().level(), line.0);
        let line = line.replace("\"", "");
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// What was told since the last call.
fn told() -> Vec<String> {
    std::mem::take(&mut *SEEN.lock().unwrap_or_else(PoisonError::into_inner))
}

fn queue(place: &std::path::Path, id: &str) -> Queue {
    let config = QueueConfig {
        capacity_packets: Some(16),
        max_deliveries: 2,
        producers: Side::Multi,
        consumers: Side::Multi,
        ..QueueConfig::default()
    };
    let descriptor = QueueDescriptor::shm(id).unwrap().with_directory(place).unwrap();
    descriptor.with_config(config).unwrap().queue().unwrap()
}

/// Not a test of its own: what helper processes run.
#[test]
fn helper() {
    let Some((job, directory)) = helper_job() else { return };
    let queue = queue(directory.path(), "x");
    match job.as_str() {
        "lease" => {
            let _lease = queue.lease().unwrap();
            tell("ready", "");
            wait_for_parent();
        }
        "reserve" => {
            let _reservation = queue.reserve(4).unwrap();
            tell("ready", "");
            wait_for_parent();
        }
        other => panic!("unknown job {other}"),
    }
}

#[test]
fn what_happens_rarely_is_told_once_and_ordinary_packets_never() {
    tracing::subscriber::set_global_default(Keeper).unwrap();
    let place = place();
    let queue = queue(place.dir.path(), "x");
    let path = place.dir.path().join("x");
    let segment = format!("segment={}", path.display());
    // While it was made, its file had no name, and it has one to its users.
    assert_eq!(told(), [format!("DEBUG attached {segment} participant=1")]);

    for number in 0..1000_u32 {
        queue.put(&number.to_le_bytes()).unwrap();
        queue.get().unwrap();
    }
    let _ = (queue.try_get(), queue.stats(), queue.snapshot());
    queue.put_many(&[b"a", b"b", b"c"]).unwrap();
    assert_eq!(queue.get_many(3).unwrap().len(), 3);
    queue.reserve(4).unwrap().commit().unwrap();
    queue.lease().unwrap().ack();
    while queue.try_put(b"until it is full").is_ok() {}
    while queue.try_get().is_ok() {}
    assert_eq!(told(), [""; 0], "the way of an ordinary packet");
    ordinary_packets_of_single_sided_rings();

    // A consumer that died: adopted by the next.
    queue.put(b"held").unwrap();
    let mut helper = Helper::start("lease", &place);
    helper.expect("ready");
    helper.kill();
    let mut got = None;
    wait_until("the packet comes again", || {
        got = queue.try_lease().ok();
        got.is_some()
    });
    let position = queue.snapshot().unwrap().holds[0].position;
    let redelivered =
        |times| format!("INFO redelivered queue=x:queue position={position} redeliveries={times}");
    assert_eq!(told(), [redelivered(1)]);
    // Given back: twice is too often.
    drop(got);
    assert!(queue.try_get().is_err());
    let letter =
        format!("WARN dead letter queue=x:queue position={position} redeliveries=2 to=nowhere");
    assert_eq!(told(), [redelivered(2), letter]);

    // A producer that died: its claim is passed over.
    let mut helper = Helper::start("reserve", &place);
    helper.expect("ready");
    queue.put(b"behind").unwrap();
    helper.kill();
    wait_until("what is behind it comes", || queue.try_get().is_ok());
    let skipped = told();
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert!(skipped[0].starts_with("INFO skipped what a dead writer claimed queue=x:queue"));

    // A consumer that died with the room that a producer needs: its packet is given back.
    queue.put(b"held").unwrap();
    let mut helper = Helper::start("lease", &place);
    helper.expect("ready");
    while queue.try_put(b"fills").is_ok() {}
    assert_eq!(told(), [""; 0]);
    helper.kill();
    wait_until("what it held is given back", || {
        // Whoever waits for room looks for the dead.
        assert!(queue.put_timeout(b"one more", Duration::from_millis(1)).is_err());
        queue.snapshot().unwrap().holds[0].kind.name() == "returned"
    });
    assert_eq!(told(), ["INFO returned what dead readers held queue=x:queue"]);
    while queue.try_get().is_ok() {}
    assert!(told()[0].starts_with("INFO redelivered queue=x:queue"));

    // Fresh ids first; when there are no more, whoever joins takes over that of a dead participant.
    let of = |what: &str, id: u16| format!("{what} {segment} participant={id}");
    let mut joined = Vec::new();
    loop {
        joined.push(Segment::attach(&place.directory, &name("x"), "successor").unwrap());
        let id = joined.last().unwrap().participant_id();
        let told = told();
        if told != [of("DEBUG attached", id)] {
            assert_eq!(told, [of("INFO recovered participant", id), of("DEBUG attached", id)]);
            break;
        }
    }
    let ids: Vec<_> = joined.iter().map(|one| one.participant_id()).collect();
    drop(joined);
    assert_eq!(told(), ids.iter().map(|&id| of("DEBUG detached", id)).collect::<Vec<_>>());

    queue.close().unwrap();
    queue.close().unwrap();
    assert_eq!(told(), ["INFO closed queue=x:queue"]);

    drop(queue);
    assert_eq!(told(), [format!("DEBUG detached {segment} participant=1")]);
    dead_letters_are_told_with_where_they_went();
}

/// Rings with one producer and one consumer, on the heap: no segment is attached.
fn ordinary_packets_of_single_sided_rings() {
    let config = QueueConfig {
        capacity_packets: Some(16),
        producers: Side::Single,
        consumers: Side::Single,
        ..QueueConfig::default()
    };
    let descriptor = QueueDescriptor::local("ordinary").unwrap().with_config(config).unwrap();
    let queue = descriptor.queue().unwrap();
    let ring = queue.backend().ring().unwrap();
    let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
    for number in 0..100_u32 {
        producer.put(RecordKind::RAW, &number.to_le_bytes(), Wait::No).unwrap();
        consumer.get_with(Wait::No, |bytes, _| assert_eq!(bytes, number.to_le_bytes())).unwrap();
    }
    while producer.put(RecordKind::RAW, b"until it is full", Wait::No).is_ok() {}
    while consumer.get_with(Wait::No, |_, _| ()).is_ok() {}
    assert_eq!(told(), [""; 0], "the way of an ordinary packet");
}

fn dead_letters_are_told_with_where_they_went() {
    let letters = QueueDescriptor::local("letters").unwrap();
    let config = QueueConfig {
        max_deliveries: 1,
        dead_letter: Some("letters".to_owned()),
        ..QueueConfig::default()
    };
    let poison = QueueDescriptor::local("poison").unwrap().with_config(config).unwrap();
    let (letters, poison) = (letters.queue().unwrap(), poison.queue().unwrap());
    poison.put(b"poison").unwrap();
    drop(poison.lease().unwrap());
    assert!(poison.try_get().is_err());
    let told = told();
    let last = told.last().unwrap();
    assert!(last.starts_with("WARN dead letter queue=poison position="), "{told:?}");
    assert!(last.ends_with("redeliveries=1 to=ring"), "{told:?}");
    assert_eq!(letters.get().unwrap().payload, b"poison");
}
