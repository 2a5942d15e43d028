//! Explicit-state models of the ring protocol.
pub(crate) mod ring;
pub mod quick;
