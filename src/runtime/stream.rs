//! The graph as streams of typed values: sources, maps, keys, reductions, sinks.
//!
//! Sugar over [`JobGraph`]: each operator is a task whose function decodes its packets with postcard,
//! calls a closure, and sends what that gives. A stream is what an operator sends; using it twice is a
//! branch, each of which gets everything.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::context::TaskContext;
use super::error::{ContextError, TaskError, TaskResult};
use super::graph::{Body, Edge, JobGraph, NodeRef, Restart};
use super::output::Output;
use crate::routing::{KeyRef, PacketRef, PartitionKey};

/// What keys a value; set by [`Stream::key_by`] when the operator exists already.
type KeyFn<T> = Arc<dyn Fn(&T) -> PartitionKey + Send + Sync>;

/// Where a source or an operator puts its values.
pub struct Emitter<'a, T> {
    output: &'a mut Output,
    key: Option<&'a KeyFn<T>>,
    buffer: &'a mut Vec<u8>,
}

impl<T: Serialize> Emitter<'_, T> {
    /// Sends a value on.
    ///
    /// # Errors
    /// As [`Output::send`]: a source that was asked to stop gets [`super::Stopping`], and returns it.
    pub fn emit(&mut self, value: &T) -> TaskResult {
        self.buffer.clear();
        let bytes = postcard::to_extend(value, std::mem::take(self.buffer))?;
        let key = self.key.map(|key| key(value));
        let mut packet = PacketRef::new(&bytes);
        packet.partition_key = key.as_ref().map(KeyRef::from);
        let sent = self.output.send(&packet);
        *self.buffer = bytes;
        Ok(sent?)
    }
}

impl<T> std::fmt::Debug for Emitter<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emitter").finish_non_exhaustive()
    }
}

type RunFn<T> =
    Arc<dyn Fn(&mut TaskContext, Option<&KeyFn<T>>) -> TaskResult + Send + Sync + 'static>;

/// A stream of values: what one operator of a graph sends.
///
/// ```
/// use ringway::runtime::{Edge, JobGraph, Restart};
///
/// let graph = JobGraph::new("letters");
/// graph
///     .stream("lines", |out| ["a rose", "is a rose"].iter().try_for_each(|l| out.emit(&l.to_string())))
///     .flat_map("words", |line: String| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
///     .parallelism(2)
///     .restart(Restart::on_failure(3))
///     .key_by(|word| word.as_str().into())
///     .reduce("count", || 0_u64, |count, _word| *count += 1)
///     .parallelism(2)
///     .sink("print", |(word, count)| Ok(println!("{word:?} {count}")));
/// assert!(graph.validate().is_ok());
/// ```
pub struct Stream<'g, T> {
    node: NodeRef<'g>,
    run: RunFn<T>,
    edge: Edge,
}

impl JobGraph {
    /// Adds a source of typed values.
    pub fn stream<T: Serialize + 'static>(
        &self,
        name: &str,
        produce: impl Fn(&mut Emitter<'_, T>) -> TaskResult + Send + Sync + 'static,
    ) -> Stream<'_, T> {
        let run: RunFn<T> = Arc::new(move |task, key| {
            let mut buffer = Vec::new();
            produce(&mut Emitter { output: task.output(), key, buffer: &mut buffer })
        });
        let first = Arc::clone(&run);
        Stream::new(self.source(name, move |task| first(task, None)), run)
    }
}

