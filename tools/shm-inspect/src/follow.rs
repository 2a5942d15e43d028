//! Following a ring: looking at it again and again, until an end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringway::shm::inspect::{Passed, Tap, Tapped};

use crate::failure::{Failure, Result};

/// Time between two looks at a ring in which nothing passes.
const IDLE: Duration = Duration::from_millis(2);
/// Looks that find nothing before the program sleeps between them.
const EAGER: u32 = 200;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C, and SIGTERM and SIGHUP, end what follows in order, instead of at once.
///
/// # Errors
/// When the system refuses the handler.
pub(crate) fn end_on_interrupt() -> Result<()> {
    // RELAXED: a flag by itself, looked at again and again.
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
        .map_err(|error| Failure::Usage(format!("Ctrl-C cannot be handled: {error}")))
}

pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed) // RELAXED: as above.
}

/// What is done with the packets that pass.
pub(crate) trait Watcher {
    /// A packet was seen at `at`. Says whether it was the last that is wanted.
    fn packet(&mut self, passed: Passed, at: Instant) -> Result<bool>;

    /// Packets were too fast to be seen.
    fn missed(&mut self, packets: u64) -> Result<()>;

    /// Called after each look; `found`: it saw something. Says whether to end.
    fn looked(&mut self, found: bool) -> Result<bool>;
}

/// Why following ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The watcher has enough, or Ctrl-C.
    Enough,
    /// The ring is closed or destroyed, or a copy, and everything in it was seen.
    Closed,
    /// The ring holds garbage: nothing can be followed past it.
    Damaged,
}

/// Follows a ring with so many bytes of each payload; `copy`: into which nothing comes any more.
///
/// # Errors
/// Those of the watcher.
pub(crate) fn follow(
    tap: &mut Tap,
    bytes: usize,
    copy: bool,
    watcher: &mut impl Watcher,
) -> Result<End> {
    let mut idle = 0;
    loop {
        let mut tapped_all = Vec::new();
        let polled = tap.poll(bytes, |tapped| tapped_all.push(tapped));
        let at = Instant::now();
        let mut enough = false;
        for tapped in tapped_all {
            match tapped {
                Tapped::Packet(passed) => enough = watcher.packet(passed, at)?,
                Tapped::Missed(packets) => watcher.missed(packets)?,
            }
            if enough {
                break;
            }
        }
        let found = polled.seen + polled.missed != 0;
        if enough || watcher.looked(found)? || interrupted() {
            return Ok(End::Enough);
        }
        if polled.damaged {
            return Ok(End::Damaged);
        }
        if (polled.ended || copy) && !found {
            return Ok(End::Closed);
        }
        idle = if found { 0 } else { idle + 1 };
        if idle > EAGER {
            std::thread::sleep(IDLE);
        } else {
            std::thread::yield_now();
        }
    }
}
