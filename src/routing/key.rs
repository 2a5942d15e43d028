//! Partition keys: what keeps packets that belong together on one target.
//!
//! A key has one canonical encoding (`docs/wire.md`), its hash is the XXH3-64 of that encoding with
//! seed 0, and its target is [`target_index`] of the hash: all three are the same in every process,
//! every build and every language, and the golden vectors in `docs/wire.md` hold them in place.
//! Every key has a hash, also the empty ones and zero, and `""`, `b""`, `0` and `()` are four
//! different keys.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::short::ShortText;
use super::wire::{Count, Cursor, Reader, Sink, WireError};

/// How deeply the tuples of a key may be nested to be put on the wire.
pub const MAX_KEY_DEPTH: usize = 16;

const BYTES: u8 = 0x01;
pub(super) const STR: u8 = 0x02;
const INT64: u8 = 0x03;
const INT128: u8 = 0x04;
const TUPLE: u8 = 0x05;

/// What a packet is partitioned by.
///
/// Keys of different types differ, whatever they hold: `Str("1")`, `Int(1)` and `Bytes(b"1")` are
/// three keys. Integers are one type: whether a number came as `u8` or as `i128` makes no
/// difference.
///
/// ```
/// use ringway::routing::PartitionKey;
///
/// let key = PartitionKey::from(("tenant-7", 42));
/// assert_eq!(key.hash64(), 0xd014_5694_590b_c61c);
/// assert_eq!(key.target_index(10), Some(8));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PartitionKey {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A text.
    Str(String),
    /// An integer, from −2^127 to 2^127−1.
    Int(i128),
    /// Keys in order. Those nested deeper than [`MAX_KEY_DEPTH`] cannot be put on the wire.
    Tuple(Vec<PartitionKey>),
}

impl PartitionKey {
    /// Hashes the canonical encoding: XXH3-64, seed 0. Allocates nothing.
    #[must_use]
    pub fn hash64(&self) -> u64 {
        // Hashing at once is several times faster than the streaming form, and gives the same.
        let mut buffer = [0; 128];
        let mut cursor = Cursor::new(&mut buffer);
        encode(self, &mut cursor);
        if let Ok(len) = cursor.finish() {
            return xxh3_64(&buffer[..len]);
        }
        let mut hasher = Xxh3::new();
        encode(self, &mut hasher);
        hasher.digest()
    }

    /// The target, of `count`, that the key belongs to: [`target_index`] of its hash. `None` only
    /// where `count` is 0.
    #[must_use]
    pub fn target_index(&self, count: usize) -> Option<usize> {
        target_index(self.hash64(), count)
    }

    /// Length of the canonical encoding, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        let mut count = Count(0);
        encode(self, &mut count);
        count.0
    }

    /// Writes the canonical encoding to the front of `buffer`, and says how many bytes it has.
    /// Allocates nothing.
    ///
    /// # Errors
    /// [`WireError::BufferTooSmall`] (the buffer then holds a part); [`WireError::KeyTooDeep`].
    pub fn encode_into(&self, buffer: &mut [u8]) -> Result<usize, WireError> {
        self.check()?;
        let mut cursor = Cursor::new(buffer);
        encode(self, &mut cursor);
        cursor.finish()
    }

    /// Reads a canonical encoding, all of `bytes`.
    ///
    /// # Errors
    /// A [`WireError`] where the bytes are anything else than the one encoding of one key.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let key = decode(&mut reader, 0)?;
        reader.end("key")?;
        Ok(key)
    }

    /// Says whether the key can be put on the wire.
    ///
    /// # Errors
    /// [`WireError::KeyTooDeep`].
    pub fn check(&self) -> Result<(), WireError> {
        fn within(key: &PartitionKey, levels: usize) -> bool {
            match key {
                PartitionKey::Tuple(items) => {
                    levels > 0 && items.iter().all(|item| within(item, levels - 1))
                }
                _ => true,
            }
        }
        if within(self, MAX_KEY_DEPTH) {
            Ok(())
        } else {
            Err(WireError::KeyTooDeep { max: MAX_KEY_DEPTH })
        }
    }
}

/// Reduces a hash to one of `count` targets: `(hash × count) >> 64` in 128 bits (multiply-shift,
/// Lemire 2019, "Fast random integer generation in an interval"). `None` only where `count` is 0.
#[must_use]
pub fn target_index(hash: u64, count: usize) -> Option<usize> {
    // The product of the hash and a count is below count × 2^64, so the cast loses nothing.
    (count > 0).then(|| ((u128::from(hash) * count as u128) >> 64) as usize)
}

/// A key that is not owned: one of a packet in this process, or one in place in a record's bytes.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    inner: Inner<'a>,
}

