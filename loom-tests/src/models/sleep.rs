//! No wake-up is lost: a sleeper that nobody wakes would be a deadlock, since the models' sleeps
//! have no time limit.

use ringway::mutants::mutant;
use ringway::shm::peers::Peers as _;
use ringway::shm::ring::ProducerCache;
use ringway::shm::wait::{self, For, SLICE};

use crate::harness::{Case, Model};
use crate::kernel::{Kernel, Me};
use crate::rig::{ANN, BOB, EVE, Multi, Rig, Single, expect_put, expect_same};

/// Waits until `look` finds something, as every blocking call does: doorbell, register, barrier,
/// look again, sleep. Wakes the next one if it leaves with something left.
fn wait_for<T>(
    rings: &[&Rig],
    what: For,
    me: &Me,
    mut look: impl FnMut() -> Option<T>,
    more: impl Fn() -> bool,
) -> T {
    let register = || {
        for rig in rings {
            wait::register(rig.ring.memory().header(), what, me.me());
        }
        // One barrier serves all the rings.
        wait::barrier(rings[0].ring.memory().header(), me);
    };
    let late = mutant("registered_after_the_look");
    loop {
        let mut seen = me.doorbell_value();
        if !late {
            register();
        }
        if mutant("doorbell_read_late") {
            seen = me.doorbell_value();
        }
        let found = look();
        if mutant("doorbell_read_last") {
            seen = me.doorbell_value();
        }
        if let Some(found) = found {
            for rig in rings {
                let header = rig.ring.memory().header();
                wait::unregister(header, what, me.me());
                let needed = || wait::someone_is_left(header, what) && more();
                if !mutant("not_passed_on") && needed() {
                    wait::wake_one(header, what, me);
                }
            }
            return found;
        }
        if late {
            register();
        }
        me.sleep(seen, SLICE);
    }
}

/// What every publisher does after publishing.
fn wake(rig: &Rig, what: For, me: u16) {
    let header = rig.ring.memory().header();
    if wait::anyone_waits(header, what) {
        wait::wake_one(header, what, &rig.me(me));
    }
}

pub(crate) const GET_SPSC: Model = Model {
    name: "sleep_get_spsc",
    promise: "one consumer, one producer: each put wakes, though no put fences",
    bound: Some(3),
    min_iterations: 12_000,
    without: &[],
    points: &[],
    mutants: &[
        "light_barrier_missing",
        "barrier_missing",
        "doorbell_not_rung",
        "registered_after_the_look",
        "doorbell_read_last",
    ],
    body: get_spsc,
};

fn get_spsc(case: Case) {
    let rig = Rig::new(Single, Single);
    let mut producer = rig.producer();
    let mut consumer = rig.consumer();
    let (ann, bob) = (rig.clone(), rig.clone());
    case.two(
        move || {
            for value in [10, 11] {
                assert!(expect_put(ann.put_single(&mut producer, value)));
                wake(&ann, For::Records, ANN);
            }
        },
        move || {
            let me = bob.me(BOB);
            for value in [10, 11] {
                let look = || bob.get_single(&mut consumer);
                assert_eq!(wait_for(&[&bob], For::Records, &me, look, || false), value);
            }
        },
    );
}

pub(crate) const GET_FENCED: Model = Model {
    name: "sleep_get_fenced",
    promise: "without membarrier the flag makes the publishers fence",
    bound: Some(3),
    min_iterations: 390,
    without: &["light_barrier_missing", "heavy_barrier_missing"],
    points: &[],
    mutants: &["fence_needed_ignored"],
    body: get_fenced,
};

fn get_fenced(case: Case) {
    let rig = Rig::new(Single, Single);
    let flag = &rig.ring.memory().header().shared.fence_needed;
    flag.store(1, loom::sync::atomic::Ordering::Relaxed);
    let mut producer = rig.producer();
    let mut consumer = rig.consumer();
    let (ann, bob) = (rig.clone(), rig.clone());
    case.two(
        move || {
            assert!(expect_put(ann.put_single(&mut producer, 10)));
            wake(&ann, For::Records, ANN);
        },
        move || {
            let me = bob.me(BOB);
            let look = || bob.get_single(&mut consumer);
            assert_eq!(wait_for(&[&bob], For::Records, &me, look, || false), 10);
        },
    );
}

pub(crate) const GET_MPSC: Model = Model {
    name: "sleep_get_mpsc",
    promise: "two producers put one record each; the consumer sleeps through neither",
    bound: Some(1),
    min_iterations: 4800,
    without: &[],
    points: &[],
    mutants: &[
        "light_barrier_missing",
        "barrier_missing",
        "doorbell_not_rung",
        "tidy_without_look",
    ],
    body: get_mpsc,
};

fn get_mpsc(case: Case) {
    let rig = Rig::new(Multi, Single);
    let mut consumer = rig.consumer();
    let publisher = |id: u16, value: u8| {
        let rig = rig.clone();
        move || {
            assert!(expect_put(rig.put(&ProducerCache::default(), id, value)));
            wake(&rig, For::Records, id);
        }
    };
    let eve = rig.clone();
    let ((), (), got) = case.three(publisher(ANN, 10), publisher(BOB, 20), move || {
        let me = eve.me(EVE);
        let mut get = || {
            let look = || eve.get_single(&mut consumer);
            wait_for(&[&eve], For::Records, &me, look, || false)
        };
        vec![get(), get()]
    });
    expect_same(got, vec![10, 20]);
}

