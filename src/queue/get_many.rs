//! Many records read in place in one go, each acknowledged as soon as it was read: the fastest way to receive
//! a stream of small packets.

use crate::error::GetError;
use crate::queue::consumer::{Consumer, ConsumerSide};
use crate::queue::core::Core;
use crate::queue::{RecordInfo, Wait};
use crate::shm::layout::Entry;
use crate::shm::ring::{Run, SingleConsumer, Taken};

impl Consumer {
    /// Hands up to `max` records to `read` in place, oldest first, all that lie there ready, waiting as `wait`
    /// says for the first only; says how many. Each is acknowledged when `read` returns from it; producers that
    /// wait for room are woken after a quarter of the ring, or 64 records, at the latest. Of many consumers,
    /// each takes as many small records at once as that: the others do not get them.
    ///
    /// If `read` panics, the record it was given comes again, and so does what was taken with it and not read
    /// yet. If the process dies, so it does, flagged.
    ///
    /// ```
    /// use ringway::queue::{QueueDescriptor, Wait};
    ///
    /// let queue = QueueDescriptor::local("doc/get_many_with")?.queue()?;
    /// queue.put_many(&[&b"one"[..], b"two", b"three"])?;
    /// let mut consumer = queue.ring().expect("made of a ring").consumer()?;
    /// let mut letters = 0;
    /// let count = consumer.get_many_with(2, Wait::Forever, |bytes, _| letters += bytes.len())?;
    /// assert_eq!((count, letters, queue.qsize()), (2, 6, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// See [`GetError`]; then `read` was not called. What is wrong with a record behind the first is said by
    /// the next call.
    #[inline]
    pub fn get_many_with(
        &mut self,
        max: usize,
        wait: Wait,
        mut read: impl FnMut(&[u8], RecordInfo),
    ) -> Result<usize, GetError> {
        if max == 0 {
            return Ok(0);
        }
        let count = self.read_ready(max, &mut read);
        if count != 0 {
            return Ok(count);
        }
        self.get_first_with(wait, &mut read)?;
        Ok(1 + self.read_ready(max - 1, &mut read))
    }

    /// Out of line: it would cost the first way registers.
    #[inline(never)]
    fn get_first_with(
        &mut self,
        wait: Wait,
        read: &mut impl FnMut(&[u8], RecordInfo),
    ) -> Result<(), GetError> {
        self.get_with(wait, read)
    }

    /// Reads what lies ready at first sight and needs nothing else; 0 where there is nothing such.
    #[inline(always)]
    fn read_ready(&mut self, max: usize, read: &mut impl FnMut(&[u8], RecordInfo)) -> usize {
        let core = &*self.core;
        let mut count = 0;
        while count < max && core.check_get().is_ok() {
            let most = core.ring.most_at_once(max - count);
            let run = match &mut self.side {
                ConsumerSide::Single(mine, _) => ReadRun::next_of_one(core, mine, most, read),
                ConsumerSide::Multi => ReadRun::next_of_many(core, most, read),
                ConsumerSide::Parked(_) => 0,
            };
            if run == 0 {
                break;
            }
            core.room_made();
            count += run as usize;
        }
        count
    }
}

/// A run that is read; what is left of it when its reader panics is given back.
struct ReadRun<'a> {
    core: &'a Core,
    /// A single consumer's state.
    mine: Option<&'a mut SingleConsumer>,
    run: Run,
}

impl ReadRun<'_> {
    /// Takes a run of up to `most` records as the single consumer, and reads it; says how many there were.
    #[inline(always)]
    fn next_of_one(
        core: &Core,
        mine: &mut SingleConsumer,
        most: u64,
        read: &mut impl FnMut(&[u8], RecordInfo),
    ) -> u64 {
        let Some(run) = core.ring.take_run_single(mine, most) else { return 0 };
        core.room_made_by_taking();
        let count = run.count();
        let mut this = ReadRun { core, mine: Some(mine), run };
        if let Some(mine) = &mut this.mine {
            core.ring.read_run_single(mine, &mut this.run, Self::reader(core, read));
        }
        if core.is_here() { count } else { 0 }
    }

    /// As `next_of_one`, as one of many consumers.
    #[inline(always)]
    fn next_of_many(core: &Core, most: u64, read: &mut impl FnMut(&[u8], RecordInfo)) -> u64 {
        if core.ring.hinted() {
            return 0;
        }
        let Some(run) = core.ring.take_run(most, core.me) else { return 0 };
        core.probe_now_and_then(run.pos(), run.count());
        core.room_made_by_taking();
        let count = run.count();
        let mut this = ReadRun { core, mine: None, run };
        core.ring.read_run(&mut this.run, core.me, Self::reader(core, read));
        if core.is_here() { count } else { 0 }
    }

    /// Reads one record; says whether this still is the process that took it.
    #[inline(always)]
    fn reader(
        core: &Core,
        read: &mut impl FnMut(&[u8], RecordInfo),
    ) -> impl FnMut(&Entry, &Taken) -> bool {
        |entry, taken| {
            let info = RecordInfo::new(taken, core.ring.timestamp(taken));
            read(core.ring.payload_in(entry, taken), info);
            // A child that forked inside the reader has no such memory.
            core.is_here()
        }
    }
}

impl Drop for ReadRun<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.run.count() == 0 || !self.core.is_here() {
            return;
        }
        match &mut self.mine {
            Some(mine) => self.core.ring.give_back_run_single(mine, &mut self.run),
            None => {
                self.core.ring.give_back_run(&mut self.run);
                self.core.published();
            }
        }
    }
}
