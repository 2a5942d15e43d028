//! The memory of two processes: unnamed, one mapping each, gone with the last of them.
//!
//! The starter makes a region (`memfd`, sealed against shrinking, so that no access can ever fault)
//! and hands it to its peers as their standard input. It starts with words, each on a line of its
//! own; behind them lie the chunks of up to two streams. This is the only module that touches shared
//! memory by pointer.
//!
//! If the other process dies, its words stand still and this one waits; `peers.rs` sees the death
//! and ends this process.
#![allow(unsafe_code, reason = "atomics and slices in a map shared with another process")]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicU64};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{
    FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals,
    memfd_create,
};

use crate::error::{BenchError, Doing, Result};

/// Bytes before the chunks: room for the words and the balls.
const WORDS_BYTES: usize = 128 << 10;
/// Where the balls begin, in bytes.
const BALLS_AT: usize = 64 << 10;
/// Lines that are bounced. Where a line lies decides how far it has to go, so that one alone says little of
/// a ring's.
pub(crate) const BALLS: usize = 16;
/// Distance of two balls, in bytes: an odd number of lines, so that they lie anywhere.
const BALL_BYTES: usize = 61 * 64;
/// Distance of two words, in bytes: two cache lines, for the prefetcher fetches pairs.
const LINE_BYTES: usize = 128;

/// Most processes that can share a region: each has [`SEAT_LINES`] lines of its own.
pub(crate) const MOST_SEATS: usize = 120;
const SEAT_LINES: usize = 4;
const FIRST_SEAT: usize = 32;

const _: () = assert!((FIRST_SEAT + MOST_SEATS * SEAT_LINES) * LINE_BYTES <= BALLS_AT);
const _: () = assert!(BALLS_AT + BALLS * BALL_BYTES <= WORDS_BYTES);

/// The words before the chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    /// Meetings the starter has come to.
    StarterArrived,
    /// Meetings the peer has come to.
    PeerArrived,
    /// How much of its core the peer's CPU has.
    Adds,
    /// A number for the peer.
    ToPeer,
    /// A number for the starter.
    ToStarter,
    /// A second number for the starter.
    ToStarterMore,
    /// Arrivals at a team's meetings.
    TeamArrived,
    /// Meetings of a team that are over: a futex.
    TeamMet,
    /// The futex that the starter wakes the peer with.
    WakePeer,
    /// The futex that the peer wakes the starter with.
    WakeStarter,
    /// Four words of the first stream.
    First,
    /// Four words of the second stream.
    Second = Word::First as usize + 4,
}

const _: () = assert!(Word::Second as usize + 4 <= FIRST_SEAT);

/// One mapping of a region.
#[derive(Debug)]
pub(crate) struct Region {
    map: MmapRaw,
}

