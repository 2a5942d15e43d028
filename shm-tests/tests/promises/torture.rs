//! Processes killed at random, and the account at the end.

use std::sync::atomic::Ordering::Acquire;
use std::time::Duration;

use ringway::QueueDescriptor;
use ringway::queue::{Queue, QueueConfig, Side};
use ringway::shm::ring::Ring;
use shm_tests::ledger::{Ledger, Verdict};
use shm_tests::peer::Peer;
use shm_tests::place::Place;
use shm_tests::random::Random;
use shm_tests::{WATCHDOG, wait_until};

use crate::{MODES, place};

/// Large, so that writing takes long enough to be caught in the middle.
const UNIT_BYTES: u64 = 16 * 1024;

/// A ring with producers and consumers that are killed and replaced.
struct Arena<'a> {
    place: &'a Place,
    name: &'static str,
    queue: QueueDescriptor,
    handle: Queue,
    random: Random,
    batch: u64,
    incarnations: u64,
    producers: Vec<Peer>,
    consumers: Vec<Peer>,
}

/// Stops a peer at a moment when `busy` holds, if that can be had in so many tries.
fn stop_when(random: &mut Random, peer: &Peer, tries: u32, busy: impl Fn() -> bool) {
    for _ in 0..tries {
        peer.stop();
        if busy() {
            return;
        }
        peer.resume();
        // Not to wait for anything: it shall be stopped somewhere else the next time.
        std::thread::sleep(Duration::from_micros(random.below(150)));
    }
}

/// Says whether a stopped producer has claimed room that it has not committed yet.
fn is_writing(ring: &Ring, id: u16) -> bool {
    let bits = ring.geometry().bits();
    let (producers, consumers) =
        (&ring.memory().header().producers, &ring.memory().header().consumers);
    let tail = bits.unpack_mark(producers.tail.load(Acquire)).pos;
    if ring.geometry().producers == Side::Single {
        return producers.intent.load(Acquire) > tail;
    }
    let mut pos = bits.unpack_mark(consumers.head.load(Acquire)).pos;
    for _ in 0..bits.entries() {
        let claim = bits.unpack(ring.memory().claim(pos).load(Acquire));
        if claim.lap != bits.lap(pos) {
            return false;
        }
        let stamp = bits.unpack(ring.memory().entry(pos).stamp.load(Acquire));
        if claim.owner == id && stamp.lap < bits.lap(pos) {
            return true;
        }
        pos += claim.n;
    }
    false
}

impl<'a> Arena<'a> {
    fn new(place: &'a Place, mode: usize, batch: u64, random: Random) -> Self {
        let (name, producers, consumers) = MODES[mode];
        let config = QueueConfig {
            capacity_packets: Some(64),
            capacity_bytes: Some(64 * UNIT_BYTES),
            producers,
            consumers,
            ..QueueConfig::default()
        };
        let queue = place.queue(name, config);
        let handle = queue.queue().unwrap();
        let mut arena = Self {
            place,
            name,
            queue,
            handle,
            random,
            batch,
            incarnations: 0,
            producers: Vec::new(),
            consumers: Vec::new(),
        };
        let count = |side| if side == Side::Multi { 2 } else { 1 };
        for _ in 0..count(producers) {
            let peer = arena.producer();
            arena.producers.push(peer);
        }
        for _ in 0..count(consumers) {
            let peer = arena.consumer();
            arena.consumers.push(peer);
        }
        arena
    }

    fn log(&mut self, what: &str) -> String {
        self.incarnations += 1;
        self.place.logs().join(format!("{what}-{}", self.incarnations)).display().to_string()
    }

    fn peer(&mut self) -> Peer {
        let mut peer = self.place.peer();
        peer.open(&self.queue);
        peer
    }

    fn producer(&mut self) -> Peer {
        let (mut peer, log) = (self.peer(), self.log("producer"));
        let (number, batch) = (self.incarnations, self.batch);
        // Packets of up to a quarter of the ring, or runs of single units.
        let most = if batch == 1 { 16 * UNIT_BYTES } else { UNIT_BYTES };
        if self.random.below(2) == 0 {
            peer.ok("producer q");
        }
        peer.send(format!("produce q {number} 1000000000 {batch} {most} {log}"));
        peer
    }

    fn consumer(&mut self) -> Peer {
        let (mut peer, log) = (self.peer(), self.log("consumer"));
        let (hold, seed) = (self.random.below(5), self.random.next_u64() >> 1);
        if self.random.below(2) == 0 {
            peer.ok("consumer q");
        }
        peer.send(format!("consume q {hold} {seed} {log}"));
        peer
    }

    /// Lets it run for a random number of packets, and for a moment more.
    fn run_on(&mut self, most: u64) {
        let goal = self.handle.stats().gets + self.random.below(most);
        wait_until("packets go on through the ring", || self.handle.stats().gets >= goal);
        for _ in 0..self.random.below(20_000) {
            std::hint::spin_loop();
        }
    }

