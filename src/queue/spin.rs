//! Spinning before sleeping, as long as that has been worth it lately.
//!
//! A spin must be able to outlast the other side's wake-up: otherwise two partners that have once
//! fallen asleep on each other keep finding each other asleep, and never come back to spinning. So
//! the longest spin takes about as long as a wake-up across cores, success makes the next one as
//! long, and failure halves it down to a few looks; every so many waits it is tried at full length
//! again. A waiter that never succeeds so spends little more than a microsecond per sleep.
//!
//! How often to look is the other half. Looking at a word takes its line from whoever is about to
//! write it. A consumer that has caught up with a *stream* and looks at once makes the producer wait
//! for the line at every packet; one that waits for an *answer* must look at once. Which of the two
//! it was shows at the next wait: if more than one packet was taken since the last, it was a stream, and
//! the first look comes later, the later the more there were: a consumer far behind its producer takes
//! whole lines, one that follows it closely fights for each. Nothing is looked at to find out: the entry
//! behind the one just found belongs to the producer, and to fetch it costs as long as a packet takes to
//! cross.
//!
//! Between two looks there is a spin hint, which on x86 takes some twenty nanoseconds. Shorter pauses
//! find an answer no sooner, or take longer where the CPUs share no cache (`benches/README.md` has what was
//! tried).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::shm::answer;

/// How long spinning has been worth it lately. One for each opened ring, shared by its threads.
#[derive(Debug)]
pub(crate) struct Spin {
    /// Looks of the next spin.
    looks: AtomicU32,
    /// Spins that failed since the last success.
    failures: AtomicU32,
    /// Spin hints before the first look for a record.
    first_pause: AtomicU32,
    /// Where the last wait for a record began.
    waited_at: AtomicU64,
}

/// Looks of the longest spin: some fifty microseconds.
const MAX_LOOKS: u32 = 400;
/// Looks of the shortest.
const MIN_LOOKS: u32 = 4;
/// Looks with the shortest pause between them.
const EAGER_LOOKS: u32 = 200;
/// Longest pause between later looks for a record, in spin hints.
const MAX_PAUSE: u32 = 8;
/// Longest first pause, in spin hints: some three microseconds.
const MAX_FIRST_PAUSE: u32 = 128;
/// A spin at full length is tried after every so many failures.
const RETRY_EVERY: u32 = 32;

impl Default for Spin {
    fn default() -> Self {
        let looks = if online_cpus() > 1 { MAX_LOOKS } else { 0 };
        Self {
            looks: AtomicU32::new(looks),
            failures: AtomicU32::new(0),
            first_pause: AtomicU32::new(0),
            waited_at: AtomicU64::new(0),
        }
    }
}

/// CPUs of the machine. Not those this process may run on: one that is pinned to a CPU waits for
/// others, which run elsewhere.
fn online_cpus() -> i64 {
    use nix::unistd::{SysconfVar, sysconf};
    sysconf(SysconfVar::_NPROCESSORS_ONLN).ok().flatten().unwrap_or(1)
}

/// Spin hints between two looks for room, in a queue of so many packets.
fn room_pause(capacity: u64) -> u32 {
    (capacity / 32).clamp(1, 64) as u32
}

#[inline]
fn pause(hints: u32) {
    for _ in 0..hints {
        crate::sync::spin_hint();
    }
}

// RELAXED, all of this file: advice; no decision but the pace depends on it.
impl Spin {
    /// Looks for a record again and again, and gives up after a while.
    #[inline]
    pub(crate) fn for_record<T>(&self, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        let looks = self.looks.load(Ordering::Relaxed);
        if looks != 0 {
            pause(self.first_pause.load(Ordering::Relaxed));
        }
        for _ in 0..looks.min(EAGER_LOOKS) {
            if let Some(found) = look() {
                answer::fetch();
                self.succeeded(looks);
                return Some(found);
            }
            crate::sync::spin_hint();
        }
        let mut step = 1;
        for _ in EAGER_LOOKS..looks {
            if let Some(found) = look() {
                answer::fetch();
                self.succeeded(looks);
                return Some(found);
            }
            step = (step + 1).min(MAX_PAUSE);
            pause(step);
        }
        self.failed(looks);
        None
    }

