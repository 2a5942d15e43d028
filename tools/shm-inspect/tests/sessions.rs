//! Runs the sessions of `docs/inspect.md`, one after the other, and holds what they print to what is
//! written there. With `UPDATE_SESSIONS=1` in the environment it writes there what they print.
//!
//! Process ids, paths and users are those of the text. Times, dates, rates and identities differ from
//! run to run: they are compared as such, and so is the width of columns.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use ringway::Queue;
use ringway::queue::{QueueConfig, RecordKind, Wait};
use ringway::routing::{InstanceId, Packet};
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::segment::{RingConfig, Segment, SegmentConfig};
use support::screen::Screen;
use support::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/inspect.md");
/// What the text calls the processes of the stage.
const SHOP: &str = "24711";
const WORKER: &str = "24712";
const PLACE: &str = "/dev/shm/ringway-1000";
const USER: &str = "uid 1000";

/// Not a test of its own: the processes of the stage.
#[test]
fn helper() {
    let Some((job, place)) = helper_job() else { return };
    let directory = Directory::open(&place, None).unwrap();
    match job.as_str() {
        "shop" => {
            let config = QueueConfig {
                maxsize: 8,
                capacity_packets: Some(16),
                capacity_bytes: Some(4096),
                timestamps: true,
                ..QueueConfig::default()
            };
            let geometry = config.geometry().unwrap();
            let mut shop = SegmentConfig::new("shop".parse().unwrap(), Lifetime::Keep)
                .with_ring(RingConfig::new("orders", geometry))
                .with_ring(RingConfig::new("audit", geometry));
            shop.participant_name = "shop".into();
            let segment = Segment::create(&directory, &shop).unwrap();
            let orders = Queue::of_segment(&segment, "orders").unwrap();
            for order in [&b"two apples"[..], b"a pear", br#"{"plums": 3}"#] {
                orders.put(order).unwrap();
            }
            let packet = Packet::new([0xde, 0xad, 0xbe, 0xef])
                .with_timestamp_ns(1_700_000_000_000_000_000)
                .with_key("tenant-7")
                .with_provenance(InstanceId::new("map", 2), 128);
            let mut bytes = vec![0; packet.encoded_len()];
            packet.encode_into(&mut bytes).unwrap();
            orders.put_record(RecordKind::PACKET, &bytes, Wait::No).unwrap();
            ready_to_be_killed();
        }
        "worker" => {
            let segment = Segment::attach(&directory, &"shop".parse().unwrap(), "worker").unwrap();
            let orders = Queue::of_segment(&segment, "orders").unwrap();
            let _lease = orders.lease().unwrap();
            ready_to_be_killed();
        }
        other => panic!("unknown job {other}"),
    }
}

/// A command of the text, and what it prints there.
struct Session {
    command: String,
    output: String,
}

/// What the document is made of.
enum Part {
    Text(String),
    /// Commands as in a shell.
    Console(Vec<Session>),
    /// A command that fills the screen, and the screen.
    Screen(Session),
}

fn parse(document: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = document;
    while let Some(at) = rest.find("```console\n").into_iter().chain(rest.find("```screen\n")).min()
    {
        let (text, block) = rest.split_at(at);
        let (kind, block) = block.split_once('\n').unwrap();
        let (block, after) = block.split_once("```").unwrap();
        let mut sessions: Vec<Session> = Vec::new();
        for line in block.lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                sessions.push(Session { command: command.to_owned(), output: String::new() });
            } else {
                let last = sessions.last_mut().expect("a session begins with `$ `");
                last.output += &format!("{line}\n");
            }
        }
        parts.push(Part::Text(text.to_owned()));
        parts.push(match kind {
            "```screen" => Part::Screen(sessions.pop().unwrap()),
            _ => Part::Console(sessions),
        });
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    parts
}

struct Stage {
    place: Place,
    home: tempfile::TempDir,
    shop: Helper,
    worker: Helper,
}

impl Stage {
    fn new() -> Self {
        let place = Place::new();
        let shop = Helper::start("shop", &place);
        let worker = Helper::start("worker", &place);
        worker.stop();
        wait_until("the worker is stopped", || {
            place.json(0, &["show", "shop"])["participants"][1]["stopped"] == true
        });
        Self { place, home: tempfile::tempdir().unwrap(), shop, worker }
    }

