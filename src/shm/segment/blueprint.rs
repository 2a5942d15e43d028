//! The immutable part of a segment: header and directory, written once and checked at every attach.
//!
//! Nothing in a file is believed before it was compared: the part is read with `pread` into private
//! copies, never mapped, and everything later is computed from those copies. The file has no name
//! while this is written, so a creator that dies leaves nothing to be read.

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytemuck::Zeroable;
use xxhash_rust::xxh3::Xxh3;

use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::layout::{
    LAYOUT_VERSION, MAGIC, MAX_RINGS, MODE_ALL, MODE_SINGLE_CONSUMER, MODE_SINGLE_PRODUCER,
    MODE_TIMESTAMPS, PAGE_BYTES, RingRecord, SegmentHeader, abi_hash,
};
use crate::shm::os::unix_ns;
use crate::shm::segment::config::{Plan, RingConfig, SegmentConfig, validate_rings};
use crate::shm::storage::{Geometry, Side};

/// A segment's immutable part, checked.
#[derive(Clone, Debug)]
pub(super) struct Blueprint {
    pub(super) header: SegmentHeader,
    pub(super) lifetime: Lifetime,
    pub(super) rings: Vec<RingConfig>,
    pub(super) plan: Plan,
}

impl Blueprint {
    /// Draws up a new segment of a valid configuration, with a fresh uuid.
    pub(super) fn new(
        config: &SegmentConfig,
        group: Option<u32>,
        uuid: [u8; 16],
    ) -> Result<Self, OpenError> {
        let geometries = config.rings.iter().map(|ring| ring.geometry);
        let plan = Plan::new(config.max_participants, geometries)?;
        let header = SegmentHeader {
            magic: MAGIC,
            layout_version: LAYOUT_VERSION,
            header_bytes: size_of::<SegmentHeader>() as u32,
            abi_hash: abi_hash(),
            checksum: 0,
            total_bytes: plan.total_bytes,
            directory_offset: plan.directory_offset,
            control_offset: plan.control_offset,
            participants_offset: plan.participants_offset,
            rings_offset: plan.rings_offset,
            rings: config.rings.len() as u32,
            max_participants: config.max_participants,
            lifetime: config.lifetime as u32,
            creator_uid: rustix::process::geteuid().as_raw(),
            group_gid: group.unwrap_or(u32::MAX),
            creator_pid: std::process::id(),
            uuid,
            created_unix_ns: unix_ns(),
            reserved: 0,
        };
        Ok(Self { header, lifetime: config.lifetime, rings: config.rings.clone(), plan })
    }

    /// Writes header and directory into a file that has no name yet.
    pub(super) fn write(&mut self, file: &File) -> std::io::Result<()> {
        let records: Vec<RingRecord> =
            self.rings.iter().zip(&self.plan.rings).map(|(ring, &at)| encode(ring, at)).collect();
        self.header.checksum = checksum(&self.header, &records);
        file.write_all_at(bytemuck::cast_slice(&records), self.plan.directory_offset)?;
        file.write_all_at(bytemuck::bytes_of(&self.header), 0)
    }

    /// Reads and checks them.
    pub(super) fn read(file: &File, path: &Path) -> Result<Self, OpenError> {
        let check = Check { path };
        let io =
            |source| OpenError::Io { path: path.to_owned(), doing: "reading the header", source };
        let file_bytes = file.metadata().map_err(io)?.len();
        if file_bytes < PAGE_BYTES {
            let what = format!("truncated: {file_bytes} bytes are no segment");
            return Err(check.corrupt(what, file_bytes));
        }
        let mut header = SegmentHeader::zeroed();
        file.read_exact_at(bytemuck::bytes_of_mut(&mut header), 0).map_err(io)?;
        check.header(&header, file_bytes)?;
        let lifetime = check.lifetime(&header)?;
        let rings_bytes = u64::from(header.rings) * size_of::<RingRecord>() as u64;
        if file_bytes - PAGE_BYTES < rings_bytes {
            return Err(check.corrupt("truncated: the directory is cut off".into(), file_bytes));
        }
        let mut records = vec![RingRecord::zeroed(); header.rings as usize];
        file.read_exact_at(bytemuck::cast_slice_mut(&mut records), PAGE_BYTES).map_err(io)?;
        let sum = checksum(&header, &records);
        if sum != header.checksum {
            let what = format!("checksum is {:#x}, computed {sum:#x}", header.checksum);
            return Err(check.corrupt(what, offset_of!(SegmentHeader, checksum) as u64));
        }
        let rings = check.rings(&records)?;
        let plan = check.plan(&header, &records, &rings)?;
        Ok(Self { header, lifetime, rings, plan })
    }
}

