//! Every byte another process can see: structs, offsets, magic and version; nothing else.
//!
//! Who touches it: `segment.rs` writes the immutable part once, before the file has a name;
//! `storage.rs` hands out references to the mutable part; `inspect.rs` and the tools read both.
//! `docs/layout.md` draws these structs, and a test holds the drawing against the offsets below.
//!
//! The immutable part (header and directory) is read with `pread` into private copies and never
//! mapped. The mutable part consists of atomics only: a peer that dies, or lies, leaves values, not
//! undefined behaviour.

use core::mem::{offset_of, size_of};

use bytemuck::{Pod, Zeroable};

use crate::sync::{AtomicU32, AtomicU64};

/// First eight bytes of every segment.
pub const MAGIC: [u8; 8] = *b"RINGWAY\0";
/// Version of everything in this file. Any change of an offset or of a meaning raises it.
pub const LAYOUT_VERSION: u32 = 3;
/// Granularity of every part of a segment, in bytes, whatever the CPU's own page size is.
pub const PAGE_BYTES: u64 = 4096;
/// Distance that keeps two hot words out of each other's cache lines (two lines: the adjacent-line
/// prefetcher fetches pairs).
pub const LINE_BYTES: usize = 128;
/// Payload bytes that live in the entry itself.
pub const INLINE_BYTES: usize = 48;
/// Payload bytes that live in the entry of a ring that keeps timestamps.
pub const INLINE_BYTES_TIMESTAMPED: usize = 40;
/// Highest participant id; ids start at 1, and 0 stands for nobody.
pub const MAX_PARTICIPANTS: u32 = 1023;
/// Longest name of a ring, in bytes.
pub const MAX_RING_NAME: usize = 63;
/// Longest name of a participant kept in its row, in bytes.
pub const MAX_PARTICIPANT_NAME: usize = 32;
/// Most rings a segment can hold.
pub const MAX_RINGS: u32 = 65_536;
/// Smallest and largest log2 of a ring's entries.
pub const LOG2_ENTRIES: core::ops::RangeInclusive<u32> = 3..=20;
/// Smallest distance between two units of the data region, in bytes; every unit is a multiple.
pub const UNIT_GRANULE: u32 = 64;
/// Largest unit, in bytes.
pub const MAX_UNIT: u32 = 1 << 24;

/// Page 0: what the segment is. Read-only after creation.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct SegmentHeader {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// [`LAYOUT_VERSION`] of the creator.
    pub layout_version: u32,
    /// Size of this struct, in bytes.
    pub header_bytes: u32,
    /// [`abi_hash`] of the creator: differs where any struct differs.
    pub abi_hash: u64,
    /// xxh3-64 of the header (with this field 0) followed by the directory.
    pub checksum: u64,
    /// Size of the file, in bytes.
    pub total_bytes: u64,
    /// Where the ring directory starts, in bytes from the start of the file.
    pub directory_offset: u64,
    /// Where the control page starts.
    pub control_offset: u64,
    /// Where the table of participants starts.
    pub participants_offset: u64,
    /// Where the first ring starts.
    pub rings_offset: u64,
    /// Number of rings in the directory.
    pub rings: u32,
    /// Number of participants the table has room for.
    pub max_participants: u32,
    /// See [`crate::shm::Lifetime`].
    pub lifetime: u32,
    /// Effective user id of the creator.
    pub creator_uid: u32,
    /// Group the segment is shared with, or `u32::MAX`.
    pub group_gid: u32,
    /// Process id of the creator, in its own pid namespace.
    pub creator_pid: u32,
    /// Identity of the segment: random.
    pub uuid: [u8; 16],
    /// Wall-clock time of creation, in nanoseconds since 1970.
    pub created_unix_ns: u64,
    /// Zero.
    pub reserved: u64,
}

