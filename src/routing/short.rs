//! Short pieces of bytes as words: what most keys, names and records are made of.
//!
//! A call that copies a handful of bytes costs more than the copy, and a packet is made of several such
//! pieces. Nothing here is shared with other processes.

use xxhash_rust::xxh3::xxh3_64;

use super::key::STR;
use super::wire::{Cursor, Sink};

/// Up to 16 bytes as a word, the first lowest, zeros above; `None` where there are more. A few moves
/// instead of a call that copies.
#[inline(always)]
pub(super) fn short_word(bytes: &[u8]) -> Option<u128> {
    let len = bytes.len();
    // The two moves of a length overlap where they carry the same bytes, which an OR leaves as they are.
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u64::from_le_bytes(*first), u64::from_le_bytes(*last));
        return (len <= 16).then(|| u128::from(first) | u128::from(last) << (8 * (len - 8)));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        let (first, last) = (u32::from_le_bytes(*first), u32::from_le_bytes(*last));
        return Some((u64::from(first) | u64::from(last) << (8 * (len - 4))).into());
    }
    let &[first, .., last] = bytes else {
        return Some(bytes.first().map_or(0, |&only| only.into()));
    };
    let middle = u32::from(bytes[len / 2]) << (8 * (len / 2));
    Some((u32::from(first) | middle | u32::from(last) << (8 * (len - 1))).into())
}

/// The lower seven bits of each byte.
const SEVENS: u64 = 0x7f7f_7f7f_7f7f_7f7f;

/// A number of up to 56 bits as LEB128, its first byte lowest, and how many bytes that are: without a
/// turn for each byte.
#[inline(always)]
fn number_word(number: u64) -> Option<(u64, usize)> {
    if number >> 56 != 0 {
        return None;
    }
    // Seven bits to each byte, by halves.
    let mut word = (number & 0x0fff_ffff) | (number & 0x00ff_ffff_f000_0000) << 4;
    word = (word & 0x0000_3fff_0000_3fff) | (word & 0x0fff_c000_0fff_c000) << 2;
    word = (word & 0x007f_007f_007f_007f) | (word & 0x3f80_3f80_3f80_3f80) << 1;
    let len = ((number | 1).ilog2() / 7 + 1) as usize;
    let more = !SEVENS & ((1 << (8 * (len - 1))) - 1);
    Some((word | more, len))
}

/// Reads a number that [`number_word`] may have made, and says how many bytes it has; `None` where it
/// has more than eight, or is not in its shortest form.
#[inline(always)]
pub(super) fn word_number(word: u64) -> Option<(u64, usize)> {
    let ends = !word & !SEVENS;
    if ends == 0 {
        return None;
    }
    let len = ends.trailing_zeros() / 8 + 1;
    let word = word & SEVENS & (u64::MAX >> (64 - 8 * len));
    if len > 1 && word >> (8 * (len - 1)) == 0 {
        return None;
    }
    let mut number = (word & 0x007f_007f_007f_007f) | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    number = (number & 0x0000_3fff_0000_3fff) | (number & 0x3fff_0000_3fff_0000) >> 2;
    number = (number & 0x0fff_ffff) | (number & 0x0fff_ffff_0000_0000) >> 4;
    Some((number, len as usize))
}

/// The canonical encoding of a short text in one word, lowest byte first: most keys are words or
/// names, and this saves the calls that copy a handful of bytes.
#[derive(Clone, Copy)]
pub(super) struct ShortText {
    /// Lower half and upper half.
    word: [u64; 2],
    len: usize,
}

impl ShortText {
    /// Tag and length of the encoding.
    const HEADER: usize = 2;

    #[inline(always)]
    pub(super) fn new(text: &str) -> Option<Self> {
        let len = text.len();
        let bytes = short_word(text.as_bytes())?;
        (len <= size_of::<u128>() - Self::HEADER).then(|| {
            let word = u128::from(STR) | (len as u128) << 8 | bytes << (8 * Self::HEADER);
            Self { word: [word as u64, (word >> 64) as u64], len: len + Self::HEADER }
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn word(&self) -> u128 {
        u128::from(self.word[0]) | u128::from(self.word[1]) << 64
    }

    #[inline]
    pub(super) fn hash64(&self) -> u64 {
        xxh3_64(&self.word().to_le_bytes()[..self.len])
    }
}

/// Writes where there is room to spare: what is short goes in moves of a fixed length, which also
/// change some of the bytes behind it. Where there is too little room, it says so in the end.
pub(super) struct Roomy<'a> {
    buffer: &'a mut [u8],
    at: usize,
    fits: bool,
}

impl<'a> Roomy<'a> {
    #[inline(always)]
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0, fits: true }
    }

    /// How many bytes were written; `None` where there was too little room.
    #[inline(always)]
    pub(super) fn finish(self) -> Option<usize> {
        self.fits.then_some(self.at)
    }
}

