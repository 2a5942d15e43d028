//! Getting, in all the ways there are, and entering what becomes of each packet into the log.

use std::path::Path;

use ringway::error::GetError;
use ringway::queue::{Lease, RecordInfo, RecordKind, Selector, Wait};
use ringway::routing::PacketRef;

use super::{BATCH, Stop, ended, run, wait};
use crate::accounting::{self, Event, Log};
use crate::random::Random;
use crate::work::{Getter, enter_read, io};

/// A delivery that was written down and not acknowledged.
pub(super) struct Held {
    lease: Lease,
    producer: u64,
    pub(super) number: u64,
}

/// Says which packet a record is, raw or routed.
fn check(kind: RecordKind, bytes: &[u8]) -> Result<(u64, u64), Stop> {
    let corrupt = |what: String| Stop::Fault(format!("Corrupt {what}"));
    if kind == RecordKind::PACKET {
        let packet = PacketRef::decode(bytes).map_err(|error| corrupt(error.to_string()))?;
        return accounting::check(packet.payload).map_err(corrupt);
    }
    accounting::check(bytes).map_err(corrupt)
}

pub(super) fn hold(log: &mut Log, lease: Lease) -> Result<Held, Stop> {
    let (producer, number) = check(lease.kind(), &lease)?;
    log.write(Event::Received { producer, number, count: lease.delivery_count() })?;
    Ok(Held { lease, producer, number })
}

pub(super) fn acknowledge(log: &mut Log, held: Held) -> Result<(), Stop> {
    let Held { lease, producer, number } = held;
    let count = lease.delivery_count();
    log.write(Event::Acking { producer, number, count })?;
    lease.ack();
    Ok(log.write(Event::Acked { producer, number, count })?)
}

/// Takes packets in `turns` turns, holding several leases at a time, acknowledging in any order, and
/// giving some back. Ends early when the queue is closed and drained.
///
/// # Errors
/// What went wrong, as an answer.
pub fn get(mut from: Getter<'_>, seed: u64, turns: u64, log: &Path) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(io)?;
    let mut random = Random::new(seed);
    let most = random.below(6) as usize;
    let gives_back = random.below(3) == 0;
    // Some sleep as those do that wait on several queues.
    let mut selector = match &from {
        Getter::Shared(queue) if random.below(3) == 0 => Some(Selector::new([queue.clone()])),
        _ => None,
    };
    let mut held: Vec<Held> = Vec::new();
    let turned = run(&mut log, turns, |log| {
        if held.is_empty() && random.below(4) == 0 && get_in_place(&mut from, &mut random, log)? {
            return Ok(());
        }
        if held.is_empty() && random.below(3) == 0 && get_together(&mut from, &mut random, log)? {
            return Ok(());
        }
        let max = 1 + random.below(4) as usize;
        let mut leases = Vec::new();
        match from.lease_many(max, &mut leases, Wait::No) {
            Ok(_) => {}
            Err(GetError::Empty | GetError::Draining { .. }) => {
                // Nothing now: hold nothing back while asleep.
                for held in held.drain(..) {
                    acknowledge(log, held)?;
                }
                let wait = wait(&mut random);
                let waited = match &mut selector {
                    Some(selector) => selector.lease(wait).map(|(_, lease)| leases.push(lease)),
                    None => from.lease_many(max, &mut leases, wait).map(|_| ()),
                };
                match waited {
                    Ok(()) => {}
                    Err(GetError::Empty | GetError::Timeout | GetError::Draining { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error.into()),
        }
        for lease in leases {
            held.push(hold(log, lease)?);
        }
        while held.len() > most {
            let one = held.swap_remove(random.below(held.len() as u64) as usize);
            if gives_back && random.below(20) == 0 {
                drop(one.lease);
            } else {
                acknowledge(log, one)?;
            }
        }
        Ok(())
    })?;
    for held in held {
        if let Err(Stop::Fault(what)) = acknowledge(&mut log, held) {
            return Err(what);
        }
    }
    ended(&mut log)?;
    Ok(turned)
}

/// Reads packets where they lie, through an owned handle: one, or several in one go. Says whether there was
/// one.
fn get_in_place(from: &mut Getter<'_>, random: &mut Random, log: &mut Log) -> Result<bool, Stop> {
    let Getter::Own(own) = from else { return Ok(false) };
    let (mut before, mut fault) = (None, Ok(()));
    let mut read = |payload: &[u8], info: RecordInfo| {
        if fault.is_ok() {
            fault = check(info.kind, payload)
                .and_then(|packet| Ok(enter_read(log, packet, info.delivery_count, &mut before)?));
        }
    };
    let got = match random.below(3) {
        0 => own.get_with(Wait::No, &mut read),
        _ => own.get_many_with(1 + random.below(BATCH) as usize, Wait::No, &mut read).map(|_| ()),
    };
    fault?;
    match got {
        Ok(()) => {
            before.map_or(Ok(()), |acked| log.write(acked))?;
            Ok(true)
        }
        Err(GetError::Empty | GetError::Draining { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Takes what lies ready through an owned handle, and acknowledges all together. Says whether there was
/// something.
fn get_together(from: &mut Getter<'_>, random: &mut Random, log: &mut Log) -> Result<bool, Stop> {
    let Getter::Own(own) = from else { return Ok(false) };
    let max = 2 + random.below(BATCH - 1) as usize;
    // All that lies ready at once, at first sight or not, or one by one.
    let taken = match random.below(4) {
        0 => own.hold(Wait::No).map(|_| ()).and_then(|()| {
            while own.held() < max && own.hold_next().transpose()?.is_some() {}
            Ok(())
        }),
        1 => own.hold_ready(max).map(|_| ()),
        _ => own.hold_many(max, Wait::No).map(|_| ()),
    };
    match taken {
        Ok(()) if own.held() == 0 => return Ok(false),
        Ok(()) => {}
        Err(GetError::Empty | GetError::Draining { .. }) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let mut received = Vec::new();
    for (payload, info) in own.held_records() {
        let (producer, number) = check(info.kind, payload)?;
        let count = info.delivery_count;
        log.write(Event::Received { producer, number, count })?;
        received.push((producer, number, count));
    }
    // All at once, or the oldest first.
    while !received.is_empty() {
        let count = match random.below(2) {
            0 => received.len(),
            _ => 1 + random.below(received.len() as u64) as usize,
        };
        let oldest: Vec<_> = received.drain(..count).collect();
        for &(producer, number, count) in &oldest {
            log.write(Event::Acking { producer, number, count })?;
        }
        own.ack_oldest(count);
        for (producer, number, count) in oldest {
            log.write(Event::Acked { producer, number, count })?;
        }
    }
    Ok(true)
}

impl Getter<'_> {
    pub(super) fn lease_many(
        &mut self,
        max: usize,
        out: &mut Vec<Lease>,
        wait: Wait,
    ) -> Result<usize, GetError> {
        match self {
            Self::Shared(queue) => queue.backend().lease_many(max, out, wait),
            Self::Own(own) => own.lease_many(max, out, wait),
        }
    }
}
