//! `metrics`: the numbers of all rings in the text form that Prometheus reads (version 0.0.4).

use std::fmt::Write as _;

use ringway::shm::inspect::{RingSnapshot, SegmentSnapshot};

use crate::Found;
use crate::cli::Common;
use crate::failure::{Failure, Result};
use crate::looks::{Looked, all};
use crate::output::Output;

type OfRing = fn(&RingSnapshot) -> Option<f64>;

/// Name, kind, meaning, and how it is read of a ring.
const RINGS: &[(&str, &str, &str, OfRing)] = &[
    ("waiting_packets", "gauge", "Packets waiting.", |ring| Some(ring.qsize as f64)),
    ("in_flight_packets", "gauge", "Packets leased and not acknowledged.", |ring| {
        Some(ring.in_flight as f64)
    }),
    ("occupancy_ratio", "gauge", "Share of the ring in use, 0 to 1.", |ring| Some(ring.occupancy)),
    ("high_water_packets", "gauge", "Most packets seen waiting.", |ring| {
        Some(ring.counters.high_water as f64)
    }),
    ("oldest_waiting_seconds", "gauge", "Time since the oldest waiting packet was put.", |ring| {
        ring.oldest_waiting.map(|age| age.as_secs_f64())
    }),
    ("closed", "gauge", "1 where puts are refused.", |ring| Some(flag(ring.is_closed()))),
    ("blocked", "gauge", "1 where somebody keeps the ring from going on.", |ring| {
        Some(flag(!ring.blocked_by.is_empty()))
    }),
    ("consistent", "gauge", "1 where the ring stood still while it was read.", |ring| {
        Some(flag(ring.consistent))
    }),
    ("faults", "gauge", "Things in the ring that no ringway writes.", |ring| {
        Some(ring.faults.len() as f64)
    }),
    ("puts_total", "counter", "Packets put.", |ring| Some(ring.counters.puts as f64)),
    ("gets_total", "counter", "Packets taken for the first time.", |ring| {
        Some(ring.counters.gets as f64)
    }),
    ("put_bytes_total", "counter", "Payload bytes put.", |ring| {
        Some(ring.counters.bytes_put as f64)
    }),
    ("got_bytes_total", "counter", "Payload bytes taken for the first time.", |ring| {
        Some(ring.counters.bytes_got as f64)
    }),
    ("full_waits_total", "counter", "Times a put had to wait for room.", |ring| {
        Some(ring.counters.full_waits as f64)
    }),
    ("empty_waits_total", "counter", "Times a get had to wait for a packet.", |ring| {
        Some(ring.counters.empty_waits as f64)
    }),
    ("refused_total", "counter", "Puts refused because the ring was full.", |ring| {
        Some(ring.counters.refused as f64)
    }),
    ("redelivered_total", "counter", "Packets delivered again.", |ring| {
        Some(ring.counters.redelivered as f64)
    }),
    ("skipped_total", "counter", "Packets claimed and never committed.", |ring| {
        Some(ring.counters.skipped as f64)
    }),
    ("dead_lettered_total", "counter", "Packets delivered too often.", |ring| {
        Some(ring.counters.dead_lettered as f64)
    }),
    ("dead_letters_kept_total", "counter", "Packets kept though delivered too often.", |ring| {
        Some(ring.counters.dead_letters_kept as f64)
    }),
    ("put_blocked_seconds_total", "counter", "Time that puts waited for room.", |ring| {
        Some(ring.counters.put_blocked_ns as f64 / 1e9)
    }),
    ("get_blocked_seconds_total", "counter", "Time that gets waited for packets.", |ring| {
        Some(ring.counters.get_blocked_ns as f64 / 1e9)
    }),
];

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

pub(crate) fn run(common: &Common, named: &[String], output: &mut Output) -> Result<Found> {
    if output.json {
        return Err(Failure::Usage("metrics are a text; list --json has the same numbers".into()));
    }
    let looks = all(common, named)?.unwrap_or_default();
    let mut text = String::new();
    head(&mut text, "segment_readable", "gauge", "1 where the file is a segment that can be read.");
    for Looked { name, snapshot, .. } in &looks {
        let name = label(name);
        line(&mut text, "segment_readable", &format!("segment=\"{name}\""), flag(snapshot.is_ok()));
    }
    let readable: Vec<_> =
        looks.iter().filter_map(|looked| looked.snapshot.as_ref().ok()).collect();
    let segment = |look: &SegmentSnapshot| match &look.name {
        Some(name) => format!("segment=\"{}\"", label(name)),
        None => format!("segment=\"{}\"", label(&look.path.display().to_string())),
    };
    head(&mut text, "segment_bytes", "gauge", "Size of the segment.");
    for look in &readable {
        line(&mut text, "segment_bytes", &segment(look), look.total_bytes as f64);
    }
    head(&mut text, "segment_age_seconds", "gauge", "Time since the segment was created.");
    for look in &readable {
        if let Some(age) = look.age {
            line(&mut text, "segment_age_seconds", &segment(look), age.as_secs_f64());
        }
    }
    head(&mut text, "participants", "gauge", "Participants, by whether they live.");
    for look in &readable {
        let count = |state: &str| {
            let is = |one: &&ringway::shm::inspect::ParticipantSnapshot| {
                let stopped = one.stopped == Some(true);
                match state {
                    "stopped" => stopped,
                    "alive" => one.alive == Some(true) && !stopped,
                    _ => one.alive == Some(false),
                }
            };
            look.participants.iter().filter(is).count() as f64
        };
        for state in ["alive", "stopped", "dead"] {
            let labels = format!("{},state=\"{state}\"", segment(look));
            line(&mut text, "participants", &labels, count(state));
        }
    }
    for (name, kind, meaning, of) in RINGS {
        head(&mut text, name, kind, meaning);
        for look in &readable {
            for ring in &look.rings {
                if let Some(value) = of(ring) {
                    let labels = format!("{},ring=\"{}\"", segment(look), label(&ring.name));
                    line(&mut text, name, &labels, value);
                }
            }
        }
    }
    output.write(text.as_bytes())?;
    Ok(Found::when(looks.iter().any(|looked| looked.snapshot.is_err())))
}

fn head(text: &mut String, name: &str, kind: &str, meaning: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP ringway_{name} {meaning}\n# TYPE ringway_{name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    let _ = writeln!(text, "ringway_{name}{{{labels}}} {value}");
}

/// The value of a label, with what has a meaning there escaped.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
