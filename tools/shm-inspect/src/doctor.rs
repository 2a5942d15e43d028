//! `doctor`: what is wrong with the directory, the system and the segments, and what mends it.

use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use nix::sys::statvfs::statvfs;
use ringway::error::OpenError;
use ringway::shm::inspect::{Blocker, RingSnapshot, SegmentSnapshot};
use ringway::shm::os::{page_bytes, register_barrier};
use serde::Serialize;

use crate::Found;
use crate::cli::Common;
use crate::failure::Result;
use crate::looks::{self, Looked};
use crate::output::{Columns, Output, bad_when, cell, duration, printable};
use crate::target::{directory, place};

/// A live process that holds up a ring for so long is worth a look.
const LONG: Duration = Duration::from_secs(60);
/// The first kernel with everything that is used (`MEMBARRIER_CMD_GLOBAL_EXPEDITED`).
const OLDEST_KERNEL: (u32, u32) = (4, 16);
/// Free space below which a segment of the default size may not fit.
const LITTLE_SPACE: u64 = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Severity {
    Ok,
    Warning,
    Problem,
}

#[derive(Serialize)]
struct Finding {
    severity: Severity,
    /// What was looked at: `directory`, `filesystem`, `limits`, `kernel`, or a segment or ring.
    about: String,
    what: String,
    /// The command that mends it.
    mend: Option<String>,
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &str, what: impl Into<String>) {
        self.add(Severity::Ok, about, what, None);
    }

    fn warning(&mut self, about: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Warning, about, what, Some(mend.into()));
    }

    fn problem(&mut self, about: &str, what: impl Into<String>, mend: impl Into<String>) {
        self.add(Severity::Problem, about, what, Some(mend.into()));
    }

    fn add(
        &mut self,
        severity: Severity,
        about: &str,
        what: impl Into<String>,
        mend: Option<String>,
    ) {
        self.0.push(Finding { severity, about: about.to_owned(), what: what.into(), mend });
    }
}

pub(crate) fn run(common: &Common, named: &[String], output: &mut Output) -> Result<Found> {
    let mut findings = Findings::default();
    let usable = look_at_directory(common, &mut findings);
    look_at_system(&mut findings);
    // A copy is there also where no directory is.
    if usable || !named.is_empty() {
        for looked in looks::all(common, named)?.unwrap_or_default() {
            look_at_segment(common, &looked, &mut findings);
        }
    }
    let Findings(findings) = findings;
    let wrong = findings.iter().any(|finding| finding.severity != Severity::Ok);
    if output.json {
        output.json(&findings)?;
        return Ok(Found::when(wrong));
    }
    let mut table = Columns::new(&["SEVERITY", "ABOUT", "WHAT", "MEND"]);
    for finding in &findings {
        let severity = match finding.severity {
            Severity::Ok => "ok",
            Severity::Warning => "warning",
            Severity::Problem => "PROBLEM",
        };
        table.row(vec![
            bad_when(finding.severity == Severity::Problem, severity),
            cell(&finding.about),
            cell(&finding.what),
            cell(finding.mend.as_deref().unwrap_or("-")),
        ]);
    }
    output.table(table)?;
    Ok(Found::when(wrong))
}

/// A word for a shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", printable(&path.display().to_string()).replace('\'', "'\\''"))
}

fn is_mine(path: &Path) -> bool {
    let me = nix::unistd::geteuid().as_raw();
    std::fs::symlink_metadata(path).is_ok_and(|stat| stat.uid() == me)
}

/// Says whether segments can be looked for.
fn look_at_directory(common: &Common, findings: &mut Findings) -> bool {
    const ABOUT: &str = "directory";
    let opened = match directory(common) {
        Ok(opened) => opened,
        Err(OpenError::NotFound { path }) => {
            let what = format!("{} is not there; the first segment makes it", path.display());
            findings.ok(ABOUT, what);
            // Where it will be made.
            let parent = path.ancestors().skip(1).find(|parent| parent.is_dir());
            if let Some(parent) = parent {
                look_at_space(parent, findings);
            }
            return false;
        }
        Err(error) => {
            // The directory itself, or our own one in it.
            let path = match &error {
                OpenError::Permission { path, .. } => path.clone(),
                _ => place(common),
            };
            let mend = match std::fs::symlink_metadata(&path) {
                Ok(stat) if stat.is_dir() && is_mine(&path) => {
                    format!("chmod 700 {}", quoted(&path))
                }
                _ => "export RINGWAY_DIR=/dev/shm/ringway-$(id -u)".to_owned(),
            };
            findings.problem(ABOUT, error.to_string(), mend);
            return false;
        }
    };
    let path = opened.path();
    let mode = std::fs::metadata(path).map_or(0, |stat| stat.mode() & 0o7777);
    if opened.on_tmpfs() {
        findings.ok(ABOUT, format!("{}, mode {mode:04o}, in memory", path.display()));
    } else {
        findings.warning(
            ABOUT,
            format!("{} is not in memory: the kernel writes the rings to a disk", path.display()),
            "export RINGWAY_DIR=/dev/shm/ringway-$(id -u)",
        );
    }
    let unnamed = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(nix::libc::O_TMPFILE)
        .open(path);
    match unnamed {
        Ok(_) => findings.ok(ABOUT, "files without a name can be made there (O_TMPFILE)"),
        Err(error) => findings.problem(
            ABOUT,
            format!("no files without a name can be made there (O_TMPFILE): {error}"),
            "export RINGWAY_DIR=/dev/shm/ringway-$(id -u)",
        ),
    }
    look_at_space(path, findings);
    true
}

