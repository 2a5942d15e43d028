//! How long segments live: through deaths, destroy and clean.

use ringway::queue::QueueDescriptor;
use ringway::shm::Lifetime;
use ringway::shm::segment::{CleanOptions, CleanOutcome, Segment};
use shm_tests::peer::Peer;
use shm_tests::place::Place;

use crate::{lease, mpmc, place};

fn clean(place: &Place) -> Vec<CleanOutcome> {
    let reports = Segment::clean_abandoned(&place.directory(), CleanOptions::default()).unwrap();
    reports.into_iter().map(|report| report.outcome).collect()
}

fn opened(place: &Place, queue: &QueueDescriptor) -> Peer {
    let mut peer = place.peer();
    peer.open(queue);
    peer
}

#[test]
fn an_ephemeral_segment_of_the_killed_is_adopted_by_the_next_or_cleaned() {
    let place = place();
    let queue = place.queue("stale", mpmc());
    let mut first = opened(&place, &queue);
    first.ok("put q kept");
    first.ok("put q held");
    lease(&mut first, "kept");
    first.kill();
    // Nobody was there to remove it; whoever comes next goes on with it.
    assert_eq!(place.left().len(), 1);
    let mut second = opened(&place, &queue);
    let mut got = [second.ok("get q"), second.ok("get q")];
    got.sort();
    assert_eq!(got, ["held 1", "kept 2"]);
    assert_eq!(clean(&place), [CleanOutcome::Live]);
    second.ok("put q again");
    second.kill();
    assert_eq!(clean(&place), [CleanOutcome::Removed { packets: 1 }]);
    assert!(place.left().is_empty());
    let mut third = opened(&place, &queue);
    assert_eq!(third.err("get q now"), "Empty");
    third.quit();
    assert!(place.left().is_empty(), "the last to leave removes it");
}

#[test]
fn an_ephemeral_segment_lives_until_the_last_leaves_whoever_was_killed_before() {
    let place = place();
    let queue = place.queue("last", mpmc());
    let (mut a, b, mut c) =
        (opened(&place, &queue), opened(&place, &queue), opened(&place, &queue));
    a.ok("put q x");
    a.kill();
    b.quit();
    assert_eq!(place.left().len(), 1);
    assert_eq!(c.ok("get q"), "x 1");
    c.ok("forget q");
    assert!(place.left().is_empty());
}

#[test]
fn a_kept_segment_survives_everybody_with_its_packets() {
    let place = place();
    let queue = place.queue_of("kept", mpmc(), Lifetime::Keep);
    let mut peer = opened(&place, &queue);
    peer.ok("put q a");
    peer.ok("put q b");
    peer.ok("put q c");
    lease(&mut peer, "a");
    peer.kill();
    assert_eq!(clean(&place), [CleanOutcome::Kept { packets: 3 }]);
    let mut peer = opened(&place, &queue);
    let mut got: Vec<String> = (0..3).map(|_| peer.ok("get q")).collect();
    got.sort();
    assert_eq!(got, ["a 2", "b 1", "c 1"]);
    peer.quit();
    assert_eq!(place.left().len(), 1);
    assert_eq!(clean(&place), [CleanOutcome::Removed { packets: 0 }]);
    assert!(place.left().is_empty());
}

#[test]
fn a_jobs_segment_stays_after_its_processes_and_goes_at_the_next_start() {
    let place = place();
    let queue = place.queue_of("job", mpmc(), Lifetime::Job);
    let name = "job".parse().unwrap();
    let stale = || Segment::remove_stale_job(&place.directory(), &name).unwrap();
    let mut peer = opened(&place, &queue);
    peer.ok("put q a");
    assert_eq!(stale(), CleanOutcome::Live);
    peer.kill();
    assert_eq!(place.left().len(), 1);
    assert_eq!(stale(), CleanOutcome::Removed { packets: 1 });
    assert_eq!(stale(), CleanOutcome::Gone);
    opened(&place, &queue).quit();
    assert_eq!(place.left().len(), 1, "leaving does not remove a job's segment");
    assert_eq!(clean(&place), [CleanOutcome::Removed { packets: 0 }]);
}

#[test]
fn destroy_and_clean_against_attach_never_hang_and_leave_nothing() {
    let place = place();
    let queue = place.queue("fought-over", mpmc());
    let mut peers: Vec<Peer> = (0..4).map(|_| place.peer()).collect();
    for round in 0..150 {
        for (i, peer) in peers.iter_mut().enumerate() {
            peer.send(format!("open q {}", queue.to_json()));
            peer.send(format!("put q {round}"));
            if i == round % 4 {
                peer.send("destroy q");
            }
            peer.send("get q now");
            peer.send("forget q");
        }
        for outcome in clean(&place) {
            assert!(!matches!(outcome, CleanOutcome::Unreadable(_)), "{outcome:?}");
        }
        for (i, peer) in peers.iter_mut().enumerate() {
            peer.answer_ok();
            let put = peer.answer();
            assert!(["ok", "err Destroyed"].contains(&put.as_str()), "{put}");
            if i == round % 4 {
                peer.answer_ok();
            }
            let got = peer.answer();
            let fine = got == "err Destroyed" || got == "err Empty" || got.starts_with("ok ");
            assert!(fine, "{got}");
            peer.answer_ok();
        }
        assert!(place.left().is_empty(), "{:?}", place.left());
    }
}

#[test]
fn handles_that_exist_hear_of_the_destruction_and_a_new_queue_is_another() {
    let place = place();
    let queue = place.queue_of("again", mpmc(), Lifetime::Keep);
    let (mut a, mut b) = (opened(&place, &queue), opened(&place, &queue));
    a.ok("put q old");
    lease(&mut a, "old");
    let reservation = a.ok("reserve q unfinished");
    b.ok("destroy q");
    assert!(place.left().is_empty());
    b.open_as("new", &queue);
    b.ok("put new fresh");
    for command in ["put q x", "get q", "reserve q x", "put q x now", "get q now"] {
        assert_eq!(a.err(command), "Destroyed", "{command}");
    }
    // What it holds of the old one ends without harm to the new one.
    a.ok("ack 1");
    a.ok(format!("commit {reservation}"));
    a.open(&queue);
    assert_eq!(a.ok("get q now"), "fresh 1");
    b.ok("destroy new");
}
