//! Holds `docs/protocol.md` against the source: the same sync points, the same crash points.

use std::collections::BTreeSet;
use std::path::Path;

/// The source of the library, all files in one text.
fn source() -> String {
    fn collect(folder: &Path, text: &mut String) {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, text);
            } else if path.extension().is_some_and(|it| it == "rs") {
                text.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut text = String::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut text);
    text
}

/// The words that follow `marker` wherever it stands, made of the given characters.
fn words_after(text: &str, marker: &str, allowed: impl Fn(char) -> bool) -> BTreeSet<String> {
    text.match_indices(marker)
        .map(|(at, _)| {
            text[at + marker.len()..].chars().take_while(|c| allowed(*c)).collect::<String>()
        })
        .filter(|word| !word.is_empty())
        .collect()
}

/// The names in the first column of the table in a section.
fn documented(section: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("## {section}\n")).unwrap();
    let body = rest.split("\n## ").next().unwrap();
    let rows = body.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned()).collect()
}

#[test]
fn every_sync_point_of_the_source_is_documented_and_no_other() {
    let in_source = words_after(&source(), "SYNC ", |c| c.is_ascii_lowercase() || c == '-');
    assert!(in_source.len() > 15, "{in_source:?}");
    assert_eq!(in_source, documented("Sync points"));
}

#[test]
fn every_crash_point_of_the_source_is_documented_and_no_other() {
    let allowed = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let in_source = words_after(&source(), "crash_point(\"", allowed);
    assert!(in_source.len() > 25, "{in_source:?}");
    assert_eq!(in_source, documented("Crash points"));
}
