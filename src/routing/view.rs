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
use super::short::{ShortRoom, short_word};
use super::wire::{Count, Cursor, Reader, Sink, WIRE_VERSION, WireError};
use super::{InstanceId, Packet, PartitionStrategy, Provenance};

/// Bytes of the longest number.
const MOST_NUMBER_BYTES: usize = 10;
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

    /// Its own provenance.
    #[inline(always)]
    pub(crate) fn origin(&self) -> Option<Origin<'_>> {
        self.provenance.as_ref().map(Origin::Packets)
    }

    /// Says whether the packet can be put on the wire.
    #[inline]
    pub(super) fn check(&self) -> Result<(), WireError> {
        self.partition_key.as_ref().map_or(Ok(()), |key| key.check())
    }

    /// Length of the wire form with another input index.
    pub(super) fn encoded_len_for(&self, input_index: u32) -> usize {
        let mut count = Count(self.payload.len());
        self.write_header(input_index, self.origin(), &mut count);
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
        self.write_header(input_index, self.origin(), &mut cursor);
        cursor.put(self.payload);
        cursor.finish()
    }

    /// The same with another provenance, where the packet is as most are: with a short key and a short
    /// name at most before its payload. The bytes behind the record may change, too. `None` where it is another, or has too little room;
    /// then the buffer may hold a part.
    #[inline(always)]
    pub(super) fn encode_short(
        &self,
        input_index: u32,
        origin: Option<Origin<'_>>,
        buffer: &mut [u8],
    ) -> Option<usize> {
        if self.timestamp_ns != 0 || input_index != 0 || self.partition_strategy.is_some() {
            return None;
        }
        let mut room = ShortRoom::new(buffer)?;
        let mut flags = 0;
        if let Some(origin) = origin {
            flags |= HAS_PROVENANCE;
            match origin {
                Origin::Known(known, sequence) => {
                    room.put_number(sequence)?;
                    room.put_word(known.word?, known.bytes.len())?;
                }
                Origin::Packets(provenance) => {
                    let name = provenance.upstream_task.as_bytes();
                    room.put_number(provenance.sequence)?;
                    room.put_number(provenance.upstream_index.into())?;
                    room.put_number(name.len() as u64)?;
                    room.put_word(short_word(name)?, name.len())?;
                }
            }
        }
        if let Some(key) = &self.partition_key {
            flags |= HAS_KEY;
            let (word, len) = key.short()?;
            room.put_word(word, len)?;
        }
        let header = room.finish([WIRE_VERSION, flags]);
        let end = header.checked_add(self.payload.len())?;
        if !self.payload.is_empty() {
            buffer.get_mut(header..end)?.copy_from_slice(self.payload);
        }
        Some(end)
    }

    #[inline]
    fn write_header(&self, input_index: u32, origin: Option<Origin<'_>>, sink: &mut impl Sink) {
        let mut flags = 0;
        for (present, flag) in [
            (self.timestamp_ns != 0, HAS_TIMESTAMP),
            (input_index != 0, HAS_INPUT_INDEX),
            (self.partition_strategy.is_some(), HAS_STRATEGY),
            (origin.is_some(), HAS_PROVENANCE),
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
        match origin {
            None => {}
            Some(Origin::Packets(provenance)) => {
                sink.put_number(provenance.sequence);
                sink.put_number(provenance.upstream_index.into());
                sink.put_bytes(provenance.upstream_task.as_bytes());
            }
            Some(Origin::Known(known, sequence)) => {
                sink.put_number(sequence);
                sink.put(&known.bytes);
            }
        }
        if let Some(key) = &self.partition_key {
            key.write(sink);
        }
    }

    /// Reads a packet in place.
    ///
    /// # Errors
    /// A [`WireError`] where the bytes are no packet. Any bytes may be given.
    #[inline]
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut packet = Self::new(&[]);
        packet.read(bytes, None)?;
        Ok(packet)
    }

    /// Reads a packet into this new one, and says whether it comes from `expected`, as it probably does:
    /// that name need not be read.
    ///
    /// # Errors
    /// As [`PacketRef::decode`].
    #[inline(always)]
    pub(crate) fn read(
        &mut self,
        bytes: &'a [u8],
        expected: Option<&'a KnownInstance>,
    ) -> Result<bool, WireError> {
        let mut as_expected = false;
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let flags = reader.flags(KNOWN_FLAGS)?;
        let has = |flag| flags & flag != 0;
        if has(HAS_TIMESTAMP) {
            self.timestamp_ns = reader.u64_le("timestamp")?;
        }
        if has(HAS_INPUT_INDEX) {
            self.input_index = reader.number_u32("input index")?;
        }
        if has(HAS_STRATEGY) {
            let code = reader.byte("strategy")?;
            let strategy = PartitionStrategy::from_code(code);
            self.partition_strategy = Some(strategy.ok_or(WireError::UnknownStrategy { code })?);
        }
        if has(HAS_PROVENANCE) {
            let sequence = reader.number("sequence")?;
            let known = expected.filter(|known| reader.pass_over(&known.bytes, known.word));
            as_expected = known.is_some();
            self.provenance = Some(match known {
                Some(KnownInstance { id, .. }) => {
                    ProvenanceRef { upstream_task: &id.task, upstream_index: id.index, sequence }
                }
                None => ProvenanceRef {
                    sequence,
                    upstream_index: reader.number_u32("upstream index")?,
                    upstream_task: reader.text("upstream task")?,
                },
            });
        }
        if has(HAS_KEY) {
            self.partition_key = Some(KeyRef::read(&mut reader)?);
        }
        self.payload = reader.rest();
        Ok(as_expected)
    }
}

