//! The program that mutates segments: what it counts, and that it would notice.

use std::process::{Command, Output};

use serde_json::Value;
use shm_tests::hostile::arena::{Arena, FILES};
use shm_tests::hostile::plan::{Plan, Region, When};
use shm_tests::hostile::status::Status;
use shm_tests::hostile::worker::{FAULT_VARIABLE, plan_of};
use shm_tests::place::Place;
use shm_tests::random::Random;

fn mutate(arguments: &str, fault: &str) -> (Output, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_mutate"))
        .args(arguments.split(' '))
        .env(FAULT_VARIABLE, fault)
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (output, json)
}

fn arena(place: &Place, second: bool) -> (Arena, Status) {
    let arena = Arena::new(place.segments(), second).unwrap();
    (arena, Status::create(&place.logs().join("page")).unwrap())
}

#[test]
fn what_is_changed_behind_our_back_makes_errors_at_most() {
    let (output, json) = mutate("--segments 3000 --seed 11 --json", "");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(json["segments"], 3000);
    for nothing in ["panics", "crashes", "hangs"] {
        assert_eq!(json[nothing], 0, "{nothing}");
    }
    let count = |value: &Value| value.as_u64().unwrap();
    let regions: Vec<u64> = json["by_region"].as_object().unwrap().values().map(count).collect();
    assert_eq!(regions.len(), Region::ALL.len());
    assert_eq!(regions.iter().sum::<u64>(), 3000);
    assert!(regions.iter().all(|&region| region >= 30), "{regions:?}");
    let (reported, undetected) = (count(&json["errors_reported"]), count(&json["undetected"]));
    assert_eq!(reported + undetected, 3000);
    assert!(reported >= 600, "{reported}");
}

#[test]
fn an_intact_segment_reports_nothing() {
    let place = Place::new("");
    let (mut arena, status) = arena(&place, false);
    for seed in 0..1500 {
        let mut plan = Plan::new(&mut Random::new(seed), arena.images(), FILES);
        (plan.when, plan.resize) = (When::Never, None);
        let outcome = arena.run(&plan, &status, false).unwrap();
        assert_eq!((&outcome.reported, &outcome.panic), (&Vec::new(), &None), "{seed}: {plan:#?}");
    }
}

#[test]
fn a_plan_follows_from_its_seed_alone() {
    let place = Place::new("");
    let (arena, _) = arena(&place, false);
    for index in 0..200 {
        assert_eq!(plan_of(&arena, 7, index), plan_of(&arena, 7, index));
    }
    let different =
        (0..200).filter(|&index| plan_of(&arena, 7, index) != plan_of(&arena, 8, index));
    assert_eq!(different.count(), 200);
}

#[test]
fn what_is_slow_only_beside_others_is_done_again_and_no_hang() {
    let (output, json) = mutate("--segments 300 --seed 3 --json", "slow@57");
    assert!(output.status.success(), "{output:?}");
    assert_eq!((&json["segments"], &json["hangs"]), (&300.into(), &0.into()));
    assert_eq!((&json["slow"], &json["slow_at"]), (&1.into(), &serde_json::json!([57])));
}

#[test]
fn a_panic_a_crash_and_a_hang_are_counted_and_named() {
    for (fault, counter) in [("panic", "panics"), ("crash", "crashes"), ("hang", "hangs")] {
        let (output, json) = mutate("--segments 300 --seed 3 --json", &format!("{fault}@57"));
        assert_eq!(output.status.code(), Some(1), "{fault}");
        for each in ["panics", "crashes", "hangs"] {
            assert_eq!(json[each], u32::from(each == counter), "{fault}: {each}");
        }
        // All others were done nevertheless.
        assert_eq!(json["segments"], if fault == "panic" { 300 } else { 299 }, "{fault}");
        let finding = &json["findings"][0];
        assert_eq!((&finding["kind"], &finding["index"]), (&fault.into(), &57.into()));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains("--seed 3 --replay 57"), "{told}");
    }
}
