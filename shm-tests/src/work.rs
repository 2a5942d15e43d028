//! Loops that a peer runs: until they are done, or the queue is closed, or somebody kills it.
//!
//! Each goes through the shared handle of a queue or through an owned one ([`Putter`], [`Getter`]):
//! different paths in the library, the same promises.

use std::path::Path;

use ringway::error::{GetError, PutError};
use ringway::queue::{Consumer, Lease, Producer, Queue, RecordInfo, RecordKind, Wait};

use crate::accounting::{self, Event, Log};
use crate::random::Random;

/// What puts.
#[derive(Debug)]
pub enum Putter<'a> {
    /// The shared handle.
    Shared(Queue),
    /// An owned handle.
    Own(&'a mut Producer),
}

impl Putter<'_> {
    fn put(&mut self, payload: &[u8]) -> Result<(), PutError> {
        match self {
            Self::Shared(queue) => queue.put(payload),
            Self::Own(own) => own.put(RecordKind::RAW, payload, Wait::Forever),
        }
    }

    fn put_many(&mut self, payloads: &[&[u8]]) -> (usize, Option<PutError>) {
        match self {
            Self::Shared(queue) => {
                queue.backend().put_many(RecordKind::RAW, payloads, Wait::Forever)
            }
            Self::Own(own) => own.put_many(RecordKind::RAW, payloads, Wait::Forever),
        }
    }
}

/// What gets.
#[derive(Debug)]
pub enum Getter<'a> {
    /// The shared handle.
    Shared(Queue),
    /// An owned handle.
    Own(&'a mut Consumer),
}

impl Getter<'_> {
    fn lease(&mut self, wait: Wait) -> Result<Lease, GetError> {
        match self {
            Self::Shared(queue) => queue.lease_record(wait),
            Self::Own(own) => own.lease(wait),
        }
    }

    fn get_into(&mut self, out: &mut Vec<u8>) -> Result<(), GetError> {
        match self {
            Self::Shared(queue) => queue.get().map(|got| *out = got.payload),
            Self::Own(own) => own.get_into(out, Wait::Forever).map(|_| ()),
        }
    }
}

pub(crate) fn io(error: std::io::Error) -> String {
    format!("Io {error}")
}

pub(crate) fn debug(error: impl std::fmt::Debug) -> String {
    format!("{error:?}")
}

