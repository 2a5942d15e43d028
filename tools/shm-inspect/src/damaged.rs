//! Segments whose header is damaged: what is wrong with it, and what is left.

use std::path::Path;

use ringway::error::OpenError;
use ringway::shm::inspect::SegmentSnapshot;
use ringway::shm::names::SegmentName;
use ringway::shm::segment::{Salvage, Segment};

use crate::Found;
use crate::cli::{Common, DumpArgs};
use crate::failure::{Failure, Result};
use crate::json::SegmentJson;
use crate::output::{Columns, Output, bad, bad_when, cell, hex_lines};
use crate::target::{Target, directory};
use crate::{dump, show};

/// Finds the damaged file that `target` names, as `Target::open` does, and the ring that was named.
fn salvage(common: &Common, target: &str) -> Result<(Salvage, Option<String>)> {
    let (name, ring) = match target.split_once(':') {
        Some((name, ring)) => (name, Some(ring.to_owned())),
        None => (target, None),
    };
    if let Ok(name) = SegmentName::new(name) {
        match directory(common).and_then(|place| Segment::salvage(&place, &name)) {
            Ok(Some(salvage)) => return Ok((salvage, ring)),
            Ok(None) | Err(OpenError::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let by_path = |path: &str, ring: Option<String>| -> Result<Option<(Salvage, Option<String>)>> {
        if !Path::new(path).exists() {
            return Ok(None);
        }
        Ok(Segment::salvage_raw_file(Path::new(path))?.map(|salvage| (salvage, ring)))
    };
    if let Some(found) = by_path(target, None)? {
        return Ok(found);
    }
    if let Some((path, ring)) = target.rsplit_once(':')
        && let Some(found) = by_path(path, Some(ring.to_owned()))?
    {
        return Ok(found);
    }
    Err(Failure::Usage(format!("{target} has changed meanwhile: ask again")))
}

fn open(salvage: &Salvage, ring: Option<&str>) -> Result<Option<Target>> {
    let Some(view) = &salvage.view else { return Ok(None) };
    Ok(Some(Target::with_ring(std::sync::Arc::clone(view), ring)?))
}

pub(crate) fn show(common: &Common, target: &str, output: &mut Output) -> Result<Found> {
    let (salvage, ring) = salvage(common, target)?;
    let left = open(&salvage, ring.as_deref())?;
    let snapshot =
        left.as_ref().map(|left| SegmentSnapshot::take_rings(&left.segment, left.rings()));
    let snapshot = snapshot.transpose()?;
    if output.json {
        let json = SegmentJson::damaged(&salvage, target.to_owned(), snapshot.as_ref());
        output.json(&json)?;
        return Ok(Found::Findings);
    }
    header(&salvage, output)?;
    if let Some(snapshot) = snapshot {
        output.line("\nWHAT IS LEFT, put together from what makes sense\n")?;
        show::all(&snapshot, ring.is_some(), output)?;
    }
    Ok(Found::Findings)
}

pub(crate) fn dump(common: &Common, args: &DumpArgs, output: &mut Output) -> Result<Found> {
    let (salvage, ring) = salvage(common, &args.target)?;
    if let Some(path) = &args.raw {
        output.warn(&salvage.error.to_string());
        let file = match &salvage.error {
            OpenError::Corrupt { path, .. } => path,
            _ => Path::new(&args.target),
        };
        dump::raw(None, file, |to| salvage.copy_raw(to), path, output)?;
        return Ok(Found::Findings);
    }
    let left = open(&salvage, ring.as_deref())?;
    match (left, output.json) {
        (Some(left), true) => {
            output.warn(&salvage.error.to_string());
            dump::of_target(&left, args, output)?;
        }
        (None, true) => {
            output.json(&SegmentJson::damaged(&salvage, args.target.clone(), None))?;
        }
        (left, false) => {
            header(&salvage, output)?;
            if let Some(left) = left {
                output.line("\nWHAT IS LEFT, put together from what makes sense\n")?;
                dump::of_target(&left, args, output)?;
            }
        }
    }
    Ok(Found::Findings)
}

fn header(salvage: &Salvage, output: &mut Output) -> Result<()> {
    output.line(&format!("damaged: {}", salvage.error))?;
    let mut table = Columns::new(&[">OFFSET", "FIELD", ">VALUE", ">SHOULD BE"]);
    for field in &salvage.fields {
        let number = |value: u64| match field.name {
            "magic" | "abi_hash" | "checksum" => format!("{value:#018x}"),
            _ => value.to_string(),
        };
        table.row(vec![
            cell(field.offset),
            cell(field.name),
            bad_when(field.expected.is_some(), number(field.value)),
            field.expected.map_or_else(|| cell("-"), |expected| bad(number(expected))),
        ]);
    }
    output.section("HEADER", table)?;
    output.line(&format!("\nFIRST BYTES, of {}", salvage.file_bytes))?;
    output.line(&hex_lines(&salvage.first_bytes))
}
