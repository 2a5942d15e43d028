//! `report`: runs every verb, each a process of its own, and writes one document about them all.

use std::fmt::Write;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::error::{BenchError, Doing, Result};
use crate::peers::{self, STARTER_VARIABLE};
use crate::report::Progress;
use crate::table::table;

/// One run.
#[derive(Debug)]
struct Item {
    /// What it shows.
    title: &'static str,
    /// The verb and its options.
    arguments: &'static str,
    /// More options, unless quick.
    thorough: &'static str,
    /// More options, when quick.
    quick: &'static str,
    /// The numbers that go into the first table: pointers into the JSON.
    headline: &'static [(&'static str, &'static str)],
    /// The name of its drawing.
    plot: Option<&'static str>,
}

const ONE_WAY: &[(&str, &str)] = &[
    ("mean ns", "/one_way_ns/mean"),
    ("p99 ns", "/one_way_ns/p99"),
    ("floors", "/ratio_to_floor"),
];
const RATE: &[(&str, &str)] = &[
    ("packets/s", "/packets_per_s"),
    ("bytes/s", "/bytes_per_s"),
    ("of copy", "/ratio_to_copy"),
    ("floors per packet", "/ratio_to_floor"),
];

/// What is run, in this order. A verb that this build does not have is left out, and said to be.
const ITEMS: &[Item] = &[
    Item {
        title: "The floor: one cache line bounced",
        arguments: "floor",
        thorough: "--rounds 1000000",
        quick: "--rounds 200000",
        headline: &[("mean ns", "/floor_ns"), ("p99 ns", "/floor_p99_ns")],
        plot: None,
    },
    Item {
        title: "The ceiling: 16 KiB copied",
        arguments: "copy --payload 16KiB --in-place",
        thorough: "",
        quick: "--packets 40000",
        headline: &[("bytes/s", "/copy_bytes_per_s")],
        plot: None,
    },
    Item {
        title: "Lines that change hands, without a queue",
        arguments: "lines",
        thorough: "",
        quick: "--rounds 40000",
        headline: &[
            ("write ns, 4096 lines, only read", "/stream/2/write_ns"),
            ("written back", "/stream/3/write_ns"),
            ("one way, floors, 1 line", "/hop/0/ratio_to_floor"),
            ("4096 lines", "/hop/4/ratio_to_floor"),
        ],
        plot: None,
    },
    Item {
        title: "One way, 32 B, one producer, one consumer",
        arguments: "latency",
        thorough: "",
        quick: "--rounds 200000",
        headline: ONE_WAY,
        plot: Some("latency"),
    },
    Item {
        title: "One way, 32 B, many to many",
        arguments: "latency --mode mpmc",
        thorough: "",
        quick: "--rounds 200000",
        headline: ONE_WAY,
        plot: Some("latency-mpmc"),
    },
    Item {
        title: "One way, 4 KiB, one producer, one consumer",
        arguments: "latency --payload 4KiB",
        thorough: "",
        quick: "--rounds 100000",
        headline: ONE_WAY,
        plot: None,
    },
    Item {
        title: "There and back at 100,000 packets/s, from the intended start",
        arguments: "latency --rate 100000",
        thorough: "--rounds 1000000",
        quick: "--rounds 100000",
        headline: &[
            ("mean ns", "/round_trip_ns/mean"),
            ("p99 ns", "/round_trip_ns/p99"),
            ("floors", "/ratio_to_floor"),
        ],
        plot: Some("latency-rate"),
    },
    Item {
        title: "Stream, 32 B, one producer, one consumer",
        arguments: "throughput",
        thorough: "",
        quick: "--packets 2000000",
        headline: RATE,
        plot: None,
    },
    Item {
        title: "Stream, 16 KiB, in place",
        arguments: "throughput --payload 16KiB --in-place",
        thorough: "",
        quick: "--packets 40000",
        headline: RATE,
        plot: Some("throughput-in-place"),
    },
    Item {
        title: "Stream, 32 B, many to many, one and one",
        arguments: "throughput --mode mpmc",
        thorough: "",
        quick: "--packets 1000000",
        headline: RATE,
        plot: None,
    },
    Item {
        title: "Stream, 32 B, many to many, one and one, batches of 32",
        arguments: "throughput --mode mpmc --batch 32",
        thorough: "",
        quick: "--packets 2000000",
        headline: RATE,
        plot: None,
    },
    Item {
        title: "Stream, 32 B, two producers, two consumers",
        arguments: "throughput --producers 2 --consumers 2",
        thorough: "",
        quick: "--packets 1000000",
        headline: RATE,
        plot: None,
    },
    Item {
        title: "Stream, 32 B, two producers, two consumers, batches of 32",
        arguments: "throughput --producers 2 --consumers 2 --batch 32",
        thorough: "",
        quick: "--packets 2000000",
        headline: RATE,
        plot: None,
    },
    Item {
        title: "Waking a sleeper",
        arguments: "wakeup",
        thorough: "",
        quick: "--rounds 300",
        headline: &[
            ("idle CPUs, p50 µs", "/idle/wakeup_us/p50"),
            ("futex floors", "/idle/ratio_to_floor"),
            ("CPUs kept awake, p50 µs", "/awake/wakeup_us/p50"),
            ("futex floors", "/awake/ratio_to_floor"),
        ],
        plot: Some("wakeup"),
    },
    Item {
        title: "A packet through encoding, routing, put, get, decoding",
        arguments: "packet",
        thorough: "",
        quick: "--rounds 50000",
        headline: ONE_WAY,
        plot: None,
    },
    Item {
        title: "A service called",
        arguments: "service",
        thorough: "",
        quick: "--rounds 50000",
        headline: &[("floors", "/ratio_to_floor")],
        plot: None,
    },
    Item {
        title: "A queue made, attached, used",
        arguments: "create",
        thorough: "",
        quick: "--repetitions 100",
        headline: &[
            ("create µs", "/create_us/p50"),
            ("attach µs", "/attach_us/p50"),
            ("first packet µs", "/first_packet_us/p50"),
        ],
        plot: None,
    },
    Item {
        title: "More processes than CPUs",
        arguments: "oversubscribed",
        thorough: "",
        quick: "--packets 300000",
        headline: &[
            ("2 processes, packets/s", "/cases/0/packets_per_s"),
            ("4", "/cases/1/packets_per_s"),
            ("16", "/cases/2/packets_per_s"),
        ],
        plot: None,
    },
    Item {
        title: "More of everything",
        arguments: "scale",
        thorough: "",
        quick: "--rounds 5 --operations 4000",
        headline: &[
            ("256 participants, of 1", "/participants/3/ratio_to_first"),
            ("1000 rings, of 1", "/rings/3/ratio_to_first"),
            ("1000 connections (two choices), ns", "/router_two_choices/3/ns_per_operation"),
            ("10, ns", "/router_two_choices/1/ns_per_operation"),
        ],
        plot: None,
    },
];

