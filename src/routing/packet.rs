//! The packet: what travels, with what the router needs to know about it.
//!
//! [`Packet`] owns its parts; [`PacketRef`](super::PacketRef) borrows them, and is both what a
//! record's bytes decode to without a copy and what is written into a queue's reservation.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{PacketRef, PartitionKey, PartitionStrategy, WireError};

/// One instance of a task, of those that run in parallel. Prints as `task#index`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InstanceId {
    /// Name of the task.
    pub task: String,
    /// Which of its parallel instances, from 0.
    pub index: u32,
}

impl InstanceId {
    /// Names instance `index` of `task`.
    pub fn new(task: impl Into<String>, index: u32) -> Self {
        Self { task: task.into(), index }
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.task, self.index)
    }
}

/// Where a packet comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Provenance {
    /// The instance that sent it.
    pub upstream: InstanceId,
    /// The sender's own count of its packets.
    pub sequence: u64,
}

/// One packet: a payload, and what routing and the receiver know it by.
///
/// ```
/// use ringway::routing::{Packet, PacketRef};
///
/// let packet = Packet::of(&("temperature", 21.5)).unwrap().with_key("sensor-7");
/// let mut bytes = vec![0; packet.encoded_len()];
/// packet.encode_into(&mut bytes).unwrap();
///
/// let read = PacketRef::decode(&bytes).unwrap(); // copies nothing
/// assert_eq!(read.partition_key.unwrap().as_str(), Some("sensor-7"));
/// assert_eq!(read.decode_payload::<(&str, f64)>().unwrap(), ("temperature", 21.5));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Packet {
    /// The bytes that the receiver gets, opaque to Ringway.
    pub payload: Vec<u8>,
    /// Which of the receiver's inputs it is for. On the wire it is the connection's
    /// `target_input_index`; this one is used where there is no connection.
    pub input_index: u32,
    /// What it is partitioned by.
    pub partition_key: Option<PartitionKey>,
    /// How the router is to pick targets for this packet, whatever the group's strategy.
    pub partition_strategy: Option<PartitionStrategy>,
    /// When it was made: nanoseconds of wall-clock time since 1970, in UTC. 0 for unknown.
    pub timestamp_ns: u64,
    /// Where it comes from.
    pub provenance: Option<Provenance>,
}

impl Packet {
    /// Makes a packet of `payload`, made now, for input 0, without a key.
    pub fn new(payload: impl Into<Vec<u8>>) -> Self {
        Self { payload: payload.into(), timestamp_ns: now_ns(), ..Self::default() }
    }

    /// Makes a packet of a value, serialized with postcard.
    ///
    /// # Errors
    /// [`WireError::Payload`] where the value refuses to be serialized.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, WireError> {
        Ok(Self::new(postcard::to_allocvec(value).map_err(WireError::Payload)?))
    }

    /// Reads the payload as the value that [`Packet::of`] was given.
    ///
    /// # Errors
    /// [`WireError::Payload`] where it is another, [`WireError::Trailing`] where it is longer.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        decode_payload(&self.payload)
    }

    /// Says whether the packet has a key; an empty one counts.
    #[must_use]
    pub fn is_keyed(&self) -> bool {
        self.partition_key.is_some()
    }

    /// Sets the key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<PartitionKey>) -> Self {
        self.partition_key = Some(key.into());
        self
    }

    /// Sets the strategy, which wins over the group's.
    #[must_use]
    pub fn with_strategy(mut self, strategy: PartitionStrategy) -> Self {
        self.partition_strategy = Some(strategy);
        self
    }

    /// Sets the input index.
    #[must_use]
    pub fn with_input_index(mut self, input_index: u32) -> Self {
        self.input_index = input_index;
        self
    }

    /// Sets the time it was made, in nanoseconds since 1970; 0 for unknown.
    #[must_use]
    pub fn with_timestamp_ns(mut self, timestamp_ns: u64) -> Self {
        self.timestamp_ns = timestamp_ns;
        self
    }

    /// Says where it comes from.
    #[must_use]
    pub fn with_provenance(mut self, upstream: InstanceId, sequence: u64) -> Self {
        self.provenance = Some(Provenance { upstream, sequence });
        self
    }

    /// Takes key and strategy of `other`, in place of its own: what is computed from a packet goes
    /// where that packet would have gone. A key or strategy that `other` has not got is removed.
    #[must_use]
    pub fn inherit_partition_from(mut self, other: &Self) -> Self {
        self.partition_key.clone_from(&other.partition_key);
        self.partition_strategy = other.partition_strategy;
        self
    }

    /// Borrows it.
    #[must_use]
    pub fn view(&self) -> PacketRef<'_> {
        PacketRef {
            payload: &self.payload,
            input_index: self.input_index,
            partition_key: self.partition_key.as_ref().map(Into::into),
            partition_strategy: self.partition_strategy,
            timestamp_ns: self.timestamp_ns,
            provenance: self.provenance.as_ref().map(Into::into),
        }
    }

    /// Length of the wire form, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.view().encoded_len()
    }

    /// Writes the wire form to the front of `buffer`, and says how many bytes it has. Allocates
    /// nothing.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`] (the buffer then holds a part); [`WireError::KeyTooDeep`].
    pub fn encode_into(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        self.view().encode_into(buffer)
    }
}

pub(super) fn decode_payload<'a, T: Deserialize<'a>>(payload: &'a [u8]) -> Result<T, WireError> {
    let (value, rest) = postcard::take_from_bytes(payload).map_err(WireError::Payload)?;
    match rest.len() {
        0 => Ok(value),
        count => Err(WireError::Trailing { what: "payload", count }),
    }
}

/// Wall-clock time since 1970, in nanoseconds; 0 where the clock stands before that.
pub(super) fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
