//! How descriptors are made, and changed into others.
//!
//! A descriptor is valid from the moment it exists: every function here checks all that can be
//! checked without touching a queue, and names the field that is wrong.

use std::path::PathBuf;

use serde_json::{Map, Value};

use crate::error::OpenError;
use crate::queue::QueueDescriptor;
use crate::queue::config::{QueueConfig, check_schema};
use crate::queue::name::{self, invalid};
use crate::queue::registry::{LOCAL, SHM};
use crate::queue::spec::Spec;
use crate::shm::Lifetime;

/// Building. Each `with_…` returns a descriptor of the changed configuration, unopened; others made
/// from the same one before are not changed.
impl QueueDescriptor {
    fn changed(
        &self,
        change: impl FnOnce(&mut Spec) -> Result<(), OpenError>,
    ) -> Result<Self, OpenError> {
        let mut spec = self.spec().clone();
        change(&mut spec)?;
        spec.check()?;
        Ok(Self::from_spec(spec))
    }

    /// Names a queue of this process.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when the id is empty or malformed.
    pub fn local(id: &str) -> Result<Self, OpenError> {
        Spec::local(id).map(Self::from_spec)
    }

    /// Names a ring in a shared-memory segment: `SEGMENT:RING`, or `SEGMENT` for the ring `queue`.
    ///
    /// ```
    /// use ringway::queue::QueueDescriptor;
    ///
    /// assert_eq!(QueueDescriptor::shm("job-42:words")?.queue_id(), "job-42:words");
    /// assert_eq!(QueueDescriptor::shm("team/ingest")?.queue_id(), "team/ingest:queue");
    /// assert!(QueueDescriptor::shm("../etc").is_err());
    /// # Ok::<(), ringway::error::OpenError>(())
    /// ```
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when the id is empty or malformed.
    pub fn shm(id: &str) -> Result<Self, OpenError> {
        Spec::shm(id).map(Self::from_spec)
    }

    /// Names a new local queue by a random id.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes.
    pub fn local_unnamed() -> Result<Self, OpenError> {
        Self::local(&name::generate()?)
    }

    /// Names a new segment with one ring by a random id.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes.
    pub fn shm_unnamed() -> Result<Self, OpenError> {
        Self::shm(&name::generate()?)
    }

    /// Names a queue of a registered kind; the kind need not be known yet. Generates a `queue_id` if
    /// the fields have none.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when the type is empty or one of Ringway's own, or the
    /// `queue_id` is no string or empty.
    pub fn registered(queue_type: &str, mut fields: Map<String, Value>) -> Result<Self, OpenError> {
        if queue_type.is_empty() || queue_type == LOCAL || queue_type == SHM {
            return Err(invalid("queue_type", format!("{queue_type:?} is not a registered kind")));
        }
        match fields.get("queue_id") {
            None => {
                fields.insert("queue_id".to_owned(), name::generate()?.into());
            }
            Some(Value::String(id)) if !id.is_empty() => {}
            Some(other) => {
                return Err(invalid("queue_id", format!("{other} is empty or no string")));
            }
        }
        fields.remove("queue_type");
        Ok(Self::from_spec(Spec::Other { queue_type: queue_type.to_owned(), fields }))
    }

    /// The same configuration under another id: another queue, also when it is the same id written
    /// again. See [`Clone`] for the same queue.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when the id is empty or malformed.
    pub fn clone_with_id(&self, queue_id: &str) -> Result<Self, OpenError> {
        self.spec().with_id(queue_id).map(Self::from_spec)
    }

    /// Replaces the configuration of a `local` or `shm` queue.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] names the field that is wrong; `queue_type` for other kinds.
    pub fn with_config(&self, config: QueueConfig) -> Result<Self, OpenError> {
        self.changed(|spec| match spec {
            Spec::Local { config: own, .. } | Spec::Shm { config: own, .. } => {
                *own = config;
                Ok(())
            }
            Spec::Other { .. } => Err(not_for(spec, "a configuration")),
        })
    }

