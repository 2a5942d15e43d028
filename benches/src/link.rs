//! The ring as a transport: the one module that knows Ringway's own interface.
//!
//! In this build there is no ring yet: [`available`] says so, and nothing else here can be reached.

use std::path::Path;

use crate::error::{BenchError, Result};
use crate::transport::{Inlet, LinkSpec, Outlet};

/// Says whether this build can measure rings.
///
/// # Errors
/// `Usage` when it cannot.
pub(crate) fn available() -> Result<()> {
    Err(BenchError::Usage(
        "this build of ringway has no ring yet: try --transport bare, floor, copy".into(),
    ))
}

/// The sending end of a ring.
#[derive(Debug)]
pub(crate) enum RingOutlet {}

impl RingOutlet {
    /// Opens the ring of this name, creating it if need be, and takes the producer's side.
    /// `ahead` payloads are made at a time, unless in place.
    ///
    /// # Errors
    /// When the ring cannot be opened.
    pub(crate) fn open(_spec: &LinkSpec, _name: &str, _ahead: usize) -> Result<Self> {
        available().map(|()| unreachable!("there is no ring"))
    }
}

impl Outlet for RingOutlet {
    fn send(&mut self, _first: u64, _n: usize) -> Result<()> {
        match *self {}
    }
}

/// The receiving end of a ring.
#[derive(Debug)]
pub(crate) enum RingInlet {}

impl RingInlet {
    /// Opens the ring of this name, creating it if need be, and takes the consumer's side.
    ///
    /// # Errors
    /// When the ring cannot be opened.
    pub(crate) fn open(_spec: &LinkSpec, _name: &str) -> Result<Self> {
        available().map(|()| unreachable!("there is no ring"))
    }
}

impl Inlet for RingInlet {
    fn receive(&mut self, _expected: u64, _max: usize) -> Result<usize> {
        match *self {}
    }
}

/// A queue with nothing but defaults, in a segment of its own.
#[derive(Debug)]
pub(crate) enum DefaultQueue {}

impl DefaultQueue {
    /// Creates the queue of this name, or attaches it where it exists.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open(_directory: &Path, _name: &str) -> Result<Self> {
        available().map(|()| unreachable!("there is no ring"))
    }

    /// Puts one small packet.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn put_first(&mut self) -> Result<()> {
        match *self {}
    }

    /// Waits for one packet.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn get_first(&mut self) -> Result<()> {
        match *self {}
    }

    /// Removes the queue.
    ///
    /// # Errors
    /// When that is refused.
    pub(crate) fn destroy(self) -> Result<()> {
        match self {}
    }
}
