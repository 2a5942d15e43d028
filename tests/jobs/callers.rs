//! Callers that wait no longer: their time is over, or they are dead. The handler is told while it
//! works, and what it has not begun it need not begin.

use std::path::Path;
use std::time::Duration;

use ringway::runtime::{CallError, HandlerError, JobGraph, Methods, Restart, ServiceContext};

use crate::harness::{Given, Place, finish, kill_instance, wait_until};

const LONG: Duration = Duration::from_secs(3600);

fn note(dir: &Path, name: &str) {
    std::fs::write(dir.join(name), "").unwrap();
}

/// Works until nobody waits for it any more, and says so.
fn work(context: &mut ServiceContext, dir: &Path, done: &str) -> Result<u64, HandlerError> {
    note(dir, "working");
    while !context.is_cancelled() {
        std::thread::yield_now();
    }
    note(dir, done);
    Ok(context.time_left().map_or(u64::MAX, |left| left.as_nanos() as u64))
}

/// A caller with little time, of a service that calls another one with much.
pub(crate) fn impatient(graph: &JobGraph, given: &Given<'_>) {
    let dir = given.dir.to_owned();
    let (inner, client) = (dir.clone(), dir.clone());
    graph.service("inner", move || {
        let dir = inner.clone();
        Methods::new().on("work", move |context, (): ()| {
            note(&dir, if context.time_left() < Some(LONG / 2) { "bounded" } else { "unbounded" });
            work(context, &dir, "inner-done")
        })
    });
    graph
        .service("outer", move || {
            let dir = dir.clone();
            Methods::new().on("work", move |context, (): ()| {
                let late = context.call_service::<_, u64>("inner", "work", &(), LONG);
                if !matches!(late, Err(CallError::DeadlineExceeded { .. }) | Ok(0)) {
                    return Err(HandlerError::new(1, format!("{late:?}")));
                }
                work(context, &dir, "outer-done")
            })
        })
        .uses("inner");
    graph
        .source("client", move |task| {
            let little = Duration::from_millis(100);
            // Where the machine is so busy that the time is over before both have begun: again.
            while !["outer-done", "inner-done"].iter().all(|name| client.join(name).exists()) {
                // The answer of who gave up in time may come just before this one does.
                match task.call_service::<_, u64>("outer", "work", &(), little) {
                    Err(CallError::DeadlineExceeded { .. }) | Ok(0) => {}
                    other => return Err(format!("{other:?}").into()),
                }
            }
            Ok(())
        })
        .uses("outer");
}

/// A caller that is killed while its first call is handled, and two more wait.
pub(crate) fn mortal(graph: &JobGraph, given: &Given<'_>) {
    let dir = given.dir.to_owned();
    graph.service("worker", move || {
        let dir = dir.clone();
        Methods::new().on("work", move |context, (): ()| work(context, &dir, "given-up"))
    });
    graph
        .source("client", |task| {
            if task.identity().attempt > 0 {
                return Ok(());
            }
            let calls: Vec<_> = (0..3)
                .map(|_| task.call_service_async::<_, u64>("worker", "work", &(), LONG))
                .collect::<Result<_, _>>()?;
            calls.into_iter().try_for_each(|call| task.wait_for(call).map(drop))?;
            Ok(())
        })
        .restart(Restart::on_failure(1))
        .uses("worker");
}

#[test]
fn a_handler_learns_while_it_works_that_its_callers_time_is_over() {
    let place = Place::new();
    place.run("impatient", 0).ok().unwrap();
    let said = |name| place.file(name).exists();
    // The inner call waits no longer than the outer one is waited for, whatever it asked for.
    assert!(said("bounded") && !said("unbounded"));
}

#[test]
fn a_handler_learns_that_its_caller_is_dead_and_does_not_begin_what_it_asked_for() {
    let place = Place::new();
    let job = place.submit("mortal-caller", 0);
    wait_until("the first call is handled", || place.file("working").exists());
    wait_until("the others wait", || {
        let requests = job.rings().into_iter().find(|ring| ring.to.starts_with("worker"));
        requests.is_some_and(|ring| ring.stats.puts == 3)
    });
    // A request is worth a look at its caller only when it has waited for more than a millisecond.
    std::thread::sleep(Duration::from_millis(5));
    kill_instance(&job, "client#0");
    wait_until("the handler gives up", || place.file("given-up").exists());
    let report = finish(job).ok().unwrap();
    let worker = report.tasks.iter().find(|task| task.instance.task == "worker").unwrap();
    assert_eq!((worker.counters.received, worker.counters.late), (1, 2));
    place.assert_nothing_left();
}
