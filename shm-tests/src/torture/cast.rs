//! The processes of an arena: started, listened to, stopped, killed, replaced.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringway::shm::os::monotonic_ns;

use crate::accounting::{Event, Log};
use crate::crash::Announcement;
use crate::peer::Peer;
use crate::torture::points::{Actor, Point};
use crate::torture::session::Session;

/// What a process is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Job {
    /// Puts into a ring.
    Put(usize),
    /// Gets from a ring.
    Get(usize),
    /// Gets from ring 0, and sends to rings 1 and 2.
    Route,
}

impl Job {
    /// The rings it touches.
    pub(super) fn rings(self) -> &'static [usize] {
        match self {
            Self::Put(0) | Self::Get(0) => &[0],
            Self::Put(1) | Self::Get(1) => &[1],
            Self::Put(_) | Self::Get(_) => &[2],
            Self::Route => &[0, 1, 2],
        }
    }

    /// The ring it takes from.
    pub(super) fn source(self) -> Option<usize> {
        match self {
            Self::Put(_) => None,
            Self::Get(ring) => Some(ring),
            Self::Route => Some(0),
        }
    }

    /// What can be expected of it in which ring.
    pub(super) fn parts(self) -> &'static [(Actor, usize)] {
        match self {
            Self::Put(0) => &[(Actor::Producer, 0)],
            Self::Put(1) => &[(Actor::Producer, 1)],
            Self::Put(_) => &[(Actor::Producer, 2)],
            Self::Get(0) => &[(Actor::Consumer, 0)],
            Self::Get(1) => &[(Actor::Consumer, 1)],
            Self::Get(_) => &[(Actor::Consumer, 2)],
            Self::Route => &[(Actor::Consumer, 0), (Actor::Producer, 1), (Actor::Producer, 2)],
        }
    }
}

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It goes on.
    Lives,
    /// It was killed.
    Killed,
    /// It ended in order, after so many turns.
    Done(u64),
    /// It ended otherwise; that was reported.
    Failed,
}

/// A process at work.
#[derive(Debug)]
pub(super) struct Victim {
    pub(super) job: Job,
    /// Turns that it was told to do.
    pub(super) turns: u64,
    peer: Peer,
    point: Option<&'static Point>,
    /// Where it writes down what it takes, or puts.
    log: PathBuf,
    /// It will stop by itself at that point.
    stops_itself: bool,
    /// Answers that are still to come.
    expected: usize,
    /// Stopped until then, at a crash point or anywhere; the watch knows.
    stopped: Option<(Instant, Option<String>)>,
    /// Its work is done, or it failed: it ends in order.
    leaves: bool,
    killed: bool,
    turned: u64,
}

impl Victim {
    /// Starts a process, and tells it all it has to do. `point` arms it.
    pub(super) fn start(
        session: &mut Session,
        job: Job,
        turns: u64,
        point: Option<&'static Point>,
        log: PathBuf,
        commands: &[String],
    ) -> Self {
        let programs = &session.programs;
        let program = if point.is_some() { &programs.crashing } else { &programs.ordinary };
        let mut peer = Peer::start(program);
        let mut expected = commands.len();
        if let Some(mutant) = &session.mutant {
            peer.try_send(format!("mutant {mutant}"));
            expected += 1;
        }
        let mut stops_itself = false;
        if let Some(point) = point {
            let pauses = session.random.below(3) == 0 && session.pauses;
            let verb = if pauses { "pause" } else { "die" };
            stops_itself = pauses;
            let passes = 1 + session.random.below(point.passes);
            peer.try_send(format!("{verb} {} {passes}", point.name));
            expected += 1;
        }
        for command in commands {
            // One that dies on the way is noticed soon enough.
            peer.try_send(command.clone());
        }
        let (leaves, killed) = (false, false);
        let stopped = None;
        let turned = 0;
        Self {
            job,
            turns,
            peer,
            point,
            log,
            stops_itself,
            expected,
            stopped,
            leaves,
            killed,
            turned,
        }
    }

    /// Listens to it, and does what is due.
    pub(super) fn tend(&mut self, session: &mut Session) -> Fate {
        while let Some(line) = self.peer.try_answer() {
            self.heard(session, &line);
        }
        if self.stopped.as_ref().is_some_and(|(until, _)| Instant::now() >= *until)
            && self.peer.state() == 'T'
            && let Some((_, point)) = self.goes_on(session)
        {
            if session.random.below(2) == 0 {
                self.kill(session, point.as_deref());
            } else {
                self.peer.resume();
            }
        }
        let Some(status) = self.peer.ended() else { return Fate::Lives };
        for line in self.peer.last_words() {
            self.heard(session, &line);
        }
        let _ = self.goes_on(session);
        if self.killed {
            return Fate::Killed;
        }
        if self.leaves && status.success() {
            return Fate::Done(self.turned);
        }
        session.fault(format!("{:?} ended with {status}", self.job));
        Fate::Failed
    }