pub(super) fn checksum(header: &SegmentHeader, records: &[RingRecord]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(bytemuck::bytes_of(&SegmentHeader { checksum: 0, ..*header }));
    hash.update(bytemuck::cast_slice(records));
    hash.digest()
}

fn encode(ring: &RingConfig, offset: u64) -> RingRecord {
    let geometry = &ring.geometry;
    let mode = |on: bool, bit: u32| if on { bit } else { 0 };
    RingRecord {
        name: padded(&ring.name),
        dead_letter: padded(ring.dead_letter.as_deref().unwrap_or("")),
        offset,
        extent_bytes: geometry.extent_bytes(),
        maxsize: geometry.maxsize,
        schema_tag: ring.schema_tag,
        log2_entries: geometry.log2_entries,
        unit_bytes: geometry.unit_bytes,
        modes: mode(geometry.producers == Side::Single, MODE_SINGLE_PRODUCER)
            | mode(geometry.consumers == Side::Single, MODE_SINGLE_CONSUMER)
            | mode(geometry.timestamps, MODE_TIMESTAMPS),
        max_deliveries: geometry.max_deliveries,
        reserved: [0; 10],
    }
}

/// A name of at most 63 bytes, as checked before, padded with zeros.
fn padded(name: &str) -> [u8; 64] {
    let mut padded = [0; 64];
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    padded
}

/// The text before the padding; `None` where there is no padding, or more than zeros in it.
fn unpadded(padded: &[u8; 64]) -> Option<&str> {
    let end = padded.iter().position(|&byte| byte == 0)?;
    let (name, rest) = padded.split_at(end);
    if rest.iter().any(|&byte| byte != 0) {
        return None;
    }
    std::str::from_utf8(name).ok()
}

/// Checks one file's numbers.
pub(super) struct Check<'a> {
    pub(super) path: &'a Path,
}

macro_rules! at_header {
    ($field:ident) => {
        offset_of!(SegmentHeader, $field) as u64
    };
}

/// Offset of the directory entry of ring `index` in the file.
fn at_record(index: usize) -> u64 {
    PAGE_BYTES + (index * size_of::<RingRecord>()) as u64
}

