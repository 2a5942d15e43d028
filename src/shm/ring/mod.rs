//! The ring's algorithm, over storage: no system call, no mapping.

pub mod stamp;
