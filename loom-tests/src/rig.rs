//! A ring with its kernel, and put, take and accounting in one line each.

use std::sync::Arc;

use ringway::shm::layout::INLINE_BYTES;
use ringway::shm::recovery;
use ringway::shm::ring::{
    Missing, ProducerCache, Refused, Ring, SingleConsumer, SingleProducer, Taken,
};
use ringway::shm::storage::{Geometry, RingMemory, Side};

use crate::kernel::{Kernel, Me};

/// Participants by name.
pub(crate) const ANN: u16 = 1;
pub(crate) const BOB: u16 = 2;
/// Sets up, and does the accounting.
pub(crate) const EVE: u16 = 3;

pub(crate) use Side::{Multi, Single};

/// Entries of a model's ring.
pub(crate) const ENTRIES: u64 = 8;

/// A ring of [`ENTRIES`] entries and its participants.
#[derive(Clone)]
pub(crate) struct Rig {
    pub(crate) ring: Arc<Ring>,
    pub(crate) kernel: Arc<Kernel>,
}

impl Rig {
    pub(crate) fn new(producers: Side, consumers: Side) -> Self {
        Self::bounded(producers, consumers, 0)
    }

    pub(crate) fn bounded(producers: Side, consumers: Side, maxsize: u64) -> Self {
        Self::among(&Kernel::new(), producers, consumers, maxsize)
    }

    pub(crate) fn among(
        kernel: &Arc<Kernel>,
        producers: Side,
        consumers: Side,
        maxsize: u64,
    ) -> Self {
        Self::of(kernel, ENTRIES, producers, consumers, maxsize)
    }

    /// A ring of `entries` entries. From 16 on, a release leaves the frontier to others now and then.
    pub(crate) fn of(
        kernel: &Arc<Kernel>,
        entries: u64,
        producers: Side,
        consumers: Side,
        maxsize: u64,
    ) -> Self {
        let geometry = Geometry {
            log2_entries: entries.trailing_zeros(),
            unit_bytes: 64,
            maxsize,
            producers,
            consumers,
            timestamps: false,
            max_deliveries: 0,
        };
        let memory = RingMemory::on_heap(geometry, geometry.bits().first_pos());
        Self { ring: Arc::new(Ring::new(memory)), kernel: Arc::clone(kernel) }
    }

    pub(crate) fn me(&self, id: u16) -> Me {
        self.kernel.seen_by(id)
    }

    pub(crate) fn producer(&self) -> SingleProducer {
        self.ring.start_producer().expect("the words make sense")
    }

    /// The single producer, which has put these.
    pub(crate) fn producer_of(&self, values: impl IntoIterator<Item = u8>) -> SingleProducer {
        let mut producer = self.producer();
        for value in values {
            assert!(expect_put(self.put_single(&mut producer, value)));
        }
        producer
    }

    /// Puts these into a many-producer ring, as [`EVE`].
    pub(crate) fn fill(&self, values: impl IntoIterator<Item = u8>) {
        let cache = ProducerCache::default();
        for value in values {
            assert!(expect_put(self.put(&cache, EVE, value)));
        }
    }

    pub(crate) fn consumer(&self) -> SingleConsumer {
        self.ring.start_consumer().expect("the words make sense")
    }

    /// Puts one byte into a many-producer ring.
    pub(crate) fn put(&self, cache: &ProducerCache, me: u16, value: u8) -> Result<(), Refused> {
        if self.ring.put_plain_multi::<false>(cache, 0, &[value], me).is_some() {
            return Ok(());
        }
        let mut claim = match self.ring.claim(cache, 1, me) {
            Err(Refused::Full) if self.ring.help_room() => self.ring.claim(cache, 1, me)?,
            other => other?,
        };
        self.ring.write(&mut claim, true, &[value]);
        self.ring.commit(&claim, 0, 1, true);
        Ok(())
    }

