//! Services: what a caller gets, whatever happens to the other side.

use std::time::{Duration, Instant};

use ringway::runtime::{
    CallError, Edge, HandlerError, JobError, JobGraph, Methods, Restart, TaskContext, TaskResult,
};

use crate::harness::{Given, Place, finish, kill_instance, numbers, wait_until};

const LONG: Duration = Duration::from_secs(30);

/// Four clients of a service of two instances, each with many calls open at a time.
pub(crate) fn calls(graph: &JobGraph, given: &Given<'_>) {
    let count = given.number;
    graph.service("squares", || Methods::new().on("square", |_, n: u64| Ok(n * n))).parallelism(2);
    graph
        .source("client", move |task| {
            let mut sum = 0;
            for first in (0..count).step_by(20) {
                let calls: Vec<_> = (first..first + 20)
                    .map(|n| task.call_service_async("squares", "square", &n, LONG))
                    .collect::<Result<_, _>>()?;
                for call in calls {
                    sum += task.wait_for::<u64>(call)?;
                }
            }
            task.result(&sum.to_le_bytes())
        })
        .parallelism(4)
        .uses("squares");
}

/// A client that provokes every error, and says which it did not get.
pub(crate) fn errors(graph: &JobGraph) {
    graph.service("picky", || {
        Methods::new()
            .on("refuse", |_, why: String| Err::<(), _>(HandlerError::new(7, why)))
            .on("sleep", |context, ms: u64| {
                std::thread::sleep(Duration::from_millis(ms));
                Ok(context.is_cancelled())
            })
            .on("fill", |_, len: usize| Ok(vec![0_u8; len]))
    });
    graph.source("client", provoke).uses("picky");
}

fn provoke(task: &mut TaskContext) -> TaskResult {
    let refused = task.call_service::<_, ()>("picky", "refuse", "no", LONG);
    let Err(CallError::Handler { code: 7, message, .. }) = refused else {
        return Err(format!("refused: {refused:?}").into());
    };
    assert_eq!(message, "no");
    let missing = task.call_service::<_, ()>("picky", "dance", &(), LONG);
    let Err(CallError::NoSuchMethod { have, .. }) = missing else {
        return Err(format!("missing: {missing:?}").into());
    };
    assert_eq!(have, ["fill", "refuse", "sleep"]);
    let wrong = task.call_service::<_, bool>("picky", "sleep", &"text, and no number", LONG);
    assert!(matches!(wrong, Err(CallError::Undecodable { .. })), "{wrong:?}");
    let large = task.call_service::<_, Vec<u8>>("picky", "fill", &1_000_000_usize, LONG);
    assert!(matches!(large, Err(CallError::Undecodable { .. })), "{large:?}");
    let undeclared = task.call_service::<_, ()>("nobody", "x", &(), LONG);
    assert!(matches!(undeclared, Err(CallError::Undeclared { .. })), "{undeclared:?}");

    // The reply to this one comes too late, and is not taken for the next one's. Where this process
    // or the other is held up for long enough, the time is over before it is handled: then again.
    while task.counters().late == 0 {
        let late =
            task.call_service::<_, bool>("picky", "sleep", &200_u64, Duration::from_millis(20));
        assert!(matches!(late, Err(CallError::DeadlineExceeded { .. })), "{late:?}");
        assert!(!task.call_service::<_, bool>("picky", "sleep", &0_u64, LONG)?);
    }
    // This one's time is over before its turn comes: it is not handled.
    loop {
        let busy = task.call_service_async::<_, bool>("picky", "sleep", &200_u64, LONG)?;
        let over = task.call_service::<_, ()>("picky", "refuse", "x", Duration::from_millis(20));
        drop(busy); // Nobody waits for it any more.
        assert!(!task.call_service::<_, bool>("picky", "sleep", &0_u64, LONG)?);
        match over {
            Err(CallError::DeadlineExceeded { .. }) => break,
            Err(CallError::Handler { .. }) => {}
            other => return Err(format!("{other:?}").into()),
        }
    }
    task.result(&task.counters().late.to_le_bytes())
}

/// A service that is killed in the middle of the third request.
pub(crate) fn killed(graph: &JobGraph, given: &Given<'_>) {
    let dir = given.dir.to_owned();
    graph
        .service("fragile", move || {
            let dir = dir.clone();
            Methods::new().on("echo", move |context, n: u64| {
                if n == 3 && context.identity().attempt == 0 {
                    std::fs::write(dir.join("fragile"), "here").unwrap();
                    loop {
                        std::thread::park();
                    }
                }
                Ok((n, context.redelivered()))
            })
        })
        .restart(Restart::on_failure(1));
    graph
        .source("client", |task| {
            for n in 1..=5_u64 {
                let (echo, again): (u64, bool) = task.call_service("fragile", "echo", &n, LONG)?;
                task.result(&(echo + if again { 100 } else { 0 }).to_le_bytes())?;
            }
            Ok(())
        })
        .uses("fragile");
}

