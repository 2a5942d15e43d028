//! Many producers and many consumers on one ring: each a process of its own.
//!
//! Every producer puts its part of the packets, every consumer gets its part: so all know when they
//! are done, and nothing but puts and gets is timed. A packet's number says who put it (the upper 16
//! bits), so that each consumer sees that what it gets of one producer is in order; the sum of all
//! numbers says that nothing was lost, and nothing came twice.

use ringway::queue::Wait;
use serde::{Deserialize, Serialize};

use crate::clock::monotonic_ns;
use crate::error::{BenchError, Result};
use crate::floor::{self, FloorPlan};
use crate::link::{RingInlet, RingOutlet};
use crate::payload::{self, Source};
use crate::report::{Floor, Progress, Rate, Setting, fine_ratio};
use crate::team::{FLOOR_PARTNER, Team};
use crate::transport::{LinkSpec, Mode, Outlet};

/// Most producers, and most consumers: both take part in one segment, which has 64 places.
pub(crate) const MOST: usize = 30;
/// The number's bits that say which packet of its producer it is.
const NUMBER_BITS: u32 = 48;
/// Words that members say.
const TIME: usize = 0;
const SUM: usize = 1;

/// A stream of many, as all processes know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StreamsPlan {
    /// The ring.
    pub(crate) link: LinkSpec,
    /// Its name.
    pub(crate) name: String,
    /// Processes that put.
    pub(crate) producers: usize,
    /// Processes that get.
    pub(crate) consumers: usize,
    /// Packets counted, of all producers together.
    pub(crate) packets: u64,
    /// Packets before them.
    pub(crate) warm_up: u64,
    /// The floor measured before and after.
    pub(crate) floor: FloorPlan,
}

/// Member `nth`'s part of `all`.
fn part(all: u64, members: usize, nth: usize) -> u64 {
    let members = members as u64;
    all / members + u64::from((nth as u64) < all % members)
}

/// The sum of the numbers of packets `0..n` of each producer's part.
fn expected_sum(all: u64, producers: usize) -> u64 {
    (0..producers).fold(0_u64, |sum, nth| {
        let n = u128::from(part(all, producers, nth));
        let numbers = (n * n.saturating_sub(1) / 2) as u64;
        let marks = ((nth as u64) << NUMBER_BITS).wrapping_mul(n as u64);
        sum.wrapping_add(numbers).wrapping_add(marks)
    })
}

/// Measures, in the starter.
///
/// # Errors
/// When a process or the ring fails, or packets were lost.
pub(crate) fn measure(cpus: &[usize], plan: &StreamsPlan) -> Result<StreamsReport> {
    let members = plan.producers + plan.consumers;
    let tasks: Vec<_> = (0..members).map(|_| crate::Task::Streams(plan.clone())).collect();
    let (team, clock) = Team::start(cpus, tasks)?;
    let progress = Progress::start(1);

    progress.stage("floor");
    let before = floor::measure(&team.pair(), clock, plan.floor);
    // All are there; the rings are open; the warm-up is over; all packets are through.
    progress.stage("packets");
    for _ in 0..4 {
        team.meet()?;
    }
    let start = (1..=plan.producers).map(|m| team.said(m, TIME)).min().unwrap_or_default();
    let receivers = plan.producers + 1..=members;
    let end = receivers.clone().map(|m| team.said(m, TIME)).max().unwrap_or_default();
    let sum = receivers.fold(0_u64, |sum, m| sum.wrapping_add(team.said(m, SUM)));
    progress.stage("floor");
    let after = floor::measure(&team.pair(), clock, plan.floor);
    team.finish()?;
    drop(progress);
    let all = plan.warm_up + plan.packets;
    if sum != expected_sum(all, plan.producers) {
        return Err(BenchError::Lost { packets: all });
    }
    let rate = Rate::new(plan.packets, plan.link.payload, end.saturating_sub(start));
    let floor = Floor::new(clock, before, after);
    Ok(StreamsReport::new(plan, rate, floor, Setting::of(cpus, clock)))
}

/// Produces or consumes, in a member.
///
/// # Errors
/// When the ring fails.
pub(crate) fn answer(team: &Team, plan: &StreamsPlan) -> Result<()> {
    let is_partner = team.seat.member == FLOOR_PARTNER;
    if is_partner {
        floor::answer(&team.pair(), plan.floor);
    }
    team.meet()?;
    let nth = team.seat.member - 1;
    if nth < plan.producers {
        produce(team, plan, nth)?;
    } else {
        consume(team, plan, nth - plan.producers)?;
    }
    team.meet()?;
    if is_partner {
        floor::answer(&team.pair(), plan.floor);
    }
    Ok(())
}

