//! A private stand-in for the real descriptor, with the part of its contract that routing uses.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::queue::QueueBackend;

/// An opened queue.
#[derive(Clone, Debug)]
pub struct Queue(Arc<dyn QueueBackend>);

impl Deref for Queue {
    type Target = dyn QueueBackend;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

/// Names a queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct QueueDescriptor {
    queue_type: String,
    queue_id: String,
    #[serde(skip)]
    queue: Arc<OnceLock<Queue>>,
}

impl QueueDescriptor {
    /// Names a queue that is there already.
    #[doc(hidden)]
    pub fn for_test(queue_id: &str, backend: Arc<dyn QueueBackend>) -> Self {
        Self {
            queue_type: "test".to_owned(),
            queue_id: queue_id.to_owned(),
            queue: Arc::new(OnceLock::from(Queue(backend))),
        }
    }

    /// Name of the queue.
    pub fn queue_id(&self) -> &str {
        &self.queue_id
    }

    /// Kind of the queue.
    pub fn queue_type(&self) -> &str {
        &self.queue_type
    }

    /// Opens the queue.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn queue(&self) -> Result<&Queue, OpenError> {
        self.queue
            .get()
            .ok_or_else(|| OpenError::UnknownType { queue_type: self.queue_type.clone() })
    }
}

impl PartialEq for QueueDescriptor {
    fn eq(&self, other: &Self) -> bool {
        self.queue_type == other.queue_type && self.queue_id == other.queue_id
    }
}

impl Eq for QueueDescriptor {}