impl Sink for Roomy<'_> {
    #[inline(always)]
    fn put_number(&mut self, number: u64) {
        match number_word(number) {
            Some((word, len)) => self.put_word(word.into(), len),
            None => {
                let mut bytes = [0; 16];
                let mut cursor = Cursor::new(&mut bytes);
                cursor.put_number(number);
                let len = cursor.finish().unwrap_or_default();
                self.put(&bytes[..len]);
            }
        }
    }

    #[inline(always)]
    fn put(&mut self, bytes: &[u8]) {
        if let Some(word) = short_word(bytes) {
            return self.put_word(word, bytes.len());
        }
        let end = self.at.saturating_add(bytes.len());
        match self.buffer.get_mut(self.at..end) {
            Some(room) => room.copy_from_slice(bytes),
            None => self.fits = false,
        }
        self.at = end;
    }

    #[inline(always)]
    fn put_word(&mut self, word: u128, len: usize) {
        match self.buffer.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) {
            Some(room) => *room = word.to_le_bytes(),
            None => self.fits = false,
        }
        self.at += len;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KeyRef, PacketRef, PartitionKey, ProvenanceRef};
    use super::*;

    #[test]
    fn a_word_has_the_bytes_and_zeros_above() {
        let bytes: Vec<u8> = (1..=40).collect();
        for len in 0..bytes.len() {
            let word = short_word(&bytes[..len]);
            assert_eq!(word.is_some(), len <= 16, "{len} bytes");
            if let Some(word) = word {
                let mut expected = [0; 16];
                expected[..len].copy_from_slice(&bytes[..len]);
                assert_eq!(word.to_le_bytes(), expected, "{len} bytes");
            }
        }
    }

    #[test]
    fn numbers_as_words_are_those_byte_by_byte() {
        let around =
            (0..64).flat_map(|bit| [-1, 0, 1].map(|d| (1_u64 << bit).wrapping_add_signed(d)));
        for number in around.chain([0x0012_3456_789a_bcde, 0x0fed_cba9_8765_4321]) {
            let (mut bytes, mut room) = ([0; 16], [0xee; 64]);
            let mut cursor = Cursor::new(&mut bytes);
            cursor.put_number(number);
            let len = cursor.finish().unwrap();
            let mut roomy = Roomy::new(&mut room);
            roomy.put_number(number);
            assert_eq!(roomy.finish(), Some(len), "{number:#x}");
            assert_eq!(room[..len], bytes[..len], "{number:#x}");
            room[len..].fill(0xff);
            let read = word_number(u64::from_le_bytes(*room.first_chunk().unwrap()));
            assert_eq!(read, (len <= 8).then_some((number, len)), "{number:#x}");
        }
        // Zero in two bytes, and a number that does not end.
        assert_eq!((word_number(0x0080), word_number(u64::MAX)), (None, None));
    }

    #[test]
    fn a_text_of_any_length_is_the_same_key_whether_borrowed_or_owned() {
        let long = "\u{e9}".repeat(40);
        for text in (0..=long.len()).filter_map(|len| long.get(..len)).chain(["a", "abc", "abcde"])
        {
            let (borrowed, owned) = (KeyRef::from(text), PartitionKey::from(text));
            assert_eq!(borrowed.hash64(), owned.hash64(), "{text:?}");
            assert_eq!(borrowed.encoded_len(), owned.encoded_len(), "{text:?}");
            assert_eq!(borrowed.as_str(), Some(text));
            let mut packet = PacketRef::new(b"payload");
            packet.partition_key = Some(borrowed);
            let mut bytes = vec![0; packet.encoded_len()];
            packet.encode_into(&mut bytes).unwrap();
            let read = PacketRef::decode(&bytes).unwrap();
            assert_eq!(read.partition_key.unwrap().to_key().unwrap(), owned);
        }
    }

    #[test]
    fn with_room_to_spare_or_without_the_same_bytes_are_written_or_none_claimed() {
        let text = "0123456789abcdefghijklmnop";
        for len in 0..text.len() {
            let mut packet = PacketRef::new(&text.as_bytes()[..len]);
            packet.partition_key = Some(KeyRef::from(&text[..len]));
            let from = ProvenanceRef {
                upstream_task: &text[..len],
                upstream_index: 300,
                sequence: 1 << (2 * len),
            };
            let numbered = PacketRef { provenance: Some(from), ..packet };
            let mut expected = vec![0; numbered.encoded_len()];
            numbered.encode_into(&mut expected).unwrap();
            let mut room = [0xee; 256];
            let written = packet.encode_roomy(0, numbered.origin(), &mut room).unwrap();
            assert_eq!(room[..written], expected);
            for short in 0..expected.len() {
                assert_eq!(packet.encode_roomy(0, numbered.origin(), &mut room[..short]), None);
            }
        }
    }
}
