//! The stop signal, and the choice of what a record is.
//!
//! An upstream instance puts one stop signal behind its last packet into every queue it feeds.
//! Order per producer is kept, so whoever receives it has received all packets of that instance.

use super::packet::now_ns;
use super::wire::{Count, Cursor, Reader, Sink, WIRE_VERSION};
use super::{InstanceId, PacketRef, WireError};
use crate::queue::RecordKind;

const HAS_TIMESTAMP: u8 = 1 << 0;
const HAS_INPUT_INDEX: u8 = 1 << 1;
const HAS_MESSAGE: u8 = 1 << 2;
const KNOWN_FLAGS: u8 = (1 << 3) - 1;

/// Says that one upstream instance sends no more packets.
///
/// A receiver is finished when it has one from *every* instance that feeds it, for every input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopSignal {
    /// Where the stop began: the source that ended, or whoever asked for the stop.
    pub source: String,
    /// The instance that put this signal, and puts nothing after it.
    pub upstream: InstanceId,
    /// Which of the receiver's inputs it ends. On the wire it is the connection's
    /// `target_input_index`.
    pub input_index: u32,
    /// When it was made: nanoseconds of wall-clock time since 1970. 0 for unknown.
    pub timestamp_ns: u64,
    /// Why, for people.
    pub message: Option<String>,
}

impl StopSignal {
    /// Makes a stop signal of `upstream`, made now.
    pub fn new(source: impl Into<String>, upstream: InstanceId) -> Self {
        Self {
            source: source.into(),
            upstream,
            input_index: 0,
            timestamp_ns: now_ns(),
            message: None,
        }
    }

    /// Says why, for people.
    #[must_use]
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Sets the time it was made, in nanoseconds since 1970; 0 for unknown.
    #[must_use]
    pub fn with_timestamp_ns(mut self, timestamp_ns: u64) -> Self {
        self.timestamp_ns = timestamp_ns;
        self
    }

    /// Length of the wire form, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.encoded_len_for(self.input_index)
    }

    /// Writes the wire form to the front of `buffer`, and says how many bytes it has. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`] (the buffer then holds a part).
    pub fn encode_into(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        self.encode_for(self.input_index, buffer)
    }

    pub(super) fn encoded_len_for(&self, input_index: u32) -> usize {
        let mut count = Count(0);
        self.write(input_index, &mut count);
        count.0
    }

    pub(super) fn encode_for(
        &self,
        input_index: u32,
        buffer: &mut [u8],
    ) -> Result<usize, WireError> {
        let mut cursor = Cursor::new(buffer);
        self.write(input_index, &mut cursor);
        cursor.finish()
    }

    fn write(&self, input_index: u32, sink: &mut impl Sink) {
        let mut flags = 0;
        for (present, flag) in [
            (self.timestamp_ns != 0, HAS_TIMESTAMP),
            (input_index != 0, HAS_INPUT_INDEX),
            (self.message.is_some(), HAS_MESSAGE),
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
        sink.put_bytes(self.source.as_bytes());
        sink.put_number(self.upstream.index.into());
        sink.put_bytes(self.upstream.task.as_bytes());
        if let Some(message) = &self.message {
            sink.put_bytes(message.as_bytes());
        }
    }

    /// Reads a stop signal, all of `bytes`.
    ///
    /// # Errors
    /// A [`WireError`] where the bytes are no stop signal. Any bytes may be given.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        reader.version()?;
        let flags = reader.flags(KNOWN_FLAGS)?;
        let has = |flag| flags & flag != 0;
        let timestamp_ns = if has(HAS_TIMESTAMP) { reader.u64_le("timestamp")? } else { 0 };
        let input_index = if has(HAS_INPUT_INDEX) { reader.number_u32("input index")? } else { 0 };
        let source = reader.text("source")?.to_owned();
        let index = reader.number_u32("upstream index")?;
        let upstream = InstanceId::new(reader.text("upstream task")?, index);
        let message =
            if has(HAS_MESSAGE) { Some(reader.text("message")?.to_owned()) } else { None };
        reader.end("stop signal")?;
        Ok(Self { source, upstream, input_index, timestamp_ns, message })
    }
}

/// What a record of a routed queue is.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// A packet, in place.
    Packet(PacketRef<'a>),
    /// A stop signal.
    Stop(StopSignal),
}

impl<'a> Record<'a> {
    /// Reads the bytes of a record of `kind`: `Record::decode(lease.kind(), &lease)`.
    ///
    /// # Errors
    /// [`WireError::UnknownKind`] where it is neither a packet nor a stop signal; another
    /// [`WireError`] where the bytes are not what the kind says.
    pub fn decode(kind: RecordKind, bytes: &'a [u8]) -> Result<Self, WireError> {
        match kind {
            RecordKind::PACKET => PacketRef::decode(bytes).map(Self::Packet),
            RecordKind::STOP => StopSignal::decode(bytes).map(Self::Stop),
            RecordKind(kind) => Err(WireError::UnknownKind { kind }),
        }
    }
}
