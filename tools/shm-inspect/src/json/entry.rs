//! An entry as JSON.

use ringway::shm::inspect::{EntrySnapshot, EntryState};
use serde::Serialize;

use crate::decode::PacketJson;
use crate::output::hex;

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
    packet: Option<PacketJson>,
    stamp: String,
    claim: Option<String>,
    take: Option<String>,
    consistent: bool,
    fault: Option<&'static str>,
}

impl EntryJson {
    pub(crate) fn of(
        ring: &str,
        entry: &EntrySnapshot,
        packet: Option<PacketJson>,
        pid: Option<u32>,
    ) -> Self {
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
            packet,
            stamp: format!("{:016x}", entry.stamp),
            claim: entry.claim.map(|claim| format!("{claim:016x}")),
            take: entry.take.map(|take| format!("{take:016x}")),
            consistent: entry.consistent,
            fault: entry.fault,
        }
    }
}