impl Region {
    /// Makes a region with `data_bytes` behind its words, and the descriptor to hand on.
    ///
    /// # Errors
    /// `Os` when there is not so much memory.
    pub(crate) fn create(data_bytes: usize) -> Result<(Self, OwnedFd)> {
        let total = WORDS_BYTES.saturating_add(data_bytes);
        let doing = || format!("making a shared region of {total} bytes");
        let fd = memfd_create("ringway-bench", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .doing(doing())?;
        // Reserved now, so that want of memory is an error here and no SIGBUS later.
        fallocate(&fd, FallocateFlags::empty(), 0, total as u64).doing(doing())?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        fcntl_add_seals(&fd, seals).doing(doing())?;
        let file = File::from(fd);
        let region = Self::attach(&file)?;
        Ok((region, file.into()))
    }

    /// Maps a region that somebody else made.
    ///
    /// # Errors
    /// `Usage` when the file is no such region, `Os` when it cannot be mapped.
    pub(crate) fn attach(file: &File) -> Result<Self> {
        let sealed = fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK));
        if !sealed {
            return Err(BenchError::Usage(
                "standard input is no region of ringway-bench: `peer` is for its own use".into(),
            ));
        }
        // Populated: the page tables are filled before anything is measured.
        let map = MmapOptions::new().populate().map_raw(file).doing("mapping a shared region")?;
        if map.len() < WORDS_BYTES {
            return Err(BenchError::Usage("the shared region is too short".into()));
        }
        Ok(Self { map })
    }

    /// A word.
    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        self.line(word as usize)
    }

    /// One of the lines that are bounced, `nth` below [`BALLS`].
    pub(crate) fn ball(&self, nth: usize) -> &AtomicU64 {
        assert!(nth < BALLS, "ball {nth}");
        // SAFETY: in bounds: so far behind the start, a region is no shorter.
        let address = unsafe { self.map.as_mut_ptr().add(BALLS_AT + nth * BALL_BYTES) };
        // SAFETY: aligned to a line; else as in `line`.
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }

    /// A word of a line behind page 0, for measurements of lines as such; no chunks may lie there.
    #[inline]
    pub(crate) fn data_word(&self, line: usize, word: usize) -> &AtomicU64 {
        let offset = WORDS_BYTES + line * 64 + word * 8;
        assert!(word < 8 && offset + 8 <= self.map.len(), "line {line} lies behind the region");
        // SAFETY: in bounds, by the assertion.
        let address = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: aligned to 8; else as in `line`.
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }

    /// Asks for the line of such words, to be written; where it is not known how, nothing.
    #[inline]
    pub(crate) fn fetch_data_line(&self, line: usize) {
        let word: *const AtomicU64 = self.data_word(line, 0);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: prefetching accesses nothing in the sense of the memory model.
        unsafe {
            std::arch::asm!("prefetchw [{}]", in(reg) word, options(nostack, preserves_flags, readonly));
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = word;
    }

    /// A result of a team's member, `nth` below [`SEAT_LINES`].
    pub(crate) fn seat(&self, member: usize, nth: usize) -> &AtomicU64 {
        assert!(member < MOST_SEATS && nth < SEAT_LINES, "result {nth} of member {member}");
        self.line(FIRST_SEAT + member * SEAT_LINES + nth)
    }

    /// A word that is slept on. Never the same as one that is used as a [`Region::word`].
    pub(crate) fn futex(&self, word: Word) -> &AtomicU32 {
        let address = self.line(word as usize).as_ptr();
        // SAFETY: aligned and in bounds, being the first half of a line's word; the words named as
        // futexes are reached through these atomics alone. It lives as long as `self`.
        unsafe { AtomicU32::from_ptr(address.cast()) }
    }

    fn line(&self, line: usize) -> &AtomicU64 {
        let offset = line * LINE_BYTES;
        assert!(offset + LINE_BYTES <= WORDS_BYTES, "line {line} lies behind the words");
        // SAFETY: in bounds, because `attach` saw at least `WORDS_BYTES` and the assertion above
        // holds; the seal keeps the file from shrinking under the map.
        let address = unsafe { self.map.as_mut_ptr().add(offset) };
        // SAFETY: aligned, because a map starts at a page and the offset is a multiple of 128; the
        // words are reached through these atomics alone, in both processes; the map lives as long as
        // `self`, from which the reference borrows. Any value is a valid u64, whoever wrote it.
        unsafe { AtomicU64::from_ptr(address.cast()) }
    }
}

/// Where a stream lies: equal chunks, used round and round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Chunks {
    /// First byte, behind the words.
    pub(crate) offset: usize,
    /// Bytes of one chunk.
    pub(crate) bytes: usize,
    /// Number of chunks.
    pub(crate) count: usize,
}

/// One end's view of a stream of chunks.
#[derive(Debug)]
struct End {
    region: Arc<Region>,
    first_line: usize,
    chunks: Chunks,
    /// Chunks this end is done with.
    done: u64,
    /// The other end's counter as last seen.
    other: u64,
    /// `done` modulo the number of chunks.
    next: usize,
}

/// Lines of a stream, counted from its [`Word`]: the counters, and who has taken which end.
const WRITTEN: usize = 0;
const READ: usize = 1;
const WRITER_TAKEN: usize = 2;
const READER_TAKEN: usize = 3;

