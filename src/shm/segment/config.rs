//! What a segment shall be, and where its parts then lie.

use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::layout::{
    LOCK_BASE, MAX_PARTICIPANTS, MAX_RINGS, PAGE_BYTES, Participant, RingRecord,
};
use crate::shm::names::{SegmentName, check_ring_name};
use crate::shm::storage::{Geometry, Side};

/// What a segment is created as.
#[derive(Clone, Debug)]
pub struct SegmentConfig {
    /// Its name.
    pub name: SegmentName,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Places in the table of participants, 1..=1023: how many attachments there can be at a time.
    pub max_participants: u32,
    /// The rings, at least one.
    pub rings: Vec<RingConfig>,
    /// Starts every ring so many laps before its positions are used up, for tests.
    pub laps_left: Option<u64>,
    /// What the creator calls itself in the table of participants.
    pub participant_name: String,
}

impl SegmentConfig {
    /// A segment without rings yet, for 64 participants, called after this process.
    #[must_use]
    pub fn new(name: SegmentName, lifetime: Lifetime) -> Self {
        Self {
            name,
            lifetime,
            max_participants: 64,
            rings: Vec::new(),
            laps_left: None,
            participant_name: process_name(),
        }
    }

    /// Adds a ring.
    #[must_use]
    pub fn with_ring(mut self, ring: RingConfig) -> Self {
        self.rings.push(ring);
        self
    }

    /// Checks every number and name.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] names the first field that is wrong.
    pub fn validate(&self) -> Result<(), OpenError> {
        validate_rings(&self.rings).map_err(|(_, field, reason)| invalid(field, reason))?;
        if let (Some(laps), Some(ring)) = (
            self.laps_left,
            self.rings.iter().find(|ring| self.laps_left > Some(laps_of(&ring.geometry))),
        ) {
            return Err(invalid("laps_left", format!("{laps} is more than {} has", ring.name)));
        }
        Plan::new(self.max_participants, self.rings.iter().map(|ring| ring.geometry))?;
        Ok(())
    }

    /// Where a ring's positions start.
    pub(super) fn first_pos(&self, geometry: &Geometry) -> u64 {
        match self.laps_left {
            None => geometry.bits().first_pos(),
            Some(laps) => {
                (laps_of(geometry) + 1 - laps.min(laps_of(geometry))) * geometry.entries()
            }
        }
    }
}

/// Laps a new ring has before it, the first one excepted.
fn laps_of(geometry: &Geometry) -> u64 {
    geometry.bits().last_pos() / geometry.entries() - 1
}

/// One ring of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RingConfig {
    /// Its name: `[A-Za-z0-9._-]`, at most 63 bytes.
    pub name: String,
    /// Its shape.
    pub geometry: Geometry,
    /// Schema tag of a typed ring; 0 for none.
    pub schema_tag: u64,
    /// The ring of the same segment that takes packets delivered too often.
    pub dead_letter: Option<String>,
}

impl RingConfig {
    /// A ring of bytes, without a dead-letter ring.
    #[must_use]
    pub fn new(name: impl Into<String>, geometry: Geometry) -> Self {
        Self { name: name.into(), geometry, schema_tag: 0, dead_letter: None }
    }
}

pub(super) fn invalid(field: &'static str, reason: String) -> OpenError {
    OpenError::InvalidConfig { field, reason }
}

