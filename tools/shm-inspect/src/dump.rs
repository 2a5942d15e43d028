//! `dump`: the entries of rings with their payloads, or all bytes of a segment into a file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ringway::error::OpenError;
use ringway::shm::inspect::{self, Entries, EntryOptions, EntrySnapshot};
use ringway::shm::os::monotonic_ns;
use serde::ser::{Serialize, SerializeStruct, Serializer};

use crate::Found;
use crate::cli::{Common, DumpArgs};
use crate::damaged;
use crate::decode::{self, HEADER_BYTES, PacketJson};
use crate::failure::{Failure, Result};
use crate::json::EntryJson;
use crate::output::{
    Columns, Output, bad_when, cell, duration, hex_lines, id_or_dash, lines, or_dash,
};
use crate::target::Target;

/// Rows that are aligned with each other: a ring can have a million entries.
const ROWS_AT_ONCE: usize = 4096;
/// Bytes of a payload in a table, unless asked for more.
const TABLE_BYTES: usize = 64;

pub(crate) fn run(common: &Common, args: &DumpArgs, output: &mut Output) -> Result<Found> {
    let target = match Target::open(common, &args.target) {
        Err(Failure::Open(OpenError::Corrupt { .. })) => {
            return damaged::dump(common, args, output);
        }
        target => target?,
    };
    of_target(&target, args, output)
}

/// Dumps what was opened, whole or damaged.
pub(crate) fn of_target(target: &Target, args: &DumpArgs, output: &mut Output) -> Result<Found> {
    if let Some(path) = &args.raw {
        let segment = &target.segment;
        let name = segment.name().map(ToString::to_string);
        let copy = |to: &mut dyn Write| inspect::copy_raw(segment, to);
        raw(name, segment.path(), copy, path, output)?;
        return Ok(Found::Fine);
    }
    let by_default = if output.json { usize::MAX } else { TABLE_BYTES };
    let shown_bytes = args.bytes.unwrap_or(by_default);
    let options = EntryOptions { payload_bytes: shown_bytes.max(HEADER_BYTES), all: args.all };
    let pids = inspect::participants(&target.segment).into_iter().map(|one| (one.id, one.pid));
    let dump = Dump {
        target,
        options,
        shown_bytes,
        pids: pids.collect(),
        failed: RefCell::new(None),
        faults: RefCell::new(0),
    };
    if output.json {
        let written = output.json(&dump);
        // A ring that could not be mapped says more than the JSON that therefore broke off.
        if let Some(failure) = dump.failed.take() {
            return Err(failure);
        }
        written?;
    } else {
        dump.tables(output)?;
    }
    Ok(Found::when(dump.faults.take() != 0))
}

/// Copies all bytes of `from`, which is of a segment or of what is left of one, into a new file.
pub(crate) fn raw(
    name: Option<String>,
    from: &Path,
    copy: impl FnOnce(&mut dyn Write) -> io::Result<u64>,
    path: &Path,
    output: &mut Output,
) -> Result<()> {
    let failed = |source| Failure::File { path: path.to_owned(), source };
    let file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    let mut to = BufWriter::new(file);
    let copied = copy(&mut to).and_then(|bytes| to.flush().map(|()| bytes));
    let bytes = match copied {
        Ok(bytes) => bytes,
        Err(error) => {
            // Half a segment is none.
            let _ = std::fs::remove_file(path);
            return Err(failed(error));
        }
    };
    let from = from.display();
    if output.json {
        output.json(&serde_json::json!({
            "segment": name,
            "path": from.to_string(),
            "bytes": bytes,
            "raw": path.display().to_string(),
        }))
    } else {
        output.line(&format!("{bytes} bytes of {from} copied to {}", path.display()))
    }
}

struct Dump<'a> {
    target: &'a Target,
    options: EntryOptions,
    /// Most bytes of each payload, of which more may be read: those of a header.
    shown_bytes: usize,
    pids: HashMap<u16, u32>,
    failed: RefCell<Option<Failure>>,
    faults: RefCell<u64>,
}

