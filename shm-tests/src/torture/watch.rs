//! A thread that watches the rings: how soon packets go through again after a death, and whether
//! they ever do.
//!
//! Resumption is counted from the moment when the kernel has freed the dead process's lock, to the
//! next packet through the ring. While somebody is stopped on purpose, or when this process itself
//! was stopped, nothing is measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ringway::queue::Queue;
use ringway::shm::os::monotonic_ns;
use ringway::shm::segment::SegmentView;

/// How often it looks.
const PACE: Duration = Duration::from_micros(100);

/// A longer pause between two looks means that this process was stopped.
const GAP_NS: u64 = 1_000_000_000;

/// No packet for this long, with everybody there: wedged. Time in which this process did not run
/// does not count.
const WEDGED_AFTER_NS: u64 = 10_000_000_000;

/// What is measured of one death, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From the freed lock to the next packet.
    pub resume_ns: u64,
    /// From the kill to the next packet.
    pub kill_to_resume_ns: u64,
}

struct Ring {
    queue: Queue,
    segment: Arc<SegmentView>,
    progress: u64,
    /// Time without a packet, this process running.
    idle_ns: u64,
}

struct Death {
    pid: u32,
    ring: usize,
    killed_ns: u64,
    /// Who it was, for people.
    who: String,
    /// When the lock was free, and the progress then.
    freed: Option<(u64, u64)>,
    resumed_ns: Option<u64>,
}

#[derive(Default)]
struct State {
    rings: Vec<Ring>,
    deaths: Vec<Death>,
    samples: Vec<Sample>,
    unmeasured: u64,
    slowest: (u64, String),
    paused: u32,
    looked_ns: u64,
}

/// The thread, and what it saw.
pub(super) struct Watch {
    state: Arc<Mutex<State>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl State {
    fn look(&mut self) {
        let now = monotonic_ns();
        let gap = now.saturating_sub(self.looked_ns);
        self.looked_ns = now;
        if self.paused > 0 || gap > GAP_NS {
            self.unmeasured += self.deaths.len() as u64;
            self.deaths.clear();
        }
        for ring in &mut self.rings {
            let stats = ring.queue.stats();
            let progress = stats.gets + stats.redelivered;
            let idle = ring.idle_ns + if self.paused > 0 { 0 } else { gap.min(100_000_000) };
            ring.idle_ns = if progress == ring.progress { idle } else { 0 };
            ring.progress = progress;
        }
        let rings = &self.rings;
        self.deaths.retain_mut(|death| {
            let Some(ring) = rings.get(death.ring) else { return false };
            let Some((freed_ns, before)) = death.freed else {
                if !holds_a_place(&ring.segment, death.pid) {
                    death.freed = Some((now, ring.progress));
                }
                return true;
            };
            if ring.progress <= before {
                // The counter is made of two words: what looked like a packet was none.
                death.resumed_ns = None;
                return true;
            }
            let Some(resumed_ns) = death.resumed_ns else {
                death.resumed_ns = Some(now);
                return true;
            };
            let resume_ns = resumed_ns - freed_ns;
            if resume_ns > self.slowest.0 {
                self.slowest = (resume_ns, std::mem::take(&mut death.who));
            }
            self.samples.push(Sample {
                resume_ns,
                kill_to_resume_ns: resumed_ns.saturating_sub(death.killed_ns),
            });
            false
        });
    }
}

/// Says whether a process is a participant whose lock is held.
fn holds_a_place(segment: &SegmentView, pid: u32) -> bool {
    segment.participants().iter().any(|info| info.pid == pid && info.alive)
}

impl Watch {
    /// Starts it, watching nothing yet.
    pub(super) fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (state, stop) = (Arc::clone(&state), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    lock(&state).look();
                    std::thread::sleep(PACE);
                }
            }
        });
        Self { state, stop, thread: Some(thread) }
    }

    /// Watches these rings from now on: each its queue, and its segment, opened to look.
    pub(super) fn set_rings(&self, rings: Vec<(Queue, Arc<SegmentView>)>) {
        let mut state = lock(&self.state);
        state.unmeasured += state.deaths.len() as u64;
        state.deaths.clear();
        state.rings = rings
            .into_iter()
            .map(|(queue, segment)| Ring { queue, segment, progress: 0, idle_ns: 0 })
            .collect();
    }

    /// Measures how soon a ring goes on after the death of a process.
    pub(super) fn died(&self, pid: u32, rings: &[usize], killed_ns: u64, who: &str) {
        let mut state = lock(&self.state);
        let deaths = rings.iter().map(|&ring| Death {
            pid,
            ring,
            killed_ns,
            who: who.to_owned(),
            freed: None,
            resumed_ns: None,
        });
        state.deaths.extend(deaths);
    }

    /// Measures nothing of a process that was not killed after all.
    pub(super) fn lives(&self, pid: u32) {
        lock(&self.state).deaths.retain(|death| death.pid != pid);
    }

    /// Says whether some ring has not gone on yet after a death.
    pub(super) fn is_waiting(&self) -> bool {
        !lock(&self.state).deaths.is_empty()
    }

    /// Somebody is stopped, or goes on.
    pub(super) fn paused(&self, change: i32) {
        let mut state = lock(&self.state);
        state.paused = state.paused.saturating_add_signed(change);
    }

    /// Forgets how long nothing went through: it is meant to end.
    pub(super) fn excuse(&self) {
        lock(&self.state).rings.iter_mut().for_each(|ring| ring.idle_ns = 0);
    }

    /// The first ring through which nothing has gone for too long.
    pub(super) fn wedged(&self) -> Option<usize> {
        lock(&self.state).rings.iter().position(|ring| ring.idle_ns > WEDGED_AFTER_NS)
    }

    /// All that was measured, how many deaths were not, and whose death took longest.
    pub(super) fn measured(&self) -> (Vec<Sample>, u64, String) {
        let state = lock(&self.state);
        (state.samples.clone(), state.unmeasured, state.slowest.1.clone())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
