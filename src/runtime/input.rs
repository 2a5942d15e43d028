//! What a task receives: every packet once, and an end that is exact.
//!
//! Packets are held until what was made of them is on its way, then acknowledged together. Killed in
//! between, the next attempt gets them again; it drops those that it knows as done.

use std::time::{Duration, Instant};

use super::error::ContextError;
use super::output::Output;
use super::pace::Pace;
use super::plan::{Progress, TaskSpec};
use super::tether::{Counters, Event, SLICE, Tether};
use crate::error::{GetError, OpenError};
use crate::queue::{Consumer, RecordKind, Wait};
use crate::routing::{KnownInstance, PacketRef, ProvenanceRef, StopSignal};

/// Most packets that are held at a time: also half of what the ring has room for. Whoever waits for
/// room is woken once for all of them.
const MAX_HELD: usize = 32768;
/// The same in a work queue, where others could have them.
const MAX_HELD_SHARED: usize = 1;
/// How long packets may be held while others lie ready. Whoever waits for room then gets so much of it
/// that both sides take long turns on a CPU, and find in its caches what they left there.
const HOLD: Duration = Duration::from_millis(10);
/// Packets that are taken at once, where they lie ready.
const MOST_AT_ONCE: usize = 256;
/// Counters are told after so many settlements, and when idle.
const TELL_EVERY: u32 = 1024;

struct Upstream {
    input: u32,
    ended: bool,
    /// Number of the last packet that is done.
    done: u64,
}

pub(crate) struct Input {
    consumer: Consumer,
    /// How many of those held were handed to the task.
    handed: usize,
    upstreams: Vec<Upstream>,
    /// Their names, in the same order.
    names: Vec<KnownInstance>,
    shared: bool,
    most: usize,
    /// Upstreams that have not ended; a shared input ends otherwise.
    open: usize,
    ended: bool,
    may_restart: bool,
    /// Something changed since the dispatcher was told.
    news: bool,
    /// Place of the upstream that sent last.
    last: usize,
    pace: Pace,
    settled_at: Instant,
    settled: u32,
    told: Counters,
    pub(crate) received: u64,
    pub(crate) repeated: u64,
}

impl Input {
    pub(crate) fn open(spec: &TaskSpec, tether: &Tether) -> Result<Option<Self>, OpenError> {
        let Some(input) = &spec.input else { return Ok(None) };
        let queue = tether.open(&input.ring)?;
        let consumer = queue.consumer().map_err(|error| OpenError::Io {
            path: spec.directory.clone(),
            doing: "taking the input",
            source: std::io::Error::other(error.to_string()),
        })?;
        let half = (queue.raw().geometry().entries() / 2) as usize;
        let Progress { done, ended, .. } = &spec.progress;
        let upstreams: Vec<Upstream> = (0..)
            .zip(&input.upstreams)
            .map(|(place, (_, input))| Upstream {
                input: *input,
                ended: ended.contains(&place),
                done: done.get(&place).copied().unwrap_or(0),
            })
            .collect();
        let names = input.upstreams.iter().map(|(id, _)| KnownInstance::new(id.clone())).collect();
        let open = upstreams.iter().filter(|upstream| !upstream.ended).count();
        Ok(Some(Self {
            consumer,
            handed: 0,
            open,
            upstreams,
            names,
            shared: input.shared,
            most: if input.shared { MAX_HELD_SHARED } else { MAX_HELD.min(half) },
            ended: !input.shared && open == 0,
            may_restart: spec.restart.max > 0,
            news: false,
            last: 0,
            pace: Pace::new(),
            settled_at: Instant::now(),
            settled: 0,
            told: Counters::default(),
            received: 0,
            repeated: 0,
        }))
    }

