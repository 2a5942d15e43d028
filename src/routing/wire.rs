//! The primitives of the wire form: numbers, texts, and what can be wrong with bytes.
//!
//! Packets, stop signals and keys are written with these and nothing else. `docs/wire.md` has the
//! byte tables. Bytes come from other processes: reading any of them gives a value or a
//! [`WireError`], never a panic, an endless loop, or an allocation larger than the bytes warrant.

use xxhash_rust::xxh3::Xxh3;

use super::short::{short_word, word_number};

/// Version of the wire form that this build writes, and the only one it reads.
pub const WIRE_VERSION: u8 = 1;

/// Why bytes are not a packet, a stop signal or a key, or why one cannot be written. Permanent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes were written by another version of the wire form.
    #[error("wire version {version} is not known (this build reads {WIRE_VERSION})")]
    UnknownVersion {
        /// The version that the bytes name.
        version: u8,
    },
    /// The bytes end too early.
    #[error("truncated: {what} needs {missing} more bytes")]
    Truncated {
        /// The part that is cut off.
        what: &'static str,
        /// Bytes missing to complete it, at least.
        missing: usize,
    },
    /// Reserved flag bits are set.
    #[error("flags {flags:#04x} have reserved bits set")]
    UnknownFlags {
        /// The whole flags byte.
        flags: u8,
    },
    /// The packet names a strategy that is not known.
    #[error("partition strategy {code} is not known")]
    UnknownStrategy {
        /// The strategy byte.
        code: u8,
    },
    /// A key has a type that is not known.
    #[error("key tag {tag:#04x} is not known")]
    UnknownKeyTag {
        /// The tag byte.
        tag: u8,
    },
    /// A key's tuples are nested too deeply.
    #[error("key tuples are nested more than {max} deep")]
    KeyTooDeep {
        /// The deepest nesting allowed.
        max: usize,
    },
    /// A number is not in its one shortest form, or out of range.
    #[error("{what} is not a canonical number in range")]
    BadNumber {
        /// The field.
        what: &'static str,
    },
    /// A text is not UTF-8.
    #[error("{what} is not utf-8")]
    NotUtf8 {
        /// The field.
        what: &'static str,
    },
    /// Bytes follow where none may.
    #[error("{count} bytes follow the end of {what}")]
    Trailing {
        /// The thing that ended.
        what: &'static str,
        /// Bytes left over.
        count: usize,
    },
    /// The buffer to be written to is too short.
    #[error("encoding needs {needed} bytes, the buffer has {have}")]
    BufferTooSmall {
        /// Bytes needed.
        needed: usize,
        /// Bytes given.
        have: usize,
    },
    /// The record is neither a packet nor a stop signal.
    #[error("record kind {kind} is neither a packet nor a stop signal")]
    UnknownKind {
        /// The record's kind.
        kind: u8,
    },
    /// The payload is not the value asked for, or a value could not be serialized.
    #[error("payload: {0}")]
    Payload(postcard::Error),
}

/// Where encoded bytes go: a buffer, a hash, or only their number.
pub(super) trait Sink {
    fn put(&mut self, bytes: &[u8]);

    /// LEB128: seven bits a byte, lowest first, the top bit set on all but the last.
    #[inline]
    fn put_number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.put(&[number as u8 | 0x80]);
            number >>= 7;
        }
        self.put(&[number as u8]);
    }

    #[inline]
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_number(bytes.len() as u64);
        self.put(bytes);
    }
}

/// Counts the bytes.
pub(super) struct Count(pub(super) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Sink for Xxh3 {
    fn put(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }
}

/// Writes to a buffer; past its end it only counts, so that the error can say what was needed.
pub(super) struct Cursor<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, at: 0 }
    }

    /// How many bytes were written.
    pub(super) fn finish(self) -> Result<usize, WireError> {
        if self.at > self.buffer.len() {
            return Err(WireError::BufferTooSmall { needed: self.at, have: self.buffer.len() });
        }
        Ok(self.at)
    }
}

impl Sink for Cursor<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at.saturating_add(bytes.len());
        if let Some(room) = self.buffer.get_mut(self.at..end) {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

/// Reads from the front of bytes that nobody vouches for.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    whole: &'a [u8],
}

