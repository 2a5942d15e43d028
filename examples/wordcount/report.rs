//! What people see: the result, the progress while it comes, and the numbers of the rings.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ringway::queue::QueueStats;
use ringway::runtime::{JobHandle, JobReport, RingReport};
use serde::Serialize;

use crate::words::Counted;

/// How often the progress bar is looked at.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// Prints the result to standard output, as lines or as one JSON object.
pub(crate) fn print(
    counted: &Counted,
    json: bool,
    processes: &[u32],
    elapsed: Duration,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Object<'a> {
        #[serde(flatten)]
        counted: &'a Counted,
        processes: &'a [u32],
        elapsed_s: f64,
    }
    let mut out = io::BufWriter::new(io::stdout().lock());
    if json {
        let elapsed_s = elapsed.as_secs_f64();
        serde_json::to_writer(&mut out, &Object { counted, processes, elapsed_s })?;
        writeln!(out)?;
    } else {
        for (word, count) in &counted.top {
            writeln!(out, "{count} {word}")?;
        }
    }
    out.flush()
}

/// Writes the summary to standard error. Nobody may be there to read it: that is no failure.
pub(crate) fn summarize(job: &JobReport, counted: &Counted, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    let Counted { words, distinct, .. } = counted;
    let mut text = format!(
        "{words} words, {distinct} distinct, in {seconds:.3} s by {} processes\n\
         {:<22} {:>12} {:>12} {:>10} {:>10}\n",
        job.pids.len(),
        "edge",
        "packets",
        "packets/s",
        "put waits",
        "get waits"
    );
    let mut edges: BTreeMap<String, Vec<&RingReport>> = BTreeMap::new();
    for ring in &job.rings {
        let to = ring.to.split('#').next().unwrap_or_default();
        edges.entry(format!("{} -> {to}", ring.from)).or_default().push(ring);
    }
    for (edge, rings) in edges {
        let sum = |what: fn(&QueueStats) -> u64| rings.iter().map(|r| what(&r.stats)).sum::<u64>();
        let packets = sum(|stats| stats.puts);
        text += &format!(
            "{edge:<22} {packets:>12} {:>12.0} {:>10} {:>10}\n",
            packets as f64 / seconds,
            sum(|stats| stats.full_waits),
            sum(|stats| stats.empty_waits)
        );
    }
    text += &format!("{:<22} {:>12} {:>12}\n", "ring", "peak", "of entries");
    for RingReport { name, stats, entries, .. } in &job.rings {
        text += &format!("{name:<22} {:>12} {entries:>12}\n", stats.high_water);
    }
    let _ = io::stderr().write_all(text.as_bytes());
}

/// A progress bar, where standard error is a terminal; gone when dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    total: u64,
}

impl Progress {
    /// Shows how many of `total` bytes were sent on. A `total` of 0 is unknown.
    pub(crate) fn start(total: u64) -> Self {
        let (bar, style) = match (io::stderr().is_terminal(), total) {
            (false, _) => (ProgressBar::hidden(), "{msg}"),
            (true, 0) => (ProgressBar::new_spinner(), "{spinner} {bytes} read, {msg}"),
            (true, _) => {
                (ProgressBar::new(total), "[{bar:30}] {bytes} of {total_bytes}, {msg}, {eta} left")
            }
        };
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, total }
    }

    /// Looks at the rings of a running job.
    pub(crate) fn show(&self, job: &JobHandle) {
        let rings = job.rings();
        let sum = |from: &str, what: fn(&QueueStats) -> u64| {
            let rings = rings.iter().filter(|ring| ring.from == from);
            rings.map(|ring| what(&ring.stats)).sum::<u64>()
        };
        let read = sum("reader", |stats| stats.bytes_put);
        self.bar.set_position(if self.total == 0 { read } else { read.min(self.total) });
        self.bar.set_message(format!("{} words", sum("splitter", |stats| stats.puts)));
        self.bar.tick();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