    /// Hands the next packet to `work`, in place; `None` at the end. What the packets before led to
    /// may be passed on, and they acknowledged, first.
    #[inline(always)]
    pub(crate) fn next_with<R>(
        &mut self,
        output: &mut Output,
        work: impl FnOnce(&PacketRef<'_>, &mut Output) -> R,
    ) -> Result<Option<R>, ContextError> {
        loop {
            if self.handed >= self.most {
                self.settle(output)?;
            } else if self.handed > 0 && self.pace.is_over() {
                self.pass_on(output)?;
            }
            if self.ended {
                self.settle(output)?;
                return Ok(None);
            }
            let held = self.consumer.held();
            if self.handed == held
                && self.consumer.hold_ready(MOST_AT_ONCE.min(self.most - held))? == 0
            {
                self.settle(output)?;
                self.wait(output)?;
            }
            let Some((bytes, info)) = self.consumer.held_record(self.handed) else { continue };
            self.handed += 1;
            match info.kind {
                RecordKind::PACKET => {}
                RecordKind::STOP => {
                    let stop = StopSignal::decode(bytes).map_err(undecodable)?;
                    self.stop_of(&stop)?;
                    continue;
                }
                RecordKind(kind) => {
                    return Err(undecodable(crate::routing::WireError::UnknownKind { kind }));
                }
            }
            let mut packet = PacketRef::new(&[]);
            let from_last = packet.read(bytes, self.names.get(self.last)).map_err(undecodable)?;
            if let Some(provenance) = &packet.provenance
                && !self.shared
            {
                let (last, input) = (self.last, packet.input_index);
                let known = from_last && self.upstreams.get(last).is_some_and(|u| u.input == input);
                let place = match known {
                    true => Some(last),
                    false => find(&self.names, &self.upstreams, provenance, input),
                };
                if let Some(place) = place {
                    self.last = place;
                    let done = &mut self.upstreams[place].done;
                    if provenance.sequence <= *done {
                        self.repeated += 1;
                        continue;
                    }
                    *done = provenance.sequence;
                    self.news = true;
                }
            }
            self.received += 1;
            return Ok(Some(work(&packet, output)));
        }
    }

    fn stop_of(&mut self, stop: &StopSignal) -> Result<(), ContextError> {
        let from = ProvenanceRef {
            upstream_task: &stop.upstream.task,
            upstream_index: stop.upstream.index,
            sequence: 0,
        };
        let Some(place) = find(&self.names, &self.upstreams, &from, stop.input_index) else {
            return Err(ContextError::UnexpectedStop(stop.upstream.clone()));
        };
        let upstream = &mut self.upstreams[place];
        if !std::mem::replace(&mut upstream.ended, true) {
            self.open -= 1;
            self.news = true;
        }
        self.ended = self.open == 0;
        Ok(())
    }

    /// Waits until something lies ready, or the shared queue has ended.
    #[cold]
    fn wait(&mut self, output: &mut Output) -> Result<(), ContextError> {
        self.tell_counters(output)?;
        loop {
            match self.consumer.hold(Wait::at_most(SLICE)) {
                Ok(_) => {
                    self.settled_at = self.pace.reset();
                    return Ok(());
                }
                Err(GetError::Timeout | GetError::Empty | GetError::Draining { .. }) => {
                    output.tether.look()?;
                    self.tell_counters(output)?;
                }
                Err(GetError::Closed) if self.shared => {
                    self.ended = true;
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Passes on what was made of the packets held, and acknowledges them if they were held for long.
    #[cold]
    fn pass_on(&mut self, output: &mut Output) -> Result<(), ContextError> {
        if self.settled_at.elapsed() >= HOLD {
            return self.settle(output);
        }
        output.flush()?;
        self.pace.reset();
        Ok(())
    }

    /// Passes on what was made of the packets held, and acknowledges them.
    #[inline]
    pub(crate) fn settle(&mut self, output: &mut Output) -> Result<(), ContextError> {
        if self.handed == 0 {
            return output.flush();
        }
        output.flush()?;
        if self.may_restart && self.news {
            self.news = false;
            output.tether.tell(Event::Progress(self.progress(output.sequence)))?;
        }
        self.consumer.ack_oldest(self.handed);
        self.handed = 0;
        self.settled_at = self.pace.reset();
        self.settled += 1;
        if self.settled.is_multiple_of(TELL_EVERY) {
            self.tell_counters(output)?;
        }
        Ok(())
    }

    fn progress(&self, sent: u64) -> Progress {
        let places = || (0..).zip(&self.upstreams);
        Progress {
            done: places()
                .filter(|(_, upstream)| upstream.done > 0)
                .map(|(place, upstream)| (place, upstream.done))
                .collect(),
            ended: places()
                .filter(|(_, upstream)| upstream.ended)
                .map(|(place, _)| place)
                .collect(),
            sent,
        }
    }

    fn tell_counters(&mut self, output: &mut Output) -> Result<(), ContextError> {
        let now = Counters {
            received: self.received,
            sent: output.sent,
            repeated: self.repeated,
            dropped: output.dropped,
            late: 0,
        };
        if now != self.told {
            self.told = now;
            output.tether.tell(Event::Counters(now))?;
        }
        Ok(())
    }
}

/// Finds the place of who sent a packet.
fn find(
    names: &[KnownInstance],
    upstreams: &[Upstream],
    from: &ProvenanceRef<'_>,
    input: u32,
) -> Option<usize> {
    names.iter().zip(upstreams).position(|(KnownInstance { id, .. }, upstream)| {
        id.index == from.upstream_index && upstream.input == input && id.task == from.upstream_task
    })
}

fn undecodable(source: crate::routing::WireError) -> ContextError {
    ContextError::Undecodable { input: 0, from: "an upstream".into(), source }
}
