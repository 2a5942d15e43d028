//! How much of its core each CPU has: what no kernel says to a guest.
//!
//! Two CPUs of a host may be two hardware threads of one core. When somebody else, perhaps another guest, uses
//! the other thread, the core issues half as many instructions for this one, while a chain of instructions
//! that wait for each other goes on as before: so a latency hardly changes, and a stream of small packets halves.
//! Both are timed here, one after the other: the ratio is a count, whatever the clock speed.
#![allow(unsafe_code, reason = "additions that the compiler must neither fold nor reorder")]

use std::arch::asm;
use std::time::Instant;

/// Times both are timed: some 2 ms in all.
const TURNS: usize = 200;
/// Turns left out at either end, when they are sorted: those that were interrupted.
const OUTLIERS: usize = TURNS / 10;
/// Rounds of the chain in a turn, of 12 additions each.
const CHAINED: u64 = 1000;
/// Rounds of independent additions in a turn: as long as the chain, at four a cycle.
const INDEPENDENT: u64 = 4 * CHAINED;

/// Says how many independent additions the calling thread's CPU does in the time of one that waits for the one
/// before, which is a cycle: 4 to 6 on a core of its own, about half of that on a shared one.
pub(crate) fn adds_per_cycle() -> f64 {
    let mut turns: [f64; TURNS] = std::array::from_fn(|_| {
        let start = Instant::now();
        chain();
        let chained = start.elapsed();
        independent();
        let all = start.elapsed();
        chained.as_secs_f64() / (all - chained).as_secs_f64().max(1e-9)
    });
    turns.sort_by(f64::total_cmp);
    let sound = &turns[OUTLIERS..TURNS - OUTLIERS];
    sound.iter().sum::<f64>() / sound.len() as f64 * (INDEPENDENT / CHAINED) as f64
}

/// One addition to each register named.
#[cfg(target_arch = "x86_64")]
macro_rules! add {
    ($($register:literal)*) => { concat!($("add {", $register, "}, {one}\n"),*) };
}
#[cfg(target_arch = "aarch64")]
macro_rules! add {
    ($($register:literal)*) => {
        concat!($("add {", $register, "}, {", $register, "}, {one}\n"),*)
    };
}

fn chain() {
    let mut a = 0_u64;
    for _ in 0..CHAINED {
        // SAFETY: changes the registers named, and the flags, and nothing else.
        unsafe {
            asm!(add!("a" "a" "a" "a" "a" "a" "a" "a" "a" "a" "a" "a"),
                a = inout(reg) a, one = in(reg) 1_u64, options(nomem, nostack));
        }
    }
}

fn independent() {
    let [mut a, mut b, mut c, mut d, mut e, mut f] = [0_u64; 6];
    for _ in 0..INDEPENDENT {
        // SAFETY: as above.
        unsafe {
            asm!(add!("a" "b" "c" "d" "e" "f" "a" "b" "c" "d" "e" "f"),
                a = inout(reg) a, b = inout(reg) b, c = inout(reg) c, d = inout(reg) d,
                e = inout(reg) e, f = inout(reg) f, one = in(reg) 1_u64,
                options(nomem, nostack));
        }
    }
}
