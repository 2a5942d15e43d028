//! Holds `docs/protocol.md` against the source: the same sync points, the same crash points.

use std::collections::BTreeSet;
use std::path::Path;

/// The source in some folders, all files in one text.
fn source_of(folders: &[&str]) -> String {
    fn collect(folder: &Path, text: &mut String) {
        if folder.is_file() {
            return text.push_str(&std::fs::read_to_string(folder).unwrap());
        }
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
    for folder in folders {
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut text);
    }
    text
}

/// The source of the library.
fn source() -> String {
    source_of(&["src"])
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

/// The rows of the table in a section, without its head, as they stand.
fn rows(section: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/protocol.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (_, rest) = text.split_once(&format!("## {section}\n")).unwrap();
    let body = rest.split("\n## ").next().unwrap();
    let table = body.lines().filter(|line| line.starts_with('|'));
    table.skip(2).map(str::to_owned).collect()
}

/// The names in the first column of the table in a section.
fn documented(section: &str) -> BTreeSet<String> {
    let rows = rows(section);
    let rows = rows.iter().filter_map(|line| line.strip_prefix("| `"));
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

/// The tests named in the last column of a row.
fn tests_of(row: &str) -> Vec<&str> {
    let column = row.strip_suffix(" |").and_then(|row| row.rsplit(" | ").next());
    column.unwrap_or_default().split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_row_about_a_death_names_a_test_that_exists() {
    let tests = source_of(&["tests", "shm-tests/tests", "loom-tests/tests", "tools"]);
    let named = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let tests = words_after(&tests, "#[test]\nfn ", named);
    for section in ["Crash points", "Deaths and pauses elsewhere"] {
        let rows = rows(section);
        assert!(rows.len() > 10, "{section}: {rows:?}");
        for row in rows {
            let names = tests_of(&row);
            assert!(!names.is_empty(), "a row without a test: {row}");
            for name in names {
                assert!(tests.contains(name), "there is no test {name}: {row}");
            }
        }
    }
}

/// Dies at every point of these files, by number and not by name.
const AT_ANY: &str = "survivors_balance_the_books_after_a_death_at_any_crash_point";
const OF_ANY: [&str; 2] = ["src/shm/ring", "src/shm/recovery.rs"];

#[test]
fn every_crash_point_has_a_test_that_kills_somebody_there() {
    let tests = source_of(&["tests", "shm-tests/tests"]);
    let allowed = |c: char| c.is_ascii_lowercase() || c == '_' || c == '.';
    let of_any = words_after(&source_of(&OF_ANY), "crash_point(\"", allowed);
    assert!(of_any.len() > 20, "{of_any:?}");
    for row in rows("Crash points") {
        let point = row.split('`').nth(1).unwrap();
        let kills = tests_of(&row).into_iter().any(|name| {
            let body = tests.split(&format!("#[test]\nfn {name}(")).nth(1).unwrap_or_default();
            let body = body.split("\n}\n").next().unwrap_or_default();
            (name == AT_ANY && of_any.contains(point)) || body.contains(&format!("{point}\""))
        });
        assert!(kills, "none of its tests comes to {point}: {row}");
    }
}
