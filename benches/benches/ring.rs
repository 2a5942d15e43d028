//! Operations of a ring in one process, with both its ends in one thread: `group/operation/bytes`.
//!
//! What crossing to another core costs is `ringway-bench`'s to say; this shows what the operations
//! themselves do.
#![allow(missing_docs, reason = "criterion's macros make public functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ringway::queue::{Consumer, Producer, Queue, RecordKind, Wait};
use ringway::shm::storage::Side;
use ringway::{QueueConfig, QueueDescriptor};

const BATCH: usize = 32;

fn queue(side: Side) -> Queue {
    let config = QueueConfig {
        capacity_packets: Some(1024),
        capacity_bytes: Some(1024 * 4096),
        producers: side,
        consumers: side,
        ..QueueConfig::default()
    };
    let descriptor = QueueDescriptor::local_unnamed().and_then(|queue| queue.with_config(config));
    descriptor.and_then(|queue| queue.queue()).expect("a local queue")
}

fn ends(side: Side) -> (Producer, Consumer) {
    let queue = queue(side);
    let ring = queue.backend().ring().expect("a ring");
    (ring.producer().expect("the producer's side"), ring.consumer().expect("the consumer's side"))
}

fn operations(criterion: &mut Criterion) {
    for (name, side) in [("spsc", Side::Single), ("mpmc", Side::Multi)] {
        let mut group = criterion.benchmark_group(name);
        for bytes in [32, 256, 4096] {
            let payload = vec![7; bytes];
            let (mut producer, mut consumer) = ends(side);
            let mut got = Vec::with_capacity(bytes);
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::new("put_get", bytes), |bencher| {
                bencher.iter(|| {
                    producer.put(RecordKind::RAW, black_box(&payload), Wait::No).expect("room");
                    consumer.get_into(&mut got, Wait::No).expect("a packet");
                    black_box(&got);
                });
            });
            group.bench_function(BenchmarkId::new("reserve_lease", bytes), |bencher| {
                bencher.iter(|| {
                    let mut place =
                        producer.reserve(RecordKind::RAW, bytes, Wait::No).expect("room");
                    place.fill(7);
                    place.commit().expect("our own");
                    let lease = consumer.lease(Wait::No).expect("a packet");
                    black_box(&*lease);
                    lease.ack();
                });
            });
        }
        let payload = [7; 32];
        let payloads = [&payload[..]; BATCH];
        let (mut producer, mut consumer) = ends(side);
        let mut leases = Vec::with_capacity(BATCH);
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function(BenchmarkId::new("put_many_lease_many", 32), |bencher| {
            bencher.iter(|| {
                let put = producer.put_many(RecordKind::RAW, black_box(&payloads), Wait::No);
                assert_eq!(put.0, BATCH);
                consumer.lease_many(BATCH, &mut leases, Wait::No).expect("packets");
                leases.drain(..).for_each(ringway::queue::Lease::ack);
            });
        });
        let shared = queue(side);
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("shared_put_get", 32), |bencher| {
            bencher.iter(|| {
                shared.put(black_box(&payload)).expect("room");
                black_box(shared.try_get().expect("a packet"));
            });
        });
        group.finish();
    }
}

criterion_group!(benches, operations);
criterion_main!(benches);
