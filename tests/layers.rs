//! The layers: each module imports only from those below it (DESIGN.md §1).
//!
//! Every path that starts with `crate::` or `super::` is looked at, in `use` and elsewhere, groups
//! in braces taken apart.

use std::fs;
use std::path::Path;

/// The layers from the bottom up. Modules of one line may not import each other, unless they stand
/// in one string. What is not listed by itself belongs to the longest prefix that is.
const LAYERS: &[&[&str]] = &[
    &["sync crash mutants", "error", "events"],
    // What the memory looks like.
    &["shm"],
    &["shm::layout"],
    &["shm::ring::stamp", "shm::answer"],
    // What the system does, where a ring lies, what things are called.
    &["shm::peers", "shm::names", "shm::storage"],
    &["shm::os", "shm::ring", "shm::directory"],
    &["shm::wait", "shm::view"],
    &["shm::mapped"],
    &["shm::recovery", "shm::participant"],
    // A segment hands out its peers, who keep the segment.
    &["shm::segment shm::segment_peers"],
    &["shm::inspect"],
    &["queue"],
    &["routing"],
    &["runtime"],
];

/// Where a module stands: its layer, and the string of [`LAYERS`] that it is in.
fn place(module: &[String]) -> Option<(usize, &'static str)> {
    (1..=module.len()).rev().find_map(|len| {
        let prefix = module[..len].join("::");
        LAYERS.iter().enumerate().find_map(|(layer, modules)| {
            let found = modules.iter().find(|names| names.split(' ').any(|name| name == prefix));
            found.map(|names| (layer, *names))
        })
    })
}

/// Code without comments, and without what is in quotes.
fn bare(code: &str) -> String {
    let mut bare = String::new();
    let mut rest = code;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if c == '"' {
            let mut escaped = false;
            let end = rest[1..].char_indices().find(|(_, c)| {
                let ends = *c == '"' && !escaped;
                escaped = *c == '\\' && !escaped;
                ends
            });
            end.map_or(rest.len(), |(at, _)| at + 2)
        } else if rest.starts_with("'\"'") {
            3
        } else {
            bare.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        bare.push(' ');
        rest = &rest[skipped..];
    }
    bare
}

/// Splits code into names and single punctuation marks; `::` is one.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(c) = rest.chars().next() {
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        let len = if is_name(c) {
            rest.find(|c| !is_name(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            c.len_utf8()
        };
        tokens.push(&rest[..len]);
        rest = rest[len..].trim_start();
    }
    tokens
}

/// Reads a path's tail, behind its `prefix`, and adds all full paths in it; returns what is left.
fn paths<'a>(
    prefix: &[String],
    mut tokens: &'a [&'a str],
    found: &mut Vec<Vec<String>>,
) -> &'a [&'a str] {
    let mut path = prefix.to_vec();
    while let ["::", next, rest @ ..] = tokens {
        tokens = rest;
        match *next {
            "{" => {
                while let [first, rest @ ..] = tokens {
                    tokens = match *first {
                        "}" => return rest,
                        "," => rest,
                        name => {
                            let mut inner = path.clone();
                            push(&mut inner, name);
                            paths(&inner, rest, found)
                        }
                    };
                }
                return tokens;
            }
            name => push(&mut path, name),
        }
    }
    // `use a::b as c`: the new name is of no interest.
    if let ["as", _, rest @ ..] = tokens {
        tokens = rest;
    }
    found.push(path);
    tokens
}

fn push(path: &mut Vec<String>, name: &str) {
    match name {
        "super" => _ = path.pop(),
        "self" | "*" => {}
        name => path.push(name.to_owned()),
    }
}

/// Everything of this crate that a module names by a path.
fn imports(module: &[String], code: &str) -> Vec<Vec<String>> {
    let bare = bare(code);
    let tokens = tokens(&bare);
    let mut found = Vec::new();
    let mut rest = &tokens[..];
    while let [first, after @ ..] = rest {
        let starts = after.first() == Some(&"::");
        rest = match *first {
            "crate" if starts => paths(&[], after, &mut found),
            "super" if starts => {
                let parent = &module[..module.len().saturating_sub(1)];
                paths(parent, after, &mut found)
            }
            _ => after,
        };
    }
    found
}

fn modules(directory: &Path, prefix: &[String], all: &mut Vec<(Vec<String>, String)>) {
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()) {
        let stem = entry.file_stem().unwrap().to_str().unwrap();
        let mut module = prefix.to_vec();
        if !["mod", "lib"].contains(&stem) {
            module.push(stem.to_owned());
        }
        if entry.is_dir() {
            modules(&entry, &module, all);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            all.push((module, fs::read_to_string(&entry).unwrap()));
        }
    }
}

/// Every import that goes up, or sideways.
fn violations(all: &[(Vec<String>, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    // The root only names its modules, and a module's tests may use whatever they need.
    let held = |module: &[String]| !module.is_empty() && !module.contains(&"tests".to_owned());
    for (module, code) in all.iter().filter(|(module, _)| held(module)) {
        let Some((layer, own)) = place(module) else {
            wrong.push(format!("{} is in no layer", module.join("::")));
            continue;
        };
        for import in imports(module, code) {
            // A name of the root is a macro or a re-export for users.
            let Some((below, theirs)) = place(&import) else { continue };
            // A module's own parts are its own affair.
            let parts = own == theirs || import.starts_with(module) || module.starts_with(&import);
            if below >= layer && !parts {
                wrong.push(format!("{} imports {}", module.join("::"), import.join("::")));
            }
        }
    }
    wrong
}

#[test]
fn layers_import_only_downwards() {
    let mut all = Vec::new();
    modules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &[], &mut all);
    assert!(all.len() > 50, "only {} modules found", all.len());
    let wrong = violations(&all);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn imports_upwards_are_found_in_every_form() {
    let wrong_in = |module: &str, code: &str| {
        let module = module.split("::").map(str::to_owned).collect();
        !violations(&[(module, code.to_owned())]).is_empty()
    };
    for code in [
        "use crate::queue::Queue;",
        "pub(crate) use crate::{error::OpenError, queue::{self, Wait}};",
        "fn f() { let c = '\"'; crate::queue::f(\"//\") }",
        "use crate::{sync::{Ordering::{self as O}}, queue as q};",
        "use super::super::queue::Lease;",
        "use crate::routing::*;",
    ] {
        assert!(wrong_in("shm::segment", code), "{code}");
    }
    for code in [
        "use crate::shm::os; use crate::shm::segment_peers::SegmentPeers; use crate::Queue;",
        "// use crate::queue;\nuse super::ring::Ring; use super::layout::{A, B};",
        "const A: &str = \"use crate::queue::Queue; \\\" crate::queue\"; /* crate::queue */",
    ] {
        assert!(!wrong_in("shm::segment", code), "{code}");
    }
    assert!(!wrong_in("shm::storage", "use crate::shm::ring::stamp::Bits;"));
    assert!(wrong_in("shm::storage", "use crate::shm::ring::Ring;"));
    assert!(wrong_in("nowhere", ""));
}
