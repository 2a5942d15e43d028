//! What the loom models need to know of the code they run: its deliberate defects.
//!
//! A *mutant* is a named defect, compiled in under loom only: a weakened ordering, a missing fence, a
//! step left out or in the wrong order. A model that does not fail when its mutants are switched on
//! proves nothing.

use std::sync::{PoisonError, RwLock};

static ACTIVE: RwLock<Vec<String>> = RwLock::new(Vec::new());

/// Switches on these deliberate defects in this process, and no others.
pub fn set_mutants(names: &[&str]) {
    let names = names.iter().map(|name| (*name).to_owned()).collect();
    *ACTIVE.write().unwrap_or_else(PoisonError::into_inner) = names;
}

/// Says whether the deliberate defect `name` is switched on.
#[must_use]
pub fn mutant(name: &str) -> bool {
    ACTIVE.read().unwrap_or_else(PoisonError::into_inner).iter().any(|active| active == name)
}
