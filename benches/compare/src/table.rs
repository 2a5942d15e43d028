//! What comes out: a table for each workload, or all as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cpus::CpuPair;
use crate::rivals::Rival;
use crate::work::{Measured, Work};

/// The results of one workload.
#[derive(Debug)]
pub(crate) struct Table {
    /// The workload.
    pub(crate) work: Work,
    results: BTreeMap<Rival, Vec<Measured>>,
    left_out: BTreeMap<Rival, &'static str>,
}

/// Median, least and most.
#[derive(Clone, Copy, Debug)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_unstable_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or_default();
        Self { median: at(values.len() / 2), min: at(0), max: at(values.len().saturating_sub(1)) }
    }
}

impl Table {
    /// An empty table.
    pub(crate) fn new(work: &Work) -> Self {
        Self { work: *work, results: BTreeMap::new(), left_out: BTreeMap::new() }
    }

    /// Adds a round's result.
    pub(crate) fn add(&mut self, rival: Rival, measured: Measured) {
        self.results.entry(rival).or_default().push(measured);
    }

    /// Says, once and loudly, that a rival is left out.
    pub(crate) fn leave_out(&mut self, rival: Rival, why: &'static str) {
        if self.left_out.insert(rival, why).is_none() {
            eprintln!("ringway-compare: LEFT OUT of {:?}: {}: {why}", self.title(), rival.name());
        }
    }

    /// What is measured, and in what unit.
    pub(crate) fn title(&self) -> String {
        let payload = self.work.payload();
        match self.work {
            Work::Latency { .. } => format!("One way, {payload} B, ns (mean)"),
            Work::Stream { batch: 1, .. } if payload < 1024 => {
                format!("Stream, {payload} B, M packets/s")
            }
            Work::Stream { batch, .. } if payload < 1024 => {
                format!("Stream, {payload} B, {batch} at a time, M packets/s")
            }
            Work::Many { ends, batch, .. } => format!(
                "{ends} producers and {ends} consumers, {payload} B, {batch} at a time, M packets/s"
            ),
            Work::Stream { .. } => format!("Stream, {} KiB, GB/s", payload >> 10),
            Work::Wakeup { awake: false, .. } => "Waking a sleeper, idle CPUs, µs (median)".into(),
            Work::Wakeup { awake: true, .. } => {
                "Waking a sleeper, CPUs kept awake, µs (median)".into()
            }
        }
    }

    fn scale(&self) -> f64 {
        match self.work {
            Work::Many { .. } => 1e-6,
            Work::Stream { payload, .. } if payload < 1024 => 1e-6,
            Work::Stream { payload, .. } => payload as f64 * 1e-9,
            _ => 1.0,
        }
    }

    /// Ratio of a run to its floor: in floors one way; for streams, floors per packet.
    fn to_floor(&self, measured: &Measured) -> f64 {
        match self.work {
            Work::Latency { .. } => measured.value / measured.floor.ns,
            Work::Stream { .. } | Work::Many { .. } => 1e9 / measured.value / measured.floor.ns,
            Work::Wakeup { .. } => measured.value / self.futex(),
        }
    }

    /// The bare futex's median.
    fn futex(&self) -> f64 {
        let futex = self.results.get(&Rival::Futex).into_iter().flatten();
        Spread::of(futex.map(|measured| measured.value)).median
    }

    fn print(&self) {
        println!(
            "\n### {}\n\n| | median | min–max | ÷ floor | p99 |\n|---|---|---|---|---|",
            self.title()
        );
        for (rival, results) in &self.results {
            let spread = Spread::of(results.iter().map(|one| one.value * self.scale()));
            let floors = Spread::of(results.iter().map(|one| self.to_floor(one)));
            let p99 = results.iter().map(|one| one.p99).collect::<Option<Vec<f64>>>();
            let p99 = p99.map_or(String::new(), |p99| short(Spread::of(p99.into_iter()).median));
            let Spread { median, min, max } = spread;
            println!(
                "| {} | {} | {}–{} | {} | {p99} |",
                rival.name(),
                short(median),
                short(min),
                short(max),
                short(floors.median)
            );
        }
        if !self.left_out.is_empty() {
            println!();
        }
        for (rival, why) in &self.left_out {
            println!("- Left out: {}: {why}", rival.name());
        }
    }

