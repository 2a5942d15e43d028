//! Where a ring lives: mapped memory, the heap, or loom's heap.
//!
//! A [`RingMemory`] is a bundle of pointers with the geometry they were made for. The ring's
//! algorithm reaches shared memory through it alone. Every index is masked by a private copy of the
//! geometry, so that no number read from shared memory can lead out of bounds.

#![allow(unsafe_code, reason = "one of the named places: turns a mapping into references")]

use core::any::Any;
use core::fmt;
use std::alloc::Layout;
use std::sync::Arc;

use crate::shm::cpu::prefetch_for_write;
#[cfg(not(loom))]
use crate::shm::cpu::{lines_of, prefetch_for_read};
use crate::shm::layout::{
    self, Entry, INLINE_BYTES, INLINE_BYTES_TIMESTAMPED, PAGE_BYTES, RING_HEADER_BYTES, RingHeader,
};
use crate::shm::ring::stamp::Bits;
use crate::sync::AtomicU64;

/// How many producers or consumers a side of a ring may have at a time.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// One at a time; enforced by a lock that the kernel frees at death.
    Single,
    /// Any number.
    #[default]
    Multi,
}

/// The shape of a ring, validated: everything the algorithm needs to know, held privately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// log2 of the number of entries.
    pub log2_entries: u32,
    /// Bytes of data region for each entry: a multiple of 64.
    pub unit_bytes: u32,
    /// Most packets that may wait; 0 for no bound but the space.
    pub maxsize: u64,
    /// The producers' side.
    pub producers: Side,
    /// The consumers' side.
    pub consumers: Side,
    /// Entries carry the time of the put.
    pub timestamps: bool,
    /// Deliveries after which a packet is a dead letter; 0 for no bound.
    pub max_deliveries: u32,
}

impl Geometry {
    /// Bit widths of stamps and marks.
    #[inline(always)]
    #[must_use]
    pub const fn bits(&self) -> Bits {
        Bits::new(self.log2_entries)
    }

    /// Number of entries, which is the number of units.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        1 << self.log2_entries
    }

    /// Bytes of the data region.
    #[must_use]
    pub const fn data_bytes(&self) -> u64 {
        self.entries() * self.unit_bytes as u64
    }

    /// Bytes of a record that fit into its entry.
    #[inline(always)]
    #[must_use]
    pub const fn inline_bytes(&self) -> usize {
        if self.timestamps { INLINE_BYTES_TIMESTAMPED } else { INLINE_BYTES }
    }

    /// Longest payload, in bytes: a quarter of the data region.
    #[inline(always)]
    #[must_use]
    pub const fn max_payload(&self) -> usize {
        (self.entries() / 4 * self.unit_bytes as u64) as usize
    }

    /// Units that a payload of `len_bytes` takes; at least 1.
    #[inline(always)]
    #[must_use]
    pub const fn units(&self, len_bytes: usize) -> u64 {
        if len_bytes <= self.inline_bytes() {
            1
        } else {
            (len_bytes as u64).div_ceil(self.unit_bytes as u64)
        }
    }

    /// Where the claims start, from the start of the extent (many producers only).
    #[must_use]
    pub const fn claims_offset(&self) -> u64 {
        RING_HEADER_BYTES
    }

    /// Where the take words start, from the start of the extent (many consumers only).
    #[must_use]
    pub const fn takes_offset(&self) -> u64 {
        self.claims_offset() + self.words_bytes(self.producers)
    }

    /// Where the entries start, from the start of the extent.
    #[must_use]
    pub const fn entries_offset(&self) -> u64 {
        self.takes_offset() + self.words_bytes(self.consumers)
    }

    /// Bytes of a word for each entry, in whole pages; none for a side with one user.
    const fn words_bytes(&self, side: Side) -> u64 {
        match side {
            Side::Multi => (self.entries() * 8).next_multiple_of(PAGE_BYTES),
            Side::Single => 0,
        }
    }

    /// Where the data region starts, from the start of the extent.
    #[must_use]
    pub const fn data_offset(&self) -> u64 {
        self.entries_offset() + (self.entries() * 64).next_multiple_of(PAGE_BYTES)
    }

    /// Bytes of the whole extent: header, claims, takes, entries, data.
    #[must_use]
    pub const fn extent_bytes(&self) -> u64 {
        self.data_offset() + self.data_bytes()
    }

    /// Says what is wrong with the numbers, if anything: `(field, reason)`.
    ///
    /// # Errors
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        if !layout::LOG2_ENTRIES.contains(&self.log2_entries) {
            return Err(("log2_entries", format!("{} is not in 3..=20", self.log2_entries)));
        }
        let unit = self.unit_bytes;
        if unit == 0 || !unit.is_multiple_of(layout::UNIT_GRANULE) || unit > layout::MAX_UNIT {
            return Err(("unit_bytes", format!("{unit} is not a multiple of 64 up to 16 MiB")));
        }
        if !self.data_bytes().is_multiple_of(PAGE_BYTES) {
            return Err((
                "unit_bytes",
                format!("{} bytes of data do not fill pages", self.data_bytes()),
            ));
        }
        if self.max_payload() > u32::MAX as usize {
            return Err(("unit_bytes", format!("records of {} bytes", self.max_payload())));
        }
        if self.maxsize > self.entries() {
            return Err((
                "maxsize",
                format!("{} is more than the {} entries", self.maxsize, self.entries()),
            ));
        }
        Ok(())
    }
}

