//! The commands that start a loop.

use std::collections::BTreeMap;
use std::path::Path;

use ringway::queue::{Consumer, Producer, Queue, QueueDescriptor};

use super::{Answer, Script, Words, err};
use crate::torment::{self, Outlet};
use crate::work::{self, Getter, Putter};

impl Script {
    pub(super) fn torment(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        let name = words.next()?;
        let queue = self.queue(name)?;
        if verb == "torment-put" {
            let (producer, seed, turns) = (words.number()?, words.number()?, words.number()?);
            let (log, most) = (Path::new(words.next()?), queue.max_payload());
            let to = putter(&mut self.producers, name, queue);
            return torment::put(to, most, producer, seed, turns, log).map(|n| n.to_string());
        }
        let producer = if verb == "torment-route" { words.number()? } else { 0 };
        let (seed, turns, log) = (words.number()?, words.number()?, Path::new(words.next()?));
        let from = getter(&mut self.consumers, name, queue);
        if verb == "torment-get" {
            return torment::get(from, seed, turns, log).map(|n| n.to_string());
        }
        let logs = [words.next()?, words.next()?];
        let mut outlets = Vec::new();
        for (log, json) in logs.iter().zip(words.0.split('\t')) {
            let queue = QueueDescriptor::from_json(json).map_err(err)?;
            outlets.push(Outlet { queue, log: Path::new(log) });
        }
        torment::route(from, &outlets, producer, seed, turns, log).map(|n| n.to_string())
    }

    pub(super) fn working(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        let name = words.next()?;
        let queue = self.queue(name)?;
        match verb {
            "produce" => {
                let (producer, packets) = (words.number()?, words.number()?);
                let (batch, most) = (words.number()?, words.number()? as usize);
                let log = Path::new(words.next()?);
                let to = putter(&mut self.producers, name, queue);
                let put = work::produce(to, producer, packets, batch, most, log)?;
                Ok(put.to_string())
            }
            "consume" => {
                let (hold, seed) = (words.number()? as usize, words.number()?);
                let from = getter(&mut self.consumers, name, queue);
                let received = work::consume(from, hold, seed, Path::new(words.next()?))?;
                Ok(received.to_string())
            }
            _ => {
                let second = words.next()?;
                let other = self.queue(second)?;
                let rounds = words.number()?;
                let (producers, consumers) = (&mut self.producers, &mut self.consumers);
                match verb {
                    "echo" => {
                        let from = getter(consumers, name, queue);
                        work::echo(from, putter(producers, second, other), rounds)?;
                    }
                    _ => {
                        let to = putter(producers, name, queue);
                        work::ping(to, getter(consumers, second, other), rounds)?;
                    }
                }
                Ok(String::new())
            }
        }
    }
}

/// The owned handle of a queue, if the peer has one, or the shared one.
fn putter<'a>(own: &'a mut BTreeMap<String, Producer>, name: &str, queue: Queue) -> Putter<'a> {
    match own.get_mut(name) {
        Some(own) => Putter::Own(own),
        None => Putter::Shared(queue),
    }
}

/// As [`putter`].
fn getter<'a>(own: &'a mut BTreeMap<String, Consumer>, name: &str, queue: Queue) -> Getter<'a> {
    match own.get_mut(name) {
        Some(own) => Getter::Own(own),
        None => Getter::Shared(queue),
    }
}
