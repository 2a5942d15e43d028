//! Many processes that each work through their share of the segments, and who watches them.
//!
//! A process that dies by a signal has crashed at the segment that its page names; one that takes
//! too long over an operation is killed, and that segment tried again alone, since a loaded machine,
//! or a stop (SIGSTOP) of everything, looks the same. Either way another goes on with the next
//! segment.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ringway::shm::os::monotonic_ns;
use serde_json::{Value, json};

use super::plan::{PHASES, Region};
use super::status::{Counter, ERRORS, Status};

/// Times that a suspected hang is tried again, all of which must hang.
const TRIES: u32 = 3;

/// Most findings that are described one by one.
const MOST_FINDINGS: usize = 50;

/// What is to be done.
#[derive(Clone, Debug)]
pub struct Task {
    /// The program, which runs [`super::worker`] when told so.
    pub program: PathBuf,
    /// A directory of mode 0700, empty.
    pub place: PathBuf,
    /// Segments.
    pub segments: u64,
    /// What all plans follow from.
    pub seed: u64,
    /// Processes at a time.
    pub jobs: u64,
}

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// `panic`, `crash` or `hang`.
    pub kind: &'static str,
    /// Which segment.
    pub index: u64,
    /// What is known about it.
    pub what: String,
}

/// What it came to.
#[derive(Debug)]
pub struct Total {
    pages: Vec<Status>,
    /// Everything that must not be.
    pub findings: Vec<Finding>,
    /// Processes that died by a signal.
    pub crashes: u64,
    /// Operations that took too long, every time.
    pub hangs: u64,
    /// Segments at which an operation took too long, but only while others ran.
    pub slow: Vec<u64>,
    seed: u64,
}

struct Worker {
    child: Child,
    slot: u64,
    page: PathBuf,
}

impl Task {
    fn page(&self, slot: u64) -> PathBuf {
        self.place.join(format!("page-{slot}"))
    }

    fn log(&self, slot: u64) -> PathBuf {
        self.place.join(format!("panics-{slot}"))
    }

    fn start(&self, slot: u64, from: u64, step: u64, to: u64) -> io::Result<Worker> {
        let arena = self.place.join(format!("arena-{slot}"));
        let _ = fs::remove_dir_all(&arena);
        fs::create_dir(&arena)?;
        fs::set_permissions(&arena, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
        let numbers = [from, step, to, self.seed].map(|number| number.to_string());
        let child = Command::new(&self.program)
            .arg("--worker")
            .args([arena, self.page(slot), self.log(slot)])
            .args(numbers)
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Worker { child, slot, page: self.page(slot) })
    }

    /// Works through all segments; `progress` is told how many are done.
    ///
    /// # Errors
    /// What the system says.
    pub fn run(&self, mut progress: impl FnMut(u64)) -> io::Result<Total> {
        let pages = (0..self.jobs).map(|slot| Status::create(&self.page(slot)));
        let mut total = Total {
            pages: pages.collect::<io::Result<_>>()?,
            findings: Vec::new(),
            crashes: 0,
            hangs: 0,
            slow: Vec::new(),
            seed: self.seed,
        };
        let mut suspects = Vec::new();
        let mut workers = Vec::new();
        for slot in 0..self.jobs {
            workers.push(self.start(slot, slot, self.jobs, self.segments)?);
        }
        while !workers.is_empty() {
            std::thread::sleep(Duration::from_millis(20));
            let mut going_on = Vec::new();
            for mut worker in workers {
                let page = &total.pages[worker.slot as usize];
                let late = page.position().filter(|position| is_late(position, monotonic_ns()));
                if let Some(position) = late {
                    let _ = worker.child.kill();
                    suspects.push(position.index);
                }
                let Some(status) = worker.child.try_wait()? else {
                    // Killed, but not dead yet: the next round sees it.
                    if late.is_some() {
                        let _ = worker.child.wait()?;
                        going_on.extend(self.go_on(&worker, page)?);
                    } else {
                        going_on.push(worker);
                    }
                    continue;
                };
                if late.is_some() {
                    going_on.extend(self.go_on(&worker, page)?);
                } else if let Some(signal) = status.signal() {
                    total.crashes += 1;
                    let phase = page.position().map_or("in between", |at| PHASES[at.phase]);
                    let what = format!("killed by signal {signal} ({phase})");
                    total.findings.push(Finding { kind: "crash", index: page.index(), what });
                    going_on.extend(self.go_on(&worker, page)?);
                } else if !status.success() {
                    return Err(io::Error::other(format!("a worker failed: {status}")));
                }
            }
            workers = going_on;
            progress(total.count(Counter::Segments));
        }
        let slots = self.jobs + suspects.len() as u64;
        for (slot, index) in (self.jobs..).zip(suspects) {
            match self.try_alone(slot, index)? {
                Alone::Done(page) => {
                    total.pages.push(page);
                    total.slow.push(index);
                }
                Alone::Crashed(signal) => {
                    total.crashes += 1;
                    let what = format!("killed by signal {signal}, tried alone");
                    total.findings.push(Finding { kind: "crash", index, what });
                }
                Alone::Hung => {
                    total.hangs += 1;
                    let what = format!("took too long {TRIES} times out of {TRIES}");
                    total.findings.push(Finding { kind: "hang", index, what });
                }
            }
        }
        for slot in 0..slots {
            total.read_panics(&self.log(slot))?;
        }
        total.findings.truncate(MOST_FINDINGS);
        Ok(total)
    }

