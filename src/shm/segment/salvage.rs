//! What can be read of a file whose header is damaged.
//!
//! Every field of the header is shown with what it should be. Most of it follows from the rest: the
//! offsets from the number of participants and the rings' shapes, and the number of participants,
//! where that is lost too, from the size of the file. So the rings can often be looked at even when
//! the whole first page is gone; what was put together that way is a guess, and for looking only.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::mem::offset_of;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytemuck::Zeroable;
use rustix::fs::OFlags;

use super::attach::{check_pages, open_named, open_unnamed};
use super::blueprint::{Blueprint, Check, checksum};
use super::config::{Plan, validate_rings};
use super::{RingConfig, Segment, SegmentView, io_error};
use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::directory::Directory;
use crate::shm::layout::{
    LAYOUT_VERSION, MAGIC, MAX_PARTICIPANTS, MAX_RINGS, PAGE_BYTES, RingRecord, SegmentHeader,
    abi_hash,
};
use crate::shm::names::SegmentName;
use crate::shm::os::Access;

/// A file that is no segment as it should be.
#[derive(Debug)]
#[non_exhaustive]
pub struct Salvage {
    /// Size of the file.
    pub file_bytes: u64,
    /// The first thing that is wrong, as an attach says it.
    pub error: OpenError,
    /// The fields of the header, in their order; none where the file is shorter than a header.
    pub fields: Vec<HeaderField>,
    /// The first bytes of the file.
    pub first_bytes: Vec<u8>,
    /// The rings, looked at by what could be put together; `None` where that was not enough.
    pub view: Option<Arc<SegmentView>>,
    file: File,
}

impl Salvage {
    /// Copies every byte of the file, whatever it holds, and says how many.
    ///
    /// # Errors
    /// What the system says about either file.
    pub fn copy_raw(&self, to: &mut dyn Write) -> io::Result<u64> {
        let mut from = &self.file;
        from.rewind()?;
        io::copy(&mut from, to)
    }
}

/// A field of a header, as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderField {
    /// Its name in `docs/layout.md`.
    pub name: &'static str,
    /// Its offset in the file.
    pub offset: u64,
    /// What is there.
    pub value: u64,
    /// What should be there; `None` where it is, or nobody can know.
    pub expected: Option<u64>,
}

impl Segment {
    /// Looks at what is left of a segment that cannot be opened; `Ok(None)` where nothing is wrong
    /// with it.
    ///
    /// # Errors
    /// [`OpenError::NotFound`], [`OpenError::Permission`], [`OpenError::Io`]; [`OpenError::Corrupt`]
    /// for what is no regular file.
    pub fn salvage(
        directory: &Directory,
        name: &SegmentName,
    ) -> Result<Option<Salvage>, OpenError> {
        let file = open_named(directory, name, OFlags::RDONLY)?;
        salvage(file, &directory.path_of(name), Some((directory, name)))
    }

    /// As [`Segment::salvage`], of a copy in a file.
    ///
    /// # Errors
    /// As there.
    pub fn salvage_raw_file(path: &Path) -> Result<Option<Salvage>, OpenError> {
        salvage(open_unnamed(path)?, path, None)
    }
}