/// One ring in the directory. Read-only after creation.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct RingRecord {
    /// Name, padded with zeros.
    pub name: [u8; 64],
    /// Name of the ring that takes packets delivered too often, or zeros.
    pub dead_letter: [u8; 64],
    /// Where the ring's extent starts, in bytes from the start of the file.
    pub offset: u64,
    /// Size of the extent: header, claims, takes, entries, data.
    pub extent_bytes: u64,
    /// Most packets that may wait; 0 for no bound but the space.
    pub maxsize: u64,
    /// Schema tag of a typed ring; 0 for none.
    pub schema_tag: u64,
    /// log2 of the number of entries.
    pub log2_entries: u32,
    /// Bytes of data region for each entry.
    pub unit_bytes: u32,
    /// [`MODE_SINGLE_PRODUCER`], [`MODE_SINGLE_CONSUMER`], [`MODE_TIMESTAMPS`].
    pub modes: u32,
    /// Deliveries after which a packet goes to the dead-letter ring; 0 for no bound.
    pub max_deliveries: u32,
    /// Zero.
    pub reserved: [u64; 10],
}

/// The ring has one producer at a time, which holds the role's lock.
pub const MODE_SINGLE_PRODUCER: u32 = 1;
/// The ring has one consumer at a time, which holds the role's lock.
pub const MODE_SINGLE_CONSUMER: u32 = 2;
/// Every entry carries the time of its put.
pub const MODE_TIMESTAMPS: u32 = 4;
/// All bits of [`RingRecord::modes`] that have a meaning.
pub const MODE_ALL: u32 = MODE_SINGLE_PRODUCER | MODE_SINGLE_CONSUMER | MODE_TIMESTAMPS;

/// The control page: what changes in the segment as a whole.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Control {
    /// [`STATE_LIVE`] or [`STATE_DESTROYED`].
    pub state: AtomicU32,
    /// Not 0: some sleeper has no process-wide barrier, so every publisher must fence.
    pub fence_needed: AtomicU32,
    /// Participants that ever joined: a statistic.
    pub joined_total: AtomicU64,
    /// Participants found dead and scrubbed: a statistic.
    pub recovered_total: AtomicU64,
}

/// [`Control::state`]: in use.
pub const STATE_LIVE: u32 = 1;
/// [`Control::state`]: every handle gets `Destroyed`.
pub const STATE_DESTROYED: u32 = 2;

/// One participant's row. The lock byte is the truth about its life; all this is advice.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct Participant {
    /// Futex word on which the participant's threads sleep; anyone rings it.
    pub doorbell: AtomicU32,
    /// [`ROW_FREE`], [`ROW_JOINED`].
    pub state: AtomicU32,
    /// Process id, in the participant's pid namespace.
    pub pid: AtomicU32,
    /// Zero.
    pub reserved: AtomicU32,
    /// Start time of the process in clock ticks since boot (`/proc/self/stat`, field 22).
    pub start_ticks: AtomicU64,
    /// Wall-clock time of joining, in nanoseconds since 1970.
    pub joined_unix_ns: AtomicU64,
    /// Bit `ring % 64` is set before the first claim or lease in a ring: where to scrub.
    pub rings_touched: AtomicU64,
    /// Name, padded with zeros, as little-endian words.
    pub name: [AtomicU64; MAX_PARTICIPANT_NAME / 8],
}

/// [`Participant::state`]: nobody, or somebody who left in order.
pub const ROW_FREE: u32 = 0;
/// [`Participant::state`]: joined, and not left in order.
pub const ROW_JOINED: u32 = 1;

/// The hot words of a ring, grouped by who writes them.
#[derive(Debug)]
#[repr(C)]
pub struct RingHeader {
    /// Written by producers.
    pub producers: ProducerLine,
    /// Written by consumers.
    pub consumers: ConsumerLine,
    /// Written by whoever reclaims (many consumers).
    pub frontier: FrontierLine,
    /// Written lazily by the single consumer, polled by the producer.
    pub hint: HintLine,
    /// Read by everybody on every operation, written rarely.
    pub shared: SharedLine,
    /// Who sleeps until something is put.
    pub get_waiters: WaiterLine,
    /// Who sleeps until there is room.
    pub put_waiters: WaiterLine,
}

/// What producers write.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ProducerLine {
    /// Position after the last claimed record, packed with the packets claimed (see `ring::stamp`).
    pub tail: AtomicU64,
    /// Single producer: the position after the puts in progress, or the tail.
    pub intent: AtomicU64,
    /// Units beyond the first of all records ever claimed.
    pub extra_units: AtomicU64,
    /// Payload bytes ever committed.
    pub bytes: AtomicU64,
    /// Times a blocking put had to wait.
    pub full_waits: AtomicU64,
    /// Nanoseconds that blocking puts waited.
    pub blocked_ns: AtomicU64,
    /// Most packets seen waiting.
    pub high_water: AtomicU64,
    /// Puts refused because the ring was full.
    pub refused: AtomicU64,
}

