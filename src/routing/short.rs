//! Short pieces of bytes as words: what most keys, names and records are made of.
//!
//! A call that copies a handful of bytes costs more than the copy, and a packet is made of several such
//! pieces. Nothing here is shared with other processes.

use xxhash_rust::xxh3::xxh3_64;

use super::key::STR;

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

/// Room for what stands before a payload, where that is short: written in moves of a fixed length, each
/// of which also changes some of the bytes behind it.
pub(super) struct ShortRoom<'a> {
    room: &'a mut [u8; SHORT_ROOM],
    at: usize,
}

/// The head, three numbers, a name and a key, and a word's spare.
const SHORT_ROOM: usize = 2 + 3 * 8 + 3 * size_of::<u128>();

impl<'a> ShortRoom<'a> {
    /// The front of `buffer`, behind a head of two bytes; `None` where it is too short.
    #[inline(always)]
    pub(super) fn new(buffer: &'a mut [u8]) -> Option<Self> {
        Some(Self { room: buffer.first_chunk_mut()?, at: 2 })
    }

    /// Writes a number; `None` where it has more than eight bytes.
    #[inline(always)]
    pub(super) fn put_number(&mut self, number: u64) -> Option<()> {
        let (word, len) = number_word(number)?;
        *self.room.get_mut(self.at..)?.first_chunk_mut()? = word.to_le_bytes();
        self.at += len;
        Some(())
    }

    /// Writes the first `len` bytes of a word.
    #[inline(always)]
    pub(super) fn put_word(&mut self, word: u128, len: usize) -> Option<()> {
        *self.room.get_mut(self.at..)?.first_chunk_mut()? = word.to_le_bytes();
        self.at += len;
        Some(())
    }

    /// Writes the head, and says where the payload begins.
    #[inline(always)]
    pub(super) fn finish(self, head: [u8; 2]) -> usize {
        [self.room[0], self.room[1]] = head;
        self.at
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{Cursor, Sink};
    use super::super::{
        InstanceId, KeyRef, KnownInstance, Origin, PacketRef, PartitionKey, PartitionStrategy,
    };
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
            let (mut bytes, mut room) = ([0; 16], [0xee; SHORT_ROOM]);
            let mut cursor = Cursor::new(&mut bytes);
            cursor.put_number(number);
            let len = cursor.finish().unwrap();
            let mut short = ShortRoom::new(&mut room).unwrap();
            assert_eq!(short.put_number(number).is_some(), len <= 8, "{number:#x}");
            if len <= 8 {
                assert_eq!(short.finish([1, 2]), 2 + len, "{number:#x}");
                assert_eq!((&room[..2], &room[2..2 + len]), (&[1, 2][..], &bytes[..len]));
            }
            bytes[len..].fill(0xff);
            let read = word_number(u64::from_le_bytes(*bytes.first_chunk().unwrap()));
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
    fn a_short_record_has_the_same_bytes_as_any_other() {
        let text = "0123456789abcdefghijklmnop";
        let (mut short, mut long) = (0, 0);
        for len in 0..text.len() {
            let id = InstanceId::new(&text[..len], 100 * len as u32);
            let (known, sequence) = (KnownInstance::new(id), 1 << (2 * len));
            let from = Origin::Known(&known, sequence);
            let said = from.provenance();
            for (payload, key, from) in [
                (len, Some(len), Some(from)),
                (len, Some(3), Some(Origin::Packets(&said))),
                (len, Some(3), None),
                (3, None, Some(from)),
                (len, None, None),
            ] {
                let mut packet = PacketRef::new(&text.as_bytes()[..payload]);
                packet.partition_key = key.map(|len| KeyRef::from(&text[..len]));
                let whole = PacketRef { provenance: from.map(Origin::provenance), ..packet };
                let mut expected = vec![0; whole.encoded_len()];
                whole.encode_into(&mut expected).unwrap();
                let mut room = [0xee; SHORT_ROOM];
                match packet.encode_short(0, from, &mut room) {
                    Some(written) => assert_eq!((&room[..written], short += 1), (&*expected, ())),
                    None => long += 1,
                }
                // What has no place in a short record is not left out of it.
                for more in [
                    PacketRef { timestamp_ns: 7, ..packet },
                    PacketRef { partition_strategy: Some(PartitionStrategy::Broadcast), ..packet },
                ] {
                    assert_eq!(more.encode_short(0, from, &mut room), None);
                }
                assert_eq!(packet.encode_short(1, from, &mut room), None);
                assert_eq!(packet.encode_short(0, from, &mut room[1..]), None);
            }
        }
        assert!(short > 80 && long > 20, "{short} short, {long} long");
    }
}
