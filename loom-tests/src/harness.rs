//! What a model is; exploring it; threads in both spawn orders; dying at a crash point.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use loom::thread::{self, ThreadId};
use ringway::mutants::set_mutants;

/// One model: a small program with at most three threads that loom runs in every way it can.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    /// What holds in every execution.
    pub(crate) promise: &'static str,
    /// At most so many preemptions in one execution; `None` for no bound.
    pub(crate) bound: Option<usize>,
    /// An exploration with fewer executions (over all cases) has failed: loom can silently explore
    /// almost nothing.
    pub(crate) min_iterations: usize,
    /// Defects that are always on: what the promise does *not* rest upon.
    pub(crate) without: &'static [&'static str],
    /// Crash points at which the model's victim dies, one exploration each; empty for no victim.
    pub(crate) points: &'static [&'static str],
    /// Defects, each of which must make the model fail.
    pub(crate) mutants: &'static [&'static str],
    pub(crate) body: fn(Case),
}

/// One of the explorations of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Spawn the threads in the opposite order.
    pub(crate) backward: bool,
    /// Where the victim dies; empty for nowhere.
    pub(crate) point: &'static str,
}

/// Explores a model, and returns the executions of each of its cases. A model that does not hold
/// panics, or deadlocks, which loom turns into a panic.
pub(crate) fn explore(model: &Model, mutant: Option<&str>) -> Vec<usize> {
    ringway::crash::set_hook(Some(die_if_planned));
    let active: Vec<&str> = model.without.iter().copied().chain(mutant).collect();
    set_mutants(&active);
    let points = if model.points.is_empty() { &[""][..] } else { model.points };
    let mut iterations = Vec::new();
    for &point in points {
        for (backward, yielding) in [(false, false), (true, false), (false, true), (true, true)] {
            let executions = Arc::new(AtomicUsize::new(0));
            let counter = Arc::clone(&executions);
            let body = model.body;
            let mut loom = loom::model::Builder::new();
            // The second pair of schedules is an addition: one preemption each will do.
            loom.preemption_bound = if yielding { Some(1) } else { model.bound };
            loom.max_branches = 10_000;
            loom.check(move || {
                counter.fetch_add(1, Ordering::Relaxed);
                plan().clear();
                YIELDING.store(yielding, Ordering::Relaxed);
                body(Case { backward, point });
            });
            iterations.push(executions.load(Ordering::Relaxed));
        }
    }
    iterations
}

impl Case {
    /// Runs two threads to their ends: one is the model's own, and the other is spawned, in turn.
    pub(crate) fn two<A: 'static, B: 'static>(
        self,
        a: impl FnOnce() -> A + Send + 'static,
        b: impl FnOnce() -> B + Send + 'static,
    ) -> (A, B) {
        if self.backward {
            let b = thread::spawn(b);
            let a = a();
            (a, join(b))
        } else {
            let a = thread::spawn(a);
            let b = b();
            (join(a), b)
        }
    }

    /// Runs three threads to their ends.
    pub(crate) fn three<A: 'static, B: 'static, C: 'static>(
        self,
        a: impl FnOnce() -> A + Send + 'static,
        b: impl FnOnce() -> B + Send + 'static,
        c: impl FnOnce() -> C + Send + 'static,
    ) -> (A, B, C) {
        if self.backward {
            let c = thread::spawn(c);
            let b = thread::spawn(b);
            let a = a();
            (a, join(b), join(c))
        } else {
            let a = thread::spawn(a);
            let b = thread::spawn(b);
            let c = c();
            (join(a), join(b), c)
        }
    }
}

fn join<T>(thread: thread::JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Who dies where: the victim's thread, and the crash point's name.
static PLAN: Mutex<Vec<(ThreadId, &'static str)>> = Mutex::new(Vec::new());

fn plan() -> std::sync::MutexGuard<'static, Vec<(ThreadId, &'static str)>> {
    PLAN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The panic payload of a death, so that it is told apart from a failure.
struct Death;

/// Threads yield at every crash point they pass: loom then explores from a schedule that changes
/// threads there, rather than from one that runs each to its end, and so finds races that it misses
/// otherwise (it forgets another thread's load of a word when a thread loads that word before it
/// writes it).
static YIELDING: AtomicBool = AtomicBool::new(false);

fn die_if_planned(name: &'static str) {
    if YIELDING.load(Ordering::Relaxed) {
        thread::yield_now();
    }
    let mut plan = plan();
    if plan.iter().any(|(_, point)| *point == name) {
        let me = thread::current().id();
        if let Some(i) = plan.iter().position(|entry| *entry == (me, name)) {
            plan.swap_remove(i);
            drop(plan);
            // Without the panic hook: nothing is printed.
            resume_unwind(Box::new(Death) as Box<dyn Any + Send>);
        }
    }
}

/// Runs `f` until it ends, or until this thread comes to the crash point: then `None`.
pub(crate) fn die_at<T>(point: &'static str, f: impl FnOnce() -> T) -> Option<T> {
    let me = thread::current().id();
    plan().push((me, point));
    match catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => {
            plan().retain(|entry| *entry != (me, point));
            Some(value)
        }
        Err(panic) if panic.is::<Death>() => None,
        Err(panic) => resume_unwind(panic),
    }
}