    /// Puts one byte into a single-producer ring.
    pub(crate) fn put_single(&self, mine: &mut SingleProducer, value: u8) -> Result<(), Refused> {
        if self.ring.put_plain::<false>(mine, 0, &[value]) {
            return Ok(());
        }
        let mut claim = match self.ring.claim_single(mine, 1, 1) {
            Err(Refused::Full) if self.ring.help_room() => self.ring.claim_single(mine, 1, 1)?,
            other => other?,
        };
        self.ring.write(&mut claim, true, &[value]);
        self.ring.commit_single(mine, &claim, 0, 1, true);
        Ok(())
    }

    pub(crate) fn value(&self, taken: &Taken) -> u8 {
        let mut bytes = Vec::new();
        self.ring.read(taken, &mut bytes);
        assert_eq!(bytes.len(), 1, "a torn record");
        bytes[0]
    }

    /// Takes from a many-consumer ring.
    pub(crate) fn take(&self, me: u16) -> Option<Taken> {
        expect_taken(self.ring.take(me))
    }

    /// Takes, reads and releases.
    pub(crate) fn get(&self, me: u16) -> Option<u8> {
        let mut bytes = Vec::with_capacity(INLINE_BYTES);
        if self.ring.get_plain_multi::<false>(me, |_| false, &mut bytes).is_some() {
            assert_eq!(bytes.len(), 1, "a torn record");
            return Some(bytes[0]);
        }
        self.take(me).map(|taken| self.finish(&taken, me))
    }

    /// Adopts, reads and releases what a dead consumer held; it is flagged.
    pub(crate) fn inherit(&self, me: u16) -> Option<u8> {
        let taken = self.ring.adopt(&self.me(me))?;
        assert_eq!(taken.redeliveries(), 1, "an unflagged redelivery");
        Some(self.finish(&taken, me))
    }

    /// Reads and releases.
    pub(crate) fn finish(&self, taken: &Taken, me: u16) -> u8 {
        let value = self.value(taken);
        self.ring.release(taken, me);
        value
    }

    /// Takes what lies ready, two records at most.
    pub(crate) fn take_two(&self, me: u16) -> Vec<Taken> {
        let mut run = Vec::new();
        let count = self.ring.take_ready(2, me, &mut run);
        assert_eq!(count, run.len());
        run
    }

    /// Takes what lies ready, two records at most, reads it, and acknowledges it together.
    pub(crate) fn get_two(&self, me: u16) -> Vec<u8> {
        let run = self.take_two(me);
        let values = run.iter().map(|taken| self.value(taken)).collect();
        self.ring.release_many(&run, me);
        values
    }

    /// Takes what lies ready, two records at most, and acknowledges each as it is read.
    pub(crate) fn get_run(&self, me: u16) -> Vec<u8> {
        let mut got = Vec::new();
        if let Some(mut run) = self.ring.take_run(2, me) {
            self.ring.read_run(&mut run, me, |_, taken| {
                got.push(self.value(taken));
                true
            });
        }
        got
    }

    /// Takes, reads and acknowledges in a single-consumer ring.
    pub(crate) fn get_single(&self, mine: &mut SingleConsumer) -> Option<u8> {
        // The short ways in turn: copied, or exposed in place, alone or as a run.
        let mut bytes = Vec::with_capacity(INLINE_BYTES);
        if mine.next_pos().is_multiple_of(2) {
            if self.ring.get_plain::<false>(mine, &mut bytes).is_some() {
                assert_eq!(bytes.len(), 1, "a torn record");
                return Some(bytes[0]);
            }
        } else if mine.next_pos() & 2 != 0
            && let Some(mut run) = self.ring.take_run_single(mine, 1)
        {
            let mut value = None;
            self.ring.read_run_single(mine, &mut run, |_, taken| {
                value = Some(self.value(taken));
                true
            });
            return value;
        } else if let Some((entry, taken)) = self.ring.expose_plain(mine) {
            let value = self.value(&taken);
            self.ring.end_exposed(mine, entry, &taken);
            return Some(value);
        }
        let taken = expect_taken(self.ring.take_single(mine))?;
        let value = self.value(&taken);
        self.ring.ack_single(mine, &taken);
        Some(value)
    }

