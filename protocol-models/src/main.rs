//! Lists and runs the models of the ring protocol.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use comfy_table::Table;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use protocol_models::models;
use protocol_models::runner::{Report, Spec};

const EXAMPLES: &str = "\
Examples:
  protocol-models list                      what there is
  protocol-models run                       every model
  protocol-models run mpmc                  one model
  protocol-models run --mutants             every model, and every rule broken on purpose
  protocol-models run close-one --mutants --trace
                                            with the steps that lead to each failure
  protocol-models run --mutants --json      for a script; the exit code says it too

Exit code 1: a property is broken, a model explores less than its minimum, or a mutant survives.
Run it in release: `cargo run --release -p protocol-models -- run`.";

/// Explores the ring protocol state by state, with SIGKILL between any two steps.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the models, what each is about, and its mutants.
    List {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs one model, or all.
    #[command(after_help = EXAMPLES)]
    Run {
        /// The model's name, from `list`; all if not given.
        model: Option<String>,
        /// Also breaks each rule on purpose, and expects to see it.
        #[arg(long)]
        mutants: bool,
        /// Prints JSON, one array of reports.
        #[arg(long)]
        json: bool,
        /// Prints the steps to the first broken property of each failure.
        #[arg(long)]
        trace: bool,
        /// Threads that explore.
        #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=64))]
        threads: u8,
    },
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::List { json } => {
            list(json);
            ExitCode::SUCCESS
        }
        Command::Run { model, mutants, json, trace, threads } => {
            let specs = match model.as_deref() {
                None => models::all(),
                Some(name) => match models::find(name) {
                    Some(spec) => vec![spec],
                    None => {
                        let names: Vec<_> = models::all().iter().map(|s| s.name).collect();
                        eprintln!("no model named {name:?}; there are: {}", names.join(", "));
                        return ExitCode::from(2);
                    }
                },
            };
            run(&specs, mutants, json, trace, usize::from(threads))
        }
    }
}

fn list(json: bool) {
    let specs = models::all();
    if json {
        let all: Vec<_> = specs
            .iter()
            .map(|s| {
                serde_json::json!({
                    "model": s.name, "about": s.about, "min_states": s.min_states,
                    "scenarios": s.scenario_names(), "mutants": s.mutant_names(),
                })
            })
            .collect();
        println!("{:#}", serde_json::Value::Array(all));
        return;
    }
    for spec in &specs {
        println!("{:<13} {}", spec.name, spec.about);
        spec.scenario_names().iter().for_each(|s| println!("    {s}"));
        spec.mutant_names().iter().for_each(|m| println!("    mutant: {m}"));
    }
}

fn run(specs: &[Spec], mutants: bool, json: bool, trace: bool, threads: usize) -> ExitCode {
    let mut reports = Vec::new();
    for spec in specs {
        let mut report = spec.run(threads);
        if mutants {
            report.mutants = spec.run_mutants(threads);
        }
        if !json {
            eprintln!("{}: {} states in {:.1} s", report.model, report.states, report.seconds);
        }
        reports.push(report);
    }
    if json {
        match serde_json::to_string_pretty(&reports) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("cannot print the reports: {error}"),
        }
    } else {
        println!("{}", table(&reports, mutants));
        reports.iter().for_each(|r| explain(r, trace));
        let states: usize = reports.iter().map(|r| r.states).sum();
        println!("{states} states explored");
    }
    if reports.iter().all(Report::passed) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn table(reports: &[Report], mutants: bool) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_BORDERS_ONLY);
    table.set_header([
        "model",
        "unique states",
        "at least",
        "s",
        "properties",
        "mutants killed",
        "",
    ]);
    for r in reports {
        let killed = r.mutants.len() - r.survivors().len();
        table.add_row([
            r.model.clone(),
            r.states.to_string(),
            r.min_states.to_string(),
            format!("{:.1}", r.seconds),
            r.scenarios.first().map_or(0, |s| s.properties.len()).to_string(),
            if mutants { format!("{killed} of {}", r.mutants.len()) } else { "not run".into() },
            if r.passed() { "ok" } else { "FAILED" }.into(),
        ]);
    }
    table
}

/// Says what failed, and which property caught each mutant.
fn explain(report: &Report, trace: bool) {
    if report.states < report.min_states {
        println!("{}: explored fewer states than it must", report.model);
    }
    for s in report.scenarios.iter().filter(|s| !s.broken.is_empty()) {
        println!("{}: {}: BROKEN {}", report.model, s.name, s.broken.join(", "));
        if let Some(text) = &s.trace {
            println!("    {text}");
        }
    }
    for m in &report.mutants {
        let verdict = match m.broken.as_slice() {
            [] => "SURVIVED".to_owned(),
            broken => format!("killed by: {}", broken.join(", ")),
        };
        println!("{}: mutant: {}: {verdict}", report.model, m.name);
        if let Some(text) = m.trace.as_ref().filter(|_| trace) {
            println!("    {text}");
        }
    }
}
