//! A participant is killed at the k-th crash point of a scenario, for every k; then its heir is killed
//! at every j-th point of the recovery; then the books must balance: nothing committed is lost,
//! nothing comes twice without its flag, nothing acknowledged comes back, and all units are free.
//!
//! One thread, no loom: `cargo run -p loom-tests -- crashes`, or
//! `RUSTFLAGS="--cfg ringway_crash" cargo test -p loom-tests --test crashes`.

#![cfg(ringway_crash)]

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ringway::shm::layout::{Entry, INLINE_BYTES, RING_OPEN};
use ringway::shm::peers::{Peers, Woken};
use ringway::shm::recovery;
use ringway::shm::ring::{
    Missing, ProducerCache, Refused, Ring, SingleConsumer, SingleProducer, Taken,
};
use ringway::shm::storage::{Geometry, RingMemory, Side};

/// Where the crash points of the code under test are named: the layers that need no other process.
const COVERED: [&str; 3] = ["src/shm/ring", "src/shm/wait.rs", "src/shm/recovery.rs"];

/// Random scenarios for each mode, besides the written ones.
const RANDOM_SCENARIOS: u64 = 60;

// ---------------------------------------------------------------------------- dying

thread_local! {
    /// Crash points to pass before this thread dies; `None` for none at all.
    static LIVES: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Every crash point that was reached, and how often somebody died there.
static HITS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// The panic payload of a death.
struct Death;

fn hook(name: &'static str) {
    let died = match LIVES.get() {
        None => return,
        Some(0) => true,
        Some(lives) => {
            LIVES.set(Some(lives - 1));
            false
        }
    };
    if died {
        LIVES.set(None);
        *HITS.lock().unwrap().entry(name).or_default() += 1;
        resume_unwind(Box::new(Death) as Box<dyn Any + Send>);
    }
}

/// Runs `f` until it comes to its crash point number `lives`; says whether it did.
fn dies(lives: u32, f: impl FnOnce()) -> bool {
    LIVES.set(Some(lives));
    let result = catch_unwind(AssertUnwindSafe(f));
    LIVES.set(None);
    match result {
        Ok(()) => false,
        Err(panic) if panic.is::<Death>() => true,
        Err(panic) => resume_unwind(panic),
    }
}

// ---------------------------------------------------------------------------- the world

const PEOPLE: usize = 6;
const VICTIM: u16 = 1;
const HEIR: u16 = 2;
const LAST: u16 = 3;
const BYSTANDER: u16 = 4;

/// What is known of one packet.
#[derive(Clone, Copy, Debug, Default)]
struct Packet {
    committed: bool,
    exposures: u32,
    ack_begun: bool,
    acked: bool,
}

struct World {
    ring: Ring,
    dead: [Cell<bool>; PEOPLE],
    packets: RefCell<Vec<Packet>>,
    last_fresh: Cell<Option<usize>>,
    deaths: Cell<u32>,
}

/// The participants as one of them sees them. `Peers` must be shareable: a snapshot of the dead.
struct Seen {
    me: u16,
    dead: [bool; PEOPLE],
    doorbell: AtomicU32,
}

impl Peers for Seen {
    fn me(&self) -> u16 {
        self.me
    }
    fn is_dead(&self, id: u16) -> bool {
        self.dead[usize::from(id)]
    }
    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool {
        let dead = self.is_dead(id);
        if dead {
            f();
        }
        dead
    }
    fn doorbell(&self, _: u16) -> Option<&AtomicU32> {
        Some(&self.doorbell)
    }
    fn touch(&self) {}
    fn fence_needed(&self) -> bool {
        false
    }
    fn heavy_barrier(&self) -> bool {
        true
    }
    fn producer_is_gone(&self) -> bool {
        true
    }
    fn sleep(&self, _: u32, _: Duration) -> Woken {
        Woken::TimedOut
    }
    fn wake(&self, _: u16) -> usize {
        0
    }
}

fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = (number as u64).to_le_bytes().to_vec();
    bytes.resize_with(len.max(8), || number as u8);
    bytes
}

impl World {
    fn new(scenario: &Scenario) -> Self {
        let geometry = Geometry {
            log2_entries: scenario.log2_entries,
            unit_bytes: 64,
            maxsize: scenario.maxsize,
            producers: scenario.producers,
            consumers: scenario.consumers,
            timestamps: false,
            max_deliveries: 0,
        };
        let memory = RingMemory::on_heap(geometry, geometry.bits().first_pos());
        Self {
            ring: Ring::new(memory),
            dead: Default::default(),
            packets: RefCell::default(),
            last_fresh: Cell::default(),
            deaths: Cell::default(),
        }
    }

