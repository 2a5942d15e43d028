//! More processes than CPUs: what a stream keeps of its speed when everybody has to share.

use serde::Serialize;

use crate::error::Result;
use crate::report::{Floor, Setting, fine_ratio};
use crate::streams::{self, StreamsPlan};

/// Result of `oversubscribed`.
#[derive(Debug, Serialize)]
pub(crate) struct OversubscribedReport {
    verb: &'static str,
    payload_bytes: usize,
    capacity: usize,
    packets: u64,
    batch: usize,
    cases: Vec<Case>,
    ratio_to_floor: f64,
    #[serde(flatten)]
    floor: Option<Floor>,
    #[serde(flatten)]
    setting: Option<Setting>,
}

/// One number of processes.
#[derive(Debug, Serialize)]
struct Case {
    processes: usize,
    producers: usize,
    consumers: usize,
    packets_per_s: f64,
    ratio_to_floor: f64,
    ratio_to_first: f64,
}

/// Measures each number of processes in turn, half of them producers, on the same CPUs.
///
/// # Errors
/// As [`streams::measure`].
pub(crate) fn measure(
    cpus: &[usize],
    plan: &StreamsPlan,
    processes: &[usize],
) -> Result<OversubscribedReport> {
    let mut reports = Vec::new();
    for processes in processes {
        let producers = processes / 2;
        let name = format!("{}-{processes}", plan.name);
        let plan =
            StreamsPlan { producers, consumers: processes - producers, name, ..plan.clone() };
        reports.push((*processes, producers, streams::measure(cpus, &plan)?));
    }
    let first = reports.first().map_or(0.0, |(_, _, report)| report.packets_per_s);
    let cases: Vec<_> = reports
        .iter()
        .map(|(processes, producers, report)| Case {
            processes: *processes,
            producers: *producers,
            consumers: processes - producers,
            packets_per_s: report.packets_per_s,
            ratio_to_floor: report.ratio_to_floor,
            ratio_to_first: fine_ratio(report.packets_per_s, first),
        })
        .collect();
    let floors: Vec<Floor> = reports.iter().map(|(_, _, report)| report.floor).collect();
    let setting = reports.into_iter().next().map(|(_, _, report)| report.setting);
    Ok(OversubscribedReport {
        verb: "oversubscribed",
        payload_bytes: plan.link.payload,
        capacity: plan.link.size.capacity_packets,
        packets: plan.packets,
        batch: plan.link.batch,
        ratio_to_floor: cases.last().map_or(0.0, |case| case.ratio_to_floor),
        cases,
        floor: Floor::around(&floors),
        setting,
    })
}
