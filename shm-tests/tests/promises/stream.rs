//! Streams through several processes: nothing lost, nothing twice, in order.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ringway::error::PutError;
use ringway::queue::{QueueConfig, Side};
use ringway::shm::Lifetime;
use ringway::shm::segment::{RingConfig, Segment, SegmentConfig};
use shm_tests::ledger::{Ledger, Verdict};
use shm_tests::peer::{Asleep, Peer};
use shm_tests::{WATCHDOG, wait_until};

use crate::{MODES, SMALL_MOST, mpmc, place, small};

/// 100,000 packets of mixed sizes, as many producers and consumers as the mode allows, up to two.
fn fifo(mode: usize, own: bool) {
    const PACKETS: u64 = 100_000;
    let (name, producers, consumers) = MODES[mode];
    let place = place();
    // Some packets take a quarter of the ring.
    let queue = place.queue(name, small(producers, consumers));
    let count = |side| if side == Side::Multi { 2 } else { 1 };
    let start = |_| {
        let mut peer = place.peer();
        peer.open(&queue);
        peer
    };
    let mut takers: Vec<Peer> = (0..count(consumers)).map(start).collect();
    let mut putters: Vec<Peer> = (0..count(producers)).map(start).collect();
    let log = |what: &str, i| place.logs().join(format!("{what}-{i}")).display().to_string();
    for (i, taker) in takers.iter_mut().enumerate() {
        if own {
            taker.ok("consumer q");
        }
        taker.send(format!("consume q {} 1 {}", 3 * i, log("consumer", i)));
    }
    let each = PACKETS / putters.len() as u64;
    for (i, putter) in putters.iter_mut().enumerate() {
        if own {
            putter.ok("producer q");
        }
        // The second one puts runs.
        let batch = if i == 0 { 1 } else { 20 };
        let most = if i == 0 { SMALL_MOST } else { 40 };
        putter.send(format!("produce q {i} {each} {batch} {most} {}", log("producer", i)));
    }
    for putter in &mut putters {
        assert_eq!(putter.answer_ok(), each.to_string());
    }
    queue.close().unwrap();
    let received: u64 =
        takers.iter_mut().map(|taker| taker.answer_ok().parse::<u64>().unwrap()).sum();
    assert_eq!(received, PACKETS);
    let summary = Ledger::read(place.logs()).unwrap().check(0).unwrap();
    let expected = Verdict { committed: PACKETS, delivered: PACKETS, ..Verdict::default() };
    assert_eq!(summary, expected);
    let stats = queue.stats().unwrap();
    assert_eq!(
        (stats.puts, stats.gets, stats.redelivered, stats.skipped),
        (PACKETS, PACKETS, 0, 0)
    );
    assert_eq!(stats.bytes_put, stats.bytes_got);
}

#[test]
fn a_stream_arrives_whole_and_in_order_spsc() {
    fifo(0, false);
}

#[test]
fn a_stream_through_owned_handles_arrives_whole_and_in_order_spsc() {
    fifo(0, true);
}

#[test]
fn a_stream_arrives_whole_and_in_order_mpsc() {
    fifo(1, false);
}

#[test]
fn a_stream_through_owned_handles_arrives_whole_and_in_order_mpsc() {
    fifo(1, true);
}

#[test]
fn a_stream_arrives_whole_and_in_order_spmc() {
    fifo(2, false);
}

#[test]
fn a_stream_through_owned_handles_arrives_whole_and_in_order_spmc() {
    fifo(2, true);
}

#[test]
fn a_stream_arrives_whole_and_in_order_mpmc() {
    fifo(3, false);
}

#[test]
fn a_stream_through_owned_handles_arrives_whole_and_in_order_mpmc() {
    fifo(3, true);
}

