//! `list`: what there is.

use ringway::error::OpenError;
use ringway::shm::inspect::SegmentSnapshot;
use ringway::shm::segment::{Segment, SegmentEntry};

use crate::Found;
use crate::cli::Common;
use crate::failure::{Failure, Result};
use crate::json::SegmentJson;
use crate::output::{Columns, Output, bad, bad_when, cell, duration, or_dash};
use crate::target::{directory, place};

pub(crate) fn run(common: &Common, output: &mut Output) -> Result<Found> {
    let directory = match directory(common) {
        Ok(directory) => directory,
        // It is made with the first segment. One that was named on purpose should be there.
        Err(OpenError::NotFound { path }) if common.dir.is_none() => {
            output.note(&format!("{} is not there yet", path.display()));
            if output.json {
                output.json(&[(); 0])?;
            }
            return Ok(Found::Fine);
        }
        Err(OpenError::NotFound { path }) => return Err(Failure::NoDirectory { path }),
        Err(error) => return Err(error.into()),
    };
    let mut found = Vec::new();
    for entry in Segment::list(&directory)? {
        let opened = Segment::open_readonly(&directory, &entry.name);
        match opened.and_then(|segment| SegmentSnapshot::take(&segment)) {
            // Removed meanwhile.
            Err(OpenError::NotFound { .. }) => {}
            looked => found.push((entry, looked)),
        }
    }
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
        ">DEAD",
        ">AGE",
    ]);
    for (entry, looked) in found {
        let Ok(snapshot) = looked else {
            let mut row =
                vec![cell(&entry.name), cell(entry.total_bytes), cell("-"), bad("unreadable")];
            row.resize_with(10, || cell("-"));
            table.row(row);
            continue;
        };
        let alive =
            |wanted| snapshot.participants.iter().filter(|one| one.alive == Some(wanted)).count();
        let sum = |number: fn(&ringway::shm::inspect::RingSnapshot) -> u64| {
            snapshot.rings.iter().map(number).sum::<u64>()
        };
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
            cell(sum(|ring| ring.qsize)),
            cell(sum(|ring| ring.in_flight)),
            cell(alive(true)),
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