#[derive(Clone, Copy)]
enum Inner<'a> {
    Key(&'a PartitionKey),
    /// A text that is a key: no [`PartitionKey`] need be made of it.
    Str(&'a str),
    /// The same where it is short and to be sent, so that it is encoded once.
    Short(&'a str, ShortText),
    /// A text, found to be UTF-8 when it was read.
    Text(&'a [u8]),
    /// Another key, found canonical when it was read.
    Encoded(&'a [u8]),
}

impl<'a> KeyRef<'a> {
    /// Reads one key from the front of `reader`, in place.
    #[inline(always)]
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        if let [STR, ..] = reader.rest() {
            reader.byte("key tag")?;
            return Ok(Self { inner: Inner::Text(reader.text_bytes("key text")?) });
        }
        Ok(Self { inner: Inner::Encoded(encoded(reader)?) })
    }

    /// Hashes the key where it is: the same as [`PartitionKey::hash64`]. Allocates nothing.
    #[inline]
    #[must_use]
    pub fn hash64(&self) -> u64 {
        match &self.inner {
            Inner::Key(key) => key.hash64(),
            Inner::Str(text) => hash_text(text.as_bytes()),
            Inner::Text(text) => hash_text(text),
            Inner::Short(_, short) => short.hash64(),
            Inner::Encoded(bytes) => xxh3_64(bytes),
        }
    }

    /// Length of the canonical encoding, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self.inner {
            Inner::Key(key) => key.encoded_len(),
            Inner::Str(text) => text_len(text.as_bytes()),
            Inner::Text(text) => text_len(text),
            Inner::Short(_, short) => short.len(),
            Inner::Encoded(bytes) => bytes.len(),
        }
    }

    /// The canonical encoding in a word, where it is at hand, and how many bytes it has.
    #[inline(always)]
    pub(super) fn short(&self) -> Option<(u128, usize)> {
        match &self.inner {
            Inner::Short(_, short) => Some((short.word(), short.len())),
            _ => None,
        }
    }

    /// The text, where the key is one. That of a packet in place is looked at once more: `None` also
    /// where a peer changed it after it was read. [`KeyRef::text_bytes`] spares that.
    #[inline]
    #[must_use]
    pub fn as_str(&self) -> Option<&'a str> {
        match &self.inner {
            Inner::Key(PartitionKey::Str(text)) => Some(text),
            Inner::Str(text) | Inner::Short(text, _) => Some(text),
            Inner::Text(text) => std::str::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The bytes of the text, where the key is one: what a task needs that only compares them, or
    /// counts. They are UTF-8, unless a peer changed them after they were read.
    #[inline(always)]
    #[must_use]
    pub fn text_bytes(&self) -> Option<&'a [u8]> {
        match &self.inner {
            Inner::Text(text) => Some(text),
            Inner::Key(PartitionKey::Str(text)) => Some(text.as_bytes()),
            Inner::Str(text) | Inner::Short(text, _) => Some(text.as_bytes()),
            _ => None,
        }
    }

    /// Copies the key.
    ///
    /// # Errors
    /// A [`WireError`] where a peer changed the bytes after they were read the first time.
    pub fn to_key(&self) -> Result<PartitionKey, WireError> {
        match self.inner {
            Inner::Key(key) => Ok(key.clone()),
            Inner::Str(text) | Inner::Short(text, _) => Ok(PartitionKey::from(text)),
            Inner::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => Ok(PartitionKey::from(text)),
                Err(_) => Err(WireError::NotUtf8 { what: "key text" }),
            },
            Inner::Encoded(bytes) => PartitionKey::decode(bytes),
        }
    }

    #[inline]
    pub(super) fn check(&self) -> Result<(), WireError> {
        match &self.inner {
            Inner::Key(key) => key.check(),
            _ => Ok(()),
        }
    }

    #[inline]
    pub(super) fn write(&self, sink: &mut impl Sink) {
        match &self.inner {
            Inner::Key(key) => encode(key, sink),
            Inner::Str(text) => encode_text(text.as_bytes(), sink),
            Inner::Text(text) => encode_text(text, sink),
            Inner::Short(_, short) => sink.put(&short.word().to_le_bytes()[..short.len()]),
            Inner::Encoded(bytes) => sink.put(bytes),
        }
    }
}

impl<'a> From<&'a PartitionKey> for KeyRef<'a> {
    fn from(key: &'a PartitionKey) -> Self {
        Self { inner: Inner::Key(key) }
    }
}

impl<'a> From<&'a str> for KeyRef<'a> {
    /// Makes a text a key, without copying it: the same key as [`PartitionKey::Str`].
    #[inline]
    fn from(text: &'a str) -> Self {
        let short = ShortText::new(text);
        Self { inner: short.map_or(Inner::Str(text), |short| Inner::Short(text, short)) }
    }
}