    fn json(&self) -> Value {
        let results: Vec<Value> = self
            .results
            .iter()
            .map(|(rival, results)| {
                let spread = Spread::of(results.iter().map(|one| one.value));
                let floors = Spread::of(results.iter().map(|one| self.to_floor(one)));
                let floor = Spread::of(results.iter().map(|one| one.floor.ns));
                let adds = Spread::of(results.iter().map(|one| one.floor.adds_per_cycle));
                let p99 = results.iter().map(|one| one.p99).collect::<Option<Vec<f64>>>();
                let p99 = p99.map(|p99| Spread::of(p99.into_iter()).median);
                json!({
                    "rival": plain(*rival), "p99": p99, "median": spread.median, "min": spread.min,
                    "max": spread.max, "floor_ns": floor.median, "ratio_to_floor": floors.median,
                    "adds_per_cycle": adds.median, "rounds": results.len(),
                })
            })
            .collect();
        let unit = match self.work {
            Work::Latency { .. } => "ns",
            Work::Stream { .. } | Work::Many { .. } => "packets/s",
            Work::Wakeup { .. } => "us",
        };
        let left_out: Vec<Value> = self
            .left_out
            .iter()
            .map(|(rival, why)| json!({"rival": plain(*rival), "reason": why}))
            .collect();
        let ends = if let Work::Many { ends, .. } = self.work { ends } else { 1 };
        let awake = matches!(self.work, Work::Wakeup { awake: true, .. });
        json!({
            "title": self.title(), "batch": self.work.batch(), "producers": ends, "consumers": ends, "cpus_awake": awake,
            "workload": self.work.kind(), "payload_bytes": self.work.payload(), "unit": unit,
            "results": results, "left_out": left_out,
        })
    }
}

/// A rival's name, without Markdown.
fn plain(rival: Rival) -> String {
    rival.name().replace("**", "")
}

/// The CPU's name, as the kernel has it.
fn machine() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    name.map_or_else(|| "unknown CPU".into(), |(_, name)| name.to_owned())
}

fn kernel() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.trim().to_owned()
}

/// Three digits that matter.
fn short(value: f64) -> String {
    match value {
        // No floor was measured: `--rivals` left it out.
        v if !v.is_finite() => String::new(),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 => format!("{v:.2}"),
        v => format!("{v:.3}"),
    }
}

/// Prints everything.
pub(crate) fn print(tables: &[Table], cpus: CpuPair, rounds: u64, effort: u64, json: bool) {
    let (here, there) = (cpus.here, cpus.there);
    if json {
        let tables: Vec<Value> = tables.iter().map(Table::json).collect();
        println!(
            "{}",
            json!({
                "cpu": machine(), "kernel": kernel(), "cpus": [here, there], "rounds": rounds,
                "effort_percent": effort,
                "workloads": tables,
            })
        );
        return;
    }
    let floors = || tables.iter().flat_map(|table| table.results.values().flatten());
    let said = |of: fn(&Measured) -> f64| {
        let Spread { median, min, max } = Spread::of(floors().map(of));
        format!("{} ({}–{})", short(median), short(min), short(max))
    };
    println!(
        "{}, Linux {}; CPUs {here} and {there}, {rounds} rounds, effort {effort} %; floor {} ns; additions a cycle {}",
        machine(),
        kernel(),
        said(|one| one.floor.ns),
        said(|one| one.floor.adds_per_cycle),
    );
    tables.iter().for_each(Table::print);
}
