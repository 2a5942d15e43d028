//! What is buffered for one target, and how it gets into the target's ring.

use std::time::Instant;

use super::batch::Flushed;
use super::group::Target;
use super::view::Origin;
use super::{FullPolicy, PacketRef, STOP_WAIT, SendError, StopSignal, WireError};
use crate::error::PutError;
use crate::queue::{Producer, Queue, RecordKind, Wait};

/// Packets buffered for one target before a flush is due.
const MAX_PACKETS: usize = 1024;
/// Bytes buffered for one target before a flush is due.
const MAX_BYTES: usize = 64 << 10;
/// Packets handed to a queue at a time.
const RUN: usize = 64;

enum Sink {
    Owned(Box<Producer>),
    /// A queue that is made of no ring, or whose producer is not to be had alone.
    Shared(Queue),
}

/// What is buffered for one target.
#[derive(Default)]
pub(super) struct Lane {
    sink: Option<Sink>,
    /// Room for records, and how much of it is used.
    bytes: Vec<u8>,
    used: usize,
    /// Where each record ends in `bytes`.
    ends: Vec<u32>,
    /// Records at the front that were put already.
    done: usize,
    /// When the waiting for room began.
    waiting_since: Option<Instant>,
}

impl Lane {
    /// Writes a packet behind the others.
    #[inline]
    pub(super) fn push(
        &mut self,
        packet: &PacketRef<'_>,
        origin: Option<Origin<'_>>,
        input_index: u32,
    ) -> Result<(), WireError> {
        let room = self.bytes.get_mut(self.used..).unwrap_or_default();
        let len = match packet.encode_short(input_index, origin, room) {
            Some(len) => len,
            None => self.push_slowly(packet, origin, input_index)?,
        };
        self.used += len;
        self.ends.push(u32::try_from(self.used).unwrap_or(u32::MAX));
        Ok(())
    }

    /// The same for any packet, and where there may be too little room.
    #[inline(never)]
    fn push_slowly(
        &mut self,
        packet: &PacketRef<'_>,
        origin: Option<Origin<'_>>,
        input_index: u32,
    ) -> Result<usize, WireError> {
        let packet = PacketRef { provenance: origin.map(Origin::provenance), ..*packet };
        loop {
            match packet.encode_for(input_index, &mut self.bytes[self.used..]) {
                Err(WireError::BufferTooSmall { needed, .. }) => {
                    self.bytes.resize((self.used + needed).max(MAX_BYTES + 4096), 0);
                }
                result => return result,
            }
        }
    }

    /// Says whether it is long enough to be put.
    #[inline]
    pub(super) fn is_long(&self) -> bool {
        self.ends.len() >= MAX_PACKETS || self.used >= MAX_BYTES
    }

    pub(super) fn left(&self) -> usize {
        self.ends.len() - self.done
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.ends.clear();
        self.done = 0;
        self.waiting_since = None;
    }

    fn sink(&mut self, target: &Target) -> Result<&mut Sink, PutError> {
        if self.sink.is_none() {
            let queue = target.open_queue().map_err(PutError::from)?;
            let sink = match queue.backend().ring() {
                Some(ring) => Sink::Owned(Box::new(ring.producer()?)),
                None => Sink::Shared(queue.clone()),
            };
            self.sink = Some(sink);
        }
        self.sink.as_mut().ok_or(PutError::Destroyed)
    }

    /// Puts what is left, as far as `wait` lets it, and says how many.
    fn put(&mut self, target: &Target, wait: Wait) -> (u64, Option<PutError>) {
        let before = self.done;
        let mut error = self.sink(target).err();
        while error.is_none() && self.done < self.ends.len() {
            let Some(sink) = &mut self.sink else { break };
            let mut run = [&[][..]; RUN];
            let count = RUN.min(self.ends.len() - self.done);
            let mut start = match self.done {
                0 => 0,
                done => self.ends[done - 1] as usize,
            };
            for (record, end) in run.iter_mut().zip(&self.ends[self.done..]) {
                *record = &self.bytes[start..*end as usize];
                start = *end as usize;
            }
            let (put, refused) = match sink {
                Sink::Owned(producer) => producer.put_many(RecordKind::PACKET, &run[..count], wait),
                Sink::Shared(queue) => {
                    queue.backend().put_many(RecordKind::PACKET, &run[..count], wait)
                }
            };
            self.done += put;
            error = refused;
        }
        ((self.done - before) as u64, error)
    }
}

/// Puts what a lane has, as far as it goes; `true` when it has an outcome, and is empty.
pub(super) fn flush_lane(
    target: &mut Target,
    lane: &mut Lane,
    wait: Wait,
    report: &mut Flushed,
) -> bool {
    let deadline = match (target.policy, lane.waiting_since) {
        (FullPolicy::Block { timeout: Some(timeout) }, Some(since)) => since.checked_add(timeout),
        _ => None,
    };
    let limited = match (wait, deadline) {
        (Wait::Until(until), Some(deadline)) => Wait::Until(until.min(deadline)),
        (Wait::Forever | Wait::Interruptible, Some(deadline)) => Wait::Until(deadline),
        (wait, _) => wait,
    };
    let (put, error) = lane.put(target, limited);
    report.delivered += put;
    let left = lane.left() as u64;
    let Some(error) = error else {
        lane.clear();
        return true;
    };
    let full = matches!(error, PutError::Full | PutError::Timeout | PutError::Interrupted);
    let given_up = match (full, target.policy) {
        (true, FullPolicy::Block { .. }) => {
            let since = *lane.waiting_since.get_or_insert_with(Instant::now);
            if put > 0 {
                lane.waiting_since = Some(Instant::now());
            }
            let over = match target.policy {
                FullPolicy::Block { timeout: Some(timeout) } => since.elapsed() >= timeout,
                _ => false,
            };
            if !over || put > 0 {
                return false;
            }
            PutError::Timeout
        }
        (true, FullPolicy::DropNewest) => {
            target.dropped += left;
            report.dropped += left;
            lane.clear();
            return true;
        }
        (true, FullPolicy::Fail) => PutError::Full,
        (false, _) => {
            if matches!(error, PutError::Destroyed | PutError::Forked) {
                lane.sink = None;
                target.forget_queue();
            }
            error
        }
    };
    report.failed += left;
    report.problems.push(target.problem(given_up.into()));
    lane.clear();
    true
}

pub(super) fn put_stop(
    target: &Target,
    lane: &mut Lane,
    signal: &StopSignal,
    wait: Wait,
) -> Result<(), SendError> {
    let wait = match (target.policy, wait) {
        (FullPolicy::Block { timeout: None }, wait) => wait,
        (FullPolicy::Block { timeout: Some(timeout) }, _) => Wait::at_most(timeout),
        (FullPolicy::DropNewest | FullPolicy::Fail, _) => Wait::at_most(STOP_WAIT),
    };
    let mut bytes = vec![0; signal.encoded_len_for(target.input_index)];
    signal.encode_for(target.input_index, &mut bytes)?;
    match lane.sink(target)? {
        Sink::Owned(producer) => producer.put(RecordKind::STOP, &bytes, wait)?,
        Sink::Shared(queue) => queue.backend().put(RecordKind::STOP, &bytes, wait)?,
    }
    Ok(())
}
