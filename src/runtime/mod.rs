//! Jobs: a graph of tasks and services becomes supervised processes.
//!
//! ```text
//! JobGraph ─▶ JobPlan ─▶ Dispatcher ─▶ a process for each instance ─▶ TaskContext, ServiceContext
//! ```
//!
//! A [`JobGraph`] names sources, operators and services and connects them; it is compiled into a
//! plan of one segment with all rings, and a spec for each instance. The [`Dispatcher`] starts the
//! current program again for each, or a worker binary, watches the processes, starts failed ones
//! again where they may, and leaves nothing behind. A task is an ordinary function of a
//! [`TaskContext`], a service a set of [`Methods`]. `docs/jobs.md` says what is promised about
//! delivery, ends and failures, `docs/guide.md` shows how to use it.
//!
//! Everything here blocks; there is no executor and no thread but the dispatcher's one.

mod call;
mod compile;
mod context;
mod dispatcher;
mod error;
mod explain;
mod graph;
mod input;
mod instance;
mod manager;
mod output;
mod pace;
mod plan;
mod process;
mod report;
mod request;
mod service;
mod stream;
mod supervise;
mod tether;
mod validate;
mod worker;

pub use call::PendingCall;
pub use context::{Identity, TaskContext};
pub use dispatcher::{Dispatcher, Interrupt, JobHandle};
pub use error::{CallError, ContextError, GraphError, JobError, Stopping, TaskError, TaskResult};
pub use graph::{Edge, JobGraph, Kind, NodeRef, Restart};
pub use manager::{JobEntry, JobManager, segment_prefix};
pub use output::Output;
pub use plan::{InputSpec, JobId, JobPlan, Progress, RingPlan, SPEC_VERSION, ServeSpec, TaskSpec};
pub use report::{JobReport, JobStatus, RingReport, TaskState, TaskStatus};
pub use service::{HandlerError, Methods, ServiceContext};
pub use stream::{Emitter, Stream};
pub use tether::Counters;
pub use worker::{Worker, is_worker};
