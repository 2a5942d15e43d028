//! How large the ring is.

use serde::{Deserialize, Serialize};

use crate::error::{BenchError, Result};

/// Data region that the default capacity keeps within, in bytes: two such rings fit into the 64 MiB
/// of `/dev/shm` that a container gets, and a longer one measures worse: what is written was out of the caches.
const DEFAULT_DATA_BYTES: usize = 8 << 20;
/// Default capacity of small packets.
const DEFAULT_CAPACITY: usize = 4096;
/// Least and greatest capacity that may be asked for.
const CAPACITY: std::ops::RangeInclusive<usize> = 1..=1 << 20;
/// Every part of a ring is a multiple of this.
const PAGE_BYTES: usize = 4096;
/// Room of a packet is a multiple of this.
const UNIT_BYTES: usize = 64;
/// A ring has a power of two of entries, at least these.
const LEAST_ENTRIES: usize = 8;
/// The longest payload is this part of the data region.
const PARTS: usize = 4;

/// A ring's measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RingSize {
    /// Packets that may wait.
    pub(crate) capacity_packets: usize,
    /// Bytes of its data region.
    pub(crate) data_bytes: usize,
}

impl RingSize {
    /// Makes a ring for payloads of this length: with the default capacity, and the data region that
    /// the capacity needs, unless told otherwise.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit, with the longest that does.
    pub(crate) fn new(
        payload: usize,
        capacity: Option<usize>,
        data_bytes: Option<usize>,
    ) -> Result<Self> {
        let too_large =
            || BenchError::Usage(format!("a ring for payloads of {payload} bytes is out of reach"));
        let room = payload.max(1).checked_next_multiple_of(UNIT_BYTES).ok_or_else(too_large)?;
        let capacity_packets = capacity.unwrap_or_else(|| default_capacity(room));
        if !CAPACITY.contains(&capacity_packets) {
            return Err(BenchError::Usage(format!(
                "--capacity {capacity_packets}: a ring holds from {} to {} packets",
                CAPACITY.start(),
                CAPACITY.end()
            )));
        }
        // As the ring rounds it, so that each packet takes one unit of the data region.
        let entries = capacity_packets.max(LEAST_ENTRIES).next_power_of_two();
        let needed = room.checked_mul(entries).ok_or_else(too_large)?;
        let data_bytes = data_bytes.unwrap_or(needed);
        let data_bytes = data_bytes
            .max(1)
            .checked_next_multiple_of(PAGE_BYTES)
            .filter(|bytes| isize::try_from(*bytes).is_ok_and(|bytes| bytes < isize::MAX / 4))
            .ok_or_else(too_large)?;
        let max = data_bytes / PARTS;
        if payload > max {
            return Err(BenchError::Usage(format!(
                "a payload of {payload} bytes does not fit: the longest is {max}, a quarter of the \
                 ring's data region of {data_bytes} bytes (see --data-bytes)"
            )));
        }
        Ok(Self { capacity_packets, data_bytes })
    }
}

/// Packets of so many bytes that a ring holds by default, and a rival's buffers.
pub(crate) fn default_capacity(room: usize) -> usize {
    let fitting = (DEFAULT_DATA_BYTES / room).clamp(8, DEFAULT_CAPACITY);
    1 << fitting.ilog2()
}

/// Parses a number of bytes: `4096`, `4k`, `4KiB`, `1m`, `1MiB`, `1g`; the units are powers of 1024.
///
/// # Errors
/// A text that says what is understood.
pub(crate) fn parse_bytes(text: &str) -> std::result::Result<usize, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("use bytes, or KiB, MiB, GiB: 32, 4KiB, 1MiB".into()),
    };
    let number: usize = number.parse().map_err(|_| "a number of bytes is wanted: 32, 4KiB")?;
    number.checked_mul(1 << shift).ok_or_else(|| "too many bytes".into())
}

#[cfg(test)]
mod tests {
    use super::{RingSize, parse_bytes};

    #[test]
    fn defaults_hold_8_mib_at_most_and_8_packets_at_least() {
        let size = |payload| RingSize::new(payload, None, None).unwrap();
        assert_eq!(size(0).capacity_packets, 4096);
        assert_eq!(size(32).data_bytes, 4096 * 64);
        assert_eq!(size(2048).capacity_packets, 4096);
        assert_eq!(size(4096).capacity_packets, 2048);
        assert_eq!(size(1 << 20).capacity_packets, 8);
        assert_eq!(RingSize::new(1024, Some(100), None).unwrap().data_bytes, 128 * 1024);
        assert_eq!(size(64 << 20).capacity_packets, 8);
    }

    #[test]
    fn a_payload_beyond_a_quarter_is_refused_with_the_maximum() {
        let error = RingSize::new(5000, Some(16), Some(16384)).unwrap_err().to_string();
        assert!(error.contains("5000") && error.contains("4096"), "{error}");
        assert!(RingSize::new(4096, Some(16), Some(16384)).is_ok());
        assert!(RingSize::new(usize::MAX, None, None).is_err());
        assert!(RingSize::new(usize::MAX / 2, None, None).is_err());
        assert!(RingSize::new(32, Some(0), None).is_err());
    }

    #[test]
    fn bytes_are_read_with_and_without_units() {
        assert_eq!(parse_bytes("32"), Ok(32));
        assert_eq!(parse_bytes("4k"), Ok(4096));
        assert_eq!(parse_bytes("1MiB"), Ok(1 << 20));
        assert!(parse_bytes("4 furlongs").is_err());
        assert!(parse_bytes("k").is_err());
        assert!(parse_bytes("-1").is_err());
        assert!(parse_bytes("99999999999999999g").is_err());
    }
}
