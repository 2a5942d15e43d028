//! Bounded queues in shared memory, and routing over them, between processes of one Linux host.
//!
//! # Vocabulary
//!
//! A *descriptor* names a queue; it is a small value that travels as JSON, and touches nothing until
//! its first use. A `shm` queue is a *ring* in a *segment*, one file under a per-user directory,
//! written `SEGMENT:RING`; a `local` queue is the same ring on the heap. A *participant* is one
//! attachment of one process to a segment. A *packet* (a *record*, to the ring) is put by being
//! *claimed*, written and *committed*; it is got by a *lease*, which ends with an *ack*, or by giving
//! the packet back. A *router* holds *connections* to queues, in groups, and picks by a strategy.
//!
//! # Example
//!
//! ```
//! use ringway::queue::{QueueDescriptor, RecordKind, Wait};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let orders = QueueDescriptor::shm(&format!("essay-{}:orders", std::process::id()))?;
//! let queue = orders.queue()?; // maps the ring, or creates the segment: once for each process
//!
//! queue.put(b"small")?; // copied into one cache line, next to its stamp
//! let mut place = queue.reserve(1000)?; // or written in place
//! place.fill(7);
//! place.commit()?;
//!
//! let first = queue.lease()?; // read in place
//! assert_eq!((&*first, first.delivery_count()), (&b"small"[..], 1));
//! drop(first); // not acknowledged: it comes again, flagged
//! let again = queue.lease()?;
//! assert!(again.redelivered());
//! again.ack();
//! assert_eq!(queue.get()?.payload.len(), 1000); // lease, copy and ack in one
//!
//! // The fastest way, and the only one that many threads cannot share: owned handles.
//! let ring = queue.backend().ring().expect("made of a ring");
//! let (mut producer, mut consumer) = (ring.producer()?, ring.consumer()?);
//! producer.put(RecordKind::RAW, b"fast", Wait::No)?;
//! consumer.get_with(Wait::Forever, |bytes, _| assert_eq!(bytes, b"fast"))?;
//! # Ok(()) }
//! ```
//!
//! # Guarantees
//!
//! A packet whose `put` returned is delivered, whoever is killed and when; nothing is read
//! half-written; a packet that a dead consumer held goes to another, flagged with a count; no death
//! wedges the others, and a stopped process is not dead. First in, first out for each producer,
//! redeliveries excepted. Bounds are exact: a refusal is never spurious. `docs/protocol.md` has the
//! states, the sync points, and what a survivor sees after a death at any instruction.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`queue`] | descriptors, handles, leases, typed queues, waiting on several queues |
//! | [`routing`] | packets and stop signals, keys, connections, the router |
//! | [`runtime`] | jobs: a graph of tasks and services as supervised processes |
//! | [`shm`] | segments, participants, the ring's algorithm, inspection: for tools, and the curious |
//! | [`error`] | what can go wrong, one enum for each operation |
//!
//! With the crate `tracing`, target `ringway`: attaching and detaching (DEBUG), recovery, redelivery
//! and close (INFO), dead letters (WARN); nothing for an ordinary packet. A subscriber must not use the
//! queue that an event is about.
//!
//! Layers import only downwards: `runtime` → `routing` → `queue` → `shm`.

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("ringway runs on Linux on x86-64 and aarch64 only");

#[cfg(any(loom, ringway_crash))]
pub mod crash;
pub mod error;
mod events;
#[cfg(any(loom, ringway_crash))]
pub mod mutants;
#[cfg(not(loom))]
pub mod queue;
#[cfg(not(loom))]
pub mod routing;
#[cfg(not(loom))]
pub mod runtime;
pub mod shm;
mod sync;

#[cfg(not(loom))]
pub use queue::{Queue, QueueConfig, QueueDescriptor, TypedQueue};

/// Runs the examples of docs/guide.md.
#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../docs/guide.md")]
struct Guide;

/// Runs the examples of README.md.
#[cfg(all(doctest, not(loom)))]
#[doc = include_str!("../README.md")]
struct Readme;
