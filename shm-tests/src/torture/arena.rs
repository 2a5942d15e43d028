//! Some rings and their processes, from creation to removal.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringway::queue::{Queue, QueueConfig, QueueDescriptor, Side};
use ringway::shm::Lifetime;
use ringway::shm::segment::{RingConfig, Segment, SegmentConfig};

use crate::ledger::Ledger;
use crate::place::Place;
use crate::torment::BATCH;
use crate::torture::cast::{Fate, Job, Victim};
use crate::torture::points::{Actor, Point, Shape};
use crate::torture::scene::{Ending, play};
use crate::torture::session::{MODES, Session, evidence};

/// Between two rounds of looking after everybody.
pub(super) const PACE: Duration = Duration::from_micros(300);

/// Mean time between two random kills.
const MEAN_MS: u64 = 50;

/// Turns of a process that is to work until the end.
const FOR_EVER: u64 = 1 << 40;

/// A ring, in a segment of its own, or in one with the others.
pub(super) struct Home {
    pub(super) name: String,
    pub(super) segment: String,
    pub(super) json: String,
    pub(super) shape: Shape,
    /// Our own attachment.
    pub(super) queue: Option<Queue>,
    pub(super) closed: bool,
}

/// Nothing can go on.
pub(super) struct Wedged;

pub(super) struct Arena<'a> {
    pub(super) session: &'a mut Session,
    pub(super) place: Place,
    pub(super) homes: Vec<Home>,
    /// The one segment of all rings, if that is how it is.
    pub(super) shared: Option<SegmentConfig>,
    pub(super) cast: Vec<Option<Victim>>,
    pub(super) jobs: Vec<Job>,
    incarnations: u64,
    next_kill: Instant,
}

impl<'a> Arena<'a> {
    /// Lives through a whole arena, with about `quota` kills while it is open.
    pub(super) fn run(session: &'a mut Session, mode: usize, quota: u64) {
        let mut arena = Self::new(session, mode);
        let lived = arena.live(quota);
        if lived.is_err() {
            arena.session.report.wedged += 1;
            arena.keep_evidence();
        }
        // Whoever is left is killed with this.
        arena.cast.clear();
        if lived.is_ok() {
            arena.settle();
        }
        arena.end();
        arena.session.watch.set_rings(Vec::new());
    }

    fn new(session: &'a mut Session, mode: usize) -> Self {
        let (name, producers, consumers) = MODES[mode];
        let place = Place::new(&session.programs.ordinary);
        // In the others it can be measured how soon all goes on.
        session.pauses = session.random.below(3) == 0;
        // In some, one death must be recovered from before the next: a new one may help.
        session.calm = session.random.below(2) == 0;
        let random = &mut session.random;
        let routed = random.below(3) == 0;
        let several = |side| if side == Side::Multi { 2 } else { 1 };
        let mut jobs = vec![Job::Put(0); several(producers)];
        let takers = several(consumers);
        if routed {
            jobs.extend(vec![Job::Route; takers]);
            jobs.extend([Job::Get(1), Job::Get(2)].repeat(takers));
        } else {
            jobs.extend(vec![Job::Get(0); takers + usize::from(takers > 1)]);
        }
        // Few places: the ids of the dead are used again at once. Many: hardly ever.
        let spare = [3, 3, 40][random.below(3) as usize];
        let places = jobs.len() as u32 + spare;
        let lifetimes = [Lifetime::Keep, Lifetime::Ephemeral, Lifetime::Job];
        let together = (routed && random.below(2) == 0).then_some(random.below(3) as usize);
        let mut shared = together.map(|lifetime| {
            let segment = name.parse().expect("the name of a mode");
            let mut config = SegmentConfig::new(segment, lifetimes[lifetime]);
            config.max_participants = places;
            config
        });
        let homes = (0..if routed { 3 } else { 1 }).map(|ring| {
            // What several routers feed has many producers, whatever the mode.
            let producers = if ring > 0 && takers > 1 { Side::Multi } else { producers };
            let entries = [16, 64, 64, 256][random.below(4) as usize];
            let unit = [64, 256, 1024, 4096, 16384][random.below(5) as usize];
            let maxsize = match random.below(4) {
                0 => 1 + random.below(8),
                1 => 1 + random.below(entries),
                _ => 0,
            };
            let config = QueueConfig {
                capacity_packets: Some(entries),
                capacity_bytes: Some(entries * unit),
                maxsize,
                timestamps: random.below(2) == 0,
                producers,
                consumers,
                ..QueueConfig::default()
            };
            let lifetime = lifetimes[together.unwrap_or(random.below(3) as usize)];
            let (segment, name) = match &mut shared {
                Some(shared) => {
                    let geometry = config.geometry().expect("a valid ring");
                    shared.rings.push(RingConfig::new(format!("ring-{ring}"), geometry));
                    (name.to_owned(), format!("{name}:ring-{ring}"))
                }
                None => (format!("{name}-{ring}"), format!("{name}-{ring}")),
            };
            let queue = place.queue_of(&name, config, lifetime).with_max_participants(places);
            let json = queue.expect("a valid number of places").to_json();
            fs::create_dir(place.logs().join(ring.to_string())).expect("a directory for logs");
            let shape = Shape { producers, consumers, ephemeral: lifetime == Lifetime::Ephemeral };
            Home { name, segment, json, shape, queue: None, closed: false }
        });
        let homes = homes.collect();
        let cast = jobs.iter().map(|_| None).collect();
        let next_kill = Instant::now();
        Self { session, place, homes, shared, cast, jobs, incarnations: 0, next_kill }
    }

