//! The ring as a transport: the one module that knows Ringway's own interface.

use std::error::Error;
use std::path::Path;

use ringway::error::{GetError, PutError};
use ringway::queue::{Consumer, Producer, Queue, QueueDescriptor, RecordKind, Wait};

use crate::error::{BenchError, Result};
use crate::payload::{self, Source};
use crate::transport::{Inlet, LinkSpec, Outlet};

/// Says whether this build can measure rings: it can.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "builds without a ring say so here")]
pub(crate) fn available() -> Result<()> {
    Ok(())
}

/// Says what was being done when the ring refused.
pub(crate) fn refused<E: Error + Send + Sync + 'static>(
    doing: &'static str,
) -> impl Fn(E) -> BenchError {
    move |source| BenchError::Transport { doing, source: Box::new(source) }
}

/// Opens the ring of this name, creating it if need be.
///
/// # Errors
/// When it cannot be opened, or the payload does not fit.
pub(crate) fn open(spec: &LinkSpec, name: &str) -> Result<Queue> {
    let queue = descriptor(spec, name)?.queue().map_err(refused("opening the ring"))?;
    let max = queue.max_payload();
    if spec.payload > max {
        return Err(BenchError::Usage(format!(
            "a payload of {} bytes does not fit: this ring's longest is {max} (see --data-bytes)",
            spec.payload
        )));
    }
    Ok(queue)
}

/// Describes the ring of this name.
///
/// # Errors
/// When the description makes no sense.
pub(crate) fn descriptor(spec: &LinkSpec, name: &str) -> Result<QueueDescriptor> {
    let side = |many: bool| if many { "multi" } else { "single" };
    let json = serde_json::json!({
        "queue_type": "shm",
        "queue_id": format!("{name}:ring"),
        "capacity_packets": spec.size.capacity_packets,
        "capacity_bytes": spec.size.data_bytes,
        "producers": side(spec.mode.many_producers()),
        "consumers": side(spec.mode.many_consumers()),
        "directory": spec.directory,
        "lifetime": "ephemeral",
    });
    QueueDescriptor::from_json(&json.to_string()).map_err(refused("describing the ring"))
}

/// Opens what a descriptor names.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_json(json: &serde_json::Value) -> Result<Queue> {
    let descriptor =
        QueueDescriptor::from_json(&json.to_string()).map_err(refused("describing the ring"))?;
    descriptor.queue().map_err(refused("opening the ring"))
}

/// The producer's side of a queue.
///
/// # Errors
/// When it is taken, or there is none.
pub(crate) fn producer(queue: &Queue) -> Result<Producer> {
    let ring = queue.backend().ring().ok_or_else(no_ring)?;
    ring.producer().map_err(refused("taking the producer's side"))
}

/// The consumer's side of a queue.
///
/// # Errors
/// When it is taken, or there is none.
pub(crate) fn consumer(queue: &Queue) -> Result<Consumer> {
    let ring = queue.backend().ring().ok_or_else(no_ring)?;
    ring.consumer().map_err(refused("taking the consumer's side"))
}

fn no_ring() -> BenchError {
    BenchError::Usage("the queue is not made of a ring".into())
}

/// The sending end of a ring.
#[derive(Debug)]
pub(crate) struct RingOutlet {
    producer: Producer,
    payload: usize,
    /// Where payloads are made before they are put; nothing when they are made in place.
    private: Option<Source>,
}

impl RingOutlet {
    /// Opens the ring of this name, creating it if need be, and takes the producer's side.
    /// `ahead` payloads are made at a time, unless in place.
    ///
    /// # Errors
    /// When the ring cannot be opened.
    pub(crate) fn open(spec: &LinkSpec, name: &str, ahead: usize) -> Result<Self> {
        let producer = producer(&open(spec, name)?)?;
        let private = (!spec.in_place).then(|| Source::new(spec.payload, ahead));
        Ok(Self { producer, payload: spec.payload, private })
    }
}

impl Outlet for RingOutlet {
    #[inline]
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        let Self { producer, payload, private } = self;
        let failed = refused::<PutError>("putting a packet");
        let Some(private) = private else {
            for sequence in first..first + n as u64 {
                let mut place =
                    producer.reserve(RecordKind::RAW, *payload, Wait::Forever).map_err(&failed)?;
                payload::write(&mut place, sequence);
                place.commit().map_err(&failed)?;
            }
            return Ok(());
        };
        if n == 1 {
            return producer
                .put(RecordKind::RAW, private.one(first), Wait::Forever)
                .map_err(failed);
        }
        let payloads: Vec<&[u8]> = (0..n).map(private.many(first, n)).collect();
        let (_, error) = producer.put_many(RecordKind::RAW, &payloads, Wait::Forever);
        error.map_or(Ok(()), |error| Err(failed(error)))
    }

    fn source(&mut self) -> Option<&mut Source> {
        self.private.as_mut()
    }
}

