//! Numbered, checksummed packets, what became of them, and whether that is right.
//!
//! Every incarnation of a producer has a number of its own and counts its packets from 0. It writes
//! down how many puts have *returned*; every incarnation of a consumer writes down what it received
//! *before* it acknowledges, and that it acknowledged *afterwards*. The logs are plain files, one
//! `write(2)` an entry, so they survive SIGKILL. What must hold in the end, whoever was killed when:
//!
//! - of each producer a run of packets 0, 1, 2, … arrives, at least as long as the puts that
//!   returned, and longer by no more than the one put that was under way;
//! - no packet arrives twice without being flagged, and delivery counts never count too few;
//! - an acknowledged packet does not come back;
//! - each consumer sees the unflagged packets of one producer in order.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64;

use crate::random::{Random, mix};

/// Bytes of a packet before its body: producer, number, checksum.
pub const HEADER_BYTES: usize = 24;

/// Longest packet there is.
pub const MOST_BYTES: usize = 1 << 20;

/// What bodies are cut from: cheap to copy, and different everywhere.
static NOISE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(7);
    (0..MOST_BYTES / 8).flat_map(|_| random.next_u64().to_le_bytes()).collect()
});

/// Writes packet `number` of `producer` into `out`, which it replaces; `most` bounds its length.
pub fn fill(out: &mut Vec<u8>, producer: u64, number: u64, most: usize) {
    let seed = mix(producer.wrapping_mul(0x1_0000_0001) ^ mix(number));
    // Half of them fit an entry, the others are spread over all lengths.
    let most = most.min(MOST_BYTES);
    let room = if seed & 1 == 0 { most.min(48) } else { most };
    fill_len(out, producer, number, (seed >> 1) as usize % (room + 1));
}

/// As [`fill`], with a packet of `len` bytes; at least [`HEADER_BYTES`], at most [`MOST_BYTES`].
pub fn fill_len(out: &mut Vec<u8>, producer: u64, number: u64, len: usize) {
    out.clear();
    out.extend(producer.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.extend([0; 8]);
    let body = len.clamp(HEADER_BYTES, MOST_BYTES) - HEADER_BYTES;
    let start = mix(producer ^ mix(number)) as usize % (MOST_BYTES - body);
    out.extend_from_slice(&NOISE[start..start + body]);
    let check = xxh3_64(out);
    out[16..24].copy_from_slice(&check.to_le_bytes());
}

/// Says which packet this is: producer and number.
///
/// # Errors
/// What is wrong with its bytes.
pub fn check(payload: &[u8]) -> Result<(u64, u64), String> {
    if payload.len() < HEADER_BYTES {
        return Err(format!("{} bytes are no packet", payload.len()));
    }
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&payload[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    let mut zeroed = payload.to_vec();
    zeroed[16..24].fill(0);
    if xxh3_64(&zeroed) != word(16) {
        return Err(format!("packet {} of producer {} is torn", word(8), word(0)));
    }
    Ok((word(0), word(8)))
}

/// What a process writes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A put returned: all packets of this producer up to and including `number` were put.
    Put {
        /// The producer.
        producer: u64,
        /// Its packet.
        number: u64,
    },
    /// A packet was delivered for the `count`th time.
    Received {
        /// Its producer.
        producer: u64,
        /// Its number.
        number: u64,
        /// Its delivery count.
        count: u32,
    },
    /// That delivery was acknowledged.
    Acked {
        /// Its producer.
        producer: u64,
        /// Its number.
        number: u64,
        /// Its delivery count.
        count: u32,
    },
}

/// Divides the page size, so that no entry is torn by a SIGKILL between two pages.
const ENTRY_BYTES: usize = 32;

impl Event {
    fn pack(self) -> [u8; ENTRY_BYTES] {
        let (kind, producer, number, count) = match self {
            Self::Put { producer, number } => (1, producer, number, 0),
            Self::Received { producer, number, count } => (2, producer, number, count),
            Self::Acked { producer, number, count } => (3, producer, number, count),
        };
        let mut entry = [0; ENTRY_BYTES];
        for (slot, word) in entry.chunks_exact_mut(8).zip([kind, producer, number, count.into()]) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        entry
    }

    fn unpack(entry: &[u8]) -> Option<Self> {
        let word = |i: usize| {
            let bytes = entry.get(8 * i..8 * i + 8)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let (producer, number, count) = (word(1)?, word(2)?, word(3)? as u32);
        match word(0)? {
            1 => Some(Self::Put { producer, number }),
            2 => Some(Self::Received { producer, number, count }),
            3 => Some(Self::Acked { producer, number, count }),
            _ => None,
        }
    }
}

/// The log of one process.
#[derive(Debug)]
pub struct Log(File);

impl Log {
    /// Makes a new file.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::options().append(true).create_new(true).open(path).map(Self)
    }

    /// Writes an event down.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&mut self, event: Event) -> io::Result<()> {
        self.0.write_all(&event.pack())
    }
}

/// Reads a log.
///
/// # Errors
/// Where the file cannot be read, or is no log.
pub fn read_log(path: &Path) -> io::Result<Vec<Event>> {
    let bytes = fs::read(path)?;
    let entries = bytes.chunks(ENTRY_BYTES);
    entries
        .map(|entry| {
            Event::unpack(entry)
                .ok_or_else(|| io::Error::other(format!("{} is no log", path.display())))
        })
        .collect()
}

