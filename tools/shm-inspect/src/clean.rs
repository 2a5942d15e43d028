//! `clean`: removes what nobody uses any more.

use ringway::error::OpenError;
use ringway::shm::segment::{CleanOptions, CleanOutcome, CleanReport, Segment};
use serde::Serialize;

use crate::Found;
use crate::cli::{CleanArgs, Common};
use crate::failure::{Failure, Result};
use crate::output::{Columns, Output, bad_when, cell, or_dash};
use crate::target::directory;

#[derive(Serialize)]
struct CleanJson {
    segment: String,
    path: String,
    /// `removed`, `would-remove`, `live`, `kept`, `unreadable`, `gone`.
    outcome: &'static str,
    packets: Option<u64>,
    error: Option<String>,
}

pub(crate) fn run(common: &Common, args: &CleanArgs, output: &mut Output) -> Result<Found> {
    let options =
        CleanOptions { discard: args.discard, spare_packets: true, dry_run: args.dry_run };
    let reports = match directory(common) {
        Ok(directory) => Segment::clean_abandoned(&directory, options)?,
        Err(OpenError::NotFound { .. }) if common.dir.is_none() => Vec::new(),
        Err(OpenError::NotFound { path }) => return Err(Failure::NoDirectory { path }),
        Err(error) => return Err(error.into()),
    };
    let rows: Vec<_> = reports.iter().map(|report| describe(report, args.dry_run)).collect();
    // What stays although nobody uses it is worth a look.
    let findings = rows.iter().any(|row| matches!(row.outcome, "kept" | "unreadable"));
    if output.json {
        output.json(&rows)?;
    } else if rows.is_empty() {
        output.note("no segments");
    } else {
        let mut table = Columns::new(&["SEGMENT", "OUTCOME", ">PACKETS", "WHY"]);
        for row in &rows {
            let why = match (&row.error, row.outcome) {
                (Some(error), _) => error.as_str(),
                (None, "kept") => "nobody is alive, but packets are left: --discard removes it",
                (None, "live") => "somebody is alive in it",
                (None, "removed" | "would-remove") => "nobody is alive in it",
                (None, _) => "-",
            };
            table.row(vec![
                cell(&row.segment),
                bad_when(row.outcome == "unreadable", row.outcome),
                cell(or_dash(row.packets)),
                cell(why),
            ]);
        }
        output.table(table)?;
    }
    Ok(Found::when(findings))
}

fn describe(report: &CleanReport, dry_run: bool) -> CleanJson {
    let (outcome, packets, error) = match &report.outcome {
        CleanOutcome::Removed { packets } if dry_run => ("would-remove", Some(*packets), None),
        CleanOutcome::Removed { packets } => ("removed", Some(*packets), None),
        CleanOutcome::Live => ("live", None, None),
        CleanOutcome::Kept { packets } => ("kept", Some(*packets), None),
        CleanOutcome::Gone => ("gone", None, None),
        CleanOutcome::Unreadable(error) => ("unreadable", None, Some(error.clone())),
        other => ("kept", None, Some(format!("{other:?}"))),
    };
    CleanJson {
        segment: report.name.to_string(),
        path: report.path.display().to_string(),
        outcome,
        packets,
        error,
    }
}
