//! What people see: the result, the progress while it comes, and the numbers of the rings.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use ringway::Queue;
use ringway::error::OpenError;
use ringway::queue::QueueStats;
use serde::Serialize;

use crate::plan::Plan;
use crate::words::Counted;

/// How often the progress bar is looked at.
const TICK: Duration = Duration::from_millis(100);

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

/// The rings of a job, opened to look at their counters; no role is taken.
pub(crate) struct Rings {
    edges: Vec<(String, Vec<(String, Queue)>)>,
}

impl Rings {
    /// Opens the rings of all edges.
    pub(crate) fn open(plan: &Plan) -> Result<Self, OpenError> {
        let mut edges = Vec::new();
        for edge in plan.edges()? {
            let mut rings = Vec::new();
            for descriptor in &edge.rings {
                let ring = descriptor.shm_address().map_or("", |address| address.ring());
                rings.push((ring.to_owned(), descriptor.queue()?));
            }
            edges.push((edge.name, rings));
        }
        Ok(Self { edges })
    }

    /// Reads all counters.
    pub(crate) fn numbers(&self) -> Numbers {
        let edges = self.edges.iter().map(|(edge, rings)| {
            let rings = rings.iter().map(|(ring, queue)| {
                let entries = queue.ring().map_or(0, |ring| ring.raw().geometry().entries());
                RingNumbers { ring: ring.clone(), stats: queue.stats(), entries }
            });
            (edge.clone(), rings.collect())
        });
        Numbers { edges: edges.collect() }
    }
}

/// The counters of all rings at the end: of each edge its rings, with their number of entries.
pub(crate) struct Numbers {
    edges: Vec<(String, Vec<RingNumbers>)>,
}

/// The counters of one ring.
struct RingNumbers {
    ring: String,
    stats: QueueStats,
    entries: u64,
}

impl Numbers {
    /// Writes the summary to standard error. Nobody may be there to read it: that is no failure.
    pub(crate) fn print(&self, counted: &Counted, processes: usize, elapsed: Duration) {
        let _ = io::stderr().write_all(self.text(counted, processes, elapsed).as_bytes());
    }

    fn text(&self, counted: &Counted, processes: usize, elapsed: Duration) -> String {
        let seconds = elapsed.as_secs_f64();
        let Counted { words, distinct, .. } = counted;
        let mut text = format!(
            "{words} words, {distinct} distinct, in {seconds:.3} s by {processes} processes\n\
             {:<22} {:>12} {:>12} {:>10} {:>10}\n",
            "edge", "packets", "packets/s", "put waits", "get waits"
        );
        for (edge, rings) in &self.edges {
            let sum =
                |what: fn(&QueueStats) -> u64| rings.iter().map(|r| what(&r.stats)).sum::<u64>();
            let packets = sum(|stats| stats.puts);
            text += &format!(
                "{edge:<22} {packets:>12} {:>12.0} {:>10} {:>10}\n",
                packets as f64 / seconds,
                sum(|stats| stats.full_waits),
                sum(|stats| stats.empty_waits)
            );
        }
        text += &format!("{:<22} {:>12} {:>12}\n", "ring", "peak", "of entries");
        for RingNumbers { ring, stats, entries } in self.edges.iter().flat_map(|(_, rings)| rings) {
            text += &format!("{ring:<22} {:>12} {entries:>12}\n", stats.high_water);
        }
        text
    }
}

/// A progress bar on a thread of its own; gone when dropped.
pub(crate) struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Shows how many of `total` bytes were sent on, where standard error is a terminal. A `total`
    /// of 0 is unknown.
    pub(crate) fn start(plan: &Plan, total: u64) -> Result<Self, OpenError> {
        if !io::stderr().is_terminal() {
            return Ok(Self { stop: None, thread: None });
        }
        let rings = Rings::open(plan)?;
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            let bar = if total == 0 { ProgressBar::new_spinner() } else { ProgressBar::new(total) };
            let style = if total == 0 {
                "{spinner} {bytes} read, {msg}"
            } else {
                "[{bar:30}] {bytes} of {total_bytes}, {msg}, {eta} left"
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style.progress_chars("=> "));
            }
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let numbers = rings.numbers();
                let sum = |edge: usize, what: fn(&QueueStats) -> u64| {
                    let rings = numbers.edges.get(edge).map_or(&[][..], |(_, rings)| rings);
                    rings.iter().map(|ring| what(&ring.stats)).sum::<u64>()
                };
                let read = sum(0, |stats| stats.bytes_put);
                bar.set_position(if total == 0 { read } else { read.min(total) });
                bar.set_message(format!("{} words", sum(1, |stats| stats.puts)));
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // It panics only if the terminal is gone.
            let _ = thread.join();
        }
    }
}