    /// Takes everything that is left, the dead's included: `(value, redeliveries)` in order. Then
    /// proves that the ring is empty.
    pub(crate) fn drain(&self) -> Vec<(u8, u32)> {
        let me = self.me(EVE);
        let mut got = Vec::new();
        loop {
            let taken = match self.ring.adopt(&me) {
                Some(taken) => taken,
                None => match self.ring.take(EVE) {
                    Ok(taken) => taken,
                    Err(Missing::Pending { .. }) if recovery::skip_dead_writer(&self.ring, &me) => {
                        continue;
                    }
                    Err(Missing::Empty | Missing::Sealed) => break,
                    Err(other) => panic!("{other:?}"),
                },
            };
            let redeliveries = taken.redeliveries();
            got.push((self.finish(&taken, EVE), redeliveries));
        }
        self.expect_empty();
        got
    }

    /// The same in a single-consumer ring.
    pub(crate) fn drain_single(&self, mine: &mut SingleConsumer) -> Vec<(u8, u32)> {
        let me = self.me(EVE);
        let mut got = Vec::new();
        loop {
            match self.ring.take_single(mine) {
                Ok(taken) => {
                    got.push((self.value(&taken), taken.redeliveries()));
                    self.ring.ack_single(mine, &taken);
                }
                Err(Missing::Pending { .. }) if recovery::skip_dead_writer(&self.ring, &me) => {}
                Err(Missing::Empty | Missing::Sealed) => break,
                Err(other) => panic!("{other:?}"),
            }
        }
        self.expect_empty();
        got
    }

    fn expect_empty(&self) {
        assert_eq!(self.ring.waiting(), 0, "packets wait in a drained ring");
        assert_eq!(self.ring.used_units(), 0, "units are lost in a drained ring");
    }

    /// Fills a drained many/many ring to the brim and drains it again: nothing is wedged.
    pub(crate) fn expect_usable(&self) {
        let cache = ProducerCache::default();
        // Of several who release at once, each may have left the frontier to the others.
        self.ring.help_room();
        for _ in 0..ENTRIES / 2 {
            let mut claim = self.ring.claim(&cache, 2, EVE).expect("an empty ring has room");
            self.ring.write(&mut claim, true, &[0]);
            self.ring.commit(&claim, 0, 1, true);
        }
        assert_eq!(self.ring.claim(&cache, 1, EVE), Err(Refused::Full));
        assert_eq!(self.drain().len() as u64, ENTRIES / 2);
    }
}

/// Nothing to take is no failure; values that make no sense are.
pub(crate) fn expect_taken(taken: Result<Taken, Missing>) -> Option<Taken> {
    match taken {
        Ok(taken) => Some(taken),
        Err(Missing::Corrupt(what, pos)) => panic!("corrupt: {what} at {pos}"),
        Err(_) => None,
    }
}

/// Says whether it was put; only a full ring may refuse.
pub(crate) fn expect_put(put: Result<(), Refused>) -> bool {
    match put {
        Ok(()) => true,
        Err(Refused::Full) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Proves that `got` is exactly `expected`, in any order.
pub(crate) fn expect_same(mut got: Vec<u8>, mut expected: Vec<u8>) {
    got.sort_unstable();
    expected.sort_unstable();
    assert_eq!(got, expected, "what was put (right) is not what was got (left)");
}

/// Proves that values of one producer (same tens digit) come in the order of their puts.
pub(crate) fn expect_order(got: &[u8]) {
    for tens in 0..10 {
        let one: Vec<u8> = got.iter().copied().filter(|value| value / 10 == tens).collect();
        assert!(one.is_sorted(), "out of order: {got:?}");
    }
}

/// The values of a drained list.
pub(crate) fn values(drained: &[(u8, u32)]) -> Vec<u8> {
    drained.iter().map(|(value, _)| *value).collect()
}
