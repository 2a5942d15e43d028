//! `hz`: how often packets pass.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use ringway::shm::inspect::{Passed, Tap, TapStart};
use serde::Serialize;

use crate::Found;
use crate::cli::{Common, HzArgs};
use crate::failure::{Failure, Result};
use crate::follow::{End, Watcher, end_on_interrupt, follow};
use crate::output::{Output, duration, rate};
use crate::target::Target;

/// One line: what passed in one interval.
#[derive(Serialize)]
struct Line {
    seconds: f64,
    packets: u64,
    /// Of these, too fast to be seen: their length and gaps are not known.
    missed: u64,
    packets_per_second: f64,
    /// Of those that were seen.
    bytes: u64,
    bytes_per_second: f64,
    gap_of: &'static str,
    gap_ns: Option<Gaps>,
}

#[derive(Serialize)]
struct Gaps {
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    max: u64,
}

pub(crate) fn run(common: &Common, args: &HzArgs, output: &mut Output) -> Result<Found> {
    if args.interval.is_zero() {
        return Err(Failure::Usage("an interval of no time has no rate".into()));
    }
    let (segment, ring) = Target::open_ring(common, &args.ring)?;
    let stamped = segment.ring_config(ring).is_some_and(|ring| ring.geometry.timestamps);
    let mut tap = Tap::of_segment(&segment, ring, TapStart::Now)?;
    end_on_interrupt()?;
    let histogram = Histogram::new(3)
        .map_err(|error| Failure::Usage(format!("no histogram of the gaps: {error}")))?;
    let meter = &mut Meter {
        args,
        output,
        stamped,
        gaps: histogram,
        began: Instant::now(),
        seen: 0,
        missed: 0,
        bytes: 0,
        last: None,
        lines: 0,
    };
    let end = follow(&mut tap, 0, segment.name().is_none(), meter)?;
    if end != End::Enough {
        // The rest of an interval that nobody waits for.
        meter.print()?;
    }
    if end == End::Damaged {
        output.warn("the ring holds what no ringway writes: see shm-inspect dump");
    }
    Ok(Found::when(end == End::Damaged))
}

struct Meter<'a> {
    args: &'a HzArgs,
    output: &'a mut Output,
    stamped: bool,
    gaps: Histogram<u64>,
    began: Instant,
    seen: u64,
    missed: u64,
    bytes: u64,
    /// When the packet before was put, or seen; `None` where it was missed.
    last: Option<u64>,
    lines: u64,
}

impl Meter<'_> {
    fn print(&mut self) -> Result<()> {
        let time = self.began.elapsed();
        let seconds = time.as_secs_f64();
        let packets = self.seen + self.missed;
        let at = |quantile| self.gaps.value_at_quantile(quantile);
        let gaps = (!self.gaps.is_empty()).then(|| Gaps {
            min: self.gaps.min(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: self.gaps.max(),
        });
        let line = Line {
            seconds,
            packets,
            missed: self.missed,
            packets_per_second: packets as f64 / seconds,
            bytes: self.bytes,
            bytes_per_second: self.bytes as f64 / seconds,
            gap_of: if self.stamped { "puts" } else { "sights" },
            gap_ns: gaps,
        };
        if self.output.json {
            self.output.json_line(&line)?;
        } else {
            self.output.line(&line.text())?;
        }
        self.gaps.reset();
        (self.seen, self.missed, self.bytes) = (0, 0, 0);
        self.began = Instant::now();
        self.lines += 1;
        self.output.flush()
    }
}

impl Line {
    fn text(&self) -> String {
        let mut text = format!(
            "{} packets/s  {} bytes/s  {} packets in {:.1}s",
            rate(self.packets_per_second),
            rate(self.bytes_per_second),
            self.packets,
            self.seconds
        );
        if self.missed != 0 {
            text.push_str(&format!(", {} of them too fast to be seen", self.missed));
        }
        if let Some(gaps) = &self.gap_ns {
            let time = |ns| match ns {
                0..1000 => format!("{ns}ns"),
                ns => duration(Duration::from_nanos(ns)),
            };
            text.push_str(&format!(
                "  gap of {}: min {} p50 {} p90 {} p99 {} max {}",
                self.gap_of,
                time(gaps.min),
                time(gaps.p50),
                time(gaps.p90),
                time(gaps.p99),
                time(gaps.max)
            ));
        }
        text
    }
}

impl Watcher for Meter<'_> {
    fn packet(&mut self, passed: Passed, at: Instant) -> Result<bool> {
        self.seen += 1;
        self.bytes += u64::from(passed.len);
        let seen_at = at.duration_since(self.began).as_nanos() as u64;
        let now = if self.stamped { passed.put_at_ns } else { Some(seen_at) };
        if let (Some(before), Some(now)) = (self.last, now) {
            self.gaps.saturating_record(now.saturating_sub(before));
        }
        self.last = now;
        Ok(false)
    }

    fn missed(&mut self, packets: u64) -> Result<()> {
        self.missed += packets;
        self.last = None;
        Ok(())
    }

    fn looked(&mut self, _: bool) -> Result<bool> {
        if self.began.elapsed() >= self.args.interval {
            self.print()?;
            if !self.stamped {
                // Its clock begins with the line.
                self.last = None;
            }
        }
        Ok(self.args.lines.is_some_and(|lines| self.lines >= lines))
    }
}