/// The receiving end of a ring.
#[derive(Debug)]
pub(crate) struct RingInlet {
    consumer: Consumer,
    in_place: bool,
    private: Vec<u8>,
}

impl RingInlet {
    /// Opens the ring of this name, creating it if need be, and takes the consumer's side.
    ///
    /// # Errors
    /// When the ring cannot be opened.
    pub(crate) fn open(spec: &LinkSpec, name: &str) -> Result<Self> {
        let consumer = consumer(&open(spec, name)?)?;
        Ok(Self { consumer, in_place: spec.in_place, private: Vec::with_capacity(spec.payload) })
    }
}

impl RingInlet {
    /// Receives up to `max` packets, and has `check` read each: a copy, or, in place or several at a time, where
    /// it lies. None only when it shall not wait.
    ///
    /// # Errors
    /// [`BenchError::Damaged`] when `check` names a damaged packet, or when the ring refuses.
    #[inline]
    pub(crate) fn take(
        &mut self,
        max: usize,
        wait: Wait,
        mut check: impl FnMut(&[u8]) -> Option<u64>,
    ) -> Result<usize> {
        if max != 1 || self.in_place {
            return self.take_in_place(max, wait, check);
        }
        let damaged = match self.consumer.get_into(&mut self.private, wait) {
            Ok(_) => check(&self.private),
            Err(GetError::Empty) => return Ok(0),
            Err(error) => return Err(refused("getting a packet")(error)),
        };
        damaged.map_or(Ok(1), |sequence| Err(BenchError::Damaged { sequence }))
    }

    /// Out of line, so that one does not cost the other registers.
    #[inline(never)]
    fn take_in_place(
        &mut self,
        max: usize,
        wait: Wait,
        mut check: impl FnMut(&[u8]) -> Option<u64>,
    ) -> Result<usize> {
        let mut damaged = None;
        let mut read = |bytes: &[u8], _| damaged = damaged.or(check(bytes));
        let got = match max {
            1 => self.consumer.get_with(wait, read).map(|()| 1),
            _ => self.consumer.get_many_with(max, wait, &mut read),
        };
        match (got, damaged) {
            (Ok(_), Some(sequence)) => Err(BenchError::Damaged { sequence }),
            (Err(GetError::Empty), _) => Ok(0),
            (got, _) => got.map_err(refused("reading packets in place")),
        }
    }
}

/// Checks packets that come in order from one sender.
#[inline]
fn in_order(mut sequence: u64) -> impl FnMut(&[u8]) -> Option<u64> {
    move |bytes| {
        let whole = payload::read(bytes, sequence);
        sequence += 1;
        if whole { None } else { Some(sequence - 1) }
    }
}

impl Inlet for RingInlet {
    #[inline]
    fn receive(&mut self, expected: u64, max: usize) -> Result<usize> {
        self.take(max, Wait::Forever, in_order(expected))
    }

    #[inline]
    fn try_receive(&mut self, expected: u64) -> Result<bool> {
        self.take(1, Wait::No, in_order(expected)).map(|n| n > 0)
    }
}

/// A queue with nothing but defaults, in a segment of its own.
#[derive(Debug)]
pub(crate) struct DefaultQueue(Queue);

impl DefaultQueue {
    /// Creates the queue of this name, or attaches it where it exists.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(directory: &Path, name: &str) -> Result<Self> {
        let json = serde_json::json!({
            "queue_type": "shm",
            "queue_id": format!("{name}:ring"),
            "directory": directory,
        });
        open_json(&json).map(Self)
    }

    /// Puts one small packet.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn put_first(&mut self) -> Result<()> {
        let mut producer = producer(&self.0)?;
        producer
            .put(RecordKind::RAW, b"the first packet", Wait::Forever)
            .map_err(refused("putting a packet"))
    }

    /// Waits for one packet.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn get_first(&mut self) -> Result<()> {
        let mut consumer = consumer(&self.0)?;
        let mut packet = Vec::new();
        consumer.get_into(&mut packet, Wait::Forever).map_err(refused("getting a packet"))?;
        if packet == b"the first packet" {
            Ok(())
        } else {
            Err(BenchError::Damaged { sequence: 0 })
        }
    }

    /// Removes the queue.
    ///
    /// # Errors
    /// When that is refused.
    pub(crate) fn destroy(self) -> Result<()> {
        self.0.destroy().map_err(refused("destroying a queue"))
    }
}
