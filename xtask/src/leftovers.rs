//! What the tests left in shared memory.
//!
//! The tests get a directory of their own by `RINGWAY_DIR`, in which nothing may be left; and
//! nothing that is named ringway may be new elsewhere. What a run that was killed left in its own
//! directory, the next run removes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A watch over a place, from its making on.
pub(crate) struct Leftovers {
    place: PathBuf,
    before: BTreeSet<PathBuf>,
    /// Where the tests put their segments; `None` where there is no such place.
    own: Option<PathBuf>,
}

/// How a run's own directory is named, before its process id.
const OWN: &str = "ringway-xtask-";

impl Leftovers {
    /// Removes what dead runs left, and notes what else is there now.
    pub(crate) fn watch(place: &Path) -> Self {
        remove_what_the_dead_left(place);
        let own = place.join(format!("{OWN}{}", std::process::id()));
        let before = named_ringway(place);
        // Ringway makes it when it is needed, so that its mode is right.
        Self { own: place.is_dir().then_some(own), before, place: place.to_owned() }
    }

    /// The tests' own directory, which need not exist.
    pub(crate) fn own_directory(&self) -> Option<&Path> {
        self.own.as_deref()
    }

    /// Everything that is new. An empty directory of our own is removed, and does not count; nor
    /// does one that ringway makes for a user.
    pub(crate) fn found(&self) -> Vec<PathBuf> {
        if let Some(own) = &self.own {
            // Fails where something is in it, which is then found.
            let _ = fs::remove_dir(own);
        }
        let is_home = |path: &PathBuf| path.parent() == Some(&*self.place) && path.is_dir();
        let after = named_ringway(&self.place);
        after.difference(&self.before).filter(|path| !is_home(path)).cloned().collect()
    }
}

/// Removes the directories of runs whose process is gone.
fn remove_what_the_dead_left(place: &Path) {
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name.to_str().and_then(|name| name.strip_prefix(OWN)?.parse::<u32>().ok());
        if run.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            // Somebody else's stays, and is no matter of this run's.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Everything under `place` whose name has `ringway` in it, or lies in such a directory.
fn named_ringway(place: &Path) -> BTreeSet<PathBuf> {
    fn walk(directory: &Path, all: bool, found: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let named = all || entry.file_name().to_string_lossy().contains("ringway");
            if named {
                found.insert(entry.path());
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), named, found);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(place, false, &mut found);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_found_and_what_was_there_is_not() {
        let place = std::env::temp_dir().join(format!("leftovers-{}", std::process::id()));
        let user = place.join("ringway-7");
        fs::create_dir_all(&user).unwrap();
        fs::write(user.join("old"), "").unwrap();
        // No process has such a number; the first one lives as long as the machine.
        let dead = place.join(format!("{OWN}{}", u32::MAX));
        let alive = place.join(format!("{OWN}1"));
        for run in [&dead, &alive] {
            fs::create_dir(run).unwrap();
            fs::write(run.join("segment"), "").unwrap();
        }
        let watch = Leftovers::watch(&place);
        assert!(!dead.exists() && alive.join("segment").exists());
        let own = watch.own_directory().unwrap().to_owned();
        fs::create_dir(&own).unwrap();
        fs::create_dir(place.join("ringway-8")).unwrap();
        fs::write(place.join("other"), "").unwrap();
        assert_eq!(watch.found(), Vec::<PathBuf>::new());
        assert!(!own.exists());
        fs::create_dir(&own).unwrap();
        let mut new = [own.join("job"), user.join("new"), place.join("x-ringway")];
        for path in &new {
            fs::write(path, "").unwrap();
        }
        new.sort();
        assert_eq!(watch.found(), new);
        fs::remove_dir_all(&place).unwrap();
    }
}
