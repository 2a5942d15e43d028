//! The account: what all processes wrote down about one ring, put side by side.
//!
//! What must hold in the end, whoever was killed when:
//!
//! - of each producer a run of packets 0, 1, 2, … arrives, at least as long as the puts that
//!   returned, and longer by no more than the one put that was under way;
//! - whoever was killed may have acknowledged the packet that it was just about to, but not where the
//!   crash point says that it did not; every other packet was acknowledged by somebody;
//! - no packet arrives twice without being flagged, and delivery counts never count too few;
//! - an acknowledged packet does not come back;
//! - each consumer sees the unflagged packets of one producer in order; so do, of a single-consumer
//!   ring, all its consumers together.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::Path;

use crate::accounting::{EMPTY, Event, read_log};

/// Descriptions of what is wrong that are kept.
const EXAMPLES: usize = 20;

/// What all processes together have written down about one ring.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Only one process at a time consumed, in the order in which the logs were added.
    one_consumer: bool,
    /// For each producer: how many packets its returned puts put.
    put: BTreeMap<u64, u64>,
    empties: Empties,
    deliveries: Vec<Delivery>,
    /// For each log: whether its process ended in order.
    ended: Vec<bool>,
    /// Where the next unflagged packet of a producer must be, across logs.
    last_fresh: HashMap<u64, u64>,
    verdict: Verdict,
}

/// One line of a consumer's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delivery {
    producer: u64,
    number: u64,
    count: u32,
    log: u32,
    acked: bool,
    /// Its holder was about to acknowledge it, and nobody knows whether it did.
    acking: bool,
}

/// Packets of 0 bytes cannot be told apart.
#[derive(Debug, Default)]
struct Empties {
    put: u64,
    acked: u64,
    acking: u64,
    fresh: u64,
    again: u64,
}

/// What a run came to, and what was wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Packets whose put returned.
    pub committed: u64,
    /// Different packets received.
    pub delivered: u64,
    /// Packets received whose put never returned, since its producer was killed.
    pub uncertain: u64,
    /// Flagged deliveries.
    pub redelivered: u64,
    /// Packets whose put returned that nobody received, or that went with their last holder.
    pub lost: u64,
    /// Packets that nobody can have put.
    pub invented: u64,
    /// Packets delivered more than once without a flag, or twice under one count.
    pub unflagged_duplicates: u64,
    /// Packets delivered after they were acknowledged, or acknowledged twice.
    pub acked_redelivered: u64,
    /// Unflagged packets behind later ones of their producer.
    pub out_of_order: u64,
    /// Some of what is wrong, in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Says whether nothing is wrong.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.lost
            + self.invented
            + self.unflagged_duplicates
            + self.acked_redelivered
            + self.out_of_order
            == 0
    }

    /// Adds another ring's.
    pub fn add(&mut self, other: Self) {
        self.committed += other.committed;
        self.delivered += other.delivered;
        self.uncertain += other.uncertain;
        self.redelivered += other.redelivered;
        self.lost += other.lost;
        self.invented += other.invented;
        self.unflagged_duplicates += other.unflagged_duplicates;
        self.acked_redelivered += other.acked_redelivered;
        self.out_of_order += other.out_of_order;
        let room = EXAMPLES.saturating_sub(self.examples.len());
        self.examples.extend(other.examples.into_iter().take(room));
    }

    fn wrong(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }
}

