//! Which jobs run on this host, as any process can see it: by their segments.

use std::path::{Path, PathBuf};

use super::error::JobError;
use super::plan::{JobId, SEGMENT_PREFIX};
use crate::error::OpenError;
use crate::shm::Lifetime;
use crate::shm::directory::Directory;
use crate::shm::names::SegmentName;
use crate::shm::segment::{CleanOutcome, Segment};

/// A job that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobEntry {
    /// Its name and id.
    pub job: JobId,
    /// Its segment's file.
    pub path: PathBuf,
    /// The dispatcher's process.
    pub dispatcher: u32,
    /// The processes of its instances, with their names.
    pub workers: Vec<(String, u32)>,
}

/// Finds the jobs whose segments lie in one directory.
///
/// ```
/// use ringway::runtime::JobManager;
///
/// let place = tempfile::tempdir()?;
/// let manager = JobManager::open(place.path())?;
/// assert!(manager.list()?.is_empty());
/// assert!(manager.find("wordcount").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct JobManager {
    directory: Directory,
}

impl JobManager {
    /// Looks where dispatchers put their segments by default: `RINGWAY_DIR`, or the user's own
    /// directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn from_env() -> Result<Self, OpenError> {
        Ok(Self { directory: Directory::from_env(None)? })
    }

    /// Looks in a directory.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        Ok(Self { directory: Directory::open(directory, None)? })
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    fn segments(&self) -> Result<Vec<(JobId, SegmentName)>, OpenError> {
        let names = self.directory.names()?.into_iter();
        Ok(names.filter_map(|name| Some((JobId::of_segment(name.as_str())?, name))).collect())
    }

    /// Lists the jobs whose dispatcher lives, by name and id.
    ///
    /// # Errors
    /// Where the directory cannot be read. A segment that is gone meanwhile, or none, is left out.
    pub fn list(&self) -> Result<Vec<JobEntry>, OpenError> {
        let mut jobs = Vec::new();
        for (job, name) in self.segments()? {
            let Ok(segment) = Segment::open_readonly(&self.directory, &name) else { continue };
            if segment.lifetime() != Lifetime::Job || segment.is_destroyed() {
                continue;
            }
            let mut alive: Vec<_> = segment
                .participants()
                .into_iter()
                .filter(|participant| participant.alive)
                .map(|participant| (participant.name, participant.pid))
                .collect();
            let dispatcher = alive.iter().position(|(name, _)| name == "dispatcher");
            let Some(dispatcher) = dispatcher else { continue };
            let (_, dispatcher) = alive.swap_remove(dispatcher);
            alive.sort();
            jobs.push(JobEntry {
                job,
                path: self.directory.path_of(&name),
                dispatcher,
                workers: alive,
            });
        }
        jobs.sort_by(|a, b| a.job.cmp(&b.job));
        Ok(jobs)
    }

    /// Finds the one running job of this name, or of this `NAME-ID`.
    ///
    /// # Errors
    /// [`JobError::NoSuchJob`]; where several have the name, too: the id tells them apart.
    pub fn find(&self, name: &str) -> Result<JobEntry, JobError> {
        let mut found = self.list()?;
        found.retain(|entry| entry.job.name == name || entry.job.to_string() == name);
        match (found.pop(), found.is_empty()) {
            (Some(entry), true) => Ok(entry),
            _ => Err(JobError::NoSuchJob {
                name: name.to_owned(),
                directory: self.directory.path().to_owned(),
            }),
        }
    }

    /// Removes the segments of jobs whose dispatcher and workers are all dead, and says how many.
    /// What cannot be removed is somebody else's, or alive.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn remove_stale(&self) -> Result<usize, OpenError> {
        let mut removed = 0;
        for (_, name) in self.segments()? {
            let outcome = Segment::remove_stale_job(&self.directory, &name);
            removed += usize::from(matches!(outcome, Ok(CleanOutcome::Removed { .. })));
        }
        Ok(removed)
    }
}

/// Says what a job's segments are called in front, for tools.
#[must_use]
pub fn segment_prefix() -> &'static str {
    SEGMENT_PREFIX
}
