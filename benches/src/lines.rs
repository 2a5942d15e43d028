//! What lines cost that change hands, without any queue: the figures that the ring's layout rests on.
//!
//! *Stream*: one process writes N lines, then the other reads them, in turns; the reader either leaves
//! them as they are, or writes one word of each. *Hop*: ping-pong over N lines there and N back, each
//! used once a lap, with nothing in them but a number.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cpus::CpuPair;
use crate::error::Result;
use crate::floor::{self, FloorPlan};
use crate::peers::{Pair, Session};
use crate::report::{LinesReport, Progress};
use crate::shared::{Region, Word};
use crate::{Task, clock};

/// Lines of the streams.
const STREAMS: [usize; 3] = [256, 4096, 16_384];
/// Lines of the hops, each way.
const HOPS: [usize; 5] = [1, 8, 64, 256, 4096];
/// Lines of the region.
const LINES: usize = 16_384;

/// What is measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct LinesPlan {
    /// Lines of each stream, and round trips of each hop.
    pub(crate) rounds: u64,
    /// The floor, before and after.
    pub(crate) floor: FloorPlan,
}

/// Mean times.
#[derive(Debug, Default)]
pub(crate) struct LineTimes {
    pub(crate) stream: Vec<Streamed>,
    /// Lines each way, and nanoseconds one way.
    pub(crate) hop: Vec<(usize, f64)>,
}

/// Mean times of one stream, a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streamed {
    pub(crate) lines: usize,
    pub(crate) written_back: bool,
    pub(crate) write_ns: f64,
    pub(crate) read_ns: f64,
}

/// Measures, in the starter.
///
/// # Errors
/// When the peer cannot be started, or fails.
pub(crate) fn measure(cpus: CpuPair, plan: LinesPlan) -> Result<LinesReport> {
    let session = Session::start(cpus, LINES * 64, Task::Lines(plan))?;
    let (pair, clock) = (&session.pair, session.clock);
    let progress = Progress::start((2 * STREAMS.len() + HOPS.len() + 2) as u64);
    progress.stage("floor");
    let before = floor::measure(pair, clock, plan.floor);
    progress.advance(1);
    let mut times = LineTimes::default();
    let mut number = 0;
    progress.stage("stream");
    for lines in STREAMS {
        for written_back in [false, true] {
            times.stream.push(stream(pair, clock, plan, (lines, written_back), &mut number));
            progress.advance(1);
        }
    }
    progress.stage("hop");
    for lines in HOPS {
        times.hop.push((lines, hop(pair, clock, plan, lines, &mut number)));
        progress.advance(1);
    }
    progress.stage("floor");
    let after = floor::measure(pair, clock, plan.floor);
    session.finish()?;
    drop(progress);
    Ok(LinesReport::new(plan, cpus, clock, &times, before, after))
}

/// Takes the other part, in the peer.
pub(crate) fn answer(pair: &Pair, plan: LinesPlan) {
    floor::answer(pair, plan.floor);
    let clock = clock::Clock::new();
    let mut number = 0;
    for lines in STREAMS {
        for written_back in [false, true] {
            for _ in 0..laps(plan, lines) {
                pair.meet();
                pair.meet();
                let ticks = read_lines(&pair.region, clock, lines, number, written_back);
                number += lines as u64;
                // RELAXED: the meeting publishes it.
                pair.region.word(Word::ToStarter).store(ticks, Relaxed);
                pair.meet();
            }
        }
    }
    for lines in HOPS {
        pair.meet();
        for _ in 0..plan.rounds {
            number += 1;
            let (there, back) = places(number, lines);
            await_number(&pair.region, there, number);
            // SYNC hopped (pairs with `await_number`).
            pair.region.data_word(back, 0).store(number, Release);
        }
    }
    floor::answer(pair, plan.floor);
}

fn laps(plan: LinesPlan, lines: usize) -> u64 {
    (plan.rounds / lines as u64).max(8)
}

/// One stream: the first quarter of its laps is warm-up.
fn stream(
    pair: &Pair,
    clock: Clock,
    plan: LinesPlan,
    (lines, written_back): (usize, bool),
    number: &mut u64,
) -> Streamed {
    let laps = laps(plan, lines);
    let (mut write, mut read) = (0, 0);
    for lap in 0..laps {
        pair.meet();
        let ticks = write_lines(&pair.region, clock, lines, *number);
        *number += lines as u64;
        pair.meet();
        pair.meet();
        if lap >= laps / 4 {
            write += ticks;
            // RELAXED: the meeting above came after the store.
            read += pair.region.word(Word::ToStarter).load(Relaxed);
        }
    }
    let counted = ((laps - laps / 4) * lines as u64) as f64;
    let mean = |ticks: u64| (ticks as f64 * clock.ns_per_tick()) / counted;
    Streamed { lines, written_back, write_ns: mean(write), read_ns: mean(read) }
}

/// As much as an entry with a small record: a number, a length, 32 bytes.
#[inline(never)]
fn write_lines(region: &Region, clock: Clock, lines: usize, number: u64) -> u64 {
    let began = clock.ticks();
    for line in 0..lines {
        for word in 1..6 {
            // RELAXED: published below.
            region.data_word(line, word).store(number, Relaxed);
        }
        // SYNC hopped (pairs with the reader's load).
        region.data_word(line, 0).store(number + line as u64 + 1, Release);
    }
    clock.ticks().wrapping_sub(began)
}

#[inline(never)]
fn read_lines(region: &Region, clock: Clock, lines: usize, number: u64, write_back: bool) -> u64 {
    let began = clock.ticks();
    let mut sum = 0_u64;
    for line in 0..lines {
        await_number(region, line, number + line as u64 + 1);
        for word in 1..6 {
            // RELAXED: ordered by the load above.
            sum = sum.wrapping_add(region.data_word(line, word).load(Relaxed));
        }
        if write_back {
            // RELAXED: the meeting that follows orders it.
            region.data_word(line, 7).store(sum, Relaxed);
        }
    }
    std::hint::black_box(sum);
    clock.ticks().wrapping_sub(began)
}

/// Ping-pong; the first quarter is warm-up.
fn hop(pair: &Pair, clock: Clock, plan: LinesPlan, lines: usize, number: &mut u64) -> f64 {
    pair.meet();
    let warm_up = plan.rounds / 4;
    let mut began = 0;
    for round in 0..plan.rounds {
        if round == warm_up {
            began = clock.ticks();
        }
        *number += 1;
        let (there, back) = places(*number, lines);
        // SYNC hopped (pairs with `await_number`).
        pair.region.data_word(there, 0).store(*number, Release);
        await_number(&pair.region, back, *number);
    }
    (clock.ticks().wrapping_sub(began) as f64 * clock.ns_per_tick())
        / (plan.rounds - warm_up) as f64
        / 2.0
}

/// The lines of this round: there in the first half of the region, back in the second.
#[inline]
fn places(number: u64, lines: usize) -> (usize, usize) {
    let line = number as usize & (lines - 1);
    (line, LINES / 2 + line)
}

#[inline]
fn await_number(region: &Region, line: usize, number: u64) {
    // SYNC hopped (pairs with the stores).
    while region.data_word(line, 0).load(Acquire) != number {
        std::hint::spin_loop();
    }
}
