//! Promises of `examples/wordcount`: the right counts from real processes, and nothing left behind.

mod harness;
mod stopped;
mod terminal;

use std::collections::HashMap;
use std::path::Path;

use harness::{Place, text};
use serde_json::Value;

/// What a single process counts, in a way of its own.
fn expected(contents: &[&[u8]]) -> Vec<(String, u64)> {
    let mut counts = HashMap::<String, u64>::new();
    for content in contents {
        let mut word = String::new();
        for c in String::from_utf8_lossy(content).chars().chain([' ']) {
            if c.is_alphanumeric() {
                word.extend(c.to_lowercase());
            } else if !word.is_empty() {
                *counts.entry(std::mem::take(&mut word)).or_default() += 1;
            }
        }
    }
    let mut all: Vec<_> = counts.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

fn assert_counts(object: &Value, contents: &[&[u8]]) {
    let expected = expected(contents);
    assert_eq!(object["words"], expected.iter().map(|(_, count)| count).sum::<u64>());
    assert_eq!(object["distinct"], expected.len());
    assert_eq!(object["top"], serde_json::to_value(expected).unwrap());
}

const ALL: &str = "--top 1000000000";

/// Text with all that is awkward, more than a few chunks of it.
fn awkward() -> Vec<u8> {
    let mut text = Vec::new();
    for i in 0..4000_u32 {
        text.extend_from_slice(
            format!(
                "Word{} the THE İstanbul ΣΊΣΥΦΟΣ naïve—ÅNGSTRÖM 東京。大阪 x²½ {}\n",
                i % 97,
                i
            )
            .as_bytes(),
        );
        text.extend_from_slice(match i % 4 {
            0 => b"bro\xffken \xe2\x82 cut\xe2\x82\xacoff\n",
            1 => b"\xf0\x9f\x98\x80smile\xc3",
            2 => b"no_newline_at_all;",
            _ => b"\r\n\r\n\0nul\0",
        });
    }
    text
}

#[test]
fn counts_are_those_of_a_single_process() {
    let place = Place::new();
    let awkward = awkward();
    let plain = "It was the best of times, it was the worst of times.\n".repeat(20_000);
    let (a, b) = (place.file("a", &awkward), place.file("b", plain.as_bytes()));
    let contents: [&[u8]; 2] = [&awkward, plain.as_bytes()];
    for options in ["", "--splitters 1 --counters 1", "--splitters 3 --counters 4"] {
        assert_counts(&place.count(&format!("{ALL} {options}"), &[&a, &b]), &contents);
    }
    assert_counts(&place.count(&format!("{ALL} --in-process"), &[&a, &b]), &contents);
}

#[test]
fn words_do_not_join_across_files() {
    let place = Place::new();
    let (a, b) = (place.file("a", b"one"), place.file("b", b"two"));
    assert_counts(&place.count(ALL, &[&a, &b, &a]), &[b"one", b"two", b"one"]);
}

#[test]
fn empty_files_and_files_without_words_have_no_words() {
    let place = Place::new();
    let (empty, dots) = (place.file("empty", b""), place.file("dots", &b" .\n".repeat(50_000)));
    for files in [&[&*empty] as &[&Path], &[&*empty, &*empty], &[&*dots], &[&*dots, &*empty]] {
        let object = place.count("", files);
        assert_eq!((&object["words"], &object["distinct"]), (&0.into(), &0.into()));
        assert_eq!(object["top"], Value::Array(Vec::new()));
    }
    assert_eq!(text(&place.run("", &[&empty]).stdout), "");
}

#[test]
fn a_giant_line_and_a_giant_word_are_counted() {
    let place = Place::new();
    let line = "Ein Wort, noch ein WORT; ".repeat(100_000).into_bytes();
    let cjk = "東京。".repeat(100_000).into_bytes();
    let word = vec![b'X'; 1_000_000];
    for content in [line, cjk, word] {
        let file = place.file("giant", &content);
        assert_counts(&place.count(ALL, &[&file]), &[&content]);
    }
}

#[test]
fn a_word_too_long_for_the_rings_is_an_error_and_not_two_words() {
    let place = Place::new();
    let word = vec![b'X'; 3_000_000];
    let file = place.file("giant", &word);
    let output = place.run("", &[&file]);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(message.contains("byte 0 ") && message.contains("--max-word"), "{message}");
    assert!(message.contains("reader#0"), "{message}");
    place.assert_nothing_left();
    assert_counts(&place.count(&format!("{ALL} --max-word 3000000"), &[&file]), &[&word]);
}

#[test]
fn lines_are_count_and_word_by_count_and_then_by_word() {
    let place = Place::new();
    let file = place.file("text", "b a c a b z é é z Z".as_bytes());
    let output = place.run("--top 4", &[&file]);
    assert!(output.status.success());
    assert_eq!(text(&output.stdout), "3 z\n2 a\n2 b\n2 é\n");
    let summary = text(&output.stderr);
    for part in ["10 words, 5 distinct", "splitter -> counter", "words-1", "text-0", "counts"] {
        assert!(summary.contains(part), "{part} is not in: {summary}");
    }
}

#[test]
fn json_has_totals_top_processes_and_time() {
    let place = Place::new();
    let file = place.file("text", b"one two two");
    let object = place.count("--top 1 --splitters 3 --counters 4", &[&file]);
    let mut keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["distinct", "elapsed_s", "processes", "top", "words"]);
    assert_eq!(object["top"], serde_json::json!([["two", 2]]));
    assert!(object["elapsed_s"].as_f64().unwrap() > 0.0);
    let pids = object["processes"].as_array().unwrap();
    let mut pids: Vec<_> = pids.iter().map(|pid| pid.as_u64().unwrap()).collect();
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), 1 + 3 + 4 + 1);
}

#[test]
fn without_files_the_documentation_is_counted() {
    let place = Place::new();
    let output = place.run("--top 1", &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).ends_with(" the\n"), "{}", text(&output.stdout));
}

#[test]
fn what_cannot_be_read_is_said_before_anything_starts() {
    let place = Place::new();
    let good = place.file("good", b"word");
    let missing = place.dir.path().join("missing");
    for bad in [missing.as_path(), place.dir.path()] {
        let output = place.run("", &[&good, bad]);
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(bad.to_str().unwrap()));
        assert_eq!(text(&output.stdout), "");
        place.assert_nothing_left();
    }
}

#[test]
fn wrong_arguments_exit_2_with_usage_and_help_shows_examples() {
    let place = Place::new();
    for wrong in ["--splitters 0", "--counters x", "--top", "--nonsense", "--top=-1"] {
        let output = place.run(wrong, &[]);
        assert_eq!(output.status.code(), Some(2), "{wrong}");
        assert!(text(&output.stderr).contains("Usage:"), "{wrong}");
    }
    let help = place.run("--help", &[]);
    assert!(help.status.success() && text(&help.stdout).contains("Examples:"));
}
