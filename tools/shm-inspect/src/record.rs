//! `record` and `replay`: the packets of a ring into a file, and back into a ring.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ringway::queue::{RecordKind, Wait};
use ringway::shm::inspect::{Passed, Tap, TapStart};
use ringway::shm::os::{monotonic_ns, unix_ns};

use crate::Found;
use crate::cli::{Common, Rate, RecordArgs, ReplayArgs};
use crate::failure::{Failure, Result};
use crate::follow::{End, Watcher, end_on_interrupt, follow, interrupted};
use crate::output::Output;
use crate::tape::{self, Frame};
use crate::target::{Target, join};

pub(crate) fn record(common: &Common, args: &RecordArgs, output: &mut Output) -> Result<Found> {
    let (segment, ring) = Target::open_ring(common, &args.ring)?;
    let start = if args.waiting { TapStart::Waiting } else { TapStart::Now };
    let mut tap = Tap::of_segment(&segment, ring, start)?;
    let failed = |source| Failure::File { path: args.file.clone(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&args.file);
    let mut to = BufWriter::new(file.map_err(failed)?);
    tape::write_header(&mut to, unix_ns(), &args.ring).map_err(failed)?;
    end_on_interrupt()?;
    output.note("recording; Ctrl-C ends it");
    let mut recorder = Recorder {
        to,
        file: &args.file,
        began: Instant::now(),
        began_ns: monotonic_ns(),
        until: args.time,
        wanted: args.packets.unwrap_or(u64::MAX),
        last_ns: 0,
        packets: 0,
        missed: 0,
        whole: Whole::default(),
    };
    recorder.flush()?;
    let copy = segment.name().is_none();
    let ended = match recorder.wanted {
        0 => Ok(End::Enough),
        _ => follow(&mut tap, usize::MAX, copy, &mut recorder),
    };
    let ended = ended.and_then(|end| recorder.flush().map(|()| end));
    let Recorder { to, whole, .. } = recorder;
    let (end, problem) = match ended {
        Ok(end) => (end, None),
        Err(Failure::File { source, .. }) => {
            // A disk that is full, say. Without half a frame at its end it is a recording.
            let (file, _) = to.into_parts();
            file.set_len(whole.bytes).map_err(failed)?;
            (End::Enough, Some(source))
        }
        Err(other) => return Err(other),
    };
    let Whole { packets, missed, .. } = whole;
    if output.json {
        output.json(&serde_json::json!({
            "ring": args.ring,
            "file": args.file.display().to_string(),
            "packets": packets,
            "missed": missed,
        }))?;
    } else {
        let file = args.file.display();
        output.line(&format!("{packets} packets of {} in {file}, {missed} missed", args.ring))?;
    }
    if let Some(problem) = &problem {
        output.warn(&format!("{}: {problem}; the recording ends before that", args.file.display()));
    }
    if end == End::Damaged {
        output.warn("the ring holds what no ringway writes: see shm-inspect dump");
    }
    Ok(Found::when(missed != 0 || end == End::Damaged || problem.is_some()))
}

/// What of a recording is in its file for certain, and ends with a frame.
#[derive(Clone, Copy, Debug, Default)]
struct Whole {
    bytes: u64,
    packets: u64,
    missed: u64,
}

struct Recorder<'a> {
    to: BufWriter<File>,
    file: &'a Path,
    began: Instant,
    began_ns: u64,
    until: Option<Duration>,
    wanted: u64,
    /// Times in a recording never go back.
    last_ns: u64,
    packets: u64,
    missed: u64,
    whole: Whole,
}

impl Recorder<'_> {
    /// Writes what was taken up. Killed afterwards, the program leaves all of it.
    fn flush(&mut self) -> Result<()> {
        let failed = self.failed();
        let bytes = self.to.flush().and_then(|()| self.to.stream_position()).map_err(failed)?;
        self.whole = Whole { bytes, packets: self.packets, missed: self.missed };
        Ok(())
    }

    fn failed(&self) -> impl FnOnce(io::Error) -> Failure + use<> {
        let path = self.file.to_owned();
        move |source| Failure::File { path, source }
    }
}

impl Watcher for Recorder<'_> {
    fn packet(&mut self, passed: Passed, at: Instant) -> Result<bool> {
        // When it was put, where the ring knows; else when it was seen.
        let seen = at.duration_since(self.began).as_nanos() as u64;
        let put = passed.put_at_ns.map(|at| at.saturating_sub(self.began_ns));
        self.last_ns = put.unwrap_or(seen).max(self.last_ns);
        let failed = self.failed();
        tape::write_packet(&mut self.to, self.last_ns, passed.kind, &passed.payload)
            .map_err(failed)?;
        self.packets += 1;
        Ok(self.packets >= self.wanted)
    }

    fn missed(&mut self, packets: u64) -> Result<()> {
        self.missed += packets;
        let failed = self.failed();
        tape::write_missed(&mut self.to, packets).map_err(failed)
    }

    fn looked(&mut self, found: bool) -> Result<bool> {
        if found {
            self.flush()?;
        }
        Ok(self.until.is_some_and(|until| self.began.elapsed() >= until))
    }
}

pub(crate) fn replay(common: &Common, args: &ReplayArgs, output: &mut Output) -> Result<Found> {
    let failed = |source| Failure::File { path: args.file.clone(), source };
    let mut from = BufReader::new(File::open(&args.file).map_err(failed)?);
    let recorded = tape::read_header(&mut from).map_err(failed)?;
    let queue = join(common, &args.ring, "replay")?;
    end_on_interrupt()?;
    let began = Instant::now();
    // The wait before the first packet is nobody's interest.
    let mut first_ns = None;
    let (mut packets, mut missed) = (0_u64, 0_u64);
    let mut problem = None;
    while !interrupted() {
        match tape::read_frame(&mut from) {
            Ok(None) => break,
            Ok(Some(Frame::Missed(count))) => missed += count,
            Ok(Some(Frame::Packet { at_ns, kind, payload })) => {
                let due = Duration::from_nanos(at_ns - *first_ns.get_or_insert(at_ns));
                if args.rate == Rate::Original {
                    wait_until(began.checked_add(due));
                }
                let wait = args.timeout.map_or(Wait::Interruptible, Wait::at_most);
                if let Err(error) = queue.put_record(RecordKind(kind), &payload, wait) {
                    problem = Some(format!("packet {packets} of the recording: {error}"));
                    break;
                }
                packets += 1;
            }
            Err(error) => {
                problem = Some(format!("{}: {error}", args.file.display()));
                break;
            }
        }
    }
    if output.json {
        output.json(&serde_json::json!({
            "file": args.file.display().to_string(),
            "recorded": recorded,
            "ring": args.ring,
            "packets": packets,
            "missed": missed,
        }))?;
    } else {
        let of = format!("{packets} packets of {recorded} put into {}", args.ring);
        output.line(&format!("{of}; {missed} were missed when they were recorded"))?;
    }
    if let Some(problem) = &problem {
        output.warn(problem);
    }
    Ok(Found::when(problem.is_some()))
}

/// Sleeps in slices, so that Ctrl-C ends it.
fn wait_until(due: Option<Instant>) {
    const SLICE: Duration = Duration::from_millis(50);
    while let Some(left) = due.and_then(|due| due.checked_duration_since(Instant::now()))
        && !left.is_zero()
        && !interrupted()
    {
        std::thread::sleep(left.min(SLICE));
    }
}
