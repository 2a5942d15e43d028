//! What a scripted peer understands. One command a line; Q names an open queue of the peer, WAIT is
//! `now`, `forever` (the default) or milliseconds, TEXT a payload without spaces, `TEXT*LEN` the same
//! padded with dots to LEN bytes.
//!
//! | command | answer |
//! |---|---|
//! | `open Q JSON` | `ok` |
//! | `producer Q`, `consumer Q` | `ok`; puts, gets and leases of Q go through the owned handle from now on |
//! | `free-producer Q`, `free-consumer Q` | `ok`; drops the handle |
//! | `put Q TEXT [WAIT]` | `ok` |
//! | `put_many Q COUNT TEXT [WAIT]` | `ok COUNT`; puts TEXT0, TEXT1, … |
//! | `reserve Q TEXT [WAIT]` | `ok ID`; written, not committed |
//! | `commit ID [LEN]`, `abandon ID` | `ok` |
//! | `get Q [WAIT]` | `ok TEXT COUNT`; the delivery count |
//! | `lease Q [WAIT]` | `ok ID TEXT COUNT` |
//! | `lease_many Q MAX [WAIT]` | `ok ID TEXT COUNT TEXT COUNT…`; the first one's id, the others follow |
//! | `ack ID`, `giveback ID` | `ok` |
//! | `hold_many Q MAX [WAIT]` | `ok TEXT COUNT…`; of all that the owned handle of Q holds |
//! | `ack_held Q` | `ok` |
//! | `close Q`, `destroy Q`, `trim Q`, `forget Q` | `ok` |
//! | `qsize Q`, `in_flight Q`, `stats Q` | `ok NUMBER`, `ok JSON` |
//! | `select WAIT Q…` | `ok Q TEXT COUNT`; gets from whichever has something |
//! | `produce Q PRODUCER PACKETS BATCH MOST LOG` | `ok PACKETS` |
//! | `consume Q HOLD SEED LOG` | `ok PACKETS` |
//! | `marked-route Q ROUTED ROUNDS` | `ok`; sends through a router, or puts without one, between two signals to itself |
//! | `marked Q ROUNDS` | `ok`; puts and gets through owned handles, between two signals to itself |
//! | `torment-put Q PRODUCER SEED TURNS LOG` | `ok TURNS`; puts in every way there is |
//! | `torment-get Q SEED TURNS LOG` | `ok TURNS`; gets in every way there is |
//! | `torment-route Q PRODUCER SEED TURNS LOG LOG0 LOG1 JSON0\tJSON1` | `ok TURNS`; gets, and sends through a router |
//! | `die POINT K`, `pause POINT K` | `ok`; killed, or stopped, when it comes to that crash point the K-th time |
//! | `mutant NAME` | `ok`; switches on a deliberate defect (with `--cfg ringway_crash`) |
//! | `echo Q Q ROUNDS`, `ping Q Q ROUNDS` | `ok` |
//! | `at NANOSECONDS COMMAND` | runs it at that time of `CLOCK_MONOTONIC` |
//! | `both Q JSON` | opens, gets one now (the answer), puts `from-child` |
//! | `fork COMMAND` | what a forked child answers, which then drops all it inherited |
//! | `fork-in-reader Q MAX` | `ok COUNT END`: reads up to so many in place; a child is forked inside the reader |
//! | `fork-hold` | `ok PID`: a child that holds what it inherited until the test lets go of stdin |
//! | `fork-storm COUNT JSON` | `ok PID…`: such children, forked while another thread attaches and leaves |
//! | `pid` | `ok PID`: its own, as it knows it |
//! | `ls DIR`, `names DIR` | `ok COUNT`: of all entries, of possible segments |
//! | `mkdir PATH MODE`, `touch PATH MODE`, `read PATH`, `rm PATH` | `ok`, with the length read |
//! | `clean DIR`, `look DIR SEGMENT` | `ok REPORTS`, `ok RINGS` |
//! | `headers DIR SEGMENT TIMES` | `ok WHOLE REFUSED`: reads the header so often |
//! | `quit` | ends the process in order |
//!
//! Errors are `err VARIANT` with the fields, as `Debug` shows them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use ringway::queue::{
    Consumer, Lease, Producer, Queue, QueueDescriptor, Received, RecordKind, Reservation, Selector,
    Wait,
};