impl<'g, T: 'static> Stream<'g, T> {
    fn new(node: NodeRef<'g>, run: RunFn<T>) -> Self {
        Self { node, run, edge: Edge::round_robin() }
    }

    /// Sets how many instances the operator has that this stream comes from.
    #[must_use]
    pub fn parallelism(self, instances: u32) -> Self {
        self.node.parallelism(instances);
        self
    }

    /// Sets when its instances are started again.
    #[must_use]
    pub fn restart(self, restart: Restart) -> Self {
        self.node.restart(restart);
        self
    }

    /// Sets how the next operator is fed: strategy, capacity, policy, work queue.
    #[must_use]
    pub fn via(mut self, edge: Edge) -> Self {
        self.edge = edge;
        self
    }

    /// Another stream of the same values, for a second branch.
    #[must_use]
    pub fn branch(&self) -> Self {
        Self { node: self.node, run: Arc::clone(&self.run), edge: Edge::round_robin() }
    }

    /// Gives every value a key: from here on, equal keys go to the same instance. One key counts for
    /// all branches: the last.
    #[must_use]
    pub fn key_by(mut self, key: impl Fn(&T) -> PartitionKey + Send + Sync + 'static) -> Self {
        let (run, key): (_, KeyFn<T>) = (Arc::clone(&self.run), Arc::new(key));
        let keyed = move |task: &mut TaskContext| run(task, Some(&key));
        self.node.change(|node| {
            node.keyed = true;
            node.body = match node.body {
                Body::Source(_) => Body::Source(Arc::new(keyed)),
                _ => Body::Operator(Arc::new(keyed)),
            };
        });
        self.edge = Edge::hash();
        self
    }

    fn to<U: Serialize + 'static>(
        self,
        name: &str,
        work: impl Fn(T, &mut Emitter<'_, U>) -> TaskResult + Send + Sync + 'static,
    ) -> Stream<'g, U>
    where
        T: DeserializeOwned,
    {
        let run: RunFn<U> = Arc::new(move |task, key| {
            let mut buffer = Vec::new();
            task.for_each(|packet, output| {
                work(decode(packet)?, &mut Emitter { output, key, buffer: &mut buffer })
            })
        });
        self.then(name, run)
    }

    fn then<U: 'static>(self, name: &str, run: RunFn<U>) -> Stream<'g, U> {
        let graph = self.node.graph;
        let first = Arc::clone(&run);
        let node = graph.operator(name, move |task| first(task, None));
        graph.connect(&self.node.name(), name, self.edge);
        Stream::new(node, run)
    }

    /// Makes one value of each.
    #[must_use]
    pub fn map<U: Serialize + 'static>(
        self,
        name: &str,
        map: impl Fn(T) -> U + Send + Sync + 'static,
    ) -> Stream<'g, U>
    where
        T: DeserializeOwned,
    {
        self.to(name, move |value, out| out.emit(&map(value)))
    }

    /// Makes any number of values of each.
    #[must_use]
    pub fn flat_map<U: Serialize + 'static, I: IntoIterator<Item = U>>(
        self,
        name: &str,
        map: impl Fn(T) -> I + Send + Sync + 'static,
    ) -> Stream<'g, U>
    where
        T: DeserializeOwned,
    {
        self.to(name, move |value, out| map(value).into_iter().try_for_each(|u| out.emit(&u)))
    }

    /// Keeps the values for which `keep` holds.
    #[must_use]
    pub fn filter(self, name: &str, keep: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self
    where
        T: DeserializeOwned + Serialize,
    {
        self.to(name, move |value, out| if keep(&value) { out.emit(&value) } else { Ok(()) })
    }

    /// Keeps a state for each key, and at the end sends each key with its state. The stream must have
    /// keys ([`Stream::key_by`]). What it keeps dies with its process: it should not restart.
    #[must_use]
    pub fn reduce<S: Serialize + 'static>(
        self,
        name: &str,
        init: impl Fn() -> S + Send + Sync + 'static,
        fold: impl Fn(&mut S, T) + Send + Sync + 'static,
    ) -> Stream<'g, (Vec<u8>, S)>
    where
        T: DeserializeOwned,
    {
        let run: RunFn<(Vec<u8>, S)> = Arc::new(move |task, key| {
            let mut states: BTreeMap<PartitionKey, S> = BTreeMap::new();
            task.for_each(|packet, _| {
                let key = packet.partition_key.ok_or("a packet without a key came")?.to_key()?;
                fold(states.entry(key).or_insert_with(&init), decode(packet)?);
                Ok(())
            })?;
            let mut buffer = Vec::new();
            let mut out = Emitter { output: task.output(), key, buffer: &mut buffer };
            states.into_iter().try_for_each(|(key, state)| {
                let bytes = match key {
                    PartitionKey::Str(text) => text.into_bytes(),
                    PartitionKey::Bytes(bytes) => bytes,
                    other => {
                        let mut bytes = vec![0; other.encoded_len()];
                        other.encode_into(&mut bytes)?;
                        bytes
                    }
                };
                out.emit(&(bytes, state))
            })
        });
        self.then(name, run)
    }

    /// Ends in a function.
    pub fn sink(
        self,
        name: &str,
        take: impl Fn(T) -> TaskResult + Send + Sync + 'static,
    ) -> NodeRef<'g>
    where
        T: DeserializeOwned,
    {
        self.to(name, move |value, _: &mut Emitter<'_, ()>| take(value)).node
    }

    /// Ends in the results of the job: all values as they come, each as postcard behind its length
    /// ([`super::JobReport::values_of`] reads them).
    pub fn collect(self, name: &str) -> NodeRef<'g>
    where
        T: DeserializeOwned + Serialize,
    {
        let run: RunFn<()> = Arc::new(|task, _| {
            let mut all = Vec::new();
            task.for_each(|packet, _| {
                let _: T = decode(packet)?;
                all.extend_from_slice(&(packet.payload.len() as u64).to_le_bytes());
                all.extend_from_slice(packet.payload);
                Ok(())
            })?;
            task.result(&all)
        });
        self.then(name, run).node
    }
}

impl<T> std::fmt::Debug for Stream<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("node", &self.node).finish_non_exhaustive()
    }
}

fn decode<T: DeserializeOwned>(packet: &PacketRef<'_>) -> Result<T, TaskError> {
    match postcard::take_from_bytes(packet.payload) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(undecodable(
            packet,
            crate::routing::WireError::Trailing { what: "payload", count: rest.len() },
        )),
        Err(error) => Err(undecodable(packet, crate::routing::WireError::Payload(error))),
    }
}

fn undecodable(packet: &PacketRef<'_>, source: crate::routing::WireError) -> TaskError {
    let from = packet.provenance.map_or_else(
        || "an upstream".to_owned(),
        |provenance| format!("{}#{}", provenance.upstream_task, provenance.upstream_index),
    );
    ContextError::Undecodable { input: packet.input_index, from, source }.into()
}

/// Reads what [`Stream::collect`] wrote.
pub(super) fn values<T: DeserializeOwned>(mut bytes: &[u8]) -> Result<Vec<T>, postcard::Error> {
    let mut values = Vec::new();
    while let Some((len, rest)) = bytes.split_first_chunk::<8>() {
        let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
        let Some((value, rest)) = rest.split_at_checked(len) else {
            return Err(postcard::Error::DeserializeUnexpectedEnd);
        };
        values.push(postcard::from_bytes::<T>(value)?);
        bytes = rest;
    }
    Ok(values)
}
