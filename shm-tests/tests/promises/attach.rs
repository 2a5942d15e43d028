//! Attaching at the same time, and the roles of single-sided rings.

use std::collections::BTreeSet;

use ringway::error::GetError;
use ringway::queue::Side;
use ringway::shm::os::monotonic_ns;

use crate::{lease, mpmc, place, small};

#[test]
fn sixteen_processes_that_create_one_queue_at_once_share_one_segment() {
    let place = place();
    let mut peers: Vec<_> = (0..16).map(|_| place.peer()).collect();
    for round in 0..10 {
        let queue = place.queue(&format!("race-{round}"), mpmc());
        let start = monotonic_ns() + 5_000_000;
        for peer in &mut peers {
            peer.send(format!("at {start} open q {}", queue.to_json()));
        }
        for peer in &mut peers {
            peer.answer_ok();
        }
        assert_eq!(place.left().len(), 1, "{:?}", place.left());
        for (i, peer) in peers.iter_mut().enumerate() {
            peer.ok(format!("put q from-{i}"));
        }
        // Every one of them finds every packet there, and takes another's.
        let mut got = BTreeSet::new();
        for peer in &mut peers {
            assert_eq!(peer.ok("qsize q"), (16 - got.len()).to_string());
            got.insert(peer.ok("get q now"));
        }
        assert_eq!(got.len(), 16);
        for peer in &mut peers {
            peer.ok("forget q");
        }
        // Ephemeral: the last to leave removed it.
        assert!(place.left().is_empty());
    }
}

#[test]
fn a_second_producer_is_refused_by_the_pid_of_the_first_until_that_is_dead() {
    for consumers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("roles", small(Side::Single, consumers));
        let (mut first, mut second) = (place.peer(), place.peer());
        first.open(&queue);
        second.open(&queue);
        first.ok("put q 1");
        let taken = format!("RoleTaken {{ pid: {} }}", first.id());
        assert_eq!(second.err("put q 2"), taken);
        assert_eq!(second.err("producer q"), taken);
        assert_eq!(second.err("reserve q 2 now"), taken);
        // A stopped process is not dead.
        first.stop();
        assert_eq!(second.err("put q 2"), taken);
        first.resume();
        first.ok("put q 2");
        first.kill();
        second.ok("producer q");
        second.ok("put q 3");
        for text in ["1 1", "2 1", "3 1"] {
            assert_eq!(queue.get().unwrap().payload, &text.as_bytes()[..1]);
        }
        // Given up in order, it is free at once.
        second.ok("free-producer q");
        queue.put(b"4").unwrap();
        assert_eq!(second.err("put q 5"), format!("RoleTaken {{ pid: {} }}", std::process::id()));
    }
}

#[test]
fn a_second_consumer_is_refused_by_the_pid_of_the_first_until_that_is_dead() {
    for producers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("roles", small(producers, Side::Single));
        for text in [b"1", b"2", b"3"] {
            queue.put(text).unwrap();
        }
        let (mut first, mut second) = (place.peer(), place.peer());
        first.open(&queue);
        second.open(&queue);
        first.ok("consumer q");
        assert_eq!(lease(&mut first, "1"), (1, 1));
        let taken = format!("RoleTaken {{ pid: {} }}", first.id());
        assert_eq!(second.err("get q now"), taken);
        assert_eq!(second.err("consumer q"), taken);
        assert!(matches!(queue.try_get(), Err(GetError::RoleTaken { pid }) if pid == first.id()));
        first.stop();
        assert_eq!(second.err("lease q now"), taken);
        first.resume();
        first.ok("ack 1");
        first.kill();
        second.ok("consumer q");
        assert_eq!(second.ok("get q now"), "2 1");
        second.ok("free-consumer q");
        assert_eq!(queue.try_get().unwrap().payload, b"3");
    }
}
