//! What a whole run knows, and its course.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ringway::queue::Side;

use crate::random::Random;
use crate::torture::arena::Arena;
use crate::torture::points::{Actor, POINTS, Point, Shape};
use crate::torture::watch::Watch;
use crate::torture::{Programs, Report};

/// The modes by name: producers, consumers.
pub const MODES: [(&str, Side, Side); 4] = [
    ("spsc", Side::Single, Side::Single),
    ("mpsc", Side::Multi, Side::Single),
    ("spmc", Side::Single, Side::Multi),
    ("mpmc", Side::Multi, Side::Multi),
];

/// Kills in one arena while it is open; some more come with its creation and its end.
const KILLS_OF_AN_ARENA: u64 = 20;

/// With `every_point`: how many times the kills asked for there may be at most.
const PATIENCE: u64 = 4;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kills to make.
    pub kills: u64,
    /// Time after which no new arena is begun.
    pub seconds: Option<u64>,
    /// Indices into [`MODES`].
    pub modes: Vec<usize>,
    /// Where random numbers start.
    pub seed: u64,
    /// Go on until every crash point was hit.
    pub every_point: bool,
    /// A deliberate defect that all victims have: torture must find it.
    pub mutant: Option<String>,
}

/// A run under way.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) programs: Programs,
    pub(super) mutant: Option<String>,
    /// In this arena some are stopped, too.
    pub(super) pauses: bool,
    /// In this arena nobody is killed before all goes on after the last death.
    pub(super) calm: bool,
    pub(super) random: Random,
    pub(super) watch: Watch,
    pub(super) report: Report,
    pub(super) tries: BTreeMap<&'static str, u64>,
}

impl Session {
    /// Picks, of the crash points that `actor` can come to, one that was hit and tried least.
    pub(super) fn pick(&mut self, actor: Actor, shape: Shape) -> Option<&'static Point> {
        let candidates: Vec<_> =
            POINTS.iter().filter(|point| point.is_reached(actor, shape)).collect();
        let score = |point: &Point| {
            let hits = self.report.kills_by_point.get(point.name).copied().unwrap_or(0);
            4 * hits + self.tries.get(point.name).copied().unwrap_or(0)
        };
        let least = candidates.iter().map(|point| score(point)).min()?;
        let best: Vec<_> =
            candidates.into_iter().filter(|point| score(point) <= least + 1).collect();
        let point = best[self.random.below(best.len() as u64) as usize];
        *self.tries.entry(point.name).or_default() += 1;
        Some(point)
    }

    /// Counts a kill.
    pub(super) fn killed(&mut self, point: Option<&str>) {
        self.report.kills += 1;
        *self.report.kills_by_point.entry(point.unwrap_or("random").to_owned()).or_default() += 1;
    }

    /// Something that must not be.
    pub(super) fn fault(&mut self, what: String) {
        if what.contains("Corrupt") {
            self.report.corrupt += 1;
        } else {
            self.report.faults += 1;
        }
        self.report.remark(what);
    }
}

/// Runs it all. `tell` is called now and then with what there is so far.
///
/// # Panics
/// Where the machine does not allow the test itself: no process to be had, no file to be written.
pub fn run(options: &Options, programs: Programs, mut tell: impl FnMut(&Report)) -> Report {
    let ordinary = if options.mutant.is_some() { &programs.crashing } else { &programs.ordinary };
    let mut session = Session {
        programs: Programs { ordinary: ordinary.clone(), ..programs },
        mutant: options.mutant.clone(),
        pauses: false,
        calm: false,
        random: Random::new(options.seed),
        watch: Watch::start(),
        report: Report { seed: options.seed, ..Report::default() },
        tries: BTreeMap::new(),
    };
    let start = Instant::now();
    for round in 0.. {
        let mode = options.modes[round % options.modes.len()];
        let left = options.kills.saturating_sub(session.report.kills);
        let quota = if left == 0 { KILLS_OF_AN_ARENA } else { left.min(KILLS_OF_AN_ARENA) };
        Arena::run(&mut session, mode, quota);
        session.report.arenas += 1;
        *session.report.arenas_by_mode.entry(MODES[mode].0).or_default() += 1;
        session.report.measure(&session.watch);
        tell(&session.report);
        let late = options.seconds.is_some_and(|most| start.elapsed() >= Duration::from_secs(most));
        let every = !options.every_point || session.report.never_hit(&options.modes).is_empty();
        let enough = session.report.kills >= options.kills && every;
        let hopeless = session.report.kills >= PATIENCE * options.kills.max(100);
        let found = options.mutant.is_some() && !session.report.is_right();
        if late || enough || hopeless || found || session.report.wedged > 0 {
            break;
        }
    }
    session.report.seconds = start.elapsed().as_secs_f64();
    session.report.never_hit = session.report.never_hit(&options.modes);
    session.report
}

/// Where a wedged ring's file is copied to, to be looked at.
pub(super) fn evidence(seed: u64) -> PathBuf {
    std::env::temp_dir().join(format!("torture-{seed}-wedged"))
}
