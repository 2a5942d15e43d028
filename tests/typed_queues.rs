//! Typed queues: values in, the same values out, and never a value of another type.

use std::time::Duration;

use ringway::error::{GetError, OpenError, PutError};
use ringway::queue::{
    DecodeError, DecodeFailure, QueueConfig, QueueDescriptor, RecordKind, Schema, TypedQueue, Wait,
    schema_tag,
};
use serde::{Deserialize, Serialize, Serializer};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    lines: Vec<(String, u32)>,
}

impl Schema for Order {
    const NAME: &'static str = "orders/v1";
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note<'a> {
    id: u64,
    text: &'a str,
}

fn order(id: u64) -> Order {
    Order { id, lines: vec![("bolt".repeat(id as usize), 3)] }
}

fn fresh() -> QueueDescriptor {
    QueueDescriptor::local_unnamed().unwrap()
}

/// Puts raw bytes into the queue below.
fn put_raw<T>(queue: &TypedQueue<T>, kind: RecordKind, bytes: &[u8]) {
    queue.queue().unwrap().put_record(kind, bytes, Wait::No).unwrap();
}

#[test]
fn values_come_out_as_they_went_in() {
    let orders = TypedQueue::<Order>::of(&fresh()).unwrap();
    for id in [0, 1, 5, 20, 1000] {
        orders.put(&order(id)).unwrap();
    }
    assert_eq!(orders.get().unwrap(), order(0));
    assert_eq!(orders.try_get().unwrap(), order(1));
    assert_eq!(orders.get_timeout(Duration::from_secs(9)).unwrap(), order(5));
    let lease = orders.clone().lease().unwrap();
    assert_eq!(lease.decode().unwrap(), order(20));
    drop(lease);
    let again = orders.try_lease().unwrap();
    assert!(again.record().redelivered());
    again.ack();
    assert_eq!(orders.get().unwrap(), order(1000));
    assert!(matches!(orders.try_get(), Err(GetError::Empty)));
}

#[test]
fn a_full_queue_leaves_the_value_with_the_caller() {
    let orders = TypedQueue::<Order>::of(&fresh().with_maxsize(1).unwrap()).unwrap();
    orders.put(&order(1)).unwrap();
    let second = order(2);
    assert!(matches!(orders.try_put(&second), Err(PutError::Full)));
    assert_eq!(orders.get().unwrap(), order(1));
    orders.put(&second).unwrap();
    assert_eq!(orders.get().unwrap(), second);
}

#[test]
fn borrowed_values_are_read_in_place() {
    let notes = TypedQueue::<Note<'static>>::new(&fresh(), "notes/v1").unwrap();
    let text = String::from("a text that is longer than the forty-eight bytes of an entry");
    notes.put_as(&Note { id: 7, text: &text }, Wait::No).unwrap();
    let lease = notes.lease().unwrap();
    let note: Note<'_> = lease.decode_as().unwrap();
    assert_eq!(note, Note { id: 7, text: &text });
    let record = lease.record().as_ptr_range();
    assert!(record.contains(&note.text.as_ptr()), "the text lies in the record");
    lease.ack();
}

#[test]
fn another_type_gets_a_mismatch_and_not_garbage() {
    let directory = tempfile::tempdir().unwrap();
    let shm = QueueDescriptor::shm("typed:ring").unwrap().with_directory(directory.path()).unwrap();
    for descriptor in [fresh(), shm] {
        let orders = TypedQueue::<Order>::of(&descriptor).unwrap();
        orders.put(&order(1)).unwrap();
        let notes = TypedQueue::<u64>::new(&descriptor, "numbers/v1").unwrap();
        let error = notes.get().unwrap_err();
        let GetError::Open(error) = error else { panic!("{error:?}") };
        assert!(matches!(*error, OpenError::ConfigMismatch { field: "schema", .. }), "{error}");
        let error = descriptor.queue().unwrap_err();
        assert!(matches!(error, OpenError::ConfigMismatch { field: "schema", .. }), "{error}");
        let newer = TypedQueue::<Order>::new(&descriptor, "orders/v2").unwrap();
        assert!(newer.queue().is_err());
        let queue = orders.queue().unwrap();
        let error = TypedQueue::<Order>::from_queue(queue.clone(), "orders/v2").unwrap_err();
        assert!(matches!(error, OpenError::ConfigMismatch { field: "schema", .. }), "{error}");
        let same = TypedQueue::<Order>::from_queue(queue, Order::NAME).unwrap();
        assert_eq!(same.get().unwrap(), order(1));
    }
}

