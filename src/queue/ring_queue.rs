//! A queue made of a ring.

/// A queue made of a Ringway ring, on the heap or in a segment.
#[derive(Debug)]
pub struct RingQueue {}
