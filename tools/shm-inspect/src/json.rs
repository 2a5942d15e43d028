//! The shapes of the JSON. `docs/inspect.md` describes them; `tests/json.rs` holds them.

use std::time::Duration;

use ringway::queue::{QueueStats, Side};
use ringway::shm::inspect::{
    BlockKind, Blocker, EntrySnapshot, EntryState, Hold, ParticipantSnapshot, RingSnapshot,
    RoleSnapshot, SegmentSnapshot,
};
use ringway::shm::segment::SegmentEntry;
use serde::Serialize;

use crate::output::hex;

#[derive(Serialize)]
pub(crate) struct SegmentJson {
    segment: Option<String>,
    path: String,
    bytes: u64,
    lifetime: Option<ringway::shm::Lifetime>,
    state: Option<&'static str>,
    copy: bool,
    uuid: Option<String>,
    created_unix_ns: Option<u64>,
    age_seconds: Option<f64>,
    creator_pid: Option<u32>,
    creator_uid: Option<u32>,
    group: Option<u32>,
    max_participants: Option<u32>,
    joined_total: Option<u64>,
    recovered_total: Option<u64>,
    rings: Vec<RingJson>,
    participants: Vec<ParticipantJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory_map: Vec<PartJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl SegmentJson {
    pub(crate) fn of(snapshot: &SegmentSnapshot, with_map: bool) -> Self {
        let control = &snapshot.control;
        let name_of = |ring: Option<usize>| {
            ring.and_then(|index| snapshot.rings.iter().find(|ring| ring.index == index))
        };
        // Of the rings, only what was asked for.
        let map = snapshot.memory_map.iter().filter(|_| with_map);
        let map = map.filter(|part| part.ring.is_none() || name_of(part.ring).is_some());
        Self {
            segment: snapshot.name.clone(),
            path: snapshot.path.display().to_string(),
            bytes: snapshot.total_bytes,
            lifetime: Some(snapshot.lifetime),
            state: Some(if control.destroyed { "destroyed" } else { "live" }),
            copy: snapshot.is_copy(),
            uuid: Some(uuid(snapshot.uuid)),
            created_unix_ns: Some(control.created_unix_ns),
            age_seconds: seconds(snapshot.age),
            creator_pid: Some(control.creator_pid),
            creator_uid: Some(control.creator_uid),
            group: control.group,
            max_participants: Some(control.max_participants),
            joined_total: Some(control.joined_total),
            recovered_total: Some(control.recovered_total),
            rings: snapshot.rings.iter().map(RingJson::of).collect(),
            participants: snapshot.participants.iter().map(ParticipantJson::of).collect(),
            memory_map: map
                .map(|part| PartJson {
                    what: part.what,
                    ring: name_of(part.ring).map(|ring| ring.name.clone()),
                    offset: part.offset,
                    bytes: part.bytes,
                })
                .collect(),
            error: None,
        }
    }

    /// A file that could not be read.
    pub(crate) fn unreadable(entry: &SegmentEntry, error: String) -> Self {
        Self {
            segment: Some(entry.name.to_string()),
            path: entry.path.display().to_string(),
            bytes: entry.total_bytes,
            lifetime: None,
            state: None,
            copy: false,
            uuid: None,
            created_unix_ns: None,
            age_seconds: None,
            creator_pid: None,
            creator_uid: None,
            group: None,
            max_participants: None,
            joined_total: None,
            recovered_total: None,
            rings: Vec::new(),
            participants: Vec::new(),
            memory_map: Vec::new(),
            error: Some(error),
        }
    }
}

#[derive(Serialize)]
struct PartJson {
    what: &'static str,
    ring: Option<String>,
    offset: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct ParticipantJson {
    id: u16,
    pid: u32,
    name: String,
    alive: Option<bool>,
    joined_unix_ns: u64,
}

impl ParticipantJson {
    fn of(participant: &ParticipantSnapshot) -> Self {
        Self {
            id: participant.id,
            pid: participant.pid,
            name: participant.name.clone(),
            alive: participant.alive,
            joined_unix_ns: participant.joined_unix_ns,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RingJson {
    name: String,
    mode: &'static str,
    maxsize: u64,
    qsize: u64,
    in_flight: u64,
    occupancy: f64,
    closed: bool,
    state: &'static str,
    exhausted: bool,
    consistent: bool,
    counters: QueueStats,
    entries: u64,
    used_units: u64,
    unit_bytes: u32,
    data_bytes: u64,
    max_payload: usize,
    inline_bytes: usize,
    timestamps: bool,
    max_deliveries: u32,
    dead_letter: Option<String>,
    schema_tag: Option<String>,
    positions: PositionsJson,
    waiters: WaitersJson,
    producer: Option<RoleJson>,
    consumer: Option<RoleJson>,
    blocked_by: Vec<HoldJson>,
    holds: Vec<HoldJson>,
    holds_total: u64,
    faults: Vec<FaultJson>,
}

impl RingJson {
    fn of(ring: &RingSnapshot) -> Self {
        let (geometry, at) = (&ring.geometry, &ring.positions);
        let only = |side: Side, position: u64, wanted: Side| (side == wanted).then_some(position);
        Self {
            name: ring.name.clone(),
            mode: ring.mode(),
            maxsize: geometry.maxsize,
            qsize: ring.qsize,
            in_flight: ring.in_flight,
            occupancy: ring.occupancy,
            closed: ring.is_closed(),
            state: ring.state.name(),
            exhausted: ring.exhausted,
            consistent: ring.consistent,
            counters: ring.counters,
            entries: geometry.entries(),
            used_units: ring.used_units,
            unit_bytes: geometry.unit_bytes,
            data_bytes: geometry.data_bytes(),
            max_payload: geometry.max_payload(),
            inline_bytes: geometry.inline_bytes(),
            timestamps: geometry.timestamps,
            max_deliveries: geometry.max_deliveries,
            dead_letter: ring.dead_letter.clone(),
            schema_tag: (ring.schema_tag != 0).then(|| format!("{:016x}", ring.schema_tag)),
            positions: PositionsJson {
                first: at.first,
                frontier: only(geometry.consumers, at.frontier, Side::Multi),
                head: at.head,
                peek: only(geometry.consumers, at.peek, Side::Single),
                tail: at.tail,
                intent: only(geometry.producers, at.intent, Side::Single),
            },
            waiters: WaitersJson { get: ring.waiters.get.clone(), put: ring.waiters.put.clone() },
            producer: ring.producer.map(RoleJson::of),
            consumer: ring.consumer.map(RoleJson::of),
            blocked_by: ring.blocked_by.iter().map(HoldJson::of_blocker).collect(),
            holds: ring.holds.iter().map(HoldJson::of).collect(),
            holds_total: ring.holds_total,
            faults: ring
                .faults
                .iter()
                .map(|fault| FaultJson { what: fault.what, position: fault.position })
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct PositionsJson {
    first: u64,
    frontier: Option<u64>,
    head: u64,
    peek: Option<u64>,
    tail: u64,
    intent: Option<u64>,
}

#[derive(Serialize)]
struct WaitersJson {
    get: Vec<u16>,
    put: Vec<u16>,
}

#[derive(Serialize)]
struct RoleJson {
    id: u16,
    pid: Option<u32>,
    held: Option<bool>,
}

impl RoleJson {
    fn of(role: RoleSnapshot) -> Self {
        Self { id: role.id, pid: role.pid, held: role.held }
    }
}

#[derive(Serialize)]
struct HoldJson {
    kind: &'static str,
    id: u16,
    pid: Option<u32>,
    alive: Option<bool>,
    position: u64,
    n: Option<u64>,
    age_seconds: Option<f64>,
}

impl HoldJson {
    fn of(hold: &Hold) -> Self {
        Self {
            kind: hold.kind.name(),
            id: hold.id,
            pid: hold.pid,
            alive: hold.alive,
            position: hold.position,
            n: Some(hold.n),
            age_seconds: seconds(hold.age),
        }
    }

    fn of_blocker(blocker: &Blocker) -> Self {
        let Blocker { id, pid, alive, position, kind, age, .. } = *blocker;
        let kind: BlockKind = kind;
        Self { kind: kind.name(), id, pid, alive, position, n: None, age_seconds: seconds(age) }
    }
}

#[derive(Serialize)]
struct FaultJson {
    what: &'static str,
    position: u64,
}

#[derive(Serialize)]
pub(crate) struct EntryJson {
    ring: String,
    position: u64,
    index: u64,
    lap: u64,
    state: &'static str,
    owner: u16,
    pid: Option<u32>,
    n: u64,
    length: u32,
    flags: u32,
    kind: u8,
    redeliveries: u32,
    inline: bool,
    put_at_ns: Option<u64>,
    payload_hex: Option<String>,
    payload_text: Option<String>,
    payload_complete: bool,
    stamp: String,
    claim: Option<String>,
    consistent: bool,
    fault: Option<&'static str>,
}

impl EntryJson {
    pub(crate) fn of(ring: &str, entry: &EntrySnapshot, pid: Option<u32>) -> Self {
        let payload = entry.payload.as_deref();
        let complete = payload.is_some_and(|bytes| bytes.len() == entry.len as usize);
        let text = payload.and_then(|bytes| std::str::from_utf8(bytes).ok());
        Self {
            ring: ring.to_owned(),
            position: entry.position,
            index: entry.index,
            lap: entry.lap,
            state: entry.state.name(),
            owner: entry.owner,
            pid: pid.filter(|_| entry.state != EntryState::Reclaimed),
            n: entry.n,
            length: entry.len,
            flags: entry.flags,
            kind: entry.kind,
            redeliveries: entry.redeliveries,
            inline: entry.inline,
            put_at_ns: entry.put_at_ns,
            payload_hex: payload.map(hex),
            payload_text: text.filter(|_| complete).map(ToOwned::to_owned),
            payload_complete: complete,
            stamp: format!("{:016x}", entry.stamp),
            claim: entry.claim.map(|claim| format!("{claim:016x}")),
            consistent: entry.consistent,
            fault: entry.fault,
        }
    }
}

pub(crate) fn uuid(uuid: [u8; 16]) -> String {
    let text = hex(&uuid);
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    parts.join("-")
}

fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}
