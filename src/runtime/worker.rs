//! The other side of the dispatcher: what a process does that was started as a worker.
//!
//! The spec comes in the environment. The kernel kills the worker when the dispatcher dies; Ctrl-C,
//! which the terminal sends to all processes of a job, is left to the dispatcher.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};

use super::context::TaskContext;
use super::error::{ContextError, Stopping, TaskError, TaskResult};
use super::graph::{Body, JobGraph, ServiceFn, TaskFn};
use super::plan::{SPEC_VERSION, TaskSpec};
use super::service::{Methods, Server};
use super::tether::{Event, Tether};
use crate::routing::GroupStrategy;

/// The environment variable that holds the spec; what does not fit goes on in `RINGWAY_TASK_1`, ….
pub(crate) const TASK_VARIABLE: &str = "RINGWAY_TASK";
/// Bytes of one environment variable: the kernel takes 128 KiB.
const PART: usize = 100_000;
/// Exit status of a worker that did not come as far as its task.
pub(crate) const NOT_STARTED: i32 = 70;

/// The environment of a worker.
pub(crate) fn environment(spec: &TaskSpec) -> Result<Vec<(String, String)>, serde_json::Error> {
    let json = serde_json::to_string(spec)?;
    let mut rest = json.as_str();
    let mut parts = Vec::new();
    while !rest.is_empty() || parts.is_empty() {
        let mut end = rest.len().min(PART);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (part, after) = rest.split_at(end);
        parts.push((variable(parts.len()), part.to_owned()));
        rest = after;
    }
    // What this process may have inherited itself.
    parts.push((variable(parts.len()), String::new()));
    Ok(parts)
}

fn variable(part: usize) -> String {
    match part {
        0 => TASK_VARIABLE.to_owned(),
        part => format!("{TASK_VARIABLE}_{part}"),
    }
}

fn spec_text() -> Option<String> {
    let mut text = std::env::var(TASK_VARIABLE).ok()?;
    for part in 1.. {
        match std::env::var(variable(part)) {
            Ok(more) if !more.is_empty() => text += &more,
            _ => break,
        }
    }
    Some(text)
}

/// Says whether this process was started as a worker.
#[must_use]
pub fn is_worker() -> bool {
    std::env::var_os(TASK_VARIABLE).is_some()
}

/// The tasks that a program can be started for, by name: a worker binary.
///
/// ```no_run
/// use ringway::runtime::{Methods, Worker};
///
/// fn main() {
///     Worker::new()
///         .task("shout", |task| {
///             while let Some(packet) = task.recv()? {
///                 task.send_packet(&packet)?;
///             }
///             Ok(())
///         })
///         .service("clock", || Methods::new().on("now", |_, (): ()| Ok(42_u64)))
///         .run()
/// }
/// ```
#[derive(Clone, Default)]
pub struct Worker {
    tasks: BTreeMap<String, TaskFn>,
    services: BTreeMap<String, ServiceFn>,
    strategies: BTreeMap<(String, u32), GroupStrategy>,
}

impl Worker {
    /// Knows nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a task's function.
    #[must_use]
    pub fn task(
        mut self,
        name: &str,
        run: impl Fn(&mut TaskContext) -> TaskResult + Send + Sync + 'static,
    ) -> Self {
        self.tasks.insert(name.to_owned(), Arc::new(run));
        self
    }

    /// Adds a service.
    #[must_use]
    pub fn service(
        mut self,
        name: &str,
        make: impl Fn() -> Methods + Send + Sync + 'static,
    ) -> Self {
        self.services.insert(name.to_owned(), Arc::new(make));
        self
    }

    /// Runs what the dispatcher started this process for, and ends the process. Where no dispatcher
    /// did, says so on standard error.
    pub fn run(&self) -> ! {
        self.run_if_asked();
        eprintln!("this program is a worker: a dispatcher starts it");
        std::process::exit(NOT_STARTED)
    }

