//! Loops that a peer runs: until they are done, or the queue is closed, or somebody kills it.

use std::path::Path;

use ringway::error::{GetError, PutError};
use ringway::queue::{Lease, Queue};

use crate::accounting::{self, Event, Log};
use crate::random::Random;

/// Puts `packets` numbered packets and writes down each put that returned: single ones of up to
/// `most_bytes`, or with a `batch` above 1 so many at a time, of `most_bytes` each. Ends early when
/// the queue is closed. Returns how many were put.
///
/// # Errors
/// What went wrong, as an answer.
pub fn produce(
    queue: &Queue,
    producer: u64,
    packets: u64,
    batch: u64,
    most_bytes: usize,
    log: &Path,
) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(|error| format!("Io {error}"))?;
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
            match queue.put(one) {
                Ok(()) => (1, None),
                Err(error) => (0, Some(error)),
            }
        } else {
            let slices: Vec<&[u8]> = packets.iter().map(Vec::as_slice).collect();
            match queue.put_many(&slices) {
                Ok(()) => (count, None),
                Err(error) => (error.put as u64, Some(error.error)),
            }
        };
        next += put;
        if put > 0 {
            log.write(Event::Put { producer, number: next - 1 })
                .map_err(|error| format!("Io {error}"))?;
        }
        match error {
            None => {}
            Some(PutError::Closed) => return Ok(next),
            Some(error) => return Err(format!("{error:?}")),
        }
    }
    Ok(next)
}

/// Takes packets until the queue is closed and drained, holding up to `hold` leases and
/// acknowledging them in random order; writes down each before, and after. Returns how many.
///
/// # Errors
/// What went wrong, as an answer.
pub fn consume(queue: &Queue, hold: usize, seed: u64, log: &Path) -> Result<u64, String> {
    let mut log = Log::create(log).map_err(|error| format!("Io {error}"))?;
    let mut random = Random::new(seed);
    let mut held: Vec<(Lease, u64, u64)> = Vec::new();
    let mut received = 0;
    loop {
        let lease = match queue.try_lease() {
            Err(GetError::Empty | GetError::Draining { .. }) => {
                // Nothing now: hold nothing back while asleep.
                while let Some(held) = held.pop() {
                    acknowledge(&mut log, held)?;
                }
                queue.lease()
            }
            other => other,
        };
        let lease = match lease {
            Ok(lease) => lease,
            Err(GetError::Closed) => break,
            Err(error) => return Err(format!("{error:?}")),
        };
        let (producer, number) =
            accounting::check(&lease).map_err(|what| format!("Corrupt {what}"))?;
        log.write(Event::Received { producer, number, count: lease.delivery_count() })
            .map_err(|error| format!("Io {error}"))?;
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
    Ok(received)
}

fn acknowledge(log: &mut Log, held: (Lease, u64, u64)) -> Result<(), String> {
    let (lease, producer, number) = held;
    let count = lease.delivery_count();
    lease.ack();
    log.write(Event::Acked { producer, number, count }).map_err(|error| format!("Io {error}"))
}

/// Gets from one queue and puts into another, `rounds` times.
///
/// # Errors
/// What went wrong, as an answer.
pub fn echo(from: &Queue, to: &Queue, rounds: u64) -> Result<(), String> {
    for _ in 0..rounds {
        let packet = from.get().map_err(|error| format!("{error:?}"))?;
        to.put(&packet.payload).map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

/// Puts into one queue and waits for the same from another, `rounds` times.
///
/// # Errors
/// What went wrong, as an answer.
pub fn ping(to: &Queue, from: &Queue, rounds: u64) -> Result<(), String> {
    for round in 0..rounds {
        let sent = round.to_le_bytes();
        to.put(&sent).map_err(|error| format!("{error:?}"))?;
        let packet = from.get().map_err(|error| format!("{error:?}"))?;
        if packet.payload != sent {
            return Err(format!("Wrong {:?} came back in round {round}", packet.payload));
        }
    }
    Ok(())
}
