//! Queues of values: postcard in the payload, and a schema tag in the queue.
//!
//! A schema is a name with a version that the user gives (`orders/v1`), not the name of a Rust type,
//! so that it is the same in processes built separately. It is part of the queue's configuration:
//! whoever opens the queue for another type gets `ConfigMismatch` for the field `schema`, and not
//! garbage. What changes the wire form of the type must change the name.

use std::error::Error;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use postcard::ser_flavors::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{GetError, OpenError, PutError};
use crate::queue::config::{check_schema, schema_tag};
use crate::queue::{Lease, Queue, QueueDescriptor, Received, RecordKind, Wait};

/// Gives a type the name of its schema, for [`TypedQueue::of`].
pub trait Schema {
    /// Name and version, such as `orders/v1`: to be changed with the wire form of the type.
    const NAME: &'static str;
}

/// A queue of values of one type.
///
/// Clones are the same queue. All methods may be called from any thread.
///
/// ```
/// use ringway::queue::{QueueDescriptor, TypedQueue};
///
/// let numbers = TypedQueue::<(u32, String)>::new(&QueueDescriptor::local("doc/typed")?, "pairs/v1")?;
/// numbers.put(&(7, "seven".to_owned()))?;
/// assert_eq!(numbers.get()?, (7, "seven".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Borrowed values are read in place, out of the queue's memory:
///
/// ```
/// # use ringway::queue::{QueueDescriptor, TypedQueue};
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Order<'a> { id: u64, note: &'a str }
///
/// let orders = TypedQueue::<Order<'static>>::new(&QueueDescriptor::local("doc/orders")?, "orders/v1")?;
/// orders.put(&Order { id: 1, note: "fragile" })?;
/// let lease = orders.lease()?;
/// let order: Order<'_> = lease.decode_as()?;
/// assert_eq!((order.id, order.note), (1, "fragile"));
/// lease.ack();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TypedQueue<T> {
    source: Source,
    schema: String,
    values: PhantomData<fn(T) -> T>,
}

#[derive(Clone, Debug)]
enum Source {
    Descriptor(QueueDescriptor),
    Queue(Queue),
}

impl<T> TypedQueue<T> {
    /// Types the queue of a descriptor; opens nothing.
    ///
    /// The first use, and [`TypedQueue::queue`], get [`OpenError::ConfigMismatch`] for the field
    /// `schema` when the queue exists with another schema, or with none.
    ///
    /// # Errors
    /// As [`QueueDescriptor::with_schema`].
    pub fn new(descriptor: &QueueDescriptor, schema: &str) -> Result<Self, OpenError> {
        let source = Source::Descriptor(descriptor.with_schema(schema)?);
        Ok(Self { source, schema: schema.to_owned(), values: PhantomData })
    }

    /// Types the queue of a descriptor by the schema that the type names.
    ///
    /// # Errors
    /// As [`QueueDescriptor::with_schema`].
    pub fn of(descriptor: &QueueDescriptor) -> Result<Self, OpenError>
    where
        T: Schema,
    {
        Self::new(descriptor, T::NAME)
    }

    /// Types an opened queue. A ring's tag is compared; a registered kind has none, and is trusted.
    ///
    /// # Errors
    /// [`OpenError::ConfigMismatch`] when the ring has another tag, or none;
    /// [`OpenError::InvalidConfig`] when the schema's name is malformed.
    pub fn from_queue(queue: Queue, schema: &str) -> Result<Self, OpenError> {
        check_schema(schema)?;
        let ours = schema_tag(schema);
        match queue.ring().map(crate::queue::RingQueue::schema_tag) {
            Some(theirs) if theirs != ours => Err(OpenError::ConfigMismatch {
                queue: format!("{queue:?}"),
                field: "schema",
                ours: format!("{ours:#018x} ({schema})"),
                theirs: format!("{theirs:#018x}"),
            }),
            _ => Ok(Self {
                source: Source::Queue(queue),
                schema: schema.to_owned(),
                values: PhantomData,
            }),
        }
    }

    /// The schema's name.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The descriptor, with the schema in it; `None` when it was made of an opened queue.
    #[must_use]
    pub fn descriptor(&self) -> Option<&QueueDescriptor> {
        match &self.source {
            Source::Descriptor(descriptor) => Some(descriptor),
            Source::Queue(_) => None,
        }
    }

