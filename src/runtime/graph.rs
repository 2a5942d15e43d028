//! The graph of a job: tasks, services, and the edges between them, as the user says it.
//!
//! A graph is built anew in every process of the job, by the same code: the dispatcher compiles it,
//! a worker finds its own function in it by name. It names processes and rings and touches none.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::compile;
use super::context::TaskContext;
use super::error::{GraphError, TaskResult};
use super::plan::JobPlan;
use super::service::Methods;
use super::validate;
use crate::routing::{Choice, CustomStrategy, GroupStrategy, GroupView, PacketRef};
use crate::routing::{FullPolicy, PartitionStrategy};

pub(crate) type TaskFn = Arc<dyn Fn(&mut TaskContext) -> TaskResult + Send + Sync>;
pub(crate) type ServiceFn = Arc<dyn Fn() -> Methods + Send + Sync>;

/// When an instance that failed is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// How many times at most; 0 for never.
    pub max: u32,
    /// How long to wait before the first time; twice as long before each further one.
    pub backoff: Duration,
}

impl Restart {
    /// Never: the job fails with the instance. The default.
    pub const NEVER: Self = Self { max: 0, backoff: Duration::ZERO };

    /// Up to `max` times, at first after 10 ms.
    #[must_use]
    pub const fn on_failure(max: u32) -> Self {
        Self { max, backoff: Duration::from_millis(10) }
    }

    /// Sets the first backoff.
    #[must_use]
    pub const fn with_backoff(mut self, backoff: Duration) -> Self {
        self.backoff = backoff;
        self
    }

    /// How long to wait before the nth restart, from 1: at most half a minute.
    pub(crate) fn delay(self, nth: u32) -> Duration {
        let doublings = nth.saturating_sub(1).min(16);
        self.backoff.saturating_mul(1 << doublings).min(Duration::from_secs(30))
    }
}

/// An edge from one task to another: a branch of its own, which gets every packet of the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    pub(crate) strategy: GroupStrategy,
    pub(crate) policy: FullPolicy,
    pub(crate) input_index: u32,
    pub(crate) capacity: u64,
    pub(crate) max_payload: u64,
    pub(crate) shared: bool,
    pub(crate) ring: Option<String>,
}

/// Packets that an edge's ring holds unless it says otherwise.
pub(crate) const DEFAULT_CAPACITY: u64 = 1024;
/// Longest payload of an edge that does not say, in bytes.
pub(crate) const DEFAULT_MAX_PAYLOAD: u64 = 64 << 10;

impl Edge {
    /// Instances in turn: the default.
    #[must_use]
    pub fn round_robin() -> Self {
        Self::by(PartitionStrategy::RoundRobin { skip_full: false })
    }

    /// The instance that the packet's key belongs to.
    #[must_use]
    pub fn hash() -> Self {
        Self::by(PartitionStrategy::Hash)
    }

    /// Every instance.
    #[must_use]
    pub fn broadcast() -> Self {
        Self::by(PartitionStrategy::Broadcast)
    }

    /// The less loaded of two instances.
    #[must_use]
    pub fn least_loaded() -> Self {
        Self::by(PartitionStrategy::LeastLoaded { full_scan: false })
    }

    /// One queue for all instances, each of which takes what it can: a work queue. It is the task's
    /// only input.
    #[must_use]
    pub fn shared() -> Self {
        Self { shared: true, ..Self::round_robin() }
    }

    /// As a function says.
    pub fn custom(
        name: &str,
        pick: impl Fn(&PacketRef<'_>, &GroupView<'_>) -> Choice + Send + Sync + 'static,
    ) -> Self {
        Self { strategy: CustomStrategy::new(name, pick).into(), ..Self::round_robin() }
    }

    /// As a strategy says.
    #[must_use]
    pub fn by(strategy: PartitionStrategy) -> Self {
        Self {
            strategy: strategy.into(),
            policy: FullPolicy::default(),
            input_index: 0,
            capacity: DEFAULT_CAPACITY,
            max_payload: DEFAULT_MAX_PAYLOAD,
            shared: false,
            ring: None,
        }
    }

