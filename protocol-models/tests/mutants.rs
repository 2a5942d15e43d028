//! Every rule of the protocol, broken on purpose, is seen to break the promise it stands for.

use protocol_models::models;

fn every_mutant_is_found(model: &str) {
    let spec = models::find(model).expect("the model is listed");
    let mutants = spec.run_mutants(2);
    assert!(!mutants.is_empty(), "{model} has no mutants");
    for m in mutants {
        println!("{model}: {}: {} states, {:.1} s: {:?}", m.name, m.states, m.seconds, m.broken);
        assert!(!m.broken.is_empty(), "{model}: survived: {}: {:?}", m.name, m.properties);
    }
}

#[test]
fn breaking_a_rule_of_many_to_many_is_seen() {
    every_mutant_is_found("mpmc");
}

#[test]
fn breaking_the_order_of_runs_is_seen() {
    every_mutant_is_found("runs");
}

#[test]
fn breaking_the_seal_is_seen() {
    every_mutant_is_found("close-many");
}

#[test]
fn breaking_the_intent_or_the_membarrier_of_close_is_seen() {
    every_mutant_is_found("close-one");
}

#[test]
fn breaking_peek_ack_or_count_of_one_consumer_is_seen() {
    every_mutant_is_found("one-consumer");
}

#[test]
fn breaking_the_roll_over_of_a_new_producer_is_seen() {
    every_mutant_is_found("one-producer");
}

#[test]
fn breaking_get_many_is_seen() {
    every_mutant_is_found("get-many");
}

#[test]
fn breaking_the_locks_or_the_scrubbing_of_ids_is_seen() {
    every_mutant_is_found("id-reuse");
}

#[test]
fn breaking_sleep_or_wake_up_is_seen() {
    every_mutant_is_found("sleep-wake");
}

#[test]
fn breaking_the_hint_of_returned_records_is_seen() {
    every_mutant_is_found("give-back");
}
