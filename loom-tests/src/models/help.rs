//! Somebody dies half-way through a step, and others finish it while everything goes on.

use ringway::shm::recovery;
use ringway::shm::ring::{Missing, ProducerCache};

use crate::harness::{Case, Model, die_at};
use crate::rig::{ANN, BOB, EVE, Multi, Rig, Single, expect_put, expect_same, values};

pub(crate) const CLAIM_DIES: Model = Model {
    name: "claim_dies",
    promise: "a producer that dies around its claim of two units delays nobody and loses nothing of \
              another's",
    bound: Some(2),
    min_iterations: 3100,
    without: &[],
    points: &["claim.between_claim_and_tail", "claim.after_tail", "commit.before_stamp"],
    mutants: &["help_claim_short"],
    body: claim_dies,
};

fn claim_dies(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let (ann, bob, getting) = (rig.clone(), rig.clone(), rig.clone());
    let ((), (), got) = case.three(
        move || {
            let died = die_at(case.point, || {
                let cache = ProducerCache::default();
                let mut claim = ann.ring.claim(&cache, 2, ANN).expect("there is room");
                ann.ring.write(&mut claim, true, &[10]);
                ann.ring.commit(&claim, 0, 1, true);
            });
            assert!(died.is_none());
            ann.kernel.bury(ANN);
        },
        move || assert!(expect_put(bob.put(&ProducerCache::default(), BOB, 20))),
        move || {
            recovery::skip_dead_writer(&getting.ring, &getting.me(EVE));
            getting.get(EVE)
        },
    );
    let mut all: Vec<u8> = got.into_iter().collect();
    all.extend(values(&rig.drain()));
    expect_same(all, vec![20]);
    rig.expect_usable();
}

pub(crate) const RUN_DIES: Model = Model {
    name: "run_dies",
    promise: "a run whose producer dies between its stamps is skipped as a whole",
    bound: None,
    min_iterations: 190,
    without: &[],
    points: &["run.between_stamps"],
    mutants: &["run_first_to_last"],
    body: run_dies,
};

fn run_dies(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let (ann, bob) = (rig.clone(), rig.clone());
    let ((), got) = case.two(
        move || {
            let cache = ProducerCache::default();
            let died = die_at(case.point, || super::data::put_run(&ann, &cache, ANN, [10, 11]));
            assert!(died.is_none());
            ann.kernel.bury(ANN);
        },
        move || {
            assert!(expect_put(bob.put(&ProducerCache::default(), BOB, 20)));
            bob.get(BOB)
        },
    );
    let mut all: Vec<u8> = got.into_iter().collect();
    all.extend(values(&rig.drain()));
    expect_same(all, vec![20]);
    rig.expect_usable();
}

pub(crate) const TAKER_DIES: Model = Model {
    name: "taker_dies",
    promise: "a consumer that dies between its take word and the head, before a record to be passed \
              over, wedges nothing: the frontier never overtakes the head",
    bound: None,
    min_iterations: 50,
    without: &[],
    points: &["take.between_word_and_head", "take.after_head"],
    mutants: &["frontier_without_head"],
    body: taker_dies,
};

fn taker_dies(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let cache = ProducerCache::default();
    assert!(expect_put(rig.put(&cache, EVE, 30)));
    // A stamp that the next lap overwrites: a head that is left behind would not get past it.
    let claim = rig.ring.claim(&cache, 1, EVE).expect("there is room");
    rig.ring.abandon(&claim, EVE);
    let (ann, bob) = (rig.clone(), rig.clone());
    let ((), got) = case.two(
        move || {
            let died = die_at(case.point, || ann.take(ANN));
            // It may have come too late for the only record.
            assert!(!matches!(died, Some(Some(_))));
            ann.kernel.bury(ANN);
        },
        move || {
            // It only adopts, and so never helps the head by taking.
            let taken = bob.ring.adopt(&bob.me(BOB))?;
            assert_eq!(taken.redeliveries(), 1);
            Some(bob.finish(&taken, BOB))
        },
    );
    // A whole lap before anybody takes again.
    let mut expected: Vec<u8> = if got.is_some() { vec![] } else { vec![30] };
    for value in 40..48 {
        if expect_put(rig.put(&cache, EVE, value)) {
            expected.push(value);
        }
    }
    expect_same(values(&rig.drain()), expected);
    rig.expect_usable();
}

pub(crate) const RELEASE_DIES: Model = Model {
    name: "release_dies",
    promise: "a consumer that dies while it releases leaves a record that is acknowledged and \
              reclaimed by others",
    bound: Some(3),
    min_iterations: 240,
    without: &["light_barrier_missing"],
    points: &["release.between_word_and_frontier", "frontier.between_head_and_frontier"],
    mutants: &["released_relaxed", "take_not_acquired"],
    body: release_dies,
};

fn release_dies(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of(0..8);
    let (ann, putting) = (rig.clone(), rig.clone());
    let ((), put) = case.two(
        move || {
            let taken = ann.take(ANN).expect("the ring is full");
            assert_eq!(ann.value(&taken), 0);
            let died = die_at(case.point, || ann.ring.release(&taken, ANN));
            assert!(died.is_none() || case.point.starts_with("frontier"));
            ann.kernel.bury(ANN);
        },
        move || expect_put(putting.put_single(&mut producer, 30)),
    );
    let mut expected: Vec<u8> = (1..8).collect();
    expected.extend(put.then_some(30));
    assert_eq!(values(&rig.drain()), expected);
    assert_eq!(rig.ring.take(EVE), Err(Missing::Empty));
}
