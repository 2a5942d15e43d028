//! "Closed and empty" is final.

use ringway::mutants::mutant;
use ringway::shm::peers::Peers as _;
use ringway::shm::ring::{Missing, ProducerCache, Refused, SingleProducer, Taken};
use ringway::shm::wait::{self, For, SLICE};

use crate::harness::{Case, Model};
use crate::rig::{ANN, BOB, EVE, Multi, Rig, Single};

/// What `close` does.
pub(super) fn close(rig: &Rig, me: u16) {
    let me = rig.me(me);
    rig.ring.begin_close();
    me.heavy_barrier();
    rig.ring.finish_close();
}

/// Takes until the ring is sealed, at most so often; says whether it was.
fn take_to_seal(
    times: usize,
    mut take: impl FnMut() -> Result<Taken, Missing>,
    mut finish: impl FnMut(&Taken) -> u8,
) -> (bool, Vec<u8>) {
    let mut got = Vec::new();
    for _ in 0..times {
        match take() {
            Ok(taken) => got.push(finish(&taken)),
            Err(Missing::Sealed) => return (true, got),
            Err(Missing::Corrupt(what, pos)) => panic!("corrupt: {what} at {pos}"),
            Err(_) => {}
        }
    }
    (false, got)
}

/// After a seal nothing may come; what was put before must have come.
fn expect_final(sealed: bool, got: &[u8], rest: &[u8], put: &[u8]) {
    assert!(!sealed || rest.is_empty(), "{rest:?} came after the seal");
    assert_eq!([got, rest].concat(), put, "what was put (right) is not what was got (left)");
}

