//! `list`: what there is.

use crate::Found;
use crate::cli::Common;
use crate::failure::Result;
use crate::json::SegmentJson;
use crate::looks::{self, Looked};
use crate::output::{Columns, Output, bad, bad_when, cell, duration, or_dash};
use crate::target::place;

pub(crate) fn run(common: &Common, named: &[String], output: &mut Output) -> Result<Found> {
    let Some(found) = looks::all(common, named)? else {
        output.note(&format!("{} is not there yet", place(common).display()));
        if output.json {
            output.json(&[(); 0])?;
        }
        return Ok(Found::Fine);
    };
    let wrong = found.iter().any(|looked| match &looked.snapshot {
        Ok(snapshot) => snapshot.rings.iter().any(|ring| !ring.faults.is_empty()),
        Err(_) => true,
    });
    if output.json {
        let json = found.iter().map(|looked| match &looked.snapshot {
            Ok(snapshot) => SegmentJson::of(snapshot, false),
            Err(error) => SegmentJson::unreadable(looked, error.to_string()),
        });
        output.json(&json.collect::<Vec<_>>())?;
    } else if found.is_empty() {
        output.note(&format!("no segments in {}", place(common).display()));
    } else {
        table(&found, output)?;
    }
    Ok(Found::when(wrong))
}

fn table(found: &[Looked], output: &mut Output) -> Result<()> {
    let mut table = Columns::new(&[
        "SEGMENT",
        ">BYTES",
        "LIFETIME",
        "STATE",
        ">RINGS",
        ">WAITING",
        ">IN FLIGHT",
        ">ALIVE",
        ">STOPPED",
        ">DEAD",
        ">AGE",
    ]);
    for looked in found {
        let Ok(snapshot) = &looked.snapshot else {
            let mut row =
                vec![cell(&looked.name), cell(looked.bytes), cell("-"), bad("unreadable")];
            row.resize_with(11, || cell("-"));
            table.row(row);
            continue;
        };
        let alive =
            |wanted| snapshot.participants.iter().filter(|one| one.alive == Some(wanted)).count();
        // Of a copy nobody can say.
        let known = |count: usize| or_dash((!snapshot.is_copy()).then_some(count));
        let stopped = snapshot.participants.iter().filter(|one| one.stopped == Some(true)).count();
        let sum = |number: fn(&ringway::shm::inspect::RingSnapshot) -> u64| {
            snapshot.rings.iter().map(number).sum::<u64>()
        };
        // A ring that did not stand still: its numbers are about right.
        let still = snapshot.rings.iter().all(|ring| ring.consistent);
        let about = if still { "" } else { "~" };
        let damaged = snapshot.rings.iter().any(|ring| !ring.faults.is_empty());
        let state = match (damaged, snapshot.control.destroyed) {
            (true, _) => "damaged",
            (false, true) => "destroyed",
            (false, false) if snapshot.is_copy() => "a copy",
            (false, false) => "live",
        };
        table.row(vec![
            cell(&looked.name),
            cell(snapshot.total_bytes),
            cell(format!("{:?}", snapshot.lifetime).to_lowercase()),
            bad_when(!matches!(state, "live" | "a copy"), state),
            cell(snapshot.rings.len()),
            cell(format!("{about}{}", sum(|ring| ring.qsize))),
            cell(sum(|ring| ring.in_flight)),
            cell(known(alive(true))),
            bad_when(stopped != 0, known(stopped)),
            bad_when(alive(false) != 0, known(alive(false))),
            cell(or_dash(snapshot.age.map(duration))),
        ]);
    }
    output.table(table)?;
    for Looked { name, snapshot, .. } in found {
        if let Err(error) = snapshot {
            output.line(&format!("\n{name}: {error}"))?;
        }
    }
    Ok(())
}
