//! The graph, and what its tasks do.
//!
//! ```text
//!            text-0  ┌────────────┐         ┌───────────┐ words-0
//!          ┌────────▶│ splitter#0 │────┬───▶│ counter#0 │─────────┐
//! ┌────────┴─┐       └────────────┘    │    └───────────┘         │ counts-0 ┌─────────────┐
//! │ reader#0 │  round-robin         hash of                       ├─────────▶│ collector#0 │
//! └────────┬─┘       ┌────────────┐ the word┌───────────┐         │          └─────────────┘
//!          └────────▶│ splitter#1 │────┴───▶│ counter#1 │─────────┘
//!            text-1  └────────────┘         └───────────┘ words-1
//! ```
//!
//! A splitter remembers nothing, and so may be killed at any time: it is started again, and every
//! word is counted once all the same. So may the reader, unless it reads what can be read once only.
//! What a counter knows dies with it: then the job fails.

use std::fs::File;
use std::path::{Path, PathBuf};

use ringway::routing::{KeyRef, PacketRef};
use ringway::runtime::{Edge, JobGraph, Restart, TaskContext, TaskError, TaskResult};

use crate::args::Args;
use crate::chunks::{Chunks, max_chunk};
use crate::words::{Counted, Counts, split};

/// Chunks of text that a splitter's ring holds.
const TEXT_PACKETS: u64 = 64;
/// Words that a counter's ring holds, and counts that the collector's does: so many that whoever waits
/// for room is woken for thousands at a time.
const WORD_PACKETS: u64 = 16384;
/// How often an instance is started again.
const RESTARTS: Restart = Restart::on_failure(3);

/// The job; `files` can be read again unless one of them is no regular file.
pub(crate) fn graph(args: &Args, files: &[PathBuf], max_word: usize, again: bool) -> JobGraph {
    let graph = JobGraph::new("wordcount");
    let (files, top) = (files.to_vec(), args.top);
    let reader = graph.source("reader", move |task| read(task, &files, max_word)).keeps_stdin();
    if again {
        reader.restart(RESTARTS);
    }
    graph.operator("splitter", splitter).parallelism(args.splitters).keyed().restart(RESTARTS);
    graph.operator("counter", counter).parallelism(args.counters);
    graph.operator("collector", move |task| collect(task, top));

    let text = max_chunk(max_word) as u64;
    // Lower-casing makes two bytes three at most; then the count.
    let word = text * 3 / 2 + 16;
    let words = |edge: Edge| edge.capacity(WORD_PACKETS).max_payload(word);
    let chunks = Edge::round_robin().capacity(TEXT_PACKETS).max_payload(text);
    graph.connect("reader", "splitter", chunks.ring("text"));
    graph.connect("splitter", "counter", words(Edge::hash()).ring("words"));
    graph.connect("counter", "collector", words(Edge::round_robin()).ring("counts"));
    graph
}

/// The reader: chunks of text.
fn read(task: &mut TaskContext, files: &[PathBuf], max_word: usize) -> TaskResult {
    for path in files {
        let mut chunks = Chunks::new(File::open(path).map_err(|e| at(path, &e))?, max_word);
        while let Some(chunk) = chunks.next().map_err(|e| at(path, &e))? {
            task.send(&PacketRef::new(chunk))?;
        }
    }
    Ok(())
}

pub(crate) fn at(path: &Path, error: &dyn std::error::Error) -> TaskError {
    format!("{}: {error}", path.display()).into()
}

/// A splitter: one packet for every word, to the counter that its key hashes to. The key is the
/// word, and says everything: there is no payload besides.
fn splitter(task: &mut TaskContext) -> TaskResult {
    let mut word = String::new();
    task.for_each(|chunk, output| {
        split(chunk.payload, &mut word, |word| {
            let mut packet = PacketRef::new(&[]);
            packet.partition_key = Some(KeyRef::from(word));
            Ok(output.send(&packet)?)
        })
    })
}

/// A counter: counts the words it gets, and sends each with its count at the end.
fn counter(task: &mut TaskContext) -> TaskResult {
    let mut counts = Counts::default();
    task.for_each(|packet, _| {
        counts.add(word_of(packet)?, 1);
        Ok(())
    })?;
    for (word, count) in counts.iter() {
        let count = count.to_le_bytes();
        let mut packet = PacketRef::new(&count);
        packet.partition_key = Some(KeyRef::from(std::str::from_utf8(word)?));
        task.send(&packet)?;
    }
    Ok(())
}

/// The collector: puts all counts together, and hands the answer to whoever waits for the job. A word
/// comes once: all its occurrences went to one counter.
fn collect(task: &mut TaskContext, top: usize) -> TaskResult {
    let mut counts = Vec::new();
    task.for_each(|packet, _| {
        let count = packet.payload.try_into().map_err(|_| "a count is not 8 bytes")?;
        let word = String::from_utf8(word_of(packet)?.to_owned())?;
        counts.push((word, u64::from_le_bytes(count)));
        Ok(())
    })?;
    task.result(&serde_json::to_vec(&Counted::of(counts, top))?)
}

#[inline]
fn word_of<'a>(packet: &PacketRef<'a>) -> Result<&'a [u8], TaskError> {
    let word = packet.partition_key.as_ref().and_then(KeyRef::text_bytes);
    word.ok_or_else(|| "a packet without a word came".into())
}