/// A service that dies and may not come back, while a caller would wait for an hour.
pub(crate) fn gone(graph: &JobGraph) {
    graph.service("mortal", || {
        Methods::new().on("die", |_, (): ()| -> Result<(), HandlerError> { panic!("as asked") })
    });
    graph
        .source("client", |task| {
            let hour = Duration::from_secs(3600);
            match task.call_service::<_, ()>("mortal", "die", &(), hour) {
                Err(CallError::ServiceGone { why, .. }) => {
                    task.result(&7_u64.to_le_bytes())?;
                    Err(why.into())
                }
                other => Err(format!("{other:?}").into()),
            }
        })
        .uses("mortal");
}

/// Services that call services that call services, behind a pipeline.
pub(crate) fn chain(graph: &JobGraph) {
    let via = |next: &'static str| {
        move || {
            Methods::new().on("plus", move |context, n: u64| {
                let answer: Result<u64, CallError> = context.call_service(next, "plus", &n, LONG);
                answer.map(|n| n + 1).map_err(|error| HandlerError::new(1, error.to_string()))
            })
        }
    };
    graph.service("first", via("second")).uses("second");
    graph.service("second", via("third")).uses("third").parallelism(2);
    graph.service("third", || Methods::new().on("plus", |_, n: u64| Ok(n + 1)));
    graph.source("numbers", |task| crate::graphs::count_to(task, 200)).keyed();
    graph
        .operator("caller", |task| {
            let mut sum = 0;
            while let Some(packet) = task.recv()? {
                let n = u64::from_le_bytes(packet.payload.as_slice().try_into()?);
                sum += task.call_service::<_, u64>("first", "plus", &n, LONG)?;
            }
            task.result(&sum.to_le_bytes())
        })
        .parallelism(2)
        .uses("first");
    graph.connect("numbers", "caller", Edge::round_robin());
}

#[test]
fn every_call_gets_its_own_answer_from_several_instances() {
    let count = 2_000_u64;
    let report = Place::new().run("services", count).ok().unwrap();
    let sum = (0..count).map(|n| n * n).sum::<u64>();
    assert_eq!(numbers(&report, "client"), [sum; 4]);
    let handled = report.tasks.iter().filter(|task| task.instance.task == "squares");
    assert_eq!(handled.map(|task| task.counters.received).sum::<u64>(), 4 * count);
    assert_eq!(report.undelivered(), 0);
}

#[test]
fn callers_get_typed_errors_and_late_replies_are_discarded() {
    let report = Place::new().run("service-errors", 0).ok().unwrap();
    let picky = report.tasks.iter().find(|task| task.instance.task == "picky").unwrap();
    // Of the first, of the one that nobody waited for, and either the reply to the last or, where it
    // was not handled, that.
    let late = numbers(&report, "client")[0];
    assert!(late >= 2 && late + picky.counters.late >= 3, "{late}, {picky:?}");
}

#[test]
fn a_killed_services_request_is_handled_by_its_next_attempt() {
    let place = Place::new();
    let job = place.submit("service-killed", 0);
    wait_until("the third request is handled", || place.file("fragile").exists());
    kill_instance(&job, "fragile#0");
    let report = finish(job).ok().unwrap();
    assert_eq!(numbers(&report, "client"), [1, 2, 103, 4, 5]);
    place.assert_nothing_left();
}

#[test]
fn callers_wake_with_an_error_when_the_service_is_gone() {
    let place = Place::new();
    let start = Instant::now();
    let report = place.run("service-gone", 0);
    assert!(start.elapsed() < Duration::from_secs(30), "the caller waited on");
    assert_eq!(numbers(&report, "client"), [7]);
    let Err(JobError::Task { instance, cause, .. }) = report.outcome else { panic!() };
    assert_eq!(instance.to_string(), "mortal#0");
    assert!(cause.contains("as asked") && cause.contains("services.rs"), "{cause}");
}

#[test]
fn services_call_services_that_call_services() {
    let report = Place::new().run("service-chain", 0).ok().unwrap();
    let sums = numbers(&report, "caller");
    assert_eq!(sums.iter().sum::<u64>(), (1..=200).map(|n| n + 3).sum::<u64>());
}
