//! Valid live segments, as bytes: rings of all modes, partly used, with leases out and claims open.
//!
//! Each has four participants that took part in it. Written into a file in which nobody holds a
//! lock, all of them are dead; an arena holds the locks of some, so that those are alive.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use ringway::queue::{Queue, QueueConfig, QueueDescriptor, Side};
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::peers::Peers;
use ringway::shm::ring::stamp::State;
use ringway::shm::ring::{ProducerCache, Ring};
use ringway::shm::segment::Segment;
use ringway::shm::storage::{Geometry, RingMemory};

/// Places for participants in every image.
pub(crate) const PLACES: u32 = 8;

/// A ring in an image.
#[derive(Clone, Debug)]
pub struct RingPart {
    /// Its shape.
    pub geometry: Geometry,
    /// Where its extent starts in the file.
    pub start: u64,
}

/// A valid segment.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its rings: `q`, and the one of its dead letters.
    pub rings: Vec<RingPart>,
    /// What the queue `q` is configured as.
    pub config: QueueConfig,
    /// Whether it is closed.
    pub closed: bool,
    /// Where the control page starts.
    pub control: u64,
    /// Where the table of participants starts.
    pub participants: u64,
}

const MODES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Multi, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Multi),
];

/// States of a ring: packets that have gone through it, that wait, whether it is closed.
const STATES: [(u64, u64, bool); 6] =
    [(0, 0, false), (0, 3, false), (13, 9, false), (37, 16, false), (9, 4, true), (21, 0, true)];

/// Makes all images, the same every time but for uuid, pid and times; in a directory that it leaves
/// as it was.
///
/// # Errors
/// What the system, or the library, says.
pub fn all(directory: &Path) -> io::Result<Vec<Image>> {
    let mut images = Vec::new();
    for (mode, &(producers, consumers)) in MODES.iter().enumerate() {
        for (state, &(through, waiting, closed)) in STATES.iter().enumerate() {
            let config = QueueConfig {
                capacity_packets: Some(if state % 2 == 0 { 16 } else { 32 }),
                capacity_bytes: Some(4096),
                maxsize: if state == 1 { 5 } else { 0 },
                producers,
                consumers,
                timestamps: (state + mode) % 3 == 0,
                max_deliveries: if state % 3 == 2 { 2 } else { 0 },
                dead_letter: (state % 3 == 2).then(|| "dead".to_owned()),
                ..QueueConfig::default()
            };
            images.push(make(directory, config, through, waiting, closed)?);
        }
    }
    Ok(images)
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}

/// The descriptor of the queue in the file called `segment`.
pub(crate) fn descriptor(
    directory: &Path,
    segment: &str,
    config: &QueueConfig,
) -> io::Result<QueueDescriptor> {
    QueueDescriptor::shm(&format!("{segment}:q"))
        .and_then(|queue| queue.with_directory(directory))
        .and_then(|queue| queue.with_lifetime(Lifetime::Keep))
        .and_then(|queue| queue.with_max_participants(PLACES))
        .and_then(|queue| queue.with_config(config.clone()))
        .map_err(other)
}

fn make(
    directory: &Path,
    config: QueueConfig,
    through: u64,
    waiting: u64,
    closed: bool,
) -> io::Result<Image> {
    let named = descriptor(directory, "image", &config)?;
    let queue = named.queue().map_err(other)?;
    let opened = Directory::open(directory, None).map_err(other)?;
    let name = "image".parse().map_err(other)?;
    let segment = Segment::attach(&opened, &name, "image-2").map_err(other)?;
    let third = Segment::attach(&opened, &name, "image-3").map_err(other)?;
    use_it(&queue, through, waiting).map_err(other)?;
    let held = hold(&queue, [&segment, &third], waiting)?;
    if closed {
        queue.close().map_err(other)?;
    }
    let map = segment.memory_map();
    let offset = |what: &str| map.iter().find(|part| part.what == what).map(|part| part.offset);
    let parts = segment.rings().iter().enumerate().map(|(index, ring)| {
        let header = map.iter().find(|part| part.ring == Some(index) && part.what == "header");
        Some(RingPart { geometry: ring.geometry, start: header?.offset })
    });
    let image = Image {
        bytes: std::fs::read(segment.path())?,
        rings: parts.collect::<Option<_>>().ok_or_else(|| other("a ring without a place"))?,
        closed,
        control: offset("control").ok_or_else(|| other("no control page"))?,
        participants: offset("participants").ok_or_else(|| other("no participants"))?,
        config,
    };
    drop(held);
    queue.destroy().map_err(other)?;
    Ok(image)
}