    /// The same, but returns where no dispatcher started this process.
    pub fn run_if_asked(&self) {
        let Some(text) = spec_text() else { return };
        match self.start(&text) {
            Ok(true) => std::process::exit(0),
            // It was told on the way.
            Ok(false) => std::process::exit(1),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(NOT_STARTED)
            }
        }
    }

    fn start(&self, text: &str) -> Result<bool, TaskError> {
        let spec = read_spec(text)?;
        follow_dispatcher(spec.dispatcher)?;
        let name = &spec.instance.task;
        let run = match (self.tasks.get(name), self.services.get(name), spec.kind) {
            (Some(run), _, super::Kind::Source | super::Kind::Operator) => Run::Task(run),
            (_, Some(make), super::Kind::Service) => Run::Service(make),
            _ => {
                let have: Vec<_> = self.tasks.keys().chain(self.services.keys()).collect();
                return Err(format!("this program has no task {name:?}; it has {have:?}").into());
            }
        };
        self.run_spec(spec, &run)
    }

    fn run_spec(&self, mut spec: TaskSpec, run: &Run<'_>) -> Result<bool, TaskError> {
        for (group, strategy) in &mut spec.output.strategies {
            if let Some(bound) = self.strategies.get(&(spec.instance.task.clone(), *group)) {
                strategy.clone_from(bound);
            }
        }
        let mut tether = Tether::attach(&spec)?;
        tether.tell(Event::Started)?;
        let panic = keep_panic_message();
        let why = match run {
            Run::Task(run) => {
                let mut context = TaskContext::open(&spec, tether)?;
                match caught(&panic, || run(&mut context)) {
                    Ok(()) => return Ok(ended(context.finish())),
                    Err(why) => {
                        context.fail(&why);
                        why
                    }
                }
            }
            Run::Service(make) => {
                let mut server = Server::open(&spec, tether, make())?;
                match caught(&panic, || server.run()) {
                    Ok(()) => return Ok(ended(server.finish())),
                    Err(why) => {
                        server.fail(&why);
                        why
                    }
                }
            }
        };
        eprintln!("{}: {why}", spec.instance);
        Ok(false)
    }
}

enum Run<'a> {
    Task(&'a TaskFn),
    Service(&'a ServiceFn),
}

fn read_spec(text: &str) -> Result<TaskSpec, TaskError> {
    // The version first: the rest may look different in another one.
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text)
        .map_err(|error| format!("{TASK_VARIABLE} holds no spec of a task: {error}"))?;
    if version != SPEC_VERSION {
        return Err(format!(
            "the spec has version {version}, but this program knows version {SPEC_VERSION}"
        )
        .into());
    }
    Ok(serde_json::from_str(text).map_err(|error| format!("the spec cannot be read: {error}"))?)
}

/// Dies with the dispatcher from now on, and leaves Ctrl-C to it.
fn follow_dispatcher(dispatcher: u32) -> Result<(), TaskError> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    SigSet::from_iter([Signal::SIGINT]).thread_block()?;
    if u32::try_from(nix::unistd::getppid().as_raw()) == Ok(dispatcher) {
        return Ok(());
    }
    Err("the dispatcher that started this process is gone, or is not its parent".into())
}

type PanicMessage = Arc<Mutex<Option<String>>>;

/// Keeps the message of the next panic, with its place, besides what is done with it anyway.
fn keep_panic_message() -> PanicMessage {
    let kept = PanicMessage::default();
    let keep = Arc::clone(&kept);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let place = info.location().map_or_else(String::new, |place| format!(" at {place}"));
        let message = format!("panicked{place}: {}", text.unwrap_or_default());
        *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(message);
        usual(info);
    }));
    kept
}

/// Runs a task's function; an error or a panic becomes the reason. A source that stops as it was
/// asked to has no reason.
fn caught(panic: &PanicMessage, run: impl FnOnce() -> TaskResult) -> Result<(), String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) if is_stopping(&*error) => Ok(()),
        Ok(Err(error)) => Err(format!("failed: {}", chain(&*error))),
        Err(_) => {
            let message = panic.lock().unwrap_or_else(PoisonError::into_inner).take();
            Err(message.unwrap_or_else(|| "panicked".into()))
        }
    }
}

