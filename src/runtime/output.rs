//! What a task sends: collected, numbered where somebody may restart, and put in runs.

use std::time::Instant;

use super::error::{ContextError, Stopping};
use super::pace::Pace;
use super::plan::TaskSpec;
use super::tether::{SLICE, Tether};
use crate::queue::Wait;
use crate::routing::{
    BatchRouter, Buffered, Connection, Flushed, KnownInstance, Origin, PacketRef, RoutingInfo,
    SendError, StopSignal,
};

/// How the packets of a task are numbered.
enum Numbered {
    None,
    All,
    /// Some groups are: one flag for each.
    Some(Vec<bool>),
}

/// The sending side of a task.
pub struct Output {
    router: BatchRouter,
    instance: KnownInstance,
    numbered: Numbered,
    shared_targets: Vec<String>,
    pub(crate) tether: Tether,
    pub(crate) is_source: bool,
    /// The number of the last packet: how many were sent, by earlier attempts too.
    pub(crate) sequence: u64,
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    stopped: bool,
    pace: Pace,
}

impl Output {
    pub(crate) fn open(
        spec: &TaskSpec,
        tether: Tether,
    ) -> Result<Self, crate::routing::RouterError> {
        let groups: Vec<u32> = spec.output.strategies.keys().copied().collect();
        let flags: Vec<bool> = groups.iter().map(|group| spec.numbered.contains(group)).collect();
        let numbered = match (flags.contains(&true), flags.contains(&false)) {
            (false, _) => Numbered::None,
            (true, false) => Numbered::All,
            (true, true) => Numbered::Some(flags),
        };
        let sequence = spec.progress.sent;
        let turn = (sequence as usize).wrapping_add(spec.instance.index as usize);
        // A work queue has one target that is called as the task; it ends by being closed.
        let shared = |target: &&Connection| !target.target_name.contains('#');
        Ok(Self {
            router: BatchRouter::new(spec.output.clone())?.starting_at(turn),
            instance: KnownInstance::new(spec.instance.clone()),
            numbered,
            shared_targets: spec
                .output
                .connections
                .iter()
                .filter(shared)
                .map(|target| target.target_name.clone())
                .collect(),
            tether,
            is_source: spec.kind == super::Kind::Source,
            sequence,
            sent: 0,
            dropped: 0,
            stopped: false,
            pace: Pace::new(),
        })
    }

    /// Sends a packet, in a batch: it is put when enough has been collected, when the task has
    /// nothing to do, when a millisecond has passed, or by [`Output::flush`]. What cannot be
    /// delivered then is an error of a later call, and fails the task; what a full connection drops
    /// by its policy is counted.
    ///
    /// # Errors
    /// [`ContextError::Send`] where no target can be picked, or earlier packets could not be put;
    /// [`ContextError::Aborted`]; [`ContextError::Stopping`] of a source that was asked to stop.
    #[inline]
    pub fn send(&mut self, packet: &PacketRef<'_>) -> Result<(), ContextError> {
        let buffered = self.buffer(packet).map_err(|error| refused(&error))?;
        self.sent += 1;
        if buffered.flush_due || self.pace.is_over() {
            self.flush()?;
            self.stop_if_asked()?;
        }
        Ok(())
    }

    /// Sends a packet at once, after whatever was collected, and says what became of it.
    ///
    /// # Errors
    /// As [`Output::send`], but not for this packet: the report has its problems.
    pub fn send_now(&mut self, packet: &PacketRef<'_>) -> Result<Flushed, ContextError> {
        self.flush()?;
        self.stop_if_asked()?;
        self.sent += 1;
        if let Err(error) = self.buffer(packet) {
            self.flush()?;
            return Err(refused(&error));
        }
        let mut total = Flushed::default();
        loop {
            let flushed = self.router.flush(Wait::Until(Instant::now() + SLICE));
            total.delivered += flushed.delivered;
            total.dropped += flushed.dropped;
            total.failed += flushed.failed;
            total.left = flushed.left;
            total.problems.extend(flushed.problems);
            self.dropped += flushed.dropped;
            if total.left == 0 {
                self.pace.reset();
                return Ok(total);
            }
            self.tether.look()?;
        }
    }

    #[inline]
    fn buffer(&mut self, packet: &PacketRef<'_>) -> Result<Buffered, Box<SendError>> {
        self.sequence += 1;
        if let Numbered::None = self.numbered {
            return self.router.buffer_as(packet, packet.origin());
        }
        let own = Some(Origin::Known(&self.instance, self.sequence));
        let Numbered::Some(flags) = &self.numbered else {
            return self.router.buffer_as(packet, own);
        };
        let mut result = Ok(Buffered { targets: 0, flush_due: false });
        for (group, flag) in flags.iter().enumerate() {
            let from = if *flag { own } else { packet.origin() };
            match (self.router.buffer_in(group, packet, from), &mut result) {
                (Ok(done), Ok(all)) => {
                    all.targets += done.targets;
                    all.flush_due |= done.flush_due;
                }
                (Err(error), Ok(_)) => result = Err(error),
                (_, Err(_)) => {}
            }
        }
        result
    }

    /// Puts everything that was collected, and waits for room where the connections say so.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn flush(&mut self) -> Result<(), ContextError> {
        while self.router.buffered() > 0 {
            let flushed = self.router.flush(Wait::Until(Instant::now() + SLICE));
            self.dropped += flushed.dropped;
            if flushed.failed > 0 {
                let problem =
                    flushed.problems.first().map_or_else(String::new, ToString::to_string);
                return Err(ContextError::Send { packets: flushed.failed, problem });
            }
            if flushed.left > 0 {
                self.tether.look()?;
            }
        }
        self.pace.reset();
        self.tether.check()
    }

    /// Says that nothing follows, to every instance that it feeds: once, and again where it is not
    /// known whether an earlier attempt did.
    ///
    /// # Errors
    /// As [`Output::send`].
    pub fn send_stop_signal(&mut self, message: Option<&str>) -> Result<(), ContextError> {
        if std::mem::replace(&mut self.stopped, true) {
            return Ok(());
        }
        self.flush()?;
        let id = &self.instance.id;
        let mut signal = StopSignal::new(id.to_string(), id.clone());
        if let Some(message) = message {
            signal = signal.with_message(message);
        }
        let shared = &self.shared_targets;
        loop {
            let wait = Wait::Until(Instant::now() + SLICE);
            let own = |target: &Connection| !shared.contains(&target.target_name);
            match self.router.send_stop_signal(&signal, wait, own) {
                Ok(()) => return Ok(()),
                // Those that have it count it once.
                Err(SendError::Put(
                    crate::error::PutError::Timeout | crate::error::PutError::Full,
                )) => self.tether.look()?,
                Err(error) => return Err(refused(&error)),
            }
        }
    }

    /// Says whether this is a source that was asked to stop.
    pub fn is_stopping(&mut self) -> bool {
        // What else is wrong, the next send says.
        let _ = self.tether.check();
        self.is_source && self.tether.stopping
    }

    fn stop_if_asked(&self) -> Result<(), ContextError> {
        if self.is_source && self.tether.stopping { Err(Stopping.into()) } else { Ok(()) }
    }

    pub(crate) fn routing_info(&self) -> RoutingInfo {
        self.router.routing_info()
    }
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Output")
            .field("instance", &self.instance.id)
            .field("sent", &self.sent)
            .finish()
    }
}

#[cold]
fn refused(error: &SendError) -> ContextError {
    ContextError::Send { packets: 1, problem: error.to_string() }
}
