//! The models, one file each.

mod close_many;
mod close_one;
mod get_many;
mod give_back;
mod id_reuse;
mod mpmc;
mod one_consumer;
mod one_producer;
mod runs;
mod sleep_wake;

use crate::ring::scenario::{Mutant, Scenario};
use crate::runner::{Mutation, Spec, System};

/// All models.
pub fn all() -> Vec<Spec> {
    vec![
        mpmc::spec(),
        runs::spec(),
        close_many::spec(),
        close_one::spec(),
        one_consumer::spec(),
        one_producer::spec(),
        get_many::spec(),
        id_reuse::spec(),
        sleep_wake::spec(),
        give_back::spec(),
    ]
}

/// The model of that name.
pub fn find(name: &str) -> Option<Spec> {
    all().into_iter().find(|s| s.name == name)
}

const WEDGED: &str = "never wedged";
const CLOSED: &str = "closed is true";
const TORN: &str = "nothing torn";
const FLAGGED: &str = "duplicates flagged and counted";
const STOLEN: &str = "no record held twice";

/// A scenario in which this rule is broken, so that this property must fail.
fn mutant(
    name: &'static str,
    rule: Mutant,
    scenario: Scenario,
    property: &'static str,
) -> Mutation {
    let scenario = Scenario { only: Some(property), ..scenario.breaking(rule) };
    Mutation { name, property, system: System::Ring(scenario) }
}

fn rings(scenarios: Vec<Scenario>) -> Vec<System> {
    scenarios.into_iter().map(System::Ring).collect()
}
