//! What the memory of a machine allows a ring that moves one cache line a record, and does nothing
//! else: no counters, no waiting, no recovery. The limits in `benches/README.md` come from here.
//!
//! ```text
//! cargo run --release -p ringway-bench --example bare_ring [CPU CPU]
//! ```
//!
//! Two threads, pinned. Ping-pong: each line is written by one side and read by the other, in rings of
//! one to 4096 lines, next to one line that goes to and fro (the floor). Both once more with a look at the
//! clock in every round trip, as `ringway-bench latency` has: a clock that is read in order keeps the CPU
//! from going ahead, to fetch the line that is written next while it still waits for the answer. The floor
//! is the mean of several lines: on some machines it depends on where a line lies. Once more with each side
//! asking for the line that it will write as soon as it has seen the other's, as our ring does for answers. And
//! that once more with what many producers and many consumers cannot do without: each side wins its record
//! by a compare-and-swap on a word of its own array, and moves its end of the ring by another. Stream: one
//! side writes line after line, the other reads each, and writes into it, or not; or wins it first. And what it
//! costs to read or to write a line, one at a time, by who had it last. Medians of five.

use std::hint::{black_box, spin_loop};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::time::Instant;

mod bare;
mod costs;

use bare::{Line, lines, pair};

const ROUNDS: u64 = 200_000;
const WARM_UP: u64 = 100_000;
const STREAM: u64 = 4_000_000;
const ENTRIES: u64 = 4096;
/// Lines of the floor, and how many lines they lie apart.
const FLOOR_LINES: u64 = 16;
const FLOOR_SPACING: u64 = 61;
/// Lines that a stream's reader takes between two words to its writer.
const ROOM_STEP: u64 = 64;

/// What several that write, or several that read, share among themselves: who has which record, and where
/// the next one is.
struct Contest {
    end: Line,
    words: Vec<AtomicU64>,
}

