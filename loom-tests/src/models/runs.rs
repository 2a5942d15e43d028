//! Runs of records that a consumer takes at once: nobody sees half of one.

use ringway::shm::ring::{Missing, ProducerCache, Refused};

use crate::harness::{Case, Model};
use crate::kernel::Kernel;
use crate::rig::{
    ANN, BOB, EVE, Multi, Rig, Single, expect_order, expect_put, expect_same, values,
};

pub(crate) const RUN_OR_ONE: Model = Model {
    name: "run_or_one",
    promise: "of two consumers one takes a run, the other one record at a time, helping: each record \
              is taken once, whole, in order",
    bound: Some(3),
    min_iterations: 20_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["take_without_cas", "help_run_short"],
    body: run_or_one,
};

fn run_or_one(case: Case) {
    let rig = Rig::new(Single, Multi);
    rig.producer_of(30..33);
    let (ann, bob) = (rig.clone(), rig.clone());
    let (a, b) = case.two(
        move || ann.get_two(ANN),
        move || (0..2).filter_map(|_| bob.get(BOB)).collect::<Vec<u8>>(),
    );
    expect_order(&a);
    expect_order(&b);
    expect_same([a, b, values(&rig.drain())].concat(), vec![30, 31, 32]);
}

pub(crate) const RUN_OR_RUN: Model = Model {
    name: "run_or_run",
    promise: "two consumers take runs of what a producer is just putting: each record once, whole",
    bound: Some(2),
    min_iterations: 24_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["take_without_cas", "ready_relaxed", "stamp_not_acquired"],
    body: run_or_run,
};

fn run_or_run(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of([30]);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, ()) = case.three(
        move || ann.get_two(ANN),
        move || bob.get_run(BOB),
        move || {
            for value in [31, 32] {
                assert!(expect_put(putting.put_single(&mut producer, value)));
            }
        },
    );
    expect_same([a, b, values(&rig.drain())].concat(), vec![30, 31, 32]);
}

pub(crate) const RUN_REUSE: Model = Model {
    name: "run_reuse",
    promise: "a producer at a full ring overwrites nothing of a run that is still being read, while \
              another consumer takes what is behind it",
    bound: Some(1),
    min_iterations: 23_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &[
        "released_relaxed",
        "take_not_acquired",
        "frontier_cas_relaxed",
        "frontier_not_acquired",
    ],
    body: run_reuse,
};

fn run_reuse(case: Case) {
    // One by one, the second first: a record of a run is a record like others.
    beside_a_full_ring(case, |ann| {
        ann.take_two(ANN).iter().rev().map(|taken| ann.finish(taken, ANN)).collect()
    });
}

/// One reads the oldest two, another what is behind them, while a producer waits for their room.
fn beside_a_full_ring(case: Case, read_two: fn(&Rig) -> Vec<u8>) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of(0..8);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let (a, b, put) = case.three(
        move || read_two(&ann),
        move || bob.get(BOB),
        move || expect_put(putting.put_single(&mut producer, 30)),
    );
    let got: Vec<u8> = a.into_iter().chain(b).collect();
    let put = (0..8).chain(put.then_some(30)).collect();
    expect_same([got, values(&rig.drain())].concat(), put);
}

pub(crate) const RUN_READ: Model = Model {
    name: "run_read",
    promise: "a producer at a full ring overwrites nothing of a run whose records are acknowledged each as \
              it is read, while another consumer takes what is behind it",
    bound: Some(1),
    min_iterations: 80_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["released_relaxed", "frontier_cas_relaxed", "frontier_not_acquired"],
    body: run_read,
};

fn run_read(case: Case) {
    beside_a_full_ring(case, |ann| {
        let got = ann.get_run(ANN);
        expect_order(&got);
        got
    });
}

pub(crate) const RUN_ROOM: Model = Model {
    name: "run_room",
    promise: "what is acknowledged together makes room at once: a producer that comes later needs \
              no help",
    bound: Some(3),
    min_iterations: 10,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["frontier_cas_relaxed", "frontier_not_acquired"],
    body: run_room,
};

fn run_room(case: Case) {
    let rig = Rig::of(&Kernel::new(), 16, Multi, Multi, 0);
    rig.fill(0..16);
    let (ann, putting) = (rig.clone(), rig.clone());
    let put_once = |rig: &Rig, value: u8| match rig.ring.claim(&ProducerCache::default(), 2, EVE) {
        Ok(mut claim) => {
            rig.ring.write(&mut claim, true, &[value]);
            rig.ring.commit(&claim, 0, 1, true);
            true
        }
        Err(Refused::Full) => false,
        Err(other) => panic!("{other:?}"),
    };
    let (got, put) = case.two(move || ann.get_two(ANN), move || put_once(&putting, 30));
    assert_eq!(got, [0, 1]);
    assert!(put || put_once(&rig, 31), "two units were acknowledged, and are not free");
    let mut expected: Vec<u8> = (2..16).collect();
    expected.push(if put { 30 } else { 31 });
    assert_eq!(values(&rig.drain()), expected);
}

