//! Round-trip times, kept cheaply while measuring and summed up afterwards.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Significant decimal digits of a percentile.
const DIGITS: u8 = 3;
/// Longest round trip told apart, in ticks: minutes. Longer ones count as this long.
const LONGEST: u64 = 1 << 40;

/// Round-trip times in ticks of a [`Clock`].
///
/// `push` only stores into memory that was touched before; `settle`, between measurements, moves the
/// times into the histogram. Nothing is ever discarded.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    fresh: Vec<u64>,
    histogram: Histogram<u64>,
    sum: u128,
}

impl Samples {
    /// Makes room for so many `push`es between two `settle`s.
    pub(crate) fn with_room(rounds: u64) -> Self {
        let rounds = usize::try_from(rounds).unwrap_or(0);
        // Written once, so that no page fault falls into a measurement.
        let mut fresh = vec![1; rounds];
        fresh.clear();
        let histogram =
            Histogram::new_with_bounds(1, LONGEST, DIGITS).expect("the bounds are constants");
        Self { fresh, histogram, sum: 0 }
    }

    /// Notes one round trip.
    #[inline]
    pub(crate) fn push(&mut self, ticks: u64) {
        self.fresh.push(ticks);
    }

    /// Moves what was noted into the histogram.
    pub(crate) fn settle(&mut self) {
        for ticks in self.fresh.drain(..) {
            self.sum += u128::from(ticks);
            self.histogram.saturating_record(ticks);
        }
    }

    /// Adds the other's round trips to these.
    pub(crate) fn merge(&mut self, mut other: Self) {
        other.settle();
        self.settle();
        self.sum += other.sum;
        self.histogram.add(other.histogram).expect("both have the same bounds");
    }

    /// Sums up, as one-way times: half of each round trip.
    pub(crate) fn one_way(&self, clock: Clock) -> Times {
        self.times(clock.ns_per_tick() / 2.0)
    }

    /// Sums up, as whole round trips.
    pub(crate) fn round_trip(&self, clock: Clock) -> Times {
        self.times(clock.ns_per_tick())
    }

    /// Sums up, each tick being so many units.
    pub(crate) fn times(&self, unit: f64) -> Times {
        let at = |quantile| round(self.histogram.value_at_quantile(quantile) as f64 * unit);
        let rounds = self.histogram.len().max(1);
        Times {
            mean: round(self.sum as f64 / rounds as f64 * unit),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: at(1.0),
        }
    }

    /// The percentile curve: pairs of a quantile's nines (2 for 99 %) and its time, as far as there
    /// are rounds to tell.
    pub(crate) fn curve(&self, unit: f64) -> Vec<(f64, f64)> {
        let most = (self.histogram.len().max(1) as f64).log10();
        let steps = (0..=20_u32).map(|step| f64::from(step) * most / 20.0);
        steps
            .map(|nines| {
                let quantile = 1.0 - 10_f64.powf(-nines);
                (nines, self.histogram.value_at_quantile(quantile) as f64 * unit)
            })
            .collect()
    }
}

/// Times of many packets.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Times {
    /// Of all.
    pub(crate) mean: f64,
    /// Half took no longer.
    pub(crate) p50: f64,
    /// 90 %.
    pub(crate) p90: f64,
    /// 99 %.
    pub(crate) p99: f64,
    /// 99.9 %.
    pub(crate) p999: f64,
    /// 99.99 %.
    pub(crate) p9999: f64,
    /// The longest.
    pub(crate) max: f64,
}

/// Rounds to hundredths: more digits than any clock here has.
pub(crate) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The smallest, the middle and the largest of some times.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Spread {
    /// Half took no longer.
    pub(crate) p50: f64,
    /// The shortest.
    pub(crate) min: f64,
    /// The longest.
    pub(crate) max: f64,
}

impl Spread {
    /// Sums up times in nanoseconds, as microseconds. All zero when there are none.
    pub(crate) fn of_ns(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let us = |ns: Option<&u64>| round(ns.copied().unwrap_or_default() as f64 / 1000.0);
        let middle = times.len().saturating_sub(1) / 2;
        Self { p50: us(times.get(middle)), min: us(times.first()), max: us(times.last()) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Samples, Spread};
    use crate::clock::Clock;

    #[test]
    fn nothing_is_discarded_by_settling_or_merging() {
        let clock = Clock::new();
        let mut samples = Samples::with_room(10);
        for ticks in 1..=50 {
            samples.push(ticks * 2);
        }
        samples.settle();
        let mut other = Samples::with_room(10);
        for ticks in 51..=100 {
            other.push(ticks * 2);
        }
        samples.merge(other);
        let summary = samples.one_way(clock);
        let ns = |ticks: f64| ticks * clock.ns_per_tick();
        assert!((summary.mean - ns(50.5)).abs() < 0.02, "{summary:?}");
        assert!((summary.p50 - ns(50.0)).abs() < 0.02, "{summary:?}");
        assert!((summary.max - ns(100.0)).abs() < 0.02, "{summary:?}");
    }

    #[test]
    fn spread_names_the_middle() {
        let spread = Spread::of_ns(vec![9_000, 1_000, 3_000]);
        assert_eq!((spread.min, spread.p50, spread.max), (1.0, 3.0, 9.0));
        assert_eq!(Spread::of_ns(Vec::new()).max, 0.0);
    }
}