impl Ledger {
    /// Reads all logs of a directory, in the order of the number after the last `-` of their names.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn read(logs: &Path) -> io::Result<Self> {
        Self::read_as(logs, false)
    }

    /// As [`Ledger::read`], of a ring whose consumers were there one after the other.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn read_of_one_consumer(logs: &Path) -> io::Result<Self> {
        Self::read_as(logs, true)
    }

    fn read_as(logs: &Path, one_consumer: bool) -> io::Result<Self> {
        let mut ledger = Self { one_consumer, ..Self::default() };
        let mut paths = Vec::new();
        for entry in fs::read_dir(logs)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let number = name.rsplit('-').next().and_then(|number| number.parse::<u64>().ok());
            paths.push((number, path));
        }
        paths.sort();
        for (_, path) in paths {
            ledger.add(&path.display().to_string(), read_log(&path)?);
        }
        Ok(ledger)
    }

    /// Adds the events of one process.
    pub fn add(&mut self, process: &str, events: Vec<Event>) {
        let log = self.ended.len() as u32;
        self.ended.push(events.contains(&Event::Ended));
        if !self.one_consumer {
            self.last_fresh.clear();
        }
        // What was received here and not acknowledged yet.
        let mut open: HashMap<(u64, u64, u32), usize> = HashMap::new();
        // What it was about to acknowledge, in that order.
        let mut about_to: Vec<(u64, u64, u32)> = Vec::new();
        for event in events {
            match event {
                Event::Put { producer: EMPTY, .. } => self.empties.put += 1,
                Event::Put { producer, number } => {
                    let put = self.put.entry(producer).or_default();
                    *put = (*put).max(number + 1);
                }
                Event::Received { producer: EMPTY, count, .. } => {
                    self.empties.fresh += u64::from(count == 1);
                    self.empties.again += u64::from(count != 1);
                }
                Event::Acking { producer, number, count } => {
                    about_to.push((producer, number, count));
                }
                // Of several it died at any: the last is not acknowledged, or the first one is.
                Event::Died { acked: false } => {
                    about_to.pop();
                }
                Event::Died { acked: true } => {
                    let acked = (!about_to.is_empty()).then(|| about_to.remove(0));
                    self.acked(process, &mut open, acked.unwrap_or_default());
                }
                Event::Acked { producer, number, count } => {
                    let packet = (producer, number, count);
                    if let Some(place) = about_to.iter().position(|&other| other == packet) {
                        about_to.remove(place);
                    }
                    self.acked(process, &mut open, (producer, number, count));
                }
                Event::Received { producer, number, count } => {
                    let before =
                        (count == 1).then(|| self.last_fresh.insert(producer, number)).flatten();
                    // Once more without a flag is another fault than an earlier one after a later.
                    if before.is_some_and(|before| before > number) {
                        self.verdict.out_of_order += 1;
                        self.verdict.wrong(|| {
                            format!("{process}: packet {number} of {producer} came out of order")
                        });
                    }
                    open.insert((producer, number, count), self.deliveries.len());
                    let (acked, acking) = (false, false);
                    self.deliveries.push(Delivery { producer, number, count, log, acked, acking });
                }
                Event::Ended => {}
            }
        }
        for packet in about_to {
            if packet.0 == EMPTY {
                self.empties.acking += 1;
            } else if let Some(&index) = open.get(&packet) {
                self.deliveries[index].acking = true;
            }
        }
    }

    /// Notes an acknowledgement by `process`, of what it received and has `open`.
    fn acked(
        &mut self,
        process: &str,
        open: &mut HashMap<(u64, u64, u32), usize>,
        packet: (u64, u64, u32),
    ) {
        let (producer, number, _) = packet;
        if producer == EMPTY {
            self.empties.acked += 1;
        } else if let Some(index) = open.remove(&packet) {
            self.deliveries[index].acked = true;
        } else {
            self.verdict.acked_redelivered += 1;
            self.verdict
                .wrong(|| format!("{process}: packet {number} of {producer} acknowledged twice"));
        }
    }

    /// Settles the account; `batch` is the most packets that one put puts.
    #[must_use]
    pub fn settle(mut self, batch: u64) -> Verdict {
        self.deliveries.sort_unstable();
        let mut verdict = std::mem::take(&mut self.verdict);
        let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for packet in
            self.deliveries.chunk_by(|a, b| (a.producer, a.number) == (b.producer, b.number))
        {
            let (producer, number) = (packet[0].producer, packet[0].number);
            numbers.entry(producer).or_default().push(number);
            verdict.delivered += 1;
            verdict.redelivered +=
                packet.iter().filter(|delivery| delivery.count > 1).count() as u64;
            let mut wrong = None;
            if packet.windows(2).any(|pair| pair[0].count == pair[1].count) {
                verdict.unflagged_duplicates += 1;
                wrong = Some("delivered twice under one count");
            } else if packet[..packet.len() - 1].iter().any(|delivery| delivery.acked) {
                verdict.acked_redelivered += 1;
                wrong = Some("came back after it was acknowledged");
            } else if let Delivery { log, acked: false, acking, .. } = packet[packet.len() - 1]
                && (!acking || self.ended[log as usize])
            {
                verdict.lost += 1;
                wrong = Some("went with its last holder");
            }
            if let Some(what) = wrong {
                verdict.wrong(|| format!("packet {number} of {producer} {what}: {packet:?}"));
            }
        }
        for (producer, put) in &self.put {
            numbers.entry(*producer).or_default();
            verdict.committed += put;
        }
        for (producer, numbers) in numbers {
            let put = self.put.get(&producer).copied().unwrap_or(0);
            let arrived = numbers.iter().filter(|number| **number < put).count() as u64;
            if arrived < put {
                verdict.lost += put - arrived;
                let missing = (0..).zip(&numbers).find(|(i, number)| i != *number);
                let missing = missing.map_or(numbers.len() as u64, |(i, _)| i);
                verdict.wrong(|| {
                    format!("producer {producer}: {put} were put, {arrived} of them arrived, not {missing}")
                });
            }
            // What was under way: the next ones, without a gap.
            let beyond = &numbers[arrived as usize..];
            verdict.uncertain += beyond.len() as u64;
            if beyond.len() as u64 > batch || (put..).zip(beyond).any(|(i, number)| i != *number) {
                verdict.invented += 1;
                verdict.wrong(|| {
                    let some = &beyond[..beyond.len().min(5)];
                    format!("producer {producer}: {put} were put, but {some:?}… arrived")
                });
            }
        }
        self.settle_empties(&mut verdict);
        verdict
    }

    /// A killed process may have put one more than it wrote down, and acknowledged the one that it was
    /// about to.
    fn settle_empties(&self, verdict: &mut Verdict) {
        let killed = self.ended.iter().filter(|ended| !**ended).count() as u64;
        let Empties { put, acked, acking, fresh, again } = self.empties;
        verdict.committed += put;
        verdict.delivered += acked;
        verdict.redelivered += again;
        verdict.lost += put.saturating_sub(acked + acking).max(put.saturating_sub(fresh + again));
        verdict.invented += acked.saturating_sub(put + killed);
        verdict.unflagged_duplicates += fresh.saturating_sub(put + killed);
        let wrong = acked + acking < put || fresh + again < put || fresh.max(acked) > put + killed;
        if wrong {
            verdict.wrong(|| {
                format!("of packets without bytes, {:?} with {killed} killed", self.empties)
            });
        }
    }

    /// Checks everything; `batch` is the most packets that one put puts.
    ///
    /// # Errors
    /// Some of what is wrong.
    pub fn check(self, batch: u64) -> Result<Verdict, Vec<String>> {
        let verdict = self.settle(batch);
        if verdict.is_right() { Ok(verdict) } else { Err(verdict.examples) }
    }
}

#[cfg(test)]
#[path = "ledger_tests.rs"]
mod tests;
