//! `list`: what there is.

use ringway::error::OpenError;
use ringway::shm::inspect::SegmentSnapshot;
use ringway::shm::segment::SegmentEntry;

use crate::Found;
use crate::cli::Common;
use crate::failure::Result;
use crate::json::SegmentJson;
use crate::looks;
use crate::output::{Columns, Output, bad, bad_when, cell, duration, or_dash};
use crate::target::place;

pub(crate) fn run(common: &Common, output: &mut Output) -> Result<Found> {
    let Some(looked) = looks::all(common)? else {
        output.note(&format!("{} is not there yet", place(common).display()));
        if output.json {
            output.json(&[(); 0])?;
        }
        return Ok(Found::Fine);
    };
    let found: Vec<_> = looked.into_iter().map(|looked| (looked.entry, looked.snapshot)).collect();
    let wrong = found.iter().any(|(_, looked)| match looked {
        Ok(snapshot) => snapshot.rings.iter().any(|ring| !ring.faults.is_empty()),
        Err(_) => true,
    });
    if output.json {
        let json = found.iter().map(|(entry, looked)| match looked {
            Ok(snapshot) => SegmentJson::of(snapshot, false),
            Err(error) => SegmentJson::unreadable(entry, error.to_string()),
        });
        output.json(&json.collect::<Vec<_>>())?;
    } else if found.is_empty() {
        output.note(&format!("no segments in {}", place(common).display()));
    } else {
        table(&found, output)?;
    }
    Ok(Found::when(wrong))
}

fn table(
    found: &[(SegmentEntry, std::result::Result<SegmentSnapshot, OpenError>)],
    output: &mut Output,
) -> Result<()> {
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
    for (entry, looked) in found {
        let Ok(snapshot) = looked else {
            let mut row =
                vec![cell(&entry.name), cell(entry.total_bytes), cell("-"), bad("unreadable")];
            row.resize_with(11, || cell("-"));
            table.row(row);
            continue;
        };
        let alive =
            |wanted| snapshot.participants.iter().filter(|one| one.alive == Some(wanted)).count();
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
            (false, false) => "live",
        };
        table.row(vec![
            cell(&entry.name),
            cell(snapshot.total_bytes),
            cell(format!("{:?}", snapshot.lifetime).to_lowercase()),
            bad_when(state != "live", state),
            cell(snapshot.rings.len()),
            cell(format!("{about}{}", sum(|ring| ring.qsize))),
            cell(sum(|ring| ring.in_flight)),
            cell(alive(true)),
            bad_when(stopped != 0, stopped),
            bad_when(alive(false) != 0, alive(false)),
            cell(or_dash(snapshot.age.map(duration))),
        ]);
    }
    output.table(table)?;
    for (entry, looked) in found {
        if let Err(error) = looked {
            output.line(&format!("\n{}: {error}", entry.name))?;
        }
    }
    Ok(())
}