    fn bury(&self, id: u16) {
        self.dead[usize::from(id)].set(true);
        self.deaths.set(self.deaths.get() + 1);
    }

    fn new_packet(&self) -> usize {
        let mut packets = self.packets.borrow_mut();
        packets.push(Packet::default());
        packets.len() - 1
    }

    /// The packet that is taken next, if nobody died and left that open.
    fn next_fresh(&self) -> Option<usize> {
        let packets = self.packets.borrow();
        let fresh = |packet: &Packet| packet.committed && packet.exposures == 0;
        packets.iter().position(fresh).filter(|_| self.deaths.get() == 0)
    }

    fn packet(&self, number: usize, f: impl FnOnce(&mut Packet)) {
        f(&mut self.packets.borrow_mut()[number]);
    }

    /// Enters a delivery into the books.
    fn exposed(&self, taken: &Taken) -> usize {
        self.delivered(self.ring.payload(taken), taken)
    }

    fn delivered(&self, bytes: &[u8], taken: &Taken) -> usize {
        let number = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        assert_eq!(bytes, payload(number, bytes.len()), "a torn packet");
        self.packet(number, |packet| {
            assert!(!packet.acked, "packet {number} was acknowledged, and comes back");
            assert!(
                packet.exposures == 0 || taken.redeliveries() > 0,
                "packet {number} comes again, unflagged"
            );
            assert!(
                packet.exposures > 0 || taken.redeliveries() == 0 || self.deaths.get() > 0,
                "packet {number} is new, and flagged, though nobody died"
            );
            packet.exposures += 1;
        });
        if taken.redeliveries() == 0 {
            assert!(self.last_fresh.get() < Some(number), "packet {number} overtook another");
            self.last_fresh.set(Some(number));
        }
        number
    }
}

// ---------------------------------------------------------------------------- people

/// One participant, with what a process keeps in its own memory.
struct Person<'a> {
    id: u16,
    world: &'a World,
    cache: ProducerCache,
    producer: Option<SingleProducer>,
    consumer: Option<SingleConsumer>,
    leases: Vec<(Taken, usize)>,
}

impl<'a> Person<'a> {
    fn new(world: &'a World, id: u16) -> Self {
        Self {
            id,
            world,
            cache: ProducerCache::default(),
            producer: None,
            consumer: None,
            leases: Vec::new(),
        }
    }