fn look_at_space(path: &Path, findings: &mut Findings) {
    const ABOUT: &str = "filesystem";
    match statvfs(path) {
        Ok(stat) => {
            let unit = stat.fragment_size();
            let (all, free) = (stat.blocks() * unit, stat.blocks_available() * unit);
            let mib = |bytes: u64| bytes >> 20;
            let what = format!("{} of {} MiB are free at {}", mib(free), mib(all), path.display());
            if free < LITTLE_SPACE {
                findings.warning(
                    ABOUT,
                    format!("{what}: new segments may not fit"),
                    "mount -o remount,size=1G /dev/shm   # in a container: docker run --shm-size=1g",
                );
            } else {
                findings.ok(ABOUT, what);
            }
        }
        Err(error) => findings.problem(
            ABOUT,
            format!("{}: {error}", path.display()),
            format!("ls -ld {}", quoted(path)),
        ),
    }
}

fn look_at_system(findings: &mut Findings) {
    match nix::sys::utsname::uname() {
        Ok(name) => {
            let release = name.release().to_string_lossy().into_owned();
            let mut numbers = release.split(['.', '-']).map_while(|part| part.parse().ok());
            let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
            let (major, minor) = OLDEST_KERNEL;
            if version < OLDEST_KERNEL {
                let what = format!("Linux {release} is older than {major}.{minor}");
                findings.problem("kernel", what, "uname -r   # upgrade the kernel");
            } else {
                findings.ok("kernel", format!("Linux {release}"));
            }
        }
        Err(error) => findings.problem("kernel", format!("uname: {error}"), "uname -r"),
    }
    if register_barrier() {
        findings.ok("kernel", "membarrier(2) works: puts cost no fence");
    } else {
        findings.warning(
            "kernel",
            "membarrier(2) is refused: every put costs a fence",
            "docker run --security-opt seccomp=...   # a profile that allows membarrier",
        );
    }
    if page_bytes() != 4096 {
        let what = format!("pages of {} bytes; segments need 4096", page_bytes());
        findings.problem("kernel", what, "getconf PAGESIZE   # boot a kernel with pages of 4096");
    }
    if !Path::new("/proc/self/fd").is_dir() {
        let what = "/proc/self/fd is missing: no segment can be joined";
        findings.problem("kernel", what, "mount -t proc proc /proc");
    }
    look_at_limits(findings);
}

fn look_at_limits(findings: &mut Findings) {
    const ABOUT: &str = "limits";
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    // `Max open files            1024                 524288               files`
    let soft = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        let soft = line.split_ascii_whitespace().next()?;
        Some(soft.parse::<u64>().unwrap_or(u64::MAX))
    };
    let files = soft("Max open files").unwrap_or(u64::MAX);
    if files < 256 {
        findings.warning(ABOUT, format!("{files} open files"), "ulimit -n 4096");
    }
    for (name, flag) in [("Max file size", "-f"), ("Max address space", "-v")] {
        if let Some(bytes) = soft(name).filter(|&bytes| bytes != u64::MAX) {
            let what = format!("{}: {bytes} bytes; segments count", name.to_lowercase());
            findings.warning(ABOUT, what, format!("ulimit {flag} unlimited"));
        }
    }
    let maps = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap_or_default();
    match maps.trim().parse::<u64>() {
        // Two for each ring that a process uses.
        Ok(maps) if maps < 65_530 => {
            let what = format!("{maps} mappings a process; each ring in use takes two");
            findings.warning(ABOUT, what, "sysctl -w vm.max_map_count=65530");
        }
        _ => findings.ok(ABOUT, "open files, sizes and mappings are not short"),
    }
}