pub(crate) const RUN_WHILE_LAPPED: Model = Model {
    name: "run_while_lapped",
    promise: "a consumer that counts a run with an old head, overtaken by a lap, takes nothing twice",
    bound: Some(2),
    min_iterations: 13_000,
    without: &[],
    points: &[],
    mutants: &["take_without_cas"],
    body: run_while_lapped,
};

fn run_while_lapped(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of([30, 31]);
    let (ann, bob) = (rig.clone(), rig.clone());
    let (late, (mut got, put)) = case.two(
        move || {
            let run = ann.take_two(ANN);
            run.into_iter().map(|taken| (ann.value(&taken), taken)).collect::<Vec<_>>()
        },
        move || {
            let (mut got, mut put) = (bob.get_two(BOB), vec![30, 31]);
            // Large ones, to be quick. The other may hold the places that they would come to.
            for value in 40..43 {
                let Ok(mut claim) = bob.ring.claim_single(&mut producer, 2, 1) else { break };
                bob.ring.write(&mut claim, true, &[value]);
                bob.ring.commit_single(&mut producer, &claim, 0, 1, true);
                put.push(value);
                got.extend(bob.get(BOB));
            }
            // In the places of the first.
            for value in [50, 51] {
                put.extend(expect_put(bob.put_single(&mut producer, value)).then_some(value));
            }
            (got, put)
        },
    );
    got.extend(late.iter().map(|(value, _)| *value));
    let late: Vec<_> = late.into_iter().map(|(_, taken)| taken).collect();
    rig.ring.release_many(&late, ANN);
    expect_same([got, values(&rig.drain())].concat(), put);
}

pub(crate) const RUN_GIVEN_BACK: Model = Model {
    name: "run_given_back",
    promise: "the records of a run are acknowledged and given back one by one: another adopts what was \
              given back, flagged, and a producer overwrites nothing too early",
    bound: Some(2),
    min_iterations: 50_000,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["give_back_relaxed"],
    body: run_given_back,
};

fn run_given_back(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of(0..8);
    let run = rig.take_two(ANN);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let (got, b, put) = case.three(
        move || {
            let got = ann.finish(&run[0], ANN);
            assert_eq!(ann.value(&run[1]), 1);
            ann.ring.give_back(&run[1]);
            got
        },
        move || {
            let me = bob.me(BOB);
            let taken = bob.ring.adopt(&me).or_else(|| bob.take(BOB))?;
            Some((bob.finish(&taken, BOB), taken.redeliveries()))
        },
        move || {
            [30, 31]
                .into_iter()
                .filter(|value| expect_put(putting.put_single(&mut producer, *value)))
                .collect::<Vec<u8>>()
        },
    );
    assert_eq!(got, 0);
    let all = [b.into_iter().collect(), rig.drain()].concat();
    assert!(all.iter().all(|(value, n)| *n == u32::from(*value == 1)), "{all:?}");
    expect_same(values(&all), (1..8).chain(put).collect());
}

pub(crate) const SEAL_RUNS: Model = Model {
    name: "seal_runs",
    promise: "consumers that take runs race for the seal against a late run: final for both",
    bound: Some(1),
    min_iterations: 27_000,
    without: &["light_barrier_missing", "heavy_barrier_missing"],
    points: &[],
    mutants: &["close_without_seal", "help_past_seal", "take_without_cas", "help_run_short"],
    body: seal_runs,
};

fn seal_runs(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let to_seal = |rig: &Rig, me: u16| {
        let mut got = Vec::new();
        got.extend(rig.get_two(me));
        match rig.ring.take(me) {
            Ok(taken) => got.push(rig.finish(&taken, me)),
            Err(Missing::Sealed) => return (true, got),
            Err(Missing::Corrupt(what, pos)) => panic!("corrupt: {what} at {pos}"),
            Err(_) => {}
        }
        (false, got)
    };
    let (ann, bob, eve) = (rig.clone(), rig.clone(), rig.clone());
    let (put, (sealed, b), (sealed_too, e)) = case.three(
        move || {
            let cache = ProducerCache::default();
            let claim = match ann.ring.claim_run(&cache, 2, ANN) {
                Ok(claim) => claim,
                Err(Refused::Closed) => return false,
                Err(other) => panic!("{other:?}"),
            };
            super::data::write_run(&ann, claim, [10, 11]);
            true
        },
        move || {
            super::close::close(&bob, BOB);
            to_seal(&bob, BOB)
        },
        move || to_seal(&eve, EVE),
    );
    let rest = values(&rig.drain());
    assert!(!(sealed || sealed_too) || rest.is_empty(), "{rest:?} came after the seal");
    let expected = if put { vec![10, 11] } else { vec![] };
    expect_same([b, e, rest].concat(), expected);
}
