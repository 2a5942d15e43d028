//! Prints made-up text with the statistics of a natural one, for `benches/README.md`'s whole job.
//!
//! ```text
//! cargo run --release -p ringway-bench --example text -- 200000000 > 200MB.txt
//! ```
//!
//! Word frequencies follow Zipf and Mandelbrot, `1 / (rank + 2.7)^1.05` over 400,000 words, about as
//! many as a book collection of 200 MB has; frequent words are short, sentences begin with a capital
//! and have commas, and one word in some thirty has a letter that is not ASCII. The same number of
//! bytes is always the same text.

use std::collections::HashSet;
use std::io::{self, Write};
use std::process::ExitCode;

const WORDS: usize = 400_000;
const SHIFT: f64 = 2.7;
const EXPONENT: f64 = 1.05;
const ONSETS: [&str; 20] = [
    "t", "s", "d", "l", "r", "n", "m", "p", "b", "k", "f", "g", "h", "v", "w", "st", "tr", "pl",
    "ch", "sh",
];
const VOWELS: [&str; 12] = ["e", "a", "i", "o", "u", "e", "a", "ea", "ou", "ai", "y", "\u{e9}"];
const CODAS: [&str; 10] = ["", "n", "r", "s", "t", "", "l", "d", "ng", "m"];

/// Marsaglia 2003, "Xorshift RNGs", with a multiplication behind it (Vigna 2016).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, count: usize) -> usize {
        ((u128::from(self.next()) * count as u128) >> 64) as usize
    }

    /// From 0 to less than 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Different words, the frequent ones first: the more there are before it, the longer a word is.
fn vocabulary(random: &mut Random) -> Vec<String> {
    let mut seen = HashSet::new();
    let mut words = Vec::with_capacity(WORDS);
    while words.len() < WORDS {
        let syllables = 1 + match words.len() {
            0..150 => 0,
            150..5000 => random.below(2),
            _ => 1 + random.below(3),
        };
        let mut word = String::new();
        for _ in 0..syllables {
            for parts in [&ONSETS[..], &VOWELS, &CODAS] {
                word.push_str(parts[random.below(parts.len())]);
            }
        }
        if seen.insert(word.clone()) {
            words.push(word);
        }
    }
    words
}

/// For each rank the share of all words that it and those before it have.
fn shares() -> Vec<f64> {
    let mut sum = 0.0;
    let mut shares: Vec<f64> = (0..WORDS)
        .map(|rank| {
            sum += 1.0 / (rank as f64 + 1.0 + SHIFT).powf(EXPONENT);
            sum
        })
        .collect();
    shares.iter_mut().for_each(|share| *share /= sum);
    shares
}

fn write(bytes: u64, out: &mut impl Write) -> io::Result<()> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (words, shares) = (vocabulary(&mut random), shares());
    let (mut written, mut line, mut begins) = (0_u64, 0, true);
    let mut next = String::new();
    while written < bytes {
        let share = random.unit();
        let rank = shares.partition_point(|up_to| *up_to <= share);
        let word = &words[rank.min(WORDS - 1)];
        next.clear();
        if begins {
            next.extend(word.chars().take(1).flat_map(char::to_uppercase));
            next.extend(word.chars().skip(1));
        } else {
            next.push_str(word);
        }
        begins = random.below(14) == 0;
        next.push_str(match (begins, random.below(12)) {
            (true, _) => ".",
            (false, 0) => ",",
            _ => "",
        });
        line += next.len() + 1;
        next.push(if line > 72 { '\n' } else { ' ' });
        line = if line > 72 { 0 } else { line };
        out.write_all(next.as_bytes())?;
        written += next.len() as u64;
    }
    out.flush()
}

fn main() -> ExitCode {
    let Some(bytes) = std::env::args().nth(1).and_then(|bytes| bytes.parse().ok()) else {
        eprintln!("usage: text BYTES");
        return ExitCode::from(2);
    };
    match write(bytes, &mut io::BufWriter::new(io::stdout().lock())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("text: {error}");
            ExitCode::FAILURE
        }
    }
}