    fn live(&mut self, quota: u64) -> Result<(), Wedged> {
        let directory = self.place.directory();
        // Our own: whoever opens one of its rings would make a segment of that ring alone.
        let made = self.shared.as_ref().map(|all| Segment::shared_or_create(&directory, all));
        if let Some(Err(error)) = &made {
            self.session.fault(format!("creating {:?}: {error:?}", self.shared));
            return Err(Wedged);
        }
        for ring in 0..self.homes.len() {
            self.create(ring)?;
        }
        drop(made);
        self.watch();
        for i in 0..self.jobs.len() {
            self.cast[i] = Some(self.start(self.jobs[i], None));
        }
        let goal = self.session.report.kills + quota;
        while self.session.report.kills < goal {
            self.look_after_everybody();
            self.kill_now_and_then(|_| true);
            if let Some(ring) = self.session.watch.wedged() {
                let what = format!("nothing goes through {} any more", self.homes[ring].name);
                self.session.report.remark(what);
                return Err(Wedged);
            }
            std::thread::sleep(PACE);
        }
        for ring in 0..self.homes.len() {
            self.close(ring)?;
        }
        self.haunt(self.homes[0].shape)
    }

    /// Somebody creates the segment, and may die of it; then we take part.
    fn create(&mut self, ring: usize) -> Result<(), Wedged> {
        let shape = self.homes[ring].shape;
        if self.session.random.below(3) != 0 && self.shared.is_none() {
            let point = self.session.pick(Actor::Creator, shape);
            self.play(point, &[format!("open q {}", self.homes[ring].json)])?;
        }
        let home = &mut self.homes[ring];
        let opened = QueueDescriptor::from_json(&home.json).expect("our own JSON").queue();
        match opened {
            Ok(queue) => home.queue = Some(queue),
            Err(error) => {
                self.session.fault(format!("opening {}: {error:?}", self.homes[ring].name));
                return Err(Wedged);
            }
        }
        Ok(())
    }

    fn watch(&self) {
        let rings = self.homes.iter().filter_map(|home| {
            let segment = Segment::open_readonly(
                &self.place.directory(),
                &home.segment.parse().expect("our own name"),
            );
            Some((home.queue.clone()?, segment.ok()?))
        });
        self.session
            .watch
            .set_rings(rings.collect::<Vec<(Queue, Arc<ringway::shm::segment::SegmentView>)>>());
    }

    fn log(&self, ring: usize, what: &str) -> String {
        let file = format!("{ring}/{what}-{}", self.incarnations);
        self.place.logs().join(file).display().to_string()
    }

    /// Starts a process; armed with `point`, or with another, or not.
    pub(super) fn start(&mut self, job: Job, point: Option<&'static Point>) -> Victim {
        self.incarnations += 1;
        let calm = self.session.calm;
        let random = &mut self.session.random;
        // Some go, and come again.
        let turns = if random.below(4) == 0 { 20 + random.below(2000) } else { FOR_EVER };
        let (armed, seed) =
            (random.below(100) < if calm { 30 } else { 75 }, random.next_u64() >> 1);
        let parts = job.parts();
        let (actor, ring) = parts[random.below(parts.len() as u64) as usize];
        let leaves = turns != FOR_EVER && random.below(4) == 0;
        let owned = random.below(2) == 0;
        let point = point.or_else(|| {
            let shape = self.homes[ring].shape;
            let actor = if leaves { Actor::Leaver } else { actor };
            armed.then(|| self.session.pick(actor, shape)).flatten()
        });
        let (source, incarnation) = (job.source().unwrap_or(job.rings()[0]), self.incarnations);
        // A router may be several producers.
        let producer = 10 * incarnation;
        let what = match job {
            Job::Put(_) => "put",
            Job::Get(_) => "get",
            Job::Route => "route",
        };
        let log = self.log(source, what);
        let mut commands = vec![format!("open q {}", self.homes[source].json)];
        commands.extend(owned.then(|| match job {
            Job::Put(_) => "producer q".to_owned(),
            Job::Get(_) | Job::Route => "consumer q".to_owned(),
        }));
        commands.push(match job {
            Job::Put(_) => {
                format!("torment-put q {producer} {seed} {turns} {log}")
            }
            Job::Get(_) => format!("torment-get q {seed} {turns} {log}"),
            Job::Route => format!(
                "torment-route q {producer} {seed} {turns} {log} {} {} {}\t{}",
                self.log(1, "route"),
                self.log(2, "route"),
                self.homes[1].json,
                self.homes[2].json
            ),
        });
        Victim::start(self.session, job, turns, point, log.into(), &commands)
    }

