//! What comes out: one struct a verb, as JSON or as a table. `benches/README.md` describes the fields.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::clock::Clock;
use crate::cpus::CpuPair;
use crate::create::CreatePlan;
use crate::floor;
use crate::latency::LatencyPlan;
use crate::lines::{LineTimes, LinesPlan};
use crate::stats::{Samples, Spread, Times, round};
use crate::table::table;
use crate::throughput::ThroughputPlan;
use crate::transport::{Mode, Transport};

/// A run is noisy when its two floors, or the floor's mean and median, are further apart than this.
const NOISE: f64 = 1.25;

/// The floor, measured before and after: the raw cache line.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Floor {
    /// Mean of the means before and after.
    pub(crate) floor_ns: f64,
    /// Median of both together.
    pub(crate) floor_p50_ns: f64,
    floor_p99_ns: f64,
    floor_before_ns: f64,
    floor_after_ns: f64,
    /// How much of its core each of the two CPUs had: the mean of before and after.
    adds_per_cycle: [f64; 2],
    noisy: bool,
}

impl Floor {
    /// Sums up both measurements.
    pub(crate) fn new(clock: Clock, before: floor::Measured, after: floor::Measured) -> Self {
        let adds_per_cycle = [0, 1]
            .map(|cpu| round(f64::midpoint(before.adds_per_cycle[cpu], after.adds_per_cycle[cpu])));
        let mean = |measured: &floor::Measured| measured.samples.one_way(clock).mean;
        let (mean_before, mean_after) = (mean(&before), mean(&after));
        let both = before.merge(after).one_way(clock);
        let floor_ns = round(f64::midpoint(mean_before, mean_after));
        let apart = mean_before.max(mean_after) > NOISE * mean_before.min(mean_after);
        Self {
            noisy: apart || floor_ns > NOISE * both.p50,
            floor_ns,
            floor_p50_ns: both.p50,
            floor_p99_ns: both.p99,
            floor_before_ns: mean_before,
            floor_after_ns: mean_after,
            adds_per_cycle,
        }
    }

    /// The floor of several measurements, one after the other. Noisy if any was.
    pub(crate) fn around(floors: &[Self]) -> Option<Self> {
        let (first, last) = (floors.first()?, floors.last()?);
        let mean = |of: &dyn Fn(&Self) -> f64| {
            round(floors.iter().map(of).sum::<f64>() / floors.len() as f64)
        };
        Some(Self {
            floor_ns: mean(&|floor| floor.floor_ns),
            floor_p50_ns: mean(&|floor| floor.floor_p50_ns),
            floor_p99_ns: mean(&|floor| floor.floor_p99_ns),
            floor_before_ns: first.floor_before_ns,
            floor_after_ns: last.floor_after_ns,
            adds_per_cycle: [0, 1].map(|cpu| mean(&|floor| floor.adds_per_cycle[cpu])),
            noisy: floors.iter().any(|floor| floor.noisy),
        })
    }
}

/// What was measured with what.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Setting {
    cpus: Vec<usize>,
    clock: &'static str,
    clock_overhead_ns: f64,
}

impl Setting {
    /// Notes both CPUs.
    pub(crate) fn new(cpus: CpuPair, clock: Clock) -> Self {
        Self::of(&[cpus.here, cpus.there], clock)
    }

    /// Names the CPUs and the clock.
    pub(crate) fn of(cpus: &[usize], clock: Clock) -> Self {
        let clock_overhead_ns = round(clock.overhead_ns());
        Self { cpus: cpus.to_vec(), clock: clock.name(), clock_overhead_ns }
    }
}

/// Result of `latency`.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyReport {
    verb: &'static str,
    transport: Transport,
    mode: Mode,
    in_place: bool,
    payload_bytes: usize,
    capacity: usize,
    rounds: u64,
    #[serde(flatten)]
    floor: Floor,
    one_way_ns: Times,
    ratio_to_floor: f64,
    ratio_p50_to_floor_p50: f64,
    #[serde(flatten)]
    setting: Setting,
}

impl LatencyReport {
    /// Sums a measurement up.
    pub(crate) fn new(
        plan: &LatencyPlan,
        cpus: CpuPair,
        clock: Clock,
        samples: &Samples,
        floor: Floor,
    ) -> Self {
        let one_way_ns = samples.one_way(clock);
        Self {
            verb: "latency",
            transport: plan.link.transport,
            mode: plan.link.mode,
            in_place: plan.link.in_place,
            payload_bytes: plan.link.payload,
            capacity: plan.link.size.capacity_packets,
            rounds: plan.rounds,
            floor,
            one_way_ns,
            ratio_to_floor: ratio(one_way_ns.mean, floor.floor_ns),
            ratio_p50_to_floor_p50: ratio(one_way_ns.p50, floor.floor_p50_ns),
            setting: Setting::new(cpus, clock),
        }
    }
}

