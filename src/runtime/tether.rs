//! What ties a worker to its dispatcher: a ring of commands from it, and the ring `_control` to it.
//!
//! Killed at any time, the worker leaves on `_control` what it had put: the dispatcher reads it to
//! the end before it decides what that death means.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::ContextError;
use super::plan::{CONTROL, CONTROL_PAYLOAD, Progress, TaskSpec, command_ring};
use crate::error::{GetError, OpenError, PutError};
use crate::queue::{Consumer, Producer, RecordKind, RingQueue, Wait, open_in};
use crate::shm::directory::Directory;
use crate::shm::names::SegmentName;
use crate::shm::segment::{Role, Segment};

/// How long a worker waits in one go: so late it hears a command, or of the dispatcher's death.
pub(crate) const SLICE: Duration = Duration::from_millis(50);
/// How often it asks the system whether the dispatcher lives.
const ASK: Duration = Duration::from_secs(1);
/// Bytes of a result in one record.
const CHUNK: usize = CONTROL_PAYLOAD as usize - 64;

/// Packets that an instance took and sent, its earlier attempts not included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Packets received, or requests handled; what was known as done is not among them.
    pub received: u64,
    /// Packets sent, each counted once whatever the number of its targets; or replies.
    pub sent: u64,
    /// Packets received that were known as done, and dropped.
    pub repeated: u64,
    /// Packets dropped by the policy of a full connection.
    pub dropped: u64,
    /// Replies that came too late, and were discarded; or requests that were not handled, since
    /// their time was over or their caller gone.
    pub late: u64,
}

/// What a worker tells.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Event {
    Started,
    Counters(Counters),
    Progress(Progress),
    Result(Vec<u8>),
    Finished(Counters),
    Failed(String),
}

/// Who tells it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) place: u32,
    pub(crate) attempt: u32,
    pub(crate) event: Event,
}

/// What a worker is told.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Sources end.
    Stop,
    /// The job is given up.
    Abort(String),
}

pub(crate) struct Tether {
    segment: Arc<Segment>,
    control_index: usize,
    control: Producer,
    commands: Consumer,
    place: u32,
    attempt: u32,
    pub(crate) stopping: bool,
    aborted: Option<String>,
    asked: Instant,
    buffer: Vec<u8>,
}

impl Tether {
    /// Joins the job's segment, which must exist.
    pub(crate) fn attach(spec: &TaskSpec) -> Result<Self, OpenError> {
        let directory = Directory::open_existing(&spec.directory, None)?;
        let name = SegmentName::new(spec.job.segment())?;
        let segment = Segment::shared(&directory, &name, &spec.instance.to_string())?;
        let (control, commands) =
            (open_in(&segment, CONTROL)?, open_in(&segment, &command_ring(spec.place))?);
        let refused = |doing| {
            let path = segment.path().to_owned();
            move |error: String| OpenError::Io { path, doing, source: std::io::Error::other(error) }
        };
        Ok(Self {
            control_index: segment.ring_index(CONTROL)?,
            control: control.producer().map_err(|e| refused("telling")(e.to_string()))?,
            commands: commands.consumer().map_err(|e| refused("listening")(e.to_string()))?,
            place: spec.place,
            attempt: spec.attempt,
            stopping: false,
            aborted: None,
            asked: Instant::now(),
            buffer: Vec::new(),
            segment,
        })
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn open(&self, ring: &str) -> Result<RingQueue, OpenError> {
        open_in(&self.segment, ring)
    }

    /// Tells the dispatcher, and waits while it has no time to listen.
    pub(crate) fn tell(&mut self, event: Event) -> Result<(), ContextError> {
        let report = Report { place: self.place, attempt: self.attempt, event };
        self.buffer.clear();
        let buffer = std::mem::take(&mut self.buffer);
        let bytes = postcard::to_extend(&report, buffer)
            .map_err(|error| PutError::Other(Box::new(error)))?;
        let told = loop {
            let wait = Wait::at_most(SLICE);
            match self.control.put(RecordKind::RAW, &bytes, wait) {
                Err(PutError::Timeout | PutError::Full) => {
                    if let Err(error) = self.look() {
                        break Err(error);
                    }
                }
                other => break other.map_err(ContextError::from),
            }
        };
        self.buffer = bytes;
        told
    }

    /// Tells a result of any length.
    pub(crate) fn tell_result(&mut self, bytes: &[u8]) -> Result<(), ContextError> {
        bytes.chunks(CHUNK).try_for_each(|chunk| self.tell(Event::Result(chunk.to_vec())))
    }

    /// Hears what the dispatcher said. A few loads where it said nothing.
    #[inline]
    pub(crate) fn check(&mut self) -> Result<(), ContextError> {
        while let Some(command) = self.commands.hold_next() {
            match command.map(|(bytes, _)| postcard::from_bytes(bytes)) {
                Ok(Ok(Command::Stop)) => self.stopping = true,
                Ok(Ok(Command::Abort(why))) => self.aborted = Some(why),
                Ok(Err(error)) => self.aborted = Some(format!("a command is none: {error}")),
                Err(error) => self.aborted = Some(error.to_string()),
            }
            self.commands.ack_held();
        }
        match &self.aborted {
            Some(why) => Err(ContextError::Aborted(why.clone())),
            None => Ok(()),
        }
    }

    /// The same, and now and then asks the system whether the dispatcher lives: to be called
    /// whenever a slice of a wait is over.
    pub(crate) fn look(&mut self) -> Result<(), ContextError> {
        // What a predecessor left unread is found by a full look only.
        match self.commands.hold(Wait::No) {
            Ok((bytes, _)) => match postcard::from_bytes(bytes) {
                Ok(Command::Stop) => self.stopping = true,
                Ok(Command::Abort(why)) => self.aborted = Some(why),
                Err(error) => self.aborted = Some(format!("a command is none: {error}")),
            },
            Err(GetError::Destroyed) => self.aborted = Some("the segment is gone".into()),
            Err(_) => {}
        }
        self.commands.ack_held();
        if self.asked.elapsed() > ASK {
            self.asked = Instant::now();
            if !self.segment.role_held(self.control_index, Role::Consumer) {
                self.aborted = Some("the dispatcher is gone".into());
            }
        }
        self.check()
    }
}
