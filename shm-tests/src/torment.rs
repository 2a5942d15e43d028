//! The loops of torture's victims: every way to put, to get and to route, mixed at random.
//!
//! As in `work`, each writes down its puts after they returned, what it received before it
//! acknowledges, and its acknowledgements before and afterwards.

mod getting;

use std::path::Path;
use std::time::Duration;

use ringway::error::{GetError, PutError};
use ringway::queue::{QueueDescriptor, RecordKind, Wait};
use ringway::routing::{Connection, Packet, PartitionStrategy, Router, RouterConfig};

use crate::accounting::{self, EMPTY, Event, HEADER_BYTES, Log};
use crate::random::{Random, mix};
use crate::work::{Getter, Putter, debug, io};

pub use getting::get;
use getting::{acknowledge, hold};

/// Most packets of one `put_many`.
pub const BATCH: u64 = 16;

/// Bytes around a payload in the wire form of a routed packet: more than it can be.
const WIRE_OVERHEAD: usize = 128;

/// What ended a loop early, if it is no fault.
enum Stop {
    /// The queue is closed.
    Closed,
    /// As an answer.
    Fault(String),
}

impl From<PutError> for Stop {
    fn from(error: PutError) -> Self {
        if matches!(error, PutError::Closed) { Self::Closed } else { Self::Fault(debug(error)) }
    }
}

impl From<GetError> for Stop {
    fn from(error: GetError) -> Self {
        if matches!(error, GetError::Closed) { Self::Closed } else { Self::Fault(debug(error)) }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::Fault(io(error))
    }
}

/// Runs `turn` until it says stop, or has been called so many times; closes the log.
fn run(
    log: &mut Log,
    turns: u64,
    mut turn: impl FnMut(&mut Log) -> Result<(), Stop>,
) -> Result<u64, String> {
    for done in 0..turns {
        match turn(log) {
            Ok(()) => {}
            Err(Stop::Closed) => return Ok(done),
            Err(Stop::Fault(what)) => return Err(what),
        }
    }
    Ok(turns)
}

fn ended(log: &mut Log) -> Result<(), String> {
    log.write(Event::Ended).map_err(io)
}

/// Lengths of all kinds: mostly short, some of several units, now and then the longest there can be.
fn length(random: &mut Random, most: usize) -> usize {
    let below = |end: usize, random: &mut Random| random.below(end as u64 + 1) as usize;
    let len = match random.below(16) {
        0 => most,
        1..4 => below(most, random),
        4..8 => below(most.min(2048), random),
        _ => below(48, random),
    };
    len.max(HEADER_BYTES)
}

/// How long to wait, where it does not matter: for ever, a moment, not at all.
fn wait(random: &mut Random) -> Wait {
    match random.below(8) {
        0 => Wait::No,
        1 => Wait::at_most(Duration::from_micros(random.below(3000))),
        _ => Wait::Forever,
    }
}

/// Puts packets in `turns` turns, each in another way. Ends early when the queue is closed.
///
/// # Errors
/// What went wrong, as an answer.
pub fn put(
    mut to: Putter<'_>,
    most: usize,
    producer: u64,
    seed: u64,
    turns: u64,
    log: &Path,
) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(io)?;
    let mut random = Random::new(seed);
    let mut buffers = vec![Vec::new(); BATCH as usize];
    let mut next = 0;
    let turned = run(&mut log, turns, |log| {
        let put = match random.below(100) {
            0..6 => {
                if unless_refused(to.put_waiting(&[], wait(&mut random)))?.is_some() {
                    log.write(Event::Put { producer: EMPTY, number: 0 })?;
                }
                return Ok(());
            }
            6..24 => {
                let count = 2 + random.below(BATCH - 1);
                let all_short = random.below(3) != 0;
                let buffers = &mut buffers[..count as usize];
                for (buffer, number) in buffers.iter_mut().zip(next..) {
                    let most = if all_short { 48 } else { most };
                    accounting::fill_len(buffer, producer, number, length(&mut random, most));
                }
                let slices: Vec<&[u8]> = buffers.iter().map(Vec::as_slice).collect();
                let (put, error) = to.put_many_waiting(&slices, wait(&mut random));
                if put > 0 {
                    next += put as u64;
                    log.write(Event::Put { producer, number: next - 1 })?;
                }
                unless_refused(error.map_or(Ok(()), Err))?;
                return Ok(());
            }
            24..46 => {
                let len = length(&mut random, most);
                accounting::fill_len(&mut buffers[0], producer, next, len);
                let fate = random.below(8);
                to.put_in_place(&buffers[0], wait(&mut random), fate)
            }
            _ => {
                let len = length(&mut random, most);
                accounting::fill_len(&mut buffers[0], producer, next, len);
                to.put_waiting(&buffers[0], wait(&mut random)).map(|()| true)
            }
        };
        if unless_refused(put)? == Some(true) {
            log.write(Event::Put { producer, number: next })?;
            next += 1;
        }
        Ok(())
    })?;
    ended(&mut log)?;
    Ok(turned)
}