    fn ring(&self) -> &'a Ring {
        &self.world.ring
    }

    fn seen(&self) -> Seen {
        let dead = core::array::from_fn(|id| self.world.dead[id].get());
        Seen { me: self.id, dead, doorbell: AtomicU32::new(0) }
    }

    /// Takes the roles over that one participant holds at a time.
    fn take_roles(&mut self) {
        let ring = self.ring();
        if ring.geometry().producers == Side::Single {
            self.producer = Some(ring.start_producer().unwrap());
        }
        if ring.geometry().consumers == Side::Single {
            self.consumer = Some(ring.start_consumer().unwrap());
        }
    }

    fn claim(&mut self, n: u64) -> Result<ringway::shm::ring::Claim, Refused> {
        match &mut self.producer {
            Some(mine) => self.world.ring.claim_single(mine, n, 1),
            None => self.world.ring.claim(&self.cache, n, self.id),
        }
    }

    /// Puts one packet; the number it got, or why not.
    fn put(&mut self, len: usize) -> Result<usize, Refused> {
        let ring = self.ring();
        let number = self.world.packets.borrow().len();
        let bytes = payload(number, len);
        if ring.geometry().units(bytes.len()) == 1 {
            // What dies in there has a number, committed or not.
            assert_eq!(self.world.new_packet(), number);
            let done = match &mut self.producer {
                Some(mine) => {
                    ring.put_plain::<false>(mine, 0, &bytes)
                        || ring.put_plain::<true>(mine, 0, &bytes)
                }
                None => {
                    let (cache, id) = (&self.cache, self.id);
                    ring.put_plain_multi::<false>(cache, 0, &bytes, id).is_some()
                        || ring.put_plain_multi::<true>(cache, 0, &bytes, id).is_some()
                }
            };
            if done {
                self.world.packet(number, |packet| packet.committed = true);
                return Ok(number);
            }
            self.world.packets.borrow_mut().pop();
        }
        let n = ring.geometry().units(bytes.len());
        let mut claim = match self.claim(n) {
            Err(Refused::Full) if ring.help_room() => self.claim(n)?,
            other => other?,
        };
        assert_eq!(self.world.new_packet(), number);
        let inline = bytes.len() <= ring.geometry().inline_bytes();
        ring.write(&mut claim, inline, &bytes);
        match &mut self.producer {
            Some(mine) => ring.commit_single(mine, &claim, 0, bytes.len(), inline),
            None => ring.commit(&claim, 0, bytes.len(), inline),
        }
        self.world.packet(number, |packet| packet.committed = true);
        Ok(number)
    }

    fn put_run(&mut self) -> Result<(), Refused> {
        let ring = self.ring();
        if let Some(mine) = &mut self.producer {
            let first = self.world.packets.borrow().len();
            // One in its entry, one in the data region: what dies in there has a number, committed or not.
            let bytes = [payload(first, 8), payload(first + 1, UNIT)];
            let numbers = [self.world.new_packet(), self.world.new_packet()];
            let count = ring.put_plain_many(mine, 0, &bytes.each_ref().map(Vec::as_slice));
            for number in &numbers[..count] {
                self.world.packet(*number, |packet| packet.committed = true);
            }
            self.world.packets.borrow_mut().truncate(first + count);
            return Ok(());
        }
        let mut claim = ring.claim_run(&self.cache, 2, self.id)?;
        let numbers = [self.world.new_packet(), self.world.new_packet()];
        let bytes = numbers.map(|number| payload(number, 8));
        let bytes = ring.write_run(&mut claim, 0, &bytes.each_ref().map(Vec::as_slice), |_, _| {});
        ring.commit_run(&claim, bytes);
        for number in numbers {
            self.world.packet(number, |packet| packet.committed = true);
        }
        Ok(())
    }

    fn take(&mut self) -> Result<(), Missing> {
        let taken = match &mut self.consumer {
            Some(mine) => self.world.ring.take_single(mine)?,
            None => self.world.ring.take(self.id)?,
        };
        let number = self.world.exposed(&taken);
        self.leases.push((taken, number));
        Ok(())
    }

    /// Takes up to `max` records that lie ready, at once if they take one unit each; says how many.
    fn take_run(&mut self, max: usize) -> usize {
        if self.consumer.is_some() {
            return 0;
        }
        let mut run = Vec::new();
        self.ring().take_ready(max, self.id, &mut run);
        let count = run.len();
        for taken in run {
            let number = self.world.exposed(&taken);
            self.leases.push((taken, number));
        }
        count
    }

    /// Takes up to two packets at once, and acknowledges each as soon as it is read, or gives the second back,
    /// every other time.
    fn get_run(&mut self) -> bool {
        let (ring, world) = (self.ring(), self.world);
        let run = match &mut self.consumer {
            Some(mine) => ring.take_run_single(mine, 2),
            None => ring.take_run(2, self.id),
        };
        let Some(mut run) = run else { return false };
        let (pos, stops) = (run.pos(), run.pos() & 8 != 0);
        let mut before = None;
        let acked = |number: usize| world.packet(number, |packet| packet.acked = true);
        let read = |_: &Entry, taken: &Taken| {
            before.into_iter().for_each(acked);
            let number = world.exposed(taken);
            before = None;
            let goes_on = !stops || taken.pos == pos;
            if goes_on {
                world.packet(number, |packet| packet.ack_begun = true);
                before = Some(number);
            }
            goes_on
        };
        match &mut self.consumer {
            Some(mine) => ring.read_run_single(mine, &mut run, read),
            None => ring.read_run(&mut run, self.id, read),
        }
        before.into_iter().for_each(acked);
        match &mut self.consumer {
            _ if run.count() == 0 => {}
            Some(mine) => ring.give_back_run_single(mine, &mut run),
            None => ring.give_back_run(&mut run),
        }
        true
    }

    /// Takes the next packet and acknowledges it: at once, where it is known which packet that is, so that
    /// the books are right when somebody dies of it.
    fn get(&mut self) {
        let ring = self.ring();
        let next = self.consumer.as_ref().map_or_else(|| ring.head_pos(), SingleConsumer::next_pos);
        if next & 4 != 0 && self.get_run() {
            return;
        }
        if let Some(number) = self.world.next_fresh() {
            self.world.packet(number, |packet| packet.ack_begun = true);
            let mut bytes = Vec::with_capacity(INLINE_BYTES);
            let alone = |pos: u64| pos & 1 == 0;
            let taken = match &mut self.consumer {
                // In place, every second time.
                Some(mine) if mine.next_pos() & 2 != 0 => {
                    ring.expose_plain(mine).map(|(entry, taken)| {
                        bytes.extend_from_slice(ring.payload_in(entry, &taken));
                        ring.end_exposed(mine, entry, &taken);
                        taken
                    })
                }
                Some(mine) => ring
                    .get_plain::<false>(mine, &mut bytes)
                    .or_else(|| ring.get_plain::<true>(mine, &mut bytes))
                    .or_else(|| ring.get_long(mine, &mut bytes)),
                None => ring
                    .get_plain_multi::<false>(self.id, alone, &mut bytes)
                    .or_else(|| ring.get_plain_multi::<true>(self.id, alone, &mut bytes)),
            };
            if let Some(taken) = taken {
                assert_eq!(self.world.delivered(&bytes, &taken), number);
                self.world.packet(number, |packet| packet.acked = true);
                return;
            }
            self.world.packet(number, |packet| packet.ack_begun = false);
        }
        if self.take().is_ok() {
            self.ack(self.leases.len() - 1);
        }
    }

    fn adopt(&mut self) -> bool {
        if self.consumer.is_some() {
            return false;
        }
        let Some(taken) = self.ring().adopt(&self.seen()) else { return false };
        let number = self.world.exposed(&taken);
        self.leases.push((taken, number));
        true
    }

    fn ack(&mut self, i: usize) {
        if self.leases.is_empty() {
            return;
        }
        let (taken, number) = self.leases.swap_remove(i % self.leases.len());
        self.world.packet(number, |packet| packet.ack_begun = true);
        match &mut self.consumer {
            Some(mine) => self.world.ring.ack_single(mine, &taken),
            None => self.ring().release(&taken, self.id),
        }
        self.world.packet(number, |packet| packet.acked = true);
    }

    /// Acknowledges all that it holds together.
    fn ack_all(&mut self) {
        if self.consumer.is_some() {
            return (0..self.leases.len()).for_each(|_| self.ack(0));
        }
        let (taken, numbers): (Vec<_>, Vec<_>) = self.leases.drain(..).unzip();
        for &number in &numbers {
            self.world.packet(number, |packet| packet.ack_begun = true);
        }
        self.world.ring.release_many(&taken, self.id);
        for &number in &numbers {
            self.world.packet(number, |packet| packet.acked = true);
        }
    }

    fn give_back(&mut self, i: usize) {
        if self.leases.is_empty() {
            return;
        }
        let (taken, _) = self.leases.swap_remove(i % self.leases.len());
        match &mut self.consumer {
            Some(mine) => self.world.ring.give_back_single(mine, taken.pos),
            None => self.ring().give_back(&taken),
        }
    }

    fn abandon(&mut self, n: u64) {
        if let Ok(claim) = self.claim(n) {
            match &self.producer {
                Some(mine) => self.world.ring.abandon_single(mine),
                None => self.ring().abandon(&claim, self.id),
            }
        }
    }

    fn close(&self) {
        self.ring().begin_close();
        self.ring().finish_close();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Put(len) => drop(self.put(len)),
            Step::Run => drop(self.put_run()),
            Step::Take => drop(self.take()),
            Step::Get => self.get(),
            Step::TakeRun(max) if self.consumer.is_none() => _ = self.take_run(max),
            Step::TakeRun(max) => (0..max).for_each(|_| _ = self.take()),
            Step::Adopt => _ = self.adopt(),
            Step::Ack(i) => self.ack(i),
            Step::AckAll => self.ack_all(),
            Step::GiveBack(i) => self.give_back(i),
            Step::Abandon(n) => self.abandon(n),
            Step::Roles => {
                // The old handles are gone, as are their leases.
                if self.consumer.is_some() {
                    self.leases.clear();
                }
                self.take_roles();
            }
            Step::Close => self.close(),
        }
    }

    /// Gets everything that is left, whoever held it, and acknowledges it.
    fn drain(&mut self) {
        let ring = self.ring();
        // Each turn passes a record or returns; a ring of 16 has not more than some dozens.
        for turn in 0..200 {
            // In turn: what the dead left before all else, or a record, or a run of two or three.
            let found = match turn % 3 {
                0 => self.take().is_ok(),
                1 => self.take_run(2 + turn / 3 % 2) > 0,
                _ => false,
            };
            if found || self.adopt() {
                self.ack_all();
                continue;
            }
            match self.take() {
                Ok(()) => self.ack(0),
                Err(Missing::Pending { .. }) => {
                    assert!(recovery::skip_dead_writer(ring, &self.seen()), "nobody is to blame");
                }
                // The closer died: run the barrier for it.
                Err(Missing::Closing) => ring.finish_close(),
                Err(Missing::Empty) => return assert!(!ring.is_closed()),
                Err(Missing::Sealed) => return assert!(ring.is_closed()),
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("no end to it");
    }

    /// Puts until no recovery makes room any more.
    fn fill(&mut self) -> u64 {
        let mut put = 0;
        for _ in 0..200 {
            match self.put(8) {
                Ok(_) => put += 1,
                Err(Refused::Full) if recovery::make_room(self.ring(), &self.seen()) => {}
                Err(Refused::Full | Refused::Closed) => return put,
                Err(other) => panic!("{other:?}"),
            }
        }
        panic!("no end to it");
    }

    /// What a survivor does.
    fn inherit(&mut self, manner: Manner, dead: &[u16]) {
        if manner == Manner::Scrubber {
            for id in dead {
                recovery::scrub_ring(self.ring(), *id);
            }
        }
        self.take_roles();
        if manner == Manner::Producer {
            self.fill();
        }
        self.drain();
    }
}

/// What a survivor is, and so which way of recovery it takes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Consumer,
    Producer,
    /// A joiner that got the dead one's id, and undoes what it was at.
    Scrubber,
}

