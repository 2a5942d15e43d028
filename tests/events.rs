//! Promises about what `tracing` is told: what happens rarely, once each; of ordinary packets nothing.
//!
//! A subscriber is one for the whole process, so all of it is in one test.

mod support;

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use ringway::queue::{Queue, QueueConfig, QueueDescriptor, Side};
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
    assert_eq!(told(), [""; 0], "the way of an ordinary packet");

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

    queue.close().unwrap();
    queue.close().unwrap();
    assert_eq!(told(), ["INFO closed queue=x:queue"]);

    drop(queue);
    assert_eq!(told(), [format!("DEBUG detached {segment} participant=1")]);
}
