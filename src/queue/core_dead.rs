//! Packets that were delivered too often: moved to the dead-letter ring, dropped and counted where
//! none is named, or kept where that ring has no room.
//!
//! A process may be killed between the dead letter's commit and the acknowledgement of what it was
//! made of: then the dead-letter ring has it twice, and nothing is lost.

use crate::error::PutError;
use crate::events;
use crate::queue::Wait;
use crate::queue::core::Core;
use crate::shm::ring::{History, SingleConsumer, Taken};
use crate::shm::storage::Side;
use crate::sync::Ordering::Relaxed;

/// Where a dead letter comes from. Kept in shared memory, so that a hostile peer can make it lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The ring of the same segment that it was in; `None` for local queues.
    pub ring: Option<String>,
    /// How often it was delivered there, and not acknowledged.
    pub deliveries: u32,
    /// Its position there.
    pub position: u64,
    /// Time of its put there (`CLOCK_MONOTONIC`, nanoseconds), where that ring keeps it.
    pub timestamp_ns: Option<u64>,
}

impl Core {
    /// Where a leased record comes from, if it is a dead letter.
    pub(crate) fn dead_letter(&self, taken: &Taken) -> Option<DeadLetter> {
        let history = self.ring.history(taken)?;
        let ring = self.home.place().and_then(|(segment, _)| {
            let index = usize::try_from(history.ring).ok()?;
            Some(segment.ring_config(index)?.name.clone())
        });
        Some(DeadLetter {
            ring,
            deliveries: history.deliveries,
            position: history.position,
            timestamp_ns: Some(history.put_ns).filter(|&ns| ns != 0),
        })
    }

    /// Says whether a packet was delivered too often.
    #[inline(always)]
    pub(crate) fn is_dead_letter(&self, taken: &Taken) -> bool {
        let max = self.ring.geometry().max_deliveries;
        max != 0 && taken.redeliveries() >= max
    }

    /// Adopts a record that was given back, or whose holder is dead, and that is no dead letter; ends
    /// the dead letters on its way. Many consumers only.
    #[cold]
    pub(crate) fn adopt(&self) -> Option<Taken> {
        let mut kept = Vec::new();
        let mut found = None;
        // As many as there can be records, whatever a hostile peer stamps behind us.
        for _ in 0..=self.ring.geometry().entries() {
            match self.ring.adopt(self.peers()) {
                Some(taken) if !self.is_dead_letter(&taken) => {
                    found = Some(taken);
                    break;
                }
                Some(taken) if self.send_dead_letter(&taken) => self.acknowledge(taken),
                // Held until we are through, so that it is not found again.
                Some(taken) => kept.push(taken),
                None => break,
            }
        }
        for taken in kept {
            self.ring.keep(&taken);
        }
        found
    }

    /// Ends a dead letter of a single consumer: moved and acknowledged, or kept.
    #[cold]
    pub(crate) fn end_dead_letter_single(&self, mine: &mut SingleConsumer, taken: Taken) {
        if self.send_dead_letter(&taken) {
            self.ring.ack_single(mine, &taken);
            self.room_made();
        } else {
            self.ring.keep_single(mine, &taken);
        }
    }

    /// Tries the dead letters again that a single consumer keeps.
    #[cold]
    pub(crate) fn retry_kept(&self, mine: &mut SingleConsumer) {
        for taken in self.ring.retake_kept(mine) {
            self.end_dead_letter_single(mine, taken);
        }
    }

    /// Dead letters of a single-consumer ring that found no room, while nothing else is to be had.
    pub(crate) fn kept_by_single(&self) -> u64 {
        if self.ring.geometry().max_deliveries == 0 {
            return 0;
        }
        self.ring.leased(0).saturating_sub(self.open_leases() as u64)
    }

    /// Puts a packet into the dead-letter ring, or counts it where none is named; the caller then
    /// acknowledges it. Returns `false` if that ring is full or cannot be reached: the packet must
    /// stay.
    fn send_dead_letter(&self, taken: &Taken) -> bool {
        if self.home.has_dead_letters() {
            let sent = self.home.dead_letters().is_some_and(|letters| {
                letters
                    .put_dead_letter(
                        taken.kind(),
                        self.ring.payload(taken),
                        &self.history_of(taken),
                    )
                    .is_ok()
            });
            if !sent {
                // RELAXED: a statistic.
                self.header().shared.dead_letters_kept.fetch_add(1, Relaxed);
                return false;
            }
        }
        // RELAXED: a statistic.
        self.header().shared.dead_lettered.fetch_add(1, Relaxed);
        let to = if self.home.has_dead_letters() { "ring" } else { "nowhere" };
        events::dead_letter(self.ring.label(), taken.pos, taken.redeliveries(), to);
        true
    }

    /// What is known of a packet that goes to the dead-letter ring. One that is a dead letter already
    /// starts anew: its own ring is where it was delivered too often.
    fn history_of(&self, taken: &Taken) -> History {
        let ring = self.home.place().and_then(|(_, index)| u32::try_from(index).ok());
        History {
            ring: ring.unwrap_or(u32::MAX),
            // The delivery that was just begun does not take place.
            deliveries: taken.redeliveries().min(self.ring.geometry().max_deliveries),
            position: taken.pos,
            put_ns: self.ring.timestamp(taken).unwrap_or(0),
        }
    }

    /// Puts a dead letter that comes from another ring.
    fn put_dead_letter(&self, kind: u8, payload: &[u8], history: &History) -> Result<(), PutError> {
        if self.ring.geometry().producers == Side::Single {
            // Of a segment this cannot be, but of local queues: then without its history.
            return self.put_record(kind, payload, Wait::No);
        }
        self.check_put(payload.len())?;
        let mut claim = self.claim_multi(&self.cache, self.ring.units(payload.len()), Wait::No)?;
        self.stamp_time(&mut claim, 0);
        self.ring.commit_dead_letter(&mut claim, kind, payload, history);
        self.published();
        self.ring.sample_high_water_shared(&self.cache, &claim);
        Ok(())
    }
}
