//! Doing what a plan says to one segment, and noting which errors were reported.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use ringway::error::GetError;
use ringway::queue::{Lease, Queue, QueueDescriptor, RecordKind, Selector, Wait};
use ringway::shm::directory::Directory;
use ringway::shm::inspect::{Entries, EntryOptions, SegmentSnapshot};
use ringway::shm::names::SegmentName;
use ringway::shm::segment::{CleanOptions, CleanOutcome, Segment};

use super::arena::Arena;
use super::plan::{Fault, Plan, Step, When, Write};
use super::status::{Counter, ERRORS, Status};
use super::words::Words;

/// How long a deadline lies ahead.
const MOMENT: Duration = Duration::from_micros(200);

/// How much longer than promised an operation may take: a `try_*`, or one with a deadline.
const GRACE: Duration = Duration::from_secs(1);

/// The same for what promises no time: opening waits seconds for the gate.
const PATIENCE: Duration = Duration::from_secs(12);

/// What became of one segment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The errors that an intact segment would not give: indices into [`ERRORS`].
    pub reported: Vec<usize>,
    /// Where it panicked, and why.
    pub panic: Option<String>,
}

thread_local! {
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of this process silent, and remembers what they said.
fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            LAST_PANIC.with(|last| *last.borrow_mut() = Some(info.to_string()));
        }));
    });
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let said = LAST_PANIC.with(|last| last.borrow_mut().take());
    said.or_else(|| panic.downcast_ref::<String>().cloned())
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_default()
}

impl Arena {
    /// Does what a plan says; counts it, and notes where it is, in `status`. With `tell`, prints what
    /// each operation came to.
    ///
    /// # Errors
    /// What the system says about the files of the arena themselves.
    pub fn run(&mut self, plan: &Plan, status: &Status, tell: bool) -> std::io::Result<Outcome> {
        if !tell {
            remember_panics();
        }
        let words = self.prepare(plan)?;
        let (directory, name) = self.place(plan)?;
        let mut session = Session {
            plan,
            status,
            tell,
            directory,
            name,
            descriptor: self.descriptor(plan)?,
            queue: None,
            leases: Vec::new(),
            may_be_closed: self.image(plan).closed,
            may_be_destroyed: false,
            reported: 0,
        };
        let second = self.second.as_ref();
        let ended = catch_unwind(AssertUnwindSafe(|| {
            for (index, &step) in plan.steps.iter().enumerate() {
                match (plan.when, &words) {
                    (When::Before(at), Some(words)) if at == index => write(words, &plan.writes),
                    (When::During(at), Some(words)) if at == index => {
                        let Some(second) = second else {
                            write(words, &plan.writes);
                            session.step(step);
                            continue;
                        };
                        let before = second.rounds();
                        second.begin(words, &plan.writes);
                        // Until they really have met.
                        for _ in 0..100 {
                            session.step(step);
                            if second.rounds() > before + 20 {
                                break;
                            }
                        }
                        continue;
                    }
                    _ => {}
                }
                session.step(step);
            }
            session.end();
        }));
        if let Some(second) = second {
            second.end();
        }
        let panic = ended.err().map(|panic| text_of(&*panic));
        let reported = (0..ERRORS.len()).filter(|error| session.reported & (1 << error) != 0);
        let outcome = Outcome { reported: reported.collect(), panic };
        drop(session);
        self.tally(plan, &outcome, status);
        Ok(outcome)
    }

    fn tally(&self, plan: &Plan, outcome: &Outcome, status: &Status) {
        use super::plan::Region;
        let region = Region::ALL.iter().position(|&(region, _)| region == plan.region);
        status.count(Counter::Region(region.unwrap_or(0)));
        status.count(Counter::Phase(plan.phase()));
        if matches!(plan.when, When::During(_)) {
            status.count(Counter::During);
        }
        for &error in &outcome.reported {
            status.count(Counter::Error(error));
        }
        let reported = !outcome.reported.is_empty();
        status.count(if reported { Counter::Reported } else { Counter::Undetected });
        if outcome.panic.is_some() {
            status.count(Counter::Panics);
        }
        status.count(Counter::Segments);
    }
}

fn write(words: &Arc<Words>, writes: &[Write]) {
    for write in writes {
        words.store(write.at, write.wide, write.value);
    }
}

fn fail(fault: Fault) {
    match fault {
        Fault::Panic => panic!("as asked for"),
        Fault::Crash => std::process::abort(),
        Fault::Hang => loop {
            std::thread::sleep(GRACE);
        },
    }
}

