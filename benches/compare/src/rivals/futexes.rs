//! A bare shared futex: a word, `FUTEX_WAKE`, `FUTEX_WAIT`.

use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Release};

use rustix::thread::futex;

use crate::error::{Doing, Result};
use crate::peers::Pair;
use crate::shared::{Region, Word};
use crate::transport::{Inlet, Outlet};

/// Wakes the other process.
pub(crate) struct Waker(Arc<Region>, Word);

/// Sleeps until woken.
pub(crate) struct Sleeper(Arc<Region>, Word);

/// This process's two ends.
pub(crate) fn ends(pair: &Pair, starter: bool) -> (Waker, Sleeper) {
    let (mine, other) = (Word::WakeStarter, Word::WakePeer);
    let (mine, other) = if starter { (mine, other) } else { (other, mine) };
    (Waker(Arc::clone(&pair.region), other), Sleeper(Arc::clone(&pair.region), mine))
}

impl Outlet for Waker {
    fn send(&mut self, first: u64, _: usize) -> Result<()> {
        let word = self.0.futex(self.1);
        // SYNC woken (pairs with `receive`).
        word.store(first as u32 + 1, Release);
        futex::wake(word, futex::Flags::empty(), 1).doing("waking the other process").map(drop)
    }
}

impl Inlet for Sleeper {
    fn receive(&mut self, expected: u64, _: usize) -> Result<usize> {
        let word = self.0.futex(self.1);
        loop {
            // SYNC woken (pairs with `send`).
            let value = word.load(Acquire);
            if value == expected as u32 + 1 {
                return Ok(1);
            }
            match futex::wait(word, futex::Flags::empty(), value, None) {
                Ok(()) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).doing("sleeping on a futex"),
            }
        }
    }

    fn try_receive(&mut self, expected: u64) -> Result<bool> {
        // SYNC woken (pairs with `send`).
        Ok(self.0.futex(self.1).load(Acquire) == expected as u32 + 1)
    }
}