/// `None` where the put was refused for now.
fn unless_refused<T>(put: Result<T, PutError>) -> Result<Option<T>, Stop> {
    match put {
        Ok(done) => Ok(Some(done)),
        Err(PutError::Full | PutError::Timeout) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Putter<'_> {
    fn put_waiting(&mut self, payload: &[u8], wait: Wait) -> Result<(), PutError> {
        match self {
            Self::Shared(queue) => queue.put_record(RecordKind::RAW, payload, wait),
            Self::Own(own) => own.put(RecordKind::RAW, payload, wait),
        }
    }

    fn put_many_waiting(&mut self, payloads: &[&[u8]], wait: Wait) -> (usize, Option<PutError>) {
        match self {
            Self::Shared(queue) => queue.backend().put_many(RecordKind::RAW, payloads, wait),
            Self::Own(own) => own.put_many(RecordKind::RAW, payloads, wait),
        }
    }

    /// Reserves, writes and commits; fate 0 drops it instead, 1 reserves more than it commits. Says
    /// whether it was put.
    fn put_in_place(&mut self, payload: &[u8], wait: Wait, fate: u64) -> Result<bool, PutError> {
        let len = payload.len();
        match self {
            Self::Shared(queue) => {
                let most = queue.max_payload();
                let room = if fate == 1 { most.min(len * 2) } else { len };
                let mut place = queue.reserve_record(RecordKind::RAW, room, wait)?;
                place[..len].copy_from_slice(payload);
                if fate != 0 {
                    place.commit_len(len)?;
                }
            }
            Self::Own(own) => {
                let mut place = own.reserve(RecordKind::RAW, len, wait)?;
                place.copy_from_slice(payload);
                if fate != 0 {
                    place.commit_len(len)?;
                }
            }
        }
        Ok(fate != 0)
    }
}

/// Where a router puts, and where it writes that down.
#[derive(Debug)]
pub struct Outlet<'a> {
    /// The target's queue.
    pub queue: QueueDescriptor,
    /// The log of what was put there.
    pub log: &'a Path,
}

/// Takes packets from one queue and sends a numbered one for each to others, through a [`Router`]:
/// as producer `producer` to all of them, or as one of `producer` + 1, + 2, … each of which is a key
/// of its own. A packet is acknowledged after its successor was sent. Ends early when the queue is
/// closed and drained.
///
/// # Errors
/// What went wrong, as an answer.
pub fn route(
    mut from: Getter<'_>,
    outlets: &[Outlet<'_>],
    producer: u64,
    seed: u64,
    turns: u64,
    log: &Path,
) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(io)?;
    let mut logs = Vec::new();
    for outlet in outlets {
        logs.push(Log::create(outlet.log).map_err(io)?);
    }
    let mut random = Random::new(seed);
    let by_key = random.below(2) == 0;
    let strategy = if by_key { PartitionStrategy::Hash } else { PartitionStrategy::Broadcast };
    let connections = outlets
        .iter()
        .zip(0..)
        .map(|(outlet, i)| Connection::new(0, i, format!("target {i}"), outlet.queue.clone()));
    let config = RouterConfig::new(connections.collect()).with_strategy(0, strategy);
    let mut router = Router::new(config).map_err(debug)?;
    let mut most = usize::MAX;
    for outlet in outlets {
        most = most.min(outlet.queue.max_payload().map_err(debug)? - WIRE_OVERHEAD);
    }
    let mut next = [0; 3];
    let mut buffer = Vec::new();
    let turned = run(&mut log, turns, |log| {
        let mut leases = Vec::new();
        match from.lease_many(1, &mut leases, wait(&mut random)) {
            Ok(_) => {}
            Err(GetError::Empty | GetError::Timeout | GetError::Draining { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let Some(lease) = leases.pop() else { return Ok(()) };
        let held = hold(log, lease)?;
        let key = if by_key { 1 + mix(held.number) % 2 } else { 0 };
        let (producer, number) = (producer + key, next[key as usize]);
        accounting::fill_len(&mut buffer, producer, number, length(&mut random, most));
        let mut packet = Packet::new(buffer.as_slice());
        if by_key {
            packet = packet.with_key(key as i64);
        }
        let report = router.send(&packet);
        for target in report.delivered() {
            logs[target.parallel_index as usize].write(Event::Put { producer, number })?;
        }
        if let Some(problem) = report.problems().first() {
            return Err(Stop::Fault(format!("{problem:?}")));
        }
        next[key as usize] += 1;
        acknowledge(log, held)
    })?;
    for log in logs.iter_mut().chain([&mut log]) {
        ended(log)?;
    }
    Ok(turned)
}
