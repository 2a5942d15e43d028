//! From the graph to the plan: which rings there are, in which mode, and who is told what.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::error::GraphError;
use super::graph::{Kind, Link, Node};
use super::plan::{
    COMMAND_PAYLOAD, CONTROL, CONTROL_PAYLOAD, InputSpec, JobId, JobPlan, Progress, RingPlan,
    SPEC_VERSION, ServeSpec, TaskSpec, command_ring,
};
use crate::error::OpenError;
use crate::queue::{QueueConfig, QueueDescriptor, Side};
use crate::routing::{Connection, InstanceId, RouterConfig};
use crate::shm::Lifetime;

fn requests_ring(service: &str) -> String {
    format!("_requests-{service}")
}

fn replies_ring(place: u32) -> String {
    format!("_replies-{place}")
}

/// Room for a packet's key, provenance and header beside its payload.
const HEADER_BYTES: u64 = 128;
/// Requests, or replies, that wait for one process.
const CALLS: u64 = 256;

struct Compiler<'a> {
    job: JobId,
    nodes: &'a [Node],
    links: &'a [Link],
    rings: Vec<RingPlan>,
}

pub(super) fn compile(job: JobId, nodes: &[Node], links: &[Link]) -> Result<JobPlan, GraphError> {
    let mut compiler = Compiler { job, nodes, links, rings: Vec::new() };
    let mut tasks = Vec::new();
    for node in nodes {
        compiler.data_rings(node)?;
    }
    let mut place = 0;
    for node in nodes {
        for index in 0..node.parallelism {
            tasks.push(compiler.task(node, index, place)?);
            place += 1;
        }
    }
    compiler.service_rings(&mut tasks);
    compiler.own_rings(&tasks);
    for ring in &compiler.rings {
        let geometry = ring.config.geometry();
        geometry.map_err(|source| GraphError::Ring { ring: ring.name.clone(), source })?;
    }
    Ok(JobPlan { job: compiler.job, tasks, rings: compiler.rings })
}

