//! `show`: one segment, or one ring of it.

use ringway::error::OpenError;
use ringway::shm::inspect::{ParticipantSnapshot, RingSnapshot, SegmentSnapshot};

use crate::Found;
use crate::cli::Common;
use crate::damaged;
use crate::failure::{Failure, Result};
use crate::json::{RatesJson, SegmentJson, uuid};
use crate::output::{
    Columns, Output, alive, bad, bad_when, bar, cell, duration, id_or_dash, or_dash, rate, utc,
};
use crate::target::Target;

pub(crate) fn run(common: &Common, target: &str, output: &mut Output) -> Result<Found> {
    let target = match Target::open(common, target) {
        Err(Failure::Open(OpenError::Corrupt { .. })) => {
            return damaged::show(common, target, output);
        }
        target => target?,
    };
    let snapshot = SegmentSnapshot::take_rings(&target.segment, target.rings())?;
    if output.json {
        output.json(&SegmentJson::of(&snapshot, true))?;
    } else {
        all(&snapshot, target.ring.is_some(), output)?;
    }
    Ok(Found::when(snapshot.rings.iter().any(|ring| !ring.faults.is_empty())))
}

/// Everything about a snapshot; `one`: of a ring that was asked for.
pub(crate) fn all(snapshot: &SegmentSnapshot, one: bool, output: &mut Output) -> Result<()> {
    head(snapshot, output)?;
    participants(snapshot, output)?;
    rings(snapshot, output)?;
    if one {
        details(snapshot, output)?;
    }
    counters(snapshot, output)?;
    rates(snapshot, output)?;
    holds(snapshot, output)?;
    waiters(snapshot, output)?;
    faults(snapshot, output)?;
    memory(snapshot, output)
}

fn head(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let control = &snapshot.control;
    let mut table = Columns::pairs();
    let mut pair = |name: &str, value: String| table.row(vec![cell(name), cell(value)]);
    if let Some(name) = &snapshot.name {
        pair("segment", name.clone());
    }
    pair("path", snapshot.path.display().to_string());
    pair("bytes", snapshot.total_bytes.to_string());
    pair("lifetime", format!("{:?}", snapshot.lifetime).to_lowercase());
    let state = if control.destroyed { "destroyed" } else { "live" };
    let copy = if snapshot.is_copy() { " (a copy: nobody can say who is alive)" } else { "" };
    pair("state", format!("{state}{copy}"));
    pair("uuid", uuid(snapshot.uuid));
    let age = snapshot.age.map_or_else(String::new, |age| format!(", {} ago", duration(age)));
    pair("created", format!("{}{age}", utc(control.created_unix_ns)));
    pair("creator", format!("pid {}, uid {}", control.creator_pid, control.creator_uid));
    if let Some(group) = control.group {
        pair("group", group.to_string());
    }
    pair(
        "joined",
        format!(
            "{} ever, {} recovered, {} places",
            control.joined_total, control.recovered_total, control.max_participants
        ),
    );
    output.table(table)
}

fn participants(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let mut table = Columns::new(&[">ID", ">PID", "NAME", "ALIVE", "JOINED", ">AGO"]);
    for one in &snapshot.participants {
        table.row(vec![
            cell(one.id),
            cell(one.pid),
            cell(&one.name),
            bad_when(one.alive == Some(false) || one.stopped == Some(true), life(one)),
            cell(utc(one.joined_unix_ns)),
            cell(or_dash(one.age.map(duration))),
        ]);
    }
    output.section("PARTICIPANTS", table)
}

fn rings(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let mut table = Columns::new(&[
        "RING",
        "MODE",
        "STATE",
        "READ",
        ">QSIZE",
        ">MAXSIZE",
        ">IN FLIGHT",
        ">OCCUPANCY",
        ">ENTRIES",
        ">UNIT",
        ">MAX PAYLOAD",
        ">SLEEPERS",
        "BLOCKED BY",
    ]);
    for ring in &snapshot.rings {
        let state = if ring.exhausted { "exhausted" } else { ring.state.name() };
        let maxsize = Some(ring.geometry.maxsize).filter(|&maxsize| maxsize != 0);
        table.row(vec![
            cell(&ring.name),
            cell(ring.mode()),
            bad_when(state == "unknown" || state == "exhausted", state),
            bad_when(!ring.consistent, if ring.consistent { "whole" } else { "changing" }),
            cell(changing(ring, ring.qsize)),
            cell(or_dash(maxsize)),
            cell(ring.in_flight),
            cell(bar(ring.occupancy)),
            cell(ring.geometry.entries()),
            cell(ring.geometry.unit_bytes),
            cell(ring.geometry.max_payload()),
            // Who waits for packets, and who for room.
            cell(format!("{}/{}", ring.waiters.get.len(), ring.waiters.put.len())),
            bad_when(!ring.blocked_by.is_empty(), blockers(snapshot, ring)),
        ]);
    }
    output.section("RINGS", table)
}

