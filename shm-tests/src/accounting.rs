//! Numbered, checksummed packets, and what processes write down about them.
//!
//! Every incarnation of a producer has a number of its own and counts its packets from 0. It writes
//! down how many puts have *returned*; every incarnation of a consumer writes down what it received,
//! what it is about to acknowledge, and *afterwards* that it did. The logs are plain files, one
//! `write(2)` an entry, so they survive SIGKILL. `ledger` says whether what they say is right.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::LazyLock;

use xxhash_rust::xxh3::xxh3_64;

use crate::random::{Random, mix};

/// Bytes of a packet before its body: producer, number, checksum.
pub const HEADER_BYTES: usize = 24;

/// The producer of packets of 0 bytes, which carry no number: they are only counted.
pub const EMPTY: u64 = u64::MAX;

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

/// Says which packet this is: producer and number; one of no bytes is nobody's ([`EMPTY`]).
///
/// # Errors
/// What is wrong with its bytes.
pub fn check(payload: &[u8]) -> Result<(u64, u64), String> {
    if payload.is_empty() {
        return Ok((EMPTY, 0));
    }
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
    /// A put returned: all packets of this producer up to and including `number` were put. For
    /// [`EMPTY`], one more was put.
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
    /// That delivery is about to be acknowledged: from here on nobody can tell whether it was, until
    /// the next event. Several of them in a row are acknowledged in this order.
    Acking {
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
    /// The process ended its work in order: it was not killed.
    Ended,
    /// Written by whoever saw the process die, at a crash point of the acknowledgement that it had
    /// begun: behind the stamp that makes it one, or in front.
    Died {
        /// What it was about to acknowledge is acknowledged.
        acked: bool,
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
            Self::Ended => (4, 0, 0, 0),
            Self::Acking { producer, number, count } => (5, producer, number, count),
            Self::Died { acked } => (6, 0, u64::from(acked), 0),
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
            4 => Some(Self::Ended),
            5 => Some(Self::Acking { producer, number, count }),
            6 => Some(Self::Died { acked: number != 0 }),
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

    /// Opens the log of a process that is dead, to add what is known of its death.
    ///
    /// # Errors
    /// What the system says.
    pub fn of_the_dead(path: &Path) -> io::Result<Self> {
        File::options().append(true).open(path).map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(check(&[]), Ok((EMPTY, 0)));
    }
}