/// The bits that no ASCII character has.
const NOT_ASCII: u128 = 0x8080_8080_8080_8080_8080_8080_8080_8080;

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, whole: bytes }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Passes over `expected` if it comes next; `word` is the same as [`short_word`] gives it.
    #[inline(always)]
    pub(super) fn pass_over(&mut self, expected: &[u8], word: Option<u128>) -> bool {
        let Some((next, rest)) = self.rest.split_at_checked(expected.len()) else { return false };
        let same = if word.is_some() { short_word(next) == word } else { next == expected };
        if same {
            self.rest = rest;
        }
        same
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        match self.rest.split_at_checked(len) {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(taken)
            }
            None => Err(WireError::Truncated { what, missing: len - self.rest.len() }),
        }
    }

    #[inline]
    pub(super) fn array<const N: usize>(
        &mut self,
        what: &'static str,
    ) -> Result<[u8; N], WireError> {
        match self.rest.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.rest = rest;
                Ok(*taken)
            }
            None => Err(WireError::Truncated { what, missing: N - self.rest.len() }),
        }
    }

    #[inline]
    pub(super) fn byte(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.array::<1>(what)?[0])
    }

    pub(super) fn u64_le(&mut self, what: &'static str) -> Result<u64, WireError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    #[inline]
    pub(super) fn number(&mut self, what: &'static str) -> Result<u64, WireError> {
        if let [small @ ..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok((*small).into());
        }
        if let Some(next) = self.rest.first_chunk()
            && let Some((number, len)) = word_number(u64::from_le_bytes(*next))
        {
            self.rest = &self.rest[len..];
            return Ok(number);
        }
        self.number_by_bytes(what)
    }

    /// The same where fewer than eight bytes are left, or something is wrong.
    fn number_by_bytes(&mut self, what: &'static str) -> Result<u64, WireError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                // A last byte of 0 adds nothing: the same number has a shorter form.
                if byte == 0 && shift != 0 {
                    break;
                }
                return Ok(number);
            }
        }
        Err(WireError::BadNumber { what })
    }

    #[inline]
    pub(super) fn number_u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        u32::try_from(self.number(what)?).map_err(|_| WireError::BadNumber { what })
    }

    #[inline]
    pub(super) fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        let len = usize::try_from(self.number(what)?).map_err(|_| WireError::BadNumber { what })?;
        self.take(len, what)
    }

    /// The bytes of a text, found to be UTF-8.
    #[inline(always)]
    pub(super) fn text_bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        // Short and ASCII, as most are: a look at the last 16 bytes up to its end, of which those before
        // it are shifted out.
        if let [len @ 1..=16, rest @ ..] = self.rest
            && let Some((text, rest)) = rest.split_at_checked((*len).into())
        {
            let before = self.whole.len() - rest.len();
            if let Some(last) = self.whole.get(..before).and_then(<[u8]>::last_chunk)
                && u128::from_le_bytes(*last) >> (8 * (16 - u32::from(*len))) & NOT_ASCII == 0
            {
                self.rest = rest;
                return Ok(text);
            }
        }
        self.long_text_bytes(what)
    }

    /// The same for any text.
    #[inline(never)]
    fn long_text_bytes(&mut self, what: &'static str) -> Result<&'a [u8], WireError> {
        self.text(what).map(str::as_bytes)
    }

    #[inline(always)]
    pub(super) fn text(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| WireError::NotUtf8 { what })
    }

    #[inline]
    pub(super) fn version(&mut self) -> Result<(), WireError> {
        match self.byte("version")? {
            WIRE_VERSION => Ok(()),
            version => Err(WireError::UnknownVersion { version }),
        }
    }

    /// Reads the flags byte, of which only the bits in `known` may be set.
    #[inline]
    pub(super) fn flags(&mut self, known: u8) -> Result<u8, WireError> {
        let flags = self.byte("flags")?;
        if flags & !known != 0 {
            return Err(WireError::UnknownFlags { flags });
        }
        Ok(flags)
    }

    pub(super) fn end(&self, what: &'static str) -> Result<(), WireError> {
        match self.rest.len() {
            0 => Ok(()),
            count => Err(WireError::Trailing { what, count }),
        }
    }
}
