//! Several survivors find the same dead.

use ringway::shm::peers::Peers as _;
use ringway::shm::recovery;
use ringway::shm::ring::ProducerCache;

use crate::harness::{Case, Model};
use crate::rig::{ANN, BOB, EVE, Multi, Rig, Single, expect_put, expect_same, values};

pub(crate) const DEAD_WRITER: Model = Model {
    name: "dead_writer",
    promise: "of two survivors that find a claim of a dead producer one skips it, while it may yet \
              turn out to be committed",
    bound: Some(2),
    min_iterations: 6200,
    without: &[],
    points: &[],
    mutants: &["skip_committed"],
    body: dead_writer,
};

fn dead_writer(case: Case) {
    let rig = Rig::new(Multi, Multi);
    let cache = ProducerCache::default();
    let mut claim = rig.ring.claim(&cache, 1, ANN).expect("there is room");
    rig.ring.write(&mut claim, true, &[10]);
    let (ann, bob, eve) = (rig.clone(), rig.clone(), rig.clone());
    let ((), b, e) = case.three(
        move || {
            // Commits at the last moment, and dies.
            ann.ring.commit(&claim, 0, 1, true);
            ann.kernel.bury(ANN);
        },
        move || {
            recovery::skip_dead_writer(&bob.ring, &bob.me(BOB));
            bob.get(BOB)
        },
        move || {
            recovery::skip_dead_writer(&eve.ring, &eve.me(EVE));
            eve.get(EVE)
        },
    );
    let mut got: Vec<u8> = b.into_iter().chain(e).collect();
    got.extend(values(&rig.drain()));
    expect_same(got, vec![10]);
}

pub(crate) const DEAD_READER: Model = Model {
    name: "dead_reader",
    promise: "of two consumers exactly one inherits what a dead one held, flagged; a producer \
              overwrites it only when the heir is done",
    bound: Some(2),
    min_iterations: 1800,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["adopt_without_cas", "released_relaxed"],
    body: dead_reader,
};

fn dead_reader(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut producer = rig.producer_of(0..8);
    let _held = rig.take(ANN).expect("the ring is full");
    rig.kernel.bury(ANN);
    let heir = |id: u16| {
        let rig = rig.clone();
        move || rig.inherit(id)
    };
    let putting = rig.clone();
    let (b, e, put) =
        case.three(heir(BOB), heir(EVE), move || expect_put(putting.put_single(&mut producer, 30)));
    let got: Vec<u8> = b.into_iter().chain(e).collect();
    assert!(got.len() <= 1, "one record in two hands");
    let mut expected: Vec<u8> = (0..8).collect();
    expected.extend(put.then_some(30));
    expect_same([got, values(&rig.drain())].concat(), expected);
}

pub(crate) const SCRUB_OR_ADOPT: Model = Model {
    name: "scrub_or_adopt",
    promise: "a recoverer that stalls never takes a record from the new owner of a dead one's id",
    bound: Some(3),
    min_iterations: 300,
    without: &[],
    points: &[],
    mutants: &["recover_without_lock"],
    body: scrub_or_adopt,
};

fn scrub_or_adopt(case: Case) {
    let rig = Rig::new(Multi, Multi);
    assert!(expect_put(rig.put(&ProducerCache::default(), EVE, 30)));
    let _held = rig.take(ANN).expect("just put");
    rig.kernel.bury(ANN);
    let (bob, successor) = (rig.clone(), rig.clone());
    let (b, a) = case.two(
        move || bob.ring.adopt(&bob.me(BOB)).map(|taken| (taken, BOB)),
        move || {
            // A new participant that was given the id of the dead one.
            if !successor.kernel.join(ANN) {
                return None;
            }
            recovery::scrub_ring(&successor.ring, ANN);
            let me = successor.me(ANN);
            assert_eq!(me.me(), ANN);
            successor.ring.adopt(&me).map(|taken| (taken, ANN))
        },
    );
    assert!(a.is_none() || b.is_none(), "one record in two hands");
    if let Some((taken, owner)) = a.or(b) {
        assert!(taken.redeliveries() > 0, "an unflagged redelivery");
        assert_eq!(rig.finish(&taken, owner), 30);
        assert_eq!(rig.drain(), []);
        return;
    }
    // Nobody: each left it to the other, whose lock or stamp it saw; the next one gets it.
    assert_eq!(values(&rig.drain()), [30]);
}

pub(crate) const RETURNED_BY_PRODUCER: Model = Model {
    name: "returned_by_producer",
    promise: "what a producer at a full ring gives back for the dead is taken once, flagged",
    bound: Some(2),
    min_iterations: 1100,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["adopt_without_cas"],
    body: returned_by_producer,
};

