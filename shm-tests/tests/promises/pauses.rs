//! Pauses are not deaths: what a stopped process holds stays its own, and it is named.
//!
//! A pause lasts a second here, longer than every slice and retry of the library but the gate's.
//! `RINGWAY_TEST_PAUSE=30 cargo test -p shm-tests --test promises pauses` makes it as many seconds as
//! one likes; the tests run side by side.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use ringway::error::{GetError, PutError};
use ringway::queue::{QueueDescriptor, Side};
use ringway::shm::inspect::BlockKind;
use shm_tests::peer::{Asleep, Peer, state_of};
use shm_tests::place::Place;
use shm_tests::{WATCHDOG, wait_until};

use crate::{MODES, lease, mpmc, place, small};

fn pause() -> Duration {
    let seconds = std::env::var("RINGWAY_TEST_PAUSE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(1))
}

/// Whom the ring waits for: what they do, who they are, whether they live.
fn blocked_by(queue: &QueueDescriptor) -> Vec<(BlockKind, Option<u32>, Option<bool>)> {
    let queue = queue.queue().unwrap();
    let blockers = queue.ring().unwrap().blocked_by();
    blockers.iter().map(|it| (it.kind, it.pid, it.alive)).collect()
}

#[test]
fn a_producer_stopped_between_claim_and_commit_is_waited_for_and_named() {
    for consumers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("writer", small(Side::Multi, consumers));
        let handle = queue.queue().unwrap();
        let (mut writer, mut reader) = (place.peer(), place.peer());
        writer.open(&queue);
        reader.open(&queue);
        let id = place.participant("writer", reader.id()).unwrap();
        writer.ok("reserve q first*1000");
        queue.put(b"second").unwrap();
        writer.stop();
        reader.send("get q");
        reader.wait_asleep(&handle, id, Asleep::Getting);
        // The pause itself is what is tested.
        std::thread::sleep(pause());
        assert_eq!(reader.try_answer(), None, "nothing passes a live writer");
        let writing = (BlockKind::Writing, Some(writer.id()), Some(true));
        assert_eq!(blocked_by(&queue), [writing]);
        assert_eq!((queue.qsize().unwrap(), queue.stats().unwrap().skipped), (2, 0));
        writer.resume();
        writer.ok("commit 1");
        assert_eq!(reader.answer_ok(), "first 1");
        assert_eq!(reader.ok("get q"), "second 1");
        assert_eq!(blocked_by(&queue), []);
    }
}

#[test]
fn a_single_producer_stopped_between_claim_and_commit_keeps_its_role() {
    let place = place();
    let queue = place.queue("single", small(Side::Single, Side::Multi));
    let mut writer = place.peer();
    writer.open(&queue);
    writer.ok("reserve q x");
    writer.stop();
    let start = Instant::now();
    while start.elapsed() < pause() {
        let refused = queue.put_timeout(b"y", Duration::from_millis(100));
        assert!(matches!(refused, Err(PutError::RoleTaken { pid }) if pid == writer.id()));
        assert!(matches!(queue.get_timeout(Duration::from_millis(100)), Err(GetError::Timeout)));
    }
    writer.resume();
    writer.ok("commit 1");
    assert_eq!(queue.get_timeout(WATCHDOG).unwrap().payload, b"x");
}

#[test]
fn a_consumer_stopped_between_lease_and_ack_keeps_its_packet_and_is_named() {
    for (name, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue(name, small(producers, consumers));
        let handle = queue.queue().unwrap();
        let mut reader = place.peer();
        reader.open(&queue);
        queue.put(b"held").unwrap();
        let (id, _) = lease(&mut reader, "held");
        reader.stop();
        let mut filler = 0;
        while queue.try_put(&[1; 48]).is_ok() {
            filler += 1;
        }
        assert_eq!(filler, 63, "all room but what the reader holds");
        let start = Instant::now();
        while start.elapsed() < pause() {
            // Waits out several slices each time: it looks for the dead, and finds none.
            let full = handle.put_timeout(b"more", Duration::from_millis(100));
            assert!(matches!(full, Err(PutError::Timeout)), "{name}: {full:?}");
            if consumers == Side::Single {
                let taken = queue.try_get();
                assert!(matches!(taken, Err(GetError::RoleTaken { pid }) if pid == reader.id()));
            }
        }
        let reading = (BlockKind::Reading, Some(reader.id()), Some(true));
        assert_eq!(blocked_by(&queue), [reading], "{name}");
        reader.resume();
        reader.ok(format!("ack {id}"));
        handle.put_timeout(b"more", WATCHDOG).unwrap();
        for _ in 0..filler {
            assert!(reader.ok("get q now").ends_with(" 1"), "{name}");
        }
        assert_eq!(reader.ok("get q now"), "more 1", "{name}");
        assert_eq!(reader.err("get q now"), "Empty", "{name}: nothing comes again");
    }
}