fn look_at_segment(common: &Common, looked: &Looked, findings: &mut Findings) {
    let name = looked.name.clone();
    let this = match &common.dir {
        Some(dir) => format!("shm-inspect --dir {}", quoted(dir)),
        None => "shm-inspect".to_owned(),
    };
    let snapshot = match &looked.snapshot {
        Ok(snapshot) => snapshot,
        Err(error) => {
            let path = quoted(&looked.path);
            let mend = match error {
                // Not ours, or open to others.
                OpenError::Permission { .. } if is_mine(&looked.path) => {
                    format!("chmod 600 {path}")
                }
                OpenError::Permission { .. } => format!("ls -l {path}   # ask its owner"),
                _ => format!("{this} dump {name}   # what is left; then: rm {path}"),
            };
            findings.problem(&name, error.to_string(), mend);
            return;
        }
    };
    let before = findings.0.len();
    if !snapshot.is_copy() {
        leftover(&name, &this, snapshot, findings);
    }
    for one in &snapshot.participants {
        let blocks = |ring: &RingSnapshot| ring.blocked_by.iter().any(|who| who.id == one.id);
        if one.stopped == Some(true) && !snapshot.rings.iter().any(blocks) {
            findings.warning(
                &name,
                format!("participant {} ({}, pid {}) is stopped", one.id, one.name, one.pid),
                format!("kill -CONT {}", one.pid),
            );
        }
    }
    for ring in &snapshot.rings {
        let about = format!("{name}:{}", ring.name);
        for blocker in &ring.blocked_by {
            stuck(&about, snapshot, blocker, findings);
        }
        if let Some(fault) = ring.faults.first() {
            let (what, at, more) = (fault.what, fault.position, ring.faults.len() - 1);
            findings.problem(
                &about,
                format!("{what} at position {at}, and {more} more: no ringway writes this"),
                format!("{this} dump {about}"),
            );
        }
        if ring.exhausted {
            let what = "its positions are used up";
            findings.problem(&about, what, "# drain it, destroy it, and create it anew");
        }
        // Whoever waits for room is served as soon as somebody reads.
        if ring.occupancy >= 1.0 && ring.waiters.get.is_empty() && ring.blocked_by.is_empty() {
            let what = format!("full: {} packets wait", ring.qsize);
            findings.warning(&about, what, format!("{this} peek {about} -n 3"));
        }
    }
    if findings.0.len() == before {
        findings.ok(&name, "nothing is wrong");
    }
}

/// A segment that nobody uses.
fn leftover(name: &str, this: &str, snapshot: &SegmentSnapshot, findings: &mut Findings) {
    if snapshot.control.destroyed {
        let what = "destroyed, and its file is still there";
        findings.warning(name, what, format!("{this} clean"));
        return;
    }
    if snapshot.participants.iter().any(|one| one.alive == Some(true)) {
        return;
    }
    let packets: u64 = snapshot.rings.iter().map(|ring| ring.qsize + ring.in_flight).sum();
    if packets == 0 {
        findings.warning(name, "nobody is alive in it", format!("{this} clean"));
    } else {
        let what = format!("nobody is alive in it, and {packets} packets are left");
        findings.warning(name, what, format!("{this} clean --discard   # they are lost"));
    }
}

/// Somebody who keeps a ring from going on.
fn stuck(about: &str, snapshot: &SegmentSnapshot, blocker: &Blocker, findings: &mut Findings) {
    let who = snapshot.participants.iter().find(|one| one.id == blocker.id);
    let name = who.map_or("", |one| one.name.as_str());
    let pid = blocker.pid.unwrap_or(0);
    let doing = blocker.kind.name();
    let since = blocker.age.map_or_else(String::new, |age| format!(", put {} ago", duration(age)));
    let what = format!("{doing} position {}{since}", blocker.position);
    if blocker.alive == Some(false) {
        let dead = format!("participant {} (pid {pid}) is dead, {what}", blocker.id);
        let mend = "# whoever uses the ring next recovers it";
        findings.add(Severity::Ok, about, dead, Some(mend.to_owned()));
    } else if who.is_some_and(|one| one.stopped == Some(true)) {
        findings.problem(
            about,
            format!("participant {} ({name}, pid {pid}) is stopped, {what}", blocker.id),
            format!("kill -CONT {pid}   # or kill -9 {pid}: then others get what it holds"),
        );
    } else if blocker.age.is_some_and(|age| age > LONG) {
        findings.warning(
            about,
            format!("participant {} ({name}, pid {pid}) is {what}", blocker.id),
            format!("kill {pid}   # if it hangs: others get what it holds"),
        );
    }
}