    /// Listens to everybody, and replaces whoever is gone.
    pub(super) fn look_after_everybody(&mut self) {
        for i in 0..self.cast.len() {
            let Some(victim) = &mut self.cast[i] else { continue };
            let fate = victim.tend(self.session);
            if fate == Fate::Lives {
                continue;
            }
            let (job, turns) = (victim.job, victim.turns);
            self.cast[i] = None;
            if self.is_needed(job, turns, fate) {
                self.cast[i] = Some(self.start(job, None));
            }
        }
    }

    /// Says whether there must be another one of this job.
    fn is_needed(&self, job: Job, turns: u64, fate: Fate) -> bool {
        match job.source() {
            None => !self.homes[job.rings()[0]].closed,
            // Whoever ends before its last turn found its queue closed and drained.
            Some(ring) => {
                !self.homes[ring].closed || [Fate::Killed, Fate::Done(turns)].contains(&fate)
            }
        }
    }

    pub(super) fn kill_now_and_then(&mut self, whom: impl Fn(Job) -> bool) {
        if Instant::now() < self.next_kill {
            return;
        }
        if self.session.calm && self.session.watch.is_waiting() {
            return;
        }
        let random = &mut self.session.random;
        self.next_kill = Instant::now() + Duration::from_millis(random.below(2 * MEAN_MS));
        let stops = random.below(5) == 0 && self.session.pauses;
        let one = self.session.random.next_u64() as usize;
        let mut candidates: Vec<&mut Victim> = self
            .cast
            .iter_mut()
            .flatten()
            .filter(|victim| victim.is_working() && whom(victim.job))
            .collect();
        let count = candidates.len();
        let Some(victim) = candidates.get_mut(one % count.max(1)) else { return };
        if stops {
            victim.stop(self.session);
        } else {
            victim.kill(self.session, None);
        }
    }

    /// Has a process do something, and die of it; what goes wrong is a fault.
    pub(super) fn play(
        &mut self,
        point: Option<&Point>,
        commands: &[String],
    ) -> Result<Ending, Wedged> {
        let ending = play(self.session, point, commands);
        match &ending {
            Ending::Hung => {
                let what = format!("{commands:?} armed with {point:?} does not end");
                self.session.report.remark(what);
                return Err(Wedged);
            }
            Ending::Lived(answers) => {
                for error in answers.iter().filter(|answer| answer.starts_with("err ")) {
                    if error == "err Closed" && point.is_none() {
                        continue;
                    }
                    self.session.fault(format!("{commands:?} armed with {point:?}: {error}"));
                }
            }
            Ending::Died => {}
        }
        Ok(ending)
    }

    fn settle(&mut self) {
        for (ring, home) in self.homes.iter().enumerate() {
            let logs = self.place.logs().join(ring.to_string());
            let ledger = match home.shape.consumers {
                Side::Single => Ledger::read_of_one_consumer(&logs),
                Side::Multi => Ledger::read(&logs),
            };
            match ledger {
                Ok(ledger) => self.session.report.verdict.add(ledger.settle(BATCH)),
                Err(error) => self.session.fault(format!("the logs of {}: {error}", home.name)),
            }
        }
    }

    /// Says who keeps the rings from going on, and copies their files.
    fn keep_evidence(&mut self) {
        let place = evidence(self.session.report.seed);
        for victim in self.cast.iter().flatten() {
            self.session.report.remark(victim.describe());
        }
        for home in &self.homes {
            if let Some(queue) = &home.queue {
                let blockers = queue.ring().map(|ring| ring.blocked_by());
                let what = format!("{}: {:?}, blocked by {blockers:?}", home.name, queue.stats());
                self.session.report.remark(what);
            }
            let (file, copy) =
                (self.place.segments().join(&home.segment), place.join(&home.segment));
            let copied = fs::create_dir_all(&place).and_then(|()| fs::copy(&file, &copy));
            if copied.is_ok() {
                let copy = copy.display();
                self.session.report.remark(format!("look at it with `shm-inspect show {copy}`"));
            }
        }
    }
}
