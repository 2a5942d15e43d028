//! A ring of a test, and one participant that can play every part.

#![allow(clippy::disallowed_types, reason = "the words of a mock that no process shares")]

use std::sync::atomic::{AtomicBool, AtomicU32 as StdU32};
use std::time::Duration;

use super::super::*;
use crate::shm::peers::{Peers, Woken};

/// Peers of a test: some are dead.
#[derive(Default)]
pub(super) struct TestPeers {
    pub(super) me: u16,
    pub(super) dead: [AtomicBool; 8],
    pub(super) bell: StdU32,
}

impl Peers for TestPeers {
    fn me(&self) -> u16 {
        self.me
    }
    fn is_dead(&self, id: u16) -> bool {
        self.dead[usize::from(id) % 8].load(core::sync::atomic::Ordering::Relaxed)
    }
    fn with_dead(&self, id: u16, f: &mut dyn FnMut()) -> bool {
        let dead = self.is_dead(id);
        if dead {
            f();
        }
        dead
    }
    fn doorbell(&self, _: u16) -> Option<&crate::sync::AtomicU32> {
        Some(&self.bell)
    }
    fn touch(&self) {}
    fn fence_needed(&self) -> bool {
        false
    }
    fn heavy_barrier(&self) -> bool {
        true
    }
    fn producer_is_gone(&self) -> bool {
        false
    }
    fn sleep(&self, _: u32, _: Duration) -> Woken {
        Woken::TimedOut
    }
    fn wake(&self, _: u16) -> usize {
        0
    }
}

pub(super) fn geometry(producers: Side, consumers: Side, maxsize: u64) -> Geometry {
    Geometry {
        log2_entries: 6,
        unit_bytes: 64,
        maxsize,
        producers,
        consumers,
        timestamps: false,
        max_deliveries: 0,
    }
}

pub(super) fn ring(producers: Side, consumers: Side, maxsize: u64) -> Ring {
    let geometry = geometry(producers, consumers, maxsize);
    Ring::new(RingMemory::on_heap(geometry, geometry.bits().first_pos()))
}

/// A payload that names itself and its length.
pub(super) fn payload(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (number as usize * 31 + i) as u8).collect()
}

/// One participant that can play every part.
pub(super) struct Player {
    pub(super) ring: Ring,
    pub(super) cache: ProducerCache,
    pub(super) producer: SingleProducer,
    pub(super) consumer: SingleConsumer,
    pub(super) peers: TestPeers,
}

pub(super) const ME: u16 = 1;
pub(super) const OTHER: u16 = 2;

impl Player {
    pub(super) fn new(ring: Ring) -> Self {
        Self {
            cache: ProducerCache::default(),
            producer: ring.start_producer().unwrap(),
            consumer: ring.start_consumer().unwrap(),
            peers: TestPeers { me: ME, ..Default::default() },
            ring,
        }
    }

    pub(super) fn put(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let g = *self.ring.geometry();
        let inline = bytes.len() <= g.inline_bytes();
        let n = g.units(bytes.len());
        match g.producers {
            Side::Multi => {
                let mut claim = match self.ring.claim(&self.cache, n, ME) {
                    Err(Refused::Full) if self.ring.help_room() => {
                        self.ring.claim(&self.cache, n, ME)?
                    }
                    other => other?,
                };
                self.ring.write(&mut claim, inline, bytes);
                self.ring.commit(&claim, 0, bytes.len(), inline);
            }
            Side::Single => {
                let mut claim = match self.ring.claim_single(&mut self.producer, n, 1) {
                    Err(Refused::Full) if self.ring.help_room() => {
                        self.ring.claim_single(&mut self.producer, n, 1)?
                    }
                    other => other?,
                };
                self.ring.write(&mut claim, inline, bytes);
                let len = bytes.len();
                self.ring.commit_single(&mut self.producer, &claim, 0, len, inline);
            }
        }
        Ok(())
    }

    /// Puts by the short way, which gives up where it would have to look.
    pub(super) fn put_plain(&mut self, bytes: &[u8]) -> bool {
        match self.ring.geometry().producers {
            Side::Multi => {
                self.ring.put_plain_multi::<false>(&self.cache, 0, bytes, ME).is_some()
                    || self.ring.put_plain_multi::<true>(&self.cache, 0, bytes, ME).is_some()
            }
            Side::Single => {
                self.ring.put_plain::<false>(&mut self.producer, 0, bytes)
                    || self.ring.put_plain::<true>(&mut self.producer, 0, bytes)
            }
        }
    }

