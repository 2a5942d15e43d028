//! What `instructions.sh` counts: each operation in a function of its own that is not inlined, so
//! that callgrind can tell how many instructions it took, callees included.
//!
//! Prints how many operations each function did, for the script to divide by.

use std::hint::black_box;

use ringway::queue::{Consumer, Lease, Producer, RecordKind, Wait};
use ringway::shm::storage::Side;
use ringway::{QueueConfig, QueueDescriptor};

const LAPS: usize = 200;
const PACKETS: usize = 512;
const BATCH: usize = 32;

fn ends(side: Side) -> (Producer, Consumer) {
    let config = QueueConfig {
        capacity_packets: Some(1024),
        capacity_bytes: Some(1024 * 256),
        producers: side,
        consumers: side,
        ..QueueConfig::default()
    };
    let descriptor = QueueDescriptor::local_unnamed().and_then(|queue| queue.with_config(config));
    let queue = descriptor.and_then(|queue| queue.queue()).expect("a local queue");
    let ring = queue.backend().ring().expect("a ring");
    (ring.producer().expect("the producer's side"), ring.consumer().expect("the consumer's side"))
}

/// Puts what a counted function takes.
fn fill(producer: &mut Producer, payload: &[u8]) {
    for _ in 0..PACKETS {
        producer.put(RecordKind::RAW, payload, Wait::No).expect("room");
    }
}

/// Defines, for one mode, the functions that are counted.
macro_rules! counted {
    ($mode:ident, $side:expr) => {
        mod $mode {
            use super::{BATCH, Consumer, Lease, PACKETS, Producer, RecordKind, Wait, black_box};

            #[inline(never)]
            pub(crate) fn counted_put(producer: &mut Producer, payload: &[u8]) {
                for _ in 0..PACKETS {
                    producer.put(RecordKind::RAW, black_box(payload), Wait::No).expect("room");
                }
            }

            #[inline(never)]
            pub(crate) fn counted_get(consumer: &mut Consumer, got: &mut Vec<u8>) {
                for _ in 0..PACKETS {
                    consumer.get_into(got, Wait::No).expect("a packet");
                    black_box(&got);
                }
            }

            #[inline(never)]
            pub(crate) fn counted_put_many(producer: &mut Producer, payloads: &[&[u8]]) {
                for _ in 0..PACKETS / BATCH {
                    let put = producer.put_many(RecordKind::RAW, black_box(payloads), Wait::No);
                    assert_eq!(put.0, BATCH);
                }
            }

            #[inline(never)]
            pub(crate) fn counted_hold_many(consumer: &mut Consumer) {
                for _ in 0..PACKETS / BATCH {
                    consumer.hold_many(BATCH, Wait::No).expect("packets");
                    consumer.held_records().for_each(|record| _ = black_box(record));
                    consumer.ack_held();
                }
            }

            #[inline(never)]
            pub(crate) fn counted_get_many_with(consumer: &mut Consumer) {
                for _ in 0..PACKETS / BATCH {
                    consumer
                        .get_many_with(BATCH, Wait::No, |bytes, _| _ = black_box(bytes))
                        .expect("packets");
                }
            }

            #[inline(never)]
            pub(crate) fn counted_reserve(producer: &mut Producer, payload: &[u8; 32]) {
                for _ in 0..PACKETS {
                    let place = producer.reserve(RecordKind::RAW, payload.len(), Wait::No);
                    let mut place = place.expect("room");
                    place.copy_from_slice(black_box(payload));
                    place.commit().expect("this process");
                }
            }

            #[inline(never)]
            pub(crate) fn counted_get_with(consumer: &mut Consumer) {
                for _ in 0..PACKETS {
                    consumer
                        .get_with(Wait::No, |bytes, _| {
                            black_box(bytes);
                        })
                        .expect("a packet");
                }
            }

            #[inline(never)]
            pub(crate) fn counted_lease_many(consumer: &mut Consumer, leases: &mut Vec<Lease>) {
                for _ in 0..PACKETS / BATCH {
                    consumer.lease_many(BATCH, leases, Wait::No).expect("packets");
                    leases.drain(..).for_each(Lease::ack);
                }
            }

            pub(crate) fn run(laps: usize) {
                let payload = [7; 32];
                let payloads = [&payload[..]; BATCH];
                let (mut producer, mut consumer) = super::ends($side);
                let (mut got, mut leases) = (Vec::with_capacity(64), Vec::with_capacity(BATCH));
                for _ in 0..laps {
                    counted_put(&mut producer, &payload);
                    counted_get(&mut consumer, &mut got);
                    counted_put_many(&mut producer, &payloads);
                    counted_hold_many(&mut consumer);
                    super::fill(&mut producer, &payload);
                    counted_get_many_with(&mut consumer);
                    counted_reserve(&mut producer, &payload);
                    counted_get_with(&mut consumer);
                    super::fill(&mut producer, &payload);
                    counted_lease_many(&mut consumer, &mut leases);
                }
            }
        }
    };
}

counted!(spsc, super::Side::Single);
counted!(mpmc, super::Side::Multi);

fn main() {
    spsc::run(LAPS);
    mpmc::run(LAPS);
    println!("{}", LAPS * PACKETS);
}
