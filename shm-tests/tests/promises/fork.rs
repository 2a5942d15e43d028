//! Forks without exec.

use ringway::queue::Side;
use shm_tests::peer::{Peer, state_of};
use shm_tests::wait_until;

use crate::{MODES, lease, mpmc, place, small};

#[test]
fn a_child_with_an_inherited_handle_hears_forked_and_harms_nothing() {
    for (name, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue(name, small(producers, consumers));
        let mut parent = place.peer();
        parent.open(&queue);
        parent.ok("put q a");
        parent.ok("put q b");
        let (id, _) = lease(&mut parent, "a");
        let reservation = parent.ok("reserve q c");
        for command in [
            "put q x now",
            "put_many q 3 x now",
            "reserve q x now",
            "get q now",
            "lease q now",
            "close q",
        ] {
            assert_eq!(parent.err(format!("fork {command}")), "Forked", "{name} {command}");
        }
        // The child drops the parent's lease and reservation, and all handles.
        parent.ok("fork qsize q");
        parent.ok(format!("fork ack {id}"));
        assert_eq!(parent.err(format!("fork commit {reservation}")), "Forked");
        assert_eq!(parent.err(format!("fork commit {reservation} 1")), "Forked");
        assert_eq!(queue.in_flight().unwrap(), 1, "{name}");
        assert!(queue.try_get().is_err() || consumers == Side::Multi);
        parent.ok(format!("commit {reservation}"));
        parent.ok(format!("ack {id}"));
        parent.ok("put q d");
        // Owned handles as well.
        for (handle, command) in [
            ("producer", "put q x now"),
            ("", "put_many q 3 x now"),
            ("consumer", "get q now"),
            ("", "lease q now"),
        ] {
            if !handle.is_empty() {
                parent.ok(format!("{handle} q"));
            }
            assert_eq!(parent.err(format!("fork {command}")), "Forked", "{name} {command}");
        }
        parent.ok("put q e");
        if consumers == Side::Single {
            assert_eq!(parent.ok("get q now"), "b 1");
        }
        assert_eq!(place.left().len(), 1, "the child left nothing of the parent's");
    }
}

#[test]
fn a_child_forked_inside_a_reader_leaves_it_and_acknowledges_nothing() {
    for (name, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue(name, small(producers, consumers));
        let mut parent = place.peer();
        parent.open(&queue);
        parent.ok("consumer q");
        for round in 0..3 {
            parent.ok("put_many q 4 x");
            // One alone, three in one go.
            for max in [1, 3] {
                let got = parent.ok(format!("fork-in-reader q {max}"));
                assert_eq!(got, format!("{max} Ok(\"exited 0\")"), "{name}, round {round}");
            }
            assert_eq!((queue.qsize().unwrap(), queue.in_flight().unwrap()), (0, 0), "{name}");
        }
        parent.ok("put q last");
        assert_eq!(parent.ok("get q now"), "last 1", "{name}");
    }
}

#[test]
fn a_child_opens_the_queue_anew() {
    let place = place();
    let queue = place.queue("anew", mpmc());
    let mut parent = place.peer();
    parent.open(&queue);
    parent.ok("put q a");
    // The child becomes a participant of its own, and leaves in order.
    parent.ok(format!("fork open q {}", queue.to_json()));
    parent.ok("put q b");
    let got = parent.ok(format!("fork both q {}", queue.to_json()));
    assert_eq!(got, "a 1");
    assert_eq!(parent.ok("get q"), "b 1");
    assert_eq!(parent.ok("get q"), "from-child 1");
    parent.quit();
}

#[test]
fn a_lease_of_a_killed_parent_is_recovered_while_its_child_lives() {
    for producers in [Side::Single, Side::Multi] {
        for consumers in [Side::Single, Side::Multi] {
            let place = place();
            let queue = place.queue("orphan", small(producers, consumers));
            let mut parent = place.peer();
            parent.open(&queue);
            parent.ok("put q held");
            lease(&mut parent, "held");
            parent.ok("reserve q unfinished");
            let child: u32 = parent.ok("fork-hold").parse().unwrap();
            parent.kill();
            let mut other: Peer = place.peer();
            other.open(&queue);
            other.ok("put q behind");
            let mut got = [other.ok("get q 30000"), other.ok("get q 30000")];
            got.sort();
            assert_eq!(got, ["behind 1", "held 2"], "{producers:?} {consumers:?}");
            assert!("SR".contains(state_of(child)), "the child is alive: {}", state_of(child));
            drop(parent);
            wait_until("the child has ended", || "XZ".contains(state_of(child)));
        }
    }
}