/// What consumers write.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct ConsumerLine {
    /// Many consumers: the next record to take. Single consumer: the oldest not acknowledged.
    /// Packed like `tail`.
    pub head: AtomicU64,
    /// Single consumer: the next record to expose, packed like `tail`.
    pub peek: AtomicU64,
    /// Units beyond the first of all records ever taken.
    pub extra_units: AtomicU64,
    /// Single consumer: payload bytes ever taken for the first time.
    pub bytes: AtomicU64,
    /// Times a blocking get had to wait.
    pub empty_waits: AtomicU64,
    /// Nanoseconds that blocking gets waited.
    pub blocked_ns: AtomicU64,
    /// Packets delivered again.
    pub redelivered: AtomicU64,
}

/// What reclaiming writes.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct FrontierLine {
    /// Everything below is free for the next lap (many consumers; a plain position).
    pub frontier: AtomicU64,
}

/// The mirror of the single consumer's head.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct HintLine {
    /// A past value of `head`'s position.
    pub head_hint: AtomicU64,
}

/// What everybody reads and hardly anybody writes.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct SharedLine {
    /// [`RING_OPEN`], [`RING_CLOSING`], [`RING_CLOSED`], [`RING_DESTROYED`]; only grows.
    pub closed: AtomicU32,
    /// Not 0: somewhere between frontier and head lies a record that anyone may take.
    pub recovery: AtomicU32,
    /// Bit w is set when word w of the get waiters may have a bit.
    pub get_waiters: AtomicU32,
    /// Bit w is set when word w of the put waiters may have a bit.
    pub put_waiters: AtomicU32,
    /// A large claim that waits for room: see `queue::large_claim`. 0 for none.
    pub large_claim: AtomicU64,
    /// Packets claimed but never committed: their writer died, or dropped the reservation.
    pub skipped: AtomicU64,
    /// Packets moved to the dead-letter ring, or released for want of one.
    pub dead_lettered: AtomicU64,
    /// Not 0: the positions are used up.
    pub exhausted: AtomicU32,
    /// Not 0: some sleeper or publisher has no process-wide barrier, so every publisher fences.
    pub fence_needed: AtomicU32,
    /// Participant that last took the producer's role: advice; the lock is the truth.
    pub producer_id: AtomicU32,
    /// Participant that last took the consumer's role.
    pub consumer_id: AtomicU32,
    /// Position of the first record ever: never changes after creation.
    pub first_pos: AtomicU64,
    /// Times that a dead letter found no room in its ring, and stayed.
    pub dead_letters_kept: AtomicU64,
}

/// [`SharedLine::closed`]: open.
pub const RING_OPEN: u32 = 0;
/// [`SharedLine::closed`]: closed; a single producer may not have seen it yet.
pub const RING_CLOSING: u32 = 1;
/// [`SharedLine::closed`]: closed, and a process-wide barrier has passed since.
pub const RING_CLOSED: u32 = 2;
/// [`SharedLine::closed`]: the segment was destroyed.
pub const RING_DESTROYED: u32 = 3;

/// A set of participants.
#[derive(Debug)]
#[repr(C, align(128))]
pub struct WaiterLine {
    /// Bit `id % 64` of word `id / 64`.
    pub words: [AtomicU64; WAITER_WORDS],
}

/// Words of a [`WaiterLine`].
pub const WAITER_WORDS: usize = 16;

/// One entry: a stamp, and the record's description or a small record itself.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Entry {
    /// Who may do what with the entry (see `ring::stamp`).
    pub stamp: AtomicU64,
    /// Payload length, in bytes.
    pub len: AtomicU32,
    /// [`FLAG_KIND`], [`FLAG_IN_DATA`], [`FLAG_DEAD_LETTER`], [`FLAG_REDELIVERIES`].
    pub flags: AtomicU32,
    /// Payload of up to [`INLINE_BYTES`]; the last 8 bytes are the time of the put
    /// (`CLOCK_MONOTONIC`, nanoseconds) in a ring that keeps timestamps.
    pub inline: InlinePayload,
}