impl fmt::Debug for KeyRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_key() {
            Ok(key) => key.fmt(f),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

fn hash_text(text: &[u8]) -> u64 {
    let mut buffer = [0; 64];
    let mut cursor = Cursor::new(&mut buffer);
    encode_text(text, &mut cursor);
    if let Ok(len) = cursor.finish() {
        return xxh3_64(&buffer[..len]);
    }
    let mut hasher = Xxh3::new();
    encode_text(text, &mut hasher);
    hasher.digest()
}

fn text_len(text: &[u8]) -> usize {
    let mut count = Count(0);
    encode_text(text, &mut count);
    count.0
}

#[inline]
fn encode_text(text: &[u8], sink: &mut impl Sink) {
    sink.put(&[STR]);
    sink.put_bytes(text);
}

fn encode(key: &PartitionKey, sink: &mut impl Sink) {
    match key {
        PartitionKey::Bytes(bytes) => {
            sink.put(&[BYTES]);
            sink.put_bytes(bytes);
        }
        PartitionKey::Str(text) => encode_text(text.as_bytes(), sink),
        PartitionKey::Int(int) => match i64::try_from(*int) {
            Ok(int) => {
                sink.put(&[INT64]);
                sink.put(&int.to_le_bytes());
            }
            Err(_) => {
                sink.put(&[INT128]);
                sink.put(&int.to_le_bytes());
            }
        },
        PartitionKey::Tuple(items) => {
            sink.put(&[TUPLE]);
            sink.put_number(items.len() as u64);
            for item in items {
                encode(item, sink);
            }
        }
    }
}

fn int128(reader: &mut Reader<'_>) -> Result<i128, WireError> {
    let int = i128::from_le_bytes(reader.array("key integer")?);
    // One that fits 64 bits has a shorter form.
    if i64::try_from(int).is_ok() {
        return Err(WireError::BadNumber { what: "key integer" });
    }
    Ok(int)
}

fn decode(reader: &mut Reader<'_>, depth: usize) -> Result<PartitionKey, WireError> {
    Ok(match reader.byte("key tag")? {
        BYTES => PartitionKey::Bytes(reader.bytes("key bytes")?.to_vec()),
        STR => PartitionKey::Str(reader.text("key text")?.to_owned()),
        INT64 => PartitionKey::Int(i64::from_le_bytes(reader.array("key integer")?).into()),
        INT128 => PartitionKey::Int(int128(reader)?),
        TUPLE if depth == MAX_KEY_DEPTH => {
            return Err(WireError::KeyTooDeep { max: MAX_KEY_DEPTH });
        }
        TUPLE => {
            let count = reader.number("key tuple")?;
            // No capacity: nobody vouches for the count, and every item takes a byte at least.
            let mut items = Vec::new();
            for _ in 0..count {
                items.push(decode(reader, depth + 1)?);
            }
            PartitionKey::Tuple(items)
        }
        tag => return Err(WireError::UnknownKeyTag { tag }),
    })
}

/// The bytes of one key of any type, which it passes over.
#[inline(never)]
fn encoded<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let before = reader.rest();
    skip(reader)?;
    Ok(&before[..before.len() - reader.rest().len()])
}

/// Passes over one key, having checked all that [`decode`] checks. Allocates nothing.
fn skip(reader: &mut Reader<'_>) -> Result<(), WireError> {
    // Items still to come in each tuple that is open.
    let mut open = [0_u64; MAX_KEY_DEPTH];
    let mut depth = 0;
    loop {
        match reader.byte("key tag")? {
            BYTES => _ = reader.bytes("key bytes")?,
            STR => _ = reader.text("key text")?,
            INT64 => _ = reader.array::<8>("key integer")?,
            INT128 => _ = int128(reader)?,
            TUPLE if depth == MAX_KEY_DEPTH => {
                return Err(WireError::KeyTooDeep { max: MAX_KEY_DEPTH });
            }
            TUPLE => {
                open[depth] = reader.number("key tuple")?;
                depth += 1;
            }
            tag => return Err(WireError::UnknownKeyTag { tag }),
        }
        while depth > 0 && open[depth - 1] == 0 {
            depth -= 1;
        }
        if depth == 0 {
            return Ok(());
        }
        open[depth - 1] -= 1;
    }
}

macro_rules! from_ints {
    ($($int:ty),*) => {$(
        impl From<$int> for PartitionKey {
            fn from(int: $int) -> Self {
                Self::Int(int.into())
            }
        }
    )*};
}
from_ints!(i8, i16, i32, i64, i128, u8, u16, u32, u64);

impl From<&str> for PartitionKey {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<String> for PartitionKey {
    fn from(text: String) -> Self {
        Self::Str(text)
    }
}

impl From<&[u8]> for PartitionKey {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for PartitionKey {
    fn from(bytes: &[u8; N]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<Vec<u8>> for PartitionKey {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<Vec<PartitionKey>> for PartitionKey {
    fn from(items: Vec<PartitionKey>) -> Self {
        Self::Tuple(items)
    }
}

impl<A: Into<Self>, B: Into<Self>> From<(A, B)> for PartitionKey {
    fn from((a, b): (A, B)) -> Self {
        Self::Tuple(vec![a.into(), b.into()])
    }
}

impl<A: Into<Self>, B: Into<Self>, C: Into<Self>> From<(A, B, C)> for PartitionKey {
    fn from((a, b, c): (A, B, C)) -> Self {
        Self::Tuple(vec![a.into(), b.into(), c.into()])
    }
}
