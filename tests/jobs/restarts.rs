//! Restarts: nothing is lost, nothing counts twice, and the end comes once.

use ringway::runtime::{JobError, JobReport};

use crate::harness::{Place, finish, kill_instance, numbers, wait_until};

fn sums(report: &JobReport) -> (u64, u64) {
    let all = numbers(report, "adder");
    all.chunks(2).fold((0, 0), |(sum, count), pair| (sum + pair[0], count + pair[1]))
}

fn repeated(report: &JobReport, task: &str) -> u64 {
    let of = report.tasks.iter().filter(|other| other.instance.task == task);
    of.map(|task| task.counters.repeated).sum()
}

/// Submits, waits until an instance has come to where it wants to be killed, and kills it.
fn killed(place: &Place, graph: &str, count: u64, instance: &str) -> JobReport {
    let job = place.submit(graph, count);
    let task = instance.split('#').next().unwrap();
    wait_until("it is where it is to be killed", || place.file(task).exists());
    kill_instance(&job, instance);
    let report = finish(job);
    place.assert_nothing_left();
    report
}

#[test]
fn a_killed_operator_restarts_and_every_packet_counts_once() {
    let place = Place::new();
    std::fs::write(place.file("kill"), "").unwrap();
    let count = 50_000_u64;
    let report = killed(&place, "restarting", count, "square#0").ok().unwrap();
    assert_eq!(sums(&report), ((1..=count).map(|n| n * n).sum(), count));
    // What it had sent before it was killed came again, and was known.
    assert!(repeated(&report, "adder") > 0, "{report:?}");
    let square = &report.tasks[1];
    assert_eq!((square.instance.to_string().as_str(), square.restarts), ("square#0", 1));
}

#[test]
fn a_killed_source_runs_again_and_every_packet_counts_once() {
    let count = 10_000;
    let report = killed(&Place::new(), "source-restarts", count, "numbers#0").ok().unwrap();
    assert_eq!(sums(&report), ((1..=count).sum(), count));
    assert_eq!(repeated(&report, "adder"), count / 2);
}

#[test]
fn an_instance_killed_after_its_stop_signals_ends_the_stream_once() {
    let count = 1_000;
    let report = killed(&Place::new(), "stop-twice", count, "copy#0").ok().unwrap();
    assert_eq!(sums(&report), ((1..=count).sum(), count));
}

#[test]
fn a_task_that_fails_again_and_again_fails_the_job_with_its_last_reason() {
    let report = Place::new().run("always-fails", 0);
    let Err(JobError::Task { instance, attempt, cause, .. }) = report.outcome else { panic!() };
    assert_eq!((instance.to_string().as_str(), attempt), ("failing#0", 2));
    assert!(cause.contains("attempt 2 is no good"), "{cause}");
}

#[test]
fn a_work_queues_packets_survive_a_killed_consumer() {
    let count = 500;
    let report = killed(&Place::new(), "work-queue", count, "worker#0").ok().unwrap();
    assert_eq!(sums(&report), (2 * (1..=count).sum::<u64>(), 2 * count));
    assert_eq!(report.undelivered(), 0);
}