/// Puts `packets` numbered packets and writes down each put that returned: single ones of up to
/// `most_bytes`, or with a `batch` above 1 so many at a time, of `most_bytes` each. Ends early when
/// the queue is closed. Returns how many were put.
///
/// # Errors
/// What went wrong, as an answer.
pub fn produce(
    mut to: Putter<'_>,
    producer: u64,
    packets: u64,
    batch: u64,
    most_bytes: usize,
    log: &Path,
) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(io)?;
    let mut buffers = vec![Vec::new(); batch.max(1) as usize];
    let mut next = 0;
    while next < packets {
        let count = batch.clamp(1, packets - next);
        let packets = &mut buffers[..count as usize];
        for (buffer, number) in packets.iter_mut().zip(next..) {
            if batch == 1 {
                accounting::fill(buffer, producer, number, most_bytes);
            } else {
                // Runs of equals take their time to be written, so that a kill may come in between.
                accounting::fill_len(buffer, producer, number, most_bytes);
            }
        }
        let (put, error) = if let [one] = packets {
            match to.put(one) {
                Ok(()) => (1, None),
                Err(error) => (0, Some(error)),
            }
        } else {
            to.put_many(&packets.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        next += put as u64;
        if put > 0 {
            log.write(Event::Put { producer, number: next - 1 }).map_err(io)?;
        }
        match error {
            None => {}
            Some(PutError::Closed) => break,
            Some(error) => return Err(debug(error)),
        }
    }
    log.write(Event::Ended).map_err(io)?;
    Ok(next)
}

/// Takes packets until the queue is closed and drained, holding up to `hold` leases and
/// acknowledging them in random order; writes down each before, and after. Returns how many.
///
/// # Errors
/// What went wrong, as an answer.
pub fn consume(mut from: Getter<'_>, hold: usize, seed: u64, log: &Path) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(io)?;
    if let (Getter::Own(own), 0) = (&mut from, hold) {
        return consume_in_place(own, &mut log);
    }
    let mut random = Random::new(seed);
    let mut held: Vec<(Lease, u64, u64)> = Vec::new();
    let mut received = 0;
    loop {
        let lease = match from.lease(Wait::No) {
            Err(GetError::Empty | GetError::Draining { .. }) => {
                // Nothing now: hold nothing back while asleep.
                while let Some(held) = held.pop() {
                    acknowledge(&mut log, held)?;
                }
                from.lease(Wait::Forever)
            }
            other => other,
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(GetError::Closed) => break,
            Err(error) => return Err(debug(error)),
        };
        let (producer, number) = receive(&mut log, &lease, lease.delivery_count())?;
        received += 1;
        held.push((lease, producer, number));
        if held.len() > hold {
            let one = random.below(held.len() as u64) as usize;
            acknowledge(&mut log, held.swap_remove(one))?;
        }
    }
    for held in held {
        acknowledge(&mut log, held)?;
    }
    log.write(Event::Ended).map_err(io)?;
    Ok(received)
}

/// Reads packets where they lie: one, or several in one go.
fn consume_in_place(own: &mut Consumer, log: &mut Log) -> Result<u64, String> {
    let mut received = 0;
    loop {
        let max = 1 + received as usize % 5;
        let (mut before, mut fault) = (None, Ok(()));
        let mut read = |payload: &[u8], info: RecordInfo| {
            if fault.is_ok() {
                fault = check(payload).and_then(|packet| {
                    enter_read(log, packet, info.delivery_count, &mut before).map_err(io)
                });
            }
        };
        let got = match max {
            1 => own.get_with(Wait::Forever, read).map(|()| 1),
            _ => own.get_many_with(max, Wait::Forever, &mut read),
        };
        fault?;
        match got {
            Ok(count) => received += count as u64,
            Err(GetError::Closed) => {
                log.write(Event::Ended).map_err(io)?;
                return Ok(received);
            }
            Err(error) => return Err(debug(error)),
        }
        before.map_or(Ok(()), |acked| log.write(acked)).map_err(io)?;
    }
}

/// Enters a packet that is read in place and acknowledged as soon as its reader returns, and that the one
/// `before` has been.
pub(crate) fn enter_read(
    log: &mut Log,
    (producer, number): (u64, u64),
    count: u32,
    before: &mut Option<Event>,
) -> std::io::Result<()> {
    before.take().map_or(Ok(()), |acked| log.write(acked))?;
    log.write(Event::Received { producer, number, count })?;
    log.write(Event::Acking { producer, number, count })?;
    *before = Some(Event::Acked { producer, number, count });
    Ok(())
}

fn check(payload: &[u8]) -> Result<(u64, u64), String> {
    accounting::check(payload).map_err(|what| format!("Corrupt {what}"))
}

fn receive(log: &mut Log, payload: &[u8], count: u32) -> Result<(u64, u64), String> {
    let (producer, number) = check(payload)?;
    log.write(Event::Received { producer, number, count }).map_err(io)?;
    Ok((producer, number))
}

fn acknowledge(log: &mut Log, held: (Lease, u64, u64)) -> Result<(), String> {
    let (lease, producer, number) = held;
    let count = lease.delivery_count();
    log.write(Event::Acking { producer, number, count }).map_err(io)?;
    lease.ack();
    log.write(Event::Acked { producer, number, count }).map_err(io)
}

/// Gets from one queue and puts into another, `rounds` times.
///
/// # Errors
/// What went wrong, as an answer.
pub fn echo(mut from: Getter<'_>, mut to: Putter<'_>, rounds: u64) -> Result<(), String> {
    let mut packet = Vec::new();
    for _ in 0..rounds {
        from.get_into(&mut packet).map_err(debug)?;
        to.put(&packet).map_err(debug)?;
    }
    Ok(())
}

/// Puts into one queue and waits for the same from another, `rounds` times.
///
/// # Errors
/// What went wrong, as an answer.
pub fn ping(mut to: Putter<'_>, mut from: Getter<'_>, rounds: u64) -> Result<(), String> {
    let mut packet = Vec::new();
    for round in 0..rounds {
        to.put(&round.to_le_bytes()).map_err(debug)?;
        from.get_into(&mut packet).map_err(debug)?;
        if packet != round.to_le_bytes() {
            return Err(format!("Wrong {packet:?} came back in round {round}"));
        }
    }
    Ok(())
}