/// A ring's memory: pointers into a mapping or an allocation, which every clone keeps alive.
#[derive(Clone)]
pub struct RingMemory {
    header: *const RingHeader,
    claims: *const AtomicU64,
    takes: *const AtomicU64,
    entries: *const Entry,
    #[cfg_attr(loom, expect(dead_code, reason = "loom models use inline payloads"))]
    data: *mut u8,
    geometry: Geometry,
    mask: usize,
    _owner: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers lead to atomics, which may be used from any thread, and to payload bytes,
// which the stamps hand from one owner to the next; the owner that keeps them alive is Send + Sync.
unsafe impl Send for RingMemory {}
// SAFETY: as above; every shared access goes through atomics or through a position owned by stamp.
unsafe impl Sync for RingMemory {}

impl fmt::Debug for RingMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RingMemory").field("geometry", &self.geometry).finish_non_exhaustive()
    }
}

impl RingMemory {
    /// Wraps a mapped extent whose data region is mapped twice, back to back.
    ///
    /// # Safety
    /// `base` must be page-aligned and lead to `geometry.extent_bytes() + geometry.data_bytes()`
    /// bytes, readable and writable, of which the last `data_bytes` are a second mapping of the
    /// data region, for as long as `owner` lives; where nobody but a `RingView` gets the result, the
    /// first `extent_bytes` are enough, and need not be writable. `geometry` must be valid. All other users of the
    /// memory must be `RingMemory`s of the same geometry (a hostile process can then change bytes
    /// under us, but not lead us out of bounds).
    #[cfg(not(loom))]
    #[must_use]
    pub unsafe fn from_mapping(
        base: *mut u8,
        geometry: Geometry,
        owner: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        let at = |offset: u64| base.wrapping_add(offset as usize);
        Self {
            header: base.cast(),
            claims: at(geometry.claims_offset()).cast(),
            takes: at(geometry.takes_offset()).cast(),
            entries: at(geometry.entries_offset()).cast(),
            data: at(geometry.data_offset()),
            geometry,
            mask: geometry.entries() as usize - 1,
            _owner: owner,
        }
    }

    /// Makes a ring on the heap, positioned at `first_pos` (a multiple of the entries).
    #[must_use]
    pub fn on_heap(geometry: Geometry, first_pos: u64) -> Self {
        let heap = Arc::new(HeapRing::new(&geometry));
        let memory = Self {
            header: &raw const *heap.header,
            claims: heap.claims.as_ptr(),
            takes: heap.takes.as_ptr(),
            entries: heap.entries.as_ptr(),
            data: heap.data,
            geometry,
            mask: geometry.entries() as usize - 1,
            _owner: heap,
        };
        memory.start_at(first_pos);
        memory
    }