    /// To be called before looking for the record at `pos`: chooses the pace, and says whether it is that
    /// of a stream. Otherwise the record comes alone, and has to be answered at once.
    #[inline(always)]
    pub(crate) fn pace_at(&self, pos: u64) -> bool {
        let last = self.waited_at.load(Ordering::Relaxed);
        self.waited_at.store(pos, Ordering::Relaxed);
        let now = self.first_pause.load(Ordering::Relaxed);
        let since = pos.wrapping_sub(last);
        let stream = since > 1;
        // Twice as long as the last, but no longer than two hints for each packet since: a slow stream
        // gains nothing by a long pause.
        let most = since.saturating_mul(2).min(u64::from(MAX_FIRST_PAUSE)) as u32;
        let next = if stream { (now * 2).clamp(2, most) } else { 0 };
        if next != now {
            self.first_pause.store(next, Ordering::Relaxed);
        }
        stream
    }

    /// Says whether the record at `pos` is one of a stream: the last wait for a record was for an earlier
    /// one, or it was one of a stream itself.
    #[inline(always)]
    pub(crate) fn is_stream(&self, pos: u64) -> bool {
        pos.wrapping_sub(self.waited_at.load(Ordering::Relaxed)) > 1
            || self.first_pause.load(Ordering::Relaxed) != 0
    }

    /// Looks for room again and again, and gives up after a while. The more packets there is room
    /// for in all, the longer it takes until looking again is worth the other side's time.
    #[inline]
    pub(crate) fn for_room<T>(
        &self,
        capacity: u64,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let looks = self.looks.load(Ordering::Relaxed);
        let step = room_pause(capacity);
        for _ in 0..looks.div_ceil(step.div_ceil(MAX_PAUSE)) {
            pause(step);
            if let Some(found) = look() {
                self.succeeded(looks);
                return Some(found);
            }
        }
        self.failed(looks);
        None
    }

    /// Waits a moment before a look for room that is known to be scarce.
    #[cold]
    pub(crate) fn pace_room(&self, capacity: u64) {
        if self.looks.load(Ordering::Relaxed) != 0 {
            pause(room_pause(capacity));
        }
    }

    #[inline]
    fn succeeded(&self, looks: u32) {
        if looks != MAX_LOOKS {
            self.looks.store(MAX_LOOKS, Ordering::Relaxed);
        }
    }

    #[cold]
    fn failed(&self, looks: u32) {
        if looks == 0 {
            return;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        let retry = failures % RETRY_EVERY == RETRY_EVERY - 1;
        let next = if retry { MAX_LOOKS } else { (looks / 2).max(MIN_LOOKS) };
        self.looks.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Ordering;
    use crate::queue::{QueueConfig, QueueDescriptor, RecordKind, Wait};
    use crate::shm::storage::Side;

    #[test]
    fn a_record_that_is_there_is_not_waited_for_whatever_its_length() {
        for side in [Side::Single, Side::Multi] {
            let config = QueueConfig {
                capacity_packets: Some(64),
                capacity_bytes: Some(64 * 64),
                producers: side,
                consumers: side,
                ..QueueConfig::default()
            };
            let queue = QueueDescriptor::local_unnamed()
                .and_then(|queue| queue.with_config(config))
                .and_then(|queue| queue.queue())
                .unwrap();
            let ring = queue.backend().ring().unwrap();
            let (mut producer, mut consumer) = (ring.producer().unwrap(), ring.consumer().unwrap());
            // In its entry, in one unit, in several.
            let lengths = [32, 60, 200, 500];
            for len in lengths {
                producer.put(RecordKind::RAW, &vec![7; len], Wait::No).unwrap();
            }
            for len in lengths {
                let mut got = Vec::new();
                consumer.get_into(&mut got, Wait::Forever).unwrap();
                assert_eq!(got.len(), len);
            }
            // A wait for the record at 0 would leave no trace, one for any other would.
            let waited_at = consumer.core.spin.waited_at.load(Ordering::Relaxed);
            assert_eq!(waited_at, 0, "{side:?}: waited for what was there");
        }
    }
}