fn returned_by_producer(case: Case) {
    let rig = Rig::new(Single, Multi);
    rig.producer_of(0..8);
    let _held = rig.take(ANN).expect("the ring is full");
    rig.kernel.bury(ANN);
    let heir = |id: u16| {
        let rig = rig.clone();
        move || rig.ring.adopt_hinted(&rig.me(id)).map(|taken| rig.finish(&taken, id))
    };
    let putting = rig.clone();
    let ((), b, e) = case.three(
        move || {
            recovery::make_room(&putting.ring, &putting.me(EVE));
        },
        heir(BOB),
        heir(BOB),
    );
    let got: Vec<u8> = b.into_iter().chain(e).collect();
    let rest = rig.drain();
    assert!(rest.iter().all(|(value, redeliveries)| *value != 0 || *redeliveries > 0));
    expect_same([got, values(&rest)].concat(), (0..8).collect());
}

pub(crate) const GIVE_BACK_HINT: Model = Model {
    name: "give_back_hint",
    promise: "whoever takes the hint finds the record that was given back, or leaves the hint",
    bound: None,
    min_iterations: 620,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["hint_relaxed", "hint_cleared_late", "hint_by_store"],
    body: give_back_hint,
};

fn give_back_hint(case: Case) {
    let rig = Rig::new(Single, Multi);
    rig.producer_of([30, 31]);
    let first = rig.take(ANN).expect("just put");
    let second = rig.take(ANN).expect("just put");
    rig.ring.give_back(&first);
    let (ann, bob) = (rig.clone(), rig.clone());
    let ((), got) = case.two(
        move || ann.ring.give_back(&second),
        move || {
            let me = bob.me(BOB);
            [bob.ring.adopt_hinted(&me), bob.ring.adopt_hinted(&me)]
                .into_iter()
                .flatten()
                .map(|taken| bob.finish(&taken, BOB))
                .collect::<Vec<u8>>()
        },
    );
    // No idle search: the hint alone must lead to the rest.
    let me = rig.me(EVE);
    let mut all = got;
    while let Some(taken) = rig.ring.adopt_hinted(&me) {
        all.push(rig.finish(&taken, EVE));
    }
    expect_same(all, vec![30, 31]);
}

pub(crate) const SCRUB_LEASES_LAPPED: Model = Model {
    name: "scrub_leases_lapped",
    promise: "a joiner that scrubs while entries are used anew before it leaves no lease of the dead",
    bound: Some(2),
    min_iterations: 1400,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["scrub_stops_when_lapped"],
    body: scrub_leases_lapped,
};

fn scrub_leases_lapped(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..8);
    let first = rig.take(BOB).expect("the ring is full");
    let _held = rig.take(ANN).expect("the ring is full");
    for value in 2..8 {
        assert_eq!(rig.get(EVE), Some(value));
    }
    rig.kernel.bury(ANN);
    let (successor, bob) = (rig.clone(), rig.clone());
    let ((), got) = case.two(
        move || scrub_as(&successor, ANN),
        move || {
            assert_eq!(bob.finish(&first, BOB), 0);
            // The same take word, one lap on.
            assert!(expect_put(bob.put(&ProducerCache::default(), BOB, 30)));
            bob.get(BOB)
        },
    );
    // The successor lives: nobody would take what its id still held.
    assert_eq!(got, Some(30));
    assert_eq!(rig.drain(), [(1, 1)]);
}

pub(crate) const SCRUB_CLAIMS_LAPPED: Model = Model {
    name: "scrub_claims_lapped",
    promise: "a joiner that scrubs while entries are used anew before it leaves no claim of the dead",
    bound: Some(2),
    min_iterations: 240,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["scrub_stops_when_lapped"],
    body: scrub_claims_lapped,
};

fn scrub_claims_lapped(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..1);
    let _claim = rig.ring.claim(&ProducerCache::default(), 1, ANN).expect("there is room");
    rig.fill(2..8);
    rig.kernel.bury(ANN);
    let (successor, bob) = (rig.clone(), rig.clone());
    let ((), put) = case.two(
        move || scrub_as(&successor, ANN),
        move || {
            assert_eq!(bob.get(BOB), Some(0));
            expect_put(bob.put(&ProducerCache::default(), BOB, 30))
        },
    );
    // The successor lives: everybody would wait for what its id still wrote.
    let expected = (2..8).chain(put.then_some(30)).collect();
    expect_same(values(&rig.drain()), expected);
}

/// A new participant gets the id of a dead one.
fn scrub_as(rig: &Rig, id: u16) {
    assert!(rig.kernel.join(id), "nobody else is after it");
    recovery::scrub_ring(&rig.ring, id);
}