    /// The queue of bytes below, opened if need be: for its numbers, and to close or destroy it.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn queue(&self) -> Result<Queue, OpenError> {
        match &self.source {
            Source::Descriptor(descriptor) => descriptor.queue(),
            Source::Queue(queue) => Ok(queue.clone()),
        }
    }

    /// Puts a value, waiting for room as long as it takes.
    ///
    /// # Errors
    /// As [`Queue::put`], and [`PutError::Other`] for a value that cannot be serialized.
    pub fn put(&self, value: &T) -> Result<(), PutError>
    where
        T: Serialize,
    {
        self.put_as(value, Wait::Forever)
    }

    /// Puts a value if there is room now.
    ///
    /// # Errors
    /// As [`Queue::try_put`] and [`TypedQueue::put`].
    pub fn try_put(&self, value: &T) -> Result<(), PutError>
    where
        T: Serialize,
    {
        self.put_as(value, Wait::No)
    }

    /// Puts a value, waiting for room for at most `timeout`.
    ///
    /// # Errors
    /// As [`Queue::put_timeout`] and [`TypedQueue::put`].
    pub fn put_timeout(&self, value: &T, timeout: Duration) -> Result<(), PutError>
    where
        T: Serialize,
    {
        self.put_as(value, Wait::at_most(timeout))
    }

    /// Puts a value of another Rust type with the same wire form, such as one that borrows. It is
    /// serialized straight into the queue's memory, without an allocation; a first pass counts its
    /// bytes.
    ///
    /// # Errors
    /// As [`TypedQueue::put`].
    pub fn put_as<U: Serialize + ?Sized>(&self, value: &U, wait: Wait) -> Result<(), PutError> {
        let len = postcard::serialize_with_flavor::<U, Size, usize>(value, Size::default())
            .map_err(|error| self.unencodable(error))?;
        let queue = self.queue()?;
        let mut room = queue.reserve_record(RecordKind::TYPED, len, wait)?;
        // A value that is longer the second time fails here; the room is then passed over.
        let used =
            postcard::to_slice(value, &mut room).map_err(|error| self.unencodable(error))?.len();
        room.commit_len(used)
    }

    fn unencodable(&self, error: postcard::Error) -> PutError {
        PutError::Other(format!("a value of {:?} has no wire form: {error}", self.schema).into())
    }

    /// Gets the oldest value, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`Queue::get`], and [`GetError::Other`] with a [`DecodeError`] for a record that is no
    /// value of this type: the record is then acknowledged, lest it come back for ever, and the
    /// error holds its bytes, so that nothing is lost.
    pub fn get(&self) -> Result<T, GetError>
    where
        T: DeserializeOwned,
    {
        self.get_wait(Wait::Forever)
    }

    /// Gets the oldest value if one waits now.
    ///
    /// # Errors
    /// As [`Queue::try_get`] and [`TypedQueue::get`].
    pub fn try_get(&self) -> Result<T, GetError>
    where
        T: DeserializeOwned,
    {
        self.get_wait(Wait::No)
    }

    /// Gets the oldest value, waiting for at most `timeout`.
    ///
    /// # Errors
    /// As [`Queue::get_timeout`] and [`TypedQueue::get`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<T, GetError>
    where
        T: DeserializeOwned,
    {
        self.get_wait(Wait::at_most(timeout))
    }

    /// Gets the oldest value, waiting as told.
    ///
    /// # Errors
    /// As [`Queue::get_record`] and [`TypedQueue::get`].
    pub fn get_wait(&self, wait: Wait) -> Result<T, GetError>
    where
        T: DeserializeOwned,
    {
        let lease = self.lease_wait(wait)?;
        match lease.decode() {
            Ok(value) => {
                lease.ack();
                Ok(value)
            }
            Err(reason) => {
                let schema = self.schema.clone();
                let received = Received::take(lease.lease);
                Err(GetError::Other(Box::new(DecodeError { schema, received, reason })))
            }
        }
    }

    /// Takes the oldest value to be read in place, waiting as long as it takes.
    ///
    /// # Errors
    /// As [`Queue::lease`].
    pub fn lease(&self) -> Result<TypedLease<T>, GetError> {
        self.lease_wait(Wait::Forever)
    }

    /// Takes the oldest value to be read in place if one waits now.
    ///
    /// # Errors
    /// As [`Queue::try_lease`].
    pub fn try_lease(&self) -> Result<TypedLease<T>, GetError> {
        self.lease_wait(Wait::No)
    }

    /// Takes the oldest value to be read in place, waiting as told.
    ///
    /// # Errors
    /// As [`Queue::lease_record`].
    pub fn lease_wait(&self, wait: Wait) -> Result<TypedLease<T>, GetError> {
        let lease = self.queue()?.lease_record(wait)?;
        Ok(TypedLease { lease, values: PhantomData })
    }
}