/// Marks the numbers of a ring that did not stand still.
fn changing(ring: &RingSnapshot, number: u64) -> String {
    if ring.consistent { number.to_string() } else { format!("~{number}") }
}

/// `yes`, `stopped`, `no` or `?`.
pub(crate) fn life(one: &ParticipantSnapshot) -> &'static str {
    if one.stopped == Some(true) { "stopped" } else { alive(one.alive) }
}

fn is_stopped(snapshot: &SegmentSnapshot, id: u16) -> bool {
    snapshot.participants.iter().any(|one| one.id == id && one.stopped == Some(true))
}

pub(crate) fn blockers(snapshot: &SegmentSnapshot, ring: &RingSnapshot) -> String {
    let name = |blocker: &ringway::shm::inspect::Blocker| {
        let dead = match blocker.alive {
            Some(false) => ", dead",
            _ if is_stopped(snapshot, blocker.id) => ", stopped",
            _ => "",
        };
        let age =
            blocker.age.map_or_else(String::new, |age| format!(", put {} ago", duration(age)));
        format!(
            "{} (pid {}{dead}) {} {}{age}",
            blocker.id,
            or_dash(blocker.pid),
            blocker.kind.name(),
            blocker.position
        )
    };
    match ring.blocked_by.as_slice() {
        [] => "-".to_owned(),
        blockers => blockers.iter().map(name).collect::<Vec<_>>().join("; "),
    }
}

fn details(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    for ring in &snapshot.rings {
        let (at, geometry) = (&ring.positions, &ring.geometry);
        let mut table = Columns::pairs();
        let mut pair = |name: &str, value: String| table.row(vec![cell(name), cell(value)]);
        pair("first position", at.first.to_string());
        if ring.consumer.is_some() {
            pair("head (oldest not acknowledged)", at.head.to_string());
            pair("peek (next to give)", at.peek.to_string());
        } else {
            pair("frontier (free below)", at.frontier.to_string());
            pair("head (next to give)", at.head.to_string());
        }
        pair("tail (end of what is claimed)", at.tail.to_string());
        if ring.producer.is_some() {
            pair("intent (end of what is written)", at.intent.to_string());
        }
        pair("used units", format!("{} of {}", ring.used_units, geometry.entries()));
        for (name, role) in [("producer", ring.producer), ("consumer", ring.consumer)] {
            if let Some(role) = role {
                let held = match role.held {
                    Some(true) => "has the role",
                    Some(false) => "had it last",
                    None => "took it last",
                };
                let text = format!("{} (pid {}) {held}", id_or_dash(role.id), or_dash(role.pid));
                pair(name, text);
            }
        }
        let name = |&id: &u16| match snapshot.participants.iter().find(|one| one.id == id) {
            Some(one) => format!("{id} (pid {})", one.pid),
            None => id.to_string(),
        };
        let ids = |ids: &[u16]| match ids {
            [] => "nobody".to_owned(),
            ids => ids.iter().map(name).collect::<Vec<_>>().join(", "),
        };
        pair("waiting for packets", ids(&ring.waiters.get));
        pair("waiting for room", ids(&ring.waiters.put));
        pair("timestamps", if geometry.timestamps { "yes" } else { "no" }.to_owned());
        if geometry.max_deliveries != 0 {
            pair("deliveries at most", geometry.max_deliveries.to_string());
        }
        if let Some(name) = &ring.dead_letter {
            pair("dead letters go to", name.clone());
        }
        if ring.schema_tag != 0 {
            pair("schema tag", format!("{:016x}", ring.schema_tag));
        }
        output.section(&format!("RING {}", ring.name), table)?;
    }
    Ok(())
}

fn counters(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let mut table = Columns::new(&[
        "RING",
        ">PUTS",
        ">GETS",
        ">BYTES PUT",
        ">BYTES GOT",
        ">HIGH",
        ">FULL WAITS",
        ">EMPTY WAITS",
        ">PUT BLOCKED",
        ">GET BLOCKED",
        ">REFUSED",
        ">REDELIVERED",
        ">SKIPPED",
        ">DEAD",
        ">KEPT",
    ]);
    for ring in &snapshot.rings {
        let counters = ring.counters;
        let time = |ns| duration(std::time::Duration::from_nanos(ns));
        table.row(vec![
            cell(&ring.name),
            cell(counters.puts),
            cell(counters.gets),
            cell(counters.bytes_put),
            cell(counters.bytes_got),
            cell(counters.high_water),
            cell(counters.full_waits),
            cell(counters.empty_waits),
            cell(time(counters.put_blocked_ns)),
            cell(time(counters.get_blocked_ns)),
            cell(counters.refused),
            cell(counters.redelivered),
            cell(counters.skipped),
            cell(counters.dead_lettered),
            cell(counters.dead_letters_kept),
        ]);
    }
    output.section("COUNTERS", table)
}