impl Contest {
    fn new(entries: u64) -> Self {
        Self { end: Line::default(), words: (0..entries).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Wins the record of this number, the next one, and moves the end over it.
    fn win(&self, record: u64) {
        let word = &self.words[(record % self.words.len() as u64) as usize];
        // RELAXED, both: they are compared below.
        let (older, end) = (word.load(Relaxed), self.end.stamp.load(Relaxed));
        // SYNC bare: alone here, so both succeed.
        assert!(word.compare_exchange(older, record, AcqRel, Relaxed).is_ok());
        assert!(self.end.stamp.compare_exchange(end, record, AcqRel, Relaxed).is_ok());
    }
}

/// What is done beside writing and reading a line.
#[derive(Clone, Copy)]
struct Extra {
    /// A look at the clock in every round.
    timed: bool,
    /// The line to be written is asked for when the other's has come.
    early: bool,
    /// Each record is won by its writer and by its reader.
    won: bool,
}

/// One way of a ping-pong, in nanoseconds, over two rings of so many lines; or, with none, over single
/// lines that go to and fro, one after another.
fn ping_pong(cpus: [usize; 2], entries: Option<u64>, extra: Extra) -> f64 {
    let Extra { timed, early, won } = extra;
    let count = entries.unwrap_or(FLOOR_LINES * FLOOR_SPACING);
    let (there, other) = (lines(count), lines(count));
    let back = if entries.is_none() { &there } else { &other };
    let at = |round: u64| match entries {
        Some(entries) => round & (entries - 1),
        None => round * FLOOR_LINES / (WARM_UP + ROUNDS + 1) * FLOOR_SPACING,
    } as usize;
    let contests: [Contest; 4] = std::array::from_fn(|_| Contest::new(ENTRIES));
    let win = |who: usize, round| {
        if won {
            contests[who].win(round);
        }
    };
    let one = || {
        let mut start = Instant::now();
        for round in 1..=WARM_UP + ROUNDS {
            if round == WARM_UP {
                start = Instant::now();
            }
            win(0, round);
            there[at(round)].write(2 * round);
            back[at(round)].wait(2 * round + 1);
            if early {
                there[at(round + 1)].fetch();
            }
            win(1, round);
            black_box(back[at(round)].read());
            if timed {
                black_box(Instant::now());
            }
        }
        start.elapsed().as_nanos() as f64 / ROUNDS as f64 / 2.0
    };
    pair(cpus, one, || {
        for round in 1..=WARM_UP + ROUNDS {
            there[at(round)].wait(2 * round);
            if early {
                back[at(round)].fetch();
            }
            win(2, round);
            black_box(there[at(round)].read());
            win(3, round);
            back[at(round)].write(2 * round + 1);
        }
    })
}

/// Nanoseconds a record of a stream; `hand_back` says that the reader writes into each line, `won` that each
/// record is won by its writer and by its reader.
fn stream(cpus: [usize; 2], hand_back: bool, won: bool) -> f64 {
    let (ring, room) = (lines(ENTRIES), Line::default());
    let (writers, readers) = (Contest::new(ENTRIES), Contest::new(ENTRIES));
    let one = || {
        let start = Instant::now();
        let mut limit = ENTRIES;
        for record in 1..=STREAM {
            while record > limit {
                // SYNC bare: what was read may be written again.
                limit = room.stamp.load(Acquire) + ENTRIES;
                spin_loop();
            }
            if won {
                writers.win(record);
            }
            ring[(record % ENTRIES) as usize].write(record);
        }
        while room.stamp.load(Acquire) != STREAM {
            spin_loop();
        }
        start.elapsed().as_nanos() as f64 / STREAM as f64
    };
    pair(cpus, one, || {
        for record in 1..=STREAM {
            let line = &ring[(record % ENTRIES) as usize];
            line.wait(record);
            if won {
                readers.win(record);
            }
            black_box(line.read());
            if hand_back {
                line.stamp.store(0, Relaxed); // RELAXED: ordered by `room`.
            }
            if record % ROOM_STEP == 0 {
                room.stamp.store(record, Release); // SYNC bare.
            }
        }
    })
}

fn median(mut measure: impl FnMut() -> f64) -> (f64, f64, f64) {
    let mut all: [f64; 5] = std::array::from_fn(|_| measure());
    all.sort_by(f64::total_cmp);
    (all[2], all[0], all[4])
}

fn main() {
    let named: Result<Vec<usize>, _> = std::env::args().skip(1).map(|cpu| cpu.parse()).collect();
    let cpus = match named.as_deref() {
        Ok([]) => [0, 1],
        Ok(&[one, other]) if one != other => [one, other],
        _ => {
            eprintln!("bare_ring: name two different CPUs, or none for 0 and 1: bare_ring 2 3");
            std::process::exit(2);
        }
    };
    let mut floors = [0.0; 2];
    let plain = Extra { timed: false, early: false, won: false };
    let timed = Extra { timed: true, ..plain };
    let early = Extra { early: true, ..timed };
    for (extra, note) in [
        (plain, ""),
        (timed, ", each round timed"),
        (early, ", each round timed, asked for early"),
        (Extra { won: true, ..early }, ", each round timed, asked for early, each record won"),
    ] {
        if extra.early && cfg!(not(target_arch = "x86_64")) {
            println!("LEFT OUT{note}: a line is asked for by an instruction of x86-64");
            continue;
        }
        if !extra.early {
            let (floor, least, most) = median(|| ping_pong(cpus, None, extra));
            println!(
                "floor, one line to and fro       {floor:6.1} ns ({least:.1}–{most:.1}){note}"
            );
            floors[usize::from(extra.timed)] = floor;
        }
        for entries in [1, 4, 8, 16, 64, ENTRIES] {
            let (mean, least, most) = median(|| ping_pong(cpus, Some(entries), extra));
            let ratio = mean / floors[usize::from(extra.timed)];
            println!(
                "ping-pong, rings of {entries:4} lines   {mean:6.1} ns ({least:.1}–{most:.1})  {ratio:.2} x floor{note}"
            );
        }
    }
    // What `ringway-bench` calls the floor.
    let floor = floors[1];
    for (hand_back, won, what) in [
        (false, false, "lines only read"),
        (true, false, "lines written after reading"),
        (true, true, "and each won, twice"),
    ] {
        let (mean, least, most) = median(|| stream(cpus, hand_back, won));
        let (rate, slow, fast) = (1e3 / mean, 1e3 / most, 1e3 / least);
        let product = floor / mean;
        println!("stream, {what:27} {rate:4.0} M/s ({slow:.0}–{fast:.0})  x floor: {product:.2}e9");
    }
    for (cost, what) in costs::ALL {
        let (mean, least, most) = median(|| cost.measure(cpus));
        println!("a line: {what:45} {mean:6.1} ns ({least:.1}–{most:.1})");
    }
}
