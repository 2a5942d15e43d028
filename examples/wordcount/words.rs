//! The operators themselves: what is done to the data, knowing nothing of processes and queues.

use std::collections::HashMap;
use std::string::FromUtf8Error;

use serde::{Deserialize, Serialize};

/// Calls `emit` with each word of `text`, lower-cased in `word`.
///
/// A word is a maximal run of alphanumeric characters; bytes that are no UTF-8 are none, and so
/// stand between words.
pub(crate) fn split<E>(
    text: &[u8],
    word: &mut String,
    mut emit: impl FnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    for part in text.utf8_chunks() {
        for found in part.valid().split(|c: char| !c.is_alphanumeric()) {
            if found.is_empty() {
                continue;
            }
            word.clear();
            if found.is_ascii() {
                word.push_str(found);
                word.make_ascii_lowercase();
            } else {
                word.extend(found.chars().flat_map(char::to_lowercase));
            }
            emit(word)?;
        }
    }
    Ok(())
}

/// How often each word occurred.
#[derive(Debug, Default)]
pub(crate) struct Counts(HashMap<Vec<u8>, u64>);

impl Counts {
    /// Counts `times` more occurrences.
    pub(crate) fn add(&mut self, word: &[u8], times: u64) {
        match self.0.get_mut(word) {
            Some(count) => *count += times,
            None => {
                self.0.insert(word.to_owned(), times);
            }
        }
    }

    /// Every word with its count, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], u64)> {
        self.0.iter().map(|(word, count)| (word.as_slice(), *count))
    }

    /// What the job answers.
    ///
    /// # Errors
    /// Where a word is no text.
    pub(crate) fn result(self, top: usize) -> Result<Counted, FromUtf8Error> {
        let text = |(word, count)| Ok((String::from_utf8(word)?, count));
        Ok(Counted::of(self.0.into_iter().map(text).collect::<Result<_, _>>()?, top))
    }
}

impl Counted {
    /// Puts together what was counted: different words, each with its count.
    pub(crate) fn of(mut all: Vec<(String, u64)>, top: usize) -> Self {
        let words = all.iter().map(|(_, count)| count).sum();
        let distinct = all.len() as u64;
        let order =
            |a: &(String, u64), b: &(String, u64)| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0));
        if top > 0 && top < all.len() {
            all.select_nth_unstable_by(top - 1, order);
        }
        all.truncate(top);
        all.sort_unstable_by(order);
        Self { words, distinct, top: all }
    }
}

/// The answer of the job.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    /// Occurrences of all words.
    pub(crate) words: u64,
    /// Different words.
    pub(crate) distinct: u64,
    /// The most frequent words: by count, descending, and where that is the same by word.
    pub(crate) top: Vec<(String, u64)>,
}
