//! Runs of records whose taker dies, and who inherits them.

use ringway::shm::recovery;
use ringway::shm::ring::ProducerCache;

use crate::harness::{Case, Model, die_at};
use crate::rig::{ANN, BOB, EVE, Multi, Rig, expect_put, expect_same, values};

pub(crate) const RUN_TAKER_DIES: Model = Model {
    name: "run_taker_dies",
    promise: "the records of a run whose taker dies before, while or after it splits it are each \
              delivered once more, flagged, by whoever is there, while a producer needs the room",
    bound: Some(2),
    min_iterations: 98_000,
    without: &["light_barrier_missing"],
    points: &["take.between_word_and_head", "take.after_head", "take.between_words_of_run"],
    mutants: &["run_split_first_to_last", "help_run_short"],
    body: run_taker_dies,
};

fn run_taker_dies(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..8);
    let (ann, bob, putting) = (rig.clone(), rig.clone(), rig.clone());
    let ((), b, put) = case.three(
        move || {
            let died = die_at(case.point, || ann.take_two(ANN));
            // It may have come too late for the first, or one of them.
            assert!(died.is_none_or(|run| run.is_empty()));
            ann.kernel.bury(ANN);
        },
        move || {
            let me = bob.me(BOB);
            let taken = bob.ring.adopt(&me).or_else(|| bob.take(BOB))?;
            Some((bob.value(&taken), taken.redeliveries(), bob.finish(&taken, BOB)))
        },
        move || {
            recovery::make_room(&putting.ring, &putting.me(EVE));
            expect_put(putting.put(&ProducerCache::default(), EVE, 30))
        },
    );
    let mut got = Vec::new();
    if let Some((value, redeliveries, _)) = b {
        got.push((value, redeliveries));
    }
    got.extend(rig.drain());
    assert!(got.iter().all(|(value, redeliveries)| *value < 3 || *redeliveries == 0), "{got:?}");
    let expected = (0..8).chain(put.then_some(30)).collect();
    expect_same(values(&got), expected);
    rig.expect_usable();
}

pub(crate) const RUN_HEIRS: Model = Model {
    name: "run_heirs",
    promise: "of a run that a dead consumer left unsplit, survivors that find it together inherit \
              each record once, flagged",
    bound: Some(2),
    min_iterations: 100_000,
    without: &["light_barrier_missing"],
    points: &["take.between_word_and_head", "take.after_head", "take.between_words_of_run"],
    mutants: &["adopt_without_cas", "recover_without_lock"],
    body: run_heirs,
};

fn run_heirs(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..3);
    assert!(die_at(case.point, || rig.take_two(ANN)).is_none());
    rig.kernel.bury(ANN);
    let heir = |id: u16| {
        let rig = rig.clone();
        move || rig.inherit(id)
    };
    let returning = rig.clone();
    let (b, e, _) = case.three(heir(BOB), heir(EVE), move || {
        returning.ring.return_what_the_dead_hold(&returning.me(BOB))
    });
    let rest = rig.drain();
    assert!(rest.iter().all(|(value, redeliveries)| (*value < 2) == (*redeliveries == 1)));
    let got: Vec<u8> = b.into_iter().chain(e).collect();
    expect_same([got, values(&rest)].concat(), vec![0, 1, 2]);
    rig.expect_usable();
}

pub(crate) const RUN_SCRUBBED: Model = Model {
    name: "run_scrubbed",
    promise: "a joiner that gets the id of a dead consumer gives back all of its run, while others \
              adopt",
    bound: Some(3),
    min_iterations: 18_000,
    without: &["light_barrier_missing"],
    points: &["take.between_word_and_head", "take.after_head", "take.between_words_of_run"],
    mutants: &["recover_without_lock"],
    body: run_scrubbed,
};

fn run_scrubbed(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..2);
    assert!(die_at(case.point, || rig.take_two(ANN)).is_none());
    rig.kernel.bury(ANN);
    let (successor, bob) = (rig.clone(), rig.clone());
    let (a, b) = case.two(
        move || {
            // Bob may be at it, under this very lock.
            if !successor.kernel.join(ANN) {
                return None;
            }
            recovery::scrub_ring(&successor.ring, ANN);
            let taken = successor.ring.adopt(&successor.me(ANN))?;
            Some(successor.finish(&taken, ANN))
        },
        move || {
            let taken = bob.ring.adopt(&bob.me(BOB))?;
            Some(bob.finish(&taken, BOB))
        },
    );
    let got: Vec<u8> = a.into_iter().chain(b).collect();
    let rest = rig.drain();
    assert!(rest.iter().all(|(_, redeliveries)| *redeliveries == 1), "{rest:?}");
    expect_same([got, values(&rest)].concat(), vec![0, 1]);
    rig.expect_usable();
}

pub(crate) const SCRUB_BEHIND_RUN: Model = Model {
    name: "scrub_behind_run",
    promise: "a joiner that scrubs while a living consumer splits its run finds what the dead held \
              behind it",
    bound: None,
    min_iterations: 1100,
    without: &["light_barrier_missing"],
    points: &[],
    mutants: &["split_relaxed", "run_split_first_to_last", "take_not_acquired"],
    body: scrub_behind_run,
};

fn scrub_behind_run(case: Case) {
    let rig = Rig::new(Multi, Multi);
    rig.fill(0..3);
    let (bob, successor) = (rig.clone(), rig.clone());
    let (run, held) = case.two(
        move || bob.take_two(BOB),
        move || {
            let held = successor.take(ANN).map(|taken| successor.value(&taken));
            successor.kernel.bury(ANN);
            assert!(successor.kernel.join(ANN), "nobody else is after it");
            recovery::scrub_ring(&successor.ring, ANN);
            held
        },
    );
    let mut got: Vec<u8> = run.iter().map(|taken| rig.finish(taken, BOB)).collect();
    // The successor lives: nobody would take what its id still held.
    let rest = rig.drain();
    assert!(rest.iter().all(|(value, n)| *n == u32::from(Some(*value) == held)), "{rest:?}");
    got.extend(values(&rest));
    expect_same(got, vec![0, 1, 2]);
}