#[test]
fn the_schema_travels_with_the_descriptor() {
    let typed = TypedQueue::<Order>::of(&fresh()).unwrap();
    let descriptor = typed.descriptor().unwrap();
    assert_eq!(descriptor.schema(), Some("orders/v1"));
    assert_eq!(descriptor.schema_tag(), schema_tag("orders/v1"));
    let read = QueueDescriptor::from_bytes(&descriptor.to_bytes()).unwrap();
    let error = TypedQueue::<u64>::new(&read, "numbers/v1").unwrap_err();
    assert!(matches!(error, OpenError::ConfigMismatch { field: "schema", .. }), "{error}");
    typed.put(&order(3)).unwrap();
    assert_eq!(TypedQueue::<Order>::of(&read).unwrap().get().unwrap(), order(3));
}

#[test]
fn tags_are_the_same_in_every_build() {
    // As the reference implementation prints it: `printf orders/v1 | xxhsum -H3`, 0.8.1.
    assert_eq!(schema_tag("orders/v1"), 0xb51a_80bc_3bcd_314c);
    assert_ne!(schema_tag("orders/v1"), schema_tag("orders/v2"));
}

#[test]
fn an_undecodable_record_is_handed_over_whole_and_does_not_come_back() {
    let numbers = TypedQueue::<(u64, bool)>::new(&fresh(), "numbers/v1").unwrap();
    put_raw(&numbers, RecordKind::TYPED, &[5, 9]);
    put_raw(&numbers, RecordKind::TYPED, &[5]);
    put_raw(&numbers, RecordKind::TYPED, &[5, 1, 77]);
    put_raw(&numbers, RecordKind::STOP, &[5, 1]);
    numbers.put(&(5, true)).unwrap();
    let mut failures = Vec::new();
    for bytes in [&[5, 9][..], &[5], &[5, 1, 77], &[5, 1]] {
        let error = numbers.get().unwrap_err();
        let decode = DecodeError::of(&error).unwrap();
        assert_eq!(decode.received.payload, bytes);
        assert!(error.to_string().contains("numbers/v1"), "{error}");
        failures.push(match &decode.reason {
            DecodeFailure::Malformed(_) => "malformed",
            DecodeFailure::Trailing(1) => "trailing",
            DecodeFailure::Kind(RecordKind::STOP) => "kind",
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(failures, ["malformed", "malformed", "trailing", "kind"]);
    assert_eq!(numbers.get().unwrap(), (5, true));
    let queue = numbers.queue().unwrap();
    assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
}

#[test]
fn an_undecodable_lease_stays_a_lease() {
    let numbers = TypedQueue::<u64>::new(&fresh(), "numbers/v1").unwrap();
    put_raw(&numbers, RecordKind::TYPED, &[]);
    let lease = numbers.lease().unwrap();
    assert!(matches!(lease.decode(), Err(DecodeFailure::Malformed(_))));
    drop(lease);
    let again = numbers.lease().unwrap().into_record();
    assert_eq!(again.delivery_count(), 2);
    again.ack();
}

#[test]
fn a_value_that_cannot_be_serialized_puts_nothing() {
    struct Grows(std::cell::Cell<usize>);
    impl Serialize for Grows {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            self.0.set(self.0.get() + 1);
            serializer.serialize_bytes(&vec![0; self.0.get()])
        }
    }
    struct Never;
    impl Serialize for Never {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    let queue = TypedQueue::<u64>::new(&fresh(), "numbers/v1").unwrap();
    let grows = Grows(std::cell::Cell::new(0));
    assert!(matches!(queue.put_as(&grows, Wait::No), Err(PutError::Other(_))));
    assert!(matches!(queue.put_as(&Never, Wait::No), Err(PutError::Other(_))));
    let config = QueueConfig { capacity_bytes: Some(4096), ..Default::default() };
    let small = TypedQueue::<Vec<u8>>::new(&fresh().with_config(config).unwrap(), "b/v1").unwrap();
    let huge = vec![0; small.queue().unwrap().max_payload()];
    assert!(matches!(small.put(&huge), Err(PutError::TooLarge { .. })));
    queue.put(&1).unwrap();
    assert_eq!(queue.get().unwrap(), 1);
}
