//! Whatever goes wrong is said at the dispatcher, by task and cause, and nothing is left.

use nix::sys::signal::{Signal, kill};
use ringway::queue::QueueDescriptor;
use ringway::runtime::{GraphError, JobError, JobGraph, JobManager, JobReport};

use ringway::shm::Lifetime;

use crate::harness::{Given, Place, finish, kill_instance, pid_of, wait_until};

fn failure(report: JobReport) -> (String, String, Vec<String>) {
    match report.outcome {
        Err(JobError::Task { instance, cause, stderr, .. }) => {
            (instance.to_string(), cause, stderr)
        }
        other => panic!("{other:?}"),
    }
}

fn graph(place: &Place, name: &str) -> JobGraph {
    crate::graphs::make(name, &Given { dir: place.dir.path(), number: 1000 })
}

#[test]
fn an_upstream_that_dies_without_a_stop_signal_ends_the_job_and_hangs_nobody() {
    let place = Place::new();
    std::fs::write(place.file("kill"), "").unwrap();
    let job = place.submit("squares", 10_000_000);
    wait_until("it is in the middle", || place.file("square").exists());
    kill_instance(&job, "square#0");
    let (instance, cause, _) = failure(finish(job));
    assert_eq!((instance.as_str(), cause.as_str()), ("square#0", "was killed by SIGKILL"));
    place.assert_nothing_left();
}

#[test]
fn a_panic_is_a_failed_task_with_its_message_and_place() {
    let (instance, cause, _) = failure(Place::new().run("panics", 0));
    assert_eq!(instance, "panicking#0");
    assert!(cause.contains("only seven will do") && cause.contains("graphs.rs:"), "{cause}");
}

#[test]
fn a_payload_that_does_not_decode_is_a_failed_task() {
    let (instance, cause, _) = failure(Place::new().run("undecodable", 0));
    assert_eq!(instance, "reader#0");
    assert!(cause.contains("payload"), "{cause}");
}

#[test]
fn a_spec_of_another_version_is_refused_by_name() {
    let place = Place::new();
    let binary = std::env::current_exe().unwrap();
    let script = format!(
        "RINGWAY_TASK=$(printf %s \"$RINGWAY_TASK\" | sed 's/\"version\":1,/\"version\":999,/') \
         exec {} --exact worker given=squares=1=x --nocapture",
        binary.display()
    );
    let dispatcher = place.dispatcher("squares", 1).worker_binary("/bin/sh").args(["-c", &script]);
    let job = dispatcher.submit(&graph(&place, "squares")).unwrap();
    let (_, cause, stderr) = failure(finish(job));
    assert!(cause.contains("before it began its task"), "{cause}");
    assert!(stderr.iter().any(|line| line.contains("version 999")), "{stderr:?}");
    place.assert_nothing_left();
}

#[test]
fn a_task_that_the_program_does_not_have_is_named() {
    let place = Place::new();
    let dispatcher = place.dispatcher("panics", 1);
    let job = dispatcher.submit(&graph(&place, "squares")).unwrap();
    let (_, _, stderr) = failure(finish(job));
    let said = |line: &String| line.contains("has no task") && line.contains("panicking");
    assert!(stderr.iter().any(said), "{stderr:?}");
    place.assert_nothing_left();
}

#[test]
fn a_worker_binary_that_exits_at_once_is_not_taken_for_a_task_that_ended() {
    let place = Place::new();
    for (program, status) in [("/bin/true", "status 0"), ("/bin/false", "status 1")] {
        let dispatcher = place.dispatcher("squares", 1).worker_binary(program);
        let job = dispatcher.submit(&graph(&place, "squares")).unwrap();
        let (_, cause, _) = failure(finish(job));
        assert!(cause.contains(status) && cause.contains("before it began its task"), "{cause}");
        place.assert_nothing_left();
    }
    let dispatcher = place.dispatcher("squares", 1).worker_binary("/no/such/program");
    let report = finish(dispatcher.submit(&graph(&place, "squares")).unwrap());
    let Err(JobError::System { doing, .. }) = report.outcome else { panic!() };
    assert!(doing.contains("numbers#0") && doing.contains("/no/such/program"), "{doing}");
    place.assert_nothing_left();
}

#[test]
fn a_stopped_job_drains_and_a_cancelled_one_counts_what_was_undelivered() {
    let place = Place::new();
    let job = place.submit("endless", 0);
    wait_until("packets flow", || job.rings().iter().any(|ring| ring.stats.gets > 1000));
    job.stop();
    let report = finish(job).ok().unwrap();
    assert!(report.stopped);
    let (sent, added) = (crate::numbers(&report, "numbers"), crate::numbers(&report, "adder"));
    assert_eq!((sent[0], report.undelivered()), (added[1], 0));
    place.assert_nothing_left();

    let job = place.submit("stuck", 0);
    wait_until("the ring is full", || {
        let status = job.status();
        status.tasks[1].occupancy > Some(0.9)
    });
    job.cancel();
    let report = finish(job);
    assert!(matches!(report.outcome, Err(JobError::Cancelled { signal: None })), "{report:?}");
    let stuck = report.rings.iter().find(|ring| ring.to == "adder#0").unwrap();
    assert!(stuck.undelivered >= 60 && stuck.undelivered == report.undelivered(), "{report:?}");
    place.assert_nothing_left();
}