// ---------------------------------------------------------------------------- scenarios

#[derive(Clone, Copy, Debug)]
enum Step {
    Put(usize),
    Run,
    Take,
    Get,
    TakeRun(usize),
    Adopt,
    Ack(usize),
    AckAll,
    GiveBack(usize),
    Abandon(u64),
    Roles,
    Close,
}

#[derive(Clone, Debug)]
struct Scenario {
    /// 3, or 4: there, a consumer takes three at once, and leaves the frontier to others now and then.
    log2_entries: u32,
    producers: Side,
    consumers: Side,
    maxsize: u64,
    /// Packets that went through the ring before.
    turned: usize,
    /// A living participant holds the first packet meanwhile (many consumers).
    bystander: bool,
    steps: Vec<Step>,
}

/// Of two units.
const LARGE: usize = 100;
/// Of one, in the data region.
const UNIT: usize = 60;

/// The scenarios that are written down: each operation, alone and behind others.
fn written() -> Vec<Vec<Step>> {
    use Step::{Abandon, Ack, AckAll, Adopt, Close, Get, GiveBack, Put, Roles, Run, Take, TakeRun};
    vec![
        vec![Put(8), Put(LARGE), Put(8), Take, Ack(0), Take, Take, Ack(1), Ack(0)],
        vec![Run, Take, Ack(0), Run, Put(8), Take, Take, Ack(1), Take, Ack(0), Ack(0)],
        vec![Put(8), Take, GiveBack(0), Adopt, Ack(0), Put(8), Take, GiveBack(0), Take, Ack(0)],
        vec![Put(8), Put(8), Take, Take, GiveBack(0), GiveBack(0), Adopt, Adopt, Ack(0), Ack(0)],
        vec![
            Put(8),
            Get,
            Put(8),
            Put(UNIT),
            Get,
            Put(LARGE),
            Get,
            Get,
            Put(8),
            Take,
            Put(8),
            Get,
            Ack(0),
        ],
        vec![Abandon(2), Put(8), Abandon(1), Take, Ack(0), Put(LARGE), Take, Ack(0)],
        vec![Put(8), Close, Take, Ack(0), Take, Put(8), Take],
        vec![Put(8), Take, Close, Take, Ack(0), Take],
        vec![Put(8), Put(8), Put(8), Take, Take, Take, Ack(2), Ack(1), Ack(0), Put(8)],
        vec![Put(8), Take, Roles, Put(8), Take, Roles, Take, Ack(0), Put(8), Take, Ack(0)],
        vec![Put(8), Put(8), Put(8), TakeRun(2), Put(8), TakeRun(2), AckAll, Put(8), Take, AckAll],
        vec![
            Put(8),
            Put(8),
            Put(8),
            Put(8),
            TakeRun(3),
            Ack(1),
            GiveBack(0),
            Adopt,
            AckAll,
            Put(8),
        ],
        vec![
            Run,
            TakeRun(3),
            Put(LARGE),
            TakeRun(2),
            GiveBack(1),
            Put(8),
            TakeRun(2),
            Ack(0),
            AckAll,
        ],
        vec![
            Put(8),
            Put(8),
            Abandon(1),
            Put(8),
            Put(8),
            TakeRun(3),
            TakeRun(3),
            Close,
            AckAll,
            Take,
        ],
        vec![
            Put(LARGE),
            Put(LARGE),
            Put(LARGE),
            Put(LARGE),
            Put(8),
            Take,
            Ack(0),
            Put(LARGE),
            Take,
            Take,
            Ack(0),
        ],
    ]
}