    /// Bounds the packets that wait; 0 for no bound but the space.
    ///
    /// # Errors
    /// As [`QueueDescriptor::with_config`].
    pub fn with_maxsize(&self, maxsize: u64) -> Result<Self, OpenError> {
        self.with_config(QueueConfig { maxsize, ..self.config().cloned().unwrap_or_default() })
    }

    /// Says how long the queue, or the segment that is made for it, lives.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`]: `lifetime` for `job` on a local queue, `queue_type` for
    /// registered kinds.
    pub fn with_lifetime(&self, lifetime: Lifetime) -> Result<Self, OpenError> {
        self.changed(|spec| match spec {
            Spec::Local { lifetime: own, .. } => {
                *own = lifetime;
                Ok(())
            }
            Spec::Shm { address, .. } => {
                address.lifetime = lifetime;
                Ok(())
            }
            Spec::Other { .. } => Err(not_for(spec, "a lifetime")),
        })
    }

    /// Says how many participants a segment has room for that is made for this queue.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when out of range, or for another kind than `shm`.
    pub fn with_max_participants(&self, max_participants: u32) -> Result<Self, OpenError> {
        self.changed(|spec| match spec {
            Spec::Shm { address, .. } => {
                address.max_participants = max_participants;
                Ok(())
            }
            _ => Err(not_for(spec, "participants")),
        })
    }

    /// Says in which directory the segment is, in place of the process's own.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when it is relative or not UTF-8, or for another kind than
    /// `shm`.
    pub fn with_directory(&self, directory: impl Into<PathBuf>) -> Result<Self, OpenError> {
        self.changed(|spec| match spec {
            Spec::Shm { address, .. } => {
                address.directory = Some(directory.into());
                Ok(())
            }
            _ => Err(not_for(spec, "a directory")),
        })
    }

    /// Shares the segment with a group, given by its name or its number: directory and file are then
    /// open to its members (0770, 0660), and to nobody else. Every member can destroy what is in it.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] when it cannot be a group's name, or for another kind than `shm`.
    /// That there is no such group is found when the queue is opened.
    pub fn with_group(&self, group: impl Into<String>) -> Result<Self, OpenError> {
        self.changed(|spec| match spec {
            Spec::Shm { address, .. } => {
                address.group = Some(group.into());
                Ok(())
            }
            _ => Err(not_for(spec, "a group")),
        })
    }

    /// Says which type the values have. A descriptor that says so already is returned as it is, open
    /// or not.
    ///
    /// # Errors
    /// [`OpenError::ConfigMismatch`] when it names another schema already,
    /// [`OpenError::InvalidConfig`] when the name is empty, too long, or has control characters.
    pub fn with_schema(&self, schema: &str) -> Result<Self, OpenError> {
        check_schema(schema)?;
        match self.schema() {
            None => self.changed(|spec| {
                match spec {
                    Spec::Local { config, .. } | Spec::Shm { config, .. } => {
                        config.schema = Some(schema.to_owned());
                    }
                    Spec::Other { fields, .. } => {
                        fields.insert("schema".to_owned(), schema.into());
                    }
                }
                Ok(())
            }),
            Some(own) if own == schema => Ok(self.clone()),
            Some(own) => Err(OpenError::ConfigMismatch {
                queue: self.to_string(),
                field: "schema",
                ours: schema.to_owned(),
                theirs: own.to_owned(),
            }),
        }
    }

    /// The same queue by a descriptor that was never used and shares nothing with this one: holds
    /// nothing open, and keeps nothing alive.
    #[must_use]
    pub fn to_serializable_descriptor(&self) -> Self {
        Self::from_spec(self.spec().clone())
    }
}

fn not_for(spec: &Spec, what: &str) -> OpenError {
    invalid("queue_type", format!("{:?} queues have not {what} of this sort", spec.queue_type()))
}
