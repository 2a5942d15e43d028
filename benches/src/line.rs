//! What no ring of one line a record goes below: a stamp, its payload behind it, and nothing else.
//!
//! Two rings of lines in unnamed memory, for a ping-pong, which needs no counts of what may be written again. A
//! line is asked for, for writing, as soon as the other's has come, as Ringway's rings do for answers. Where the
//! mode promises several producers or consumers, each record is won by a compare-and-swap in an array of its
//! side's own, and the side's end moved by another, without which they could not do; nobody competes. It has
//! no kinds, no lengths, no waiting, no recovery: what a ring adds to it is the difference.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use crate::error::{BenchError, Result};
use crate::payload::{self, Source};
use crate::shared::Region;
use crate::transport::{Inlet, LinkSpec, Outlet};

/// Longest payload: the words of a line but one.
const MOST: usize = 56;

/// Bytes of both rings, and of what is won by their four ends.
pub(crate) fn region_bytes(spec: &LinkSpec) -> usize {
    (2 * entries(spec) + 4 * contest_lines(entries(spec))) * 64
}

/// Lines of an end's contest: eight words a line, and the end itself.
fn contest_lines(entries: usize) -> usize {
    entries.div_ceil(8) + 2
}

fn entries(spec: &LinkSpec) -> usize {
    spec.size.capacity_packets.next_power_of_two()
}

/// Says whether this can carry what is asked for.
///
/// # Errors
/// `Usage` when the payload does not fit, or shall lie in place.
pub(crate) fn check(spec: &LinkSpec) -> Result<()> {
    if spec.payload > MOST {
        let error = format!("--transport line has payloads of {MOST} bytes at most, in their line");
        return Err(BenchError::Usage(error));
    }
    if spec.in_place {
        return Err(BenchError::Usage("--transport line copies: no --in-place".into()));
    }
    Ok(())
}

/// One ring, as one end sees it.
#[derive(Debug)]
struct Lines {
    region: Arc<Region>,
    /// Its first line.
    first: usize,
    entries: usize,
    next: usize,
    /// The line that this process writes next.
    answer: Rc<Cell<usize>>,
    /// The first line of what this end has to win; none where it is alone.
    contest: Option<usize>,
}

impl Lines {
    /// The `nth` of two rings, as its producer or its consumer sees it.
    fn new(
        region: &Arc<Region>,
        spec: &LinkSpec,
        nth: usize,
        consumer: bool,
        answer: &Rc<Cell<usize>>,
    ) -> Self {
        let entries = entries(spec);
        let many = if consumer { spec.mode.many_consumers() } else { spec.mode.many_producers() };
        let end = 2 * nth + usize::from(consumer);
        let contest = many.then(|| 2 * entries + end * contest_lines(entries));
        let (region, answer) = (Arc::clone(region), Rc::clone(answer));
        Self { region, first: nth * entries, entries, next: 0, answer, contest }
    }

    /// Wins the next record, and moves the end over it.
    #[inline]
    fn win(&self) {
        let Some(first) = self.contest else { return };
        let (at, record) = (self.next & (self.entries - 1), self.next as u64 + 1);
        let end = (first + self.entries.div_ceil(8) + 1, 0);
        for (line, word) in [(first + at / 8, at % 8), end] {
            let word = self.region.data_word(line, word);
            // RELAXED: compared below.
            let older = word.load(Relaxed);
            // SYNC line: alone here, so it succeeds.
            assert!(word.compare_exchange(older, record, AcqRel, Relaxed).is_ok());
        }
    }

    fn line(&self) -> usize {
        self.first + (self.next & (self.entries - 1))
    }
}

/// Both ends of one process: what it sends by, and what it receives by.
pub(crate) fn ends(
    region: &Arc<Region>,
    spec: &LinkSpec,
    starter: bool,
) -> (LineOutlet, LineInlet) {
    let answer = Rc::new(Cell::new(0));
    // The first ring leads from the starter to its peer.
    let out = Lines::new(region, spec, usize::from(!starter), false, &answer);
    let into = Lines::new(region, spec, usize::from(starter), true, &answer);
    answer.set(out.line());
    let private = Source::new(spec.payload, 1);
    (
        LineOutlet { lines: out, private },
        LineInlet { lines: into, private: [0; MOST], payload: spec.payload },
    )
}

/// Writes lines.
#[derive(Debug)]
pub(crate) struct LineOutlet {
    lines: Lines,
    private: Source,
}

impl Outlet for LineOutlet {
    #[inline]
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        let Self { lines, private } = self;
        for sequence in first..first + n as u64 {
            lines.win();
            let line = lines.line();
            let (words, rest) = private.one(sequence).as_chunks::<8>();
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            let all = words.iter().chain((!rest.is_empty()).then_some(&last));
            for (at, word) in (1..).zip(all) {
                // RELAXED: published by the stamp.
                lines.region.data_word(line, at).store(u64::from_le_bytes(*word), Relaxed);
            }
            lines.next += 1;
            // SYNC line (pairs with `receive`): the payload is there.
            lines.region.data_word(line, 0).store(lines.next as u64, Release);
            lines.answer.set(lines.line());
        }
        Ok(())
    }

    fn source(&mut self) -> Option<&mut Source> {
        Some(&mut self.private)
    }
}

/// Reads lines.
#[derive(Debug)]
pub(crate) struct LineInlet {
    lines: Lines,
    private: [u8; MOST],
    payload: usize,
}

impl LineInlet {
    fn is_there(&self) -> bool {
        // SYNC line (pairs with `send`).
        self.lines.region.data_word(self.lines.line(), 0).load(Acquire)
            == self.lines.next as u64 + 1
    }
}

impl Inlet for LineInlet {
    #[inline]
    fn receive(&mut self, expected: u64, _: usize) -> Result<usize> {
        while !self.is_there() {
            std::hint::spin_loop();
        }
        self.lines.region.fetch_data_line(self.lines.answer.get());
        self.lines.win();
        let line = self.lines.line();
        let words = self.payload.div_ceil(8);
        for (at, word) in (1..).zip(&mut self.private.as_chunks_mut::<8>().0[..words]) {
            // RELAXED: ordered by the stamp.
            *word = self.lines.region.data_word(line, at).load(Relaxed).to_le_bytes();
        }
        self.lines.next += 1;
        if !payload::read(&self.private[..self.payload], expected) {
            return Err(BenchError::Damaged { sequence: expected });
        }
        Ok(1)
    }

    #[inline]
    fn try_receive(&mut self, expected: u64) -> Result<bool> {
        if !self.is_there() {
            return Ok(false);
        }
        self.receive(expected, 1).map(|n| n > 0)
    }
}
