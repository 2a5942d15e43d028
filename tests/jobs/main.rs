//! Promises of the job runtime, held by real processes.

mod graphs;
mod harness;

use harness::{Place, numbers};

/// Not a test: what the dispatchers of the others start this binary for.
#[test]
fn worker() {
    if let Some(graph) = harness::given_graph() {
        graph.run_if_worker();
    }
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
