//! What a run of torture came to.

use std::collections::BTreeMap;
use std::fmt;

use ringway::queue::Side;
use serde_json::{Value, json};

use crate::ledger::Verdict;
use crate::torture::points::{POINTS, Rings};
use crate::torture::session::MODES;
use crate::torture::watch::{Sample, Watch};

/// Remarks that are kept.
const REMARKS: usize = 50;

/// Everything that is counted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Processes killed.
    pub kills: u64,
    /// The same by crash point; `random` for any instant.
    pub kills_by_point: BTreeMap<String, u64>,
    /// What the logs of all rings say.
    pub verdict: Verdict,
    /// Packets or words that make no sense.
    pub corrupt: u64,
    /// Rings through which nothing went any more.
    pub wedged: u64,
    /// Errors that no process should have got.
    pub faults: u64,
    /// Files that stayed behind.
    pub leftover_files: u64,
    /// Processes stopped for a while.
    pub pauses: u64,
    /// How soon packets went through again.
    pub samples: Vec<Sample>,
    /// Deaths of which that is not known.
    pub unmeasured: u64,
    /// After whose death it took longest.
    pub slowest: String,
    /// Arenas lived through.
    pub arenas: u64,
    /// The same by mode.
    pub arenas_by_mode: BTreeMap<&'static str, u64>,
    /// Crash points that nobody ever came to.
    pub never_hit: Vec<&'static str>,
    /// Where random numbers started.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// What was wrong, in words.
    pub remarks: Vec<String>,
}

impl Report {
    /// Says whether nothing was lost, nothing was wedged, and nothing is left.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let bad = self.corrupt + self.wedged + self.faults + self.leftover_files;
        self.verdict.is_right() && bad == 0
    }

    /// Notes what was wrong.
    pub(super) fn remark(&mut self, what: String) {
        if self.remarks.len() < REMARKS {
            self.remarks.push(what);
        }
    }

    pub(super) fn measure(&mut self, watch: &Watch) {
        (self.samples, self.unmeasured, self.slowest) = watch.measured();
    }

    /// The crash points that nobody came to so far, of those that can be reached in some modes.
    #[must_use]
    pub fn never_hit(&self, modes: &[usize]) -> Vec<&'static str> {
        let reachable = |rings: Rings| {
            modes.iter().any(|&mode| {
                let (_, producers, consumers) = MODES[mode];
                let one = |side| side == Side::Single;
                match rings {
                    Rings::All | Rings::Ephemeral => true,
                    Rings::ManyProducers => !one(producers),
                    Rings::OneProducer => one(producers),
                    Rings::ManyConsumers => !one(consumers),
                    Rings::OneConsumer => one(consumers),
                    Rings::ManyOfSome => !(one(producers) && one(consumers)),
                    Rings::RoleOfOne => one(producers) || one(consumers),
                }
            })
        };
        POINTS
            .iter()
            .filter(|point| reachable(point.rings))
            .map(|point| point.name)
            .filter(|name| !self.kills_by_point.contains_key(*name))
            .collect()
    }

    /// As JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Verdict { committed, delivered, uncertain, redelivered, lost, .. } = self.verdict;
        json!({
            "kills": self.kills,
            "kills_by_point": self.kills_by_point,
            "committed": committed,
            "delivered": delivered,
            "uncertain": uncertain,
            "lost": lost,
            "corrupt": self.corrupt + self.verdict.invented,
            "redelivered": redelivered,
            "unflagged_duplicates": self.verdict.unflagged_duplicates,
            "acked_redelivered": self.verdict.acked_redelivered,
            "out_of_order": self.verdict.out_of_order,
            "wedged": self.wedged,
            "faults": self.faults,
            "resume_ms": self.quantiles(|sample| sample.resume_ns),
            "kill_to_resume_ms": self.quantiles(|sample| sample.kill_to_resume_ns),
            "slowest": self.slowest,
            "measured": self.samples.len(),
            "unmeasured": self.unmeasured,
            "pauses": self.pauses,
            "leftover_files": self.leftover_files,
            "never_hit": self.never_hit,
            "arenas": self.arenas,
            "arenas_by_mode": self.arenas_by_mode,
            "seconds": (self.seconds * 10.0).round() / 10.0,
            "seed": self.seed,
            "remarks": self.all_remarks(),
        })
    }

    fn all_remarks(&self) -> Vec<&String> {
        self.remarks.iter().chain(&self.verdict.examples).collect()
    }

    fn quantiles(&self, of: impl Fn(&Sample) -> u64) -> Value {
        let mut sorted: Vec<u64> = self.samples.iter().map(of).collect();
        sorted.sort_unstable();
        let at = |quantile: f64| -> Option<f64> {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            let ns = sorted.get(rank.max(1) - 1)?;
            Some((*ns as f64 / 1e4).round() / 100.0)
        };
        json!({ "p50": at(0.5), "p99": at(0.99), "max": at(1.0) })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = self.to_json();
        for (name, value) in json.as_object().into_iter().flatten() {
            match value {
                Value::Object(fields) if name == "kills_by_point" => {
                    writeln!(f, "{name}")?;
                    for (point, kills) in fields {
                        writeln!(f, "  {point:<44} {kills:>6}")?;
                    }
                }
                Value::Object(fields) => {
                    let parts: Vec<_> =
                        fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
                    writeln!(f, "{name:<22} {}", parts.join(", "))?;
                }
                Value::Array(items) => {
                    writeln!(f, "{name:<22} {}", items.len())?;
                    for item in items {
                        writeln!(f, "  {}", item.as_str().unwrap_or_default())?;
                    }
                }
                other => writeln!(f, "{name:<22} {other}")?,
            }
        }
        write!(f, "{}", if self.is_right() { "nothing is wrong" } else { "FAILED" })
    }
}
