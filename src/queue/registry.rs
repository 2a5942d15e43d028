//! Kinds of queues beyond the ring-made ones: factories, found by the `queue_type` of a descriptor.
//!
//! One table per process. A factory runs outside the table's lock, so that it may register others
//! and open other queues.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::OpenError;
use crate::queue::{Queue, QueueBackend, QueueDescriptor};

/// The `queue_type` of in-process queues.
pub const LOCAL: &str = "local";
/// The `queue_type` of rings in shared-memory segments.
pub const SHM: &str = "shm";

type Factory = dyn Fn(&QueueDescriptor) -> Result<Arc<dyn QueueBackend>, OpenError> + Send + Sync;

static FACTORIES: RwLock<BTreeMap<String, Arc<Factory>>> = RwLock::new(BTreeMap::new());

/// Why a kind of queue was not registered. Every variant is permanent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegisterError {
    /// The name stands for a kind of Ringway's own, or is empty.
    #[error("the queue type {queue_type:?} is reserved")]
    Reserved {
        /// The name.
        queue_type: String,
    },
    /// Somebody registered the name already: unregister it first.
    #[error("the queue type {queue_type:?} is registered already")]
    AlreadyRegistered {
        /// The name.
        queue_type: String,
    },
}

/// Makes a kind of queue known to the descriptors of this process.
///
/// The factory is called at the first use of a descriptor of that `queue_type`, once for all its
/// clones, and again after a failure or a `clear_cache`. It reads [`QueueDescriptor::fields`]. It
/// must not use the very descriptor it is given to put or get: that waits for the factory itself.
///
/// ```
/// use std::sync::Arc;
/// use ringway::queue::{self, QueueDescriptor};
///
/// queue::register_queue_type("alias", |descriptor| {
///     let target = descriptor.field("target").and_then(|v| v.as_str()).unwrap_or("doc/alias");
///     Ok(Arc::clone(QueueDescriptor::local(target)?.queue()?.backend()))
/// })?;
/// let alias = QueueDescriptor::from_json(r#"{"queue_type": "alias", "target": "doc/target"}"#)?;
/// alias.put(b"hello")?;
/// assert_eq!(QueueDescriptor::local("doc/target")?.get()?.payload, b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// See [`RegisterError`]; the table is then as it was.
pub fn register_queue_type<F>(queue_type: &str, factory: F) -> Result<(), RegisterError>
where
    F: Fn(&QueueDescriptor) -> Result<Arc<dyn QueueBackend>, OpenError> + Send + Sync + 'static,
{
    let queue_type = queue_type.to_owned();
    if queue_type.is_empty() || queue_type == LOCAL || queue_type == SHM {
        return Err(RegisterError::Reserved { queue_type });
    }
    let mut factories = FACTORIES.write().unwrap_or_else(PoisonError::into_inner);
    if factories.contains_key(&queue_type) {
        return Err(RegisterError::AlreadyRegistered { queue_type });
    }
    factories.insert(queue_type, Arc::new(factory));
    Ok(())
}

/// Forgets a kind of queue, and says whether it was known. Queues that are open stay open.
pub fn unregister_queue_type(queue_type: &str) -> bool {
    let mut factories = FACTORIES.write().unwrap_or_else(PoisonError::into_inner);
    factories.remove(queue_type).is_some()
}

/// The registered kinds of queues, sorted; `local` and `shm` are not among them.
#[must_use]
pub fn registered_queue_types() -> Vec<String> {
    FACTORIES.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
}

/// Opens a queue of a registered kind.
pub(crate) fn open(descriptor: &QueueDescriptor) -> Result<Queue, OpenError> {
    let queue_type = descriptor.queue_type();
    let factory = {
        let factories = FACTORIES.read().unwrap_or_else(PoisonError::into_inner);
        factories.get(queue_type).cloned()
    };
    match factory {
        Some(factory) => factory(descriptor).map(Queue::new),
        None => Err(OpenError::UnknownType { queue_type: queue_type.to_owned() }),
    }
}
