//! The ring against a `VecDeque`, one thread at a time: every mode, records of one and many units,
//! runs, several leases, give-backs, successors, close, and rings about to be exhausted.

mod player;

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use player::{ME, OTHER, Player, geometry, payload, ring};

const MODES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Single),
    (Side::Multi, Side::Multi),
];

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    PutPlain(usize, bool),
    Run(usize),
    Take,
    GetPlain(bool),
    GetRun(usize),
    TakeReady(usize),
    Ack(usize),
    AckMany(usize),
    GiveBack(usize),
    Abandon(usize),
    Succeed,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop_oneof![Just(0usize), 0usize..=48, 49usize..=1024].prop_map(Step::Put),
        6 => (prop_oneof![0usize..=48, 49usize..=64], any::<bool>())
            .prop_map(|(len, in_place)| Step::PutPlain(len, in_place)),
        2 => (1usize..=16).prop_map(Step::Run),
        8 => Just(Step::Take),
        8 => any::<bool>().prop_map(Step::GetPlain),
        5 => (1..6_usize).prop_map(Step::GetRun),
        3 => prop_oneof![Just(1), 1usize..80].prop_map(Step::TakeReady),
        6 => (0usize..8).prop_map(Step::Ack),
        1 => (1usize..40).prop_map(Step::AckMany),
        1 => (0usize..8).prop_map(Step::GiveBack),
        1 => (1usize..600).prop_map(Step::Abandon),
        1 => Just(Step::Succeed),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_ring_behaves_like_a_bounded_queue_in_every_mode(
        mode in 0usize..4, maxsize in prop_oneof![Just(0u64), 1u64..=64],
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let (producers, consumers) = MODES[mode];
        let mut player = Player::new(ring(producers, consumers, maxsize));
        let mut number = 0u64;
        let mut waiting: VecDeque<Vec<u8>> = VecDeque::new();
        let mut again: Vec<(u64, Vec<u8>, u32)> = Vec::new();
        let mut leases: Vec<(Taken, Vec<u8>)> = Vec::new();
        for step in steps {
            let room_for = |n: u64, player: &Player| {
                player.ring.used_units() + n <= player.ring.geometry().entries()
            };
            match step {
                Step::Put(len) => {
                    let bytes = payload(number, len);
                    let n = player.ring.geometry().units(len);
                    let count = waiting.len() as u64;
                    let fits = room_for(n, &player) && (maxsize == 0 || count < maxsize);
                    let put = player.put(&bytes);
                    prop_assert_eq!(put.is_ok(), fits, "{:?} at {} waiting", put, count);
                    if put.is_ok() {
                        number += 1;
                        waiting.push_back(bytes);
                    }
                }
                Step::PutPlain(len, in_place) => {
                    let bytes = payload(number, len);
                    let put = match producers {
                        Side::Single if in_place => player.put_in_place(&bytes),
                        _ => player.put_plain(&bytes),
                    };
                    if put {
                        number += 1;
                        waiting.push_back(bytes);
                        prop_assert!(maxsize == 0);
                    }
                }
                Step::GetRun(max) => {
                    for bytes in player.get_run(max) {
                        prop_assert_eq!(Some(bytes), waiting.pop_front());
                    }
                }
                Step::GetPlain(in_place) => {
                    if let Some(bytes) = player.get_plain(in_place) {
                        prop_assert_eq!(Some(bytes), waiting.pop_front());
                    }
                }
                Step::Run(count) if producers == Side::Multi => {
                    let run: Vec<_> =
                        (0..count).map(|i| payload(number + i as u64, i * 4)).collect();
                    let over = maxsize != 0 && (waiting.len() + count) as u64 > maxsize;
                    player.ring.help_room();
                    let fits = room_for(count as u64, &player) && !over;
                    let put = player.put_run(&run);
                    prop_assert_eq!(put.is_ok(), fits);
                    if put.is_ok() {
                        number += count as u64;
                        waiting.extend(run);
                    }
                }
                Step::Run(_) => {}
                Step::Take => match player.take() {
                    Ok(taken) => {
                        let bytes = player.bytes(&taken);
                        if let Some(i) = again.iter().position(|(pos, ..)| *pos == taken.pos) {
                            let (_, expected, times) = again.remove(i);
                            prop_assert_eq!(&bytes, &expected);
                            prop_assert!(taken.redeliveries() >= times);
                        } else {
                            prop_assert_eq!(taken.redeliveries(), 0);
                            prop_assert_eq!(Some(bytes.clone()), waiting.pop_front());
                        }
                        leases.push((taken, bytes));
                    }
                    Err(missing) => {
                        prop_assert_eq!(missing, Missing::Empty);
                        prop_assert!(waiting.is_empty() && again.is_empty());
                    }
                },
                Step::TakeReady(max) => {
                    let mut taken = Vec::new();
                    let count = player.take_ready(max, &mut taken);
                    prop_assert_eq!(taken.len(), count);
                    prop_assert!(count <= max);
                    prop_assert!(count != 0 || waiting.is_empty() || consumers == Side::Single);
                    for taken in taken {
                        let bytes = player.bytes(&taken);
                        prop_assert_eq!(taken.redeliveries(), 0);
                        prop_assert_eq!(Some(bytes.clone()), waiting.pop_front());
                        leases.push((taken, bytes));
                    }
                }
                Step::AckMany(count) => {
                    let many = leases.drain(..count.min(leases.len())).map(|(taken, _)| taken);
                    player.ack_many(&many.collect::<Vec<_>>());
                }
                Step::Ack(i) if !leases.is_empty() => {
                    let (taken, bytes) = leases.remove(i % leases.len());
                    prop_assert_eq!(player.bytes(&taken), bytes);
                    player.ack(&taken);
                }
                Step::GiveBack(i) if !leases.is_empty() => {
                    let (taken, bytes) = leases.remove(i % leases.len());
                    player.give_back(&taken);
                    again.push((taken.pos, bytes, taken.redeliveries() + 1));
                }
                Step::Ack(_) | Step::GiveBack(_) => {}
                Step::Abandon(len) => {
                    let n = player.ring.geometry().units(len);
                    match producers {
                        Side::Multi => {
                            if let Ok(claim) = player.ring.claim(&player.cache, n, ME) {
                                player.ring.abandon(&claim, ME);
                                // It counts until the head has passed it: let it pass if it can.
                                if consumers == Side::Multi {
                                    player.ring.help_room();
                                }
                                if !waiting.is_empty() || consumers == Side::Single {
                                    // Draining makes the books agree again.
                                    while let Ok(taken) = player.take() {
                                        let bytes = player.bytes(&taken);
                                        match again.iter().position(|(p, ..)| *p == taken.pos) {
                                            Some(i) => { again.remove(i); }
                                            None => {
                                                prop_assert_eq!(Some(bytes), waiting.pop_front());
                                            }
                                        }
                                        player.ack(&taken);
                                    }
                                }
                            }
                        }
                        Side::Single => {
                            if player.ring.claim_single(&mut player.producer, n, 1).is_ok() {
                                player.ring.abandon_single(&player.producer);
                            }
                        }
                    }
                }
                Step::Succeed => {
                    // The handles die, as at SIGKILL; successors take over.
                    if producers == Side::Single {
                        player.producer = player.ring.start_producer().unwrap();
                    }
                    if consumers == Side::Single {
                        player.consumer = player.ring.start_consumer().unwrap();
                        for (taken, bytes) in leases.drain(..) {
                            again.push((taken.pos, bytes, taken.redeliveries() + 1));
                        }
                    }
                }
            }
            prop_assert_eq!(player.ring.waiting(), waiting.len() as u64);
            if consumers == Side::Multi {
                prop_assert_eq!(player.ring.leased(0), (leases.len() + again.len()) as u64);
            }
            prop_assert_eq!(player.ring.is_full(), !room_for(1, &player)
                || (maxsize != 0 && waiting.len() as u64 >= maxsize));
        }
    }

    #[test]
    fn a_ring_just_before_exhaustion_says_so_and_still_drains(
        mode in 0usize..4, before in 1u64..3, lens in proptest::collection::vec(0usize..300, 400),
    ) {
        let (producers, consumers) = MODES[mode];
        let geometry = geometry(producers, consumers, 0);
        let bits = geometry.bits();
        let start = bits.last_pos() - before * bits.entries();
        let mut player = Player::new(Ring::new(RingMemory::on_heap(geometry, start)));
        let mut put = 0u64;
        let mut got = 0u64;
        let mut exhausted = false;
        for len in lens {
            match player.put(&payload(put, len)) {
                Ok(()) => put += 1,
                Err(Refused::Exhausted) => exhausted = true,
                Err(other) => prop_assert_eq!(other, Refused::Full),
            }
            if len % 2 == 0 {
                while let Ok(taken) = player.take() {
                    let bytes = player.bytes(&taken);
                    prop_assert_eq!(&bytes, &payload(got, bytes.len()));
                    got += 1;
                    player.ack(&taken);
                }
            }
        }
        while let Ok(taken) = player.take() {
            got += 1;
            player.ack(&taken);
        }
        prop_assert!(exhausted);
        prop_assert_eq!(put, got);
    }
}

