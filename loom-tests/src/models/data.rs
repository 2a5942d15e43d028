//! Records come whole, in order, once.

use std::sync::Arc;

use ringway::shm::ring::{Claim, ProducerCache};

use crate::harness::{Case, Model};
use crate::rig::{
    ANN, BOB, EVE, Multi, Rig, Single, expect_order, expect_put, expect_same, values,
};

pub(crate) const SPSC_STREAM: Model = Model {
    name: "spsc_stream",
    promise: "one producer, one consumer: records arrive whole and in order, with no fence at all",
    bound: None,
    min_iterations: 780,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["ready_relaxed", "stamp_not_acquired"],
    body: spsc_stream,
};

fn spsc_stream(case: Case) {
    let rig = Rig::new(Single, Single);
    let mut producer = rig.producer();
    let mut consumer = rig.consumer();
    for value in 0..6 {
        assert!(expect_put(rig.put_single(&mut producer, value)));
        assert_eq!(rig.get_single(&mut consumer), Some(value));
    }
    let (putting, getting) = (rig.clone(), rig.clone());
    let ((), (mut consumer, mut got)) = case.two(
        move || {
            for value in 10..13 {
                assert!(expect_put(putting.put_single(&mut producer, value)));
            }
        },
        move || {
            let got: Vec<u8> = (0..3).filter_map(|_| getting.get_single(&mut consumer)).collect();
            (consumer, got)
        },
    );
    got.extend(values(&rig.drain_single(&mut consumer)));
    assert_eq!(got, [10, 11, 12]);
}

pub(crate) const SPSC_FULL: Model = Model {
    name: "spsc_full",
    promise: "one producer at a full ring overwrites nothing that is still being read",
    bound: None,
    min_iterations: 1200,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["head_relaxed", "head_not_acquired", "head_hint_relaxed", "hint_not_acquired"],
    body: spsc_full,
};

fn spsc_full(case: Case) {
    let rig = Rig::new(Single, Single);
    let mut producer = rig.producer();
    let mut consumer = rig.consumer();
    for value in 0..8 {
        assert!(expect_put(rig.put_single(&mut producer, value)));
    }
    assert!(!expect_put(rig.put_single(&mut producer, 9)));
    let (putting, getting) = (rig.clone(), rig.clone());
    let (put, (mut consumer, mut got)) = case.two(
        move || {
            (10..12)
                .filter(|value| expect_put(putting.put_single(&mut producer, *value)))
                .collect::<Vec<u8>>()
        },
        move || {
            let got: Vec<u8> = (0..2).filter_map(|_| getting.get_single(&mut consumer)).collect();
            (consumer, got)
        },
    );
    assert_eq!(got, [0, 1]);
    got.extend(values(&rig.drain_single(&mut consumer)));
    assert_eq!(got, [&[0, 1, 2, 3, 4, 5, 6, 7][..], &put].concat());
}

pub(crate) const MPSC_ORDER: Model = Model {
    name: "mpsc_order",
    promise: "two producers never get the same place, and the consumer sees each one's order",
    bound: Some(2),
    min_iterations: 5600,
    without: &[],
    points: &[],
    mutants: &["ready_relaxed", "stamp_not_acquired", "claim_without_cas"],
    body: mpsc_order,
};

fn mpsc_order(case: Case) {
    let rig = Rig::new(Multi, Single);
    let mut consumer = rig.consumer();
    let (ann, bob, getting) = (rig.clone(), rig.clone(), rig.clone());
    let ((), (), (mut consumer, mut got)) = case.three(
        move || {
            let cache = ProducerCache::default();
            for value in [10, 11] {
                assert!(expect_put(ann.put(&cache, ANN, value)));
            }
        },
        move || assert!(expect_put(bob.put(&ProducerCache::default(), BOB, 20))),
        move || {
            let got: Vec<u8> = (0..1).filter_map(|_| getting.get_single(&mut consumer)).collect();
            (consumer, got)
        },
    );
    got.extend(values(&rig.drain_single(&mut consumer)));
    expect_order(&got);
    expect_same(got, vec![10, 11, 20]);
}

pub(crate) const SPMC_ONCE: Model = Model {
    name: "spmc_once",
    promise: "two consumers get each record once, whole",
    bound: Some(2),
    min_iterations: 8300,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["take_without_cas", "ready_relaxed"],
    body: spmc_once,
};

fn spmc_once(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of([30]);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, ()) = case.three(
        move || ann.get(ANN),
        move || bob.get(BOB),
        move || assert!(expect_put(putting.put_single(&mut producer, 31))),
    );
    let mut got: Vec<u8> = a.into_iter().chain(b).collect();
    got.extend(values(&rig.drain()));
    expect_same(got, vec![30, 31]);
}

pub(crate) const MAXSIZE_ONE: Model = Model {
    name: "maxsize_one",
    promise: "two producers never make two packets wait where one may",
    bound: Some(3),
    min_iterations: 270,
    without: &[],
    points: &[],
    mutants: &["room_checked_once", "claim_without_cas"],
    body: maxsize_one,
};

fn maxsize_one(case: Case) {
    let rig = Rig::bounded(Multi, Multi, 1);
    let (ann, bob) = (rig.clone(), rig.clone());
    let (a, b) = case.two(
        move || expect_put(ann.put(&ProducerCache::default(), ANN, 10)),
        move || expect_put(bob.put(&ProducerCache::default(), BOB, 20)),
    );
    assert!(a != b, "of two producers, {} were let in", u8::from(a) + u8::from(b));
    assert_eq!(rig.ring.waiting(), 1);
    expect_same(values(&rig.drain()), vec![if a { 10 } else { 20 }]);
    assert!(expect_put(rig.put(&ProducerCache::default(), EVE, 30)));
}

pub(crate) const RUN_LIVE: Model = Model {
    name: "run_live",
    promise: "a run arrives whole and in order beside single puts",
    bound: Some(2),
    min_iterations: 3400,
    without: &[],
    points: &[],
    mutants: &["ready_relaxed", "stamp_not_acquired", "claim_without_cas"],
    body: run_live,
};

fn run_live(case: Case) {
    let rig = Rig::new(Multi, Single);
    let mut consumer = rig.consumer();
    let (ann, bob, getting) = (rig.clone(), rig.clone(), rig.clone());
    let shared = Arc::new(ProducerCache::default());
    let ((), (), (mut consumer, mut got)) = case.three(
        move || put_run(&ann, &shared, ANN, [10, 11]),
        move || assert!(expect_put(bob.put(&ProducerCache::default(), BOB, 20))),
        move || {
            let got: Vec<u8> = (0..2).filter_map(|_| getting.get_single(&mut consumer)).collect();
            (consumer, got)
        },
    );
    got.extend(values(&rig.drain_single(&mut consumer)));
    expect_order(&got);
    expect_same(got, vec![10, 11, 20]);
}

/// Puts a run of two.
pub(crate) fn put_run(rig: &Rig, cache: &ProducerCache, me: u16, run: [u8; 2]) {
    write_run(rig, rig.ring.claim_run(cache, 2, me).expect("there is room"), run);
}

/// Writes and commits a run of two.
pub(crate) fn write_run(rig: &Rig, mut claim: Claim, run: [u8; 2]) {
    let bytes = rig.ring.write_run(&mut claim, 0, &[&run[..1], &run[1..]], |_, _| {});
    rig.ring.commit_run(&claim, bytes);
}
