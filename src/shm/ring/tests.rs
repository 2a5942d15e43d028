//! The ring against a `VecDeque`, one thread at a time: every mode, records of one and many units,
//! runs, several leases, give-backs, successors, close, and rings about to be exhausted.

#![allow(clippy::disallowed_types, reason = "the words of a mock that no process shares")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32 as StdU32};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::shm::peers::{Peers, Woken};

/// Peers of a test: some are dead.
#[derive(Default)]
struct TestPeers {
    me: u16,
    dead: [AtomicBool; 8],
    bell: StdU32,
}

impl Peers for TestPeers {
    fn me(&self) -> u16 {
        self.me
    }
    fn is_dead(&self, id: u16) -> bool {
        self.dead[usize::from(id) % 8].load(core::sync::atomic::Ordering::Relaxed)
    }
    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool {
        let dead = self.is_dead(id);
        if dead {
            f();
        }
        dead
    }
    fn doorbell(&self, _: u16) -> Option<&crate::sync::AtomicU32> {
        Some(&self.bell)
    }
    fn touch(&self) {}
    fn fence_needed(&self) -> bool {
        false
    }
    fn heavy_barrier(&self) -> bool {
        true
    }
    fn producer_is_gone(&self) -> bool {
        false
    }
    fn sleep(&self, _: u32, _: Duration) -> Woken {
        Woken::TimedOut
    }
    fn wake(&self, _: u16) -> usize {
        0
    }
}

fn geometry(producers: Side, consumers: Side, maxsize: u64) -> Geometry {
    Geometry {
        log2_entries: 6,
        unit_bytes: 64,
        maxsize,
        producers,
        consumers,
        timestamps: false,
        max_deliveries: 0,
    }
}

fn ring(producers: Side, consumers: Side, maxsize: u64) -> Ring {
    let geometry = geometry(producers, consumers, maxsize);
    Ring::new(RingMemory::on_heap(geometry, geometry.bits().first_pos()))
}

/// A payload that names itself and its length.
fn payload(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number as usize * 31 + i) as u8).collect()
}

/// One participant that can play every part.
struct Player {
    ring: Ring,
    cache: ProducerCache,
    producer: SingleProducer,
    consumer: SingleConsumer,
    peers: TestPeers,
}

const ME: u16 = 1;
const OTHER: u16 = 2;

impl Player {
    fn new(ring: Ring) -> Self {
        Self {
            cache: ProducerCache::default(),
            producer: ring.start_producer().unwrap(),
            consumer: ring.start_consumer().unwrap(),
            peers: TestPeers { me: ME, ..Default::default() },
            ring,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let g = *self.ring.geometry();
        let inline = bytes.len() <= g.inline_bytes();
        let n = g.units(bytes.len());
        match g.producers {
            Side::Multi => {
                let mut claim = match self.ring.claim(&self.cache, n, ME) {
                    Err(Refused::Full) if self.ring.help_room() => {
                        self.ring.claim(&self.cache, n, ME)?
                    }
                    other => other?,
                };
                self.ring.write(&mut claim, 0, inline, bytes);
                self.ring.commit(&claim, 0, bytes.len(), inline);
            }
            Side::Single => {
                let mut claim = match self.ring.claim_single(&mut self.producer, n, 1) {
                    Err(Refused::Full) if self.ring.help_room() => {
                        self.ring.claim_single(&mut self.producer, n, 1)?
                    }
                    other => other?,
                };
                self.ring.write(&mut claim, 0, inline, bytes);
                let len = bytes.len();
                self.ring.commit_single(&mut self.producer, &claim, 0, len, inline);
            }
        }
        Ok(())
    }

    fn put_run(&mut self, payloads: &[Vec<u8>]) -> Result<(), Refused> {
        let n = payloads.len() as u64;
        let mut claim = self.ring.claim_run(&self.cache, n, ME)?;
        for (i, bytes) in payloads.iter().enumerate() {
            let inline = bytes.len() <= self.ring.geometry().inline_bytes();
            self.ring.write(&mut claim, i as u64, inline, bytes);
            self.ring.describe_in_run(&claim, i as u64, 0, bytes.len(), inline);
        }
        self.ring.commit_run(&claim, payloads.iter().map(|p| p.len() as u64).sum());
        Ok(())
    }

    fn take(&mut self) -> Result<Taken, Missing> {
        match self.ring.geometry().consumers {
            Side::Multi => {
                if let Some(taken) = self.ring.adopt_hinted(&self.peers) {
                    return Ok(taken);
                }
                self.ring.take(ME)
            }
            Side::Single => self.ring.take_single(&mut self.consumer),
        }
    }

    fn ack(&mut self, taken: &Taken) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.release(taken, ME),
            Side::Single => self.ring.ack_single(&mut self.consumer, taken),
        }
    }

    fn give_back(&mut self, taken: &Taken) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.give_back(taken),
            Side::Single => self.ring.give_back_single(&mut self.consumer, taken.pos),
        }
    }

    fn bytes(&self, taken: &Taken) -> Vec<u8> {
        self.ring.payload(taken).to_vec()
    }
}

const MODES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Single),
    (Side::Multi, Side::Multi),
];

#[derive(Clone, Debug)]
enum Step {
    Put(usize),
    Run(usize),
    Take,
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
        2 => (1usize..=16).prop_map(Step::Run),
        8 => Just(Step::Take),
        3 => (1usize..80).prop_map(Step::TakeReady),
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
                Step::TakeReady(max) if consumers == Side::Multi => {
                    let mut taken = Vec::new();
                    let count = player.ring.take_ready(max, ME, &mut taken);
                    prop_assert_eq!(taken.len(), count);
                    prop_assert!(count <= max && (count != 0 || waiting.is_empty()));
                    for taken in taken {
                        let bytes = player.bytes(&taken);
                        prop_assert_eq!(taken.redeliveries(), 0);
                        prop_assert_eq!(Some(bytes.clone()), waiting.pop_front());
                        leases.push((taken, bytes));
                    }
                }
                Step::AckMany(count) if consumers == Side::Multi => {
                    let many = leases.drain(..count.min(leases.len())).map(|(taken, _)| taken);
                    player.ring.release_many(&many.collect::<Vec<_>>(), ME);
                }
                Step::TakeReady(_) | Step::AckMany(_) => {}
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