#[test]
fn the_short_ways_of_a_single_side_serve_every_lap_and_keep_its_words_exact() {
    for large_every in [u64::MAX, 5, 2] {
        let mut player = Player::new(ring(Side::Single, Side::Single, 0));
        let entries = player.ring.geometry().entries();
        let mut got = 0;
        for number in 0..6 * entries {
            // Three wait, so that the producer looks at the consumer's words now and then.
            let large = number % large_every == 1;
            let len = if large { 200 } else { number as usize % 64 };
            if large || !(player.put_plain(&payload(number, len))) {
                player.put(&payload(number, len)).unwrap();
            }
            assert_eq!(player.ring.waiting(), number + 1 - got);
            if number < 3 {
                continue;
            }
            let taken = match player.get_plain(number % 3 == 0) {
                Some(bytes) => bytes,
                None => {
                    let first_or_large = got == 0 || got % large_every == 1;
                    assert!(first_or_large, "record {got} took the long way");
                    let taken = player.take().unwrap();
                    player.ack(&taken);
                    player.bytes(&taken)
                }
            };
            assert_eq!(taken, payload(got, taken.len()));
            let end = player.ring.load_head().1.pos;
            assert_eq!(player.ring.load_peek().pos, end, "record {got}");
            let start = end - player.ring.units(taken.len());
            assert_eq!(player.ring.load_stamp(start).1.state, State::Released);
            got += 1;
            assert_eq!(player.ring.waiting(), number + 1 - got);
        }
        assert!(player.ring.used_units() < entries);
    }
}