    /// Sets which input of the receiver it is.
    #[must_use]
    pub fn input(mut self, input_index: u32) -> Self {
        self.input_index = input_index;
        self
    }

    /// Sets how many packets the ring holds. Of several edges into one ring the largest counts.
    #[must_use]
    pub fn capacity(mut self, packets: u64) -> Self {
        self.capacity = packets;
        self
    }

    /// Sets the longest payload that must fit, in bytes.
    #[must_use]
    pub fn max_payload(mut self, bytes: u64) -> Self {
        self.max_payload = bytes;
        self
    }

    /// Sets what happens when the ring is full.
    #[must_use]
    pub fn full_policy(mut self, policy: FullPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Names the receivers' rings: `NAME-0`, `NAME-1`, …; by default as the task.
    #[must_use]
    pub fn ring(mut self, name: &str) -> Self {
        self.ring = Some(name.to_owned());
        self
    }

    /// Says whether a packet that is sent again goes where it went the first time.
    pub(crate) fn is_repeatable(&self) -> bool {
        use PartitionStrategy::{Broadcast, Hash, RoundRobin};
        let fixed = [Hash, Broadcast, RoundRobin { skip_full: false }];
        !self.shared
            && matches!(&self.strategy, GroupStrategy::Standard(strategy) if fixed.contains(strategy))
    }
}

#[derive(Clone)]
pub(crate) enum Body {
    Source(TaskFn),
    Operator(TaskFn),
    Service(ServiceFn),
    /// In the worker binary.
    Elsewhere(Kind),
}

/// What a node of the graph is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Has no input, and is asked to stop.
    Source,
    /// Has an input.
    Operator,
    /// Answers requests.
    Service,
}

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) body: Body,
    pub(crate) parallelism: u32,
    pub(crate) restart: Restart,
    pub(crate) keyed: bool,
    pub(crate) uses: Vec<String>,
    pub(crate) keeps_stdin: bool,
    pub(crate) max_payload: u64,
}

impl Node {
    pub(crate) fn kind(&self) -> Kind {
        match self.body {
            Body::Source(_) => Kind::Source,
            Body::Operator(_) => Kind::Operator,
            Body::Service(_) => Kind::Service,
            Body::Elsewhere(kind) => kind,
        }
    }
}

#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) edge: Edge,
}

/// A job's tasks and services, and the edges between them.
///
/// ```
/// use ringway::runtime::{Edge, JobGraph};
/// use ringway::routing::Packet;
///
/// let graph = JobGraph::new("squares");
/// graph.source("numbers", |task| {
///     for number in 1..=10_u64 {
///         task.send(&Packet::of(&number)?.view())?;
///     }
///     Ok(())
/// });
/// graph
///     .operator("adder", |task| {
///         let mut sum = 0;
///         while let Some(packet) = task.recv()? {
///             sum += packet.decode::<u64>()?.pow(2);
///         }
///         task.result(&sum.to_le_bytes())
///     })
///     .parallelism(2);
/// graph.connect("numbers", "adder", Edge::round_robin());
/// println!("{}", graph.explain().unwrap());
/// # assert!(graph.explain().unwrap().contains("adder-1"));
/// ```
pub struct JobGraph {
    name: String,
    pub(crate) nodes: RefCell<Vec<Node>>,
    pub(crate) links: RefCell<Vec<Link>>,
}

