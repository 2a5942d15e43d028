//! No wake-up is lost, whoever sleeps and whoever dies.

use ringway::queue::QueueConfig;
use shm_tests::peer::{Asleep, Peer};
use shm_tests::place::Place;
use shm_tests::wait_until;

use crate::{MODES, mpmc, place, small};

fn ping_pong(mode: usize, own: bool) {
    const ROUNDS: u64 = 20_000;
    let (name, producers, consumers) = MODES[mode];
    let place = place();
    let config = small(producers, consumers);
    let there = place.queue(&format!("{name}-there"), config.clone());
    let back = place.queue(&format!("{name}-back"), config);
    let (mut ping, mut echo) = (place.peer(), place.peer());
    for peer in [&mut ping, &mut echo] {
        peer.open_as("there", &there);
        peer.open_as("back", &back);
    }
    if own {
        echo.ok("consumer there");
        echo.ok("producer back");
        ping.ok("producer there");
        ping.ok("consumer back");
    }
    echo.send(format!("echo there back {ROUNDS}"));
    ping.send(format!("ping there back {ROUNDS}"));
    ping.answer_ok();
    echo.answer_ok();
}

#[test]
fn ping_pong_never_hangs_spsc() {
    ping_pong(0, false);
}

#[test]
fn ping_pong_never_hangs_mpsc() {
    ping_pong(1, false);
}

#[test]
fn ping_pong_never_hangs_spmc() {
    ping_pong(2, false);
}

#[test]
fn ping_pong_never_hangs_mpmc() {
    ping_pong(3, false);
}

#[test]
fn ping_pong_through_owned_handles_never_hangs_spsc() {
    ping_pong(0, true);
}

#[test]
fn ping_pong_through_owned_handles_never_hangs_mpmc() {
    ping_pong(3, true);
}

/// Peers that sleep in `get`.
fn sleepers(place: &Place, queue: &ringway::QueueDescriptor, count: usize) -> Vec<Peer> {
    let handle = queue.queue().unwrap();
    let segment = queue.shm_address().unwrap().segment().to_owned();
    (0..count)
        .map(|_| {
            let mut peer = place.peer();
            peer.open(queue);
            let id = place.participant(&segment, peer.id()).unwrap();
            peer.send("get q");
            peer.wait_asleep(&handle, id, Asleep::Getting);
            peer
        })
        .collect()
}

#[test]
fn as_many_packets_as_sleepers_wake_them_all() {
    let place = place();
    let queue = place.queue("many", mpmc());
    for _ in 0..5 {
        let mut peers = sleepers(&place, &queue, 6);
        for i in 0..6 {
            queue.put(&[b'0' + i]).unwrap();
        }
        let mut got: Vec<String> = peers.iter_mut().map(Peer::answer_ok).collect();
        got.sort();
        assert_eq!(got, ["0 1", "1 1", "2 1", "3 1", "4 1", "5 1"]);
    }
    // The same, put as one run.
    let mut peers = sleepers(&place, &queue, 6);
    queue.put_many(&[b"0", b"1", b"2", b"3", b"4", b"5"]).unwrap();
    peers.iter_mut().for_each(|peer| drop(peer.answer_ok()));
}

#[test]
fn a_killed_sleeper_strands_nobody() {
    let place = place();
    let queue = place.queue("strand", mpmc());
    for victim in 0..4 {
        let mut peers = sleepers(&place, &queue, 4);
        // Killed asleep, its bit stays in the set.
        peers.remove(victim).kill();
        for text in [b"a", b"b", b"c"] {
            queue.put(text).unwrap();
        }
        let mut got: Vec<String> = peers.iter_mut().map(Peer::answer_ok).collect();
        got.sort();
        assert_eq!(got, ["a 1", "b 1", "c 1"]);
    }
}

#[test]
fn a_sleeper_killed_together_with_the_put_loses_no_packet() {
    let place = place();
    let queue = place.queue("together", mpmc());
    for _ in 0..20 {
        let mut peers = sleepers(&place, &queue, 2);
        queue.put(b"x").unwrap();
        peers[0].kill();
        queue.put(b"y").unwrap();
        let mut got = vec![peers[1].answer_ok()];
        // What the first one held when it died comes as well; if it had acknowledged x, nothing.
        wait_until("all is delivered", || {
            while let Ok(packet) = queue.try_get() {
                let text = String::from_utf8(packet.payload).unwrap();
                got.push(format!("{text} {}", packet.delivery_count));
            }
            (queue.qsize().unwrap(), queue.in_flight().unwrap()) == (0, 0)
        });
        got.sort();
        let fine: [&[&str]; 3] = [&["y 1"], &["x 1", "y 1"], &["x 2", "y 1"]];
        assert!(fine.iter().any(|fine| got == *fine), "{got:?}");
    }
}

#[test]
fn a_producer_asleep_at_a_full_ring_is_woken_by_a_get() {
    for (name, producers, consumers) in MODES {
        let tiny = QueueConfig {
            capacity_packets: Some(8),
            capacity_bytes: Some(4096),
            producers,
            consumers,
            ..QueueConfig::default()
        };
        for (maxsize, room) in [(1, 1), (0, 8)] {
            let place = place();
            let queue = place.queue(name, QueueConfig { maxsize, ..tiny.clone() });
            let handle = queue.queue().unwrap();
            let mut writer = place.peer();
            writer.open(&queue);
            let id = place.participant(name, writer.id()).unwrap();
            for i in 0..room {
                writer.ok(format!("put q {i} now"));
            }
            for i in room..room + 20 {
                assert_eq!(writer.err("put q x now"), "Full", "{name} {maxsize}");
                writer.send(format!("put q {i}"));
                writer.wait_asleep(&handle, id, Asleep::Putting);
                assert_eq!(queue.get().unwrap().payload, (i - room).to_string().as_bytes());
                writer.answer_ok();
            }
            assert_eq!(queue.qsize().unwrap(), room);
        }
    }
}

