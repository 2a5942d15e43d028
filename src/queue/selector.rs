//! Waiting on several queues at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::GetError;
use crate::queue::core::Core;
use crate::queue::spin::Spin;
use crate::queue::{Lease, Queue, Wait};
use crate::shm::os::{self, FutexWait};
use crate::shm::wait::SLICE;
use crate::sync::AtomicU32;
use crate::sync::Ordering::Acquire;

/// How long queues that cannot wake us (registered kinds) are left alone between two looks.
const POLL: Duration = Duration::from_millis(1);

/// Waits on several queues at once, and takes from whichever has something: a task with many
/// inputs, a caller that waits for its reply.
///
/// Any mix of kinds: rings on the heap and of any number of segments wake the sleeper by their
/// doorbells; queues of registered kinds are looked at every millisecond. Fair: the look begins
/// behind the queue that delivered last.
///
/// ```
/// use ringway::queue::{QueueDescriptor, Selector, Wait};
///
/// let (left, right) = (QueueDescriptor::local("doc/left")?, QueueDescriptor::local("doc/right")?);
/// let mut selector = Selector::new([left.queue()?, right.queue()?]);
/// right.put(b"hello")?;
/// let (index, lease) = selector.lease(Wait::Forever)?;
/// assert_eq!((index, &*lease), (1, &b"hello"[..]));
/// lease.ack();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Selector {
    queues: Vec<Queue>,
    /// Queues that said they are closed and drained, or failed for good.
    done: Vec<bool>,
    next: usize,
    spin: Spin,
}

/// What a look at all queues found.
enum Look {
    Found(usize, Lease),
    /// Nothing now; this many queues may still bring something.
    Nothing(usize),
    Failed(GetError),
}

impl Selector {
    /// Waits on these queues; they are told apart by their index.
    pub fn new(queues: impl IntoIterator<Item = Queue>) -> Self {
        let queues: Vec<_> = queues.into_iter().collect();
        Self { done: vec![false; queues.len()], queues, next: 0, spin: Spin::default() }
    }

    /// The queues, by index.
    #[must_use]
    pub fn queues(&self) -> &[Queue] {
        &self.queues
    }

    /// Adds a queue, and returns its index.
    pub fn push(&mut self, queue: Queue) -> usize {
        self.queues.push(queue);
        self.done.push(false);
        self.queues.len() - 1
    }

    /// Takes the next record of any queue: the queue's index, and the record.
    ///
    /// A queue that is closed and drained drops out.
    ///
    /// # Errors
    /// [`GetError::Closed`] when all have dropped out; [`GetError::Empty`], [`GetError::Timeout`],
    /// [`GetError::Interrupted`] as for one queue. Any other error of a queue is returned once, and
    /// the queue drops out.
    pub fn lease(&mut self, wait: Wait) -> Result<(usize, Lease), GetError> {
        match self.look() {
            Look::Found(index, lease) => return Ok((index, lease)),
            Look::Failed(error) => return Err(error),
            Look::Nothing(0) => return Err(GetError::Closed),
            Look::Nothing(_) if wait == Wait::No => return Err(GetError::Empty),
            Look::Nothing(_) => {}
        }
        let spin = std::mem::take(&mut self.spin);
        // Only at what a put writes: the full look may cost a system call for each queue.
        let found = spin.for_record(|| {
            if !self.queues.iter().any(may_have_something) {
                return None;
            }
            match self.look() {
                Look::Nothing(left) if left > 0 => None,
                other => Some(other),
            }
        });
        self.spin = spin;
        match found {
            Some(Look::Found(index, lease)) => Ok((index, lease)),
            Some(Look::Failed(error)) => Err(error),
            Some(Look::Nothing(_)) => Err(GetError::Closed),
            None => self.sleep(wait),
        }
    }

    /// Looks at every queue once, beginning behind the one that delivered last.
    fn look(&mut self) -> Look {
        let count = self.queues.len();
        let mut left = 0;
        for step in 0..count {
            let index = (self.next + step) % count;
            if self.done[index] {
                continue;
            }
            match self.queues[index].try_lease() {
                Ok(lease) => {
                    self.next = index + 1;
                    return Look::Found(index, lease);
                }
                Err(GetError::Empty | GetError::Draining { .. }) => left += 1,
                // What this process itself still holds may be given back.
                Err(GetError::Closed) => self.done[index] = self.queues[index].in_flight() == 0,
                Err(error) => {
                    self.done[index] = true;
                    return Look::Failed(error);
                }
            }
        }
        Look::Nothing(left)
    }

    fn sleep(&mut self, wait: Wait) -> Result<(usize, Lease), GetError> {
        let rings = self.queues.iter().zip(&self.done).filter(|(_, done)| !**done);
        let cores: Vec<Option<Arc<Core>>> = rings
            .map(|(queue, _)| queue.backend().ring().map(|ring| Arc::clone(ring.core())))
            .collect();
        let all_wake = cores.iter().all(Option::is_some);
        let cores = Registered::new(cores.into_iter().flatten().collect());
        loop {
            // SYNC doorbell: read before the bits are set, so that a wake after it changes it.
            let seen = cores.doorbells();
            cores.register();
            match self.look() {
                Look::Found(index, lease) => return Ok((index, lease)),
                Look::Failed(error) => return Err(error),
                Look::Nothing(0) => return Err(GetError::Closed),
                Look::Nothing(_) => {}
            }
            let slice = if all_wake { SLICE } else { POLL };
            let left = match wait {
                Wait::Until(deadline) => deadline.saturating_duration_since(Instant::now()),
                _ => slice,
            };
            if left.is_zero() {
                return Err(GetError::Timeout);
            }
            let woken = cores.sleep(&seen, left.min(slice));
            if woken == FutexWait::Interrupted && wait == Wait::Interruptible {
                return Err(GetError::Interrupted);
            }
        }
    }
}

/// Says, for the price of a few loads, whether a full look at the queue may find something.
fn may_have_something(queue: &Queue) -> bool {
    match queue.backend().ring() {
        Some(ring) => {
            let ring = ring.raw();
            ring.waiting() != 0 || ring.hinted() || ring.is_closed()
        }
        None => true,
    }
}

/// Registered in the waiter sets of several rings, until dropped.
struct Registered {
    cores: Vec<Arc<Core>>,
}

impl Registered {
    fn new(cores: Vec<Arc<Core>>) -> Self {
        for core in &cores {
            core.enter_select();
        }
        Self { cores }
    }

    fn register(&self) {
        for core in &self.cores {
            core.select_again();
        }
    }

    /// The doorbells, each once, with their values.
    fn doorbells(&self) -> Vec<(&AtomicU32, u32)> {
        let mut words: Vec<(&AtomicU32, u32)> = Vec::with_capacity(1);
        for core in &self.cores {
            if let Some(bell) = core.peers().doorbell(core.me)
                && !words.iter().any(|(known, _)| std::ptr::eq(*known, bell))
            {
                // SYNC doorbell (pairs with `ring_doorbell`).
                words.push((bell, bell.load(Acquire)));
            }
        }
        words
    }

    fn sleep(&self, seen: &[(&AtomicU32, u32)], timeout: Duration) -> FutexWait {
        if seen.is_empty() {
            std::thread::sleep(timeout);
            return FutexWait::TimedOut;
        }
        os::futex_wait_any(seen, Some(os::deadline_after(timeout)))
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        for core in &self.cores {
            core.leave_select();
        }
    }
}
