//! Nothing is overwritten while somebody reads it, and old values of the words harm nobody.

use std::sync::Arc;

use loom::sync::atomic::Ordering::Relaxed;
use ringway::shm::ring::{ProducerCache, Refused};

use crate::harness::{Case, Model};
use crate::kernel::Kernel;
use crate::rig::{
    ANN, BOB, ENTRIES, EVE, Multi, Rig, Single, expect_put, expect_same, expect_taken, values,
};

pub(crate) const SPMC_REUSE: Model = Model {
    name: "spmc_reuse",
    promise: "a producer at a full ring overwrites nothing that one of two consumers still reads",
    bound: Some(2),
    min_iterations: 80_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &[
        "released_relaxed",
        "take_not_acquired",
        "stamp_not_acquired",
        "frontier_cas_relaxed",
        "frontier_not_acquired",
    ],
    body: spmc_reuse,
};

fn spmc_reuse(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of(0..8);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, put) = case.three(
        move || ann.get(ANN),
        move || bob.get(BOB),
        move || {
            (30..31)
                .filter(|value| expect_put(putting.put_single(&mut producer, *value)))
                .collect::<Vec<u8>>()
        },
    );
    let mut got: Vec<u8> = a.into_iter().chain(b).collect();
    expect_same(got.clone(), vec![0, 1]);
    got.extend(values(&rig.drain()));
    expect_same(got, [&[0, 1, 2, 3, 4, 5, 6, 7][..], &put].concat());
}

pub(crate) const MPMC_REUSE: Model = Model {
    name: "mpmc_reuse",
    promise: "two producers and a consumer at a full ring: nothing lost, doubled or torn",
    bound: Some(2),
    min_iterations: 13_000,
    without: &[],
    points: &[],
    mutants: &["released_relaxed", "claim_without_cas", "frontier_not_acquired"],
    body: mpmc_reuse,
};

fn mpmc_reuse(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..7);
    let (ann, bob, getting) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, got) = case.three(
        move || expect_put(ann.put(&ProducerCache::default(), ANN, 10)),
        move || expect_put(bob.put(&ProducerCache::default(), BOB, 20)),
        move || getting.get(EVE),
    );
    let mut expected: Vec<u8> = (0..7).collect();
    expected.extend(a.then_some(10));
    expected.extend(b.then_some(20));
    assert!(a || b, "a place was free, and nobody got it");
    let mut got: Vec<u8> = got.into_iter().collect();
    assert_eq!(got, [0]);
    got.extend(values(&rig.drain()));
    expect_same(got, expected);
}

pub(crate) const FRONTIER_LEFT: Model = Model {
    name: "frontier_left",
    promise: "a consumer that acknowledges leaves the frontier where it is, and each of two producers \
              that find the ring full moves it, after the reads",
    bound: Some(2),
    min_iterations: 14_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &[
        "released_relaxed",
        "take_not_acquired",
        "frontier_cas_relaxed",
        "frontier_not_acquired",
    ],
    body: frontier_left,
};

fn frontier_left(case: Case) {
    let rig = Rig::of(&Kernel::new(), 16, Multi, Multi, 0);
    rig.fill(0..16);
    let frontier = |rig: &Rig| rig.ring.memory().header().frontier.frontier.load(Relaxed);
    let start = frontier(&rig);
    let (ann, bob, eve) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, got) = case.three(
        move || expect_put(ann.put(&ProducerCache::default(), ANN, 20)),
        move || expect_put(bob.put(&ProducerCache::default(), BOB, 30)),
        move || eve.get(EVE),
    );
    assert_eq!(got, Some(0));
    assert!(!(a && b), "two packets in one place");
    assert!(a || b || frontier(&rig) == start, "a release of one record moved the frontier");
    let mut expected: Vec<u8> = (1..16).collect();
    expected.extend(a.then_some(20).or(b.then_some(30)));
    assert_eq!(values(&rig.drain()), expected);
}

pub(crate) const CACHE_SHARED: Model = Model {
    name: "cache_shared",
    promise: "a thread that trusts another thread's look at the frontier overwrites nothing",
    bound: Some(3),
    min_iterations: 870,
    without: &[],
    points: &[],
    mutants: &["cache_relaxed", "cache_not_acquired"],
    body: cache_shared,
};

fn cache_shared(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..8);
    let cache = Arc::new(ProducerCache::default());
    let (first, second, getting) = (rig.clone(), rig.clone(), rig.clone());
    let (known, known_too) = (Arc::clone(&cache), cache);
    let (a, b, got) = case.three(
        move || put_once(&first, &known, 10),
        move || put_once(&second, &known_too, 11),
        move || getting.get(BOB),
    );
    assert!(!(a && b), "two packets in one place");
    let mut expected: Vec<u8> = (0..8).collect();
    expected.extend(a.then_some(10));
    expected.extend(b.then_some(11));
    let mut got: Vec<u8> = got.into_iter().collect();
    got.extend(values(&rig.drain()));
    expect_same(got, expected);
}

