//! The parts of a router: targets, which packets are put to, and groups, which pick among them.
//!
//! All of it belongs to one router, and so to one thread at a time.

use std::sync::{Arc, OnceLock};

use super::report::{MissedTarget, Problem};
use super::strategy::{Choice, GroupStrategy, Random};
use super::{
    Connection, FullPolicy, GroupView, PacketRef, PartitionStrategy, SendError, StopSignal,
    TargetId, WireError,
};
use crate::error::{OpenError, PutError};
use crate::queue::{Queue, QueueBackend, RecordKind, Wait, Warm};

/// What is being sent.
#[derive(Clone, Copy)]
pub(super) enum Outgoing<'a> {
    Packet(&'a PacketRef<'a>),
    Stop(&'a StopSignal),
}

impl Outgoing<'_> {
    fn kind(self) -> RecordKind {
        match self {
            Self::Packet(_) => RecordKind::PACKET,
            Self::Stop(_) => RecordKind::STOP,
        }
    }

    fn encoded_len(self, input_index: u32) -> usize {
        match self {
            Self::Packet(packet) => packet.encoded_len_for(input_index),
            Self::Stop(stop) => stop.encoded_len_for(input_index),
        }
    }

    fn encode(self, input_index: u32, buffer: &mut [u8]) -> Result<usize, WireError> {
        match self {
            Self::Packet(packet) => packet.encode_for(input_index, buffer),
            Self::Stop(stop) => stop.encode_for(input_index, buffer),
        }
    }
}

/// One connection, with its queue once that is open.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) id: TargetId,
    pub(super) policy: FullPolicy,
    pub(super) input_index: u32,
    connection: Arc<Connection>,
    name: Arc<str>,
    queue_id: Arc<str>,
    queue: OnceLock<Queue>,
    /// Packets dropped by policy.
    pub(super) dropped: u64,
}

impl Target {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            id: connection.id(),
            policy: connection.full_policy,
            input_index: connection.target_input_index,
            name: connection.target_name.as_str().into(),
            queue_id: connection.descriptor.queue_id().into(),
            queue: OnceLock::new(),
            dropped: 0,
            connection: Arc::new(connection),
        }
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Puts one record, written in place.
    pub(super) fn put(&mut self, outgoing: Outgoing<'_>, wait: Wait) -> Result<(), SendError> {
        let queue = self.open().map_err(PutError::from)?;
        let result = write(queue, outgoing, self.input_index, wait);
        if let Err(SendError::Put(PutError::Destroyed | PutError::Forked)) = result {
            // This handle is of no more use; the descriptor may know of a successor.
            self.forget_queue();
        }
        result
    }

    /// The queue's handle, which is asked for once and then kept.
    fn open(&self) -> Result<&dyn QueueBackend, OpenError> {
        Ok(&**self.open_queue()?)
    }

    /// The same, to be shared.
    pub(super) fn open_queue(&self) -> Result<&Queue, OpenError> {
        if let Some(queue) = self.queue.get() {
            return Ok(queue);
        }
        let queue = self.connection.descriptor.queue()?.clone();
        Ok(self.queue.get_or_init(|| queue))
    }

    /// Occupancy of the queue.
    pub(super) fn load(&self) -> Result<f64, OpenError> {
        Ok(self.open()?.occupancy())
    }

    /// Occupancy of the queue if it takes packets at all.
    pub(super) fn open_load(&self) -> Option<f64> {
        self.open().ok()?.load()
    }

    /// What of an open queue can be asked for ahead.
    fn warm(&self) -> Option<Warm> {
        let queue = self.queue.get()?.backend().ring()?;
        Some(queue.warm().with(std::ptr::from_ref(self).cast(), size_of::<Self>()))
    }

    /// Asks for what follows from that, once it is there.
    #[inline]
    fn prefetch_put(&self) {
        if let Some(queue) = self.queue.get().and_then(|queue| queue.backend().ring()) {
            queue.prefetch_put();
        }
    }

    pub(super) fn forget_queue(&mut self) {
        self.queue.take();
    }

    #[cold]
    pub(super) fn problem(&self, error: SendError) -> Problem {
        Problem {
            broadcast_index: self.id.broadcast_index,
            target: Some(MissedTarget {
                parallel_index: self.id.parallel_index,
                name: self.name.clone(),
                queue_id: self.queue_id.clone(),
            }),
            error,
        }
    }
}

fn write(
    queue: &dyn QueueBackend,
    outgoing: Outgoing<'_>,
    input_index: u32,
    wait: Wait,
) -> Result<(), SendError> {
    let len = outgoing.encoded_len(input_index);
    let mut room = queue.reserve(outgoing.kind(), len, wait)?;
    let written = outgoing.encode(input_index, &mut room)?;
    Ok(room.commit_len(written)?)
}

/// The targets that a strategy picked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Selection {
    One(usize),
    /// The first that is not full, from this one on.
    FirstFree(usize),
    All,
    None,
}

/// A group: at least one target, each at its parallel index.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) broadcast_index: u32,
    pub(super) strategy: GroupStrategy,
    /// Whose turn it is.
    pub(super) position: usize,
    pub(super) targets: Vec<Target>,
    /// The two that are looked at next, by least-loaded, and what of all targets they need.
    pub(super) ahead: Ahead,
}