    fn go_on(&self, worker: &Worker, page: &Status) -> io::Result<Option<Worker>> {
        let next = page.index() + self.jobs;
        if next >= self.segments {
            return Ok(None);
        }
        // What the dead one was at is over.
        page.watched(0, Duration::ZERO, || {});
        debug_assert_eq!(worker.page, self.page(worker.slot));
        self.start(worker.slot, next, self.jobs, self.segments).map(Some)
    }

    /// Tries one segment again, with nothing else running.
    fn try_alone(&self, slot: u64, index: u64) -> io::Result<Alone> {
        for _ in 0..TRIES {
            let page = Status::create(&self.page(slot))?;
            let mut worker = self.start(slot, index, 1, index + 1)?;
            let ended = loop {
                if let Some(status) = worker.child.try_wait()? {
                    break Some(status);
                }
                if page.position().is_some_and(|position| is_late(&position, monotonic_ns())) {
                    break None;
                }
                std::thread::sleep(Duration::from_millis(5));
            };
            let _ = worker.child.kill();
            worker.child.wait()?;
            match ended.map(|status| status.signal()) {
                None => {}
                Some(None) => return Ok(Alone::Done(page)),
                Some(Some(signal)) => return Ok(Alone::Crashed(signal)),
            }
        }
        Ok(Alone::Hung)
    }
}

/// What became of a segment that was tried again.
enum Alone {
    Done(Status),
    Crashed(i32),
    Hung,
}

fn is_late(position: &super::status::Position, now_ns: u64) -> bool {
    now_ns.saturating_sub(position.began_ns) > position.limit.as_nanos() as u64
}

impl Total {
    /// A counter, over all processes.
    #[must_use]
    pub fn count(&self, what: Counter) -> u64 {
        self.pages.iter().map(|page| page.counted(what)).sum()
    }

    fn read_panics(&mut self, log: &Path) -> io::Result<()> {
        let Ok(file) = fs::File::open(log) else { return Ok(()) };
        for line in BufReader::new(file).lines() {
            let line = line?;
            let (index, what) = line.split_once(' ').unwrap_or(("0", &line));
            let index = index.parse().unwrap_or(0);
            self.findings.push(Finding { kind: "panic", index, what: what.to_owned() });
        }
        Ok(())
    }

    /// Says whether nothing panicked, crashed or hung, every region had its share, and enough of the
    /// damage was reported.
    #[must_use]
    pub fn passed(&self) -> bool {
        let segments = self.count(Counter::Segments);
        let bad = self.count(Counter::Panics) + self.crashes + self.hangs;
        // A few segments say nothing about shares.
        let few = segments < 1000;
        let shares = (0..Region::ALL.len())
            .all(|region| self.count(Counter::Region(region)) * 100 >= segments);
        bad == 0 && (few || (shares && self.count(Counter::Reported) * 5 >= segments))
    }

    /// All of it, for programs.
    #[must_use]
    pub fn json(&self) -> Value {
        let regions = Region::ALL.iter().enumerate().map(|(index, (region, _))| {
            (region.name().to_owned(), self.count(Counter::Region(index)).into())
        });
        let phases = PHASES
            .iter()
            .enumerate()
            .map(|(index, phase)| ((*phase).to_owned(), self.count(Counter::Phase(index)).into()));
        let errors = ERRORS
            .iter()
            .enumerate()
            .map(|(index, error)| ((*error).to_owned(), self.count(Counter::Error(index)).into()));
        let finding = |finding: &Finding| json!({ "kind": finding.kind, "index": finding.index, "what": finding.what });
        json!({
            "segments": self.count(Counter::Segments),
            "by_region": regions.collect::<serde_json::Map<String, Value>>(),
            "by_phase": phases.collect::<serde_json::Map<String, Value>>(),
            "during": self.count(Counter::During),
            "errors_reported": self.count(Counter::Reported),
            "errors": errors.collect::<serde_json::Map<String, Value>>(),
            "undetected": self.count(Counter::Undetected),
            "panics": self.count(Counter::Panics),
            "crashes": self.crashes,
            "hangs": self.hangs,
            "slow": self.slow.len(),
            "slow_at": self.slow,
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "seed": self.seed,
        })
    }
}