impl Check<'_> {
    fn corrupt(&self, what: String, offset: u64) -> OpenError {
        OpenError::Corrupt { path: self.path.to_owned(), what, offset }
    }

    fn equal(&self, field: &str, found: u64, wanted: u64, offset: u64) -> Result<(), OpenError> {
        if found == wanted {
            return Ok(());
        }
        Err(self.corrupt(format!("{field} is {found}, not {wanted}"), offset))
    }

    fn header(&self, header: &SegmentHeader, file_bytes: u64) -> Result<(), OpenError> {
        if header.magic != MAGIC {
            return Err(self.corrupt("not a Ringway segment".into(), at_header!(magic)));
        }
        if header.layout_version != LAYOUT_VERSION {
            let what = format!(
                "layout version {}, but this program knows version {LAYOUT_VERSION}",
                header.layout_version
            );
            return Err(self.corrupt(what, at_header!(layout_version)));
        }
        self.equal(
            "header_bytes",
            header.header_bytes.into(),
            size_of::<SegmentHeader>() as u64,
            at_header!(header_bytes),
        )?;
        if header.abi_hash != abi_hash() {
            let what = format!(
                "made by a build with other structs (abi hash {:#x}, not {:#x})",
                header.abi_hash,
                abi_hash()
            );
            return Err(self.corrupt(what, at_header!(abi_hash)));
        }
        if header.total_bytes != file_bytes {
            let how = if file_bytes < header.total_bytes { "truncated" } else { "too long" };
            let what = format!("{how}: {file_bytes} bytes, not {}", header.total_bytes);
            return Err(self.corrupt(what, at_header!(total_bytes)));
        }
        self.equal("reserved", header.reserved, 0, at_header!(reserved))?;
        if header.rings == 0 || header.rings > MAX_RINGS {
            let what = format!("{} rings are not 1..={MAX_RINGS}", header.rings);
            return Err(self.corrupt(what, at_header!(rings)));
        }
        Ok(())
    }

    fn lifetime(&self, header: &SegmentHeader) -> Result<Lifetime, OpenError> {
        [Lifetime::Keep, Lifetime::Ephemeral, Lifetime::Job]
            .into_iter()
            .find(|&lifetime| lifetime as u32 == header.lifetime)
            .ok_or_else(|| {
                let what = format!("{} is no lifetime", header.lifetime);
                self.corrupt(what, at_header!(lifetime))
            })
    }

    fn rings(&self, records: &[RingRecord]) -> Result<Vec<RingConfig>, OpenError> {
        let rings = records
            .iter()
            .enumerate()
            .map(|(index, record)| self.ring(record, at_record(index)))
            .collect::<Result<Vec<_>, _>>()?;
        match validate_rings(&rings) {
            Ok(()) => Ok(rings),
            Err((index, field, reason)) => {
                Err(self.corrupt(format!("{field}: {reason}"), at_record(index)))
            }
        }
    }

    pub(super) fn ring(&self, record: &RingRecord, at: u64) -> Result<RingConfig, OpenError> {
        let text = |padded: &[u8; 64], field: &str, offset: usize| {
            unpadded(padded).map(str::to_owned).ok_or_else(|| {
                self.corrupt(format!("{field} is no padded text"), at + offset as u64)
            })
        };
        let name = text(&record.name, "ring name", offset_of!(RingRecord, name))?;
        let dead_letter =
            text(&record.dead_letter, "dead_letter", offset_of!(RingRecord, dead_letter))?;
        if record.modes & !MODE_ALL != 0 {
            let what = format!("modes {:#x} have unknown bits", record.modes);
            return Err(self.corrupt(what, at + offset_of!(RingRecord, modes) as u64));
        }
        if record.reserved != [0; 10] {
            let offset = at + offset_of!(RingRecord, reserved) as u64;
            return Err(self.corrupt("reserved bytes are not zero".into(), offset));
        }
        let side = |bit| if record.modes & bit != 0 { Side::Single } else { Side::Multi };
        Ok(RingConfig {
            name,
            geometry: Geometry {
                log2_entries: record.log2_entries,
                unit_bytes: record.unit_bytes,
                maxsize: record.maxsize,
                producers: side(MODE_SINGLE_PRODUCER),
                consumers: side(MODE_SINGLE_CONSUMER),
                timestamps: record.modes & MODE_TIMESTAMPS != 0,
                max_deliveries: record.max_deliveries,
            },
            schema_tag: record.schema_tag,
            dead_letter: Some(dead_letter).filter(|name| !name.is_empty()),
        })
    }

    /// Compares every offset and length with what the layout rules give: aligned, in bounds and not
    /// overlapping, because the plan is.
    fn plan(
        &self,
        header: &SegmentHeader,
        records: &[RingRecord],
        rings: &[RingConfig],
    ) -> Result<Plan, OpenError> {
        let plan = Plan::new(header.max_participants, rings.iter().map(|ring| ring.geometry))
            .map_err(|error| self.corrupt(error.to_string(), at_header!(max_participants)))?;
        let parts = [
            (
                "directory_offset",
                header.directory_offset,
                plan.directory_offset,
                at_header!(directory_offset),
            ),
            (
                "control_offset",
                header.control_offset,
                plan.control_offset,
                at_header!(control_offset),
            ),
            (
                "participants_offset",
                header.participants_offset,
                plan.participants_offset,
                at_header!(participants_offset),
            ),
            ("rings_offset", header.rings_offset, plan.rings_offset, at_header!(rings_offset)),
        ];
        for (field, found, wanted, offset) in parts {
            self.equal(field, found, wanted, offset)?;
        }
        for (index, ((record, ring), &start)) in
            records.iter().zip(rings).zip(&plan.rings).enumerate()
        {
            let at = at_record(index);
            let offset_at = at + offset_of!(RingRecord, offset) as u64;
            self.equal("a ring's offset", record.offset, start, offset_at)?;
            let extent_at = at + offset_of!(RingRecord, extent_bytes) as u64;
            let extent = ring.geometry.extent_bytes();
            self.equal("a ring's extent_bytes", record.extent_bytes, extent, extent_at)?;
        }
        self.equal("total_bytes", header.total_bytes, plan.total_bytes, at_header!(total_bytes))?;
        Ok(plan)
    }
}