#[test]
fn two_jobs_of_one_name_do_not_meet_and_are_found_by_others() {
    let place = Place::new();
    let (one, two) = (place.submit("endless", 0), place.submit("endless", 0));
    assert_ne!(one.id(), two.id());
    let manager = JobManager::open(&place.segments()).unwrap();
    let running = |entry: &ringway::runtime::JobEntry| entry.workers.len() == 2;
    wait_until("all workers are there", || {
        let list = manager.list().unwrap();
        list.len() == 2 && list.iter().all(running)
    });
    assert!(manager.find("endless").is_err(), "the name alone does not say which");
    let found = manager.find(&one.id().to_string()).unwrap();
    assert_eq!((&found.job, found.dispatcher), (one.id(), std::process::id()));
    assert_eq!(found.workers[0].1, pid_of(&one, "adder#0").as_raw() as u32);
    one.stop();
    finish(one).ok().unwrap();
    assert_eq!(&manager.find("endless").unwrap().job, two.id());
    two.stop();
    finish(two).ok().unwrap();
    assert!(manager.list().unwrap().is_empty());
}

/// A dispatcher in a process of its own.
struct Separate {
    child: std::process::Child,
    place: Place,
}

impl Separate {
    fn start(graph: &str) -> Self {
        let place = Place::new();
        let given = format!("given={graph}=0={}", place.dir.path().display());
        // The test harness has threads before ours, which would take the signal.
        let child = std::process::Command::new("env")
            .arg("--block-signal=INT")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "dispatch", &given, "--nocapture", "--test-threads=1"])
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        Self { child, place }
    }

    fn pid(&self) -> nix::unistd::Pid {
        nix::unistd::Pid::from_raw(self.child.id() as i32)
    }

    fn has_pending_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).unwrap();
        pending.trim().chars().any(|digit| digit != '0')
    }

    fn workers(&self) -> Vec<u32> {
        let jobs = JobManager::open(&self.place.segments()).unwrap().list().unwrap();
        jobs.into_iter().flat_map(|job| job.workers).map(|(_, pid)| pid).collect()
    }

    /// Waits for the workers, and returns their processes.
    fn wait_for_workers(&self) -> Vec<u32> {
        wait_until("the workers run", || self.workers().len() == 2);
        self.workers()
    }

    fn outcome(mut self) -> String {
        let file = self.place.file("outcome");
        wait_until("the dispatcher ends", || self.child.try_wait().unwrap().is_some());
        self.place.assert_nothing_left();
        std::fs::read_to_string(file).unwrap()
    }
}

impl Drop for Separate {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Says whether a process is gone, or dead and not waited for: all its threads, since the first may
/// die before the memory is given back.
fn is_gone(pid: u32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return true };
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('Z'))
    })
}

/// Processes that are killed at the latest when the test ends.
struct Killed(Vec<u32>);

impl Drop for Killed {
    fn drop(&mut self) {
        for pid in self.0.iter().filter(|&&pid| !is_gone(pid)) {
            let _ = kill(nix::unistd::Pid::from_raw(*pid as i32), Signal::SIGKILL);
        }
    }
}

#[test]
fn ctrl_c_stops_a_job_in_order_and_a_second_one_cancels_it() {
    let job = Separate::start("endless");
    job.wait_for_workers();
    kill(job.pid(), Signal::SIGINT).unwrap();
    assert_eq!(job.outcome(), "Ok(()) stopped");

    let job = Separate::start("stuck");
    job.wait_for_workers();
    kill(job.pid(), Signal::SIGINT).unwrap();
    // The sink is asleep, and the source waits for room to put what it has: nothing drains.
    wait_until("the dispatcher has taken the signal", || !job.has_pending_signals());
    kill(job.pid(), Signal::SIGINT).unwrap();
    assert_eq!(job.outcome(), "Err(Cancelled { signal: Some(\"SIGINT\") }) stopped");
}

#[test]
fn workers_die_with_a_killed_dispatcher_and_the_next_start_removes_what_it_left() {
    let mut job = Separate::start("endless");
    let workers = job.wait_for_workers();
    job.child.kill().unwrap();
    job.child.wait().unwrap();
    wait_until("the workers are gone", || workers.iter().all(|&pid| is_gone(pid)));
    assert_eq!(std::fs::read_dir(job.place.segments()).unwrap().count(), 1);
    job.place.run("squares", 10).ok().unwrap();
}