// Not derived: that would ask for `T: Clone`.
impl<T> Clone for TypedQueue<T> {
    fn clone(&self) -> Self {
        Self { source: self.source.clone(), schema: self.schema.clone(), values: PhantomData }
    }
}

impl<T> fmt::Debug for TypedQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedQueue")
            .field("schema", &self.schema)
            .field("source", &self.source)
            .finish()
    }
}

/// A value taken and not yet acknowledged. Dropped without [`TypedLease::ack`], it is given back.
#[must_use = "dropping a lease gives the record back"]
pub struct TypedLease<T> {
    lease: Lease,
    values: PhantomData<fn() -> T>,
}

impl<T> TypedLease<T> {
    /// Decodes the value, borrowing from the queue's memory what the type can borrow.
    ///
    /// # Errors
    /// See [`DecodeFailure`]. The lease stays as it is: dropped, it goes to another consumer, and
    /// after `max_deliveries` to the dead letters.
    pub fn decode<'a>(&'a self) -> Result<T, DecodeFailure>
    where
        T: Deserialize<'a>,
    {
        self.decode_as()
    }

    /// Decodes the value as another Rust type with the same wire form: the one to use for a type
    /// with a lifetime, as that of `T` cannot be the lease's.
    ///
    /// # Errors
    /// As [`TypedLease::decode`].
    pub fn decode_as<'a, U: Deserialize<'a>>(&'a self) -> Result<U, DecodeFailure> {
        let kind = self.lease.kind();
        if kind != RecordKind::TYPED {
            return Err(DecodeFailure::Kind(kind));
        }
        let (value, rest) = postcard::take_from_bytes(&self.lease)
            .map_err(|error| DecodeFailure::Malformed(Box::new(error)))?;
        if rest.is_empty() { Ok(value) } else { Err(DecodeFailure::Trailing(rest.len())) }
    }

    /// Acknowledges the value: it is never delivered again, and its memory may be reused.
    pub fn ack(self) {
        self.lease.ack();
    }

    /// The record below: its bytes, its kind, how often it was delivered.
    pub fn record(&self) -> &Lease {
        &self.lease
    }

    /// Gives up the type, and keeps the lease.
    pub fn into_record(self) -> Lease {
        self.lease
    }
}

impl<T> fmt::Debug for TypedLease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TypedLease").field(&self.lease).finish()
    }
}

/// Why a record is no value of the type. Every variant is permanent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeFailure {
    /// The record was not put by a typed queue: it is raw bytes, a packet or a stop signal.
    #[error("it is a record of kind {}", .0.0)]
    Kind(RecordKind),
    /// The bytes are not the type's wire form.
    #[error("{0}")]
    Malformed(#[source] Box<dyn Error + Send + Sync>),
    /// So many bytes follow the value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
}

/// A record that [`TypedQueue::get`] could not decode, complete: to be found in
/// [`GetError::Other`] by [`DecodeError::of`].
#[derive(Debug, thiserror::Error)]
#[error("a record of {} bytes is no value of {schema:?}: {reason}", received.len())]
pub struct DecodeError {
    /// The schema's name.
    pub schema: String,
    /// The record, acknowledged.
    pub received: Received,
    /// Why.
    #[source]
    pub reason: DecodeFailure,
}

impl DecodeError {
    /// The decode error that `error` carries, if it carries one.
    #[must_use]
    pub fn of(error: &GetError) -> Option<&Self> {
        match error {
            GetError::Other(other) => other.downcast_ref(),
            _ => None,
        }
    }
}
