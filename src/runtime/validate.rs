//! What must hold of a graph before it is compiled.

use std::collections::{BTreeMap, BTreeSet};

use super::error::GraphError;
use super::graph::{Kind, Link, Node};
use crate::routing::{GroupStrategy, PartitionStrategy};
use crate::shm::layout::MAX_PARTICIPANTS;

/// Longest name of a task: rings are named by it.
const MAX_NAME: usize = 40;

pub(super) fn check(job: &str, nodes: &[Node], links: &[Link]) -> Result<(), GraphError> {
    check_name("job", job)?;
    if nodes.is_empty() {
        return Err(GraphError::Empty);
    }
    let mut kinds = BTreeMap::new();
    for node in nodes {
        check_name("task", &node.name)?;
        if kinds.insert(node.name.as_str(), node.kind()).is_some() {
            return Err(GraphError::DuplicateName { name: node.name.clone() });
        }
    }
    // The dispatcher is a participant, too.
    let max = MAX_PARTICIPANTS - 1;
    let mut all = 0_u32;
    for Node { name, parallelism, .. } in nodes {
        all = all.saturating_add(*parallelism);
        if *parallelism == 0 || all > max {
            let (task, parallelism) = (name.clone(), *parallelism);
            return Err(GraphError::Parallelism { task, parallelism, max });
        }
    }
    for node in nodes {
        for service in &node.uses {
            if kinds.get(service.as_str()) != Some(&Kind::Service) {
                let (task, service) = (node.name.clone(), service.clone());
                return Err(GraphError::NoSuchService { task, service });
            }
        }
    }
    check_edges(nodes, links, &kinds)?;
    check_cycles(nodes, links)
}

fn check_name(what: &'static str, name: &str) -> Result<(), GraphError> {
    let bad = |reason: String| {
        let name = name.to_owned();
        Err(GraphError::BadName { what, name, reason })
    };
    if name.len() > MAX_NAME {
        return bad(format!("{} bytes are more than {MAX_NAME}", name.len()));
    }
    if name.starts_with('_') {
        return bad("names of the runtime's own begin with _".into());
    }
    match crate::shm::names::check_ring_name("name", name) {
        Ok(()) => Ok(()),
        Err(error) => bad(error.to_string()),
    }
}

fn check_edges(
    nodes: &[Node],
    links: &[Link],
    kinds: &BTreeMap<&str, Kind>,
) -> Result<(), GraphError> {
    let mut seen = BTreeSet::new();
    let mut shared: BTreeMap<&str, bool> = BTreeMap::new();
    for Link { from, to, edge } in links {
        let bad = |reason: &str| {
            let (from, to) = (from.clone(), to.clone());
            Err(GraphError::BadEdge { from, to, reason: reason.to_owned() })
        };
        for name in [from, to] {
            if !kinds.contains_key(name.as_str()) {
                return Err(GraphError::UnknownTask {
                    from: from.clone(),
                    to: to.clone(),
                    unknown: name.clone(),
                    have: kinds.keys().map(|&name| name.to_owned()).collect(),
                });
            }
        }
        match (kinds.get(from.as_str()), kinds.get(to.as_str())) {
            (_, Some(Kind::Source)) => return bad("a source has no input"),
            (Some(Kind::Service), _) | (_, Some(Kind::Service)) => {
                return bad("services are called, not connected");
            }
            _ => {}
        }
        if !seen.insert((from, to, edge.input_index)) {
            return bad("there is another one to the same input");
        }
        if *shared.entry(to).or_insert(edge.shared) != edge.shared {
            return bad("a work queue is its reader's only input");
        }
        if let Some(ring) = &edge.ring {
            check_name("ring", ring)?;
        }
        let keyed = nodes.iter().any(|node| node.name == *from && node.keyed);
        if edge.strategy == GroupStrategy::Standard(PartitionStrategy::Hash) && !keyed {
            return Err(GraphError::Unkeyed { from: from.clone(), to: to.clone() });
        }
    }
    let fed = |node: &&Node| links.iter().any(|link| link.to == node.name);
    let operators = nodes.iter().filter(|node| node.kind() == Kind::Operator);
    match operators.into_iter().find(|node| !fed(node)) {
        Some(Node { name, .. }) => Err(GraphError::BadEdge {
            from: "nothing".into(),
            to: name.clone(),
            reason: "an operator needs an input".into(),
        }),
        None => Ok(()),
    }
}

/// Tasks wait for the end of those that feed them, services for the end of those that call them.
fn check_cycles(nodes: &[Node], links: &[Link]) -> Result<(), GraphError> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Link { from, to, .. } in links {
        next.entry(from).or_default().push(to);
    }
    for node in nodes {
        let services = node.uses.iter().map(String::as_str);
        next.entry(&node.name).or_default().extend(services);
    }
    let mut done = BTreeSet::new();
    for node in nodes {
        let mut path: Vec<(&str, usize)> = vec![(&node.name, 0)];
        while let Some((name, at)) = path.last_mut() {
            let following = next.get(name).and_then(|all| all.get(*at)).copied();
            *at += 1;
            let Some(following) = following else {
                done.insert(*name);
                path.pop();
                continue;
            };
            if let Some(start) = path.iter().position(|(name, _)| *name == following) {
                let mut path: Vec<String> =
                    path[start..].iter().map(|(name, _)| (*name).to_owned()).collect();
                path.push(following.to_owned());
                return Err(GraphError::Cycle { path });
            }
            if !done.contains(following) {
                path.push((following, 0));
            }
        }
    }
    Ok(())
}
