//! Puts and gets that a tracer can watch instruction by instruction.

use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;
use ringway::queue::{QueueBackend, RecordKind, Wait};
use ringway::routing::{Connection, Packet, Router, RouterConfig};

use super::{Answer, Script, Words, err};

/// Puts and gets one packet after another in every way that owned handles have, between two signals
/// to itself, which mean nothing but to a tracer.
pub(super) fn run(script: &mut Script, words: &mut Words<'_>) -> Answer {
    let (name, rounds) = (words.next()?, words.number()?);
    let producer = script.producers.get_mut(name).ok_or("Usage: no producer")?;
    let consumer = script.consumers.get_mut(name).ok_or("Usage: no consumer")?;
    let mut out = Vec::with_capacity(4096);
    let mut round = || -> Result<(), String> {
        for payload in [&[7; 32][..], &[8; 200]] {
            producer.put(RecordKind::RAW, payload, Wait::Forever).map_err(err)?;
            consumer.get_into(&mut out, Wait::Forever).map_err(err)?;
            let place = producer.reserve(RecordKind::RAW, payload.len(), Wait::No);
            let mut place = place.map_err(err)?;
            place.copy_from_slice(payload);
            place.commit().map_err(err)?;
            let len = consumer.get_with(Wait::No, |bytes, _| bytes.len()).map_err(err)?;
            let many = [payload; 3];
            let (put, error) = producer.put_many(RecordKind::RAW, &many, Wait::No);
            error.map_or(Ok(()), |error| Err(err(error)))?;
            // Those of several units come one by one.
            let (mut count, mut read) = (0, 0);
            while count < put {
                count += consumer
                    .get_many_with(put, Wait::No, |bytes, _| read += bytes.len())
                    .map_err(err)?;
            }
            if out != payload || len != payload.len() || (count, read) != (3, 3 * payload.len()) {
                return Err("Wrong".into());
            }
        }
        Ok(())
    };
    between_signals(rounds, &mut round)
}

/// Sends packets through a router, or puts the same bytes without one (`ROUTED` is 0), between two
/// signals to itself.
pub(super) fn route(script: &mut Script, words: &mut Words<'_>) -> Answer {
    let (name, routed, rounds) = (words.next()?, words.number()? != 0, words.number()?);
    let (descriptor, queue) = script.queues.get(name).ok_or("Usage: it is not open")?.clone();
    let connection = Connection::new(0, 0, "target", descriptor);
    let mut router = Router::new(RouterConfig::new(vec![connection])).map_err(err)?;
    let packet = Packet::new([7; 16]);
    let mut bytes = vec![0; packet.encoded_len()];
    packet.encode_into(&mut bytes).map_err(err)?;
    let backend: &dyn QueueBackend = &**queue.backend();
    let mut send = || -> Result<(), String> {
        if routed {
            return router
                .send(&packet)
                .is_complete()
                .then_some(())
                .ok_or_else(|| "Incomplete".into());
        }
        let mut room =
            backend.reserve(RecordKind::PACKET, bytes.len(), Wait::Forever).map_err(err)?;
        room.copy_from_slice(&bytes);
        room.commit().map_err(err)
    };
    between_signals(rounds, &mut send)
}

/// Does something often, and so many times more between two signals to this process.
fn between_signals(rounds: u64, step: &mut dyn FnMut() -> Result<(), String>) -> Answer {
    let myself = getpid();
    // What is looked at only now and then (the limit, the high-water mark) has been looked at.
    let warm = (0..100).try_for_each(|_| step());
    // Whatever went wrong: the tracer waits for both.
    kill(myself, Signal::SIGWINCH).map_err(err)?;
    let marked = (0..rounds).try_for_each(|_| step());
    kill(myself, Signal::SIGWINCH).map_err(err)?;
    warm.and(marked).map(|()| String::new())
}