    /// Sets every position word of a ring that nobody else can see yet.
    pub fn start_at(&self, first_pos: u64) {
        use crate::sync::Ordering::Relaxed;
        let bits = self.geometry.bits();
        let word = bits.pack_mark(crate::shm::ring::stamp::Mark { pos: first_pos, packets: 0 });
        let header = self.header();
        // RELAXED: the ring is private until its file gets a name or its handle is shared.
        header.producers.tail.store(word, Relaxed);
        header.producers.intent.store(first_pos, Relaxed);
        header.consumers.head.store(word, Relaxed);
        header.consumers.peek.store(word, Relaxed);
        header.frontier.frontier.store(first_pos, Relaxed);
        header.hint.head_hint.store(first_pos, Relaxed);
        header.shared.first_pos.store(first_pos, Relaxed);
    }

    /// The shape the memory was made for.
    #[inline(always)]
    #[must_use]
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The hot words.
    #[inline(always)]
    #[must_use]
    pub fn header(&self) -> &RingHeader {
        // SAFETY: aligned and alive by the constructor's contract; made of atomics only.
        unsafe { &*self.header }
    }

    /// The claim word of a position. Many-producer rings only.
    #[inline(always)]
    #[must_use]
    pub fn claim(&self, pos: u64) -> &AtomicU64 {
        debug_assert_eq!(self.geometry.producers, Side::Multi);
        // The mask keeps the index below 2^k, the number of claims.
        let claim = self.claims.wrapping_add(pos as usize & self.mask);
        // SAFETY: in bounds by the mask, alive by the constructor's contract; an atomic.
        unsafe { &*claim }
    }

    /// The take word of a position. Many-consumer rings only.
    #[inline(always)]
    #[must_use]
    pub fn take(&self, pos: u64) -> &AtomicU64 {
        debug_assert_eq!(self.geometry.consumers, Side::Multi);
        // The mask keeps the index below 2^k, the number of take words.
        let take = self.takes.wrapping_add(pos as usize & self.mask);
        // SAFETY: in bounds by the mask, alive by the constructor's contract; an atomic.
        unsafe { &*take }
    }

    /// The entry of a position.
    #[inline(always)]
    #[must_use]
    pub fn entry(&self, pos: u64) -> &Entry {
        let entry = self.entry_ptr(pos);
        // SAFETY: in bounds by the mask, alive by the constructor's contract; atomics and a cell.
        unsafe { &*entry }
    }

    /// The entries of the positions from `pos` on, up to `most` of those in its lap.
    #[inline(always)]
    #[must_use]
    pub fn entries_from(&self, pos: u64, most: u64) -> &[Entry] {
        let (index, count) = self.in_lap(pos, most);
        // SAFETY: in bounds by `in_lap`, alive by the constructor's contract; atomics and a cell.
        unsafe { core::slice::from_raw_parts(self.entries.wrapping_add(index), count) }
    }

    /// The take words of the positions from `pos` on, up to `most` of those in its lap. Many-consumer
    /// rings only.
    #[inline(always)]
    #[must_use]
    pub fn takes_from(&self, pos: u64, most: u64) -> &[AtomicU64] {
        debug_assert_eq!(self.geometry.consumers, Side::Multi);
        let (index, count) = self.in_lap(pos, most);
        // SAFETY: in bounds by `in_lap`, alive by the constructor's contract; atomics.
        unsafe { core::slice::from_raw_parts(self.takes.wrapping_add(index), count) }
    }

    /// Index of a position, and how many of the `most` positions from it on lie in its lap.
    #[inline(always)]
    fn in_lap(&self, pos: u64, most: u64) -> (usize, usize) {
        let index = pos as usize & self.mask;
        (index, (most as usize).min(self.mask + 1 - index))
    }

    #[inline(always)]
    fn entry_ptr(&self, pos: u64) -> *const Entry {
        self.entries.wrapping_add(pos as usize & self.mask)
    }