impl End {
    /// Takes an end of a stream: for ever, so that there is never a second writer or reader.
    fn take(region: &Arc<Region>, word: Word, chunks: Chunks, role: usize) -> Self {
        let end = chunks.bytes.checked_mul(chunks.count).and_then(|b| b.checked_add(chunks.offset));
        let room = region.map.len() - WORDS_BYTES;
        assert!(end.is_some_and(|end| end <= room), "{chunks:?} in {room} bytes");
        assert!(chunks.count > 0, "a stream of no chunks");
        let first_line = word as usize;
        // RELAXED would do: the swap alone decides who is first. AcqRel costs nothing here.
        let taken = region.line(first_line + role).swap(1, AcqRel);
        assert_eq!(taken, 0, "this end of the stream is taken");
        Self { region: Arc::clone(region), first_line, chunks, done: 0, other: 0, next: 0 }
    }

    fn counter(&self, which: usize) -> &AtomicU64 {
        self.region.line(self.first_line + which)
    }

    /// Address of chunk `index`.
    fn chunk(&self, index: usize) -> *mut u8 {
        assert!(index < self.chunks.count);
        let offset = WORDS_BYTES + self.chunks.offset + index * self.chunks.bytes;
        // SAFETY: in bounds, because `take` checked the end of the last chunk against the map.
        unsafe { self.region.map.as_mut_ptr().add(offset) }
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == self.chunks.count {
            self.next = 0;
        }
    }
}

/// The end of a stream that writes.
#[derive(Debug)]
pub(crate) struct ChunkWriter(End);

impl ChunkWriter {
    /// Takes the writing end.
    ///
    /// # Panics
    /// When the chunks lie outside the region, or the end was taken before.
    pub(crate) fn take(region: &Arc<Region>, word: Word, chunks: Chunks) -> Self {
        Self(End::take(region, word, chunks, WRITER_TAKEN))
    }

    /// Has `write` fill the next `n` chunks, then publishes them at once. Spins while there is no
    /// room. At most as many as there are chunks; says how many.
    #[inline]
    pub(crate) fn write_some(
        &mut self,
        n: usize,
        mut write: impl FnMut(usize, &mut [u8]),
    ) -> usize {
        let end = &mut self.0;
        let n = n.min(end.chunks.count);
        let after = end.done + n as u64;
        while after - end.other > end.chunks.count as u64 {
            // SYNC read (pairs with `read_some`): the reader is done with the chunks below.
            end.other = end.counter(READ).load(Acquire);
            if after - end.other > end.chunks.count as u64 {
                std::hint::spin_loop();
            }
        }
        for i in 0..n {
            // SAFETY: in bounds by `chunk`; exclusive, because this is the only writer (`take`), the
            // reader has counted past this chunk's last use (SYNC read, the loop above) and will not
            // touch it before `WRITTEN` says so. A reader that dies leaves its counter behind, and
            // the loop above never ends. Only this program's own peer has the region.
            let chunk =
                unsafe { std::slice::from_raw_parts_mut(end.chunk(end.next), end.chunks.bytes) };
            write(i, chunk);
            end.advance();
        }
        end.done = after;
        // SYNC written (pairs with `read_some`): the chunks' bytes are visible before their count.
        end.counter(WRITTEN).store(after, Release);
        n
    }
}

/// The end of a stream that reads.
#[derive(Debug)]
pub(crate) struct ChunkReader(End);

impl ChunkReader {
    /// Takes the reading end.
    ///
    /// # Panics
    /// When the chunks lie outside the region, or the end was taken before.
    pub(crate) fn take(region: &Arc<Region>, word: Word, chunks: Chunks) -> Self {
        Self(End::take(region, word, chunks, READER_TAKEN))
    }

    /// Says whether there is a chunk to read.
    #[inline]
    pub(crate) fn is_ready(&mut self) -> bool {
        let end = &mut self.0;
        if end.other == end.done {
            // SYNC written (pairs with `write_some`): the bytes of the chunks below are visible.
            end.other = end.counter(WRITTEN).load(Acquire);
        }
        end.other != end.done
    }

