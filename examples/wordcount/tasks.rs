//! The tasks: what each process does between its input ring and its router.
//!
//! The end is exact. A task is finished when it has a stop signal from *every* upstream instance,
//! which lies behind that instance's last packet; it then sends its own, once.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use ringway::error::GetError;
use ringway::queue::{Consumer, QueueDescriptor, RecordInfo, Wait};
use ringway::routing::{
    InstanceId, KeyRef, PacketRef, PartitionKey, Record, Router, SendReport, StopSignal,
};

use crate::chunks::Chunks;
use crate::plan::{COLLECTOR, COUNTER, Plan, READER, SPLITTER};
use crate::words::{Counts, split};

/// Whatever went wrong, for people.
pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// Runs one instance to its end.
pub(crate) fn run(plan: &Plan, task: &InstanceId, files: &[PathBuf]) -> Result<(), Failure> {
    let mut output = Output::open(plan, task)?;
    match task.task.as_str() {
        READER => read(files, plan.max_word, &mut output)?,
        SPLITTER => split_chunks(&mut Input::open(plan, task)?, &mut output)?,
        COUNTER => count(&mut Input::open(plan, task)?, &mut output)?,
        COLLECTOR => return collect(&mut Input::open(plan, task)?, plan.top),
        other => return Err(format!("there is no task {other:?}").into()),
    }
    output.stop()
}

/// The reader: chunks of text, round-robin.
fn read(files: &[PathBuf], max_word: usize, output: &mut Output) -> Result<(), Failure> {
    for path in files {
        let mut chunks = Chunks::new(File::open(path).map_err(|e| at(path, &e))?, max_word);
        while let Some(chunk) = chunks.next().map_err(|e| at(path, &e))? {
            output.send(&PacketRef::new(chunk))?;
        }
    }
    Ok(())
}

fn at(path: &Path, error: &dyn Error) -> Failure {
    format!("{}: {error}", path.display()).into()
}

/// A splitter: one packet for every word, to the counter that its key hashes to. The key is the
/// word, and says everything: there is no payload besides.
fn split_chunks(input: &mut Input, output: &mut Output) -> Result<(), Failure> {
    let mut word = String::new();
    input.for_each(|chunk| {
        split(chunk.payload, &mut word, |word| {
            // The key borrows the word's memory for a moment.
            let key = PartitionKey::Str(std::mem::take(word));
            let mut packet = PacketRef::new(&[]);
            packet.partition_key = Some(KeyRef::from(&key));
            let sent = output.send(&packet);
            if let PartitionKey::Str(text) = key {
                *word = text;
            }
            sent
        })
    })
}

/// A counter: counts the words it gets, and sends each with its count at the end.
fn count(input: &mut Input, output: &mut Output) -> Result<(), Failure> {
    let mut counts = Counts::default();
    input.for_each(|packet| {
        counts.add(word_of(&packet)?, 1);
        Ok(())
    })?;
    for (word, count) in counts.iter() {
        let key = PartitionKey::Str(word.to_owned());
        let count = count.to_le_bytes();
        let mut packet = PacketRef::new(&count);
        packet.partition_key = Some(KeyRef::from(&key));
        output.send(&packet)?;
    }
    Ok(())
}

/// The collector: puts all counts together, and writes the answer to its standard output, which
/// the parent reads.
fn collect(input: &mut Input, top: usize) -> Result<(), Failure> {
    let mut counts = Counts::default();
    input.for_each(|packet| {
        let count = packet.payload.try_into().map_err(|_| "a count is not 8 bytes")?;
        counts.add(word_of(&packet)?, u64::from_le_bytes(count));
        Ok(())
    })?;
    let answer = serde_json::to_vec(&counts.result(top))?;
    std::io::stdout().write_all(&answer)?;
    Ok(())
}

fn word_of<'a>(packet: &PacketRef<'a>) -> Result<&'a str, Failure> {
    let word = packet.partition_key.and_then(|key| key.as_str());
    word.ok_or_else(|| "a packet without a word came".into())
}

/// An instance's input ring, of which it is the only consumer.
struct Input {
    consumer: Consumer,
    /// The instances that have not stopped.
    running: Vec<InstanceId>,
}

impl Input {
    fn open(plan: &Plan, task: &InstanceId) -> Result<Self, Failure> {
        let queue: QueueDescriptor = plan.input(task)?.ok_or("the task has no input")?;
        let queue = queue.queue()?;
        let ring = queue.ring().ok_or("the input is no ring")?;
        Ok(Self { consumer: ring.consumer()?, running: plan.upstreams(&task.task) })
    }

    /// Hands every packet to `work`, in place, until all upstream instances have stopped. Sleeps
    /// while there is none.
    fn for_each(
        &mut self,
        mut work: impl FnMut(PacketRef<'_>) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        while !self.running.is_empty() {
            let read = |bytes: &[u8], info: RecordInfo| match Record::decode(info.kind, bytes)? {
                Record::Packet(packet) => work(packet).map(|()| None),
                Record::Stop(stop) => Ok::<_, Failure>(Some(stop.upstream)),
            };
            let read: Result<_, GetError> = self.consumer.get_with(Wait::Forever, read);
            if let Some(stopped) = read?? {
                let place = self.running.iter().position(|upstream| *upstream == stopped);
                let place = place.ok_or_else(|| format!("a stop of {stopped} was not expected"))?;
                self.running.swap_remove(place);
            }
        }
        Ok(())
    }
}

/// Where an instance sends to.
struct Output {
    router: Router,
    report: SendReport,
    task: InstanceId,
}

impl Output {
    fn open(plan: &Plan, task: &InstanceId) -> Result<Self, Failure> {
        Ok(Self { router: plan.router(task)?, report: SendReport::new(), task: task.clone() })
    }

    fn send(&mut self, packet: &PacketRef<'_>) -> Result<(), Failure> {
        self.router.send_into(packet, &mut self.report);
        complete(&self.report)
    }

    /// Says that nothing follows.
    fn stop(&mut self) -> Result<(), Failure> {
        complete(&self.router.send_stop_signal(&StopSignal::new(READER, self.task.clone())))
    }
}

fn complete(report: &SendReport) -> Result<(), Failure> {
    if report.is_complete() { Ok(()) } else { Err(report.to_string().into()) }
}
