//! Runs a model: explores every scenario of it to the end, and shows every mutant broken.

use std::fmt::{Debug, Write as _};
use std::hash::Hash;
use std::time::Instant;

use serde::Serialize;
use stateright::{Checker, Expectation, HasDiscoveries, Model};

use crate::ring::scenario::Scenario;
use crate::sleep::Sleep;

/// One bounded system: what the checker explores.
#[derive(Clone, Debug)]
pub(crate) enum System {
    /// Participants of a ring.
    Ring(Scenario),
    /// Waiters and publishers.
    Sleep(Sleep),
}

/// A deliberate mistake, and the scenario that must show it.
#[derive(Clone, Debug)]
pub(crate) struct Mutation {
    pub(crate) name: &'static str,
    /// The property that must break.
    pub(crate) property: &'static str,
    pub(crate) system: System,
}

/// A model: what it promises, the scenarios that show it, and the mistakes it must find.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows, in a line.
    pub about: &'static str,
    /// Fewer unique states than this mean that the model no longer explores what it should.
    pub min_states: usize,
    pub(crate) scenarios: Vec<System>,
    pub(crate) mutants: Vec<Mutation>,
}

/// What one exploration found.
#[derive(Clone, Debug, Serialize)]
pub struct Explored {
    /// The scenario, or the mutant.
    pub name: String,
    /// Unique states.
    pub states: usize,
    /// Longest path.
    pub depth: usize,
    /// Wall-clock seconds.
    pub seconds: f64,
    /// Properties checked in every state.
    pub properties: Vec<String>,
    /// Properties broken (or never seen to hold, for those that must be reachable).
    pub broken: Vec<String>,
    /// A path to the first broken property.
    pub trace: Option<String>,
}

/// What running a model gave.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The model.
    pub model: String,
    /// Unique states of all its scenarios.
    pub states: usize,
    /// The least it must explore.
    pub min_states: usize,
    /// Wall-clock seconds, mutants included.
    pub seconds: f64,
    /// Its scenarios.
    pub scenarios: Vec<Explored>,
    /// Its mutants, if they were run; one that breaks nothing has survived.
    pub mutants: Vec<Explored>,
}

impl Report {
    /// Whether every property held in a space that is large enough, and every mutant was found.
    pub fn passed(&self) -> bool {
        self.scenarios.iter().all(|s| s.broken.is_empty())
            && self.states >= self.min_states
            && self.mutants.iter().all(|m| !m.broken.is_empty())
    }

    /// Names of the mutants that no property caught.
    pub fn survivors(&self) -> Vec<&str> {
        self.mutants.iter().filter(|m| m.broken.is_empty()).map(|m| m.name.as_str()).collect()
    }
}

impl Spec {
    /// Names of the scenarios, bounds included.
    pub fn scenario_names(&self) -> Vec<&'static str> {
        let name = |s: &System| match s {
            System::Ring(s) => s.name,
            System::Sleep(s) => s.name,
        };
        self.scenarios.iter().map(name).collect()
    }

    /// Names of the mutants.
    pub fn mutant_names(&self) -> Vec<&'static str> {
        self.mutants.iter().map(|m| m.name).collect()
    }

    /// Explores every scenario with `threads` threads.
    pub fn run(&self, threads: usize) -> Report {
        let start = Instant::now();
        let scenarios: Vec<_> = self.scenarios.iter().map(|s| s.explore(None, threads)).collect();
        Report {
            model: self.name.to_owned(),
            states: scenarios.iter().map(|s| s.states).sum(),
            min_states: self.min_states,
            seconds: start.elapsed().as_secs_f64(),
            scenarios,
            mutants: Vec::new(),
        }
    }

    /// Explores every mutant until something breaks.
    pub fn run_mutants(&self, threads: usize) -> Vec<Explored> {
        let run = |m: &Mutation| {
            let explored = m.system.explore(Some(m.name), threads);
            debug_assert_eq!(explored.properties, [m.property]);
            explored
        };
        self.mutants.iter().map(run).collect()
    }
}

impl System {
    fn explore(&self, mutant: Option<&str>, threads: usize) -> Explored {
        match self {
            Self::Ring(s) => {
                explore(mutant.unwrap_or(s.name), s.clone(), mutant.is_some(), threads)
            }
            Self::Sleep(s) => {
                explore(mutant.unwrap_or(s.name), s.clone(), mutant.is_some(), threads)
            }
        }
    }
}

fn explore<M>(name: &str, model: M, mutant: bool, threads: usize) -> Explored
where
    M: Model + Send + Sync + 'static,
    M::State: Hash + Send + Sync + Clone + PartialEq + Debug + 'static,
    M::Action: Clone + PartialEq + Debug,
{
    let start = Instant::now();
    let properties = model.properties();
    let checker = model
        .checker()
        .threads(threads)
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let found = checker.discoveries();
    let mut broken = Vec::new();
    let mut trace = None;
    for property in &properties {
        let path = found.get(property.name);
        match property.expectation {
            // A mutant must do harm; that it also keeps something from happening does not count.
            Expectation::Sometimes if path.is_none() && !mutant => {
                broken.push(format!("never: {}", property.name));
            }
            Expectation::Sometimes => {}
            Expectation::Always | Expectation::Eventually => {
                let Some(path) = path else { continue };
                broken.push(property.name.to_owned());
                trace.get_or_insert_with(|| {
                    let mut text = String::new();
                    let last = path.last_state().clone();
                    for action in path.clone().into_actions() {
                        let _ = write!(text, "{action:?} ");
                    }
                    let _ = write!(text, "=> {last:?}");
                    text
                });
            }
        }
    }
    Explored {
        name: name.to_owned(),
        states: checker.unique_state_count(),
        depth: checker.max_depth(),
        seconds: start.elapsed().as_secs_f64(),
        properties: properties.iter().map(|p| p.name.to_owned()).collect(),
        broken,
        trace,
    }
}