/// Marsaglia's xorshift64: scenarios differ from run to run only when this file changes.
fn random(state: &mut u64, below: u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) % below
}

fn random_steps(state: &mut u64) -> Vec<Step> {
    let length = 4 + random(state, 12);
    (0..length)
        .map(|_| match random(state, 20) {
            0..6 => Step::Put([LARGE, UNIT, 8, 8, 8, 8][random(state, 6) as usize]),
            6 => Step::Run,
            7 | 8 => Step::Take,
            9 => Step::Get,
            10 | 11 => Step::TakeRun(2 + random(state, 2) as usize),
            12 | 13 => Step::Ack(random(state, 4) as usize),
            14 => Step::AckAll,
            15 | 16 => Step::GiveBack(random(state, 4) as usize),
            17 => Step::Adopt,
            18 => Step::Abandon(1 + random(state, 2)),
            _ => match random(state, 4) {
                0 => Step::Close,
                _ => Step::Roles,
            },
        })
        .collect()
}

fn scenarios(producers: Side, consumers: Side) -> Vec<Scenario> {
    let mut all = Vec::new();
    for steps in written() {
        for (log2_entries, turned) in [(3, 0), (3, 5), (4, 13)] {
            let (maxsize, bystander) = (0, false);
            let steps = steps.clone();
            all.push(Scenario {
                log2_entries,
                producers,
                consumers,
                maxsize,
                turned,
                bystander,
                steps,
            });
        }
    }
    let mut state = 0x9e37_79b9_7f4a_7c15;
    for _ in 0..RANDOM_SCENARIOS {
        let maxsize = if random(&mut state, 2) == 0 { 0 } else { 1 + random(&mut state, 8) };
        all.push(Scenario {
            log2_entries: 3 + random(&mut state, 2) as u32,
            producers,
            consumers,
            maxsize,
            turned: random(&mut state, 8) as usize,
            bystander: consumers == Side::Multi && random(&mut state, 3) == 0,
            steps: random_steps(&mut state),
        });
    }
    all
}

