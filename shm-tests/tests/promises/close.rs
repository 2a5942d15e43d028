//! Closed, while another process still holds a packet.

use ringway::error::{GetError, PutError};
use ringway::queue::Side;
use shm_tests::WATCHDOG;
use shm_tests::peer::Asleep;

use crate::{lease, place, small};

#[test]
fn a_drainer_waits_for_leases_of_others_and_gets_what_the_dead_held() {
    for producers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("drain", small(producers, Side::Multi));
        queue.put(b"a").unwrap();
        queue.put(b"b").unwrap();
        let (mut holder, mut drainer) = (place.peer(), place.peer());
        holder.open(&queue);
        drainer.open(&queue);
        lease(&mut holder, "a");
        queue.close().unwrap();
        assert!(matches!(queue.try_put(b"x"), Err(PutError::Closed)));
        assert_eq!(drainer.ok("get q"), "b 1");
        assert_eq!(drainer.err("get q now"), "Draining { in_flight: 1 }");
        // The holder itself has nothing to wait for.
        assert_eq!(holder.err("get q now"), "Closed");
        let id = place.participant("drain", drainer.id()).unwrap();
        drainer.send("get q");
        drainer.wait_asleep(&queue.queue().unwrap(), id, Asleep::Getting);
        holder.kill();
        assert_eq!(drainer.answer_ok(), "a 2");
        assert_eq!(drainer.err("get q"), "Closed");
        assert!(matches!(queue.get_timeout(WATCHDOG), Err(GetError::Closed)));
    }
}

#[test]
fn a_drainer_hears_closed_when_the_last_lease_is_acknowledged_or_given_back_to_it() {
    for producers in [Side::Single, Side::Multi] {
        for give_back in [false, true] {
            let place = place();
            let queue = place.queue("drain", small(producers, Side::Multi));
            queue.put(b"a").unwrap();
            let (mut holder, mut drainer) = (place.peer(), place.peer());
            holder.open(&queue);
            drainer.open(&queue);
            lease(&mut holder, "a");
            drainer.ok("close q");
            let id = place.participant("drain", drainer.id()).unwrap();
            drainer.send("get q");
            drainer.wait_asleep(&queue.queue().unwrap(), id, Asleep::Getting);
            if give_back {
                holder.ok("giveback 1");
                assert_eq!(drainer.answer_ok(), "a 2");
                assert_eq!(drainer.err("get q"), "Closed");
            } else {
                holder.ok("ack 1");
                assert_eq!(drainer.answer_err(), "Closed");
            }
        }
    }
}

#[test]
fn a_put_that_was_under_way_at_the_close_is_delivered_or_dies_with_its_writer() {
    for (producers, consumers) in [
        (Side::Multi, Side::Multi),
        (Side::Multi, Side::Single),
        (Side::Single, Side::Multi),
        (Side::Single, Side::Single),
    ] {
        for killed in [false, true] {
            let place = place();
            let queue = place.queue("late", small(producers, consumers));
            let (mut writer, mut drainer) = (place.peer(), place.peer());
            writer.open(&queue);
            drainer.open(&queue);
            writer.ok("reserve q late");
            queue.close().unwrap();
            let id = place.participant("late", drainer.id()).unwrap();
            drainer.send("get q");
            drainer.wait_asleep(&queue.queue().unwrap(), id, Asleep::Getting);
            assert_eq!(drainer.try_answer(), None, "the packet may still come");
            if killed {
                writer.kill();
            } else {
                writer.ok("commit 1");
                assert_eq!(drainer.answer_ok(), "late 1");
                assert_eq!(writer.err("put q x"), "Closed");
                drainer.send("get q");
            }
            assert_eq!(drainer.answer_err(), "Closed", "{producers:?} {consumers:?} {killed}");
        }
    }
}

#[test]
fn the_successor_of_a_killed_consumer_drains_a_closed_ring() {
    for producers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("drain", small(producers, Side::Single));
        queue.put(b"a").unwrap();
        queue.put(b"b").unwrap();
        let mut holder = place.peer();
        holder.open(&queue);
        lease(&mut holder, "a");
        lease(&mut holder, "b");
        holder.ok("ack 2");
        queue.close().unwrap();
        assert_eq!(holder.err("get q now"), "Closed");
        holder.kill();
        let mut next = place.peer();
        next.open(&queue);
        assert_eq!(next.ok("get q"), "a 2");
        assert_eq!(next.err("get q"), "Closed");
    }
}