pub(crate) const TWO_WAITERS: Model = Model {
    name: "sleep_two_waiters",
    promise: "one wake for two records wakes both waiters: the first passes it on",
    bound: Some(2),
    min_iterations: 32_000,
    without: &[],
    points: &[],
    mutants: &["not_passed_on", "light_barrier_missing"],
    body: two_waiters,
};

fn two_waiters(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let waiter = |id: u16| {
        let rig = rig.clone();
        move || {
            let me = rig.me(id);
            wait_for(&[&rig], For::Records, &me, || rig.get(id), || rig.ring.waiting() > 0)
        }
    };
    let eve = rig.clone();
    let (a, b, ()) = case.three(waiter(ANN), waiter(BOB), move || {
        super::data::put_run(&eve, &ProducerCache::default(), EVE, [30, 31]);
        wake(&eve, For::Records, EVE);
    });
    expect_same(vec![a, b], vec![30, 31]);
}

pub(crate) const TWO_RINGS: Model = Model {
    name: "sleep_two_rings",
    promise: "a consumer that waits on two rings with one doorbell sleeps through neither",
    bound: Some(1),
    min_iterations: 1900,
    without: &[],
    points: &[],
    mutants: &["barrier_missing", "light_barrier_missing", "doorbell_read_last"],
    body: two_rings,
};

fn two_rings(case: Case) {
    let kernel = Kernel::new();
    let left = Rig::among(&kernel, Single, Single, 0);
    let right = Rig::among(&kernel, Single, Single, 0);
    let publisher = |rig: &Rig, id: u16, value: u8| {
        let rig = rig.clone();
        let mut producer = rig.producer();
        move || {
            assert!(expect_put(rig.put_single(&mut producer, value)));
            wake(&rig, For::Records, id);
        }
    };
    let (mut from_left, mut from_right) = (left.consumer(), right.consumer());
    let (put_left, put_right) = (publisher(&left, ANN, 10), publisher(&right, BOB, 20));
    let ((), (), got) = case.three(put_left, put_right, move || {
        let me = left.me(EVE);
        let mut get = || {
            let look =
                || left.get_single(&mut from_left).or_else(|| right.get_single(&mut from_right));
            wait_for(&[&left, &right], For::Records, &me, look, || false)
        };
        vec![get(), get()]
    });
    expect_same(got, vec![10, 20]);
}

pub(crate) const ROOM_SPSC: Model = Model {
    name: "sleep_room_spsc",
    promise: "a producer at a full ring is woken by an acknowledgement",
    bound: Some(3),
    min_iterations: 560,
    without: &[],
    points: &[],
    mutants: &["light_barrier_missing", "barrier_missing", "doorbell_not_rung"],
    body: room_spsc,
};

fn room_spsc(case: Case) {
    let rig = Rig::new(Single, Single);
    let mut producer = rig.producer();
    let mut consumer = rig.consumer();
    for value in 0..8 {
        assert!(expect_put(rig.put_single(&mut producer, value)));
    }
    let (ann, bob) = (rig.clone(), rig.clone());
    case.two(
        move || {
            let me = ann.me(ANN);
            let look = || expect_put(ann.put_single(&mut producer, 8)).then_some(());
            wait_for(&[&ann], For::Room, &me, look, || false);
        },
        move || {
            assert_eq!(bob.get_single(&mut consumer), Some(0));
            wake(&bob, For::Room, BOB);
        },
    );
}

pub(crate) const ROOM_SPMC: Model = Model {
    name: "sleep_room_spmc",
    promise: "a producer that needs two units is woken, and helps itself to them, though two \
              consumers release one each and may both leave the frontier where it is",
    bound: Some(2),
    min_iterations: 14_000,
    without: &[],
    points: &[],
    mutants: &["light_barrier_missing", "barrier_missing", "room_without_help"],
    body: room_spmc,
};

fn room_spmc(case: Case) {
    let rig = Rig::of(&Kernel::new(), 16, Single, Multi, 0);
    let mut producer = rig.producer_of(0..16);
    let releaser = |id: u16| {
        let rig = rig.clone();
        let taken = rig.take(id).expect("the ring is full");
        move || {
            rig.finish(&taken, id);
            wake(&rig, For::Room, id);
        }
    };
    let (a, b) = (releaser(ANN), releaser(BOB));
    let eve = rig.clone();
    case.three(a, b, move || {
        let me = eve.me(EVE);
        let look = || {
            if !mutant("room_without_help") {
                eve.ring.help_room();
            }
            eve.ring.claim_single(&mut producer, 2, 1).ok()
        };
        let claim = wait_for(&[&eve], For::Room, &me, look, || false);
        eve.ring.abandon_single(&producer);
        assert_eq!(claim.n, 2);
    });
}