fn produce(team: &Team, plan: &StreamsPlan, nth: usize) -> Result<()> {
    let batch = plan.link.batch;
    let ahead = Source::ahead_for_stream(plan.link.payload, batch);
    let mut outlet = RingOutlet::open(&plan.link, &plan.name, ahead)?;
    let all = part(plan.warm_up + plan.packets, plan.producers, nth);
    let warm_up = part(plan.warm_up, plan.producers, nth);
    let mut put = |from: u64, to: u64| -> Result<()> {
        let mut number = from;
        while number < to {
            let n = (to - number).min(batch as u64);
            outlet.send(((nth as u64) << NUMBER_BITS) | number, n as usize)?;
            number += n;
        }
        Ok(())
    };
    team.meet()?;
    put(0, warm_up)?;
    team.meet()?;
    team.say(TIME, monotonic_ns());
    put(warm_up, all)
}

fn consume(team: &Team, plan: &StreamsPlan, nth: usize) -> Result<()> {
    let mut inlet = RingInlet::open(&plan.link, &plan.name)?;
    let mut next = vec![0_u64; plan.producers];
    let mut sum = 0_u64;
    let mut get = |n: u64| -> Result<()> {
        let mut left = n;
        while left > 0 {
            let max = left.min(plan.link.batch as u64) as usize;
            left -= inlet.take(max, Wait::Forever, |bytes| {
                let number = number_of(bytes).unwrap_or(u64::MAX);
                let least = next.get_mut((number >> NUMBER_BITS) as usize);
                let fresh = least.filter(|least| number & ((1 << NUMBER_BITS) - 1) >= **least);
                let Some(least) = fresh.filter(|_| payload::read(bytes, number)) else {
                    return Some(number);
                };
                *least = (number & ((1 << NUMBER_BITS) - 1)) + 1;
                sum = sum.wrapping_add(number);
                None
            })? as u64;
        }
        Ok(())
    };
    let warm_up = part(plan.warm_up, plan.consumers, nth);
    let all = part(plan.warm_up + plan.packets, plan.consumers, nth);
    team.meet()?;
    get(warm_up)?;
    team.meet()?;
    get(all - warm_up)?;
    team.say(TIME, monotonic_ns());
    team.say(SUM, sum);
    Ok(())
}

/// The number a payload was made from: its first word.
#[inline]
fn number_of(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().map(|word| u64::from_le_bytes(*word))
}

/// Result of `throughput` with several producers or consumers, and a case of `oversubscribed`.
#[derive(Debug, Serialize)]
pub(crate) struct StreamsReport {
    verb: &'static str,
    transport: &'static str,
    mode: Mode,
    in_place: bool,
    producers: usize,
    consumers: usize,
    payload_bytes: usize,
    capacity: usize,
    data_bytes: usize,
    packets: u64,
    batch: usize,
    /// Packets a second, of all together.
    pub(crate) packets_per_s: f64,
    bytes_per_s: f64,
    /// Time of one packet, in floors.
    pub(crate) ratio_to_floor: f64,
    /// Before and after.
    #[serde(flatten)]
    pub(crate) floor: Floor,
    /// The CPUs and the clock.
    #[serde(flatten)]
    pub(crate) setting: Setting,
}

impl StreamsReport {
    /// Bytes of payload a second, of all together.
    pub(crate) fn bytes_per_s(&self) -> f64 {
        self.bytes_per_s
    }

    fn new(plan: &StreamsPlan, rate: Rate, floor: Floor, setting: Setting) -> Self {
        Self {
            verb: "throughput",
            transport: "ring",
            mode: plan.link.mode,
            in_place: plan.link.in_place,
            producers: plan.producers,
            consumers: plan.consumers,
            payload_bytes: plan.link.payload,
            capacity: plan.link.size.capacity_packets,
            data_bytes: plan.link.size.data_bytes,
            packets: plan.packets,
            batch: plan.link.batch,
            packets_per_s: rate.packets_per_s,
            bytes_per_s: rate.bytes_per_s,
            ratio_to_floor: fine_ratio(rate.ns_per_packet(), floor.floor_ns),
            floor,
            setting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NUMBER_BITS, expected_sum, number_of, part};

    #[test]
    fn parts_make_up_the_whole() {
        for (all, members) in [(10, 3), (0, 2), (7, 7), (2, 5)] {
            let sum: u64 = (0..members).map(|nth| part(all, members, nth)).sum();
            assert_eq!(sum, all);
        }
    }

    #[test]
    fn expected_sum_is_that_of_all_numbers() {
        let mut sum = 0_u64;
        for producer in 0..3 {
            for number in 0..part(100, 3, producer) {
                sum = sum.wrapping_add(((producer as u64) << NUMBER_BITS) | number);
            }
        }
        assert_eq!(expected_sum(100, 3), sum);
    }

    #[test]
    fn a_payload_tells_its_number() {
        let mut payload = vec![0; 20];
        crate::payload::write(&mut payload, 3 << NUMBER_BITS | 17);
        assert_eq!(number_of(&payload), Some(3 << NUMBER_BITS | 17));
        assert_eq!(number_of(&payload[..7]), None);
    }
}