#[test]
fn several_producers_asleep_at_a_ring_of_one_all_get_their_turn() {
    let place = place();
    let queue = place.queue("turns", QueueConfig { maxsize: 1, ..mpmc() });
    queue.put(b"first").unwrap();
    let handle = queue.queue().unwrap();
    let mut writers: Vec<Peer> = (0..4)
        .map(|i| {
            let mut writer = place.peer();
            writer.open(&queue);
            let id = place.participant("turns", writer.id()).unwrap();
            writer.send(format!("put q {i}"));
            writer.wait_asleep(&handle, id, Asleep::Putting);
            writer
        })
        .collect();
    writers.remove(2).kill();
    let mut got: Vec<Vec<u8>> =
        (0..4).map(|_| queue.get_timeout(shm_tests::WATCHDOG).unwrap().payload).collect();
    got[1..].sort();
    assert_eq!(got, [&b"first"[..], b"0", b"1", b"3"]);
    writers.iter_mut().for_each(|writer| drop(writer.answer_ok()));
}

#[test]
fn close_wakes_sleeping_consumers_and_producers() {
    for (name, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue(name, small(producers, consumers));
        let mut sleepers = sleepers(&place, &queue, 1);
        let mut closer = place.peer();
        closer.open(&queue);
        closer.ok("close q");
        assert_eq!(sleepers[0].answer_err(), "Closed", "{name}");

        let full = place.queue("full", QueueConfig { maxsize: 1, ..small(producers, consumers) });
        let mut writer = place.peer();
        writer.open(&full);
        closer.open(&full);
        writer.ok("put q x");
        let id = place.participant("full", writer.id()).unwrap();
        writer.send("put q y");
        writer.wait_asleep(&full.queue().unwrap(), id, Asleep::Putting);
        closer.ok("close q");
        assert_eq!(writer.answer_err(), "Closed", "{name}");
        assert_eq!(full.get().unwrap().payload, b"x");
        assert!(matches!(full.get(), Err(ringway::error::GetError::Closed)));
    }
}

#[test]
fn destroy_wakes_sleepers() {
    for (name, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue(name, small(producers, consumers));
        let mut reader = sleepers(&place, &queue, 1).remove(0);
        let full = place.queue("full", QueueConfig { maxsize: 1, ..small(producers, consumers) });
        let mut writer = place.peer();
        writer.open(&full);
        writer.ok("put q x");
        let id = place.participant("full", writer.id()).unwrap();
        writer.send("put q y");
        writer.wait_asleep(&full.queue().unwrap(), id, Asleep::Putting);
        let mut other = place.peer();
        for queue in [&queue, &full] {
            other.open(queue);
            other.ok("destroy q");
        }
        assert_eq!(reader.answer_err(), "Destroyed", "{name}");
        assert_eq!(writer.answer_err(), "Destroyed", "{name}");
        for command in ["put q z now", "get q now"] {
            assert_eq!(writer.err(command), "Destroyed", "{name} {command}");
        }
        assert!(place.left().is_empty());
    }
}

#[test]
fn a_sleeping_selector_is_woken_by_any_of_its_queues_and_by_their_end() {
    for (name, producers, consumers) in MODES {
        let place = place();
        let queues: Vec<_> = (0..3)
            .map(|i| place.queue(&format!("{name}-{i}"), small(producers, consumers)))
            .collect();
        let mut reader = place.peer();
        for (i, queue) in queues.iter().enumerate() {
            reader.open_as(&format!("q{i}"), queue);
        }
        let asleep = |reader: &mut Peer, i: usize| {
            reader.send("select forever q0 q1 q2");
            let id = place.participant(&format!("{name}-{i}"), reader.id()).unwrap();
            reader.wait_asleep(&queues[i].queue().unwrap(), id, Asleep::Getting);
        };
        for round in 0..12 {
            let i = round % 3;
            asleep(&mut reader, i);
            queues[i].put(round.to_string().as_bytes()).unwrap();
            assert_eq!(reader.answer_ok(), format!("q{i} {round} 1"));
        }
        // One that is closed drops out, one that is destroyed says so, the last one goes on.
        asleep(&mut reader, 0);
        queues[0].close().unwrap();
        queues[1].put(b"x").unwrap();
        assert_eq!(reader.answer_ok(), "q1 x 1");
        asleep(&mut reader, 1);
        queues[1].destroy().unwrap();
        assert_eq!(reader.answer_err(), "Destroyed");
        reader.send("select forever q0 q2");
        let id = place.participant(&format!("{name}-2"), reader.id()).unwrap();
        reader.wait_asleep(&queues[2].queue().unwrap(), id, Asleep::Getting);
        queues[2].close().unwrap();
        assert_eq!(reader.answer_err(), "Closed");
    }
}

#[test]
fn a_selector_gets_what_a_killed_reader_held() {
    let place = place();
    let (left, right) = (place.queue("left", mpmc()), place.queue("right", mpmc()));
    right.put(b"held").unwrap();
    let (mut holder, mut reader) = (place.peer(), place.peer());
    holder.open(&right);
    holder.ok("lease q");
    reader.open_as("left", &left);
    reader.open_as("right", &right);
    reader.send("select forever left right");
    let id = place.participant("right", reader.id()).unwrap();
    reader.wait_asleep(&right.queue().unwrap(), id, Asleep::Getting);
    holder.kill();
    assert_eq!(reader.answer_ok(), "right held 2");
}
