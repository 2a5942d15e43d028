//! Looking at all segments of the directory, once or again and again.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringway::error::OpenError;
use ringway::shm::inspect::{RingSnapshot, SegmentSnapshot};
use ringway::shm::segment::{Segment, SegmentEntry};

use crate::cli::Common;
use crate::failure::{Failure, Result};
use crate::target::{Target, directory};

/// One file, and what was seen of it.
pub(crate) struct Looked {
    /// The segment's name, or a copy's path.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) snapshot: std::result::Result<SegmentSnapshot, OpenError>,
}

/// Looks at everything in the directory, or at what is named; `Ok(None)` where the directory is not there
/// and nobody named it.
///
/// # Errors
/// When the directory that was named is missing, or may not be read; as [`Target::open`] for what is
/// named.
pub(crate) fn all(common: &Common, named: &[String]) -> Result<Option<Vec<Looked>>> {
    if !named.is_empty() {
        return named.iter().map(|name| look_at(common, name)).collect::<Result<_>>().map(Some);
    }
    let directory = match directory(common) {
        Ok(directory) => directory,
        // It is made with the first segment. One that was named on purpose should be there.
        Err(OpenError::NotFound { .. }) if common.dir.is_none() => return Ok(None),
        Err(OpenError::NotFound { path }) => return Err(Failure::NoDirectory { path }),
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for SegmentEntry { name, path, total_bytes: bytes, .. } in Segment::list(&directory)? {
        let opened = Segment::open_readonly(&directory, &name);
        match opened.and_then(|segment| SegmentSnapshot::take(&segment)) {
            // Removed meanwhile.
            Err(OpenError::NotFound { .. }) => {}
            snapshot => all.push(Looked { name: name.to_string(), path, bytes, snapshot }),
        }
    }
    Ok(Some(all))
}

/// Looks at a segment, a ring of one, or a copy: one that is damaged is seen, too, and not an error.
fn look_at(common: &Common, name: &str) -> Result<Looked> {
    let snapshot = match Target::open(common, name) {
        Ok(target) => Ok(SegmentSnapshot::take_rings(&target.segment, target.rings())?),
        Err(Failure::Open(error @ OpenError::Corrupt { .. })) => Err(error),
        Err(failure) => return Err(failure),
    };
    let (path, bytes) = match &snapshot {
        Ok(snapshot) => (snapshot.path.clone(), snapshot.total_bytes),
        Err(OpenError::Corrupt { path, .. }) => {
            let bytes = std::fs::metadata(path).map_or(0, |stat| stat.len());
            (path.clone(), bytes)
        }
        Err(_) => (PathBuf::from(name), 0),
    };
    // Of a segment its name alone: the ring is in the snapshot.
    let name = match &snapshot {
        Ok(SegmentSnapshot { name: Some(name), .. }) => name.clone(),
        Ok(_) => path.display().to_string(),
        Err(_) => name.to_owned(),
    };
    Ok(Looked { name, path, bytes, snapshot })
}

/// What can be read: all segments, or those that are named.
///
/// # Errors
/// As [`all`]; those of the damage where what is named is damaged.
pub(crate) fn readable(common: &Common, named: &[String]) -> Result<Vec<SegmentSnapshot>> {
    let looks = all(common, named)?.unwrap_or_default().into_iter().map(|looked| looked.snapshot);
    if named.is_empty() {
        return Ok(looks.filter_map(std::result::Result::ok).collect());
    }
    Ok(looks.collect::<std::result::Result<_, OpenError>>()?)
}

/// Numbers per second between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    pub(crate) puts: f64,
    pub(crate) gets: f64,
    pub(crate) bytes_put: f64,
}

/// The counters of the look before, by segment and ring: a segment of the same name may be another.
#[derive(Default)]
pub(crate) struct Before {
    at: Option<Instant>,
    counters: HashMap<([u8; 16], String), [u64; 3]>,
}

impl Before {
    /// Gives the rates since the look before, for each ring in the order given, and remembers this one.
    /// `None` for a ring that is new.
    pub(crate) fn rates(&mut self, looks: &[SegmentSnapshot]) -> Vec<Vec<Option<Rates>>> {
        let now = Instant::now();
        let time = self.at.map(|at| now.duration_since(at)).filter(|time| *time > Duration::ZERO);
        let mut counters = HashMap::new();
        let mut rates = Vec::new();
        for look in looks {
            let of_ring = |ring: &RingSnapshot| {
                let key = (look.uuid, ring.name.clone());
                let c = &ring.counters;
                let now = [c.puts, c.gets, c.bytes_put];
                let before = self.counters.get(&key).copied();
                counters.insert(key, now);
                let (before, time) = (before?, time?);
                let rate = |i: usize| now[i].saturating_sub(before[i]) as f64 / time.as_secs_f64();
                Some(Rates { puts: rate(0), gets: rate(1), bytes_put: rate(2) })
            };
            rates.push(look.rings.iter().map(of_ring).collect());
        }
        (self.at, self.counters) = (Some(now), counters);
        rates
    }
}