fn salvage(
    file: File,
    path: &Path,
    home: Option<(&Directory, &SegmentName)>,
) -> Result<Option<Salvage>, OpenError> {
    check_pages(path)?;
    let error = match Blueprint::read(&file, path) {
        Ok(_) => return Ok(None),
        Err(error @ OpenError::Corrupt { .. }) => error,
        Err(error) => return Err(error),
    };
    let io = io_error(path, "reading what is left");
    let read = |bytes: &mut [u8], at: u64| -> std::io::Result<usize> {
        let mut done = 0;
        while done < bytes.len() {
            match file.read_at(&mut bytes[done..], at + done as u64)? {
                0 => break,
                more => done += more,
            }
        }
        Ok(done)
    };
    let mut first_bytes = vec![0; 256];
    let whole = file.metadata().and_then(|stat| Ok((stat.len(), read(&mut first_bytes, 0)?)));
    let (file_bytes, len) = whole.map_err(io)?;
    first_bytes.truncate(len);
    let mut header = SegmentHeader::zeroed();
    let size = size_of::<SegmentHeader>();
    if len < size {
        return Ok(Some(Salvage {
            file_bytes,
            error,
            fields: Vec::new(),
            first_bytes,
            view: None,
            file,
        }));
    }
    bytemuck::bytes_of_mut(&mut header).copy_from_slice(&first_bytes[..size]);
    // As many directory records as make sense, and as the header says if it does.
    let mut records = Vec::new();
    let mut rings: Vec<RingConfig> = Vec::new();
    let mut names = HashSet::new();
    let claimed = if (1..=MAX_RINGS).contains(&header.rings) { header.rings } else { MAX_RINGS };
    for index in 0..u64::from(claimed) {
        let mut record = RingRecord::zeroed();
        let at = PAGE_BYTES + index * size_of::<RingRecord>() as u64;
        let got = read(bytemuck::bytes_of_mut(&mut record), at);
        if !got.is_ok_and(|got| got == size_of::<RingRecord>()) {
            break;
        }
        let Ok(ring) = (Check { path }).ring(&record, at) else { break };
        // By itself: where its dead letters go is of no interest to who only looks.
        let alone = RingConfig { dead_letter: None, ..ring.clone() };
        if validate_rings(&[alone]).is_err() || !names.insert(ring.name.clone()) {
            break;
        }
        rings.push(ring);
        records.push(record);
    }
    let plan = plan_of(&header, &rings, file_bytes);
    let view = plan.as_ref().and_then(|(places, plan)| {
        let lifetimes = [Lifetime::Keep, Lifetime::Ephemeral, Lifetime::Job];
        let lifetime = lifetimes.into_iter().find(|&lifetime| lifetime as u32 == header.lifetime);
        let repaired = SegmentHeader {
            control_offset: plan.control_offset,
            max_participants: *places,
            rings: rings.len() as u32,
            ..header
        };
        let blueprint = Blueprint {
            header: repaired,
            lifetime: lifetime.unwrap_or_default(),
            rings: rings.clone(),
            plan: plan.clone(),
        };
        let home = home.map(|(directory, name)| (directory.clone(), name.clone()));
        let file = file.try_clone().ok()?;
        let view =
            SegmentView::assemble(home, path.to_owned(), file, blueprint, Access::ReadOnly).ok()?;
        Some(Arc::new(view))
    });
    let fields = fields(&header, &records, plan.as_ref(), file_bytes);
    Ok(Some(Salvage { file_bytes, error, fields, first_bytes, view, file }))
}

/// The number of places in the table that the header says, or else the least that gives a file of
/// this size, with the plan that follows; `None` where there is no such number.
fn plan_of(header: &SegmentHeader, rings: &[RingConfig], bytes: u64) -> Option<(u32, Plan)> {
    if rings.is_empty() {
        return None;
    }
    let plan = |places: u32| {
        let plan = Plan::new(places, rings.iter().map(|ring| ring.geometry)).ok()?;
        (plan.total_bytes == bytes).then_some((places, plan))
    };
    // Rows fill pages: the most that fit into the same pages, so that nobody is left out.
    let by_size = || (1..=MAX_PARTICIPANTS).rev().find_map(plan);
    plan(header.max_participants).or_else(by_size)
}

fn fields(
    header: &SegmentHeader,
    records: &[RingRecord],
    plan: Option<&(u32, Plan)>,
    file_bytes: u64,
) -> Vec<HeaderField> {
    let mut fields = Vec::new();
    macro_rules! field {
        ($name:ident, $expected:expr) => {
            field!($name, u64::from(header.$name), $expected)
        };
        ($name:ident, $value:expr, $expected:expr) => {{
            let value = $value;
            let expected: Option<u64> = $expected;
            fields.push(HeaderField {
                name: stringify!($name),
                offset: offset_of!(SegmentHeader, $name) as u64,
                value,
                expected: expected.filter(|&expected| expected != value),
            });
        }};
    }
    let planned = |pick: fn(&Plan) -> u64| plan.map(|(_, plan)| pick(plan));
    field!(magic, u64::from_le_bytes(header.magic), Some(u64::from_le_bytes(MAGIC)));
    field!(layout_version, Some(LAYOUT_VERSION.into()));
    field!(header_bytes, Some(size_of::<SegmentHeader>() as u64));
    field!(abi_hash, Some(abi_hash()));
    // Only where everything that it is made of is there.
    let whole = records.len() == header.rings as usize;
    field!(checksum, whole.then(|| checksum(header, records)));
    field!(total_bytes, Some(file_bytes));
    field!(directory_offset, Some(PAGE_BYTES));
    field!(control_offset, planned(|plan| plan.control_offset));
    field!(participants_offset, planned(|plan| plan.participants_offset));
    field!(rings_offset, planned(|plan| plan.rings_offset));
    field!(rings, plan.map(|_| records.len() as u64));
    field!(max_participants, plan.map(|&(places, _)| places.into()));
    field!(lifetime, None);
    field!(creator_uid, None);
    field!(group_gid, None);
    field!(creator_pid, None);
    field!(created_unix_ns, None);
    field!(reserved, Some(0));
    fields
}
