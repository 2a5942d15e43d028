//! What it costs to read or to write one line, by who had it last.
//!
//! Each line names the next, in no order that a CPU could foresee, and to write a line is to add nothing to it by
//! an atomic instruction: so there is one at a time.

use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::bare::{Line, lines, pair};

/// Lines, every second one of which is used: CPUs fetch them in pairs.
const LINES: usize = 8192;
/// Lines from one to the next: twice an odd number, so that all are met, and far.
const STEP: usize = 2 * 1597;

/// Reading or writing.
#[derive(Clone, Copy)]
enum Access {
    Read,
    Write,
}

use Access::{Read, Write};

/// What is done to all lines: by this CPU, by the other, by this one again; and what this one does last, which is
/// timed.
#[derive(Clone, Copy)]
pub(crate) struct Cost {
    first: Option<Access>,
    other: Option<Access>,
    then: Option<Access>,
    timed: Access,
}

/// What is written, and nothing before.
const WRITTEN: Cost = Cost { first: None, other: None, then: None, timed: Write };
/// What the other has written, and this one writes.
const OTHERS: Cost = Cost { other: Some(Write), ..WRITTEN };

pub(crate) const ALL: [(Cost, &str); 5] = [
    (Cost { first: Some(Write), ..WRITTEN }, "mine, written"),
    (Cost { timed: Read, ..OTHERS }, "the other's, read"),
    (OTHERS, "the other's, written"),
    (Cost { then: Some(Read), ..OTHERS }, "the other's, written after reading it"),
    (
        Cost { first: Some(Write), other: Some(Read), ..WRITTEN },
        "mine, written after the other read it",
    ),
];

impl Access {
    fn of_all(self, lines: &[Line]) {
        let mut at = 0;
        for _ in 0..lines.len() / 2 {
            let next = &lines[at].payload[0];
            // RELAXED, both: nobody changes it. The other's accesses lie behind a barrier.
            at = match self {
                Read => next.load(Relaxed),
                Write => next.fetch_add(0, Relaxed),
            } as usize;
        }
        black_box(at);
    }
}

impl Cost {
    /// Nanoseconds for each line.
    pub(crate) fn measure(self, cpus: [usize; 2]) -> f64 {
        let all = lines(LINES as u64);
        for (at, line) in all.iter().enumerate() {
            line.payload[0].store(((at + STEP) % LINES) as u64, Relaxed); // RELAXED: no thread yet.
        }
        let all_of = |access: Option<Access>| access.into_iter().for_each(|it| it.of_all(&all));
        let turn = Barrier::new(2);
        let here = || {
            all_of(self.first);
            turn.wait();
            turn.wait();
            all_of(self.then);
            let start = Instant::now();
            self.timed.of_all(&all);
            start.elapsed().as_nanos() as f64 / (LINES / 2) as f64
        };
        pair(cpus, here, || {
            turn.wait();
            all_of(self.other);
            turn.wait();
        })
    }
}
