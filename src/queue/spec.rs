//! What a descriptor says: a plain value, always valid, that knows how to open itself.

use std::any::Any;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::OpenError;
use crate::queue::config::QueueConfig;
use crate::queue::name::{self, DEFAULT_RING, invalid};
use crate::queue::registry::{LOCAL, SHM};
use crate::queue::{Queue, local, ring_queue};
use crate::shm::Lifetime;
use crate::shm::layout::MAX_PARTICIPANTS;

/// Places for participants in a segment made by a descriptor that does not say.
pub const DEFAULT_MAX_PARTICIPANTS: u32 = 64;

/// Everything a descriptor says.
#[derive(Clone, Debug)]
pub(crate) enum Spec {
    Local { id: String, lifetime: Lifetime, config: QueueConfig },
    Shm { id: String, address: ShmAddress, config: QueueConfig },
    Other { queue_type: String, fields: Map<String, Value> },
}

/// Where a ring is, and how the segment is made if there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShmAddress {
    pub(crate) segment: String,
    pub(crate) ring: String,
    pub(crate) directory: Option<PathBuf>,
    pub(crate) group: Option<String>,
    pub(crate) lifetime: Lifetime,
    pub(crate) max_participants: u32,
}

impl ShmAddress {
    /// Name of the segment.
    #[must_use]
    pub fn segment(&self) -> &str {
        &self.segment
    }

    /// Name of the ring.
    #[must_use]
    pub fn ring(&self) -> &str {
        &self.ring
    }

    /// Directory of the segment; `None` for that of the process (`RINGWAY_DIR`, or the default).
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// Group that shares the segment: its name, or its number; `None` for this user alone.
    #[must_use]
    pub fn group(&self) -> Option<&str> {
        self.group.as_deref()
    }

    /// How long a segment lives that this descriptor makes.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        self.lifetime
    }

    /// How many participants there is room for in a segment that this descriptor makes.
    #[must_use]
    pub fn max_participants(&self) -> u32 {
        self.max_participants
    }
}

impl Spec {
    pub(crate) fn local(id: &str) -> Result<Self, OpenError> {
        name::split_id("queue_id", id)?;
        let (id, config) = (id.to_owned(), QueueConfig::default());
        Ok(Self::Local { id, lifetime: Lifetime::Ephemeral, config })
    }

    pub(crate) fn shm(id: &str) -> Result<Self, OpenError> {
        let (segment, ring) = name::split_id("queue_id", id)?;
        let ring = ring.unwrap_or(DEFAULT_RING);
        let address = ShmAddress {
            segment: segment.to_owned(),
            ring: ring.to_owned(),
            directory: None,
            group: None,
            lifetime: Lifetime::Ephemeral,
            max_participants: DEFAULT_MAX_PARTICIPANTS,
        };
        let id = format!("{segment}:{ring}");
        Ok(Self::Shm { id, address, config: QueueConfig::default() })
    }

    /// The same configuration under another id.
    pub(crate) fn with_id(&self, id: &str) -> Result<Self, OpenError> {
        let mut other = self.clone();
        match &mut other {
            Self::Local { id: own, .. } => {
                name::split_id("queue_id", id)?;
                id.clone_into(own);
            }
            Self::Shm { id: own, address, .. } => {
                let (segment, ring) = name::split_id("queue_id", id)?;
                segment.clone_into(&mut address.segment);
                ring.unwrap_or(DEFAULT_RING).clone_into(&mut address.ring);
                *own = format!("{}:{}", address.segment, address.ring);
            }
            Self::Other { fields, .. } => {
                if id.is_empty() {
                    return Err(invalid("queue_id", "is empty"));
                }
                fields.insert("queue_id".to_owned(), id.into());
            }
        }
        other.check()?;
        Ok(other)
    }

    pub(crate) fn queue_type(&self) -> &str {
        match self {
            Self::Local { .. } => LOCAL,
            Self::Shm { .. } => SHM,
            Self::Other { queue_type, .. } => queue_type,
        }
    }

    pub(crate) fn queue_id(&self) -> Option<&str> {
        match self {
            Self::Local { id, .. } | Self::Shm { id, .. } => Some(id),
            Self::Other { fields, .. } => fields.get("queue_id").and_then(Value::as_str),
        }
    }

