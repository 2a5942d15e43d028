//! The router: puts each packet to the targets that the strategies pick, and reports.
//!
//! A send has two passes. The first goes over all groups and puts to every picked target *without
//! waiting*. Only the targets that refused, and whose policy is to wait, are left for the second,
//! which waits for all of them at once: a deadline counts from one common start, and no target waits
//! longer than [`SLICE_MAX`] for its turn while another has no room. So a slow target delays this
//! send's return, but no other target's packet.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::group::{Ahead, Group, Outgoing, Selection, Target};
use super::report::Problem;
use super::strategy::{GroupStrategy, Random};
use super::{
    Connection, FullPolicy, Packet, PacketRef, RouterConfig, RouterError, RoutingInfo, SendError,
    SendReport, StopSignal, TargetId, info,
};
use crate::error::PutError;
use crate::queue::Wait;

/// How long [`Router::send_stop_signal`] waits where the policy is to drop packets.
pub const STOP_WAIT: Duration = Duration::from_secs(5);

/// While several targets are full, one of them is slept on for at most this long before all are
/// tried again.
const SLICE_MAX: Duration = Duration::from_millis(2);
const SLICE_MIN: Duration = Duration::from_micros(50);

/// A target that refused and is to be waited for.
#[derive(Clone, Copy, Debug)]
struct Pending {
    group: usize,
    target: usize,
    timeout: Option<Duration>,
    deadline: Option<Instant>,
}

/// Sends each packet to every group of targets, and within a group to those that a strategy picks.
///
/// A router is owned by one thread: sending takes `&mut self`, because the round-robin positions and
/// the counters are plain numbers. Another thread gets its own by [`Router::fork`]; both put to the
/// same queues. Packets that one router puts to one queue arrive in the order of the sends.
///
/// A queue is opened by the first packet that goes there, and its handle is kept. Once the queues
/// are open, a send that succeeds allocates nothing of its own (up to eight targets; see
/// [`SendReport`]), locks nothing and writes to no memory that other threads use, other than by
/// putting to the queues.
///
/// ```
/// use ringway::routing::{Packet, Router, RouterConfig};
///
/// let mut router = Router::new(RouterConfig::default()).unwrap(); // a sink: no connections
/// let report = router.send(&Packet::new("nobody listens"));
/// assert!(report.is_complete());
/// assert_eq!(report.delivered_count(), 0);
/// ```
#[derive(Debug)]
pub struct Router {
    groups: Vec<Group>,
    random: Random,
    /// Empty between sends; kept for its memory.
    pending: Vec<Pending>,
}

impl Router {
    /// Makes a router. Opens no queue.
    ///
    /// The broadcast indices of the groups may have gaps, the parallel indices within a group must
    /// be 0 to n−1. Two connections may name the same queue.
    ///
    /// # Errors
    /// A [`RouterError`] where the configuration contradicts itself.
    pub fn new(config: RouterConfig) -> Result<Self, RouterError> {
        if let Some((broadcast_index, strategy)) = config.unbound().next() {
            let name = strategy.name().to_owned();
            return Err(RouterError::UnboundStrategy { broadcast_index, name });
        }
        let mut groups: BTreeMap<u32, BTreeMap<u32, Connection>> = BTreeMap::new();
        for connection in config.connections {
            let target = connection.id();
            let second = connection.target_name.clone();
            let group = groups.entry(target.broadcast_index).or_default();
            if let Some(first) = group.insert(target.parallel_index, connection) {
                let first = first.target_name;
                return Err(RouterError::DuplicateTarget { target, first, second });
            }
        }
        let mut strategies = config.strategies;
        let mut made = Vec::with_capacity(groups.len());
        for (broadcast_index, connections) in groups {
            if let Some((missing, _)) = (0..).zip(connections.keys()).find(|(a, b)| a != *b) {
                return Err(RouterError::ParallelGap { broadcast_index, missing });
            }
            made.push(Group {
                broadcast_index,
                strategy: strategies.remove(&broadcast_index).unwrap_or_default(),
                position: 0,
                ahead: Ahead::of(connections.len()),
                targets: connections.into_values().map(Target::new).collect(),
            });
        }
        if let Some(broadcast_index) = strategies.into_keys().next() {
            return Err(RouterError::EmptyGroup { broadcast_index });
        }
        Ok(Self { groups: made, random: Random::from_entropy(), pending: Vec::new() })
    }

    /// What a router is made of, for one that puts in another way.
    pub(super) fn into_parts(self) -> (Vec<Group>, Random) {
        (self.groups, self.random)
    }

    /// Makes it the turn of target `position mod n` in every group. Instances of one task that
    /// start at different positions do not all begin with the same target.
    #[must_use]
    pub fn starting_at(mut self, position: usize) -> Self {
        for group in &mut self.groups {
            group.position = position % group.targets.len();
        }
        self
    }

