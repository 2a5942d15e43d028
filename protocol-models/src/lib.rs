//! Explicit-state models of the ring protocol: every interleaving of a few participants, one access
//! to shared memory a step, with SIGKILL of a participant between any two steps and death seen at
//! once. `protocol-models/README.md` says what each model shows and within which bounds.
//!
//! Sequentially consistent, except that a single producer's stores wait in a store buffer where
//! membarrier is the point of the protocol. The orderings of the shipped code are loom's business.

pub mod models;
pub(crate) mod ring;
pub mod runner;
pub(crate) mod sleep;
