//! CPUs that are kept from idling while wake-ups are measured, and the pause before each.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::clock::monotonic_ns;
use crate::cpus::be_idle;

/// Waits: asleep, or without letting go of the CPU.
pub(crate) fn pause(pause: Duration, awake: bool) {
    if !awake {
        return std::thread::sleep(pause);
    }
    let end = monotonic_ns() + pause.as_nanos() as u64;
    while monotonic_ns() < end {
        std::hint::spin_loop();
    }
}

/// Keeps this thread's CPU from idling, until it is dropped.
#[derive(Debug)]
pub(crate) struct KeepAwake {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KeepAwake {
    /// Starts the thread that does; it is pinned as the caller is.
    pub(crate) fn start() -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            // Where that is refused it would take half of the CPU: better an idle one.
            if be_idle().is_ok() {
                // RELAXED: nothing else is read.
                while !seen.load(Relaxed) {
                    std::hint::spin_loop();
                }
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for KeepAwake {
    fn drop(&mut self) {
        // RELAXED: as above.
        self.over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to panic about.
            let _ = thread.join();
        }
    }
}