    /// Has `read` look at up to `max` chunks, then gives them back at once. Spins while there is
    /// none. Says how many there were.
    #[inline]
    pub(crate) fn read_some(&mut self, max: usize, mut read: impl FnMut(usize, &[u8])) -> usize {
        let end = &mut self.0;
        while end.other == end.done {
            // SYNC written (pairs with `write_some`): the bytes of the chunks below are visible.
            end.other = end.counter(WRITTEN).load(Acquire);
            if end.other == end.done {
                std::hint::spin_loop();
            }
        }
        let n = usize::try_from(end.other - end.done).unwrap_or(max).min(max);
        for i in 0..n {
            // SAFETY: in bounds by `chunk`; not written meanwhile, because the writer's count is
            // past this chunk (SYNC written, the loop above), and it waits for `READ` before it
            // writes it again. A writer that dies before its count moves is never read.
            let chunk =
                unsafe { std::slice::from_raw_parts(end.chunk(end.next), end.chunks.bytes) };
            read(i, chunk);
            end.advance();
        }
        end.done += n as u64;
        // SYNC read (pairs with `write_some`): the reads above are over before the count says so.
        end.counter(READ).store(end.done, Release);
        n
    }
}

/// Waits until a word has at least this value; politely, for this is never measured.
pub(crate) fn wait_for(word: &AtomicU64, value: u64) {
    let mut looks = 0_u32;
    // SYNC met (pairs with the caller's Release store of the word).
    while word.load(Acquire) < value {
        looks += 1;
        if looks < 1000 {
            std::hint::spin_loop();
        } else {
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
    }
}

/// Comes to the next meeting of both processes, and waits for the other.
pub(crate) fn meet(region: &Region, mine: Word, other: Word) {
    // RELAXED: only this process writes its own word.
    let meeting = region.word(mine).load(Relaxed) + 1;
    // SYNC met (pairs with `wait_for`): what was done before the meeting is visible after it.
    region.word(mine).store(meeting, Release);
    wait_for(region.word(other), meeting);
}

#[cfg(test)]
mod tests {
    use super::{ChunkReader, ChunkWriter, Chunks, Region, Word};
    use std::fs::File;
    use std::sync::Arc;

    #[test]
    fn stream_keeps_order_and_content_through_two_mappings() {
        let (here, fd) = Region::create(3 * 40).unwrap();
        let there = Region::attach(&File::from(fd)).unwrap();
        let chunks = Chunks { offset: 0, bytes: 40, count: 3 };
        let reader = std::thread::spawn(move || {
            let mut reader = ChunkReader::take(&Arc::new(there), Word::First, chunks);
            let mut next = 0;
            while next < 10_000 {
                let n = reader.read_some(2, |i, chunk| {
                    assert!(crate::payload::read(chunk, next + i as u64));
                });
                next += n as u64;
            }
        });
        let mut writer = ChunkWriter::take(&Arc::new(here), Word::First, chunks);
        for next in 0..10_000 {
            writer.write_some(1, |_, chunk| crate::payload::write(chunk, next));
        }
        reader.join().unwrap();
    }

    #[test]
    #[should_panic(expected = "taken")]
    fn an_end_is_given_once() {
        let (region, _fd) = Region::create(64).unwrap();
        let region = Arc::new(region);
        let chunks = Chunks { offset: 0, bytes: 64, count: 1 };
        let _first = ChunkWriter::take(&region, Word::First, chunks);
        let _second = ChunkWriter::take(&region, Word::First, chunks);
    }

    #[test]
    #[should_panic(expected = "in 64 bytes")]
    fn chunks_outside_the_region_are_refused() {
        let (region, _fd) = Region::create(64).unwrap();
        let _end = ChunkReader::take(
            &Arc::new(region),
            Word::Second,
            Chunks { offset: 32, bytes: 64, count: 1 },
        );
    }

    #[test]
    fn a_file_that_may_shrink_is_no_region() {
        let file = tempfile::tempfile().unwrap();
        assert!(Region::attach(&file).is_err());
    }
}
