//! Processes killed at random, and the account at the end.

use ringway::QueueDescriptor;
use ringway::queue::{Queue, Side};
use shm_tests::accounting::{Ledger, Summary};
use shm_tests::peer::Peer;
use shm_tests::place::Place;
use shm_tests::random::Random;
use shm_tests::{WATCHDOG, wait_until};

use crate::{MODES, SMALL_MOST, place, small};

/// A ring with producers and consumers that are killed and replaced.
struct Arena<'a> {
    place: &'a Place,
    queue: QueueDescriptor,
    handle: Queue,
    random: Random,
    batch: u64,
    incarnations: u64,
    producers: Vec<Peer>,
    consumers: Vec<Peer>,
}

impl<'a> Arena<'a> {
    fn new(place: &'a Place, mode: usize, batch: u64, random: Random) -> Self {
        let (name, producers, consumers) = MODES[mode];
        let queue = place.queue(name, small(producers, consumers));
        let handle = queue.queue().unwrap();
        let mut arena = Self {
            place,
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
        let most = if batch == 1 { SMALL_MOST } else { 64 };
        peer.send(format!("produce q {number} 1000000000 {batch} {most} {log}"));
        peer
    }

    fn consumer(&mut self) -> Peer {
        let (mut peer, log) = (self.peer(), self.log("consumer"));
        let (hold, seed) = (self.random.below(5), self.random.next_u64() >> 1);
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

    fn kill_a_producer(&mut self) {
        let one = self.random.below(self.producers.len() as u64) as usize;
        self.producers[one].kill();
        self.producers[one] = self.producer();
    }

    fn kill_a_consumer(&mut self) {
        let one = self.random.below(self.consumers.len() as u64) as usize;
        self.consumers[one].kill();
        self.consumers[one] = self.consumer();
    }

    /// Closes the queue, lets it drain, and settles the account.
    fn finish(mut self, kills_while_draining: u64) -> Summary {
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
    const KILLS: u64 = 15;
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
    assert!(summary.put > 0 && summary.received >= summary.put);
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
    let mut arena = Arena::new(&place, mode, 32, Random::of_run("runs"));
    for _ in 0..KILLS {
        arena.run_on(100);
        arena.kill_a_producer();
    }
    let summary = arena.finish(0);
    assert_eq!(summary.again, 0, "no consumer was killed");
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
