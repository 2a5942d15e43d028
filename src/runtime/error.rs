//! What can be wrong with a graph, a job, and a worker.

use std::path::PathBuf;

use crate::error::OpenError;
use crate::routing::InstanceId;

/// What a task's function fails with: anything, for people.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;

/// What a task's function returns.
pub type TaskResult = Result<(), TaskError>;

/// Why a graph makes no job. All are permanent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A name is not `[A-Za-z0-9._-]`, or too long to name a ring by.
    #[error("{what} {name:?}: {reason}")]
    BadName {
        /// What it was to name.
        what: &'static str,
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Two tasks or services have one name.
    #[error("two tasks are called {name:?}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// An edge names a task that there is not.
    #[error("an edge leads {from} -> {to}, but there is no task {unknown:?}; there are {have:?}")]
    UnknownTask {
        /// Where the edge begins.
        from: String,
        /// Where it ends.
        to: String,
        /// The name that nothing has.
        unknown: String,
        /// The names there are.
        have: Vec<String>,
    },
    /// A task uses a service that nobody serves.
    #[error("{task} uses the service {service:?}, which nobody serves")]
    NoSuchService {
        /// Who uses it.
        task: String,
        /// The service.
        service: String,
    },
    /// A task shall have no instance, or more than a segment has places for.
    #[error("{task} has a parallelism of {parallelism}, which is not in 1..={max}")]
    Parallelism {
        /// The task.
        task: String,
        /// What was asked for.
        parallelism: u32,
        /// The most.
        max: u32,
    },
    /// The edges, or the uses of services, lead in a circle, and nothing would ever end.
    #[error("a cycle: {}", path.join(" -> "))]
    Cycle {
        /// The tasks on it, the first one again at the end.
        path: Vec<String>,
    },
    /// An edge is to be hashed, but its packets have no keys.
    #[error(
        "the edge {from} -> {to} is hashed, but {from} does not say that its packets have keys"
    )]
    Unkeyed {
        /// Where the edge begins.
        from: String,
        /// Where it ends.
        to: String,
    },
    /// An edge leads into a source, into or out of a service, or doubles another.
    #[error("the edge {from} -> {to}: {reason}")]
    BadEdge {
        /// Where the edge begins.
        from: String,
        /// Where it ends.
        to: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing to run.
    #[error("the graph has no task")]
    Empty,
    /// A ring cannot be made as it was asked for.
    #[error("ring {ring}: {source}")]
    Ring {
        /// The ring.
        ring: String,
        /// What is wrong.
        source: OpenError,
    },
}

/// Why a job did not come to a good end, or was not begun.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The graph is wrong.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The job's segment could not be made.
    #[error("the job's segment: {0}")]
    Segment(#[from] OpenError),
    /// An instance failed for good.
    #[error("{instance} (pid {pid}, attempt {attempt}) {cause}{}", tail(stderr))]
    Task {
        /// Which.
        instance: InstanceId,
        /// Its last process.
        pid: u32,
        /// Its last attempt, from 0.
        attempt: u32,
        /// How it ended, and why.
        cause: String,
        /// The last lines that it wrote to its standard error, unless they are the cause.
        stderr: Vec<String>,
    },
    /// A signal ended it, or [`super::JobHandle::cancel`] did.
    #[error("{}", match signal { Some(signal) => format!("interrupted by {signal}"), None => "cancelled".to_owned() })]
    Cancelled {
        /// The signal's name.
        signal: Option<&'static str>,
    },
    /// The system refused.
    #[error("{doing}: {source}")]
    System {
        /// What was being done.
        doing: String,
        /// Its answer.
        source: std::io::Error,
    },
    /// There is no running job of this name or id.
    #[error("no job {name:?} runs in {}", directory.display())]
    NoSuchJob {
        /// What was asked for.
        name: String,
        /// Where it was looked for.
        directory: PathBuf,
    },
}

fn tail(lines: &[String]) -> String {
    lines.iter().map(|line| format!("\n    {line}")).collect()
}

impl JobError {
    pub(crate) fn system(doing: impl Into<String>, source: impl Into<std::io::Error>) -> Self {
        Self::System { doing: doing.into(), source: source.into() }
    }
}

/// The end that a source was asked for, as an error to leave its function by: the task then ends
/// well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task was asked to stop")]
pub struct Stopping;

/// Why an instance cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContextError {
    /// The job is given up, and why.
    #[error("the job is given up: {0}")]
    Aborted(String),
    /// The source was asked to stop.
    #[error(transparent)]
    Stopping(#[from] Stopping),
    /// A packet could not be sent.
    #[error("{packets} packets were not sent: {problem}")]
    Send {
        /// How many, each counted once for each target.
        packets: u64,
        /// The first problem.
        problem: String,
    },
    /// The input gives an error.
    #[error("reading the input: {0}")]
    Input(#[from] crate::error::GetError),
    /// A record is no packet, or its payload is not what it should be.
    #[error("input {input} from {from}: {source}")]
    Undecodable {
        /// Which input.
        input: u32,
        /// Who sent it, as far as is known.
        from: String,
        /// What is wrong with it.
        source: crate::routing::WireError,
    },
    /// A stop signal of an instance that feeds no such input came.
    #[error("a stop signal of {0} came, which does not feed this input")]
    UnexpectedStop(InstanceId),
    /// The task has no input.
    #[error("the task has no input")]
    NoInput,
    /// The dispatcher cannot be reached.
    #[error("telling the dispatcher: {0}")]
    Dispatcher(#[from] crate::error::PutError),
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// The service has no such method. Permanent.
    #[error("{service} has no method {method:?}; it has {have:?}")]
    NoSuchMethod {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// Those that it has.
        have: Vec<String>,
    },
    /// The handler answered with an error.
    #[error("{service}.{method}: {message} (code {code})")]
    Handler {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// The handler's own code.
        code: i32,
        /// The handler's message.
        message: String,
    },
    /// The time was over before there was an answer. Transient.
    #[error("{service}.{method}: no answer within the deadline")]
    DeadlineExceeded {
        /// The service.
        service: String,
        /// The method.
        method: String,
    },
    /// The service has gone, or the job is given up. Permanent.
    #[error("{service} is gone: {why}")]
    ServiceGone {
        /// The service.
        service: String,
        /// Why.
        why: String,
    },
    /// The task did not say that it uses this service ([`super::NodeRef::uses`]). Permanent.
    #[error("the task does not say that it uses the service {service:?}")]
    Undeclared {
        /// The service.
        service: String,
    },
    /// Request or reply is not what the other side expects, or does not fit. Permanent.
    #[error("{service}.{method}: {what}")]
    Undecodable {
        /// The service.
        service: String,
        /// The method.
        method: String,
        /// What is wrong.
        what: String,
    },
}

impl CallError {
    pub(crate) fn undeclared(service: &str) -> Self {
        Self::Undeclared { service: service.to_owned() }
    }
}