/// One run's outcome.
#[derive(Debug, Serialize)]
struct Run {
    title: &'static str,
    command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plot: Option<String>,
    /// The verb's own JSON, its fields in their order.
    result: Box<RawValue>,
}

/// Everything.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    verb: &'static str,
    version: &'static str,
    quick: bool,
    cpu: String,
    kernel: String,
    runs: Vec<Run>,
    left_out: Vec<&'static str>,
}

/// Runs everything, and writes `report.md`, `report.json` and drawings into a directory.
///
/// # Errors
/// When the directory cannot be written, or a run fails.
pub(crate) fn write(
    directory: &Path,
    quick: bool,
    cpus: Option<&[usize]>,
    verbs: &[String],
) -> Result<Summary> {
    peers::supervise()?;
    fs::create_dir_all(directory).doing(format!("making {}", directory.display()))?;
    let progress = Progress::start(ITEMS.len() as u64);
    let (mut runs, mut left_out) = (Vec::new(), Vec::new());
    for item in ITEMS {
        let verb = item.arguments.split(' ').next().unwrap_or_default();
        if verbs.iter().any(|known| known == verb) {
            progress.stage(verb_of(item));
            runs.push(run(directory, quick, cpus, item)?);
        } else {
            left_out.push(verb_of(item));
        }
        progress.advance(1);
    }
    drop(progress);
    let (cpu, kernel) = machine();
    let version = env!("CARGO_PKG_VERSION");
    let summary = Summary { verb: "report", version, quick, cpu, kernel, runs, left_out };
    let json = serde_json::to_string_pretty(&summary).map_err(unreadable)?;
    save(&directory.join("report.json"), &json)?;
    save(&directory.join("report.md"), &markdown(&summary)?)?;
    Ok(summary)
}

fn verb_of(item: &Item) -> &'static str {
    item.arguments.split(' ').next().unwrap_or_default()
}

fn save(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).doing(format!("writing {}", file.display()))
}

fn unreadable(error: serde_json::Error) -> BenchError {
    BenchError::Os { doing: "reading a run's result".into(), source: error.into() }
}