#[test]
fn a_fork_while_another_thread_attaches_keeps_no_dead_process_alive() {
    let place = place();
    let queue = place.queue("storm", mpmc()).with_max_participants(3).unwrap();
    queue.put(b"held").unwrap();
    let mut parent = place.peer();
    parent.open(&queue);
    lease(&mut parent, "held");
    // While one thread attaches and leaves all the time, the other forks children that live on.
    let answer = parent.ok(format!("fork-storm 100 {}", queue.to_json()));
    let children: Vec<u32> = answer.split(' ').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(children.len(), 100);
    parent.kill();
    // Both places are free: that of the parent, and that of its second attachment.
    let mut others = [place.peer(), place.peer()];
    for peer in &mut others {
        peer.open(&queue);
    }
    assert_eq!(others[0].ok("get q 30000"), "held 2");
    assert!(children.iter().all(|child| "SR".contains(state_of(*child))), "the children live");
    drop(parent);
    for child in children {
        wait_until("the child has ended", || "XZ".contains(state_of(child)));
    }
}

#[test]
fn a_process_in_another_pid_namespace_lives_and_dies_like_any_other() {
    let place = place();
    let (started, starting) = channel();
    let (over, until_over) = channel::<()>();
    let program = place.program();
    std::thread::scope(|scope| {
        // In a thread of its own, with which its children die: they alone are in the new namespace.
        scope.spawn(move || {
            let child = unshare(CloneFlags::CLONE_NEWPID)
                .map(|()| Peer::spawn(program, 0).expect("starting a peer"));
            started.send(child).unwrap();
            until_over.recv().unwrap_err();
        });
        match starting.recv().unwrap() {
            Ok(child) => in_another_pid_namespace(&place, Peer::of(child)),
            Err(errno) => println!("SKIPPED: no pid namespace can be made here: {errno}"),
        }
        drop(over);
    });
}

fn in_another_pid_namespace(place: &Place, mut inside: Peer) {
    assert_eq!(inside.ok("pid"), "1", "it is in a namespace of its own");
    let queue = place.queue("inside", mpmc());
    inside.open(&queue);
    // Live, it keeps what it holds; and so does one outside of which it knows no pid.
    let mut outside = place.peer();
    outside.open(&queue);
    for peer in [&mut inside, &mut outside] {
        peer.ok("put q held");
        lease(peer, "held");
    }
    for peer in [&mut inside, &mut outside] {
        peer.ok("reserve q unfinished");
    }
    queue.put(b"behind").unwrap();
    inside.stop();
    assert!(matches!(queue.get_timeout(Duration::from_millis(300)), Err(GetError::Timeout)));
    assert!(blocked_by(&queue).iter().all(|(_, _, alive)| *alive == Some(true)));
    inside.resume();
    assert_eq!(inside.err("get q 300"), "Timeout");
    // From inside the namespace it sees a death outside, and the other way round.
    outside.kill();
    assert_eq!(inside.ok("get q 30000"), "held 2");
    inside.kill();
    let mut got = [(); 2].map(|()| queue.get_timeout(WATCHDOG).unwrap());
    got.sort_by_key(|got| got.delivery_count);
    let texts = got.map(|got| (got.payload, got.delivery_count));
    assert_eq!(texts, [(b"behind".to_vec(), 1), (b"held".to_vec(), 2)]);
    assert_eq!((queue.qsize().unwrap(), queue.in_flight().unwrap()), (0, 0));
}
