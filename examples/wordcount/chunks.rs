//! Cuts a stream of bytes into chunks that can be split into words independently.
//!
//! A cut is made only behind something that is certainly no part of a word, so no word and no
//! character is ever torn, and the words of all chunks are the words of the whole.

use std::io::{self, Read};

/// Bytes read before a cut is looked for.
pub(crate) const CHUNK_BYTES: usize = 32 * 1024;

/// Why there is no next chunk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChunkError {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A word is longer than a packet may be.
    #[error(
        "the word at byte {offset} is longer than {max} bytes (--max-word BYTES makes the rings larger)"
    )]
    WordTooLong {
        /// Where it starts.
        offset: u64,
        /// The longest that is promised to fit.
        max: usize,
    },
}

/// Longest chunk there can be when words have up to `max_word` bytes.
pub(crate) fn max_chunk(max_word: usize) -> usize {
    max_word + CHUNK_BYTES
}

/// The chunks of one input.
pub(crate) struct Chunks<R> {
    input: R,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that the last chunk was made of.
    spent: usize,
    /// Where the buffer starts in the input.
    offset: u64,
    ended: bool,
    max_word: usize,
}

impl<R: Read> Chunks<R> {
    /// Reads `input`, whose words have up to `max_word` bytes.
    pub(crate) fn new(input: R, max_word: usize) -> Self {
        Self { input, buffer: Vec::new(), spent: 0, offset: 0, ended: false, max_word }
    }

    /// The next chunk, of 1 to [`max_chunk`] bytes; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, ChunkError> {
        self.buffer.drain(..self.spent);
        self.offset += self.spent as u64;
        self.spent = 0;
        let mut wanted = CHUNK_BYTES;
        loop {
            self.fill(wanted)?;
            if self.ended && self.buffer.is_empty() {
                return Ok(None);
            }
            // At the end of the input everything ends.
            let cut = if self.ended { Some(self.buffer.len()) } else { last_cut(&self.buffer) };
            match cut {
                Some(cut) if cut <= max_chunk(self.max_word) => {
                    self.spent = cut;
                    return Ok(Some(&self.buffer[..cut]));
                }
                None if self.buffer.len() < max_chunk(self.max_word) => {
                    wanted = (2 * self.buffer.len()).min(max_chunk(self.max_word));
                }
                _ => {
                    return Err(ChunkError::WordTooLong {
                        offset: self.offset,
                        max: self.max_word,
                    });
                }
            }
        }
    }

    /// Reads until the buffer has `wanted` bytes or the input ends.
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        let missing = wanted.saturating_sub(self.buffer.len());
        if missing > 0 && !self.ended {
            let read = (&mut self.input).take(missing as u64).read_to_end(&mut self.buffer)?;
            self.ended = read < missing;
        }
        Ok(())
    }
}

/// The last place where the bytes can be cut: behind an ASCII character that is in no word, as in
/// almost every text, or else behind any character or broken sequence that is in none.
fn last_cut(bytes: &[u8]) -> Option<usize> {
    let ascii = |byte: &u8| byte.is_ascii() && !byte.is_ascii_alphanumeric();
    if let Some(at) = bytes.iter().rposition(ascii) {
        return Some(at + 1);
    }
    let mut cut = None;
    let mut start = 0;
    for part in bytes.utf8_chunks() {
        let separator = part.valid().char_indices().rfind(|(_, c)| !c.is_alphanumeric());
        if let Some((at, c)) = separator {
            cut = Some(start + at + c.len_utf8());
        }
        start += part.valid().len() + part.invalid().len();
        // A sequence that is broken off at the very end may be completed by what follows.
        if !part.invalid().is_empty() && start < bytes.len() {
            cut = Some(start);
        }
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::{Counts, split};

    fn words(chunks: &[&[u8]]) -> Vec<(Vec<u8>, u64)> {
        let mut counts = Counts::default();
        for chunk in chunks {
            let mut add = |word: &str| {
                counts.add(word.as_bytes(), 1);
                Ok::<(), ()>(())
            };
            split(chunk, &mut String::new(), &mut add).unwrap();
        }
        let mut all: Vec<_> = counts.iter().map(|(word, count)| (word.to_owned(), count)).collect();
        all.sort();
        all
    }

    fn check(text: &[u8], max_word: usize) -> usize {
        let mut chunks = Chunks::new(text, max_word);
        let mut whole = Vec::new();
        let mut parts: Vec<Vec<u8>> = Vec::new();
        while let Some(chunk) = chunks.next().unwrap() {
            assert!(!chunk.is_empty() && chunk.len() <= max_chunk(max_word));
            whole.extend_from_slice(chunk);
            parts.push(chunk.to_vec());
        }
        assert_eq!(whole, text);
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        assert_eq!(words(&parts), words(&[text]));
        parts.len()
    }

    #[test]
    fn words_of_the_chunks_are_the_words_of_the_whole() {
        assert_eq!(check(b"", 10), 0);
        assert_eq!(check(b"one", 10), 1);
        for unit in ["word ", "\u{4e2d}\u{6587}\u{3002}", "na\u{ef}ve\u{2014}", "x"] {
            let most = if unit == "x" { CHUNK_BYTES } else { 5 * CHUNK_BYTES };
            check(unit.repeat(most / unit.len()).as_bytes(), CHUNK_BYTES);
        }
    }

    #[test]
    fn a_character_across_the_cut_is_not_torn() {
        for lead in 0..8 {
            // No ASCII after the start, and sequences that are broken here and there.
            let mut text = vec![b'.'; lead];
            for i in 0..CHUNK_BYTES {
                text.extend_from_slice("\u{e9}\u{4e2d}\u{1d7d8}".as_bytes());
                if i % 1000 == 999 {
                    text.extend_from_slice(b"\xe2\x82");
                }
            }
            assert!(check(&text, CHUNK_BYTES) > 1);
        }
    }

    #[test]
    fn a_word_too_long_is_an_error_that_says_where() {
        let mut text = b"short ".repeat(CHUNK_BYTES).to_vec();
        let offset = text.len() as u64;
        text.extend(vec![b'x'; 3 * CHUNK_BYTES]);
        check(&text, 3 * CHUNK_BYTES);
        let mut chunks = Chunks::new(&*text, CHUNK_BYTES);
        let error = loop {
            match chunks.next() {
                Ok(chunk) => assert!(chunk.is_some()),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, ChunkError::WordTooLong { offset: at, .. } if at == offset));
    }
}
