//! The library's dependencies, each with the job that only it does. Whoever adds one says here why.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// Every normal dependency, and its job.
const DEPENDENCIES: &[(&str, &str)] = &[
    ("bytemuck", "reads the bytes of a header as its struct, without unsafe code"),
    ("crossbeam-utils", "keeps words that different threads write on different cache lines"),
    ("nix", "the system calls of mapping, locking and forking"),
    ("postcard", "the compact serde form of payloads and descriptors"),
    ("rustix", "futexes, membarrier, and file calls relative to a directory"),
    ("serde", "descriptors, connections and reports travel"),
    ("serde_json", "descriptors as JSON, with the fields of unknown kinds kept"),
    ("thiserror", "the error enums"),
    ("tracing", "events for the user's own subscriber: recovery, redelivery, dead letters"),
    ("xxhash-rust", "the hash of keys and schemas, the same in every language"),
];

/// Listed above and used nowhere yet: to be used, or to go.
const UNUSED: &[&str] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in one table of Cargo.toml: `name = …` or `name.workspace = true`.
fn table(manifest: &str, table: &str) -> BTreeSet<String> {
    manifest
        .lines()
        .skip_while(|line| line.trim() != format!("[{table}]"))
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split(['.', '=', ' ']).next().unwrap().to_owned())
        .collect()
}

fn sources(directory: &Path, all: &mut String) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, all);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            for line in fs::read_to_string(&entry).unwrap().lines() {
                all.push_str(line.split("//").next().unwrap());
                all.push('\n');
            }
        }
    }
}

#[test]
fn the_library_depends_on_these_crates_and_no_others() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let listed: BTreeSet<String> = DEPENDENCIES.iter().map(|(name, _)| name.to_string()).collect();
    assert_eq!(table(&manifest, "dependencies"), listed);
    // No other table adds to them, other than loom where nothing is shipped.
    let loom = BTreeSet::from(["loom".to_owned()]);
    assert_eq!(table(&manifest, "target.'cfg(loom)'.dependencies"), loom);
    let tables = manifest.lines().filter(|line| {
        line.starts_with('[') && line.contains("dependencies") && !line.contains("workspace")
    });
    assert_eq!(tables.count(), 3, "dependencies, dev-dependencies, and loom's");
}

#[test]
fn every_dependency_is_used() {
    let mut code = String::new();
    sources(&root().join("src"), &mut code);
    for (name, job) in DEPENDENCIES {
        assert!(!job.is_empty());
        let path = format!("{}::", name.replace('-', "_"));
        let word = |(at, _): (usize, &str)| {
            !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
        };
        let used = code.match_indices(&path).any(word);
        assert_eq!(used, !UNUSED.contains(name), "{name}: used in src/ is {used}");
    }
}