/// What all processes together have written down.
#[derive(Debug, Default)]
pub struct Ledger {
    /// For each producer: how many packets its returned puts put.
    put: BTreeMap<u64, u64>,
    packets: BTreeMap<(u64, u64), Deliveries>,
    /// What is wrong already.
    wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Deliveries {
    received: Vec<u32>,
    acked: Vec<u32>,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Packets whose put returned.
    pub put: u64,
    /// Different packets received.
    pub received: u64,
    /// Deliveries beyond the first of each packet.
    pub again: u64,
    /// Packets received whose put never returned, since its producer was killed.
    pub unreturned: u64,
}

impl Ledger {
    /// Reads all logs of a directory.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub fn read(logs: &Path) -> io::Result<Self> {
        let mut ledger = Self::default();
        for entry in fs::read_dir(logs)? {
            let path = entry?.path();
            ledger.add(&path.display().to_string(), read_log(&path)?);
        }
        Ok(ledger)
    }

    /// Adds the events of one process.
    pub fn add(&mut self, process: &str, events: Vec<Event>) {
        let mut last = BTreeMap::new();
        for event in events {
            match event {
                Event::Put { producer, number } => {
                    let put = self.put.entry(producer).or_default();
                    *put = (*put).max(number + 1);
                }
                Event::Received { producer, number, count } => {
                    if count == 1
                        && last.insert(producer, number).is_some_and(|before| before >= number)
                    {
                        self.wrong.push(format!(
                            "{process}: packet {number} of {producer} came out of order"
                        ));
                    }
                    self.packets.entry((producer, number)).or_default().received.push(count);
                }
                Event::Acked { producer, number, count } => {
                    self.packets.entry((producer, number)).or_default().acked.push(count);
                }
            }
        }
    }

    /// Checks everything; `batch` is the most packets that one put puts.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(mut self, batch: u64) -> Result<Summary, Vec<String>> {
        let mut summary = Summary::default();
        let mut numbers: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for ((producer, number), deliveries) in &mut self.packets {
            numbers.entry(*producer).or_default().push(*number);
            summary.received += 1;
            summary.again += deliveries.received.len().saturating_sub(1) as u64;
            if let Err(what) = deliveries.check() {
                self.wrong.push(format!("packet {number} of {producer}: {what}: {deliveries:?}"));
            }
        }
        for (producer, put) in &self.put {
            numbers.entry(*producer).or_default();
            summary.put += put;
        }
        for (producer, numbers) in numbers {
            let put = self.put.get(&producer).copied().unwrap_or(0);
            let got = numbers.len() as u64;
            if let Some(missing) = (0..got).find(|&i| numbers[i as usize] != i) {
                self.wrong.push(format!("producer {producer}: packet {missing} is missing"));
            }
            if got < put {
                self.wrong.push(format!("producer {producer}: {put} were put, {got} arrived"));
            }
            if got > put + batch {
                self.wrong.push(format!("producer {producer}: {got} arrived, only {put} were put"));
            }
            summary.unreturned += got.saturating_sub(put);
        }
        if self.wrong.is_empty() { Ok(summary) } else { Err(self.wrong) }
    }
}

impl Deliveries {
    fn check(&mut self) -> Result<(), &'static str> {
        self.received.sort_unstable();
        if self.received.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("delivered twice under one count");
        }
        // Sorted and different: the count of the i-th delivery is at least i.
        match self.acked.as_slice() {
            [] => Ok(()),
            [acked] if self.received.last() == Some(acked) => Ok(()),
            [_] => Err("came back after it was acknowledged"),
            _ => Err("acknowledged twice"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(consumers: &[&[Event]]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.add("p", vec![Event::Put { producer: 1, number: 1 }]);
        for events in consumers {
            ledger.add("c", events.to_vec());
        }
        ledger
    }

    fn received(number: u64, count: u32) -> Event {
        Event::Received { producer: 1, number, count }
    }

    fn acked(number: u64, count: u32) -> Event {
        Event::Acked { producer: 1, number, count }
    }

    #[test]
    fn a_packet_survives_and_a_torn_one_is_noticed() {
        let mut packet = Vec::new();
        for number in 0..200 {
            fill(&mut packet, 7, number, 1000);
            assert_eq!(check(&packet), Ok((7, number)));
            let last = packet.len() - 1;
            packet[last] ^= 1;
            assert!(check(&packet).is_err());
        }
    }

    #[test]
    fn what_is_right_is_accepted() {
        let fine = ledger(&[&[received(0, 1), acked(0, 1), received(1, 1)], &[received(1, 2)]]);
        let summary = fine.check(1).unwrap();
        assert_eq!((summary.put, summary.received, summary.again), (2, 2, 1));
        let tail = ledger(&[&[received(0, 1), received(1, 1), received(2, 1)]]);
        assert_eq!(tail.check(1).unwrap().unreturned, 1);
    }

    #[test]
    fn whatever_is_wrong_is_noticed() {
        let wrong: [&[&[Event]]; 6] = [
            &[&[received(0, 1)]],
            &[&[received(0, 1), received(1, 1), received(2, 1), received(3, 1)]],
            &[&[received(0, 1), received(1, 1)], &[received(1, 1)]],
            &[&[received(0, 1), acked(0, 1), received(1, 1)], &[received(0, 2)]],
            &[&[received(1, 1), received(0, 1)]],
            &[&[received(0, 1), received(2, 1)]],
        ];
        for consumers in wrong {
            assert!(ledger(consumers).check(1).is_err(), "{consumers:?}");
        }
    }
}