    /// Kills a producer and replaces it; mostly one that is just writing.
    fn kill_a_producer(&mut self) {
        let one = self.random.below(self.producers.len() as u64) as usize;
        let (id, tries) = (self.id_of(&self.producers[one]), self.tries());
        let ring = self.handle.ring().unwrap().raw();
        stop_when(&mut self.random, &self.producers[one], tries, || is_writing(ring, id));
        self.producers[one].kill();
        self.producers[one] = self.producer();
    }

    /// Kills a consumer and replaces it; mostly one that holds something.
    fn kill_a_consumer(&mut self) {
        let one = self.random.below(self.consumers.len() as u64) as usize;
        let (id, tries) = (self.id_of(&self.consumers[one]), self.tries());
        let ring = self.handle.ring().unwrap().raw();
        let single = ring.geometry().consumers == Side::Single;
        stop_when(&mut self.random, &self.consumers[one], tries, || {
            let others = if single { 0 } else { ring.leased(id) };
            ring.leased(0) > others
        });
        self.consumers[one].kill();
        self.consumers[one] = self.consumer();
    }

    fn id_of(&self, peer: &Peer) -> u16 {
        self.place.participant(self.name, peer.id()).unwrap()
    }

    /// How often to try for a special moment: one time in four, any moment will do.
    fn tries(&mut self) -> u32 {
        if self.random.below(4) == 0 { 0 } else { 40 }
    }

    /// Closes the queue, lets it drain, and settles the account.
    fn finish(mut self, kills_while_draining: u64) -> Verdict {
        self.queue.close().unwrap();
        for _ in 0..kills_while_draining {
            self.kill_a_consumer();
        }
        for peer in self.producers.iter_mut().chain(&mut self.consumers) {
            peer.answer_ok();
        }
        let stats = self.handle.stats();
        assert_eq!((self.handle.qsize(), self.handle.in_flight()), (0, 0), "{stats:?}");
        assert_eq!(self.place.left().len(), 1);
        self.producers.into_iter().chain(self.consumers).for_each(Peer::quit);
        drop((self.handle, self.queue));
        assert!(self.place.left().is_empty(), "{:?}", self.place.left());
        let summary = Ledger::read(self.place.logs()).unwrap().check(self.batch);
        let summary = summary.unwrap_or_else(|wrong| {
            panic!("{} are wrong, such as {:#?}", wrong.len(), &wrong[..wrong.len().min(10)])
        });
        println!("{summary:?} {stats:?}");
        summary
    }
}

fn torture(mode: usize) {
    const KILLS: u64 = 20;
    let place = place();
    let mut arena = Arena::new(&place, mode, 1, Random::of_run(MODES[mode].0));
    for _ in 0..KILLS {
        arena.run_on(400);
        if arena.random.below(2) == 0 {
            arena.kill_a_producer();
        } else {
            arena.kill_a_consumer();
        }
    }
    arena.run_on(400);
    let summary = arena.finish(2);
    assert!(summary.committed > 0 && summary.delivered >= summary.committed);
}

#[test]
fn whoever_is_killed_nothing_is_lost_spsc() {
    torture(0);
}

#[test]
fn whoever_is_killed_nothing_is_lost_mpsc() {
    torture(1);
}

#[test]
fn whoever_is_killed_nothing_is_lost_spmc() {
    torture(2);
}

#[test]
fn whoever_is_killed_nothing_is_lost_mpmc() {
    torture(3);
}

/// Producers of runs, killed in the middle of them.
fn runs(mode: usize) {
    const KILLS: u64 = 25;
    let place = place();
    let mut arena = Arena::new(&place, mode, 16, Random::of_run("runs"));
    for _ in 0..KILLS {
        arena.run_on(100);
        arena.kill_a_producer();
    }
    assert_ne!(arena.handle.stats().skipped, 0, "no run was caught in the middle");
    let summary = arena.finish(0);
    assert_eq!(summary.redelivered, 0, "no consumer was killed");
}

#[test]
fn a_killed_put_many_puts_a_run_whole_or_not_at_all_mpsc() {
    runs(1);
}

#[test]
fn a_killed_put_many_puts_a_run_whole_or_not_at_all_mpmc() {
    runs(3);
}

#[test]
fn a_wedged_account_is_noticed() {
    // The account itself: a consumer that acknowledges without writing down loses packets.
    let place = place();
    let mut arena = Arena::new(&place, 3, 1, Random::new(1));
    arena.run_on(50);
    let _stolen = arena.handle.get_timeout(WATCHDOG).unwrap();
    arena.queue.close().unwrap();
    for peer in arena.producers.iter_mut().chain(&mut arena.consumers) {
        peer.answer_ok();
    }
    assert!(Ledger::read(place.logs()).unwrap().check(1).is_err());
}