    /// The entry of a position; fetches the one so many behind it for writing, ahead of its use.
    #[inline(always)]
    #[must_use]
    pub fn entry_and_fetch(&self, pos: u64, ahead: u64) -> &Entry {
        // In bytes: one shift serves both.
        let (mask, start) = (self.mask * size_of::<Entry>(), pos as usize * size_of::<Entry>());
        let ahead = start.wrapping_add(ahead as usize * size_of::<Entry>()) & mask;
        prefetch_for_write(self.entries.wrapping_byte_add(ahead).cast());
        // SAFETY: as in `entry`.
        unsafe { &*self.entries.wrapping_byte_add(start & mask) }
    }

    /// Fetches the entry of a position for writing, ahead of its use.
    #[inline(always)]
    pub fn prefetch_entry_for_write(&self, pos: u64) {
        prefetch_for_write(self.entry_ptr(pos).cast());
    }

    /// Fetches what a put at a position begins with, which may not come: the claim word for reading, which
    /// takes it from nobody; the entry for writing, as whoever put last did.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn prefetch_place(&self, pos: u64) {
        self.prefetch_entry_for_write(pos);
        if self.geometry.producers == Side::Multi {
            prefetch_for_read(self.claims.wrapping_add(pos as usize & self.mask).cast());
        }
    }

    /// Fetches the take word of a position for reading.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn prefetch_take(&self, pos: u64) {
        prefetch_for_read(self.takes.wrapping_add(pos as usize & self.mask).cast());
    }

    /// Fetches the first bytes of a position's units for writing, ahead of their use; at most `MAX_AHEAD`.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn prefetch_data_for_write(&self, pos: u64, bytes: usize) {
        self.first_lines(pos, bytes).for_each(prefetch_for_write);
    }

    /// As [`RingMemory::prefetch_data_for_write`], for reading.
    #[cfg(not(loom))]
    #[inline(always)]
    pub fn prefetch_data_for_read(&self, pos: u64, bytes: usize) {
        self.first_lines(pos, bytes).for_each(prefetch_for_read);
    }

    #[cfg(not(loom))]
    #[inline(always)]
    fn first_lines(&self, pos: u64, bytes: usize) -> impl Iterator<Item = *const u8> {
        lines_of(self.payload_ptr(pos, false), bytes.min(MAX_AHEAD))
    }

    /// Copies the first bytes of the record at `pos`, whoever owns it, for somebody who only looks.
    ///
    /// They may be half of one record and half of the next: the caller checks, after a fence, that
    /// the stamp is still the one it read before and that the units were not free for the next lap.
    /// Copies at most what an entry, or the largest record, holds.
    #[cfg(not(loom))]
    #[must_use]
    pub(crate) fn copy_unowned(&self, pos: u64, inline: bool, len_bytes: usize) -> Vec<u8> {
        use crate::sync::Ordering::Relaxed;
        let max = if inline { INLINE_BYTES } else { self.geometry.max_payload() };
        let len_bytes = len_bytes.min(max);
        let start: *const AtomicU64 = self.payload_ptr(pos, inline).cast_const().cast();
        let mut bytes = Vec::with_capacity(len_bytes.next_multiple_of(8));
        for word in 0..len_bytes.div_ceil(8) {
            let word = start.wrapping_add(word);
            // SAFETY: aligned, since inline payloads start at byte 16 of an entry and units at
            // multiples of 64; in bounds, since both limits above are multiples of 8, and units are
            // contiguous up to the largest record. An owner may write the same bytes with plain
            // stores meanwhile, in this process or another, as under every sequence lock: each load
            // is one machine word, and what was read is used only if the check after it succeeds.
            let word = unsafe { &*word };
            // RELAXED: ordered by the caller's fence.
            bytes.extend(word.load(Relaxed).to_ne_bytes());
        }
        bytes.truncate(len_bytes);
        bytes
    }

    /// Where the payload of a record at `pos` starts: in its entry, or in its units, of which as many
    /// as a quarter of the data region follow contiguously.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn payload_ptr(&self, pos: u64, inline: bool) -> *mut u8 {
        if inline {
            self.entry(pos).inline.get().cast()
        } else {
            let index = pos as usize & self.mask;
            self.data.wrapping_add(index * self.geometry.unit_bytes as usize)
        }
    }
}