/// Result of `floor`.
#[derive(Debug, Serialize)]
pub(crate) struct FloorReport {
    verb: &'static str,
    rounds: u64,
    #[serde(flatten)]
    floor: Floor,
    one_way_ns: Times,
    #[serde(flatten)]
    setting: Setting,
}

impl FloorReport {
    /// Sums up two halves of a measurement.
    pub(crate) fn new(
        rounds: u64,
        cpus: CpuPair,
        clock: Clock,
        before: floor::Measured,
        after: floor::Measured,
    ) -> Self {
        let floor = Floor::new(clock, before.clone(), after.clone());
        let one_way_ns = before.merge(after).one_way(clock);
        Self { verb: "floor", rounds, floor, one_way_ns, setting: Setting::new(cpus, clock) }
    }
}

/// Packets and bytes per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rate {
    /// Packets a second.
    pub(crate) packets_per_s: f64,
    /// Bytes of payload a second.
    pub(crate) bytes_per_s: f64,
}

impl Rate {
    /// So many packets in so long.
    pub(crate) fn new(packets: u64, payload_bytes: usize, ns: u64) -> Self {
        let packets_per_s = packets as f64 * 1e9 / ns.max(1) as f64;
        Self {
            packets_per_s: packets_per_s.round(),
            bytes_per_s: (packets_per_s * payload_bytes as f64).round(),
        }
    }

    /// Time of one packet.
    pub(crate) fn ns_per_packet(self) -> f64 {
        1e9 / self.packets_per_s
    }
}

/// The rates of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    /// Of the transport; none when the ceiling alone was measured.
    pub(crate) link: Option<Rate>,
    /// Of the copy, before and after.
    pub(crate) ceiling: [Rate; 2],
    /// Chunks that the copy hands over at a time.
    pub(crate) ceiling_step: usize,
}

/// Result of `throughput` and of `copy`.
#[derive(Debug, Serialize)]
pub(crate) struct ThroughputReport {
    verb: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<Transport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mode: Option<Mode>,
    in_place: bool,
    payload_bytes: usize,
    capacity: usize,
    data_bytes: usize,
    packets: u64,
    batch: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_s: Option<f64>,
    copy_packets_per_s: f64,
    copy_bytes_per_s: f64,
    copy_step: usize,
    copy_before_bytes_per_s: f64,
    copy_after_bytes_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_copy: Option<f64>,
    ratio_to_floor: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sweep: Vec<Swept>,
    #[serde(flatten)]
    floor: Floor,
    #[serde(flatten)]
    setting: Setting,
}

impl ThroughputReport {
    /// Sums a measurement up; without a rate of a transport it is the ceiling's own.
    pub(crate) fn new(
        plan: &ThroughputPlan,
        cpus: CpuPair,
        clock: Clock,
        rates: Rates,
        floor_before: floor::Measured,
        floor_after: floor::Measured,
    ) -> Self {
        let Rates { link, ceiling: [before, after], ceiling_step: copy_step } = rates;
        let copy_packets_per_s = f64::midpoint(before.packets_per_s, after.packets_per_s).round();
        let copy_bytes_per_s = f64::midpoint(before.bytes_per_s, after.bytes_per_s).round();
        let floor = Floor::new(clock, floor_before, floor_after);
        let packets_per_s = link.map_or(copy_packets_per_s, |rate| rate.packets_per_s);
        Self {
            verb: if link.is_some() { "throughput" } else { "copy" },
            transport: link.map(|_| plan.link.transport),
            mode: link.map(|_| plan.link.mode),
            in_place: plan.link.in_place,
            payload_bytes: plan.link.payload,
            capacity: plan.link.size.capacity_packets,
            data_bytes: plan.link.size.data_bytes,
            packets: if link.is_some() { plan.packets } else { 2 * plan.ceiling_packets },
            batch: plan.link.batch,
            packets_per_s: link.map(|rate| rate.packets_per_s),
            bytes_per_s: link.map(|rate| rate.bytes_per_s),
            copy_packets_per_s,
            copy_bytes_per_s,
            copy_step,
            copy_before_bytes_per_s: before.bytes_per_s,
            copy_after_bytes_per_s: after.bytes_per_s,
            ratio_to_copy: link.map(|rate| ratio(rate.packets_per_s, copy_packets_per_s)),
            ratio_to_floor: fine_ratio(1e9 / packets_per_s, floor.floor_ns),
            sweep: Vec::new(),
            floor,
            setting: Setting::new(cpus, clock),
        }
    }