/// Plays a scenario once: the victim dies at its `k`-th crash point, the heir at its `j`-th. Says
/// whether each of them died.
fn play(scenario: &Scenario, k: u32, manner: Manner, j: u32) -> (bool, bool) {
    let world = World::new(scenario);
    let mut bystander = Person::new(&world, BYSTANDER);
    let mut setter = Person::new(&world, LAST);
    setter.take_roles();
    for _ in 0..scenario.turned {
        setter.put(8).unwrap();
        setter.take().unwrap();
        setter.ack(0);
    }
    if scenario.bystander {
        setter.put(8).unwrap();
        bystander.take().unwrap();
    }
    let mut victim = Person::new(&world, VICTIM);
    victim.take_roles();
    let victim_died = dies(k, || {
        for step in &scenario.steps {
            victim.step(*step);
        }
    });
    // Its leases and its handles are gone, wherever it was.
    drop(victim);
    world.bury(VICTIM);
    let mut heir = Person::new(&world, HEIR);
    let heir_died = dies(j, || heir.inherit(manner, &[VICTIM]));
    drop(heir);
    world.bury(HEIR);
    let mut last = Person::new(&world, LAST);
    last.inherit(manner, &[VICTIM, HEIR]);
    if scenario.bystander {
        assert_eq!(world.ring.leased(LAST), 1, "what the living hold was taken from them");
        bystander.ack(0);
        last.drain();
    }
    expect_books_to_balance(&world);
    expect_usable(&world, scenario, &mut last);
    (victim_died, heir_died)
}

