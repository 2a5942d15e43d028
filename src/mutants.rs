//! Deliberate defects: compiled in under loom and with `--cfg ringway_crash` only.
//!
//! A *mutant* is a named defect: a weakened ordering, a missing fence, a step left out or in the
//! wrong order. The code says `crate::sync::mutant("name")` or `crate::sync::weaken("name", order)`
//! where it could go wrong. A model that does not fail when its mutants are switched on proves
//! nothing.

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

/// Says whether any deliberate defect is switched on.
#[must_use]
pub fn any() -> bool {
    !ACTIVE.read().unwrap_or_else(PoisonError::into_inner).is_empty()
}
