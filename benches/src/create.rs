//! How long a queue takes to exist: created here, attached there, first packet across.

use std::path::PathBuf;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use serde::{Deserialize, Serialize};

use crate::clock::monotonic_ns;
use crate::cpus::CpuPair;
use crate::error::Result;
use crate::link::DefaultQueue;
use crate::peers::{Pair, Session};
use crate::report::{CreateReport, Progress};
use crate::shared::Word;

/// A measurement of creation, as both processes know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CreatePlan {
    /// Queues created and counted.
    pub(crate) repetitions: u64,
    /// Queues before them.
    pub(crate) warm_up: u64,
    /// Where segments go.
    pub(crate) directory: PathBuf,
}

fn name(nth: u64) -> String {
    format!("create-{nth}")
}

/// Measures, in the starter, which creates and puts.
///
/// # Errors
/// When a process or a queue fails.
pub(crate) fn measure(cpus: CpuPair, plan: &CreatePlan) -> Result<CreateReport> {
    let session = Session::start(cpus, 0, crate::Task::Create(plan.clone()))?;
    let (pair, region) = (&session.pair, &session.pair.region);
    let progress = Progress::start(plan.repetitions);
    progress.stage("queues");
    let (mut create, mut attach, mut first_packet) = (Vec::new(), Vec::new(), Vec::new());
    for nth in 0..plan.warm_up + plan.repetitions {
        pair.meet();
        let start = monotonic_ns();
        let mut queue = DefaultQueue::open(&plan.directory, &name(nth))?;
        let created = monotonic_ns();
        queue.put_first()?;
        // SYNC go (pairs with `answer`): the queue exists and holds its packet.
        region.word(Word::ToPeer).store(nth + 1, Release);
        pair.meet();
        if nth >= plan.warm_up {
            create.push(created - start);
            // RELAXED: the meeting above came after the stores.
            attach.push(region.word(Word::ToStarter).load(Relaxed));
            // RELAXED: as above.
            let got = region.word(Word::ToStarterMore).load(Relaxed);
            first_packet.push(got.saturating_sub(start));
            progress.advance(1);
        }
        queue.destroy()?;
    }
    session.finish()?;
    drop(progress);
    Ok(CreateReport::new(plan, cpus, create, attach, first_packet))
}

/// Attaches and gets, in the peer.
///
/// # Errors
/// When a queue fails.
pub(crate) fn answer(pair: &Pair, plan: &CreatePlan) -> Result<()> {
    let region = &pair.region;
    for nth in 0..plan.warm_up + plan.repetitions {
        pair.meet();
        // SYNC go (pairs with `measure`). Without sleeping, which would be part of the time.
        while region.word(Word::ToPeer).load(Acquire) <= nth {
            std::hint::spin_loop();
        }
        let start = monotonic_ns();
        let (attached, got) = {
            let mut queue = DefaultQueue::open(&plan.directory, &name(nth))?;
            let attached = monotonic_ns();
            queue.get_first()?;
            // The queue is left before the starter destroys it.
            (attached, monotonic_ns())
        };
        // RELAXED: the meeting below publishes both.
        region.word(Word::ToStarter).store(attached - start, Relaxed);
        // RELAXED: as above.
        region.word(Word::ToStarterMore).store(got, Relaxed);
        pair.meet();
    }
    Ok(())
}
