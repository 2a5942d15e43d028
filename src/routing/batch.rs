//! A router that collects packets for each target, and puts them in runs.
//!
//! A single put pays for a claim, a look at the waiters, and two cache lines; a run pays for all that
//! once. The price is that a packet is *buffered* first and put later, so its fate is known only when
//! it was flushed: [`BatchRouter::buffer`] promises nothing, [`BatchRouter::flush`] reports. What is
//! buffered dies with its process, which is why a task acknowledges what it read only afterwards.
//!
//! The router owns the producers of its targets' rings, so that a single-producer ring is fed without
//! a lock. Order for each target is that of the calls.

use std::time::{Duration, Instant};

use super::group::{Group, Selection};
use super::lane::{Lane, flush_lane, put_stop};
use super::report::Problem;
use super::strategy::Random;
use super::view::Origin;
use super::{
    Connection, PacketRef, Router, RouterConfig, RouterError, RoutingInfo, SendError, StopSignal,
};
use crate::error::PutError;
use crate::queue::Wait;

/// While several targets are full, one of them is waited for at most this long at a time.
const SLICE: Duration = Duration::from_millis(1);

/// What [`BatchRouter::buffer`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffered {
    /// How many targets the packet was buffered for.
    pub targets: u32,
    /// Says whether so much is buffered that it should be flushed now.
    pub flush_due: bool,
}

/// What became of what was buffered: each packet counts once for each of its targets.
#[derive(Debug, Default)]
#[must_use = "a flush can fail: the report says where"]
pub struct Flushed {
    /// Committed to their queues.
    pub delivered: u64,
    /// Dropped by the policy of their connection.
    pub dropped: u64,
    /// Given up: `problems` says why.
    pub failed: u64,
    /// Still buffered: the time was over before there was room.
    pub left: u64,
    /// What went wrong: for each target the first thing.
    pub problems: Vec<Problem>,
}

impl Flushed {
    /// Says whether everything was put, other than what was dropped by policy.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.left == 0
    }
}

/// Sends as [`Router`] does, in runs.
///
/// ```
/// use ringway::queue::{QueueDescriptor, Wait};
/// use ringway::routing::{BatchRouter, Connection, PacketRef, RouterConfig};
///
/// let queue = QueueDescriptor::local("doc/batch")?;
/// let config = RouterConfig::new(vec![Connection::new(0, 0, "task#0", queue.clone())]);
/// let mut router = BatchRouter::new(config)?;
/// for word in ["one", "two"] {
///     router.buffer(&PacketRef::new(word.as_bytes()))?;
/// }
/// assert_eq!(queue.qsize()?, 0); // not yet put
/// assert_eq!(router.flush(Wait::Forever).delivered, 2);
/// assert_eq!(queue.qsize()?, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BatchRouter {
    groups: Vec<Group>,
    /// For each group those of its targets.
    lanes: Vec<Vec<Lane>>,
    random: Random,
    buffered: usize,
}

impl BatchRouter {
    /// Makes a router. Opens no queue.
    ///
    /// # Errors
    /// As [`Router::new`].
    pub fn new(config: RouterConfig) -> Result<Self, RouterError> {
        let (groups, random) = Router::new(config)?.into_parts();
        let lanes = groups
            .iter()
            .map(|group| group.targets.iter().map(|_| Lane::default()).collect())
            .collect();
        Ok(Self { groups, lanes, random, buffered: 0 })
    }

    /// As [`Router::starting_at`].
    #[must_use]
    pub fn starting_at(mut self, position: usize) -> Self {
        for group in &mut self.groups {
            group.position = position % group.targets.len();
        }
        self
    }

    /// Picks the packet's targets in every group, and buffers it for each. Waits for nothing.
    ///
    /// # Errors
    /// The first [`SendError`] of a group that could pick no target; the others have the packet.
    #[inline]
    pub fn buffer(&mut self, packet: &PacketRef<'_>) -> Result<Buffered, SendError> {
        self.buffer_as(packet, packet.origin()).map_err(|error| *error)
    }

    /// The same with another provenance.
    ///
    /// # Errors
    /// As [`BatchRouter::buffer`]; boxed, so that what nearly always comes back fits a register.
    #[inline]
    pub(crate) fn buffer_as(
        &mut self,
        packet: &PacketRef<'_>,
        origin: Option<Origin<'_>>,
    ) -> Result<Buffered, Box<SendError>> {
        if self.groups.len() == 1 {
            return self.buffer_in(0, packet, origin);
        }
        let mut result = Buffered { targets: 0, flush_due: false };
        let mut problem = None;
        for group in 0..self.groups.len() {
            match self.buffer_in(group, packet, origin) {
                Ok(done) => {
                    result.targets += done.targets;
                    result.flush_due |= done.flush_due;
                }
                Err(error) => problem = problem.or(Some(error)),
            }
        }
        problem.map_or(Ok(result), Err)
    }

