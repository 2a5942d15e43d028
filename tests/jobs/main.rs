//! Promises of the job runtime, held by real processes.

mod callers;
mod failures;
mod graphs;
mod harness;
mod plans;
mod restarts;
mod services;

use harness::{Place, numbers};
use ringway::runtime::Interrupt;

/// Not a test: what the dispatchers of the others start this binary for.
#[test]
fn worker() {
    if let Some((graph, _)) = harness::given_graph() {
        graph.run_if_worker();
    }
}

/// Not a test: a dispatcher of its own, for those that signal or kill one.
#[test]
fn dispatch() {
    let Some((graph, place)) = harness::given_graph() else { return };
    let given = std::env::args().find(|arg| arg.starts_with("given=")).unwrap();
    // Tests run in threads of their own: the signals are for the one that submits, and its children.
    let job = harness::dispatcher_in(&place, &given).on_interrupt(Interrupt::Stop);
    let report = job.submit(&graph).unwrap().wait();
    let stopped = if report.stopped { " stopped" } else { "" };
    std::fs::write(place.join("outcome"), format!("{:?}{stopped}", report.outcome)).unwrap();
}

#[test]
fn every_packet_goes_through_every_stage_once() {
    let place = Place::new();
    let count = 20_000_u64;
    let report = place.run("squares", count).ok().unwrap();
    let sums = numbers(&report, "adder");
    assert_eq!(sums[0] + sums[2], (1..=count).map(|n| n * n).sum::<u64>());
    assert_eq!(sums[1] + sums[3], count);
    assert_eq!((report.undelivered(), report.pids.len()), (0, 6));
}

#[test]
fn a_task_has_several_inputs_and_ends_when_all_have() {
    let report = Place::new().run("two-inputs", 1_000).ok().unwrap();
    assert_eq!(numbers(&report, "join"), [1_000, 4_000]);
    assert_eq!(numbers(&report, "watch")[1], 4_000);
}

#[test]
fn streams_of_typed_values_are_mapped_filtered_keyed_and_reduced() {
    let report = Place::new().run("streams", 1_000).ok().unwrap();
    let all: Vec<u64> = report.values_of("all").unwrap();
    assert_eq!(all, (0..1_000).collect::<Vec<_>>());
    let mut digits: Vec<(u64, u64)> = report.values_of("result").unwrap();
    digits.sort_unstable();
    assert_eq!(digits, [(0, 100), (4, 200), (6, 200)]);
}

#[test]
fn a_hundred_processes_start_and_stop_and_leave_nothing() {
    let report = Place::new().run("hundred", 0).ok().unwrap();
    assert_eq!(report.pids.len(), 100);
    assert_eq!(numbers(&report, "adder"), [(1..=980).sum::<u64>(), 980]);
    eprintln!("100 processes in {:?}", report.elapsed);
}