/// Puts without help or a second look: with what the cache says, or the frontier as it is.
fn put_once(rig: &Rig, cache: &ProducerCache, value: u8) -> bool {
    let Ok(mut claim) = rig.ring.claim(cache, 1, ANN) else { return false };
    rig.ring.write(&mut claim, true, &[value]);
    rig.ring.commit(&claim, 0, 1, true);
    true
}

pub(crate) const LAP_WHILE_CLAIMING: Model = Model {
    name: "lap_while_claiming",
    promise: "a producer with an old tail, overtaken by a lap, neither fails nor harms",
    bound: Some(1),
    min_iterations: 1600,
    without: &[],
    points: &[],
    mutants: &["claim_relaxed", "claim_not_acquired", "tail_cas_relaxed", "tail_not_acquired"],
    body: lap_while_claiming,
};

/// Puts and gets a whole lap of records of two units.
fn lap(rig: &Rig, me: u16) {
    let cache = ProducerCache::default();
    for value in 0..ENTRIES as u8 / 2 {
        // The late one may hold the place that is to be reused.
        let mut claim = match rig.ring.claim(&cache, 2, me) {
            Ok(claim) => claim,
            Err(Refused::Full) => return,
            Err(other) => panic!("{other:?}"),
        };
        rig.ring.write(&mut claim, true, &[value]);
        rig.ring.commit(&claim, 0, 1, true);
        // The late one may have taken it.
        let Some(taken) = expect_taken(rig.ring.take(me)) else { return };
        rig.ring.release(&taken, me);
    }
}

fn lap_while_claiming(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let (ann, bob) = (rig.clone(), rig.clone());
    let (late, ()) = case.two(
        move || {
            // A single claim, not committed before the other is done.
            ann.ring.claim(&ProducerCache::default(), 1, ANN)
        },
        move || {
            let cache = ProducerCache::default();
            for value in 0..5 {
                let mut claim = match bob.ring.claim(&cache, 2, BOB) {
                    Ok(claim) => claim,
                    Err(Refused::Full) => break,
                    Err(other) => panic!("{other:?}"),
                };
                bob.ring.write(&mut claim, true, &[value]);
                bob.ring.commit(&claim, 0, 1, true);
                let Some(taken) = expect_taken(bob.ring.take(BOB)) else { break };
                bob.ring.release(&taken, BOB);
            }
        },
    );
    let claim = late.expect("a ring that is hardly used has room");
    rig.ring.abandon(&claim, ANN);
    rig.drain();
}

pub(crate) const LAP_WHILE_TAKING: Model = Model {
    name: "lap_while_taking",
    promise: "a consumer with an old head, overtaken by a lap, neither fails nor takes twice",
    bound: Some(1),
    min_iterations: 32_000,
    without: &[],
    points: &[],
    mutants: &["take_without_cas"],
    body: lap_while_taking,
};

fn lap_while_taking(case: Case) {
    let rig = Rig::new(Multi, Multi);
    assert!(expect_put(rig.put(&ProducerCache::default(), EVE, 30)));
    let (ann, bob) = (rig.clone(), rig.clone());
    let (got, first) = case.two(
        move || ann.get(ANN),
        move || {
            let first = bob.get(BOB);
            lap(&bob, BOB);
            first
        },
    );
    assert!(first.is_none() || got.is_none() || got != first, "one record in two hands");
    assert!(got.is_none_or(|value| value == 30 || value < ENTRIES as u8 / 2));
    // Unread records of the lap, if it took one: the ring is consistent.
    rig.drain();
}

pub(crate) const GIVE_BACK_REUSE: Model = Model {
    name: "give_back_reuse",
    promise: "a record that one consumer gave back and another took is not overwritten while the \
              first still reads, and its count of deliveries is not lost",
    bound: Some(2),
    min_iterations: 1900,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["give_back_relaxed", "adopt_without_cas"],
    body: give_back_reuse,
};

fn give_back_reuse(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of(0..8);
    let held = rig.take(EVE).expect("the ring is full");
    rig.ring.give_back(&held);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, put) = case.three(
        move || {
            let taken = ann.ring.adopt(&ann.me(ANN))?;
            assert_eq!(ann.value(&taken), 0);
            ann.ring.give_back(&taken);
            Some(taken.redeliveries())
        },
        move || {
            let taken = bob.ring.adopt(&bob.me(BOB))?;
            assert_eq!(bob.finish(&taken, BOB), 0);
            Some(taken.redeliveries())
        },
        move || expect_put(putting.put_single(&mut producer, 30)),
    );
    match (a, b) {
        (Some(1), Some(1 | 2) | None) | (None, Some(1)) => {}
        other => panic!("deliveries were forgotten: {other:?}"),
    }
    if (a, b) == (Some(1), Some(1)) {
        // Both at once would have both counted 1: the record would be in two hands.
        panic!("one record in two hands");
    }
    let rest = rig.drain();
    let mut expected: Vec<(u8, u32)> = (1..8).map(|value| (value, 0)).collect();
    if b.is_none() {
        expected.insert(0, (0, 2));
    }
    if put {
        expected.push((30, 0));
    }
    assert_eq!(rest, expected);
}
