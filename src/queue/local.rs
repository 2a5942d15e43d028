//! The process-wide table of local queues: id → ring on the heap.
//!
//! How long a local queue lives is part of its descriptor, in the words of segments:
//! - `ephemeral` (the default): until the last descriptor that has used it, handle, lease and
//!   reservation is dropped, like a channel. The table holds a weak reference. A descriptor that was
//!   never used holds nothing.
//! - `keep`: until it is destroyed. The table holds the queue, so that its packets survive even
//!   while nobody names it.
//!
//! One lock, held for look-ups and for the making of a ring, never while a queue is used. Threads of
//! a process do not die alone, so nothing here has to survive a crash. A forked child finds the
//! entries of its parent; those that say they were inherited are replaced.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::error::OpenError;
use crate::queue::config::{QueueConfig, ResolvedConfig};
use crate::queue::ring_queue::{self, RingQueue};
use crate::shm::Lifetime;

struct Entry {
    ring: Weak<RingQueue>,
    /// The queue itself, for `keep`.
    kept: Option<Arc<RingQueue>>,
    config: ResolvedConfig,
}

impl Entry {
    /// The queue, unless nobody holds it any more or it can no longer be used.
    fn usable(&self) -> Option<Arc<RingQueue>> {
        self.ring.upgrade().filter(|ring| !ring.is_destroyed() && !ring.is_forked())
    }

    fn lifetime(&self) -> Lifetime {
        if self.kept.is_some() { Lifetime::Keep } else { Lifetime::Ephemeral }
    }
}

#[derive(Default)]
struct Table {
    entries: HashMap<String, Entry>,
    /// Entries at which dead ones are swept out before another is added.
    sweep_at: usize,
}

impl Table {
    fn sweep(&mut self) {
        self.entries.retain(|_, entry| entry.usable().is_some());
        self.sweep_at = (2 * self.entries.len()).max(64);
    }

    /// Refuses a queue whose dead letters would come back to it, through queues that exist.
    fn check_circle(&self, id: &str, config: &ResolvedConfig) -> Result<(), OpenError> {
        let mut next = config.dead_letter.as_deref();
        for _ in 0..=self.entries.len() {
            let Some(target) = next else { return Ok(()) };
            if target == id {
                let reason = format!("the dead letters of {id:?} would come back to it");
                return Err(OpenError::InvalidConfig { field: "dead_letter", reason });
            }
            let entry = self.entries.get(target).filter(|entry| entry.usable().is_some());
            next = entry.and_then(|entry| entry.config.dead_letter.as_deref());
        }
        Ok(())
    }
}

static TABLE: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

fn table() -> MutexGuard<'static, Table> {
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the local queue of this id, or makes it. All callers get one instance.
///
/// # Errors
/// [`OpenError::ConfigMismatch`] when it exists with another resolved configuration or lifetime.
pub(crate) fn open(
    id: &str,
    config: &QueueConfig,
    lifetime: Lifetime,
) -> Result<Arc<RingQueue>, OpenError> {
    let ours = config.resolve()?;
    let mut table = table();
    if let Some(entry) = table.entries.get(id)
        && let Some(ring) = entry.usable()
    {
        ours.check_same(id, &entry.config)?;
        let theirs = entry.lifetime();
        if theirs != lifetime {
            return Err(OpenError::ConfigMismatch {
                queue: id.to_owned(),
                field: "lifetime",
                ours: format!("{lifetime:?}").to_lowercase(),
                theirs: format!("{theirs:?}").to_lowercase(),
            });
        }
        return Ok(ring);
    }
    table.check_circle(id, &ours)?;
    let ring = Arc::new(ring_queue::open_local(id, config)?);
    if table.entries.len() >= table.sweep_at {
        table.sweep();
    }
    let kept = (lifetime == Lifetime::Keep).then(|| Arc::clone(&ring));
    let entry = Entry { ring: Arc::downgrade(&ring), kept, config: ours };
    table.entries.insert(id.to_owned(), entry);
    Ok(ring)
}

/// Finds the local queue of this id, and makes none.
pub(crate) fn find(id: &str) -> Option<Arc<RingQueue>> {
    table().entries.get(id).and_then(Entry::usable)
}

/// Forgets the queues that are destroyed or that nobody holds any more.
pub(crate) fn sweep() {
    table().sweep();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_default(id: &str, lifetime: Lifetime) -> Arc<RingQueue> {
        open(id, &QueueConfig::default(), lifetime).unwrap()
    }

    #[test]
    fn an_ephemeral_queue_dies_with_its_last_holder() {
        let first = open_default("local-tests/ephemeral", Lifetime::Ephemeral);
        let second = open_default("local-tests/ephemeral", Lifetime::Ephemeral);
        assert!(Arc::ptr_eq(&first, &second));
        drop((first, second));
        assert!(find("local-tests/ephemeral").is_none());
    }

    #[test]
    fn a_kept_queue_lives_until_it_is_destroyed() {
        use crate::queue::QueueBackend;

        drop(open_default("local-tests/keep", Lifetime::Keep));
        let found = find("local-tests/keep").unwrap();
        found.destroy().unwrap();
        assert!(find("local-tests/keep").is_none());
        sweep();
        assert_eq!(Arc::strong_count(&found), 1);
    }

    #[test]
    fn dead_entries_do_not_pile_up() {
        for n in 0..1000 {
            drop(open_default(&format!("local-tests/pile/{n}"), Lifetime::Ephemeral));
        }
        let left = table().entries.keys().filter(|id| id.starts_with("local-tests/pile/")).count();
        assert!(left < 500, "{left}");
    }
}
