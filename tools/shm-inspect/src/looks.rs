//! Looking at all segments of the directory, once or again and again.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use ringway::error::OpenError;
use ringway::shm::inspect::{RingSnapshot, SegmentSnapshot};
use ringway::shm::segment::{Segment, SegmentEntry};

use crate::cli::Common;
use crate::failure::{Failure, Result};
use crate::target::{Target, directory};

/// One file of the directory, and what was seen of it.
pub(crate) struct Looked {
    pub(crate) entry: SegmentEntry,
    pub(crate) snapshot: std::result::Result<SegmentSnapshot, OpenError>,
}

/// Looks at everything in the directory; `Ok(None)` where it is not there and nobody named it.
///
/// # Errors
/// When the directory that was named is missing, or may not be read.
pub(crate) fn all(common: &Common) -> Result<Option<Vec<Looked>>> {
    let directory = match directory(common) {
        Ok(directory) => directory,
        // It is made with the first segment. One that was named on purpose should be there.
        Err(OpenError::NotFound { .. }) if common.dir.is_none() => return Ok(None),
        Err(OpenError::NotFound { path }) => return Err(Failure::NoDirectory { path }),
        Err(error) => return Err(error.into()),
    };
    let mut all = Vec::new();
    for entry in Segment::list(&directory)? {
        let opened = Segment::open_readonly(&directory, &entry.name);
        match opened.and_then(|segment| SegmentSnapshot::take(&segment)) {
            // Removed meanwhile.
            Err(OpenError::NotFound { .. }) => {}
            snapshot => all.push(Looked { entry, snapshot }),
        }
    }
    Ok(Some(all))
}

/// What can be read: all segments, or the one that is named.
///
/// # Errors
/// As [`all`] and [`Target::open`].
pub(crate) fn readable(common: &Common, segment: Option<&str>) -> Result<Vec<SegmentSnapshot>> {
    match segment {
        Some(name) => {
            let target = Target::open(common, name)?;
            Ok(vec![SegmentSnapshot::take_rings(&target.segment, target.rings())?])
        }
        None => {
            let all = all(common)?.unwrap_or_default();
            Ok(all.into_iter().filter_map(|looked| looked.snapshot.ok()).collect())
        }
    }
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
