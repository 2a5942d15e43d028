//! What `SEGMENT[:RING]` means: a segment by its name, or a copy in a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ringway::Queue;
use ringway::error::OpenError;
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::names::SegmentName;
use ringway::shm::segment::{Segment, SegmentView};

use crate::cli::Common;
use crate::failure::{Failure, Result};

/// An opened segment, and the ring that was asked for.
pub(crate) struct Target {
    pub(crate) segment: Arc<SegmentView>,
    /// `None`: all of them.
    pub(crate) ring: Option<usize>,
}

impl Target {
    /// Opens what `target` names: a segment if there is one of that name, else a file.
    ///
    /// # Errors
    /// When there is neither, when it is no segment, or when it has no such ring.
    pub(crate) fn open(common: &Common, target: &str) -> Result<Self> {
        // Names have no colon, paths may.
        let (name, ring) = match target.split_once(':') {
            Some((name, ring)) => (name, Some(ring)),
            None => (target, None),
        };
        if let Some(segment) = open_named(common, name)? {
            return Self::with_ring(segment, ring);
        }
        if Path::new(target).exists() {
            return Self::with_ring(Segment::open_raw_file(Path::new(target))?, None);
        }
        if let Some((path, ring)) = target.rsplit_once(':')
            && Path::new(path).exists()
        {
            return Self::with_ring(Segment::open_raw_file(Path::new(path))?, Some(ring));
        }
        if looks_like_a_path(name) {
            return Err(OpenError::NotFound { path: PathBuf::from(name) }.into());
        }
        // A name that cannot be one says so.
        SegmentName::new(name)?;
        let (place, have) = match directory(common) {
            Ok(directory) => {
                let names = directory.names()?.iter().map(ToString::to_string).collect();
                (directory.path().to_owned(), names)
            }
            Err(_) => (place(common), Vec::new()),
        };
        Err(Failure::NoSegment { target: name.to_owned(), place, have })
    }

    pub(crate) fn with_ring(segment: Arc<SegmentView>, ring: Option<&str>) -> Result<Self> {
        let ring = ring.map(|name| segment.ring_index(name)).transpose()?;
        Ok(Self { segment, ring })
    }

    /// Opens the ring that `target` names, or the only one of a segment.
    ///
    /// # Errors
    /// As [`Target::open`]; when the ring is not named and there are several.
    pub(crate) fn open_ring(common: &Common, target: &str) -> Result<(Arc<SegmentView>, usize)> {
        let Self { segment, ring } = Self::open(common, target)?;
        match (ring, segment.rings()) {
            (Some(ring), _) => Ok((segment, ring)),
            (None, [_]) => Ok((segment, 0)),
            (None, rings) => {
                let have = rings.iter().map(|ring| ring.name.clone()).collect();
                Err(Failure::WhichRing { segment: target.to_owned(), have })
            }
        }
    }

    /// Indices of the rings that were asked for.
    pub(crate) fn rings(&self) -> std::ops::Range<usize> {
        match self.ring {
            Some(index) => index..index + 1,
            None => 0..self.segment.rings().len(),
        }
    }
}

/// Joins the segment of a ring, to put and get there.
///
/// # Errors
/// As [`Target::open_ring`]; for a copy; and for an ephemeral segment in which nobody is alive: it
/// would be removed, with what is in it, when this program leaves.
pub(crate) fn join(common: &Common, target: &str, verb: &str) -> Result<Queue> {
    let (view, ring) = Target::open_ring(common, target)?;
    let refuse = |why| Err(Failure::NotToBeChanged { target: target.to_owned(), why });
    let Some(name) = view.name() else {
        return refuse("a copy in a file; only segments can be changed");
    };
    if view.lifetime() == Lifetime::Ephemeral && !view.participants().iter().any(|one| one.alive) {
        return refuse(
            "nobody is alive in this ephemeral segment: it would be removed, with all its packets, \
             when this program leaves it; peek and record can still read them",
        );
    }
    let segment = Segment::attach(&directory(common)?, name, &format!("shm-inspect {verb}"))?;
    let ring = &view.rings().get(ring).ok_or_else(|| Failure::Usage("no such ring".into()))?.name;
    Ok(Queue::of_segment(&segment, ring)?)
}

fn looks_like_a_path(name: &str) -> bool {
    ["/", "./", "../"].iter().any(|start| name.starts_with(start))
}

fn open_named(common: &Common, name: &str) -> Result<Option<Arc<SegmentView>>> {
    if looks_like_a_path(name) {
        return Ok(None);
    }
    let Ok(name) = SegmentName::new(name) else { return Ok(None) };
    let opened = directory(common).and_then(|place| Segment::open_readonly(&place, &name));
    match opened {
        Ok(segment) => Ok(Some(segment)),
        Err(OpenError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Where the segments lie, or would.
pub(crate) fn place(common: &Common) -> PathBuf {
    common.dir.clone().unwrap_or_else(Directory::place_from_env)
}

/// Opens the directory of the segments, and makes nothing.
///
/// # Errors
/// When it is missing, or not to be trusted.
pub(crate) fn directory(common: &Common) -> std::result::Result<Directory, OpenError> {
    Directory::open_existing(&place(common), common.group)
}