/// Sends packets of all lengths through the ring, and leaves some in it.
fn use_it(queue: &Queue, through: u64, waiting: u64) -> Result<(), String> {
    let lengths = [0, 7, 48, 49, 200, 256];
    let packet = |i: u64| vec![i as u8; lengths[i as usize % lengths.len()]];
    for i in 0..through {
        queue.try_put(&packet(i)).map_err(|error| error.to_string())?;
        queue.try_get().map_err(|error| error.to_string())?;
    }
    for i in 0..waiting {
        // A ring that is full is just what is wanted.
        if queue.try_put(&packet(i)).is_err() {
            break;
        }
    }
    Ok(())
}

/// What the participants of an image hold until its bytes are copied.
struct Held(#[expect(dead_code, reason = "held, not read")] Vec<ringway::queue::Lease>);

/// Takes what lies ready at the head until that is a run, and undoes its splitting.
fn take_run(ring: &Ring, me: u16) {
    let mut taken = Vec::new();
    for _ in 0..4 {
        let n = ring.take_ready(8, me, &mut taken);
        if n > 1 {
            let first = taken[taken.len() - n].pos;
            let word = ring.geometry().bits().pack(State::Run, first, n as u64, me);
            // RELAXED: nobody else uses the ring.
            ring.memory().take(first).store(word, Relaxed);
            return;
        }
    }
}

/// The first holds leases by its queue; the second one lease and one claim, the third one lease that
/// it gave back, a run that it took at once, as if it had died before it split it, and two claims, where
/// the ring's sides are many.
fn hold(queue: &Queue, others: [&std::sync::Arc<Segment>; 2], waiting: u64) -> io::Result<Held> {
    let mut leases = Vec::new();
    if waiting > 2 {
        leases.extend(queue.try_lease());
        leases.extend(queue.try_lease());
        // Out of order: the second is acknowledged, the first is held.
        if let Some(second) = leases.pop() {
            second.ack();
        }
    }
    for (index, segment) in others.into_iter().enumerate() {
        segment.peers(0).touch();
        let memory = segment.memory(0).map_err(other)?;
        let ring = Ring::new(RingMemory::clone(&memory));
        let me = segment.participant_id();
        let geometry = *ring.geometry();
        if geometry.consumers == Side::Multi
            && waiting > 2
            && let Ok(taken) = ring.take(me)
            && index == 1
        {
            ring.give_back(&taken);
            take_run(&ring, me);
        }
        if geometry.producers == Side::Multi {
            let cache = ProducerCache::default();
            for _ in 0..=index {
                // Never committed: its writer is to be found dead, or slow.
                let _ = ring.claim(&cache, 1 + index as u64, me);
            }
        }
    }
    Ok(Held(leases))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_images_hold_a_run_that_is_not_split() {
        let place = tempfile::tempdir().unwrap();
        let images = all(place.path()).unwrap();
        let runs = images.iter().filter(|image| {
            let ring = &image.rings[0];
            let (bits, start) = (ring.geometry.bits(), ring.start + ring.geometry.takes_offset());
            let words = (0..bits.entries()).map(|index| {
                let at = (start + 8 * index) as usize;
                bits.unpack(u64::from_le_bytes(image.bytes[at..at + 8].try_into().unwrap()))
            });
            let many = ring.geometry.consumers == Side::Multi;
            many && words.into_iter().any(|word| word.state == State::Run && word.n > 1)
        });
        // Two states of a ring, of one producer and of many.
        assert_eq!(runs.count(), 4);
    }
}