impl JobGraph {
    /// Begins a graph. The name is the job's, `[A-Za-z0-9._-]`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), nodes: RefCell::default(), links: RefCell::default() }
    }

    /// The job's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a source: a task without input. It should leave its function when
    /// [`TaskContext::is_stopping`] says so; every send fails with [`super::Stopping`] then.
    pub fn source(
        &self,
        name: &str,
        run: impl Fn(&mut TaskContext) -> TaskResult + Send + Sync + 'static,
    ) -> NodeRef<'_> {
        self.add(name, Body::Source(Arc::new(run)))
    }

    /// Adds a task with input. One that sends nothing is a sink.
    pub fn operator(
        &self,
        name: &str,
        run: impl Fn(&mut TaskContext) -> TaskResult + Send + Sync + 'static,
    ) -> NodeRef<'_> {
        self.add(name, Body::Operator(Arc::new(run)))
    }

    /// Adds a service; `make` makes the methods of each instance.
    pub fn service(
        &self,
        name: &str,
        make: impl Fn() -> Methods + Send + Sync + 'static,
    ) -> NodeRef<'_> {
        self.add(name, Body::Service(Arc::new(make)))
    }

    /// Adds a task or service whose function another program has, the dispatcher's worker binary.
    pub fn elsewhere(&self, name: &str, kind: Kind) -> NodeRef<'_> {
        self.add(name, Body::Elsewhere(kind))
    }

    fn add(&self, name: &str, body: Body) -> NodeRef<'_> {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node {
            name: name.to_owned(),
            body,
            parallelism: 1,
            restart: Restart::NEVER,
            keyed: false,
            uses: Vec::new(),
            keeps_stdin: false,
            max_payload: DEFAULT_MAX_PAYLOAD,
        });
        NodeRef { graph: self, index: nodes.len() - 1 }
    }

    /// Leads everything that a task sends to another one as well.
    pub fn connect(&self, from: &str, to: &str, edge: Edge) {
        self.links.borrow_mut().push(Link { from: from.to_owned(), to: to.to_owned(), edge });
    }

    /// Says what is wrong with it.
    ///
    /// # Errors
    /// The first [`GraphError`] found.
    pub fn validate(&self) -> Result<(), GraphError> {
        validate::check(&self.name, &self.nodes.borrow(), &self.links.borrow())
    }

    /// Compiles it for a job that would have this id.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn compile(&self, id: super::JobId) -> Result<JobPlan, GraphError> {
        self.validate()?;
        compile::compile(id, &self.nodes.borrow(), &self.links.borrow())
    }

    /// Prints the plan as a table: the tasks with what they read and feed, and the rings with their
    /// modes.
    ///
    /// # Errors
    /// See [`GraphError`].
    pub fn explain(&self) -> Result<String, GraphError> {
        Ok(self.compile(super::JobId::new(&self.name))?.explain())
    }
}

impl std::fmt::Debug for JobGraph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.nodes.borrow().iter().map(|node| node.name.clone()).collect();
        f.debug_struct("JobGraph").field("name", &self.name).field("nodes", &names).finish()
    }
}

/// A node of a graph that is being built, for what else is to be said of it.
#[derive(Clone, Copy, Debug)]
pub struct NodeRef<'a> {
    pub(crate) graph: &'a JobGraph,
    pub(crate) index: usize,
}

impl NodeRef<'_> {
    pub(crate) fn name(self) -> String {
        self.graph.nodes.borrow().get(self.index).map(|node| node.name.clone()).unwrap_or_default()
    }

    pub(crate) fn change(self, change: impl FnOnce(&mut Node)) -> Self {
        if let Some(node) = self.graph.nodes.borrow_mut().get_mut(self.index) {
            change(node);
        }
        self
    }

    /// Sets how many instances there are.
    pub fn parallelism(self, instances: u32) -> Self {
        self.change(|node| node.parallelism = instances)
    }

    /// Sets when a failed instance is started again.
    pub fn restart(self, restart: Restart) -> Self {
        self.change(|node| node.restart = restart)
    }

    /// Says that every packet it sends has a key, so that its edges may be hashed.
    pub fn keyed(self) -> Self {
        self.change(|node| node.keyed = true)
    }

    /// Says that it calls a service.
    pub fn uses(self, service: &str) -> Self {
        self.change(|node| node.uses.push(service.to_owned()))
    }

    /// Gives its instances the dispatcher's standard input, which the others do not have.
    pub fn keeps_stdin(self) -> Self {
        self.change(|node| node.keeps_stdin = true)
    }

    /// Sets the longest request and reply of a service, in bytes.
    pub fn max_payload(self, bytes: u64) -> Self {
        self.change(|node| node.max_payload = bytes)
    }
}