/// Averages since the creation.
fn rates(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    // The clock of a copy stands still.
    let Some(age) = snapshot.age.filter(|_| !snapshot.is_copy()) else { return Ok(()) };
    let mut table =
        Columns::new(&["RING", ">PUTS/S", ">GETS/S", ">BYTES PUT/S", ">BYTES GOT/S", ">OLDEST"]);
    for ring in &snapshot.rings {
        let rates = RatesJson::since_creation(ring, age);
        table.row(vec![
            cell(&ring.name),
            cell(rate(rates.puts_per_second)),
            cell(rate(rates.gets_per_second)),
            cell(rate(rates.bytes_put_per_second)),
            cell(rate(rates.bytes_got_per_second)),
            cell(or_dash(ring.oldest_waiting.map(duration))),
        ]);
    }
    output.section("SINCE CREATION", table)
}

fn holds(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    const SHOWN: usize = 32;
    let mut table = Columns::new(&[
        "RING",
        ">POSITION",
        "WHAT",
        ">ID",
        ">PID",
        "ALIVE",
        ">UNITS",
        ">PUT AGO",
        ">HELD AT MOST",
    ]);
    for ring in &snapshot.rings {
        for hold in ring.holds.iter().take(SHOWN) {
            table.row(vec![
                cell(&ring.name),
                cell(hold.position),
                cell(hold.kind.name()),
                cell(id_or_dash(hold.id)),
                cell(or_dash(hold.pid)),
                bad_when(hold.alive == Some(false) || is_stopped(snapshot, hold.id), {
                    if is_stopped(snapshot, hold.id) { "stopped" } else { alive(hold.alive) }
                }),
                cell(hold.n),
                cell(or_dash(hold.age.map(duration))),
                cell(or_dash(hold.at_most.map(duration))),
            ]);
        }
        let more = ring.holds_total.saturating_sub(SHOWN as u64);
        if more != 0 {
            let mut row = vec![cell(&ring.name), cell(format!("and {more} more"))];
            row.resize_with(9, || cell(""));
            table.row(row);
        }
    }
    output.section("HOLDS", table)
}

/// Who waits, for what, and for whom.
fn waiters(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let mut table =
        Columns::new(&["RING", ">ID", ">PID", "NAME", "ALIVE", "WAITS FOR", "HELD UP BY"]);
    for ring in &snapshot.rings {
        let (for_packets, for_room) = (&ring.waiters.get, &ring.waiters.put);
        let all = for_packets.iter().map(|&id| (id, "packets"));
        for (id, what) in all.chain(for_room.iter().map(|&id| (id, "room"))) {
            let who = snapshot.participants.iter().find(|one| one.id == id);
            table.row(vec![
                cell(&ring.name),
                cell(id),
                cell(or_dash(who.map(|one| one.pid))),
                cell(who.map_or("-", |one| &one.name)),
                bad_when(who.is_some_and(|one| one.alive == Some(false)), who.map_or("?", life)),
                cell(what),
                bad_when(!ring.blocked_by.is_empty(), blockers(snapshot, ring)),
            ]);
        }
    }
    output.section("WAITERS", table)
}

fn faults(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let mut table = Columns::new(&["RING", ">POSITION", "WHAT"]);
    for ring in &snapshot.rings {
        for fault in &ring.faults {
            table.row(vec![cell(&ring.name), cell(fault.position), bad(fault.what)]);
        }
    }
    output.section("FAULTS (no ringway writes this)", table)
}

fn memory(snapshot: &SegmentSnapshot, output: &mut Output) -> Result<()> {
    let mut table = Columns::new(&[">OFFSET", ">BYTES", "WHAT"]);
    for part in &snapshot.memory_map {
        let what = match part.ring {
            None => part.what.to_owned(),
            Some(index) => match snapshot.rings.iter().find(|ring| ring.index == index) {
                Some(ring) => format!("{}: {}{}", ring.name, part.what, shape(ring, part.what)),
                // Not asked for.
                None => continue,
            },
        };
        table.row(vec![cell(part.offset), cell(part.bytes), cell(what)]);
    }
    output.section("MEMORY", table)
}

/// What a part of a ring is made of.
fn shape(ring: &RingSnapshot, what: &str) -> String {
    let entries = ring.geometry.entries();
    match what {
        "claims" | "takes" => format!(", {entries} x 8"),
        "entries" => format!(", {entries} x 64"),
        "data" => format!(", {entries} x {}", ring.geometry.unit_bytes),
        _ => String::new(),
    }
}