/// Checks rings, from a configuration or from a file; the error names ring index, field, reason.
pub(super) fn validate_rings(rings: &[RingConfig]) -> Result<(), (usize, &'static str, String)> {
    if rings.is_empty() || rings.len() > MAX_RINGS as usize {
        return Err((0, "rings", format!("{} is not in 1..={MAX_RINGS}", rings.len())));
    }
    let mut by_name = std::collections::HashMap::with_capacity(rings.len());
    for (index, ring) in rings.iter().enumerate() {
        if let Err(OpenError::InvalidConfig { field, reason }) =
            check_ring_name("ring name", &ring.name)
        {
            return Err((index, field, reason));
        }
        if by_name.insert(ring.name.as_str(), ring).is_some() {
            return Err((index, "ring name", format!("two rings are called {:?}", ring.name)));
        }
        if let Err((field, reason)) = ring.geometry.validate() {
            return Err((index, field, format!("ring {}: {reason}", ring.name)));
        }
    }
    for (index, ring) in rings.iter().enumerate() {
        let Some(name) = &ring.dead_letter else { continue };
        let wrong =
            |why: &str| Err((index, "dead_letter", format!("ring {}: {name:?} {why}", ring.name)));
        let Some(dead) = by_name.get(name.as_str()) else {
            return wrong("is no ring of this segment");
        };
        if dead.name == ring.name {
            return wrong("is the ring itself");
        }
        if dead.geometry.producers != Side::Multi {
            return wrong("has a single producer, but every consumer puts dead letters there");
        }
        if dead.geometry.max_payload() < ring.geometry.max_payload() {
            return wrong("takes shorter packets than this ring");
        }
    }
    check_dead_letter_circle(rings, &by_name)
}

/// Refuses rings whose dead letters would come back to them: a packet that nobody can handle would go
/// round for ever.
fn check_dead_letter_circle(
    rings: &[RingConfig],
    by_name: &std::collections::HashMap<&str, &RingConfig>,
) -> Result<(), (usize, &'static str, String)> {
    let mut fine = std::collections::HashSet::new();
    for (index, ring) in rings.iter().enumerate() {
        let mut way = std::collections::HashSet::new();
        let mut next = Some(ring);
        while let Some(at) = next.filter(|at| !fine.contains(at.name.as_str())) {
            if !way.insert(at.name.as_str()) {
                let reason = format!("ring {}: its dead letters would come back to it", ring.name);
                return Err((index, "dead_letter", reason));
            }
            next = at.dead_letter.as_deref().and_then(|name| by_name.get(name).copied());
        }
        fine.extend(way);
    }
    Ok(())
}

/// Where the parts of a segment lie. It follows from the number of participants and the shapes of the
/// rings alone, so that a file with any other offsets is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) directory_offset: u64,
    pub(super) control_offset: u64,
    pub(super) participants_offset: u64,
    pub(super) rings_offset: u64,
    /// Start of each ring's extent.
    pub(super) rings: Vec<u64>,
    pub(super) total_bytes: u64,
}

impl Plan {
    /// Lays out a segment of valid geometries.
    pub(super) fn new(
        max_participants: u32,
        rings: impl ExactSizeIterator<Item = Geometry>,
    ) -> Result<Self, OpenError> {
        if max_participants == 0 || max_participants > MAX_PARTICIPANTS {
            let reason = format!("{max_participants} is not in 1..={MAX_PARTICIPANTS}");
            return Err(invalid("max_participants", reason));
        }
        let too_large = || invalid("rings", "the segment would be larger than any file".into());
        let directory_offset = PAGE_BYTES;
        // At most 16 MiB of directory and 128 KiB of participants: no overflow.
        let directory = rings.len() as u64 * size_of::<RingRecord>() as u64;
        let control_offset = directory_offset + directory.next_multiple_of(PAGE_BYTES);
        let participants_offset = control_offset + PAGE_BYTES;
        let table = u64::from(max_participants) * size_of::<Participant>() as u64;
        let rings_offset = participants_offset + table.next_multiple_of(PAGE_BYTES);
        let mut end = rings_offset;
        let mut starts = Vec::with_capacity(rings.len());
        for geometry in rings {
            starts.push(end);
            end = end.checked_add(geometry.extent_bytes()).ok_or_else(too_large)?;
        }
        if end >= LOCK_BASE {
            return Err(too_large());
        }
        Ok(Self {
            directory_offset,
            control_offset,
            participants_offset,
            rings_offset,
            rings: starts,
            total_bytes: end,
        })
    }
}

/// What this process is called, for the table of participants.
pub(crate) fn process_name() -> String {
    std::env::args_os()
        .next()
        .and_then(|program| {
            Some(std::path::Path::new(&program).file_name()?.to_string_lossy().into_owned())
        })
        .unwrap_or_default()
}
