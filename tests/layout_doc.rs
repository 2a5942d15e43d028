//! `docs/layout.md` says what `src/shm/layout.rs` does: every struct, field, offset and size.

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use ringway::queue::RecordKind;
use ringway::shm::Lifetime;
use ringway::shm::layout::*;
use ringway::shm::ring::stamp::{Bits, State};
use ringway::shm::storage::{Geometry, Side};

const DOC: &str = include_str!("../docs/layout.md");
const CODE: &str = include_str!("../src/shm/layout.rs");

/// Offset, size, name of each field; with the size of the struct.
type Fields = Vec<(usize, usize, String)>;
type Structs = BTreeMap<String, (usize, Fields)>;

const fn bytes_of<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

macro_rules! facts {
    ($($name:ident { $($field:ident),* $(,)? })*) => {
        BTreeMap::from([$((stringify!($name).to_owned(), (size_of::<$name>(), vec![$((
            offset_of!($name, $field),
            bytes_of(|it: &$name| &it.$field),
            stringify!($field).to_owned(),
        )),*]))),*])
    };
}

fn compiled() -> Structs {
    facts! {
        SegmentHeader {
            magic, layout_version, header_bytes, abi_hash, checksum, total_bytes, directory_offset,
            control_offset, participants_offset, rings_offset, rings, max_participants, lifetime,
            creator_uid, group_gid, creator_pid, uuid, created_unix_ns, reserved,
        }
        RingRecord {
            name, dead_letter, offset, extent_bytes, maxsize, schema_tag, log2_entries, unit_bytes,
            modes, max_deliveries, reserved,
        }
        Control { state, fence_needed, joined_total, recovered_total }
        Participant {
            doorbell, state, pid, reserved, start_ticks, joined_unix_ns, rings_touched, name,
        }
        RingHeader { producers, consumers, frontier, hint, shared, get_waiters, put_waiters }
        ProducerLine {
            tail, intent, extra_units, bytes, full_waits, blocked_ns, high_water, refused,
        }
        ConsumerLine { head, peek, extra_units, bytes, empty_waits, blocked_ns, redelivered }
        FrontierLine { frontier }
        HintLine { head_hint }
        SharedLine {
            closed, recovery, get_waiters, put_waiters, large_claim, skipped, dead_lettered,
            exhausted, fence_needed, producer_id, consumer_id, first_pos,
            dead_letters_kept,
        }
        WaiterLine { words }
        Entry { stamp, len, flags, inline }
    }
}

/// Reads `### `Name`: N bytes` and the rows `| offset | size | `field` | … |` below it.
fn documented() -> Structs {
    let mut structs = Structs::new();
    let mut current = None;
    for line in DOC.lines() {
        if line.starts_with('#') {
            current = line.strip_prefix("### `").map(|rest| {
                let (name, rest) = rest.split_once("`: ").expect("a struct's heading");
                let bytes = rest.strip_suffix(" bytes").expect("a size").parse().expect("a number");
                structs.insert(name.to_owned(), (bytes, Fields::new()));
                name.to_owned()
            });
        }
        let Some(name) = &current else { continue };
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        if let [_, offset, size, field, _, ..] = cells[..]
            && let (Ok(offset), Ok(size)) = (offset.parse(), size.parse())
        {
            let fields = &mut structs.get_mut(name).expect("inserted above").1;
            fields.push((offset, size, field.trim_matches('`').to_owned()));
        }
    }
    structs
}

/// Reads the names of structs and public fields from the source.
fn declared() -> BTreeMap<String, Vec<String>> {
    let mut structs = BTreeMap::<String, Vec<String>>::new();
    let mut current = None;
    for line in CODE.lines() {
        if let Some(rest) = line.strip_prefix("pub struct ") {
            let name = rest.split([' ', '{']).next().expect("a name").to_owned();
            current = Some(structs.entry(name).or_default());
        } else if line.starts_with('}') {
            current = None;
        } else if let (Some(fields), Some(rest)) = (&mut current, line.strip_prefix("    pub ")) {
            fields.push(rest.split(':').next().expect("a field").to_owned());
        }
    }
    structs
}

#[test]
fn the_document_gives_every_offset_and_size_as_compiled() {
    let (documented, compiled) = (documented(), compiled());
    for (name, fields) in &compiled {
        assert_eq!(documented.get(name), Some(fields), "{name}");
    }
    assert_eq!(documented.len(), compiled.len());
}

#[test]
fn no_struct_or_field_of_the_layout_is_left_out() {
    let names = |(_, fields): &(usize, Fields)| -> Vec<String> {
        fields.iter().map(|(_, _, name)| name.clone()).collect()
    };
    let documented: BTreeMap<_, _> =
        documented().iter().map(|(name, fields)| (name.clone(), names(fields))).collect();
    assert_eq!(documented, declared());
}

