//! Open loop: packets leave at a given rate, whatever became of those before.
//!
//! A ping-pong waits for each answer before it asks again, so a hiccup of the transport delays one
//! round where it would have delayed a hundred (*coordinated omission*). Here every packet has an
//! intended start, and its time counts from then, also when its sender could not keep to it.

use serde::Serialize;

use crate::clock::Clock;
use crate::error::Result;
use crate::latency::LatencyPlan;
use crate::peers::Pair;
use crate::report::{Floor, Progress, Setting, ratio};
use crate::sizing::RingSize;
use crate::stats::{Samples, Times};
use crate::transport::{Inlet, Mode, Outlet, Transport};

/// Most packets of one run: each keeps its time in memory until the end.
pub(crate) const MOST: u64 = 1 << 26;

/// What an open loop measured.
#[derive(Debug)]
pub(crate) struct OpenLoop {
    /// From the intended start to the answer.
    pub(crate) samples: Samples,
    /// Answers a second, from the first intended start to the last answer.
    achieved_per_s: f64,
}

/// Says how many packets may be under way: half of what either ring takes, so that neither process
/// ever waits for room while the other does. Those that are held back count from their intended
/// start all the same.
fn window(size: RingSize, payload: usize) -> u64 {
    let by_bytes = size.data_bytes / payload.max(1).next_multiple_of(64);
    (size.capacity_packets.min(by_bytes) as u64 / 2).max(1)
}

/// Sends at a rate, and takes the answers as they come.
///
/// # Errors
/// When the transport fails.
pub(crate) fn ping(
    pair: &Pair,
    clock: Clock,
    plan: &LatencyPlan,
    rate_per_s: u64,
    outlet: &mut impl Outlet,
    inlet: &mut impl Inlet,
    progress: &Progress,
) -> Result<OpenLoop> {
    let mut samples = Samples::with_room(plan.rounds);
    let window = window(plan.link.size, plan.link.payload);
    pair.meet();
    progress.stage("warm-up");
    for sequence in 0..plan.warm_up {
        outlet.send(sequence, 1)?;
        inlet.receive(sequence, 1)?;
    }
    progress.stage("packets");
    let interval = 1e9 / rate_per_s as f64 / clock.ns_per_tick();
    let start = clock.ticks();
    let due = |nth: u64| start.wrapping_add((nth as f64 * interval) as u64);
    let (mut sent, mut answered, mut now) = (0, 0, start);
    while answered < plan.rounds {
        now = clock.ticks();
        let is_due = sent < plan.rounds && now.wrapping_sub(due(sent)).cast_signed() >= 0;
        if is_due && sent - answered < window {
            outlet.send(plan.warm_up + sent, 1)?;
            sent += 1;
        }
        if answered < sent && inlet.try_receive(plan.warm_up + answered)? {
            now = clock.ticks();
            samples.push(now.wrapping_sub(due(answered)));
            answered += 1;
        } else {
            std::hint::spin_loop();
        }
    }
    samples.settle();
    progress.advance(plan.rounds);
    let seconds = now.wrapping_sub(start) as f64 * clock.ns_per_tick() / 1e9;
    Ok(OpenLoop { samples, achieved_per_s: (plan.rounds as f64 / seconds).round() })
}

/// Result of `latency --rate`.
#[derive(Debug, Serialize)]
pub(crate) struct OpenLoopReport {
    verb: &'static str,
    transport: Transport,
    mode: Mode,
    in_place: bool,
    payload_bytes: usize,
    capacity: usize,
    rounds: u64,
    rate_per_s: u64,
    achieved_per_s: f64,
    round_trip_ns: Times,
    ratio_to_floor: f64,
    ratio_p50_to_floor_p50: f64,
    #[serde(flatten)]
    floor: Floor,
    #[serde(flatten)]
    setting: Setting,
}

impl OpenLoopReport {
    /// Sums a measurement up.
    pub(crate) fn new(
        plan: &LatencyPlan,
        rate_per_s: u64,
        measured: &OpenLoop,
        clock: Clock,
        floor: Floor,
        setting: Setting,
    ) -> Self {
        let round_trip_ns = measured.samples.times(clock.ns_per_tick());
        Self {
            verb: "latency",
            transport: plan.link.transport,
            mode: plan.link.mode,
            in_place: plan.link.in_place,
            payload_bytes: plan.link.payload,
            capacity: plan.link.size.capacity_packets,
            rounds: plan.rounds,
            rate_per_s,
            achieved_per_s: measured.achieved_per_s,
            round_trip_ns,
            ratio_to_floor: ratio(round_trip_ns.mean, 2.0 * floor.floor_ns),
            ratio_p50_to_floor_p50: ratio(round_trip_ns.p50, 2.0 * floor.floor_p50_ns),
            floor,
            setting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::window;
    use crate::sizing::RingSize;

    #[test]
    fn half_of_the_ring_is_never_exceeded() {
        let size = |payload, capacity| RingSize::new(payload, Some(capacity), None).unwrap();
        assert_eq!(window(size(32, 4096), 32), 2048);
        assert_eq!(window(size(32, 1), 32), 1);
        let tight = RingSize::new(1000, Some(4096), Some(4096)).unwrap();
        assert_eq!(window(tight, 1000), 2);
    }
}