#[test]
fn a_claim_of_a_dead_producer_is_skipped_and_blocks_nobody() {
    for consumers in [Side::Single, Side::Multi] {
        let mut player = Player::new(ring(Side::Multi, consumers, 0));
        let _claimed_by_the_dead = player.ring.claim(&player.cache, 3, OTHER).unwrap();
        player.put(b"behind").unwrap();
        assert!(matches!(player.take(), Err(Missing::Pending { owner: OTHER, .. })));
        player.peers.dead[usize::from(OTHER)].store(true, core::sync::atomic::Ordering::Relaxed);
        assert!(crate::shm::recovery::skip_dead_writer(&player.ring, &player.peers));
        let taken = player.take().unwrap();
        assert_eq!(player.bytes(&taken), b"behind");
        player.ack(&taken);
        assert_eq!(player.ring.used_units(), 0);
    }
}

#[test]
fn a_record_of_a_dead_consumer_is_delivered_again_flagged() {
    let mut player = Player::new(ring(Side::Multi, Side::Multi, 0));
    player.put(b"held").unwrap();
    let held = player.ring.take(OTHER).unwrap();
    assert_eq!(held.redeliveries(), 0);
    assert_eq!(player.ring.adopt(&player.peers), None, "it is alive");
    player.peers.dead[usize::from(OTHER)].store(true, core::sync::atomic::Ordering::Relaxed);
    let adopted = player.ring.adopt(&player.peers).unwrap();
    assert_eq!((adopted.pos, adopted.redeliveries()), (held.pos, 1));
    assert_eq!(player.bytes(&adopted), b"held");
    player.ack(&adopted);
    assert_eq!(player.ring.used_units(), 0);
}

#[test]
fn a_joiner_scrubs_what_its_predecessor_held_and_wrote() {
    let mut player = Player::new(ring(Side::Multi, Side::Multi, 0));
    player.put(b"held").unwrap();
    let _held_by_the_dead = player.ring.take(OTHER).unwrap();
    let _claimed_by_the_dead = player.ring.claim(&player.cache, 2, OTHER).unwrap();
    let _run_of_the_dead = player.ring.claim_run(&player.cache, 4, OTHER).unwrap();
    player.put(b"behind").unwrap();
    crate::shm::recovery::scrub_ring(&player.ring, OTHER);
    let first = player.take().unwrap();
    assert_eq!((player.bytes(&first).as_slice(), first.redeliveries()), (&b"held"[..], 1));
    let second = player.take().unwrap();
    assert_eq!((player.bytes(&second).as_slice(), second.redeliveries()), (&b"behind"[..], 0));
    player.ack(&second);
    player.ack(&first);
    assert_eq!((player.ring.used_units(), player.ring.waiting()), (0, 0));
}

#[test]
fn a_closed_ring_drains_to_its_seal() {
    for (producers, consumers) in MODES {
        let mut player = Player::new(ring(producers, consumers, 0));
        player.put(b"last").unwrap();
        player.ring.begin_close();
        if producers == Side::Single {
            let last = player.take().unwrap();
            player.ack(&last);
            assert_eq!(player.take(), Err(Missing::Closing));
            player.ring.finish_close();
        } else {
            player.ring.finish_close();
            let last = player.take().unwrap();
            player.ack(&last);
        }
        assert_eq!(player.take(), Err(Missing::Sealed));
        assert_eq!(player.put(b"late"), Err(Refused::Closed));
        assert_eq!(player.take(), Err(Missing::Sealed));
    }
}
