//! Promises across processes, kept through SIGKILL.
//!
//! Each test has a directory of its own (`Place`) and its own peers; they run in parallel.

mod access;
mod attach;
mod close;
mod crash;
mod dead_letters;
#[cfg(target_arch = "x86_64")]
mod fast_path;
mod files;
mod fork;
mod lifetime;
mod pauses;
mod starters;
mod stream;
mod torture;
mod wakeups;

use ringway::queue::{QueueConfig, Side};
use shm_tests::peer::Peer;
use shm_tests::place::Place;

fn place() -> Place {
    Place::new(env!("CARGO_BIN_EXE_peer"))
}

/// The four modes: name, producers, consumers.
const MODES: [(&str, Side, Side); 4] = [
    ("spsc", Side::Single, Side::Single),
    ("mpsc", Side::Multi, Side::Single),
    ("spmc", Side::Single, Side::Multi),
    ("mpmc", Side::Multi, Side::Multi),
];

/// A ring of 64 entries of 64 bytes: at most 16 units, 1024 bytes a packet.
fn small(producers: Side, consumers: Side) -> QueueConfig {
    QueueConfig {
        capacity_packets: Some(64),
        capacity_bytes: Some(4096),
        producers,
        consumers,
        ..QueueConfig::default()
    }
}

/// The longest packet of a small ring.
const SMALL_MOST: usize = 1024;

const MPMC: (Side, Side) = (Side::Multi, Side::Multi);

fn mpmc() -> QueueConfig {
    small(MPMC.0, MPMC.1)
}

/// Takes a lease in a peer; returns its id and the delivery count.
#[track_caller]
fn lease(peer: &mut Peer, text: &str) -> (u64, u32) {
    let answer = peer.ok("lease q");
    let words: Vec<&str> = answer.split(' ').collect();
    assert_eq!(words[1], text, "{answer}");
    (words[0].parse().unwrap(), words[2].parse().unwrap())
}

/// A counter of a queue, asked for in a peer.
#[track_caller]
fn stat(peer: &mut Peer, name: &str) -> u64 {
    let stats: serde_json::Value = serde_json::from_str(&peer.ok("stats q")).unwrap();
    stats[name].as_u64().unwrap()
}