/// So many targets, with some twenty lines each, a near cache keeps from one turn to the next.
const FEW: usize = 32;

/// Two targets are drawn two packets ahead: what the choice between them depends on is asked for while
/// one packet is put, and where the place for the next record lies, which follows from it, while the next is.
#[derive(Clone, Debug)]
pub(super) struct Ahead {
    /// Those of the next packet, and of the one after it.
    drawn: Option<[(usize, usize); 2]>,
    warm: Vec<Option<Warm>>,
}

impl Ahead {
    /// For so many targets.
    pub(super) fn of(count: usize) -> Self {
        Self { drawn: None, warm: vec![None; count] }
    }

    /// The pair drawn first, for which another is drawn.
    fn next(&mut self, targets: &[Target], random: &mut Random) -> (usize, usize) {
        let mut draw = || random.two_below(targets.len());
        let [pair, next] = self.drawn.unwrap_or_else(|| [draw(), draw()]);
        let last = draw();
        self.drawn = Some([next, last]);
        self.fetch(targets, last.0);
        self.fetch(targets, last.1);
        targets[next.0].prefetch_put();
        targets[next.1].prefetch_put();
        pair
    }

    /// The same for targets that take turns, of which this one is next: asks for those of the next two packets,
    /// where there are so many that a cache may have lost them since their last turn.
    #[inline]
    fn turn(&mut self, targets: &[Target], turn: usize) {
        if targets.len() > FEW {
            let after = |ahead: usize| (turn + ahead) % targets.len();
            self.fetch(targets, after(2));
            targets[after(1)].prefetch_put();
        }
    }

    fn fetch(&mut self, targets: &[Target], index: usize) {
        match &self.warm[index] {
            Some(warm) => warm.fetch(),
            None => self.warm[index] = targets[index].warm(),
        }
    }
}

impl Group {
    pub(super) fn problem(&self, error: SendError) -> Problem {
        Problem { broadcast_index: self.broadcast_index, target: None, error }
    }

    /// Makes it the turn of whoever comes after `index`.
    pub(super) fn turn_after(&mut self, index: usize) {
        self.position = if index + 1 < self.targets.len() { index + 1 } else { 0 };
    }

    /// Picks the targets of a packet: by its own strategy, or else by the group's.
    #[inline]
    pub(super) fn select(
        &mut self,
        packet: &PacketRef<'_>,
        random: &mut Random,
    ) -> Result<Selection, SendError> {
        let strategy = match (packet.partition_strategy, &self.strategy) {
            (Some(strategy), _) => strategy,
            (None, GroupStrategy::Standard(strategy)) => *strategy,
            (None, GroupStrategy::Custom(custom)) => {
                let view = GroupView {
                    broadcast_index: self.broadcast_index,
                    position: self.position,
                    targets: &self.targets,
                };
                // A router is not made with a strategy that has no function.
                let choice = custom.function().map_or(Choice::Decline, |pick| pick(packet, &view));
                return self.selected(choice);
            }
        };
        match strategy {
            PartitionStrategy::RoundRobin { skip_full } => {
                let turn = self.position;
                self.turn_after(turn);
                self.ahead.turn(&self.targets, turn);
                Ok(if skip_full { Selection::FirstFree(turn) } else { Selection::One(turn) })
            }
            PartitionStrategy::Hash => {
                let key = packet.partition_key.as_ref().ok_or(SendError::Unkeyed)?;
                let index = super::target_index(key.hash64(), self.targets.len());
                index.map_or(Err(SendError::NoSuchTarget), |index| Ok(Selection::One(index)))
            }
            PartitionStrategy::Broadcast => Ok(Selection::All),
            PartitionStrategy::LeastLoaded { full_scan: true } => Ok(self.least_loaded_of_all()),
            PartitionStrategy::LeastLoaded { full_scan: false } => {
                Ok(self.least_loaded_of_two(random))
            }
        }
    }

    fn selected(&mut self, choice: Choice) -> Result<Selection, SendError> {
        match choice {
            Choice::One(picked) if picked >= self.targets.len() => {
                Err(SendError::BadChoice { picked, count: self.targets.len() })
            }
            Choice::One(picked) => {
                self.turn_after(picked);
                Ok(Selection::One(picked))
            }
            Choice::All => Ok(Selection::All),
            Choice::Decline => Ok(Selection::None),
        }
    }

    fn least_loaded_of_all(&mut self) -> Selection {
        let count = self.targets.len();
        let mut least = (f64::INFINITY, self.position);
        for index in (self.position..count).chain(0..self.position) {
            let load = self.load_or_infinity(index);
            if load < least.0 {
                least = (load, index);
            }
        }
        self.turn_after(least.1);
        Selection::One(least.1)
    }

    fn least_loaded_of_two(&mut self, random: &mut Random) -> Selection {
        if self.targets.len() == 1 {
            return Selection::One(0);
        }
        let (first, second) = self.ahead.next(&self.targets, random);
        let loads = (self.load_or_infinity(first), self.load_or_infinity(second));
        if loads == (f64::INFINITY, f64::INFINITY) {
            // Two dead ends: somebody else may be alive.
            return self.least_loaded_of_all();
        }
        Selection::One(if loads.1 < loads.0 { second } else { first })
    }

    fn load_or_infinity(&self, index: usize) -> f64 {
        self.targets[index].open_load().unwrap_or(f64::INFINITY)
    }
}
