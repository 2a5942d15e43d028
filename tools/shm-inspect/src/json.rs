//! The shapes of the JSON. `docs/inspect.md` describes them; `tests/` holds them.

mod entry;

use std::time::Duration;

use ringway::queue::{QueueStats, Side};
use ringway::shm::inspect::{
    BlockKind, Blocker, Hold, ParticipantSnapshot, RingSnapshot, RoleSnapshot, SegmentSnapshot,
};
use ringway::shm::segment::Salvage;
use serde::Serialize;

pub(crate) use entry::EntryJson;

use crate::looks::Looked;
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
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<DamageJson>,
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
        // The clock of a copy stands still.
        let age = snapshot.age.filter(|_| !snapshot.is_copy());
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
            damage: None,
            rings: snapshot.rings.iter().map(|ring| RingJson::of(ring, age)).collect(),
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

    /// A file whose header is damaged, with what is left.
    pub(crate) fn damaged(salvage: &Salvage, path: String, left: Option<&SegmentSnapshot>) -> Self {
        let damage = DamageJson {
            error: salvage.error.to_string(),
            fields: salvage
                .fields
                .iter()
                .map(|field| FieldJson {
                    name: field.name,
                    offset: field.offset,
                    value: field.value,
                    expected: field.expected,
                })
                .collect(),
            first_bytes_hex: hex(&salvage.first_bytes),
        };
        let mut json = match left {
            Some(snapshot) => Self::of(snapshot, true),
            None => Self::empty(None, path, salvage.file_bytes),
        };
        json.damage = Some(damage);
        json
    }

    /// A file that could not be read.
    pub(crate) fn unreadable(looked: &Looked, error: String) -> Self {
        let (name, path) = (looked.name.clone(), looked.path.display().to_string());
        Self { error: Some(error), ..Self::empty(Some(name), path, looked.bytes) }
    }

    fn empty(segment: Option<String>, path: String, bytes: u64) -> Self {
        Self {
            segment,
            path,
            bytes,
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
            damage: None,
            rings: Vec::new(),
            participants: Vec::new(),
            memory_map: Vec::new(),
            error: None,
        }
    }
}

/// What is wrong with a header.
#[derive(Serialize)]
struct DamageJson {
    error: String,
    fields: Vec<FieldJson>,
    first_bytes_hex: String,
}

#[derive(Serialize)]
struct FieldJson {
    name: &'static str,
    offset: u64,
    value: u64,
    expected: Option<u64>,
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
    stopped: Option<bool>,
    joined_unix_ns: u64,
    age_seconds: Option<f64>,
}

impl ParticipantJson {
    fn of(participant: &ParticipantSnapshot) -> Self {
        Self {
            id: participant.id,
            pid: participant.pid,
            name: participant.name.clone(),
            alive: participant.alive,
            stopped: participant.stopped,
            age_seconds: seconds(participant.age),
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
    rates: Option<RatesJson>,
    oldest_waiting_seconds: Option<f64>,
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
    fn of(ring: &RingSnapshot, age: Option<Duration>) -> Self {
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
            rates: age.map(|age| RatesJson::since_creation(ring, age)),
            oldest_waiting_seconds: seconds(ring.oldest_waiting),
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

/// Averages since the creation of the segment.
#[derive(Serialize)]
pub(crate) struct RatesJson {
    pub(crate) puts_per_second: f64,
    pub(crate) gets_per_second: f64,
    pub(crate) bytes_put_per_second: f64,
    pub(crate) bytes_got_per_second: f64,
}

impl RatesJson {
    pub(crate) fn since_creation(ring: &RingSnapshot, age: Duration) -> Self {
        let counters = &ring.counters;
        // A segment made this very moment.
        let seconds = age.as_secs_f64().max(1e-9);
        let rate = |count: u64| count as f64 / seconds;
        Self {
            puts_per_second: rate(counters.puts),
            gets_per_second: rate(counters.gets),
            bytes_put_per_second: rate(counters.bytes_put),
            bytes_got_per_second: rate(counters.bytes_got),
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
    at_most_seconds: Option<f64>,
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
            at_most_seconds: seconds(hold.at_most),
        }
    }

    fn of_blocker(blocker: &Blocker) -> Self {
        let Blocker { id, pid, alive, position, kind, age, .. } = *blocker;
        let kind: BlockKind = kind;
        let age_seconds = seconds(age);
        // Of the oldest hold, which is listed among the holds as well.
        let at_most_seconds = None;
        Self { kind: kind.name(), id, pid, alive, position, n: None, age_seconds, at_most_seconds }
    }
}

#[derive(Serialize)]
struct FaultJson {
    what: &'static str,
    position: u64,
}

pub(crate) fn uuid(uuid: [u8; 16]) -> String {
    let text = hex(&uuid);
    let parts = [&text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..]];
    parts.join("-")
}

pub(crate) fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| time.as_secs_f64())
}