    /// What a sweep over sizes keeps of this.
    pub(crate) fn swept(&self) -> Swept {
        Swept {
            payload_bytes: self.payload_bytes,
            bytes_per_s: self.bytes_per_s,
            copy_bytes_per_s: self.copy_bytes_per_s,
        }
    }

    /// Adds a sweep over sizes.
    pub(crate) fn with_sweep(mut self, sweep: Vec<Swept>) -> Self {
        self.sweep = sweep;
        self
    }
}

/// One size of a sweep.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Swept {
    /// Bytes of each payload.
    pub(crate) payload_bytes: usize,
    /// Bytes of payload a second; none when the ceiling alone was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes_per_s: Option<f64>,
    /// The same of the copy.
    pub(crate) copy_bytes_per_s: f64,
}

/// Result of `create`.
#[derive(Debug, Serialize)]
pub(crate) struct CreateReport {
    verb: &'static str,
    repetitions: u64,
    create_us: Spread,
    attach_us: Spread,
    first_packet_us: Spread,
    cpus: [usize; 2],
}

impl CreateReport {
    /// Sums up times in nanoseconds.
    pub(crate) fn new(
        plan: &CreatePlan,
        cpus: CpuPair,
        create: Vec<u64>,
        attach: Vec<u64>,
        first_packet: Vec<u64>,
    ) -> Self {
        Self {
            verb: "create",
            repetitions: plan.repetitions,
            create_us: Spread::of_ns(create),
            attach_us: Spread::of_ns(attach),
            first_packet_us: Spread::of_ns(first_packet),
            cpus: [cpus.here, cpus.there],
        }
    }
}

/// Result of `lines`.
#[derive(Debug, Serialize)]
pub(crate) struct LinesReport {
    verb: &'static str,
    rounds: u64,
    stream: Vec<StreamedLines>,
    hop: Vec<HoppedLines>,
    #[serde(flatten)]
    floor: Floor,
    #[serde(flatten)]
    setting: Setting,
}

/// One line of a stream, on average.
#[derive(Debug, Serialize)]
struct StreamedLines {
    lines: usize,
    written_back: bool,
    write_ns: f64,
    read_ns: f64,
}

/// One way over lines in turn.
#[derive(Debug, Serialize)]
struct HoppedLines {
    lines: usize,
    one_way_ns: f64,
    ratio_to_floor: f64,
}

impl LinesReport {
    /// Sums a measurement up.
    pub(crate) fn new(
        plan: LinesPlan,
        cpus: CpuPair,
        clock: Clock,
        lines: &LineTimes,
        floor_before: floor::Measured,
        floor_after: floor::Measured,
    ) -> Self {
        let floor = Floor::new(clock, floor_before, floor_after);
        let stream = lines.stream.iter().map(|part| StreamedLines {
            lines: part.lines,
            written_back: part.written_back,
            write_ns: round(part.write_ns),
            read_ns: round(part.read_ns),
        });
        let hop = lines.hop.iter().map(|&(lines, one_way_ns)| HoppedLines {
            lines,
            one_way_ns: round(one_way_ns),
            ratio_to_floor: ratio(one_way_ns, floor.floor_ns),
        });
        Self {
            verb: "lines",
            rounds: plan.rounds,
            stream: stream.collect(),
            hop: hop.collect(),
            floor,
            setting: Setting::new(cpus, clock),
        }
    }
}

/// A ratio to hundredths.
pub(crate) fn ratio(value: f64, to: f64) -> f64 {
    if to > 0.0 { round(value / to) } else { 0.0 }
}

/// A ratio that is far below 1, to ten-thousandths.
pub(crate) fn fine_ratio(value: f64, to: f64) -> f64 {
    if to > 0.0 { (10_000.0 * value / to).round() / 10_000.0 } else { 0.0 }
}

/// Prints a report: JSON on one line, or a table of its fields.
pub(crate) fn print(report: &impl Serialize, json: bool) {
    // A reader that has closed the pipe has seen enough.
    let _ = write(&mut std::io::stdout().lock(), report, json);
}

fn write(
    out: &mut impl std::io::Write,
    report: &impl Serialize,
    json: bool,
) -> std::io::Result<()> {
    let text = serde_json::to_string(report)?;
    if json { writeln!(out, "{text}") } else { writeln!(out, "{}", table(&text)?) }
}

/// How far a measurement has come, on a terminal's standard error and nowhere else.
///
/// It draws between measurements only, from the measuring thread: nothing ticks meanwhile.
#[derive(Debug)]
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// Shows a bar of so many steps; nothing where standard error is no terminal.
    pub(crate) fn start(steps: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg:8} {wide_bar} {pos}/{len}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self(bar)
    }

    /// Says what is being done.
    pub(crate) fn stage(&self, name: &'static str) {
        self.0.set_message(name);
        self.0.tick();
    }

    /// Counts steps.
    pub(crate) fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
