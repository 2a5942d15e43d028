//! One of hundreds of processes that start at once on one segment.
//!
//! All wait for the end of their stdin, which is one pipe. A starter then opens the queue, and tries
//! again only where the error says that it may; it opens it anew where it was destroyed under its
//! hands. In between it waits at *doors*: files that the test holds locked. What comes of it goes to
//! stdout, one line a time: a file that all of them append to.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Instant;

use ringway::error::OpenError;
use ringway::queue::{Queue, QueueDescriptor};
use ringway::shm::directory::Directory;
use ringway::shm::segment::{CleanOptions, Segment};

use crate::WATCHDOG;
use crate::random::Random;

/// The door behind which nobody destroys or cleans any more.
pub const CALM: &str = "door-calm";
/// The door behind which everybody leaves.
pub const LEAVE: &str = "door-leave";

/// Destructions, or cleanings, of one process.
const ROUNDS: u64 = 40;

/// Plays a role: `starter`, `once` (tries to open it a single time), `destroyer` or `cleaner`.
///
/// # Errors
/// What went wrong, which was told already.
pub fn run(role: &str, doors: &Path, json: &str) -> Result<(), String> {
    let descriptor = QueueDescriptor::from_json(json).map_err(|error| error.to_string())?;
    io::stdin().read_to_end(&mut Vec::new()).map_err(|error| error.to_string())?;
    let result = match role {
        "starter" => start(doors, &descriptor),
        "once" => once(doors, &descriptor),
        "destroyer" => repeat(|| match descriptor.to_serializable_descriptor().destroy() {
            Err(error) if !is_transient(&error) => Err(format!("{error:?}")),
            _ => Ok(()),
        }),
        _ => repeat(|| clean(&descriptor)),
    };
    if let Err(error) = &result {
        tell(&format!("failed {role} {}", error.replace('\n', " ")));
    }
    result
}

/// Says whether an error is documented to go away by itself.
fn is_transient(error: &OpenError) -> bool {
    matches!(
        error,
        OpenError::NotFound { .. }
            | OpenError::Destroyed { .. }
            | OpenError::TooManyParticipants { .. }
            | OpenError::NoSpace { .. }
            | OpenError::RoleTaken { .. }
    )
}

fn tell(line: &str) {
    // One write: lines of many processes do not mix.
    let _ = io::stdout().write_all(format!("{} {line}\n", std::process::id()).as_bytes());
}

/// Waits until the test opens a door.
fn pass(doors: &Path, door: &str) -> Result<(), String> {
    let door = File::open(doors.join(door)).map_err(|error| error.to_string())?;
    door.lock_shared().map_err(|error| error.to_string())
}

fn open(descriptor: &QueueDescriptor) -> Result<Queue, String> {
    let began = Instant::now();
    loop {
        match descriptor.queue() {
            Ok(queue) => return Ok(queue),
            Err(error) if is_transient(&error) && began.elapsed() < WATCHDOG => {}
            Err(error) => return Err(format!("{error:?}")),
        }
    }
}

fn start(doors: &Path, descriptor: &QueueDescriptor) -> Result<(), String> {
    let queue = open(descriptor)?;
    tell(&format!("opened {}", uuid(&queue)?.unwrap_or_default()));
    pass(doors, CALM)?;
    let queue = if uuid(&queue)?.is_some() {
        queue
    } else {
        drop(queue);
        descriptor.clear_cache();
        open(&descriptor.to_serializable_descriptor())?
    };
    let uuid = uuid(&queue)?.ok_or("destroyed although nobody destroys any more")?;
    queue.try_put(&std::process::id().to_le_bytes()).map_err(|error| format!("{error:?}"))?;
    tell(&format!("final {uuid}"));
    pass(doors, LEAVE)
}

/// The identity of the segment that a queue is in; `None` where it was destroyed.
fn uuid(queue: &Queue) -> Result<Option<String>, String> {
    let ring = queue.backend().ring().ok_or("no ring")?;
    Ok(ring.segment_uuid().map(|uuid| uuid.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn once(doors: &Path, descriptor: &QueueDescriptor) -> Result<(), String> {
    match descriptor.queue() {
        Ok(queue) => {
            tell("opened");
            pass(doors, LEAVE)?;
            drop(queue);
        }
        Err(error) => tell(&format!("refused {error:?}")),
    }
    Ok(())
}

fn repeat(mut run: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let mut random = Random::new(std::process::id().into());
    for _ in 0..ROUNDS {
        run()?;
        // Not to wait for anything: the next one shall come at another moment.
        std::thread::sleep(std::time::Duration::from_micros(random.below(20_000)));
    }
    tell("done");
    Ok(())
}

fn clean(descriptor: &QueueDescriptor) -> Result<(), String> {
    let address = descriptor.shm_address().ok_or("no segment")?;
    let place = address.directory().ok_or("no directory")?;
    let directory = Directory::open(place, None).map_err(|error| error.to_string())?;
    let cleaned = Segment::clean_abandoned(
        &directory,
        CleanOptions { discard: true, ..CleanOptions::default() },
    );
    cleaned.map(drop).map_err(|error| format!("{error:?}"))
}
