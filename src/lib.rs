//! Lock-free shared-memory queues and routing between processes.

#[cfg(not(all(
    target_os = "linux",
    target_endian = "little",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
compile_error!("ringway runs on Linux on x86-64 and aarch64 only");

#[cfg(ringway_crash)]
pub mod crash;
pub mod error;
#[cfg(not(loom))]
pub mod queue;
#[cfg(not(loom))]
pub mod routing;
pub mod shm;
mod sync;

#[cfg(not(loom))]
pub use queue::{Queue, QueueConfig, QueueDescriptor, TypedQueue};

/// Runs the examples of README.md.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
