//! The project's own commands: `cargo xtask test`, `lint` and `ci`.
//!
//! `steps.rs` is the table of what they run; `run.rs` runs it; `leftovers.rs` looks for what the
//! tests left in shared memory.

mod leftovers;
mod run;
mod steps;

use std::process::ExitCode;

use steps::{Group, STEPS, Step};

const HELP: &str = "\
The project's own commands.

Usage: cargo xtask <COMMAND> [OPTIONS]

Commands:
  test   run all tests: workspace, examples, models, loom models, crash points, mutated segments,
         torture
  lint   check formatting, clippy and rustdoc, warnings being errors
  ci     lint, then test

Options:
      --only STEP   run this step only; may be given several times
      --list        list the steps of the command
  -h, --help        print this

The last line is `N passed, N failed`. Every step runs, whatever became of those before. After test
steps nothing named ringway may be left under /dev/shm.

Examples:
  cargo xtask test
  cargo xtask test --only workspace --only models
  cargo xtask ci --list
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Help,
    List(Vec<&'static str>),
    Run(Vec<&'static str>),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match parse(&arguments) {
        Ok(Request::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Ok(Request::List(names)) => {
            for step in steps_of(&names) {
                println!("{:<12} {}", step.name, step.about);
                println!("{:<12}   {}", "", step.command_line());
            }
            ExitCode::SUCCESS
        }
        Ok(Request::Run(names)) => {
            let steps: Vec<&Step> = steps_of(&names).collect();
            if run::all(&steps) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(message) => {
            eprintln!("xtask: {message}\n\n{HELP}");
            ExitCode::from(2)
        }
    }
}

fn steps_of(names: &[&'static str]) -> impl Iterator<Item = &'static Step> {
    STEPS.iter().filter(|step| names.contains(&step.name))
}

fn parse(arguments: &[String]) -> Result<Request, String> {
    let mut groups: Option<&[Group]> = None;
    let (mut only, mut list) = (Vec::new(), false);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(Request::Help),
            "--list" => list = true,
            "--only" => only.push(arguments.next().ok_or("--only needs a step")?.as_str()),
            option if option.starts_with("--only=") => only.push(&option["--only=".len()..]),
            "test" if groups.is_none() => groups = Some(&[Group::Test]),
            "lint" if groups.is_none() => groups = Some(&[Group::Lint]),
            "ci" if groups.is_none() => groups = Some(&[Group::Lint, Group::Test]),
            other => return Err(format!("unexpected argument {other:?}")),
        }
    }
    let groups = groups.ok_or("which command?")?;
    let mut names: Vec<_> =
        STEPS.iter().filter(|step| groups.contains(&step.group)).map(|step| step.name).collect();
    if let Some(unknown) = only.iter().find(|only| !names.contains(only)) {
        return Err(format!("there is no step {unknown:?}; there are {}", names.join(", ")));
    }
    names.retain(|name| only.is_empty() || only.contains(name));
    Ok(if list { Request::List(names) } else { Request::Run(names) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        super::parse(&arguments)
    }

    #[test]
    fn only_chooses_among_the_steps_of_the_command() {
        assert_eq!(parse("lint --only fmt"), Ok(Request::Run(vec!["fmt"])));
        assert_eq!(parse("lint --only=fmt --list"), Ok(Request::List(vec!["fmt"])));
        assert!(parse("test --only fmt").unwrap_err().contains("no step"));
        assert!(parse("ci --only fmt").is_ok());
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in ["", "tset", "test lint", "test --only", "test --fast"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse("test --help"), Ok(Request::Help));
    }

    #[test]
    fn step_names_are_unique() {
        for (index, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..index].iter().all(|earlier| earlier.name != step.name));
        }
    }
}