impl Compiler<'_> {
    fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    fn links_to(&self, name: &str) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(move |link| link.to == name)
    }

    fn is_shared(&self, name: &str) -> bool {
        self.links_to(name).any(|link| link.edge.shared)
    }

    /// The rings that the instances of a node read: one for each, or one for all.
    fn ring_name(&self, node: &Node, index: u32) -> String {
        let named = self.links_to(&node.name).find_map(|link| link.edge.ring.as_deref());
        let name = named.unwrap_or(&node.name);
        if self.is_shared(&node.name) { name.to_owned() } else { format!("{name}-{index}") }
    }

    fn may_restart(&self, name: &str) -> bool {
        self.node(name).is_some_and(|node| node.restart.max > 0)
    }

    fn restarts(&self, link: &Link) -> bool {
        self.may_restart(&link.from) || self.may_restart(&link.to)
    }

    /// Whether the packets of an edge are numbered, because either side may restart. Numbers help
    /// only where a packet that is sent again gets the same one and goes the same way: so an operator
    /// that restarts must receive the same again, in the same order.
    fn is_numbered(&self, link: &Link) -> bool {
        let same_again = || self.links_to(&link.from).all(|link| self.is_numbered(link));
        self.restarts(link)
            && link.edge.is_repeatable()
            && (!self.may_restart(&link.from) || same_again())
    }

    fn data_rings(&mut self, node: &Node) -> Result<(), GraphError> {
        let links: Vec<&Link> = self.links_to(&node.name).collect();
        let Some(first) = links.first() else { return Ok(()) };
        let shared = first.edge.shared;
        let most = |what: fn(&Link) -> u64| links.iter().map(|link| what(link)).max().unwrap_or(0);
        let (capacity, payload) =
            (most(|link| link.edge.capacity), most(|link| link.edge.max_payload));
        let feeders = links.iter().filter_map(|link| self.node(&link.from));
        let feeders: u32 = feeders.map(|from| from.parallelism).sum();
        let names: Vec<_> = links.iter().map(|link| link.from.as_str()).collect();
        let exactly_once = links.iter().all(|link| !self.restarts(link) || self.is_numbered(link));
        let config = QueueConfig {
            capacity_packets: Some(capacity),
            max_payload: Some(payload + HEADER_BYTES),
            capacity_bytes: Some(capacity * 64),
            // Two edges of one instance are two producers.
            producers: if feeders == 1 { Side::Single } else { Side::Multi },
            consumers: if shared && node.parallelism > 1 { Side::Multi } else { Side::Single },
            ..QueueConfig::default()
        };
        let from = names.join(" + ");
        let rings: Vec<RingPlan> = (0..if shared { 1 } else { node.parallelism })
            .map(|index| RingPlan {
                name: self.ring_name(node, index),
                config: config.clone(),
                from: from.clone(),
                to: if shared { node.name.clone() } else { format!("{}#{index}", node.name) },
                exactly_once,
            })
            .collect();
        for ring in rings {
            if self.rings.iter().any(|other| other.name == ring.name) {
                let reason = "two rings would have it".into();
                return Err(GraphError::BadName { what: "ring", name: ring.name, reason });
            }
            self.rings.push(ring);
        }
        Ok(())
    }

    fn task(&self, node: &Node, index: u32, place: u32) -> Result<TaskSpec, GraphError> {
        let instance = InstanceId::new(&node.name, index);
        let shared = self.is_shared(&node.name);
        let input = self.links_to(&node.name).next().map(|_| InputSpec {
            ring: self.ring_name(node, index),
            shared,
            upstreams: if shared { Vec::new() } else { self.upstreams(&node.name) },
        });
        let (mut connections, mut output) = (Vec::new(), RouterConfig::default());
        let mut numbered = BTreeSet::new();
        for (group, link) in (0..).zip(self.links.iter().filter(|link| link.from == node.name)) {
            let Some(to) = self.node(&link.to) else { continue };
            let targets = if link.edge.shared { 1 } else { to.parallelism };
            for target in 0..targets {
                let ring = self.ring_name(to, target);
                let wrong = |source| GraphError::Ring { ring: ring.clone(), source };
                let descriptor = self.descriptor(&ring).map_err(wrong)?;
                let name = if link.edge.shared {
                    to.name.clone()
                } else {
                    InstanceId::new(&to.name, target).to_string()
                };
                connections.push(
                    Connection::new(group, target, name, descriptor)
                        .with_target_input_index(link.edge.input_index)
                        .with_full_policy(link.edge.policy),
                );
            }
            output.strategies.insert(group, link.edge.strategy.clone());
            if self.is_numbered(link) {
                numbered.insert(group);
            }
        }
        output.connections = connections;
        let services = node.uses.iter().map(|name| (name.clone(), requests_ring(name))).collect();
        Ok(TaskSpec {
            version: SPEC_VERSION,
            job: self.job.clone(),
            directory: PathBuf::new(),
            dispatcher: 0,
            instance,
            place,
            kind: node.kind(),
            parallelism: node.parallelism,
            attempt: 0,
            restart: node.restart,
            input,
            output,
            numbered,
            services,
            replies: (!node.uses.is_empty()).then(|| replies_ring(place)),
            serve: None,
            progress: Progress::default(),
            keeps_stdin: node.keeps_stdin,
        })
    }

    fn upstreams(&self, name: &str) -> Vec<(InstanceId, u32)> {
        let all = self.links_to(name).filter_map(|link| {
            let from = self.node(&link.from)?;
            let input = link.edge.input_index;
            Some((0..from.parallelism).map(move |i| (InstanceId::new(&from.name, i), input)))
        });
        all.flatten().collect()
    }

    fn descriptor(&self, ring: &str) -> Result<QueueDescriptor, OpenError> {
        let config = self.rings.iter().find(|plan| plan.name == ring).map(|plan| &plan.config);
        QueueDescriptor::shm(&format!("{}:{ring}", self.job.segment()))?
            .with_lifetime(Lifetime::Job)?
            .with_config(config.cloned().unwrap_or_default())
    }

    /// The rings of requests and replies, and who uses them.
    fn service_rings(&mut self, tasks: &mut [TaskSpec]) {
        let nodes = self.nodes;
        for service in nodes.iter().filter(|node| node.kind() == Kind::Service) {
            let clients: Vec<u32> = tasks
                .iter()
                .filter(|task| task.services.contains_key(&service.name))
                .map(|task| task.place)
                .collect();
            let requests = requests_ring(&service.name);
            for task in tasks.iter_mut().filter(|task| task.instance.task == service.name) {
                let replies = clients.iter().map(|&place| (place, replies_ring(place))).collect();
                task.serve = Some(ServeSpec { requests: requests.clone(), replies });
            }
            let single = |one| if one { Side::Single } else { Side::Multi };
            let config = call_config(
                service.max_payload,
                single(clients.len() == 1),
                single(service.parallelism == 1),
            );
            let from = format!("{} clients", clients.len());
            self.push(&requests, config, &from, &service.name);
        }
        for task in tasks.iter().filter(|task| task.replies.is_some()) {
            let services: Vec<&Node> =
                task.services.keys().filter_map(|name| self.node(name)).collect();
            let servers: u32 = services.iter().map(|node| node.parallelism).sum();
            let payload = services.iter().map(|node| node.max_payload).max().unwrap_or(0);
            let producers = if servers == 1 { Side::Single } else { Side::Multi };
            let config = call_config(payload, producers, Side::Single);
            let from: Vec<_> = services.iter().map(|node| node.name.clone()).collect();
            self.push(
                &replies_ring(task.place),
                config,
                &from.join(" + "),
                &task.instance.to_string(),
            );
        }
    }

    /// The rings between the dispatcher and its workers.
    fn own_rings(&mut self, tasks: &[TaskSpec]) {
        let control = QueueConfig {
            capacity_packets: Some(1024),
            capacity_bytes: Some(1 << 20),
            max_payload: Some(CONTROL_PAYLOAD),
            consumers: Side::Single,
            ..QueueConfig::default()
        };
        self.push(CONTROL, control, "workers", "dispatcher");
        for task in tasks {
            let command = QueueConfig {
                capacity_packets: Some(8),
                capacity_bytes: Some(4 * COMMAND_PAYLOAD),
                max_payload: Some(COMMAND_PAYLOAD),
                producers: Side::Single,
                consumers: Side::Single,
                ..QueueConfig::default()
            };
            let to = task.instance.to_string();
            self.push(&command_ring(task.place), command, "dispatcher", &to);
        }
    }

    fn push(&mut self, name: &str, config: QueueConfig, from: &str, to: &str) {
        let (name, from, to) = (name.to_owned(), from.to_owned(), to.to_owned());
        self.rings.push(RingPlan { name, config, from, to, exactly_once: true });
    }
}

fn call_config(max_payload: u64, producers: Side, consumers: Side) -> QueueConfig {
    QueueConfig {
        capacity_packets: Some(CALLS),
        capacity_bytes: Some(CALLS * 256),
        max_payload: Some(max_payload + HEADER_BYTES),
        producers,
        consumers,
        ..QueueConfig::default()
    }
}