    /// Seeds the random choices of least-loaded, which otherwise differ from router to router.
    #[must_use]
    pub fn seeded(mut self, seed: u64) -> Self {
        self.random = Random::seeded(seed);
        self
    }

    /// Makes a router of the same connections for another thread, starting its turns at `position`.
    /// It counts its own drops, from 0.
    #[must_use]
    pub fn fork(&self, position: usize) -> Self {
        self.clone().starting_at(position)
    }

    /// Sends a packet, and says what became of it. Waits only where a connection's policy says so.
    pub fn send(&mut self, packet: &Packet) -> SendReport {
        self.send_view(&packet.view())
    }

    /// Sends a packet that borrows its parts, such as one straight from a lease.
    pub fn send_view(&mut self, packet: &PacketRef<'_>) -> SendReport {
        let mut report = SendReport::new();
        self.send_into(packet, &mut report);
        report
    }

    /// Sends a packet, and says what became of it in `report`, replacing what that held. With a
    /// report used again and again no number of targets makes a successful send allocate.
    pub fn send_into(&mut self, packet: &PacketRef<'_>, report: &mut SendReport) {
        report.clear();
        self.pending.clear();
        if let Err(error) = packet.check() {
            for group in &self.groups {
                report.add_problem(group.problem(error.clone().into()));
            }
            return;
        }
        let outgoing = Outgoing::Packet(packet);
        let alone = self.groups.len() == 1;
        for index in 0..self.groups.len() {
            match self.groups[index].select(packet, &mut self.random) {
                Ok(Selection::One(target)) => {
                    let wait = match self.groups[index].targets[target].policy {
                        // With nobody else to serve, wait at once.
                        FullPolicy::Block { timeout: None } if alone => Wait::Forever,
                        _ => Wait::No,
                    };
                    self.put(index, target, outgoing, wait, report);
                }
                Ok(Selection::FirstFree(turn)) => {
                    self.put_first_free(index, turn, outgoing, report)
                }
                Ok(Selection::All) => self.put_to_all(index, outgoing, report),
                Ok(Selection::None) => report.add_declined(),
                Err(error) => report.add_problem(self.groups[index].problem(error)),
            }
        }
        self.wait_for_pending(outgoing, report);
    }

    /// Sends a stop signal to *every* connection of every group, whatever the strategies.
    ///
    /// A stop signal is never dropped by policy: where packets would be, it waits for up to
    /// [`STOP_WAIT`]. Connections that block or fail do so as for packets. One that is in the
    /// report's problems has not got it; [`Router::send_stop_signal_to`] tries again.
    pub fn send_stop_signal(&mut self, signal: &StopSignal) -> SendReport {
        let mut report = SendReport::new();
        self.pending.clear();
        for index in 0..self.groups.len() {
            self.put_to_all(index, Outgoing::Stop(signal), &mut report);
        }
        self.wait_for_pending(Outgoing::Stop(signal), &mut report);
        report
    }

    /// Sends a stop signal to one connection, as [`Router::send_stop_signal`] does to all.
    pub fn send_stop_signal_to(&mut self, target: TargetId, signal: &StopSignal) -> SendReport {
        let mut report = SendReport::new();
        self.pending.clear();
        let TargetId { broadcast_index, parallel_index } = target;
        let found = self.groups.iter().enumerate().find_map(|(index, group)| {
            let is_it = group.broadcast_index == broadcast_index;
            (is_it && (parallel_index as usize) < group.targets.len()).then_some(index)
        });
        match found {
            Some(index) => {
                let outgoing = Outgoing::Stop(signal);
                self.put(index, parallel_index as usize, outgoing, Wait::No, &mut report);
                self.wait_for_pending(outgoing, &mut report);
            }
            None => report.add_problem(Problem {
                broadcast_index,
                target: None,
                error: SendError::NoSuchTarget,
            }),
        }
        report
    }

    /// Takes a snapshot, for people and for monitoring. Opens the queues that are not open yet, to
    /// read their load.
    #[must_use]
    pub fn routing_info(&self) -> RoutingInfo {
        info::of(&self.groups)
    }