#[test]
fn a_large_packet_gets_through_a_flood_of_small_ones() {
    for consumers in [Side::Single, Side::Multi] {
        let place = place();
        let queue = place.queue("flood", small(Side::Multi, consumers));
        let start = || {
            let mut peer = place.peer();
            peer.open(&queue);
            peer
        };
        let mut floods = [start(), start()];
        for (i, flood) in floods.iter_mut().enumerate() {
            let log = place.logs().join(format!("flood-{i}")).display().to_string();
            flood.send(format!("produce q {i} 1000000000 1 24 {log}"));
        }
        let mut large = start();
        let took = Instant::now();
        for _ in 0..3 {
            wait_until("the ring is full", || queue.is_full().unwrap());
            large.send(format!("put q large*{SMALL_MOST}"));
            // A slow consumer: without help, each place it makes goes to a small packet.
            while large.try_answer().is_none_or(|answer| answer != "ok") {
                queue.get_timeout(WATCHDOG).unwrap();
                assert!(took.elapsed() < WATCHDOG, "the large packet starves");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mut got = 0;
        queue.close().unwrap();
        while let Ok(packet) = queue.get() {
            got += u64::from(packet.payload.len() == SMALL_MOST);
        }
        assert!(got >= 1, "the last one at least is still in the ring");
        floods.iter_mut().for_each(|flood| drop(flood.answer_ok()));
    }
}

#[test]
fn a_stopped_large_claimer_does_not_stop_the_small_ones() {
    let place = place();
    let queue = place.queue("stopped", mpmc());
    let handle = queue.queue().unwrap();
    for _ in 0..64 {
        queue.try_put(b"x").unwrap();
    }
    let mut large = place.peer();
    large.open(&queue);
    let id = place.participant("stopped", large.id()).unwrap();
    large.send(format!("put q large*{SMALL_MOST}"));
    large.wait_asleep(&handle, id, Asleep::Putting);
    let header = handle.ring().unwrap().raw().memory().header();
    assert_ne!(header.shared.large_claim.load(Ordering::Relaxed), 0, "it is announced");
    large.stop();
    for _ in 0..200 {
        queue.get_timeout(WATCHDOG).unwrap();
        queue.put_timeout(b"y", WATCHDOG).unwrap();
    }
    large.resume();
    while queue.get_timeout(WATCHDOG).unwrap().payload.len() != SMALL_MOST {}
    large.answer_ok();
}

#[test]
fn at_the_last_lap_producers_hear_exhausted_and_consumers_drain() {
    for (name, producers, consumers) in MODES {
        for large in [false, true] {
            let place = place();
            let config = small(producers, consumers);
            let segment = SegmentConfig::new(name.parse().unwrap(), Lifetime::Ephemeral)
                .with_ring(RingConfig::new("queue", config.geometry().unwrap()));
            let segment = SegmentConfig { laps_left: Some(3), ..segment };
            let _segment = Segment::create(&place.directory(), &segment).unwrap();
            let queue = place.queue(name, config);
            let (mut writer, mut reader) = (place.peer(), place.peer());
            writer.open(&queue);
            reader.open(&queue);
            let size = if large { 500 } else { 5 };
            let mut put = 0;
            let mut got = 0;
            loop {
                let answer = writer.ask(format!("put q {put}*{size} now"));
                match answer.as_str() {
                    "ok" => put += 1,
                    "err Full" => {
                        assert_eq!(reader.ok("get q"), format!("{got} 1"));
                        got += 1;
                    }
                    "err Exhausted" => break,
                    other => panic!("{other}"),
                }
                assert!(put < 10_000);
            }
            // Three laps to the last entry: 500 bytes take 8 of them.
            assert_eq!(put, if large { 3 * 64 / 8 } else { 3 * 64 }, "{name}");
            assert_eq!(writer.err("put q x"), "Exhausted");
            assert_eq!(writer.err("put_many q 3 x"), "Exhausted");
            assert_eq!(writer.err("reserve q x"), "Exhausted");
            writer.ok("free-producer q");
            writer.quit();
            assert!(matches!(queue.try_put(b"x"), Err(PutError::Exhausted)));
            while got < put {
                assert_eq!(reader.ok("get q"), format!("{got} 1"), "{name}");
                got += 1;
            }
            assert_eq!(reader.err("get q now"), "Empty");
            reader.ok("close q");
            assert_eq!(reader.err("get q"), "Closed");
        }
    }
}

#[test]
fn rings_of_all_sizes_carry_packets_up_to_a_quarter() {
    let place = place();
    for packets in [8, 64, 4096] {
        let config = QueueConfig { capacity_packets: Some(packets), ..QueueConfig::default() };
        let queue = place.queue(&format!("sizes-{packets}"), config);
        let (mut writer, mut reader) = (place.peer(), place.peer());
        writer.open(&queue);
        reader.open(&queue);
        let most = queue.max_payload().unwrap();
        assert_eq!(most, 128 * 1024);
        for round in 0..20 {
            for len in [0, 1, 48, 49, 4096, most] {
                writer.send(format!("put q .*{len}"));
                let got = queue.get_timeout(WATCHDOG).unwrap().payload;
                assert_eq!(got.len(), len, "round {round}");
                writer.answer_ok();
            }
        }
        let error = writer.err(format!("put q .*{}", most + 1));
        assert_eq!(error, format!("TooLarge {{ len: {}, max: {most} }}", most + 1));
    }
}