    /// Runs a command of the text; gives what it prints, as the text would have it.
    fn run(&self, command: &str) -> String {
        let (shop, worker) = (self.shop.pid().to_string(), self.worker.pid().to_string());
        let real = command.replace(SHOP, &shop).replace(WORKER, &worker);
        let program = Path::new(env!("CARGO_BIN_EXE_shm-inspect"));
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("sh")
            .arg("-c")
            .arg(format!("exec 2>&1; {real}"))
            .current_dir(self.home.path())
            .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
            .env("RINGWAY_DIR", self.place.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        if command.starts_with("kill") {
            self.wait_for_signal();
        }
        self.as_written(&String::from_utf8(output.stdout).unwrap())
    }

    /// What a command that fills the screen shows after some looks.
    fn screen(&self, command: &str) -> String {
        let arguments: Vec<_> = command.split(' ').skip(1).collect();
        let mut screen = Screen::start(&self.place, &arguments, true);
        let looks = |text: &str| {
            let (_, rest) = text.split_once("look ")?;
            rest.split(',').next()?.parse::<u64>().ok()
        };
        screen.wait_for("a history", |text| looks(text) >= Some(8));
        let text = self.as_written(&screen.text());
        screen.press("q");
        assert_eq!(screen.end(), 0);
        let lines: Vec<_> = text.lines().map(str::trim_end).collect();
        // Without the empty lines of a screen that is larger than what is on it.
        let shown: Vec<_> = lines
            .iter()
            .enumerate()
            .filter(|(at, line)| {
                !line.is_empty() || lines.get(at + 1).is_some_and(|next| !next.is_empty())
            })
            .map(|(_, line)| *line)
            .collect();
        shown.join("\n") + "\n"
    }

    /// Names of the text for those of this run.
    fn as_written(&self, text: &str) -> String {
        let user = format!("uid {}", nix::unistd::geteuid());
        let text = text.replace(self.place.path().to_str().unwrap(), PLACE).replace(&user, USER);
        let text = replace_number(&text, &self.shop.pid().to_string(), SHOP);
        replace_number(&text, &self.worker.pid().to_string(), WORKER)
    }

    /// Signals arrive when they arrive.
    fn wait_for_signal(&self) {
        wait_until("the signals have arrived", || {
            let json = self.place.json(0, &["show", "shop"]);
            let all = json["participants"].as_array().unwrap();
            let running = |pid: u32| {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
                !stat.rsplit_once(") ").unwrap().1.starts_with(['Z', 'X', 'T'])
            };
            all.iter().all(|one| {
                let pid = one["pid"].as_u64().unwrap() as u32;
                one["alive"] == running(pid) && one["stopped"] != true
            })
        });
    }
}

fn replace_number(text: &str, from: &str, to: &str) -> String {
    let mut parts = text.split(from).peekable();
    let mut result = String::new();
    while let Some(part) = parts.next() {
        result.push_str(part);
        if let Some(next) = parts.peek() {
            let digit = |c: char| c.is_ascii_digit();
            let inside = part.ends_with(digit) || next.starts_with(digit);
            result.push_str(if inside { from } else { to });
        }
    }
    result
}

/// What stays the same from run to run.
fn stable(text: &str) -> Vec<String> {
    // Sections in which all numbers, or all lines, vary.
    let (mut rates, mut bytes) = (false, false);
    let mut lines = Vec::new();
    for line in text.lines() {
        match line {
            "SINCE CREATION" => rates = true,
            "" => (rates, bytes) = (false, false),
            _ if bytes => continue,
            _ => bytes = line.starts_with("FIRST BYTES"),
        }
        let mut words: Vec<&str> = Vec::new();
        for word in line.split_whitespace() {
            // The history of the rates; its length is that of the look.
            if word.starts_with(|c| ('▁'..='█').contains(&c)) {
                continue;
            }
            let bare = word.trim_matches(['(', ')', ',', ';', ':']);
            let user = matches!(words.last(), Some(&("creator_uid" | "look")));
            let word =
                if varies(bare) || ((rates || user) && is_number(bare)) { "~" } else { word };
            // `3m 12s` is one time, as is `12s`.
            if !(word == "~" && words.last() == Some(&"~")) {
                words.push(word);
            }
        }
        lines.push(words.join(" "));
    }
    lines
}

fn is_number(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_digit())
}

/// A time, a date, an identity, or bytes of one.
fn varies(word: &str) -> bool {
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let time = unit.len() < word.len() && ["ns", "us", "ms", "s", "m", "h", "d"].contains(&unit);
    let date = word.len() == 20 && word.ends_with('Z') && word.contains('T');
    let uuid = word.len() == 36 && word.matches('-').count() == 4;
    let hash = word.len() == 18 && word.starts_with("0x");
    let instant = word.len() == 19 && unit.is_empty();
    time || date || uuid || hash || instant
}

#[test]
fn the_sessions_of_the_documentation_print_what_is_written_there() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let parts = parse(&document);
    let stage = Stage::new();
    let mut written = String::new();
    let mut wrong = Vec::new();
    let mut verbs = std::collections::BTreeSet::new();
    let mut check = |session: &Session, output: String, written: &mut String| {
        if stable(&output) != stable(&session.output) {
            wrong.push(format!(
                "$ {}\n--- written\n{}--- printed\n{output}",
                session.command, session.output
            ));
        }
        *written += &format!("$ {}\n{output}", session.command);
        let verb = session.command.split("shm-inspect ").nth(1);
        verbs.extend(verb.and_then(|rest| rest.split(' ').next()).map(str::to_owned));
    };
    for part in &parts {
        match part {
            Part::Text(text) => written += text,
            Part::Console(sessions) => {
                written += "```console\n";
                for session in sessions {
                    check(session, stage.run(&session.command), &mut written);
                }
                written += "```";
            }
            Part::Screen(session) => {
                written += "```screen\n";
                check(session, stage.screen(&session.command), &mut written);
                written += "```";
            }
        }
    }
    if std::env::var_os("UPDATE_SESSIONS").is_some() {
        std::fs::write(DOCUMENT, written).unwrap();
        return;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for verb in [
        "list", "show", "watch", "dump", "peek", "hz", "top", "record", "replay", "put", "get",
        "clean", "doctor", "metrics",
    ] {
        assert!(verbs.contains(verb), "no session shows {verb}");
    }
}
