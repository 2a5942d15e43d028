//! Hundreds of processes that start at once on one new segment, some of which are killed while they
//! create or attach, while others destroy and clean.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ringway::queue::{QueueConfig, QueueDescriptor, Side};
use ringway::shm::segment::Segment;
use shm_tests::place::Place;
use shm_tests::random::Random;
use shm_tests::starter::{CALM, LEAVE};
use shm_tests::wait_until;

use crate::{place, small};

/// Processes that wait behind one pipe, and say what becomes of them in one file.
struct Crowd {
    children: Vec<Child>,
    /// Held locked until the door is opened.
    doors: Vec<(PathBuf, File)>,
    told: PathBuf,
    gate: Option<std::io::PipeWriter>,
    behind: std::io::PipeReader,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Crowd {
    fn new(place: &Place) -> Self {
        let doors = [CALM, LEAVE].map(|door| {
            let path = place.logs().join(door);
            let file = File::create(&path).unwrap();
            file.lock().unwrap();
            (path, file)
        });
        let (behind, gate) = std::io::pipe().unwrap();
        let told = place.logs().join("told");
        File::create(&told).unwrap();
        Self { children: Vec::new(), doors: doors.into(), told, gate: Some(gate), behind }
    }

    /// Adds processes of one role; returns their indices.
    fn add(
        &mut self,
        role: &str,
        count: usize,
        queue: &QueueDescriptor,
        doors: &Path,
    ) -> Vec<usize> {
        let first = self.children.len();
        for _ in 0..count {
            let told = File::options().append(true).open(&self.told).unwrap();
            let child = Command::new(env!("CARGO_BIN_EXE_peer"))
                .arg(std::process::id().to_string())
                .args([role.as_ref(), doors.as_os_str()])
                .arg(queue.to_json())
                .stdin(self.behind.try_clone().unwrap())
                .stdout(Stdio::from(told))
                .spawn()
                .unwrap();
            self.children.push(child);
        }
        (first..self.children.len()).collect()
    }

    /// Lets all of them go at once.
    fn start(&mut self) {
        drop(self.gate.take());
    }

    fn open(&mut self, door: &str) {
        self.doors.retain(|(path, _)| !path.ends_with(door));
    }

    /// The lines that say something, each with the process that said it.
    fn told(&self, what: &str) -> Vec<(u32, String)> {
        let text = fs::read_to_string(&self.told).unwrap();
        // The last line may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = |line: &str| {
            let (pid, rest) = line.split_once(' ')?;
            Some((pid.parse().ok()?, rest.strip_prefix(what)?.trim().to_owned()))
        };
        whole.lines().filter_map(line).collect()
    }

    fn ended(&mut self, index: usize) -> Option<ExitStatus> {
        self.children[index].try_wait().unwrap()
    }
}

fn wide(place: &Place, places: u32) -> QueueDescriptor {
    let config = QueueConfig {
        capacity_packets: Some(1024),
        capacity_bytes: Some(64 * 1024),
        ..small(Side::Multi, Side::Multi)
    };
    place.queue("new:q", config).with_max_participants(places).unwrap()
}

#[test]
fn six_hundred_starters_end_in_one_segment_whoever_is_killed_destroys_or_cleans() {
    const STARTERS: usize = 640;
    let place = place();
    let queue = wide(&place, 1023);
    let mut random = Random::of_run("starters");
    let mut crowd = Crowd::new(&place);
    let doors = place.logs().to_owned();
    let starters = crowd.add("starter", STARTERS, &queue, &doors);
    let mut others = crowd.add("destroyer", 3, &queue, &doors);
    others.extend(crowd.add("cleaner", 3, &queue, &doors));
    crowd.start();
    // A tenth of them is killed, wherever they are; the waits spread that over the whole rush.
    let mut victims = Vec::new();
    while victims.len() < STARTERS / 10 {
        let victim = starters[random.below(STARTERS as u64) as usize];
        if !victims.contains(&victim) {
            crowd.children[victim].kill().unwrap();
            victims.push(victim);
            std::thread::sleep(Duration::from_micros(random.below(20_000)));
        }
    }
    for &other in &others {
        wait_until("the destroyers and cleaners are done", || crowd.ended(other).is_some());
    }
    crowd.open(CALM);
    let alive = STARTERS - victims.len();
    let innocent = |crowd: &Crowd, line: &(u32, String)| {
        !victims.iter().any(|&victim| crowd.children[victim].id() == line.0)
    };
    let finals = |crowd: &Crowd| -> Vec<String> {
        let lines = crowd.told("final").into_iter();
        lines.filter(|line| innocent(crowd, line)).map(|(_, uuid)| uuid).collect()
    };
    wait_until("every innocent one has a queue, or has failed", || {
        !crowd.told("failed").is_empty() || finals(&crowd).len() == alive
    });
    assert_eq!(crowd.told("failed"), [], "seed above");
    let opened = crowd.told("opened");
    let mut seen: Vec<_> = opened.iter().map(|(_, uuid)| uuid).collect();
    seen.sort();
    seen.dedup();
    let early = victims.len() - opened.iter().filter(|line| !innocent(&crowd, line)).count();
    println!("{} segments were seen, {early} were killed before they had one", seen.len());
    // One segment, with everybody in it, and nothing else.
    let mut uuids = finals(&crowd);
    uuids.dedup();
    assert_eq!(uuids.len(), 1);
    assert_eq!(place.left(), ["new"]);
    let look = Segment::open_readonly(&place.directory(), &"new".parse().unwrap()).unwrap();
    let here: Vec<_> = look.participants().into_iter().filter(|info| info.alive).collect();
    assert_eq!(here.len(), alive);
    let hex: String = look.uuid().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, uuids[0]);
    let mut got = Vec::new();
    while let Ok(packet) = queue.try_get() {
        got.push(packet.payload);
    }
    got.sort();
    got.dedup();
    assert!(got.len() >= alive, "{} of {alive} packets", got.len());
    drop((look, queue));
    // The last to leave removes it, although many died in it.
    crowd.open(LEAVE);
    for &starter in &starters {
        wait_until("all of them have left", || crowd.ended(starter).is_some());
    }
    assert_eq!(place.left(), [""; 0]);
}

#[test]
fn whoever_finds_no_place_in_the_table_is_told_so() {
    const PLACES: usize = 16;
    const STARTERS: usize = 40;
    let place = place();
    let queue = wide(&place, PLACES as u32);
    let mut crowd = Crowd::new(&place);
    let starters = crowd.add("once", STARTERS, &queue, place.logs());
    crowd.start();
    wait_until("each has a place, or has been refused", || {
        crowd.told("opened").len() + crowd.told("refused").len() == STARTERS
    });
    let refused = crowd.told("refused");
    assert_eq!((crowd.told("opened").len(), refused.len()), (PLACES, STARTERS - PLACES));
    let file = place.segments().join("new");
    for (_, error) in refused {
        let wanted = format!("TooManyParticipants {{ path: {:?}, max: {PLACES} }}", file);
        assert_eq!(error, wanted);
    }
    crowd.open(LEAVE);
    for &starter in &starters {
        wait_until("all of them have left", || crowd.ended(starter).is_some());
    }
    assert_eq!(place.left(), [""; 0]);
}