fn is_stopping(error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    error.is::<Stopping>()
        || matches!(error.downcast_ref::<ContextError>(), Some(ContextError::Stopping(_)))
}

/// An error with what caused it, where its own text does not say so already.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn ended(result: Result<(), ContextError>) -> bool {
    if let Err(error) = &result {
        eprintln!("{error}");
    }
    result.is_ok()
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.tasks.keys().chain(self.services.keys()).collect();
        f.debug_struct("Worker").field("names", &names).finish()
    }
}

impl JobGraph {
    /// The functions of its tasks and services, for a worker.
    #[must_use]
    pub fn worker(&self) -> Worker {
        let mut worker = Worker::new();
        for node in &*self.nodes.borrow() {
            let name = node.name.clone();
            match &node.body {
                Body::Source(run) | Body::Operator(run) => {
                    worker.tasks.insert(name, Arc::clone(run));
                }
                Body::Service(make) => {
                    worker.services.insert(name, Arc::clone(make));
                }
                Body::Elsewhere(_) => {}
            }
            let links = self.links.borrow();
            for (group, link) in (0..).zip(links.iter().filter(|link| link.from == node.name)) {
                worker.strategies.insert((node.name.clone(), group), link.edge.strategy.clone());
            }
        }
        worker
    }

    /// Where a dispatcher started this process as a worker, runs its task and ends the process. To be
    /// called as soon as the graph is built: what `main` does before, every worker does, too.
    pub fn run_if_worker(&self) {
        if is_worker() {
            self.worker().run_if_asked();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Edge, JobGraph, JobId, TaskSpec};
    use super::{PART, environment};
    use crate::queue::Side;

    #[test]
    fn a_spec_larger_than_a_variable_goes_in_several_and_comes_back_whole() {
        let graph = JobGraph::new("wide");
        graph.source("one", |_| Ok(()));
        graph.operator("many", |_| Ok(())).parallelism(800);
        graph.connect("one", "many", Edge::round_robin());
        let plan = graph.compile(JobId::new("wide")).unwrap();
        let parts = environment(&plan.tasks[0]).unwrap();
        assert!(parts.len() > 2, "{} parts", parts.len());
        assert!(parts.iter().all(|(_, part)| part.len() <= PART));
        assert_eq!(parts[0].0, "RINGWAY_TASK");
        assert_eq!((parts[1].0.as_str(), parts.last().unwrap().1.as_str()), ("RINGWAY_TASK_1", ""));
        let whole: String = parts.into_iter().map(|(_, part)| part).collect();
        let read: TaskSpec = serde_json::from_str(&whole).unwrap();
        assert_eq!(read, plan.tasks[0]);
    }

    #[test]
    fn ring_modes_follow_from_the_graph() {
        let graph = JobGraph::new("modes");
        graph.source("one", |_| Ok(()));
        graph.source("two", |_| Ok(())).parallelism(2);
        graph.operator("alone", |_| Ok(()));
        graph.operator("fed-by-two", |_| Ok(()));
        graph.operator("workers", |_| Ok(())).parallelism(3);
        graph.connect("one", "alone", Edge::round_robin());
        graph.connect("two", "fed-by-two", Edge::round_robin());
        graph.connect("one", "workers", Edge::shared());
        let plan = graph.compile(JobId::new("modes")).unwrap();
        let modes = |name: &str| {
            let ring = plan.rings.iter().find(|ring| ring.name == name).unwrap();
            (ring.config.producers, ring.config.consumers)
        };
        assert_eq!(modes("alone-0"), (Side::Single, Side::Single));
        assert_eq!(modes("fed-by-two-0"), (Side::Multi, Side::Single));
        assert_eq!(modes("workers"), (Side::Single, Side::Multi));
    }
}