    pub(crate) fn config(&self) -> Option<&QueueConfig> {
        match self {
            Self::Local { config, .. } | Self::Shm { config, .. } => Some(config),
            Self::Other { .. } => None,
        }
    }

    /// Checks every field against every other. Nothing is believed of a registered kind's fields:
    /// its factory judges them.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        match self {
            Self::Local { id, lifetime, config } => {
                config.geometry()?;
                if *lifetime == Lifetime::Job {
                    let reason = "a local queue is \"ephemeral\" or \"keep\": it has no dispatcher";
                    return Err(invalid("lifetime", reason));
                }
                check_dead_letter(config, id)
            }
            Self::Shm { address, config, .. } => {
                config.geometry()?;
                if !(1..=MAX_PARTICIPANTS).contains(&address.max_participants) {
                    let max = address.max_participants;
                    let reason = format!("{max} is not in 1..={MAX_PARTICIPANTS}");
                    return Err(invalid("max_participants", reason));
                }
                if let Some(directory) = &address.directory {
                    check_directory(directory)?;
                }
                if let Some(group) = &address.group {
                    check_group(group)?;
                }
                if let Some(dead_letter) = &config.dead_letter {
                    name::check_ring("dead_letter", dead_letter)?;
                }
                check_dead_letter(config, &address.ring)
            }
            Self::Other { .. } => Ok(()),
        }
    }

    /// Opens a ring-made queue; `None` for another kind.
    pub(crate) fn open(&self) -> Option<Result<Queue, OpenError>> {
        match self {
            Self::Local { id, lifetime, config } => {
                Some(local::open(id, config, *lifetime).map(|ring| Queue::new(ring)))
            }
            Self::Shm { address, config, .. } => {
                Some(ring_queue::open_shm(address, config).map(|ring| Queue::new(Arc::new(ring))))
            }
            Self::Other { .. } => None,
        }
    }

    /// Destroys a ring-made queue without opening or making it; `None` for another kind.
    pub(crate) fn destroy_unopened(&self) -> Option<Result<(), OpenError>> {
        match self {
            Self::Local { id, .. } => {
                Some(local::find(id).map_or(Ok(()), |ring| Queue::new(ring).destroy()))
            }
            Self::Shm { address, .. } => Some(ring_queue::destroy_shm(address)),
            Self::Other { .. } => None,
        }
    }

    /// What must be kept when the opened queue is let go, lest packets die with it.
    pub(crate) fn anchor(
        &self,
        queue: &Queue,
        ring: &ring_queue::RingQueue,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        match self {
            Self::Local { .. } => Some(Arc::new(queue.clone())),
            Self::Shm { .. } => ring.participation(),
            Self::Other { .. } => None,
        }
    }
}

fn check_dead_letter(config: &QueueConfig, own_name: &str) -> Result<(), OpenError> {
    if config.dead_letter.as_deref() == Some(own_name) {
        return Err(invalid("dead_letter", format!("{own_name:?} is the queue itself")));
    }
    Ok(())
}

/// Whether there is such a group is asked when the queue is opened.
fn check_group(group: &str) -> Result<(), OpenError> {
    if group.is_empty() || group.chars().any(|c| c.is_control() || c == ':') {
        return Err(invalid("group", format!("{group:?} is no name of a group")));
    }
    Ok(())
}

fn check_directory(directory: &Path) -> Result<(), OpenError> {
    if directory.to_str().is_none() {
        return Err(invalid("directory", format!("{} is not UTF-8", directory.display())));
    }
    if !directory.is_absolute() {
        let reason =
            format!("{directory:?} is relative: it would be another one in another process");
        return Err(invalid("directory", reason));
    }
    Ok(())
}

/// Two descriptors are equal when kind and name are. Descriptors without a name, which only
/// registered kinds can be, are compared by their fields.
impl PartialEq for Spec {
    fn eq(&self, other: &Self) -> bool {
        self.queue_type() == other.queue_type()
            && self.queue_id() == other.queue_id()
            && match (self, other) {
                (Self::Other { fields: ours, .. }, Self::Other { fields: theirs, .. }) => {
                    self.queue_id().is_some() || ours == theirs
                }
                _ => true,
            }
    }
}
