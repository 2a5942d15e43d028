//! Runs steps, one after another, and sums up.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::leftovers::Leftovers;
use crate::steps::{Group, Step};

/// Where segments lie by default.
const SHARED_MEMORY: &str = "/dev/shm";

/// Runs all steps, and says whether all passed.
pub(crate) fn all(steps: &[&Step]) -> bool {
    let start = Instant::now();
    let mut results: Vec<(&str, bool, Duration)> = Vec::new();
    let leftovers = Leftovers::watch(Path::new(SHARED_MEMORY));
    for step in steps {
        let start = Instant::now();
        header(step.name, &step.command_line());
        let mut command = step.command();
        if step.group == Group::Test
            && let Some(directory) = leftovers.own_directory()
        {
            command.env("RINGWAY_DIR", directory);
        }
        let passed = match command.status() {
            Ok(status) => status.success(),
            Err(error) => {
                println!("{}: {error}", command.get_program().display());
                false
            }
        };
        let elapsed = start.elapsed();
        println!("--- {}: {} in {}", step.name, verdict(passed), seconds(elapsed));
        results.push((step.name, passed, elapsed));
    }
    if steps.iter().any(|step| step.group == Group::Test) {
        let start = Instant::now();
        header("leftovers", &format!("what is named ringway under {SHARED_MEMORY}"));
        let left = leftovers.found();
        for path in &left {
            println!("left behind: {}", path.display());
        }
        results.push(("leftovers", left.is_empty(), start.elapsed()));
    }
    header("summary", &seconds(start.elapsed()));
    for (name, passed, elapsed) in &results {
        println!("{name:<12} {:<6} {:>9}", verdict(*passed), seconds(*elapsed));
    }
    let failed = results.iter().filter(|(_, passed, _)| !passed).count();
    println!("{} passed, {failed} failed", results.len() - failed);
    failed == 0
}

fn verdict(passed: bool) -> &'static str {
    if passed { "passed" } else { "FAILED" }
}

fn seconds(elapsed: Duration) -> String {
    format!("{:.1} s", elapsed.as_secs_f64())
}

/// A headline that is found again in a long log.
fn header(name: &str, what: &str) {
    let mut out = std::io::stdout();
    let (bold, plain) = if out.is_terminal() { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    // Before the output of the step, also where both go to a file.
    let _ = writeln!(out, "\n{bold}=== {name}: {what}{plain}").and_then(|()| out.flush());
}
