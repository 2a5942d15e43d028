//! Segments under somebody who writes what he likes: mutated in every region, before and during
//! every operation. What `mutate` and the targets of `fuzz/` share.
//!
//! | file | what |
//! |---|---|
//! | `words.rs` | a file's words, for whoever changes them behind everybody's back |
//! | `image.rs` | valid live segments: rings half full, leases out, claims open, owners dead |
//! | `plan.rs` | what is changed in one of them, when, and what is then done with it |
//! | `damage.rs` | which word, and which value |
//! | `session.rs` | doing it, under the eyes of a watchdog |
//! | `verdict.rs` | which errors show damage |
//! | `arena.rs` | the files of one process, and its second thread that keeps on writing |
//! | `status.rs` | what a process says about itself in a page that survives it |
//! | `worker.rs` | what one process does |
//! | `fleet.rs` | many such processes, what becomes of them, and the count at the end |
//!
//! A plan follows from a seed, or from a fuzzer's bytes, alone. What happens while a second thread
//! writes does not: such a plan is to be run many times.

pub mod arena;
mod damage;
pub mod fleet;
pub mod image;
pub mod plan;
pub mod session;
pub mod status;
mod verdict;
mod words;
pub mod worker;

use crate::random::Random;

/// Where the numbers of a plan come from.
pub trait Choose {
    /// A number.
    fn next_u64(&mut self) -> u64;

    /// A number below `end`; 0 when `end` is 0.
    fn below(&mut self, end: u64) -> u64 {
        self.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

impl Choose for Random {
    fn next_u64(&mut self) -> u64 {
        Self::next_u64(self)
    }
}

/// A fuzzer's bytes as numbers; zeros when they are used up. Small choices take one byte each, so
/// that a fuzzer finds its way.
#[derive(Debug)]
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    fn take(&mut self, count: usize) -> u64 {
        let (now, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        now.iter().fold(0, |number, &byte| number << 8 | u64::from(byte))
    }
}

impl Choose for Bytes<'_> {
    fn next_u64(&mut self) -> u64 {
        self.take(8)
    }

    fn below(&mut self, end: u64) -> u64 {
        let number = if end <= 256 { self.take(1) } else { self.take(8) };
        number.checked_rem(end).unwrap_or(0)
    }
}

/// A choice among some.
pub(crate) fn pick<T: Copy>(choose: &mut dyn Choose, among: &[T]) -> T {
    among[choose.below(among.len() as u64) as usize]
}