use crate::crash;

mod files;
mod fork;
mod marked;
mod working;

/// The state of a peer.
#[derive(Debug, Default)]
pub struct Script {
    // Dropped before the queues.
    leases: BTreeMap<u64, Lease>,
    reservations: BTreeMap<u64, Reservation>,
    producers: BTreeMap<String, Producer>,
    consumers: BTreeMap<String, Consumer>,
    queues: BTreeMap<String, (QueueDescriptor, Queue)>,
    last_id: u64,
}

type Answer = Result<String, String>;

fn err(error: impl Debug) -> String {
    format!("{error:?}").replace('\n', " ")
}

/// The words of a command.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest.trim_start();
        if word.is_empty() { Err("Usage: a word is missing".into()) } else { Ok(word) }
    }

    fn number(&mut self) -> Result<u64, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("Usage: {word} is no number"))
    }

    fn wait(&mut self) -> Result<Wait, String> {
        match self.next().unwrap_or("forever") {
            "now" => Ok(Wait::No),
            "forever" => Ok(Wait::Forever),
            ms => {
                let ms = ms.parse().map_err(|_| format!("Usage: {ms} is no time"))?;
                Ok(Wait::at_most(Duration::from_millis(ms)))
            }
        }
    }

    fn payload(&mut self) -> Result<Vec<u8>, String> {
        let word = self.next()?;
        let (text, len) = match word.split_once('*') {
            Some((text, len)) => (text, len.parse().map_err(|_| format!("Usage: {word}"))?),
            None => (word, word.len()),
        };
        let mut payload = text.as_bytes().to_vec();
        payload.resize(len, b'.');
        Ok(payload)
    }
}

/// A payload as text, without its padding.
fn text(payload: &[u8]) -> String {
    String::from_utf8_lossy(payload).trim_end_matches('.').to_owned()
}

impl Script {
    /// Runs one command, and says what to answer.
    pub fn run(&mut self, command: &str) -> String {
        let mut words = Words(command);
        let answer = words.next().and_then(|verb| self.run_verb(verb, &mut words));
        match answer {
            Ok(text) if text.is_empty() => "ok".into(),
            Ok(text) => format!("ok {text}"),
            Err(text) => format!("err {text}"),
        }
    }

    fn run_verb(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        match verb {
            "open" => self.open(words.next()?, words.0),
            "producer" | "free-producer" | "consumer" | "free-consumer" => self.role(verb, words),
            "put" | "put_many" | "reserve" | "commit" | "abandon" => self.putting(verb, words),
            "get" | "lease" | "ack" | "giveback" => self.getting(verb, words),
            "lease_many" => self.leasing_many(words),
            "hold_many" | "ack_held" => self.holding(verb, words),
            "close" | "destroy" | "trim" | "forget" | "qsize" | "in_flight" | "stats" => {
                self.asking(verb, words.next()?)
            }
            "select" => self.select(words),
            "produce" | "consume" | "echo" | "ping" => self.working(verb, words),
            "marked" => marked::run(self, words),
            "marked-route" => marked::route(self, words),
            "torment-put" | "torment-get" | "torment-route" => self.torment(verb, words),
            "die" | "pause" => {
                let point = words.next()?;
                crash::arm(point, words.number()?, verb == "die").map(|()| String::new())
            }
            "mutant" => crash::switch_on(words.next()?).map(|()| String::new()),
            "at" => {
                let start = words.number()?;
                while ringway::shm::os::monotonic_ns() < start {
                    std::hint::spin_loop();
                }
                let verb = words.next()?;
                self.run_verb(verb, words)
            }
            "fork" => fork::run_in_child(self, words.0),
            "fork-in-reader" => {
                let (name, max) = (words.next()?, words.number()?);
                fork::fork_in_reader(self, name, max as usize)
            }
            "fork-hold" => fork::hold_in_child(),
            "fork-storm" => {
                let count = words.number()?;
                fork::storm(count, words.0)
            }
            "pid" => Ok(std::process::id().to_string()),
            "both" => self.both(words),
            "ls" | "names" | "mkdir" | "touch" | "read" | "rm" | "clean" | "look" | "headers" => {
                files::run(verb, words)
            }
            "quit" => std::process::exit({
                *self = Self::default();
                0
            }),
            other => Err(format!("Usage: {other} is no command")),
        }
    }