#[test]
fn the_document_gives_the_lock_bytes_as_compiled() {
    assert_eq!(LOCK_GATE, 1 << 60);
    assert_eq!(LOCK_GATE_TURN, (1 << 60) + 1);
    assert_eq!(LOCK_PARTICIPANT, (1 << 60) + 0x1_0000);
    assert_eq!(LOCK_ROLE, (1 << 60) + 0x10_0000);
    for row in ["| 2^60 |", "| 2^60 + 1 |", "| 2^60 + 0x10000 + id |", "| 2^60 + 0x100000 + 2 r |"]
    {
        assert!(DOC.contains(row), "{row}");
    }
    assert!(LOCK_PARTICIPANT + u64::from(MAX_PARTICIPANTS) < LOCK_ROLE);
}

/// Values of the constants, by their names.
macro_rules! values {
    ($($name:ident)*) => { BTreeMap::from([$((stringify!($name), u64::from($name as u32))),*]) };
}

#[test]
fn the_document_gives_the_values_as_compiled() {
    let compiled = values! {
        LAYOUT_VERSION MODE_SINGLE_PRODUCER MODE_SINGLE_CONSUMER MODE_TIMESTAMPS STATE_LIVE
        STATE_DESTROYED ROW_FREE ROW_JOINED RING_OPEN RING_CLOSING RING_CLOSED RING_DESTROYED
        FLAG_KIND FLAG_IN_DATA FLAG_DEAD_LETTER FLAG_REDELIVERIES INLINE_BYTES
        INLINE_BYTES_TIMESTAMPED MAX_PARTICIPANTS MAX_RINGS MAX_RING_NAME MAX_PARTICIPANT_NAME
        UNIT_GRANULE MAX_UNIT
    };
    let (_, section) = DOC.split_once("## Values").unwrap();
    let row = |line: &'static str| {
        let mut cells = line.split('|').skip(1).map(str::trim);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        let value = cells.next()?;
        let value = match value.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => value.parse(),
        };
        Some((name, value.unwrap()))
    };
    let documented: BTreeMap<_, _> = section.lines().filter_map(row).collect();
    assert_eq!(documented, compiled);
    // And none of these families is left out.
    for line in CODE.lines().filter_map(|line| line.strip_prefix("pub const ")) {
        let (name, _) = line.split_once(':').unwrap_or((line, ""));
        let families = ["MODE_", "STATE_", "ROW_", "RING_", "FLAG_", "MAX_"];
        let derived = ["MODE_ALL", "RING_HEADER_BYTES"].contains(&name);
        if families.iter().any(|family| name.starts_with(family)) && !derived {
            assert!(documented.contains_key(name), "{name}");
        }
    }
    assert_eq!(&MAGIC, b"RINGWAY\0");
    let lifetimes = [Lifetime::Keep, Lifetime::Ephemeral, Lifetime::Job];
    assert_eq!(lifetimes.map(|lifetime| lifetime as u32), [1, 2, 3]);
    let kinds = [RecordKind::RAW, RecordKind::PACKET, RecordKind::STOP, RecordKind::TYPED];
    assert_eq!(kinds.map(|kind| kind.0), [0, 1, 2, 3]);
}

#[test]
fn the_document_gives_the_states_and_the_widths_of_words_as_compiled() {
    let (_, section) = DOC.split_once("### Words with a state").unwrap();
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        Some((cells.get(1)?.to_lowercase(), cells.get(2)?.parse::<u8>().ok()?))
    });
    let documented: Vec<_> = rows.take(8).collect();
    let compiled = State::ALL.map(|state| (format!("{state:?}").to_lowercase(), state as u8));
    assert_eq!(documented, compiled);
    for k in LOG2_ENTRIES {
        let bits = Bits::new(k);
        // The drawing: 63 .. k+11, k+10 .. 13, 12 .. 3, 2 .. 0.
        let word = bits.pack(State::Run, 5 << k, 1 << (k - 2), 1023);
        let all_of_n = (1 << (k - 2)) - 1;
        assert_eq!(word, 5 << (k + 11) | all_of_n << 13 | 1023 << 3 | 6, "k = {k}");
    }
}

#[test]
fn the_document_draws_the_parts_of_an_extent_in_their_order() {
    let (_, drawing) = DOC.split_once("### A ring's extent").unwrap();
    let drawing = drawing.split("```").nth(1).unwrap();
    let at = |part: &str| drawing.find(part).unwrap();
    let parts = ["RingHeader", "claims: 2^k x 8", "takes: 2^k x 8", "Entry[2^k]", "data: 2^k x U"];
    assert!(parts.is_sorted_by_key(|part| at(part)));
    for producers in [Side::Single, Side::Multi] {
        for consumers in [Side::Single, Side::Multi] {
            let geometry = Geometry {
                log2_entries: 10,
                unit_bytes: 128,
                maxsize: 0,
                producers,
                consumers,
                timestamps: false,
                max_deliveries: 0,
            };
            let words = |side| if side == Side::Multi { 1024 * 8 } else { 0 };
            let claims = RING_HEADER_BYTES;
            let takes = claims + words(producers);
            let entries = takes + words(consumers);
            let data = entries + 1024 * 64;
            let compiled = (geometry.claims_offset(), geometry.takes_offset());
            assert_eq!(compiled, (claims, takes));
            assert_eq!((geometry.entries_offset(), geometry.data_offset()), (entries, data));
            assert_eq!(geometry.extent_bytes(), data + 1024 * 128);
        }
    }
}
