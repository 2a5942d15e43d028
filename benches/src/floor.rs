//! The floor: one cache line bounced between the two processes.
//!
//! Each side spins until the other's number shows up in the one shared word, and answers with its
//! own. Nothing that moves a packet between the two CPUs can be faster: a packet is at least one
//! line, written here and read there. Several lines take their turn, one at a time: on some machines it
//! depends on where a line lies how long it takes (Intel: 60 or 85 ns), and a ring has thousands. Before
//! that, both say how much of its core their CPU has.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::core_share::adds_per_cycle;
use crate::peers::Pair;
use crate::shared::{BALLS, Word};
use crate::stats::Samples;

/// How many round trips.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct FloorPlan {
    /// Not counted.
    pub(crate) warm_up: u64,
    /// Counted.
    pub(crate) rounds: u64,
}

impl Default for FloorPlan {
    /// Some 80 ms. On virtual machines the line is slower for some time after a CPU was idle or
    /// another process ran there: hence the long warm-up.
    fn default() -> Self {
        Self { warm_up: 200_000, rounds: 100_000 }
    }
}

/// What is done with one ball before the next one's turn.
struct Turn {
    ball: usize,
    rounds: u64,
    timed: bool,
}

impl FloorPlan {
    /// All balls without counting, then all of them once more.
    fn turns(self) -> impl Iterator<Item = Turn> {
        [(self.warm_up, false), (self.rounds, true)].into_iter().flat_map(|(all, timed)| {
            let up_to = move |ball: usize| all * ball as u64 / BALLS as u64;
            (0..BALLS).map(move |ball| Turn { ball, rounds: up_to(ball + 1) - up_to(ball), timed })
        })
    }
}

/// What two CPUs can do.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    /// Round trips of the line.
    pub(crate) samples: Samples,
    /// Of the starter's CPU and the peer's, while both were at it.
    pub(crate) adds_per_cycle: [f64; 2],
}

impl Measured {
    /// The round trips of both.
    pub(crate) fn merge(mut self, other: Self) -> Samples {
        self.samples.merge(other.samples);
        self.samples
    }
}

/// Bounces the line, in the starter, and times each round trip.
pub(crate) fn measure(pair: &Pair, clock: Clock, plan: FloorPlan) -> Measured {
    pair.meet();
    let here = adds_per_cycle();
    let mut samples = Samples::with_room(plan.rounds);
    let mut numbers = before(pair);
    // RELAXED: the meeting published it.
    let there = f64::from_bits(pair.region.word(Word::Adds).load(Relaxed));
    for turn in plan.turns() {
        let (ball, number) = (pair.region.ball(turn.ball), &mut numbers[turn.ball]);
        let mut before = clock.ticks();
        for _ in 0..turn.rounds {
            *number = bounce(ball, *number);
            if turn.timed {
                let now = clock.ticks();
                samples.push(now.wrapping_sub(before));
                before = now;
            }
        }
    }
    samples.settle();
    Measured { samples, adds_per_cycle: [here, there] }
}

/// Answers, in the peer.
pub(crate) fn answer(pair: &Pair, plan: FloorPlan) {
    pair.meet();
    // RELAXED: the meeting publishes it.
    pair.region.word(Word::Adds).store(adds_per_cycle().to_bits(), Relaxed);
    let mut numbers = before(pair);
    for turn in plan.turns() {
        let (ball, number) = (pair.region.ball(turn.ball), &mut numbers[turn.ball]);
        for _ in 0..turn.rounds {
            await_number(ball, *number + 1);
            *number += 2;
            // SYNC bounced (pairs with `await_number`).
            ball.store(*number, Release);
        }
    }
}

/// Reads where the balls are before anybody moves them, and meets.
fn before(pair: &Pair) -> [u64; BALLS] {
    // RELAXED: the last bounce came before a meeting, and the next comes after this one.
    let numbers = std::array::from_fn(|nth| pair.region.ball(nth).load(Relaxed));
    pair.meet();
    numbers
}

/// One round trip: says the next number, waits for the one after.
#[inline]
fn bounce(ball: &AtomicU64, number: u64) -> u64 {
    // SYNC bounced (pairs with `await_number`).
    ball.store(number + 1, Release);
    await_number(ball, number + 2);
    number + 2
}

#[inline]
fn await_number(ball: &AtomicU64, number: u64) {
    // SYNC bounced (pairs with the stores above): as strong as a packet's hand-over has to be.
    while ball.load(Acquire) != number {
        std::hint::spin_loop();
    }
}
