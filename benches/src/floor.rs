//! The floor: one cache line bounced between the two processes.
//!
//! Each side spins until the other's number shows up in the one shared word, and answers with its
//! own. Nothing that moves a packet between the two CPUs can be faster: a packet is at least one
//! line, written here and read there. Before that, both say how much of its core their CPU has.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::core_share::adds_per_cycle;
use crate::peers::Pair;
use crate::shared::Word;
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
    let ball = pair.region.word(Word::Ball);
    let mut samples = Samples::with_room(plan.rounds);
    let mut number = before(pair, ball);
    // RELAXED: the meeting published it.
    let there = f64::from_bits(pair.region.word(Word::Adds).load(Relaxed));
    for _ in 0..plan.warm_up {
        number = bounce(ball, number);
    }
    let mut before = clock.ticks();
    for _ in 0..plan.rounds {
        number = bounce(ball, number);
        let now = clock.ticks();
        samples.push(now.wrapping_sub(before));
        before = now;
    }
    samples.settle();
    Measured { samples, adds_per_cycle: [here, there] }
}

/// Answers, in the peer.
pub(crate) fn answer(pair: &Pair, plan: FloorPlan) {
    pair.meet();
    // RELAXED: the meeting publishes it.
    pair.region.word(Word::Adds).store(adds_per_cycle().to_bits(), Relaxed);
    let ball = pair.region.word(Word::Ball);
    let mut number = before(pair, ball);
    for _ in 0..plan.warm_up + plan.rounds {
        await_number(ball, number + 1);
        number += 2;
        // SYNC bounced (pairs with `await_number`).
        ball.store(number, Release);
    }
}

/// Reads where the ball is before anybody moves it, and meets.
fn before(pair: &Pair, ball: &AtomicU64) -> u64 {
    // RELAXED: the last bounce came before a meeting, and the next comes after this one.
    let number = ball.load(Relaxed);
    pair.meet();
    number
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