/// [`Entry::flags`]: the record kind, given by the producer.
pub const FLAG_KIND: u32 = 0xff;
/// [`Entry::flags`]: the payload lies in the data region, whatever its length.
pub const FLAG_IN_DATA: u32 = 1 << 8;
/// [`Entry::flags`]: a dead letter. Its payload lies in the data region, and the inline part holds
/// its history: index of its ring (32 bits), deliveries (32), position (64), time of its put (64).
pub const FLAG_DEAD_LETTER: u32 = 1 << 9;
/// [`Entry::flags`]: redeliveries begun, saturating. Raised before each redelivery is exposed, so
/// that it may count one too many after a crash and never one too few.
pub const FLAG_REDELIVERIES: u32 = 0xffff << REDELIVERIES_SHIFT;
/// Shift of [`FLAG_REDELIVERIES`].
pub const REDELIVERIES_SHIFT: u32 = 16;

/// The payload bytes inside an entry.
#[cfg(not(loom))]
pub type InlinePayload = core::cell::UnsafeCell<[u8; INLINE_BYTES]>;
/// The payload bytes inside an entry, watched by loom.
#[cfg(loom)]
pub type InlinePayload = loom::cell::UnsafeCell<[u8; INLINE_BYTES]>;

/// Bytes of a ring's header: [`RingHeader`], rounded up to a page.
pub const RING_HEADER_BYTES: u64 = PAGE_BYTES;

/// Lock bytes lie far past the data: this is the first.
pub const LOCK_BASE: u64 = 1 << 60;
/// The gate's lock byte.
pub const LOCK_GATE: u64 = LOCK_BASE;
/// Held exclusively by whoever waits for the gate exclusively; joiners let it pass first.
pub const LOCK_GATE_TURN: u64 = LOCK_BASE + 1;
/// Participant `id`'s lock byte is `LOCK_PARTICIPANT + id`.
pub const LOCK_PARTICIPANT: u64 = LOCK_BASE + 0x1_0000;
/// The roles of ring `r` are `LOCK_ROLE + 2 * r` (producer) and `LOCK_ROLE + 2 * r + 1` (consumer).
pub const LOCK_ROLE: u64 = LOCK_BASE + 0x10_0000;

/// Says what this build's structs look like, so that a build with other ones is told apart.
#[must_use]
pub const fn abi_hash() -> u64 {
    // FNV-1a (Fowler, Noll, Vo) over sizes and offsets.
    let facts = [
        LAYOUT_VERSION as usize,
        size_of::<SegmentHeader>(),
        size_of::<RingRecord>(),
        size_of::<Control>(),
        size_of::<Participant>(),
        size_of::<RingHeader>(),
        size_of::<Entry>(),
        offset_of!(SegmentHeader, uuid),
        offset_of!(RingRecord, modes),
        offset_of!(Participant, name),
        offset_of!(RingHeader, consumers),
        offset_of!(RingHeader, frontier),
        offset_of!(RingHeader, hint),
        offset_of!(RingHeader, shared),
        offset_of!(RingHeader, get_waiters),
        offset_of!(RingHeader, put_waiters),
        offset_of!(SharedLine, large_claim),
        offset_of!(SharedLine, exhausted),
        offset_of!(Entry, inline),
        cfg!(target_endian = "little") as usize,
    ];
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut i = 0;
    while i < facts.len() {
        hash = (hash ^ facts[i] as u64).wrapping_mul(0x0000_0100_0000_01b3);
        i += 1;
    }
    hash
}

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<SegmentHeader>() == 128 && align_of::<SegmentHeader>() == 8);
    assert!(size_of::<RingRecord>() == 256);
    assert!(size_of::<Control>() == 128);
    assert!(size_of::<Participant>() == LINE_BYTES);
    assert!(size_of::<RingHeader>() == 7 * LINE_BYTES);
    assert!(size_of::<RingHeader>() as u64 <= RING_HEADER_BYTES);
    assert!(size_of::<Entry>() == 64 && align_of::<Entry>() == 64);
    assert!(offset_of!(Entry, inline) + INLINE_BYTES == 64);
    assert!(size_of::<WaiterLine>() == LINE_BYTES);
    assert!(WAITER_WORDS * 64 > MAX_PARTICIPANTS as usize);
};
