//! The ceiling: payloads copied through shared memory with nothing but two counters.
//!
//! One process writes chunks of the payload's size round and round a region as large as the ring's
//! data, the other reads them, by the same routines as with a ring (`payload.rs`, and the same
//! private copies unless in place). Between them are a count of chunks written and one of chunks
//! read, each on its own line, stored once in [`step`] chunks. It has no kinds, no leases, no sleeping, no
//! recovery and no bounds of its own: what a ring adds is the difference.

use std::sync::Arc;

use crate::error::{BenchError, Result};
use crate::payload::{self, Source};
use crate::shared::{ChunkReader, ChunkWriter, Chunks, Region, Word};
use crate::sizing::RingSize;
use crate::transport::{Inlet, Outlet};

/// Lays the `nth` stream of equal size out in a region.
pub(crate) fn chunks(size: RingSize, payload: usize, nth: usize) -> Chunks {
    Chunks {
        offset: nth * size.data_bytes,
        bytes: payload,
        count: size.data_bytes / payload.max(1),
    }
}

/// Says how many chunks the ceiling hands over at a time: some 4 KiB, so that small payloads measure
/// the copying and not the counters' lines; at least a batch, and at most a quarter of the region.
pub(crate) fn step(chunks: Chunks, batch: usize) -> usize {
    batch.max((4096 / chunks.bytes.max(1)).clamp(1, 64)).min((chunks.count / 4).max(1))
}

/// Writes chunks.
#[derive(Debug)]
pub(crate) struct BareOutlet {
    chunks: ChunkWriter,
    /// Where a payload is made before it is copied; nothing when it is made in place.
    private: Option<Source>,
}

impl BareOutlet {
    /// Takes the writing end of a stream. `ahead` payloads are made at a time, unless in place.
    pub(crate) fn take(
        region: &Arc<Region>,
        word: Word,
        chunks: Chunks,
        in_place: bool,
        ahead: usize,
    ) -> Self {
        let private = (!in_place).then(|| Source::new(chunks.bytes, ahead));
        Self { chunks: ChunkWriter::take(region, word, chunks), private }
    }
}

impl Outlet for BareOutlet {
    #[inline]
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        let Self { chunks, private } = self;
        let mut sent = 0;
        while sent < n {
            let from = first + sent as u64;
            sent += chunks.write_some(n - sent, |i, chunk| {
                let sequence = from + i as u64;
                match private {
                    None => payload::write(chunk, sequence),
                    Some(private) => chunk.copy_from_slice(private.one(sequence)),
                }
            });
        }
        Ok(())
    }

    fn source(&mut self) -> Option<&mut Source> {
        self.private.as_mut()
    }
}

/// Reads chunks.
#[derive(Debug)]
pub(crate) struct BareInlet {
    chunks: ChunkReader,
    private: Option<Vec<u8>>,
}

impl BareInlet {
    /// Takes the reading end of a stream.
    pub(crate) fn take(region: &Arc<Region>, word: Word, chunks: Chunks, in_place: bool) -> Self {
        let private = (!in_place).then(|| vec![0; chunks.bytes]);
        Self { chunks: ChunkReader::take(region, word, chunks), private }
    }
}

impl Inlet for BareInlet {
    #[inline]
    fn receive(&mut self, expected: u64, max: usize) -> Result<usize> {
        let Self { chunks, private } = self;
        let mut damaged = None;
        let n = chunks.read_some(max, |i, chunk| {
            let sequence = expected + i as u64;
            let whole = match private {
                None => payload::read(chunk, sequence),
                Some(private) => {
                    private.copy_from_slice(chunk);
                    payload::read(private, sequence)
                }
            };
            if !whole {
                damaged = damaged.or(Some(sequence));
            }
        });
        damaged.map_or(Ok(n), |sequence| Err(BenchError::Damaged { sequence }))
    }

    #[inline]
    fn try_receive(&mut self, expected: u64) -> Result<bool> {
        if !self.chunks.is_ready() {
            return Ok(false);
        }
        self.receive(expected, 1).map(|n| n > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{BareInlet, BareOutlet, chunks};
    use crate::error::BenchError;
    use crate::shared::{Region, Word};
    use crate::sizing::RingSize;
    use crate::transport::{Inlet, Outlet};
    use std::sync::Arc;

    #[test]
    fn receiver_reports_a_packet_that_is_not_the_expected_one() {
        for in_place in [false, true] {
            let size = RingSize::new(100, Some(8), None).unwrap();
            let region = Arc::new(Region::create(size.data_bytes).unwrap().0);
            let chunks = chunks(size, 100, 0);
            let mut outlet = BareOutlet::take(&region, Word::First, chunks, in_place, 4);
            let mut inlet = BareInlet::take(&region, Word::First, chunks, in_place);
            outlet.send(10, 3).unwrap();
            assert_eq!(inlet.receive(10, 2).unwrap(), 2);
            let error = inlet.receive(11, 1).unwrap_err();
            assert!(matches!(error, BenchError::Damaged { sequence: 11 }), "{error}");
        }
    }
}