/// What a packet is to say of where it comes from.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// The provenance of a packet.
    Packets(&'a ProvenanceRef<'a>),
    /// An instance, and its own count of its packets.
    Known(&'a KnownInstance, u64),
}

impl<'a> Origin<'a> {
    pub(super) fn provenance(self) -> ProvenanceRef<'a> {
        match self {
            Self::Packets(provenance) => *provenance,
            Self::Known(KnownInstance { id, .. }, sequence) => {
                ProvenanceRef { upstream_task: &id.task, upstream_index: id.index, sequence }
            }
        }
    }
}

/// An instance with its name as it is on the wire, to be recognised there without being read.
#[derive(Debug)]
pub(crate) struct KnownInstance {
    pub(crate) id: InstanceId,
    /// Index and name.
    bytes: Vec<u8>,
    word: Option<u128>,
}

impl KnownInstance {
    pub(crate) fn new(id: InstanceId) -> Self {
        let mut bytes = vec![0; 2 * MOST_NUMBER_BYTES + id.task.len()];
        let mut cursor = Cursor::new(&mut bytes);
        cursor.put_number(id.index.into());
        cursor.put_bytes(id.task.as_bytes());
        let len = cursor.finish().unwrap_or_default();
        bytes.truncate(len);
        Self { word: short_word(&bytes), bytes, id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expected_upstream_is_recognised_and_another_is_read() {
        for task in ["split", "a-task-whose-name-is-long"] {
            let known = KnownInstance::new(InstanceId::new(task, 7));
            let longer = format!("{task}s");
            for (name, index, expected) in
                [(task, 7, true), (task, 8, false), (&longer, 7, false), (&task[1..], 7, false)]
            {
                let from =
                    ProvenanceRef { upstream_task: name, upstream_index: index, sequence: 300 };
                let sent = PacketRef { provenance: Some(from), ..PacketRef::new(b"x") };
                let mut bytes = vec![0; sent.encoded_len()];
                sent.encode_into(&mut bytes).unwrap();
                let mut room = [0; 256];
                let own = Some(Origin::Known(&known, 300));
                if let Some(len) = PacketRef::new(b"x").encode_short(0, own, &mut room) {
                    assert_eq!(room[..len] == bytes, expected, "{name}#{index}");
                }
                let mut packet = PacketRef::new(&[]);
                assert_eq!(packet.read(&bytes, Some(&known)), Ok(expected), "{name}#{index}");
                assert_eq!((packet.provenance, packet.payload), (Some(from), &b"x"[..]));
                for cut in 0..bytes.len() - 1 {
                    let read = PacketRef::new(&[]).read(&bytes[..cut], Some(&known));
                    assert!(read.is_err(), "{cut} of {} bytes", bytes.len());
                }
            }
        }
    }
}