    fn heard(&mut self, session: &mut Session, line: &str) {
        if let Some(announced) = Announcement::parse(line) {
            if announced.dies {
                if !self.killed {
                    self.killed = true;
                    session.killed(Some(&announced.point));
                    self.died(session, announced.at_ns);
                    self.testify(session, &announced.point);
                }
            } else {
                self.stopped(session, Some(announced.point));
            }
        } else if let Some(rest) = line.strip_prefix("ok") {
            self.expected -= 1;
            if self.expected == 0 {
                self.turned = rest.trim().parse().unwrap_or(0);
                self.leave();
            }
        } else if self.job.source().is_none() && line == "err Closed" {
            // Started while somebody closed the ring: there is no producer's role to be had any more.
            self.leave();
        } else if !self.leaves {
            session.fault(format!("{:?} armed with {:?}: {line}", self.job, self.point));
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.peer.finish();
        self.leaves = true;
    }

    /// It is not stopped any more; returns how it was.
    fn goes_on(&mut self, session: &Session) -> Option<(Instant, Option<String>)> {
        let stopped = self.stopped.take();
        if stopped.is_some() {
            session.watch.paused(-1);
        }
        stopped
    }

    fn stopped(&mut self, session: &mut Session, point: Option<String>) {
        if self.stopped.is_none() {
            session.watch.paused(1);
        }
        session.report.pauses += 1;
        let pause = Duration::from_millis(1 + session.random.below(120));
        self.stopped = Some((Instant::now() + pause, point));
    }

    fn died(&self, session: &Session, at_ns: u64) {
        let point = self.point.map_or("no point", |point| point.name);
        let who = format!("{:?} armed with {point}, in arena {}", self.job, session.report.arenas);
        session.watch.died(self.peer.id(), self.job.rings(), at_ns, &who);
    }

    /// For people.
    pub(super) fn describe(&self) -> String {
        let (pid, state) = (self.peer.id(), self.peer.state());
        let point = self.point.map_or("no point", |point| point.name);
        format!("{:?} {pid} armed with {point}: {state}, stopped {:?}", self.job, self.stopped)
    }

    /// Says whether it may be killed or stopped now.
    pub(super) fn is_working(&self) -> bool {
        self.stopped.is_none() && !self.leaves && !self.killed
    }

    /// Stops it wherever it is; but not one that is about to stop by itself, which would stop again
    /// when it is told to go on.
    pub(super) fn stop(&mut self, session: &mut Session) {
        if self.peer.ended().is_none() && !self.stops_itself {
            // Not waited for: it may be dying.
            let _ = kill(Pid::from_raw(self.peer.id() as i32), Signal::SIGSTOP);
            self.stopped(session, None);
        }
    }

    /// Kills it wherever it is; at `point`, if it stopped there.
    pub(super) fn kill(&mut self, session: &mut Session, point: Option<&str>) {
        if self.killed || self.peer.ended().is_some() {
            return;
        }
        self.died(session, monotonic_ns());
        self.peer.kill_unreaped();
        while self.peer.ended().is_none() {
            std::thread::sleep(Duration::from_micros(50));
        }
        let by_itself = self.peer.ended().and_then(|status| status.signal()).is_none();
        if by_itself {
            // It was just ending in order: `tend` sees to that.
            session.watch.lives(self.peer.id());
            return;
        }
        let words = self.peer.last_words();
        let announced =
            words.iter().find_map(|line| Announcement::parse(line)).filter(|it| it.dies);
        let point = announced.as_ref().map(|it| it.point.as_str()).or(point);
        self.killed = true;
        session.killed(point);
        if let Some(point) = point {
            self.testify(session, point);
        }
    }

    /// Adds to its log whether what it was about to acknowledge is acknowledged, where the point of its
    /// death says so.
    fn testify(&self, session: &mut Session, point: &str) {
        let acked = match point {
            "release.before_word" | "ack_single.before_stamp" => false,
            "release.between_word_and_frontier" | "ack_single.after_stamp" => true,
            _ => return,
        };
        let added =
            Log::of_the_dead(&self.log).and_then(|mut log| log.write(Event::Died { acked }));
        if let Err(error) = added {
            session.fault(format!("the log of {:?}, which died at {point}: {error}", self.job));
        }
    }
}