fn expect_books_to_balance(world: &World) {
    for (number, packet) in world.packets.borrow().iter().enumerate() {
        assert!(!packet.committed || packet.acked || packet.ack_begun, "packet {number} is lost");
    }
    assert_eq!(world.ring.waiting(), 0, "packets wait in a drained ring");
    assert_eq!(world.ring.used_units(), 0, "units are lost in a drained ring");
    assert_eq!(world.ring.leased(0), 0, "a lease of nobody");
}

fn expect_usable(world: &World, scenario: &Scenario, last: &mut Person<'_>) {
    let closed = world.ring.memory().header().shared.closed.load(Ordering::Relaxed);
    if closed != RING_OPEN {
        assert_eq!(last.put(8), Err(Refused::Closed));
        return;
    }
    let room = if scenario.maxsize == 0 { 1 << scenario.log2_entries } else { scenario.maxsize };
    for _ in 0..2 {
        assert_eq!(last.fill(), room, "the ring has shrunk");
        last.drain();
        expect_books_to_balance(world);
    }
}

fn explore(producers: Side, consumers: Side) -> u64 {
    let mut plays = 0_u64;
    for scenario in scenarios(producers, consumers) {
        for manner in [Manner::Consumer, Manner::Producer, Manner::Scrubber] {
            for k in 0.. {
                let mut victim_died = true;
                for j in 0.. {
                    let result = catch_unwind(AssertUnwindSafe(|| play(&scenario, k, manner, j)));
                    let (victim, heir) = result.unwrap_or_else(|panic| {
                        eprintln!(
                            "the victim's point {k}, its heir's ({manner:?}) {j}: {scenario:?}"
                        );
                        resume_unwind(panic)
                    });
                    plays += 1;
                    victim_died = victim;
                    if !heir {
                        break;
                    }
                }
                if !victim_died {
                    break;
                }
            }
        }
    }
    plays
}

const MODES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Single),
    (Side::Multi, Side::Multi),
];

/// Deliberate defects that only a death brings to light; each must be found.
const MUTANTS: [&str; 7] = [
    "frontier_without_head",
    "run_split_first_to_last",
    "help_run_short",
    "run_first_to_last",
    "no_roll_over",
    "peek_after_exposure",
    "skip_committed",
];

/// Switches one defect on and says whether any mode fails.
fn is_found(mutant: &str) -> bool {
    ringway::mutants::set_mutants(&[mutant]);
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found =
        MODES.iter().any(|(p, c)| catch_unwind(AssertUnwindSafe(|| explore(*p, *c))).is_err());
    std::panic::set_hook(loud);
    ringway::mutants::set_mutants(&[]);
    found
}

fn names_in(path: &Path, names: &mut BTreeSet<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            names_in(&entry.unwrap().path(), names);
        }
        return;
    }
    let source = std::fs::read_to_string(path).unwrap();
    for rest in source.split("crash_point(\"").skip(1) {
        names.extend(rest.split('"').next().map(str::to_owned));
    }
}

/// One test, since the list at its end is about all of it.
#[test]
fn survivors_balance_the_books_after_a_death_at_any_crash_point() {
    ringway::crash::set_hook(Some(hook));
    std::thread::scope(|scope| {
        for (producers, consumers) in MODES {
            scope.spawn(move || {
                let plays = explore(producers, consumers);
                println!("{producers:?} producer(s), {consumers:?} consumer(s): {plays} plays");
                assert!(plays > 80_000, "only {plays} plays");
            });
        }
    });
    let hits = HITS.lock().unwrap();
    for (name, deaths) in hits.iter() {
        println!("{deaths:>9} deaths at {name}");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut named = BTreeSet::new();
    for place in COVERED {
        names_in(&root.join(place), &mut named);
    }
    assert!(named.len() > 15, "the search for names finds hardly any");
    let missed: Vec<_> = named.iter().filter(|name| !hits.contains_key(name.as_str())).collect();
    assert!(missed.is_empty(), "nobody ever died at {missed:?}");
    drop(hits);
    let survivors: Vec<_> = MUTANTS.iter().filter(|mutant| !is_found(mutant)).collect();
    assert!(survivors.is_empty(), "mutants survived: {survivors:?}");
    println!("{} mutants found", MUTANTS.len());
}