    /// Claims and commits, by the short way of a single producer.
    pub(super) fn put_in_place(&mut self, bytes: &[u8]) -> bool {
        let Some(mut claim) = self.ring.claim_plain(&mut self.producer, bytes.len()) else {
            return false;
        };
        let inline = self.ring.is_inline(bytes.len());
        self.ring.write(&mut claim, inline, bytes);
        self.ring.commit_single(&mut self.producer, &claim, 0, bytes.len(), inline);
        true
    }

    /// Gets by a short way, which gives up where it would have to look.
    pub(super) fn get_plain(&mut self, in_place: bool) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(100);
        let taken = match self.ring.geometry().consumers {
            Side::Single if in_place => {
                self.ring.expose_plain(&self.consumer).map(|(entry, taken)| {
                    out.extend_from_slice(self.ring.payload_in(entry, &taken));
                    self.ring.end_exposed(&mut self.consumer, entry, &taken);
                    taken
                })
            }
            Side::Multi => {
                let by_entry = self.ring.get_plain_multi::<false>(ME, |_| false, &mut out);
                by_entry.or_else(|| self.ring.get_plain_multi::<true>(ME, |_| false, &mut out))
            }
            Side::Single => {
                let by_entry = self.ring.get_plain::<false>(&mut self.consumer, &mut out);
                by_entry.or_else(|| self.ring.get_plain::<true>(&mut self.consumer, &mut out))
            }
        };
        taken.map(|_| out)
    }

    /// Takes up to `max` records at once, reads them in place, and acknowledges each.
    pub(super) fn get_run(&mut self, max: usize) -> Vec<Vec<u8>> {
        let Self { ring, consumer: mine, .. } = self;
        let (side, most) = (ring.geometry().consumers, ring.most_at_once(max));
        let run = match side {
            Side::Multi => ring.take_run(most, ME),
            Side::Single => ring.take_run_single(mine, most),
        };
        let mut got = Vec::new();
        let Some(mut run) = run else { return got };
        let (pos, count) = (run.pos(), run.count());
        let read = |entry: &Entry, taken: &Taken| {
            assert_eq!((taken.pos, taken.redeliveries()), (pos + got.len() as u64, 0));
            got.push(ring.payload_in(entry, taken).to_vec());
            true
        };
        match side {
            Side::Multi => ring.read_run(&mut run, ME, read),
            Side::Single => ring.read_run_single(mine, &mut run, read),
        }
        assert_eq!((got.len() as u64, run.count()), (count, 0));
        got
    }

    /// Takes what lies ready, or of one by a short way.
    pub(super) fn take_ready(&mut self, max: usize, out: &mut Vec<Taken>) -> usize {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.take_ready(max, ME, out),
            Side::Single if max == 1 => {
                let start = out.len();
                out.extend(if self.consumer.next_pos().is_multiple_of(2) {
                    self.ring.take_plain(&mut self.consumer)
                } else {
                    // Read in place by somebody who panicked.
                    self.ring.expose_plain(&self.consumer).map(|(_, taken)| {
                        self.ring.keep_exposed(&mut self.consumer, &taken);
                        taken
                    })
                });
                out.len() - start
            }
            Side::Single => self.ring.take_ready_single(&mut self.consumer, max, out),
        }
    }

    pub(super) fn ack_many(&mut self, many: &[Taken]) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.release_many(many, ME),
            Side::Single => self.ring.ack_many_single(&mut self.consumer, many),
        }
    }

    pub(super) fn put_run(&mut self, payloads: &[Vec<u8>]) -> Result<(), Refused> {
        let n = payloads.len() as u64;
        let mut claim = self.ring.claim_run(&self.cache, n, ME)?;
        let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
        let bytes = self.ring.write_run(&mut claim, 0, &payloads, |_, _| {});
        self.ring.commit_run(&claim, bytes);
        Ok(())
    }

    pub(super) fn take(&mut self) -> Result<Taken, Missing> {
        match self.ring.geometry().consumers {
            Side::Multi => {
                if let Some(taken) = self.ring.adopt_hinted(&self.peers) {
                    return Ok(taken);
                }
                self.ring.take(ME)
            }
            Side::Single => self.ring.take_single(&mut self.consumer),
        }
    }

    pub(super) fn ack(&mut self, taken: &Taken) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.release(taken, ME),
            Side::Single => self.ring.ack_single(&mut self.consumer, taken),
        }
    }

    pub(super) fn give_back(&mut self, taken: &Taken) {
        match self.ring.geometry().consumers {
            Side::Multi => self.ring.give_back(taken),
            Side::Single => self.ring.give_back_single(&mut self.consumer, taken.pos),
        }
    }

    pub(super) fn bytes(&self, taken: &Taken) -> Vec<u8> {
        self.ring.payload(taken).to_vec()
    }
}