fn run(directory: &Path, quick: bool, cpus: Option<&[usize]>, item: &Item) -> Result<Run> {
    let extra = if quick { item.quick } else { item.thorough };
    let mut arguments: Vec<String> =
        item.arguments.split(' ').chain(extra.split_whitespace()).map(Into::into).collect();
    if let Some(cpus) = cpus {
        let cpus: Vec<String> = cpus.iter().map(ToString::to_string).collect();
        arguments.extend(["--cpus".into(), cpus.join(",")]);
    }
    let command_line = format!("ringway-bench {}", arguments.join(" "));
    let plot = item.plot.map(|name| format!("{name}.svg"));
    let mut command = Command::new("/proc/self/exe");
    command.args(&arguments).arg("--json");
    if let Some(plot) = &plot {
        command.arg("--plot").arg(directory.join(plot));
    }
    command.env(STARTER_VARIABLE, std::process::id().to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut json = String::new();
    if let Some(mut stdout) = peers::spawn_starter(&mut command)? {
        stdout.read_to_string(&mut json).doing("reading a run's result")?;
    }
    peers::wait_for_peers()?;
    let result = RawValue::from_string(json.trim().to_owned()).map_err(unreadable)?;
    Ok(Run { title: item.title, command: command_line, plot, result })
}

/// The CPU's name and the kernel's.
fn machine() -> (String, String) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cpus = info.lines().filter(|line| line.starts_with("processor")).count();
    let cpu = format!("{} × {}", cpus, name.map_or("unknown CPU", |(_, name)| name.trim()));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    (cpu, kernel.trim().to_owned())
}

fn markdown(summary: &Summary) -> Result<String> {
    let mut text = String::new();
    render(&mut text, summary).map_err(|error| match error {
        RenderError::Json(error) => unreadable(error),
        RenderError::Text => BenchError::Os {
            doing: "writing the report".into(),
            source: std::io::Error::other("no memory"),
        },
    })?;
    Ok(text)
}

enum RenderError {
    Json(serde_json::Error),
    Text,
}

impl From<serde_json::Error> for RenderError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(error)
    }
}

impl From<std::fmt::Error> for RenderError {
    fn from(_: std::fmt::Error) -> Self {
        Self::Text
    }
}

fn render(text: &mut String, summary: &Summary) -> std::result::Result<(), RenderError> {
    writeln!(text, "# Ringway {} on {}", summary.version, summary.cpu)?;
    let how =
        if summary.quick { "`report --quick`: short runs, for a first look" } else { "`report`" };
    writeln!(
        text,
        "\nLinux {}, {how}. Every run is next to its own floor, one cache line bounced between the \
         same CPUs in the same run: only ratios within one run count. `benches/README.md` defines \
         every workload and every field.\n",
        summary.kernel
    )?;
    writeln!(text, "| | |\n|---|---|")?;
    for run in &summary.runs {
        let result: Value = serde_json::from_str(run.result.get())?;
        let headline = ITEMS.iter().find(|item| item.title == run.title).map(|item| item.headline);
        let numbers: Vec<String> = headline
            .unwrap_or_default()
            .iter()
            .filter_map(|(name, at)| Some(format!("{name} **{}**", number(result.pointer(at)?))))
            .collect();
        let noisy = result.get("noisy").and_then(Value::as_bool) == Some(true);
        let noisy = if noisy { " (noisy: do not quote)" } else { "" };
        writeln!(text, "| {} | {}{noisy} |", run.title, numbers.join(", "))?;
    }
    for verb in &summary.left_out {
        writeln!(text, "\nThis build has no verb `{verb}`: left out.")?;
    }
    for run in &summary.runs {
        writeln!(text, "\n## {}\n\n`{}`\n", run.title, run.command)?;
        if let Some(plot) = &run.plot {
            writeln!(text, "![{}]({plot})\n", run.title)?;
        }
        let table = table(run.result.get())?.to_string();
        let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
        writeln!(text, "```text\n{}\n```", lines.join("\n"))?;
    }
    Ok(())
}

/// A number as people read it: `12.3 M`.
fn number(value: &Value) -> String {
    match value.as_f64() {
        Some(n) if n >= 1e9 => format!("{:.1} G", n / 1e9),
        Some(n) if n >= 1e6 => format!("{:.1} M", n / 1e6),
        Some(n) => n.to_string(),
        None => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{ITEMS, Run, Summary, markdown, number};
    use serde_json::value::RawValue;

    #[test]
    fn report_says_what_was_run_and_what_was_left_out() {
        let result = r#"{"verb":"floor","floor_ns":123.5,"floor_p99_ns":200.0,"noisy":true}"#;
        let summary = Summary {
            verb: "report",
            version: "1",
            quick: true,
            cpu: "2 × CPU".into(),
            kernel: "6".into(),
            runs: vec![Run {
                title: ITEMS[0].title,
                command: "ringway-bench floor".into(),
                plot: Some("floor.svg".into()),
                result: RawValue::from_string(result.into()).unwrap(),
            }],
            left_out: vec!["service"],
        };
        let text = markdown(&summary).unwrap();
        for part in ["mean ns **123.5**", "noisy", "![", "floor.svg", "no verb `service`"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(&serde_json::json!(12_345_678.0)), "12.3 M");
        assert_eq!(number(&serde_json::json!(0.25)), "0.25");
    }
}
