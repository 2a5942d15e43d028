//! Where a test may kill a process, by name: built with `--cfg ringway_crash` or under loom only.
//!
//! The algorithms call `crate::sync::crash_point("where")` between any two steps that another
//! process can tell apart. Ordinary builds compile that to nothing; these builds call the hook given
//! to [`set_hook`]. A hook may return (nothing happens), unwind (the thread of a model "dies"), stop,
//! or kill its own process.

use std::sync::{PoisonError, RwLock};

/// What is called at every crash point, with its name.
pub type Hook = fn(&'static str);

static HOOK: RwLock<Option<Hook>> = RwLock::new(None);

/// Sets, or with `None` removes, the hook of this process. The hook may be called from any thread at
/// any time; calls that are under way use the old one.
pub fn set_hook(hook: Option<Hook>) {
    *HOOK.write().unwrap_or_else(PoisonError::into_inner) = hook;
}

/// Calls the hook, if there is one. No lock is held meanwhile: the hook may unwind.
pub(crate) fn crash_point(name: &'static str) {
    let hook = *HOOK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some(hook) = hook {
        hook(name);
    }
}