/// One segment, as its user sees it.
pub(super) struct Session<'a> {
    pub(super) plan: &'a Plan,
    status: &'a Status,
    pub(super) tell: bool,
    directory: Directory,
    name: SegmentName,
    descriptor: QueueDescriptor,
    queue: Option<Queue>,
    leases: Vec<Lease>,
    pub(super) may_be_closed: bool,
    pub(super) may_be_destroyed: bool,
    /// Bits of [`ERRORS`].
    pub(super) reported: u32,
}

/// Bytes to put.
static PAYLOAD: [u8; 2048] = [0x5a; 2048];

impl Session<'_> {
    fn watched<R>(&self, step: Step, limit: Duration, run: impl FnOnce() -> R) -> R {
        self.status.watched(step.phase(), limit, run)
    }

    fn step(&mut self, step: Step) {
        if self.tell {
            println!("{step:?}");
        }
        match step {
            Step::Attach => self.attach(step),
            Step::Inspect => self.inspect(step),
            Step::Join => self.join(step),
            Step::Clean => self.clean(step),
            Step::Fail(fault) => self.watched(step, GRACE, || fail(fault)),
            _ => {
                if let Some(queue) = self.queue.clone() {
                    self.use_it(step, &queue);
                }
            }
        }
    }

    fn attach(&mut self, step: Step) {
        self.end();
        let opened = self.watched(step, PATIENCE, || self.descriptor.queue());
        self.queue = self.opened(opened);
    }

    /// Lets go of everything.
    fn end(&mut self) {
        let (leases, queue) = (std::mem::take(&mut self.leases), self.queue.take());
        let anew = self.descriptor.to_serializable_descriptor();
        let descriptor = std::mem::replace(&mut self.descriptor, anew);
        self.watched(Step::Attach, PATIENCE, || {
            drop(leases);
            drop(queue);
            drop(descriptor);
        });
    }

    fn inspect(&mut self, step: Step) {
        let looked = self.watched(step, PATIENCE, || {
            let segment = Segment::open_readonly(&self.directory, &self.name)?;
            let snapshot = SegmentSnapshot::take(&segment)?;
            let options = EntryOptions { payload_bytes: 64, all: true };
            for ring in 0..snapshot.rings.len() {
                let entries = Entries::of_segment(&segment, ring, options)?;
                std::hint::black_box(entries.count());
            }
            segment.packets_left()
        });
        self.opened(looked);
    }

    fn join(&mut self, step: Step) {
        let joined = self.watched(step, PATIENCE, || {
            Segment::attach(&self.directory, &self.name, "another").map(drop)
        });
        self.opened(joined);
    }

    fn clean(&mut self, step: Step) {
        self.end();
        let options = CleanOptions { discard: true, ..CleanOptions::default() };
        let cleaned =
            self.watched(step, PATIENCE, || Segment::clean_abandoned(&self.directory, options));
        for report in self.opened(cleaned).unwrap_or_default() {
            if let CleanOutcome::Unreadable(why) = &report.outcome {
                self.report("corrupt", why);
            }
        }
        self.may_be_destroyed = true;
    }

    fn use_it(&mut self, step: Step, queue: &Queue) {
        let until = || Wait::at_most(MOMENT);
        let later = GRACE + MOMENT;
        match step {
            Step::TryPut(len) => {
                let put = self.watched(step, GRACE, || queue.try_put(&PAYLOAD[..len]));
                self.was_put(put);
            }
            Step::PutUntil(len) => {
                let put = self.watched(step, later, || queue.put_timeout(&PAYLOAD[..len], MOMENT));
                self.was_put(put);
            }
            Step::PutMany(count) => {
                let payloads = vec![&PAYLOAD[..40]; count];
                let put = self.watched(step, GRACE, || queue.try_put_many(&payloads));
                self.was_put(put.map_err(|error| error.error));
            }
            Step::Reserve(len, commit) => {
                let reserved = self.watched(step, GRACE, || queue.try_reserve(len));
                if let Some(mut reservation) = self.was_put(reserved) {
                    let ended = self.watched(step, GRACE, || {
                        reservation.fill(7);
                        if commit { reservation.commit_len(len / 2) } else { Ok(()) }
                    });
                    self.was_put(ended);
                }
            }
            Step::OwnedPut(len) => self.put_owned(step, queue, len),
            Step::TryGet => {
                let got = self.watched(step, GRACE, || queue.try_get());
                self.was_got(got);
            }
            Step::GetUntil => {
                let got = self.watched(step, later, || queue.get_timeout(MOMENT));
                self.was_got(got);
            }
            Step::GetMany(count) => {
                let got = self.watched(step, GRACE, || queue.try_get_many(count));
                self.was_got(got);
            }
            Step::OwnedGet => self.get_owned(step, queue),
            Step::Hold(max, ack) => self.hold(step, queue, max, ack),
            Step::Select => {
                let mut selector = Selector::new([queue.clone(), queue.clone()]);
                let got = self.watched(step, later, || selector.lease(until()));
                self.was_got(got);
            }
            Step::Lease => {
                let leased = self.watched(step, GRACE, || queue.try_lease());
                if let Some(lease) = self.was_got(leased) {
                    std::hint::black_box((
                        lease.iter().map(|&b| u64::from(b)).sum::<u64>(),
                        lease.info(),
                    ));
                    self.leases.push(lease);
                }
            }
            Step::Ack if !self.leases.is_empty() => {
                let lease = self.leases.remove(0);
                self.watched(step, GRACE, || lease.ack());
            }
            Step::GiveBack => {
                let lease = self.leases.pop();
                self.watched(step, GRACE, || drop(lease));
            }
            Step::Count => {
                let counted = self.watched(step, GRACE, || {
                    let backend = queue.backend();
                    (
                        (backend.qsize(), backend.in_flight(), backend.occupancy()),
                        (backend.is_full(), backend.is_closed(), backend.stats()),
                    )
                });
                std::hint::black_box(counted);
            }
            Step::BlockedBy => {
                let blockers = self
                    .watched(step, GRACE, || queue.backend().ring().map(|ring| ring.blocked_by()));
                std::hint::black_box(blockers);
            }
            Step::Trim => {
                self.queue = None;
                self.watched(step, PATIENCE, || self.descriptor.trim());
                let opened = self.watched(step, PATIENCE, || self.descriptor.queue());
                self.queue = self.opened(opened);
            }
            Step::Close => {
                self.may_be_closed = true;
                let closed = self.watched(step, PATIENCE, || queue.backend().close());
                self.was_put(closed);
            }
            Step::Destroy => {
                self.may_be_destroyed = true;
                let destroyed = self.watched(step, PATIENCE, || queue.destroy());
                self.opened(destroyed);
            }
            Step::Drain => self.drain(step, queue),
            Step::Ack | Step::Attach | Step::Inspect | Step::Join | Step::Clean | Step::Fail(_) => {
            }
        }
    }

    fn put_owned(&mut self, step: Step, queue: &Queue, len: usize) {
        let Some(ring) = queue.backend().ring() else { return };
        let owned = self.watched(step, GRACE, || ring.producer());
        let Some(mut owned) = self.was_put(owned) else { return };
        for _ in 0..3 {
            let payload = &PAYLOAD[..len];
            let put = self.watched(step, GRACE, || owned.put(RecordKind::RAW, payload, Wait::No));
            if self.was_put(put).is_none() {
                break;
            }
        }
        self.watched(step, GRACE, || drop(owned));
    }

    fn get_owned(&mut self, step: Step, queue: &Queue) {
        let Some(ring) = queue.backend().ring() else { return };
        let owned = self.watched(step, GRACE, || ring.consumer());
        let Some(mut owned) = self.was_got(owned) else { return };
        let mut into = Vec::new();
        for _ in 0..3 {
            into.clear();
            let got = self.watched(step, GRACE, || owned.get_into(&mut into, Wait::No));
            if self.was_got(got).is_none() {
                break;
            }
        }
        self.watched(step, GRACE, || drop(owned));
    }

    fn hold(&mut self, step: Step, queue: &Queue, max: usize, ack: bool) {
        let Some(ring) = queue.backend().ring() else { return };
        let owned = self.watched(step, GRACE, || ring.consumer());
        let Some(mut owned) = self.was_got(owned) else { return };
        let held = self.watched(step, GRACE, || owned.hold_many(max, Wait::No));
        self.was_got(held);
        self.watched(step, GRACE, || {
            for (bytes, info) in owned.held_records() {
                std::hint::black_box((bytes.iter().map(|&b| u64::from(b)).sum::<u64>(), info));
            }
            if ack {
                owned.ack_held();
            }
            drop(owned);
        });
    }

    /// Takes what is left, as long as there is something, or something is wrong with the next one.
    fn drain(&mut self, step: Step, queue: &Queue) {
        for _ in 0..48 {
            let got = self.watched(step, GRACE, || queue.try_get());
            let bad = matches!(got, Err(GetError::Corrupt { .. }));
            if self.was_got(got).is_none() && !bad {
                return;
            }
        }
    }
}