    /// The same for one group: the nth by its broadcast index.
    ///
    /// # Errors
    /// As [`BatchRouter::buffer`]; [`SendError::NoSuchTarget`] where there is no such group.
    #[inline]
    pub(crate) fn buffer_in(
        &mut self,
        nth: usize,
        packet: &PacketRef<'_>,
        origin: Option<Origin<'_>>,
    ) -> Result<Buffered, Box<SendError>> {
        packet.check().map_err(boxed)?;
        let (Some(group), Some(lanes)) = (self.groups.get_mut(nth), self.lanes.get_mut(nth)) else {
            return Err(boxed(SendError::NoSuchTarget));
        };
        let targets = match group.select(packet, &mut self.random).map_err(boxed)? {
            Selection::One(target) => target..target + 1,
            // Nothing of it is in the queues yet: the shortest buffer among those with room.
            Selection::FirstFree(turn) => {
                let count = group.targets.len();
                let order = (turn..count).chain(0..turn);
                let least = order.min_by_key(|&target| lanes[target].left()).unwrap_or(turn);
                group.turn_after(least);
                least..least + 1
            }
            Selection::All => 0..group.targets.len(),
            Selection::None => return Ok(Buffered { targets: 0, flush_due: false }),
        };
        let mut result = Buffered { targets: 0, flush_due: false };
        for target in targets {
            let lane = &mut lanes[target];
            lane.push(packet, origin, group.targets[target].input_index).map_err(boxed)?;
            self.buffered += 1;
            result.targets += 1;
            result.flush_due |= lane.is_long();
        }
        Ok(result)
    }

    /// How many packets are buffered, each counted once for each of its targets.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Puts everything that is buffered, and waits for room where the policy of a connection says
    /// so, but never longer than `wait`: what then is left stays buffered, for the next call. A full
    /// target delays this call's return, but no other target's packets.
    pub fn flush(&mut self, wait: Wait) -> Flushed {
        let mut report = Flushed::default();
        if self.buffered == 0 {
            return report;
        }
        for turn in 0_usize.. {
            let mut full = 0;
            for (group, lanes) in self.groups.iter_mut().zip(&mut self.lanes) {
                for (target, lane) in group.targets.iter_mut().zip(lanes) {
                    if lane.left() > 0 {
                        full += usize::from(!flush_lane(target, lane, Wait::No, &mut report));
                    }
                }
            }
            if full == 0 {
                break;
            }
            // Waits for one of them, shortly unless it is the only one, and for another the next time.
            let now = Instant::now();
            let until = match wait {
                Wait::No => break,
                Wait::Until(deadline) if deadline <= now => break,
                Wait::Until(deadline) if full == 1 => Wait::Until(deadline),
                Wait::Until(deadline) => Wait::Until(deadline.min(now + SLICE)),
                wait if full == 1 => wait,
                _ => Wait::Until(now + SLICE),
            };
            let mut waiting = self
                .groups
                .iter_mut()
                .zip(&mut self.lanes)
                .flat_map(|(group, lanes)| group.targets.iter_mut().zip(lanes))
                .filter(|(_, lane)| lane.left() > 0);
            if let Some((target, lane)) = waiting.nth(turn % full) {
                flush_lane(target, lane, until, &mut report);
            }
        }
        self.buffered = self.lanes.iter().flatten().map(Lane::left).sum();
        report.left = self.buffered as u64;
        report
    }

    /// Throws away what is buffered, and says how many packets that were.
    pub fn discard(&mut self) -> usize {
        self.lanes.iter_mut().flatten().for_each(Lane::clear);
        std::mem::take(&mut self.buffered)
    }

    /// Flushes, and then puts a stop signal to every connection for which `passes` holds. Never dropped by policy: where packets would be, it waits for [`super::STOP_WAIT`].
    /// May be repeated for those that failed: a receiver counts each upstream's signal once.
    ///
    /// # Errors
    /// What the flush or the first refusing queue says; the others have the signal.
    pub fn send_stop_signal(
        &mut self,
        signal: &StopSignal,
        wait: Wait,
        passes: impl Fn(&Connection) -> bool,
    ) -> Result<(), SendError> {
        let flushed = self.flush(wait);
        if flushed.left > 0 {
            return Err(PutError::Timeout.into());
        }
        if let Some(problem) = flushed.problems.into_iter().next() {
            return Err(problem.error);
        }
        let mut result = Ok(());
        for (group, lanes) in self.groups.iter().zip(&mut self.lanes) {
            let lanes = group.targets.iter().zip(lanes);
            for (target, lane) in lanes.filter(|(target, _)| passes(target.connection())) {
                let put = put_stop(target, lane, signal, wait);
                result = result.and(put);
            }
        }
        result
    }

    /// Describes groups and targets, as [`Router::routing_info`] does.
    #[must_use]
    pub fn routing_info(&self) -> RoutingInfo {
        super::info::of(&self.groups)
    }

    /// Says whether it has no connection: a sink.
    #[must_use]
    pub fn is_sink(&self) -> bool {
        self.groups.is_empty()
    }
}

#[cold]
fn boxed(error: impl Into<SendError>) -> Box<SendError> {
    Box::new(error.into())
}

impl std::fmt::Debug for BatchRouter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BatchRouter")
            .field("groups", &self.groups)
            .field("buffered", &self.buffered)
            .finish_non_exhaustive()
    }
}