    /// The connections, by broadcast and parallel index.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.groups.iter().flat_map(|group| &group.targets).map(Target::connection)
    }

    /// The strategies of the groups, by broadcast index.
    pub fn strategies(&self) -> impl Iterator<Item = (u32, &GroupStrategy)> {
        self.groups.iter().map(|group| (group.broadcast_index, &group.strategy))
    }

    /// Drops the handles of the queues, which keep them mapped; the next send asks the descriptors
    /// again. No packet is touched.
    pub fn clear_cache(&mut self) {
        for group in &mut self.groups {
            group.ahead = Ahead::of(group.targets.len());
            group.targets.iter_mut().for_each(Target::forget_queue);
        }
    }

    fn put(
        &mut self,
        group: usize,
        target: usize,
        outgoing: Outgoing<'_>,
        wait: Wait,
        report: &mut SendReport,
    ) {
        let result = self.groups[group].targets[target].put(outgoing, wait);
        self.settle(group, target, outgoing, result, report);
    }

    fn put_to_all(&mut self, group: usize, outgoing: Outgoing<'_>, report: &mut SendReport) {
        for target in 0..self.groups[group].targets.len() {
            self.put(group, target, outgoing, Wait::No, report);
        }
    }

    fn put_first_free(
        &mut self,
        index: usize,
        turn: usize,
        outgoing: Outgoing<'_>,
        report: &mut SendReport,
    ) {
        let group = &mut self.groups[index];
        for target in (turn..group.targets.len()).chain(0..turn) {
            let result = group.targets[target].put(outgoing, Wait::No);
            if !is_full(&result) {
                group.turn_after(target);
                return self.settle(index, target, outgoing, result, report);
            }
        }
        self.settle(index, turn, outgoing, Err(PutError::Full.into()), report);
    }

    /// Reports the result of a first put, or does what the policy says for a full queue.
    fn settle(
        &mut self,
        index: usize,
        target_index: usize,
        outgoing: Outgoing<'_>,
        result: Result<(), SendError>,
        report: &mut SendReport,
    ) {
        let target = &mut self.groups[index].targets[target_index];
        if !is_full(&result) {
            return match result {
                Ok(()) => report.add_delivered(target.id),
                Err(error) => report.add_problem(target.problem(error)),
            };
        }
        let timeout = match (target.policy, outgoing) {
            (FullPolicy::Block { timeout }, _) => timeout,
            (FullPolicy::DropNewest, Outgoing::Stop(_)) => Some(STOP_WAIT),
            (FullPolicy::DropNewest, Outgoing::Packet(_)) => {
                target.dropped += 1;
                return report.add_problem(target.problem(SendError::Dropped));
            }
            (FullPolicy::Fail, _) => {
                return report.add_problem(target.problem(PutError::Full.into()));
            }
        };
        self.pending.push(Pending { group: index, target: target_index, timeout, deadline: None });
    }

    /// The second pass: waits until none is pending.
    fn wait_for_pending(&mut self, outgoing: Outgoing<'_>, report: &mut SendReport) {
        if self.pending.is_empty() {
            return;
        }
        let start = Instant::now();
        for pending in &mut self.pending {
            pending.deadline = pending.timeout.and_then(|timeout| start.checked_add(timeout));
        }
        let mut slice = SLICE_MIN;
        let mut turn = 0;
        while let Some(&first) = self.pending.first() {
            if self.pending.len() == 1 {
                self.retry(0, first.deadline.map_or(Wait::Forever, Wait::Until), outgoing, report);
                continue;
            }
            let before = self.pending.len();
            for index in (0..before).rev() {
                self.retry(index, Wait::No, outgoing, report);
            }
            if self.pending.len() < before {
                slice = SLICE_MIN;
                continue;
            }
            // None has room. Sleep on one of them, shortly, and on another the next time.
            turn = (turn + 1) % before;
            let slept = Instant::now() + slice;
            let until = self
                .pending
                .iter()
                .filter_map(|pending| pending.deadline)
                .fold(slept, Instant::min);
            self.retry(turn, Wait::Until(until), outgoing, report);
            slice = (slice * 2).min(SLICE_MAX);
        }
    }

    /// Tries a pending target again; it is pending no more once that has an outcome.
    fn retry(&mut self, index: usize, wait: Wait, outgoing: Outgoing<'_>, report: &mut SendReport) {
        let Pending { group, target, deadline, .. } = self.pending[index];
        let target = &mut self.groups[group].targets[target];
        let result = target.put(outgoing, wait);
        if is_full(&result) {
            match deadline {
                Some(deadline) if deadline <= Instant::now() => {
                    report.add_problem(target.problem(PutError::Timeout.into()));
                }
                // A queue that refuses to wait for ever: say so rather than spin.
                None if wait == Wait::Forever => {
                    report.add_problem(target.problem(PutError::Full.into()));
                }
                _ => return,
            }
        } else {
            match result {
                Ok(()) => report.add_delivered(target.id),
                Err(error) => report.add_problem(target.problem(error)),
            }
        }
        self.pending.swap_remove(index);
    }
}

impl Clone for Router {
    /// Makes a router of the same connections at the same positions. It makes its own random
    /// choices and counts its own drops, from 0.
    fn clone(&self) -> Self {
        let mut groups = self.groups.clone();
        for group in &mut groups {
            group.ahead = Ahead::of(group.targets.len());
            group.targets.iter_mut().for_each(|target| target.dropped = 0);
        }
        Self { groups, random: Random::from_entropy(), pending: Vec::new() }
    }
}

fn is_full(result: &Result<(), SendError>) -> bool {
    matches!(result, Err(SendError::Put(PutError::Full | PutError::Timeout)))
}
