//! What the packets say: written in full by the sender, read in full by the receiver.
//!
//! A payload is a function of the packet's number and its length, so that the receiver can tell a
//! whole, right payload from a torn or an old one by its sum alone, which it must compute over
//! every byte.

use std::hint::black_box;

/// Bytes of a block. A payload of just one is what is measured most, and writing or reading it takes no
/// longer than setting up a loop over blocks and asking for what is left: so it has a way of its own.
const BLOCK: usize = 32;

/// Writes every byte of packet `sequence`'s payload.
#[inline]
pub(crate) fn write(payload: &mut [u8], sequence: u64) {
    match payload.try_into() {
        Ok(block) => write_block(block, sequence),
        Err(_) => write_any(payload, sequence),
    }
    // Opaque to the optimizer: the stores above cannot be left out.
    black_box(payload.as_mut_ptr());
}

#[inline(always)]
fn write_block(block: &mut [u8; BLOCK], from: u64) {
    for (i, word) in block.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = from.wrapping_add(i as u64).to_le_bytes();
    }
}

#[inline(never)]
fn write_any(payload: &mut [u8], sequence: u64) {
    let (blocks, short) = payload.as_chunks_mut::<BLOCK>();
    let mut next = sequence;
    for block in blocks {
        write_block(block, next);
        next = next.wrapping_add(BLOCK as u64 / 8);
    }
    let (words, rest) = short.as_chunks_mut::<8>();
    for word in words {
        *word = next.to_le_bytes();
        next = next.wrapping_add(1);
    }
    for (i, byte) in rest.iter_mut().enumerate() {
        *byte = tail_byte(sequence, i);
    }
}

/// Reads every byte, and says whether this is packet `sequence`'s payload.
#[inline]
#[must_use]
pub(crate) fn read(payload: &[u8], sequence: u64) -> bool {
    // Not through `black_box`: it takes pointer and length in one load, which waits for the store of a
    // length that was just written. What another process wrote is opaque anyway.
    match payload.try_into() {
        Ok(block) => sum_block(block) == expected_sum(BLOCK as u64 / 8, sequence),
        Err(_) => read_any(payload, sequence),
    }
}

#[inline(always)]
fn sum_block(block: &[u8; BLOCK]) -> u64 {
    sum_words(0, block.as_chunks().0)
}

#[inline(always)]
fn sum_words(sum: u64, words: &[[u8; 8]]) -> u64 {
    words.iter().fold(sum, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word)))
}

/// The sum of `n` words of packet `sequence`.
#[inline(always)]
fn expected_sum(n: u64, sequence: u64) -> u64 {
    // 0 + 1 + … + (n - 1); n is far below 2^32, being a length divided by 8.
    let ramp = n.wrapping_mul(n.wrapping_sub(1)) / 2;
    sequence.wrapping_mul(n).wrapping_add(ramp)
}

#[inline(never)]
fn read_any(payload: &[u8], sequence: u64) -> bool {
    let (blocks, short) = payload.as_chunks::<BLOCK>();
    let sum = blocks.iter().fold(0_u64, |sum, block| sum.wrapping_add(sum_block(block)));
    let (words, rest) = short.as_chunks::<8>();
    let sum = sum_words(sum, words);
    let rest_sum = rest.iter().fold(0_u64, |sum, byte| sum.wrapping_add(u64::from(*byte)));
    let rest_expected =
        (0..rest.len()).fold(0_u64, |sum, i| sum.wrapping_add(u64::from(tail_byte(sequence, i))));
    sum == expected_sum(payload.len() as u64 / 8, sequence) && rest_sum == rest_expected
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
    /// The first packet made, and how many were.
    first: u64,
    made: u64,
}

impl Source {
    /// Makes room for payloads of this length, `ahead` of them made at a time.
    pub(crate) fn new(payload: usize, ahead: usize) -> Self {
        Self { bytes: vec![0; payload * ahead.max(1)], payload, first: 0, made: 0 }
    }

    /// Says how many payloads a stream should make at a time: no more than stay in the first cache.
    pub(crate) fn ahead_for_stream(payload: usize, batch: usize) -> usize {
        batch.max((4096 / payload.max(1)).clamp(1, 16))
    }

    /// The payload of a packet, which is made if it was not.
    #[inline(always)]
    pub(crate) fn one(&mut self, sequence: u64) -> &[u8] {
        let mut nth = sequence.wrapping_sub(self.first);
        if nth >= self.made {
            self.make_ahead(sequence);
            nth = 0;
        }
        self.nth(nth as usize)
    }

    /// The payloads of packets `first`, …, `first + n - 1`, for `n` up to `ahead`.
    #[inline(always)]
    pub(crate) fn many<'a>(&'a mut self, first: u64, n: usize) -> impl Fn(usize) -> &'a [u8] {
        let mut nth = first.wrapping_sub(self.first);
        if nth.saturating_add(n as u64) > self.made {
            self.make_ahead(first);
            nth = 0;
        }
        let this = &*self;
        move |i| this.nth(nth as usize + i)
    }

    #[inline(always)]
    fn nth(&self, nth: usize) -> &[u8] {
        &self.bytes[nth * self.payload..][..self.payload]
    }

    #[cold]
    #[inline(never)]
    fn make_ahead(&mut self, first: u64) {
        let payloads = self.bytes.chunks_exact_mut(self.payload.max(1));
        (self.first, self.made) = (first, payloads.len() as u64);
        for (payload, sequence) in payloads.zip(first..) {
            write(payload, sequence);
        }
        if self.payload == 0 {
            self.made = u64::MAX;
        }
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
                {
                    let many = source.many(next, n);
                    for (i, sequence) in (next..next + n as u64).enumerate() {
                        assert_eq!(many(i).len(), payload);
                        assert!(read(many(i), sequence));
                    }
                }
                assert_eq!(source.one(next).len(), payload);
                assert!(read(source.one(next), next));
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