fn put_until_closed(values: &[u8], mut put: impl FnMut(u8) -> Result<(), Refused>) -> Vec<u8> {
    let mut done = Vec::new();
    for &value in values {
        match put(value) {
            Ok(()) => done.push(value),
            Err(Refused::Closed) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    done
}

pub(crate) const SEAL_MPSC: Model = Model {
    name: "seal_mpsc",
    promise: "many producers, one consumer: no put succeeds behind the seal",
    bound: Some(3),
    min_iterations: 9500,
    without: &["light_barrier_missing", "heavy_barrier_missing"],
    points: &[],
    mutants: &["close_without_seal", "help_past_seal"],
    body: seal_mpsc,
};

fn seal_mpsc(case: Case) {
    let rig = Rig::new(Multi, Single);
    let mut consumer = rig.consumer();
    let (ann, bob) = (rig.clone(), rig.clone());
    let (put, (sealed, got, mut consumer)) = case.two(
        move || {
            let cache = ProducerCache::default();
            put_until_closed(&[10, 11], |value| ann.put(&cache, ANN, value))
        },
        move || {
            close(&bob, BOB);
            let (ring, mine) = (&bob.ring, std::cell::RefCell::new(&mut consumer));
            let (sealed, got) = take_to_seal(
                4,
                || ring.take_single(&mut mine.borrow_mut()),
                |taken| {
                    let value = bob.value(taken);
                    ring.ack_single(&mut mine.borrow_mut(), taken);
                    value
                },
            );
            (sealed, got, consumer)
        },
    );
    let rest = crate::rig::values(&rig.drain_single(&mut consumer));
    expect_final(sealed, &got, &rest, &put);
}

pub(crate) const SEAL_MPMC: Model = Model {
    name: "seal_mpmc",
    promise: "two consumers race for the seal against a late producer: final for both",
    bound: Some(1),
    min_iterations: 39_000,
    without: &["light_barrier_missing", "heavy_barrier_missing"],
    points: &[],
    mutants: &["close_without_seal", "help_past_seal"],
    body: seal_mpmc,
};

fn seal_mpmc(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let (ann, bob, eve) = (rig.clone(), rig.clone(), rig.clone());
    let (put, (sealed, mut got), (sealed_too, got_too)) = case.three(
        move || {
            let cache = ProducerCache::default();
            put_until_closed(&[10], |value| ann.put(&cache, ANN, value))
        },
        move || {
            close(&bob, BOB);
            take_to_seal(2, || bob.ring.take(BOB), |taken| bob.finish(taken, BOB))
        },
        move || take_to_seal(2, || eve.ring.take(EVE), |taken| eve.finish(taken, EVE)),
    );
    got.extend(got_too);
    got.sort_unstable();
    let rest = crate::rig::values(&rig.drain());
    expect_final(sealed || sealed_too, &got, &rest, &put);
}

pub(crate) const CLOSE_SPSC: Model = Model {
    name: "close_spsc",
    promise: "one producer: a put that did not see the close is seen by the consumer",
    bound: Some(3),
    min_iterations: 21_000,
    without: &[],
    points: &[],
    mutants: &["intent_after_closed", "light_barrier_missing", "heavy_barrier_missing"],
    body: close_spsc,
};

fn close_spsc(case: Case) {
    close_single(case, |ann, producer| {
        put_until_closed(&[10, 11], |value| ann.put_single(producer, value))
    });
}

pub(crate) const CLOSE_SPSC_MANY: Model = Model {
    name: "close_spsc_many",
    promise: "several put at once by one producer: all of them, or none behind the close",
    bound: Some(3),
    min_iterations: 8_000,
    without: &[],
    points: &[],
    mutants: &["intent_after_closed", "light_barrier_missing", "heavy_barrier_missing"],
    body: close_spsc_many,
};

fn close_spsc_many(case: Case) {
    close_single(case, |ann, producer| {
        let count = ann.ring.put_plain_many(producer, 0, &[&[10], &[11]]);
        assert!(count == 2 || count == 0 && ann.ring.is_closed(), "{count} of 2");
        [10, 11][..count].to_vec()
    });
}

/// One producer, which says what it put, against a closer that then takes all there is.
fn close_single(case: Case, put: fn(&Rig, &mut SingleProducer) -> Vec<u8>) {
    let rig = Rig::new(Single, Single);
    let mut producer = rig.producer();
    let mut consumer = rig.consumer();
    let (ann, bob) = (rig.clone(), rig.clone());
    let (put, (sealed, got, mut consumer)) = case.two(
        move || put(&ann, &mut producer),
        move || {
            close(&bob, BOB);
            let (ring, mine) = (&bob.ring, std::cell::RefCell::new(&mut consumer));
            let (sealed, got) = take_to_seal(
                4,
                || ring.take_single(&mut mine.borrow_mut()),
                |taken| {
                    let value = bob.value(taken);
                    ring.ack_single(&mut mine.borrow_mut(), taken);
                    value
                },
            );
            (sealed, got, consumer)
        },
    );
    let rest = crate::rig::values(&rig.drain_single(&mut consumer));
    expect_final(sealed, &got, &rest, &put);
}

pub(crate) const CLOSE_SPMC: Model = Model {
    name: "close_spmc",
    promise: "one producer, a closer and a consumer apart: the same",
    bound: Some(1),
    min_iterations: 15_000,
    without: &[],
    points: &[],
    mutants: &["intent_after_closed", "light_barrier_missing", "heavy_barrier_missing"],
    body: close_spmc,
};

fn close_spmc(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer();
    let (ann, bob, eve) = (rig.clone(), rig.clone(), rig.clone());
    let (put, (), (sealed, got)) = case.three(
        move || put_until_closed(&[10, 11], |value| ann.put_single(&mut producer, value)),
        move || close(&bob, BOB),
        move || take_to_seal(4, || eve.ring.take(EVE), |taken| eve.finish(taken, EVE)),
    );
    let rest = crate::rig::values(&rig.drain());
    expect_final(sealed, &got, &rest, &put);
}

pub(crate) const CLOSE_WAKES: Model = Model {
    name: "close_wakes",
    promise: "a consumer asleep, or about to be, learns of the close",
    bound: None,
    min_iterations: 280,
    without: &[],
    points: &[],
    mutants: &["nobody_woken", "doorbell_not_rung"],
    body: close_wakes,
};

fn close_wakes(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let (ann, bob) = (rig.clone(), rig.clone());
    case.two(
        move || {
            close(&ann, ANN);
            if !mutant("nobody_woken") {
                wait::wake_all(ann.ring.memory().header(), For::Records, &ann.me(ANN));
            }
        },
        move || {
            let me = bob.me(BOB);
            let header = bob.ring.memory().header();
            loop {
                let seen = me.doorbell_value();
                wait::register(header, For::Records, BOB);
                wait::barrier(header, &me);
                match bob.ring.take(BOB) {
                    Err(Missing::Sealed) => break,
                    Err(Missing::Empty | Missing::Closing) => {}
                    other => panic!("{other:?}"),
                }
                me.sleep(seen, SLICE);
            }
        },
    );
}