    fn queue(&self, name: &str) -> Result<Queue, String> {
        let queue = self.queues.get(name).map(|(_, queue)| queue.clone());
        queue.ok_or_else(|| format!("Usage: {name} is not open"))
    }

    fn open(&mut self, name: &str, json: &str) -> Answer {
        let descriptor = QueueDescriptor::from_json(json).map_err(err)?;
        let queue = descriptor.queue().map_err(err)?;
        self.queues.insert(name.to_owned(), (descriptor, queue));
        Ok(String::new())
    }

    /// What a forked child does that opens the queue anew.
    fn both(&mut self, words: &mut Words<'_>) -> Answer {
        let name = words.next()?;
        self.open(name, words.0)?;
        let queue = self.queue(name)?;
        let got = queue.try_get().map_err(err)?;
        queue.put(b"from-child").map_err(err)?;
        Ok(format!("{} {}", text(&got.payload), got.delivery_count))
    }

    fn role(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        let name = words.next()?;
        let queue = self.queue(name)?;
        let ring = queue.ring().ok_or("Usage: no ring")?;
        match verb {
            "producer" => {
                self.producers.insert(name.to_owned(), ring.producer().map_err(err)?);
            }
            "consumer" => {
                self.consumers.insert(name.to_owned(), ring.consumer().map_err(err)?);
            }
            "free-producer" => drop(self.producers.remove(name)),
            _ => drop(self.consumers.remove(name)),
        }
        Ok(String::new())
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn putting(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        if let "commit" | "abandon" = verb {
            let id = words.number()?;
            let reservation = self.reservations.remove(&id).ok_or("Usage: no reservation")?;
            match words.number() {
                Ok(len) if verb == "commit" => reservation.commit_len(len as usize),
                _ if verb == "commit" => reservation.commit(),
                _ => Ok(()),
            }
            .map_err(err)?;
            return Ok(String::new());
        }
        let name = words.next()?;
        let queue = self.queue(name)?;
        let own = self.producers.get_mut(name);
        match verb {
            "put" => {
                let (payload, wait) = (words.payload()?, words.wait()?);
                match own {
                    Some(own) => own.put(RecordKind::RAW, &payload, wait),
                    None => queue.put_record(RecordKind::RAW, &payload, wait),
                }
                .map_err(err)?;
                Ok(String::new())
            }
            "put_many" => {
                let count = words.number()?;
                let stem = words.next()?;
                let wait = words.wait()?;
                let payloads: Vec<String> = (0..count).map(|i| format!("{stem}{i}")).collect();
                let slices: Vec<&[u8]> = payloads.iter().map(String::as_bytes).collect();
                match own {
                    Some(own) => {
                        if let (_, Some(error)) = own.put_many(RecordKind::RAW, &slices, wait) {
                            return Err(err(error));
                        }
                    }
                    None => queue
                        .put_records(RecordKind::RAW, &slices, wait)
                        .map_err(|error| err(error.error))?,
                }
                Ok(count.to_string())
            }
            _ => {
                let (payload, wait) = (words.payload()?, words.wait()?);
                let mut reservation =
                    queue.reserve_record(RecordKind::RAW, payload.len(), wait).map_err(err)?;
                reservation.copy_from_slice(&payload);
                let id = self.next_id();
                self.reservations.insert(id, reservation);
                Ok(id.to_string())
            }
        }
    }

    fn getting(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        if let "ack" | "giveback" = verb {
            let id = words.number()?;
            let lease = self.leases.remove(&id).ok_or("Usage: no lease")?;
            if verb == "ack" {
                lease.ack();
            }
            return Ok(String::new());
        }
        let name = words.next()?;
        let queue = self.queue(name)?;
        let wait = words.wait()?;
        let lease = match self.consumers.get_mut(name) {
            Some(own) => own.lease(wait),
            None => queue.lease_record(wait),
        }
        .map_err(err)?;
        if verb == "get" {
            let got = Received::take(lease);
            return Ok(format!("{} {}", text(&got.payload), got.delivery_count));
        }
        let answer = format!("{} {}", text(&lease), lease.delivery_count());
        let id = self.next_id();
        self.leases.insert(id, lease);
        Ok(format!("{id} {answer}"))
    }

    fn leasing_many(&mut self, words: &mut Words<'_>) -> Answer {
        let name = words.next()?;
        let queue = self.queue(name)?;
        let (max, wait) = (words.number()? as usize, words.wait()?);
        let mut leases = Vec::new();
        match self.consumers.get_mut(name) {
            Some(own) => own.lease_many(max, &mut leases, wait),
            None => queue.backend().lease_many(max, &mut leases, wait),
        }
        .map_err(err)?;
        let mut answer = (self.last_id + 1).to_string();
        for lease in leases {
            answer += &format!(" {} {}", text(&lease), lease.delivery_count());
            let id = self.next_id();
            self.leases.insert(id, lease);
        }
        Ok(answer)
    }

    fn holding(&mut self, verb: &str, words: &mut Words<'_>) -> Answer {
        let own = self.consumers.get_mut(words.next()?).ok_or("Usage: no owned handle")?;
        if verb == "ack_held" {
            own.ack_held();
            return Ok(String::new());
        }
        own.hold_many(words.number()? as usize, words.wait()?).map_err(err)?;
        let held = own.held_records();
        let held = held.map(|(bytes, info)| format!("{} {}", text(bytes), info.delivery_count));
        Ok(held.collect::<Vec<_>>().join(" "))
    }

    fn select(&mut self, words: &mut Words<'_>) -> Answer {
        let wait = words.wait()?;
        let mut names = Vec::new();
        while let Ok(name) = words.next() {
            names.push(name);
        }
        let queues: Result<Vec<Queue>, String> =
            names.iter().map(|name| self.queue(name)).collect();
        let (index, lease) = Selector::new(queues?).lease(wait).map_err(err)?;
        let got = Received::take(lease);
        Ok(format!("{} {} {}", names[index], text(&got.payload), got.delivery_count))
    }

    fn asking(&mut self, verb: &str, name: &str) -> Answer {
        let queue = self.queue(name)?;
        match verb {
            "close" => queue.close().map_err(err)?,
            "destroy" => queue.destroy().map_err(err)?,
            "trim" => {
                let (descriptor, _) = self.queues.get(name).ok_or("Usage: not open")?;
                descriptor.clear_cache();
                let descriptor = descriptor.clone();
                let queue = descriptor.queue().map_err(err)?;
                self.queues.insert(name.to_owned(), (descriptor, queue));
            }
            "forget" => {
                self.producers.remove(name);
                self.consumers.remove(name);
                self.queues.remove(name);
            }
            "qsize" => return Ok(queue.qsize().to_string()),
            "in_flight" => return Ok(queue.in_flight().to_string()),
            _ => return serde_json::to_string(&queue.stats()).map_err(err),
        }
        Ok(String::new())
    }
}
