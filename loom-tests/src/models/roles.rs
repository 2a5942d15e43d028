//! One producer or one consumer dies, and a successor takes its role over while the other side
//! goes on.

use crate::harness::{Case, Model, die_at};
use crate::rig::{EVE, Multi, Rig, Single, expect_put, expect_taken};

pub(crate) const PRODUCER_SUCCEEDS: Model = Model {
    name: "producer_succeeds",
    promise: "a successor rolls over what a dead producer stamped, whatever consumers did to it",
    bound: Some(3),
    min_iterations: 1800,
    without: &["light_barrier_missing"],
    points: &["commit_single.before_stamp", "commit_single.between_stamp_and_tail"],
    mutants: &["no_roll_over"],
    body: producer_succeeds,
};

fn producer_succeeds(case: Case) {
    let rig = Rig::new(Single, Multi);
    let mut first = rig.producer();
    assert!(expect_put(rig.put_single(&mut first, 10)));
    let (putting, getting) = (rig.clone(), rig.clone());
    let ((), mut got) = case.two(
        move || {
            let died = die_at(case.point, || putting.put_single(&mut first, 11));
            assert!(died.is_none());
            // The role's lock passes from one to the other, in the same thread here.
            let mut second = putting.producer();
            assert!(expect_put(putting.put_single(&mut second, 12)));
        },
        move || (0..2).filter_map(|_| getting.get(EVE)).collect::<Vec<u8>>(),
    );
    got.extend(crate::rig::values(&rig.drain()));
    let stamped = case.point != "commit_single.before_stamp";
    let expected = if stamped { &[10, 11, 12][..] } else { &[10, 12] };
    assert_eq!(got, expected);
    rig.producer_of(0..8);
    assert_eq!(rig.drain().len(), 8);
}

pub(crate) const CONSUMER_SUCCEEDS: Model = Model {
    name: "consumer_succeeds",
    promise: "a successor gets what a dead consumer was shown again, flagged, and nothing that it \
              acknowledged",
    bound: None,
    min_iterations: 37,
    without: &["light_barrier_missing"],
    points: &["take_single.after_peek", "ack_single.before_stamp", "ack_single.after_stamp", ""],
    mutants: &["peek_after_exposure", "head_relaxed"],
    body: consumer_succeeds,
};

fn consumer_succeeds(case: Case) {
    let rig = Rig::new(Multi, Single);
    let cache = ringway::shm::ring::ProducerCache::default();
    for value in 0..8 {
        assert!(expect_put(rig.put(&cache, EVE, value)));
    }
    let mut first = rig.consumer();
    let (getting, putting) = (rig.clone(), rig.clone());
    let ((mut second, shown, done, mut again), put) = case.two(
        move || {
            let mut shown = 0;
            let mut done = false;
            // Two leases; the first is acknowledged; then it dies, here or before.
            die_at(case.point, || {
                let taken = expect_taken(getting.ring.take_single(&mut first)).expect("full");
                shown = 1;
                assert_eq!(getting.value(&taken), 0);
                let _second = expect_taken(getting.ring.take_single(&mut first)).expect("full");
                shown = 2;
                getting.ring.ack_single(&mut first, &taken);
                done = true;
            });
            let mut second = getting.consumer();
            let taken = expect_taken(getting.ring.take_single(&mut second)).expect("full");
            let again = vec![(getting.value(&taken), taken.redeliveries())];
            getting.ring.ack_single(&mut second, &taken);
            (second, shown, done, again)
        },
        move || expect_put(putting.put(&cache, EVE, 30)),
    );
    again.extend(rig.drain_single(&mut second));
    // Stamped RELEASED is acknowledged, whatever the head says.
    let from = u8::from(done || case.point == "ack_single.after_stamp");
    let mut expected: Vec<u8> = (from..8).collect();
    expected.extend(put.then_some(30));
    assert_eq!(crate::rig::values(&again), expected);
    for (value, redeliveries) in again {
        assert!(value >= shown || redeliveries > 0, "{value} was shown, and comes unflagged");
        // At most the one whose exposure was begun may be flagged without having been shown.
        assert!(value <= shown || redeliveries == 0, "{value} was never shown, and comes flagged");
    }
}