impl Dump<'_> {
    fn ring_name(&self, index: usize) -> &str {
        self.target.segment.ring_config(index).map_or("", |ring| &ring.name)
    }

    /// The entries of a ring, each with its header where it is a packet or stop signal.
    fn entries(
        &self,
        index: usize,
    ) -> Result<impl Iterator<Item = (EntrySnapshot, Option<PacketJson>)>> {
        let entries = Entries::of_segment(&self.target.segment, index, self.options)?;
        Ok(entries.map(|mut entry| {
            *self.faults.borrow_mut() += u64::from(entry.fault.is_some());
            let Some(bytes) = &mut entry.payload else { return (entry, None) };
            let header = decode::packet(entry.kind, bytes, entry.len as usize);
            let header = header.map(|(header, _)| header);
            bytes.truncate(self.shown_bytes);
            (entry, header)
        }))
    }

    fn pid(&self, entry: &EntrySnapshot) -> Option<u32> {
        self.pids.get(&entry.owner).copied()
    }

    /// The entries of all rings, for the JSON; ends early where a ring cannot be mapped.
    fn all_entries(&self) -> impl Iterator<Item = EntryJson> {
        self.target
            .rings()
            .map_while(|index| match self.entries(index) {
                Ok(entries) => Some((index, entries)),
                Err(failure) => {
                    *self.failed.borrow_mut() = Some(failure);
                    None
                }
            })
            .flat_map(move |(index, entries)| {
                let ring = self.ring_name(index);
                entries.map(move |(entry, header)| {
                    EntryJson::of(ring, &entry, header, self.pid(&entry))
                })
            })
    }

    fn tables(&self, output: &mut Output) -> Result<()> {
        for index in self.target.rings() {
            if self.target.ring.is_none() {
                if index != 0 {
                    output.line("")?;
                }
                output.line(&format!("RING {}", self.ring_name(index)))?;
            }
            let mut entries = self.entries(index)?.peekable();
            if entries.peek().is_none() {
                output.line("(no entries in use)")?;
            }
            while entries.peek().is_some() {
                let mut table = Columns::new(&[
                    ">POSITION",
                    ">INDEX",
                    ">LAP",
                    "STATE",
                    ">OWNER",
                    ">PID",
                    ">N",
                    ">LENGTH",
                    ">KIND",
                    "FLAGS",
                    ">PUT AGO",
                    "PAYLOAD",
                ]);
                for (entry, header) in entries.by_ref().take(ROWS_AT_ONCE) {
                    table.row(self.row(&entry, header.as_ref()));
                }
                output.table(table)?;
            }
        }
        Ok(())
    }

    fn row(&self, entry: &EntrySnapshot, header: Option<&PacketJson>) -> Vec<comfy_table::Cell> {
        let mut flags = Vec::new();
        if !entry.inline {
            flags.push("data".to_owned());
        }
        if entry.redeliveries != 0 {
            flags.push(format!("redelivered {}", entry.redeliveries));
        }
        if !entry.consistent {
            flags.push("changing".to_owned());
        }
        let copy = self.target.segment.name().is_none();
        let age = entry.put_at_ns.filter(|_| !copy).and_then(|at| monotonic_ns().checked_sub(at));
        let mut payload = entry.payload.as_deref().map(hex_lines).unwrap_or_default();
        let shown = entry.payload.as_ref().map_or(0, Vec::len);
        if entry.payload.is_some() && shown < entry.len as usize && shown != 0 {
            payload.push_str(&format!("\n... {} more", entry.len as usize - shown));
        }
        if let Some(header) = header {
            payload = format!("{}\n{payload}", header.line());
        }
        if let Some(fault) = entry.fault {
            payload = fault.to_owned();
        }
        let described = entry.payload.is_some() || entry.len != 0;
        vec![
            cell(entry.position),
            cell(entry.index),
            cell(entry.lap),
            bad_when(entry.fault.is_some(), entry.state.name()),
            cell(id_or_dash(entry.owner)),
            cell(or_dash(self.pid(entry))),
            cell(entry.n),
            cell(or_dash(described.then_some(entry.len))),
            cell(or_dash(described.then_some(entry.kind))),
            cell(if flags.is_empty() { "-".to_owned() } else { flags.join(", ") }),
            cell(or_dash(age.map(|ns| duration(std::time::Duration::from_nanos(ns))))),
            lines(payload),
        ]
    }
}

/// Streamed: a ring can hold more than fits into memory twice.
impl Serialize for Dump<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        struct All<'a>(&'a Dump<'a>);
        impl Serialize for All<'_> {
            fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
                to.collect_seq(self.0.all_entries())
            }
        }
        let segment = &self.target.segment;
        let rings: Vec<_> = self.target.rings().map(|index| self.ring_name(index)).collect();
        let mut object = serializer.serialize_struct("Dump", 5)?;
        object.serialize_field("segment", &segment.name().map(ToString::to_string))?;
        object.serialize_field("path", &segment.path().display().to_string())?;
        object.serialize_field("bytes", &segment.total_bytes())?;
        object.serialize_field("rings", &rings)?;
        object.serialize_field("entries", &All(self))?;
        object.end()
    }
}
