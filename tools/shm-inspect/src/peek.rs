//! `peek`: the packets that wait in a ring, left where they are.

use std::time::{Duration, Instant};

use ringway::shm::inspect::{Entries, EntryOptions, EntryState, Passed, Tap, TapStart};
use ringway::shm::os::monotonic_ns;
use serde::Serialize;

use crate::Found;
use crate::cli::{Common, PeekArgs};
use crate::decode::{Decoded, HEADER_BYTES};
use crate::failure::Result;
use crate::follow::{End, Watcher, end_on_interrupt, follow};
use crate::output::{Columns, Output, cell, duration, lines, or_dash};
use crate::target::Target;

/// A packet, as one line of JSON.
#[derive(Serialize)]
struct PacketLine {
    position: u64,
    kind: u8,
    length: u32,
    redeliveries: u32,
    age_seconds: Option<f64>,
    /// Whether it was read whole: false where it changed meanwhile, and then there is no payload.
    consistent: bool,
    payload_complete: bool,
    #[serde(flatten)]
    payload: Option<Decoded>,
}

pub(crate) fn run(common: &Common, args: &PeekArgs, output: &mut Output) -> Result<Found> {
    let (segment, ring) = Target::open_ring(common, &args.ring)?;
    // First the tap: what is put while the rest is shown is not lost.
    let tap = Tap::of_segment(&segment, ring, TapStart::Now)?;
    let copy = segment.name().is_none();
    let age = |put_at: Option<u64>| {
        let at = put_at.filter(|_| !copy)?;
        monotonic_ns().checked_sub(at).map(Duration::from_nanos)
    };
    let wanted = args.packets.unwrap_or(u64::MAX);
    let (mut shown, mut findings) = (0, false);
    let mut table = Table::new(output);
    let read_bytes = args.bytes.saturating_add(HEADER_BYTES);
    let options = EntryOptions { payload_bytes: read_bytes, all: false };
    let mut last = None;
    for entry in Entries::of_segment(&segment, ring, options)? {
        findings |= entry.fault.is_some();
        let waits = matches!(entry.state, EntryState::Ready | EntryState::Returned);
        if !waits || shown == wanted {
            continue;
        }
        shown += 1;
        last = Some(entry.position);
        let decoded =
            entry.payload.as_deref().map(|bytes| decode(args, entry.kind, bytes, entry.len));
        let age = age(entry.put_at_ns);
        let line = PacketLine {
            position: entry.position,
            kind: entry.kind,
            length: entry.len,
            redeliveries: entry.redeliveries,
            age_seconds: age.map(|age| age.as_secs_f64()),
            consistent: entry.consistent,
            payload_complete: decoded.as_ref().is_some_and(|payload| payload.complete),
            payload: decoded,
        };
        table.add(line, age, output)?;
    }
    table.finish(output)?;
    if !args.follow {
        if shown == 0 {
            output.note("no packet waits");
        }
        return Ok(Found::when(findings));
    }
    output.flush()?;
    if shown == wanted {
        return Ok(Found::when(findings));
    }
    end_on_interrupt()?;
    let mut tap = tap;
    let watcher = &mut Follow { args, output, shown, wanted, missed: 0, last };
    let end = follow(&mut tap, read_bytes, copy, watcher)?;
    let missed = watcher.missed;
    if missed != 0 {
        output.warn(&format!("{missed} packets passed too fast to be seen"));
    }
    if end == End::Damaged {
        output.warn("the ring holds what no ringway writes: see shm-inspect dump");
    }
    Ok(Found::when(findings || missed != 0 || end == End::Damaged))
}

/// Decodes what was read of a record of `len` bytes.
fn decode(args: &PeekArgs, kind: u8, bytes: &[u8], len: u32) -> Decoded {
    Decoded::of(kind, bytes, len as usize, args.bytes, args.format)
}

/// What was there already is a table; what comes, lines.
struct Table {
    columns: Option<Columns>,
}

impl Table {
    fn new(output: &Output) -> Self {
        let names = [">POSITION", ">AGE", ">REDELIVERED", ">KIND", "AS", ">LENGTH", "PAYLOAD"];
        Self { columns: (!output.json).then(|| Columns::new(&names)) }
    }

    fn add(&mut self, line: PacketLine, age: Option<Duration>, output: &mut Output) -> Result<()> {
        let Some(columns) = &mut self.columns else { return output.json_line(&line) };
        let (what, payload) = match &line.payload {
            None => ("changing", String::new()),
            Some(payload) => (payload.decoded_as, payload.lines()),
        };
        let more = if line.payload_complete || line.payload.is_none() { "" } else { "\n..." };
        columns.row(vec![
            cell(line.position),
            cell(or_dash(age.map(duration))),
            cell(line.redeliveries),
            cell(line.kind),
            cell(what),
            cell(line.length),
            lines(format!("{payload}{more}")),
        ]);
        Ok(())
    }

    fn finish(&mut self, output: &mut Output) -> Result<()> {
        match self.columns.take() {
            Some(columns) if !columns.is_empty() => output.table(columns),
            _ => Ok(()),
        }
    }
}

struct Follow<'a> {
    args: &'a PeekArgs,
    output: &'a mut Output,
    shown: u64,
    wanted: u64,
    missed: u64,
    /// The last that was shown from the ring itself: put while we looked, it may pass the tap, too.
    last: Option<u64>,
}

impl Watcher for Follow<'_> {
    fn packet(&mut self, passed: Passed, _: Instant) -> Result<bool> {
        if self.last.is_some_and(|last| passed.position <= last) {
            return Ok(false);
        }
        let payload = decode(self.args, passed.kind, &passed.payload, passed.len);
        self.shown += 1;
        if self.output.json {
            self.output.json_line(&PacketLine {
                position: passed.position,
                kind: passed.kind,
                length: passed.len,
                redeliveries: passed.redeliveries,
                age_seconds: None,
                consistent: true,
                payload_complete: payload.complete,
                payload: Some(payload),
            })?;
        } else {
            let what = payload.decoded_as;
            let more = if payload.complete { "" } else { "\n..." };
            let text = format!("{}{more}", payload.lines()).replace('\n', "\n    ");
            self.output.line(&format!("{} {what} {}: {text}", passed.position, passed.len))?;
        }
        Ok(self.shown >= self.wanted)
    }

    fn missed(&mut self, packets: u64) -> Result<()> {
        self.missed += packets;
        Ok(())
    }

    fn looked(&mut self, found: bool) -> Result<bool> {
        if found {
            self.output.flush()?;
        }
        Ok(false)
    }
}