#[test]
fn workers_that_the_kernel_does_not_kill_end_by_themselves_when_the_dispatcher_is_gone() {
    let mut job = Separate::start("unfettered");
    let workers = job.wait_for_workers();
    let jobs = JobManager::open(&job.place.segments()).unwrap();
    assert_eq!(jobs.find("unfettered").unwrap().dispatcher, job.child.id());
    let _guard = Killed(workers.clone());
    let freed = |name: &&str| job.place.file(name).exists();
    wait_until("they outlive a parent", || ["source-freed", "sink-freed"].iter().all(freed));
    job.child.kill().unwrap();
    job.child.wait().unwrap();
    wait_until("the workers are gone", || workers.iter().all(|&pid| is_gone(pid)));
    job.place.run("squares", 10).ok().unwrap();
}

#[test]
fn a_report_behind_one_that_another_is_writing_is_waited_for() {
    let place = Place::new();
    let job = place.submit("endless", 0);
    let ring = job.plan().rings.iter().find(|ring| ring.name == "_control").unwrap();
    let control = QueueDescriptor::shm(&format!("{}:_control", job.id().segment())).unwrap();
    let control = control.with_lifetime(Lifetime::Job).unwrap();
    let control = control.with_config(ring.config.clone()).unwrap();
    let control = control.with_directory(place.segments()).unwrap().queue().unwrap();
    wait_until("packets flow", || job.rings().iter().any(|ring| ring.stats.gets > 1000));
    let writing = control.reserve(100).unwrap();
    let pids = ["numbers#0", "adder#0"].map(|instance| pid_of(&job, instance).as_raw() as u32);
    job.stop();
    wait_until("the workers have ended", || pids.iter().all(|&pid| is_gone(pid)));
    // Long enough for the dispatcher to see the ends, and to decide what it must not decide yet.
    let job = job.wait_timeout(std::time::Duration::from_millis(300)).unwrap_err();
    drop(writing);
    finish(job).ok().unwrap();
    drop(control);
    place.assert_nothing_left();
}

#[test]
fn graphs_that_cannot_work_are_refused_with_names() {
    use ringway::runtime::{Edge, Methods};
    let check = |build: &dyn Fn(&JobGraph)| {
        let graph = JobGraph::new("wrong");
        build(&graph);
        graph.validate().unwrap_err()
    };
    let source = |graph: &JobGraph, name: &str| {
        graph.source(name, |_| Ok(()));
    };
    let operator = |graph: &JobGraph, name: &str| {
        graph.operator(name, |_| Ok(()));
    };
    let cycle = check(&|graph| {
        source(graph, "s");
        ["a", "b", "c"].iter().for_each(|name| operator(graph, name));
        for (from, to) in [("s", "a"), ("a", "b"), ("b", "c"), ("c", "a")] {
            graph.connect(from, to, Edge::round_robin());
        }
    });
    assert_eq!(cycle.to_string(), "a cycle: a -> b -> c -> a");
    let circle = check(&|graph| {
        graph.service("x", Methods::new).uses("y");
        graph.service("y", Methods::new).uses("x");
    });
    assert_eq!(circle.to_string(), "a cycle: x -> y -> x");
    let unknown = check(&|graph| {
        source(graph, "s");
        graph.connect("s", "nobody", Edge::round_robin());
    });
    assert!(matches!(unknown, GraphError::UnknownTask { unknown, .. } if unknown == "nobody"));
    let none = check(&|graph| {
        graph.source("s", |_| Ok(())).parallelism(0);
    });
    assert!(matches!(none, GraphError::Parallelism { task, parallelism: 0, .. } if task == "s"));
    let unkeyed = check(&|graph| {
        source(graph, "s");
        operator(graph, "o");
        graph.connect("s", "o", Edge::hash());
    });
    assert!(matches!(unkeyed, GraphError::Unkeyed { from, to } if (&*from, &*to) == ("s", "o")));
    let unserved = check(&|graph| {
        graph.source("s", |_| Ok(())).uses("missing");
    });
    assert!(matches!(unserved, GraphError::NoSuchService { service, .. } if service == "missing"));
    let twice = check(&|graph| {
        source(graph, "s");
        source(graph, "s");
    });
    assert!(matches!(twice, GraphError::DuplicateName { name } if name == "s"));
    assert!(matches!(check(&|_| ()), GraphError::Empty));
    let mixed = check(&|graph| {
        source(graph, "s");
        operator(graph, "o");
        graph.connect("s", "o", Edge::shared());
        graph.connect("s", "o", Edge::round_robin().input(1));
    });
    assert!(matches!(mixed, GraphError::BadEdge { .. }));
}
