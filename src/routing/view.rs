//! A packet that borrows its parts: the wire form of packets is written and read here.
//!
//! ```text
//! version 1 │ flags 1 │ [timestamp 8] │ [input index] │ [strategy 1] │ [provenance] │ [key] │ payload …
//! ```
//!
//! A flag says which of the bracketed parts follow; the payload is the rest of the record.

use serde::Deserialize;

use super::key::KeyRef;
use super::packet::decode_payload;
use super::wire::{Count, Cursor, Reader, Sink, WIRE_VERSION, WireError};
use super::{InstanceId, Packet, PartitionStrategy, Provenance};

const HAS_TIMESTAMP: u8 = 1 << 0;
const HAS_INPUT_INDEX: u8 = 1 << 1;
const HAS_STRATEGY: u8 = 1 << 2;
const HAS_PROVENANCE: u8 = 1 << 3;
const HAS_KEY: u8 = 1 << 4;
const KNOWN_FLAGS: u8 = (1 << 5) - 1;

/// Where a packet comes from; borrows the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProvenanceRef<'a> {
    /// Name of the task that sent it.
    pub upstream_task: &'a str,
    /// Which of the task's instances.
    pub upstream_index: u32,
    /// The sender's own count of its packets.
    pub sequence: u64,
}

impl ProvenanceRef<'_> {
    /// Copies it.
    #[must_use]
    pub fn to_provenance(&self) -> Provenance {
        Provenance {
            upstream: InstanceId::new(self.upstream_task, self.upstream_index),
            sequence: self.sequence,
        }
    }
}

impl<'a> From<&'a Provenance> for ProvenanceRef<'a> {
    fn from(provenance: &'a Provenance) -> Self {
        Self {
            upstream_task: &provenance.upstream.task,
            upstream_index: provenance.upstream.index,
            sequence: provenance.sequence,
        }
    }
}

/// A packet that borrows payload, key and names: from a [`Packet`], or straight from the bytes of a
/// lease. Neither making, reading nor writing one allocates.
///
/// The fields mean what those of [`Packet`] mean.
#[derive(Clone, Copy, Debug)]
pub struct PacketRef<'a> {
    /// The bytes that the receiver gets.
    pub payload: &'a [u8],
    /// Which of the receiver's inputs it is for.
    pub input_index: u32,
    /// What it is partitioned by.
    pub partition_key: Option<KeyRef<'a>>,
    /// How the router is to pick targets for this packet.
    pub partition_strategy: Option<PartitionStrategy>,
    /// When it was made: nanoseconds of wall-clock time since 1970. 0 for unknown.
    pub timestamp_ns: u64,
    /// Where it comes from.
    pub provenance: Option<ProvenanceRef<'a>>,
}

impl<'a> PacketRef<'a> {
    /// Makes a packet of `payload`, of unknown time, for input 0, without a key.
    #[must_use]
    pub fn new(payload: &'a [u8]) -> Self {
        Self {
            payload,
            input_index: 0,
            partition_key: None,
            partition_strategy: None,
            timestamp_ns: 0,
            provenance: None,
        }
    }

    /// Says whether the packet has a key; an empty one counts.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.partition_key.is_some()
    }

    /// Reads the payload as the value that [`Packet::of`] was given; texts and bytes in it may
    /// borrow from the record.
    ///
    /// # Errors
    /// [`WireError::Payload`] where it is another, [`WireError::Trailing`] where it is longer.
    pub fn decode_payload<T: Deserialize<'a>>(&self) -> Result<T, WireError> {
        decode_payload(self.payload)
    }

    /// Copies it.
    ///
    /// # Errors
    /// A [`WireError`] where a peer changed the key's bytes after they were decoded.
    pub fn to_packet(&self) -> Result<Packet, WireError> {
        Ok(Packet {
            payload: self.payload.to_vec(),
            input_index: self.input_index,
            partition_key: self.partition_key.map(|key| key.to_key()).transpose()?,
            partition_strategy: self.partition_strategy,
            timestamp_ns: self.timestamp_ns,
            provenance: self.provenance.map(|provenance| provenance.to_provenance()),
        })
    }

    /// Length of the wire form, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len_for(self.input_index)
    }

    /// Writes the wire form to the front of `buffer`, and says how many bytes it has.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`] (the buffer then holds a part); [`WireError::KeyTooDeep`].
    pub fn encode_into(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        self.check()?;
        self.encode_for(self.input_index, buffer)
    }

    /// Says whether the packet can be put on the wire.
    pub(super) fn check(&self) -> Result<(), WireError> {
        self.partition_key.map_or(Ok(()), |key| key.check())
    }

    /// Length of the wire form with another input index.
    pub(super) fn encoded_len_for(&self, input_index: u32) -> usize {
        let mut count = Count(self.payload.len());
        self.write_header(input_index, &mut count);
        count.0
    }

    /// Writes the wire form with another input index.
    #[inline]
    pub(super) fn encode_for(
        &self,
        input_index: u32,
        buffer: &mut [u8],
    ) -> Result<usize, WireError> {
        let mut cursor = Cursor::new(buffer);
        self.write_header(input_index, &mut cursor);
        cursor.put(self.payload);
        cursor.finish()
    }

    #[inline]
    fn write_header(&self, input_index: u32, sink: &mut impl Sink) {
        let mut flags = 0;
        for (present, flag) in [
            (self.timestamp_ns != 0, HAS_TIMESTAMP),
            (input_index != 0, HAS_INPUT_INDEX),
            (self.partition_strategy.is_some(), HAS_STRATEGY),
            (self.provenance.is_some(), HAS_PROVENANCE),
            (self.partition_key.is_some(), HAS_KEY),
        ] {
            if present {
                flags |= flag;
            }
        }
        sink.put(&[WIRE_VERSION, flags]);
        if self.timestamp_ns != 0 {
            sink.put(&self.timestamp_ns.to_le_bytes());
        }
        if input_index != 0 {
            sink.put_number(input_index.into());
        }
        if let Some(strategy) = self.partition_strategy {
            sink.put(&[strategy.code()]);
        }
        if let Some(provenance) = self.provenance {
            sink.put_number(provenance.sequence);
            sink.put_number(provenance.upstream_index.into());
            sink.put_bytes(provenance.upstream_task.as_bytes());
        }
        if let Some(key) = self.partition_key {
            key.write(sink);
        }
    }

    /// Reads a packet in place.
    ///
    /// # Errors
    /// A [`WireError`] where the bytes are no packet. Any bytes may be given.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let flags = reader.flags(KNOWN_FLAGS)?;
        let has = |flag| flags & flag != 0;
        let mut packet = Self::new(&[]);
        if has(HAS_TIMESTAMP) {
            packet.timestamp_ns = reader.u64_le("timestamp")?;
        }
        if has(HAS_INPUT_INDEX) {
            packet.input_index = reader.number_u32("input index")?;
        }
        if has(HAS_STRATEGY) {
            let code = reader.byte("strategy")?;
            let strategy = PartitionStrategy::from_code(code);
            packet.partition_strategy = Some(strategy.ok_or(WireError::UnknownStrategy { code })?);
        }
        if has(HAS_PROVENANCE) {
            packet.provenance = Some(ProvenanceRef {
                sequence: reader.number("sequence")?,
                upstream_index: reader.number_u32("upstream index")?,
                upstream_task: reader.text("upstream task")?,
            });
        }
        if has(HAS_KEY) {
            packet.partition_key = Some(KeyRef::read(&mut reader)?);
        }
        packet.payload = reader.rest();
        Ok(packet)
    }
}
