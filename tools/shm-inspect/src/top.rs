//! `top`: the slowest rings first.

use ringway::shm::inspect::SegmentSnapshot;
use serde::Serialize;

use crate::Found;
use crate::cli::{Common, TopArgs};
use crate::failure::Result;
use crate::looks::{Before, Rates, readable};
use crate::output::{Columns, Output, bad_when, bar, cell, duration, or_dash, rate};
use crate::show::blockers;

#[derive(Serialize)]
struct TopJson {
    ring: String,
    oldest_waiting_seconds: Option<f64>,
    qsize: u64,
    in_flight: u64,
    occupancy: f64,
    puts_per_second: Option<f64>,
    gets_per_second: Option<f64>,
    blocked: bool,
    consistent: bool,
}

pub(crate) fn run(common: &Common, args: &TopArgs, output: &mut Output) -> Result<Found> {
    let mut before = Before::default();
    before.rates(&readable(common, &args.segments)?);
    std::thread::sleep(args.interval);
    let looks = readable(common, &args.segments)?;
    let rates = before.rates(&looks);
    let mut rows: Vec<_> = looks
        .iter()
        .zip(&rates)
        .flat_map(|(look, rates)| {
            look.rings.iter().zip(rates).map(move |(ring, rates)| (look, ring, *rates))
        })
        .collect();
    // The longest wait first; without timestamps nobody knows it, and the fullest come first.
    rows.sort_by(|(_, a, _), (_, b, _)| {
        let by_wait = b.oldest_waiting.cmp(&a.oldest_waiting);
        by_wait.then(b.occupancy.total_cmp(&a.occupancy)).then(b.qsize.cmp(&a.qsize))
    });
    rows.truncate(args.rings);
    if output.json {
        let json = rows.iter().map(|(look, ring, rates)| TopJson {
            ring: name(look, &ring.name),
            oldest_waiting_seconds: crate::json::seconds(ring.oldest_waiting),
            qsize: ring.qsize,
            in_flight: ring.in_flight,
            occupancy: ring.occupancy,
            puts_per_second: rates.map(|rates: Rates| rates.puts),
            gets_per_second: rates.map(|rates: Rates| rates.gets),
            blocked: !ring.blocked_by.is_empty(),
            consistent: ring.consistent,
        });
        output.json(&json.collect::<Vec<_>>())?;
        return Ok(Found::Fine);
    }
    if rows.is_empty() {
        output.note("no rings");
        return Ok(Found::Fine);
    }
    let mut table = Columns::new(&[
        "RING",
        ">OLDEST",
        ">WAITING",
        ">IN FLIGHT",
        "OCCUPANCY",
        ">PUTS/S",
        ">GETS/S",
        "BLOCKED BY",
    ]);
    for (look, ring, rates) in rows {
        let of = |pick: fn(Rates) -> f64| or_dash(rates.map(|rates| rate(pick(rates))));
        let about = if ring.consistent { "" } else { "~" };
        table.row(vec![
            cell(name(look, &ring.name)),
            cell(or_dash(ring.oldest_waiting.map(duration))),
            cell(format!("{about}{}", ring.qsize)),
            cell(ring.in_flight),
            cell(bar(ring.occupancy)),
            cell(of(|rates| rates.puts)),
            cell(of(|rates| rates.gets)),
            bad_when(!ring.blocked_by.is_empty(), blockers(look, ring)),
        ]);
    }
    output.table(table)?;
    Ok(Found::Fine)
}

pub(crate) fn name(look: &SegmentSnapshot, ring: &str) -> String {
    match &look.name {
        Some(name) => format!("{name}:{ring}"),
        None => format!("{}:{ring}", look.path.display()),
    }
}