/// Most bytes of a payload that are fetched ahead: as many lines as a CPU waits for at a time, some times
/// over.
#[cfg(not(loom))]
const MAX_AHEAD: usize = 4096;

/// A ring's parts on the heap. The data region is twice as long as its units, so that records are
/// contiguous without a double mapping: a record that starts near the end runs on behind it.
struct HeapRing {
    header: Box<RingHeader>,
    claims: Box<[AtomicU64]>,
    takes: Box<[AtomicU64]>,
    entries: Box<[Entry]>,
    data: *mut u8,
    data_layout: Layout,
}

// SAFETY: owns its allocation; see `RingMemory`.
unsafe impl Send for HeapRing {}
// SAFETY: as above.
unsafe impl Sync for HeapRing {}

impl HeapRing {
    fn new(geometry: &Geometry) -> Self {
        let entries = geometry.entries() as usize;
        let words = |side| {
            let words = if side == Side::Multi { entries } else { 0 };
            (0..words).map(|_| AtomicU64::new(0)).collect()
        };
        // A record of a quarter of the region may start at the last unit.
        let bytes = geometry.data_bytes() as usize + geometry.max_payload();
        let data_layout = Layout::from_size_align(bytes, PAGE_BYTES as usize)
            .unwrap_or_else(|_| unreachable!("a validated geometry has a sane size"));
        // SAFETY: the size is not 0, since a geometry has at least 8 units of 64 bytes.
        let data = unsafe { std::alloc::alloc_zeroed(data_layout) };
        if data.is_null() {
            std::alloc::handle_alloc_error(data_layout);
        }
        Self {
            header: Box::new(new_header()),
            claims: words(geometry.producers),
            takes: words(geometry.consumers),
            entries: (0..entries).map(|_| new_entry()).collect(),
            data,
            data_layout,
        }
    }
}

impl Drop for HeapRing {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, and nobody else keeps the pointer.
        unsafe { std::alloc::dealloc(self.data, self.data_layout) };
    }
}

fn new_entry() -> Entry {
    use crate::sync::AtomicU32;
    Entry {
        stamp: AtomicU64::new(0),
        len: AtomicU32::new(0),
        flags: AtomicU32::new(0),
        inline: layout::InlinePayload::new([0; INLINE_BYTES]),
    }
}

fn new_header() -> RingHeader {
    use crate::sync::AtomicU32;
    use layout::{ConsumerLine, FrontierLine, HintLine, ProducerLine, SharedLine, WaiterLine};
    let waiters = || WaiterLine { words: core::array::from_fn(|_| AtomicU64::new(0)) };
    RingHeader {
        producers: ProducerLine {
            tail: AtomicU64::new(0),
            intent: AtomicU64::new(0),
            extra_units: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            full_waits: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            high_water: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        },
        consumers: ConsumerLine {
            head: AtomicU64::new(0),
            peek: AtomicU64::new(0),
            extra_units: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            empty_waits: AtomicU64::new(0),
            blocked_ns: AtomicU64::new(0),
            redelivered: AtomicU64::new(0),
        },
        frontier: FrontierLine { frontier: AtomicU64::new(0) },
        hint: HintLine { head_hint: AtomicU64::new(0) },
        shared: SharedLine {
            closed: AtomicU32::new(0),
            recovery: AtomicU32::new(0),
            get_waiters: AtomicU32::new(0),
            put_waiters: AtomicU32::new(0),
            large_claim: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            dead_lettered: AtomicU64::new(0),
            exhausted: AtomicU32::new(0),
            fence_needed: AtomicU32::new(0),
            producer_id: AtomicU32::new(0),
            consumer_id: AtomicU32::new(0),
            first_pos: AtomicU64::new(0),
            dead_letters_kept: AtomicU64::new(0),
        },
        get_waiters: waiters(),
        put_waiters: waiters(),
    }
}
