//! What the packets say: written in full by the sender, read in full by the receiver.
//!
//! A payload is a function of the packet's number and its length, so that the receiver can tell a
//! whole, right payload from a torn or an old one by its sum alone, which it must compute over
//! every byte.

use std::hint::black_box;

/// Writes every byte of packet `sequence`'s payload.
#[inline]
pub(crate) fn write(payload: &mut [u8], sequence: u64) {
    // In blocks: of a small payload, setting up a vectorized loop would take longer than writing it.
    let (blocks, short) = payload.as_chunks_mut::<32>();
    let mut next = sequence;
    for block in blocks {
        for (i, word) in block.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *word = next.wrapping_add(i as u64).to_le_bytes();
        }
        next = next.wrapping_add(4);
    }
    let (words, rest) = short.as_chunks_mut::<8>();
    for word in words {
        *word = next.to_le_bytes();
        next = next.wrapping_add(1);
    }
    for (i, byte) in rest.iter_mut().enumerate() {
        *byte = tail_byte(sequence, i);
    }
    // Opaque to the optimizer: the stores above cannot be left out.
    black_box(payload);
}

/// Reads every byte, and says whether this is packet `sequence`'s payload.
#[inline]
#[must_use]
pub(crate) fn read(payload: &[u8], sequence: u64) -> bool {
    // Not through `black_box`: it takes pointer and length in one load, which waits for the store of a
    // length that was just written. What another process wrote is opaque anyway.
    let (blocks, short) = payload.as_chunks::<32>();
    let add = |sum: u64, word: &[u8; 8]| sum.wrapping_add(u64::from_le_bytes(*word));
    let sum = blocks.iter().fold(0, |sum, block| block.as_chunks::<8>().0.iter().fold(sum, add));
    let (words, rest) = short.as_chunks::<8>();
    let sum = words.iter().fold(sum, add);
    let rest_sum = rest.iter().fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));

    let n = (payload.len() / 8) as u64;
    // 0 + 1 + … + (n - 1); n is far below 2^32, being a length divided by 8.
    let ramp = n.wrapping_mul(n.wrapping_sub(1)) / 2;
    let rest_expected =
        (0..rest.len()).fold(0_u64, |sum, i| sum.wrapping_add(u64::from(tail_byte(sequence, i))));
    sum == sequence.wrapping_mul(n).wrapping_add(ramp) && rest_sum == rest_expected
}

/// Private memory in which a sender that does not write in place makes its payloads.
///
/// A stream makes several payloads before it sends the first of them: a copy that starts while the
/// bytes it reads are still in the CPU's store buffer, in smaller pieces than it reads them in,
/// stalls, and a stream would measure that.
#[derive(Debug)]
pub(crate) struct Source {
    bytes: Vec<u8>,
    payload: usize,
    made: std::ops::Range<u64>,
    ahead: usize,
}

impl Source {
    /// Makes room for payloads of this length, `ahead` of them made at a time.
    pub(crate) fn new(payload: usize, ahead: usize) -> Self {
        let ahead = ahead.max(1);
        Self { bytes: vec![0; payload * ahead], payload, made: 0..0, ahead }
    }

    /// Says how many payloads a stream should make at a time: no more than stay in the first cache.
    pub(crate) fn ahead_for_stream(payload: usize, batch: usize) -> usize {
        batch.max((4096 / payload.max(1)).clamp(1, 16))
    }

    /// Makes sure that packets `first`, …, `first + n - 1` are made, for `n` up to `ahead`.
    #[inline(always)]
    pub(crate) fn make(&mut self, first: u64, n: usize) {
        debug_assert!(n <= self.ahead);
        if first < self.made.start || first + n as u64 > self.made.end {
            self.make_ahead(first);
        }
    }

    #[cold]
    #[inline(never)]
    fn make_ahead(&mut self, first: u64) {
        for i in 0..self.ahead {
            write(&mut self.bytes[i * self.payload..][..self.payload], first + i as u64);
        }
        self.made = first..first + self.ahead as u64;
    }

    /// A payload that is made.
    #[inline]
    pub(crate) fn payload(&self, sequence: u64) -> &[u8] {
        let i = (sequence - self.made.start) as usize;
        &self.bytes[i * self.payload..][..self.payload]
    }
}

/// Byte `i` behind the last whole word.
#[inline]
fn tail_byte(sequence: u64, i: usize) -> u8 {
    (sequence as u8).wrapping_mul(31).wrapping_add(i as u8)
}

#[cfg(test)]
mod tests {
    use super::{Source, read, write};

    #[test]
    fn reader_accepts_what_the_writer_wrote_at_any_length() {
        for len in (0..70).chain([1000, 4096, 4099]) {
            for sequence in [0, 1, 255, 256, u64::MAX - 3] {
                let mut payload = vec![0xaa; len];
                write(&mut payload, sequence);
                assert!(read(&payload, sequence), "{len} bytes, packet {sequence}");
            }
        }
    }

    #[test]
    fn source_hands_out_what_is_asked_for() {
        for (payload, ahead) in [(0, 4), (9, 1), (32, 16)] {
            let mut source = Source::new(payload, ahead);
            let mut next = 0;
            for n in (1..=ahead).cycle().take(50) {
                source.make(next, n);
                for sequence in next..next + n as u64 {
                    assert_eq!(source.payload(sequence).len(), payload);
                    assert!(read(source.payload(sequence), sequence));
                }
                next += n as u64;
            }
        }
    }

    #[test]
    fn reader_sees_any_changed_byte() {
        for len in [1, 7, 8, 33, 259] {
            let mut payload = vec![0; len];
            write(&mut payload, 77);
            for i in 0..len {
                payload[i] ^= 0x10;
                assert!(!read(&payload, 77), "byte {i} of {len}");
                payload[i] ^= 0x10;
            }
        }
    }

    #[test]
    fn reader_sees_a_payload_torn_between_two_laps() {
        let (mut payload, mut older) = (vec![0; 256], vec![0; 256]);
        write(&mut payload, 5000);
        write(&mut older, 5000 - 4096);
        for cut in 1..256 {
            let mut torn = payload.clone();
            torn[cut..].copy_from_slice(&older[cut..]);
            assert_eq!(read(&torn, 5000), torn == payload, "cut at {cut}");
        }
    }
}
