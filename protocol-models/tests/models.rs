//! Every model explores its whole space, which is as large as it should be, and no property breaks.

use protocol_models::models;

fn holds_everywhere(model: &str) {
    let spec = models::find(model).expect("the model is listed");
    let report = spec.run(2);
    println!("{model}: {} states in {:.1} s", report.states, report.seconds);
    for s in &report.scenarios {
        assert!(s.broken.is_empty(), "{model}: {}: {:?}\n{:?}", s.name, s.broken, s.trace);
    }
    assert!(report.states >= report.min_states, "{model}: only {} states", report.states);
    assert!(report.passed());
}

#[test]
fn many_to_many_survives_two_deaths_anywhere() {
    holds_everywhere("mpmc");
}

#[test]
fn a_dead_run_is_one_skipped_record() {
    holds_everywhere("runs");
}

#[test]
fn closed_by_seal_is_said_only_when_everything_before_is_acknowledged() {
    holds_everywhere("close-many");
}

#[test]
fn closed_with_one_producer_is_said_only_after_its_last_put() {
    holds_everywhere("close-one");
}

#[test]
fn a_successor_gets_flagged_what_the_one_consumer_held_and_nothing_acked() {
    holds_everywhere("one-consumer");
}

#[test]
fn a_new_single_producer_never_overwrites_what_its_predecessor_stamped() {
    holds_everywhere("one-producer");
}

#[test]
fn a_run_taken_at_once_is_safe_whoever_dies_between_its_words() {
    holds_everywhere("get-many");
}

#[test]
fn an_id_used_again_is_never_robbed_by_a_stalled_recoverer() {
    holds_everywhere("id-reuse");
}

#[test]
fn no_wake_up_is_lost_without_slices_nor_with_them_when_anybody_dies() {
    holds_everywhere("sleep-wake");
}

#[test]
fn a_returned_record_finds_another_reader() {
    holds_everywhere("give-back");
}

#[test]
fn all_models_are_tested_here() {
    let names: Vec<_> = models::all().iter().map(|s| s.name).collect();
    for name in &names {
        for file in [include_str!("models.rs"), include_str!("mutants.rs")] {
            assert!(file.contains(&format!("(\"{name}\");")), "{name} has no test");
        }
    }
}
