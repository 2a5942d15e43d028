//! One consumer: no CAS. `peek`, expose, acknowledge.
//!
//! The consumer owns `head` (the oldest record not acknowledged) and `peek` (the next to expose), and
//! holds the role's lock. Wait-free.
//!
//! In a stream, it writes into every entry that it read: RELEASED, which, of records acknowledged in
//! order, nobody needs. A line that it had only read would be shared by both CPUs, and to write it again
//! the producer would have to invalidate our copy, which costs several times what it costs to fetch a
//! line that we own (`benches/README.md` has the figures). Longer payloads are rewritten for the same reason, but
//! not where a line that was read is ours anyway. A record that comes alone is left as it is:
//! getting hold of its line would delay what this thread writes next, its answer, and until the producer
//! needs the line, there is time to fetch it. J. Giacomoni, T. Moseley, M. Vachharajani, "FastForward for
//! Efficient Pipeline Parallelism", PPoPP 2008, has consumers that write what they read.
//!
//! | the consumer dies… | and its successor sees |
//! |---|---|
//! | before `peek` is stored | a record never exposed: delivers it as new |
//! | between `peek` and the acknowledgement | a record below `peek`: delivers it again, flagged |
//! | between RELEASED and the head | RELEASED: passes over it |
//! | after an acknowledgement out of order | the same, or a head further on |

mod acknowledge;
mod plain;
mod run;

use super::stamp::{Mark, State};
use super::{Missing, RETRY_LIMIT, Ring, Taken};
use crate::sync::Ordering::{Relaxed, Release};

/// What the holder of the consumer's role remembers. Not shared.
#[derive(Debug)]
pub struct SingleConsumer {
    /// The oldest record not acknowledged. Not kept while `idle`, when it is the cursor.
    head: Mark,
    /// The cursor: the next record to look at; behind `peek` while a successor replays.
    pos: u64,
    /// The stamp of the next record if it is of one unit: worked out before it is there.
    ready: u64,
    /// The cursor behind such a record, packed: then, `peek` and `head`.
    behind: u64,
    /// Records below were exposed by a predecessor; from here on, `peek` follows the cursor.
    redeliver_below: u64,
    /// Records given back by this process: positions, oldest first.
    returned: std::collections::VecDeque<u64>,
    /// Dead letters that found no room: positions.
    pub(super) kept: Vec<u64>,
    /// Nothing is to be redelivered: neither given back nor left by a predecessor.
    plain: bool,
    /// The same, and nothing is held.
    idle: bool,
    /// The head is published to the producer when it gets here.
    hint_at: u64,
    /// Before this position, `behind` is had by adding, `ready` stays, and nothing is to be published.
    turn_at: u64,
    /// The last record that came alone: its entry is not written into.
    alone: u64,
}

impl SingleConsumer {
    /// Records exposed and not acknowledged, those given back included, need the entries between.
    #[must_use]
    pub fn holds_something(&self) -> bool {
        !self.idle && self.head.pos != self.pos
    }

    /// The next record to look at.
    #[inline(always)]
    #[must_use]
    pub fn next_pos(&self) -> u64 {
        self.pos
    }

    /// Says that the next record came alone, and not in a stream: whoever waits for an answer to it
    /// should not wait for its entry's line as well.
    #[inline(always)]
    pub fn comes_alone(&mut self) {
        self.alone = self.pos;
    }

    /// Says whether the record at this position came alone.
    #[inline(always)]
    pub(super) fn came_alone(&self, pos: u64) -> bool {
        pos == self.alone
    }

    /// Says whether dead letters are kept here that found no room.
    #[inline(always)]
    #[must_use]
    pub fn keeps_dead_letters(&self) -> bool {
        !self.kept.is_empty()
    }
}

impl Ring {
    /// Takes over the consumer's side; the caller holds the role's lock.
    ///
    /// # Errors
    /// [`Missing::Corrupt`] where the words make no sense.
    pub fn start_consumer(&self) -> Result<SingleConsumer, Missing> {
        let head = self.load_head().1;
        let peek = self.load_peek();
        // A predecessor that passed over skipped records, and died between the two words, may have
        // left `peek` behind.
        let peek = peek.pos.max(head.pos);
        if peek - head.pos > self.entries {
            return Err(Missing::Corrupt("a peek out of reach", peek));
        }
        let mut mine = SingleConsumer {
            head,
            pos: head.pos,
            ready: 0,
            behind: 0,
            redeliver_below: peek,
            returned: std::collections::VecDeque::new(),
            kept: Vec::new(),
            plain: false,
            idle: false,
            hint_at: 0,
            turn_at: 0,
            alone: 0,
        };
        self.look_to(&mut mine, head);
        Ok(mine)
    }

    /// Moves the cursor, and works out what is to be compared and stored there: the next record is
    /// often waited for, and then nothing of that lies between it and its answer.
    #[inline(always)]
    fn look_to(&self, mine: &mut SingleConsumer, cursor: Mark) {
        mine.pos = cursor.pos;
        mine.ready = self.bits.pack(State::Ready, cursor.pos, 1, 0);
        mine.behind = self.bits.pack_mark(cursor.plus(1, 1));
    }

    /// The cursor with its packets, modulo 2^k.
    #[inline(always)]
    fn cursor(&self, mine: &SingleConsumer) -> Mark {
        let Mark { packets, .. } = self.bits.unpack_mark(mine.behind);
        Mark { pos: mine.pos, packets: packets.wrapping_sub(1) }
    }

    /// The oldest record not acknowledged.
    #[inline(always)]
    fn head(&self, mine: &SingleConsumer) -> Mark {
        if mine.idle { self.cursor(mine) } else { mine.head }
    }

    /// To be called before the cursor moves over a record that is then held.
    #[inline(always)]
    fn begin_holding(&self, mine: &mut SingleConsumer) {
        if mine.idle {
            mine.head = self.cursor(mine);
            mine.idle = false;
        }
    }

    /// Moves the cursor over a record of one unit.
    #[inline(always)]
    fn step_cursor(&self, mine: &mut SingleConsumer) {
        mine.pos += 1;
        if mine.pos < mine.turn_at {
            mine.behind = self.bits.step_mark(mine.behind, 1, 1);
        } else {
            self.turn_cursor(mine);
        }
    }

    /// Works out anew what follows from the cursor, which moved by one, and publishes the head if it is time.
    #[cold]
    fn turn_cursor(&self, mine: &mut SingleConsumer) {
        let cursor = self.bits.unpack_mark(mine.behind);
        self.look_to(mine, cursor);
        if self.head(mine).pos >= mine.hint_at {
            self.publish_hint(mine);
        }
        // `behind` is one further than the cursor.
        mine.turn_at = (self.bits.steps_end(cursor) - 1).max(cursor.pos + 1);
        if mine.hint_at > cursor.pos {
            mine.turn_at = mine.turn_at.min(mine.hint_at);
        }
    }

    /// Says whether there is something to look at for [`Ring::take_single`]: what a consumer that spins
    /// asks.
    #[inline(always)]
    #[must_use]
    pub fn stamped_at_cursor(&self, mine: &SingleConsumer) -> bool {
        // Of the words of a lap, READY of one unit is the least that is a stamp.
        self.load_stamp(mine.pos).0 >= mine.ready || !mine.returned.is_empty()
    }

    /// Exposes the records that lie ready from the next on, up to `max` of them; appends them to `out`,
    /// and says how many. 0 where there is none at first sight, or the next one needs
    /// [`Ring::take_single`], which says what is the matter.
    #[inline]
    pub fn take_ready_single(
        &self,
        mine: &mut SingleConsumer,
        max: usize,
        out: &mut Vec<Taken>,
    ) -> usize {
        if !mine.plain {
            return 0;
        }
        let start = out.len();
        let mut end = self.cursor(mine);
        loop {
            // No more than the ring holds, whatever a hostile peer writes meanwhile.
            let left = self.entries.saturating_sub(end.pos - mine.pos);
            let most = left.min((max - (out.len() - start)) as u64);
            if most == 0 {
                break;
            }
            let units = self.ready_units(end.pos, most, out);
            if units != 0 {
                end = end.plus(units, units);
                continue;
            }
            let (word, stamp) = self.load_stamp(end.pos);
            if word != self.bits.pack(State::Ready, end.pos, stamp.n, 0) {
                break;
            }
            let Ok(taken) = self.describe_taken(end.pos, stamp.n) else { break };
            end = end.plus(stamp.n, 1);
            out.push(taken);
        }
        let count = out.len() - start;
        if count != 0 {
            let extra_units = end.pos - mine.pos - count as u64;
            self.expose_up_to(mine, end, out[start..].iter().map(|taken| taken.len() as u64).sum());
            if extra_units != 0 {
                self.count_extra_units(extra_units);
            }
        }
        count
    }

    /// Exposes the fresh records up to `end`, all of them at once: a successor delivers them again, flagged.
    #[inline(always)]
    fn expose_up_to(&self, mine: &mut SingleConsumer, end: Mark, bytes: u64) {
        self.begin_holding(mine);
        self.look_to(mine, end);
        self.store_peek(mine);
        crate::sync::crash_point("take_single.after_peek");
        self.count_bytes(bytes);
    }

    /// Exposes the next record: what was given back first, then what a predecessor left, then new.
    ///
    /// # Errors
    /// See [`Missing`].
    pub fn take_single(&self, mine: &mut SingleConsumer) -> Result<Taken, Missing> {
        self.take_next(mine, true)
    }

    /// As [`Ring::take_single`], but a record that makes no sense stays where it is, and so does all behind
    /// it, until that one says so.
    ///
    /// # Errors
    /// See [`Missing`].
    pub fn take_sound_single(&self, mine: &mut SingleConsumer) -> Result<Taken, Missing> {
        self.take_next(mine, false)
    }

    fn take_next(&self, mine: &mut SingleConsumer, pass_corrupt: bool) -> Result<Taken, Missing> {
        if !mine.returned.is_empty()
            && let Some(taken) = self.take_returned(mine)
        {
            return Ok(taken);
        }
        mine.plain = mine.returned.is_empty() && mine.pos >= mine.redeliver_below;
        for _ in 0..RETRY_LIMIT {
            let pos = mine.pos;
            let (_, stamp) = self.load_stamp(pos);
            let lap = self.bits.lap(pos);
            if stamp.lap != lap {
                if stamp.lap > lap {
                    return Err(Missing::Corrupt("a stamp ahead of the consumer", pos));
                }
                match self.why_nothing(pos) {
                    Some(why) => return Err(why),
                    None => continue,
                }
            }
            match stamp.state {
                State::Ready => match self.describe_taken(pos, stamp.n) {
                    Ok(mut taken) => {
                        self.expose(mine, &taken);
                        if pos < mine.redeliver_below {
                            taken.flags = self.raise_redeliveries(pos);
                        }
                        return Ok(taken);
                    }
                    Err(corrupt) => {
                        if pass_corrupt {
                            self.pass_over_corrupt(mine, stamp.n);
                        }
                        return Err(corrupt);
                    }
                },
                State::Released => self.pass_over(mine, stamp.n, 1),
                State::Skipped => {
                    let packets = self.packets_of_skipped(pos, stamp.n);
                    self.count_extra_units(stamp.n);
                    self.pass_over(mine, stamp.n, packets);
                }
                _ => return Err(Missing::Corrupt("a stamp in no state", pos)),
            }
        }
        Err(Missing::Corrupt("no progress while taking", mine.pos))
    }

    #[inline(always)]
    fn expose(&self, mine: &mut SingleConsumer, taken: &Taken) {
        let late = crate::sync::mutant("peek_after_exposure");
        self.begin_holding(mine);
        self.look_to(mine, self.cursor(mine).plus(taken.n, 1));
        let fresh = taken.pos >= mine.redeliver_below;
        if fresh && !late {
            self.store_peek(mine);
        }
        crate::sync::crash_point("take_single.after_peek");
        if !fresh {
            return;
        }
        self.count_bytes(taken.len() as u64);
        if taken.n != 1 {
            self.count_extra_units(taken.n - 1);
        }
    }

    #[inline(always)]
    fn count_bytes(&self, bytes: u64) {
        let count = &self.memory().header().consumers.bytes;
        // RELAXED: a statistic, which we alone write.
        count.store(count.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    fn count_extra_units(&self, units: u64) {
        let count = &self.memory().header().consumers.extra_units;
        // RELAXED: a statistic, which we alone write.
        count.store(count.load(Relaxed).wrapping_add(units), Relaxed);
    }

    /// Takes and acknowledges a record whose description makes no sense: it wedges nobody.
    #[cold]
    fn pass_over_corrupt(&self, mine: &mut SingleConsumer, n: u64) {
        let pos = mine.pos;
        self.begin_holding(mine);
        self.look_to(mine, self.cursor(mine).plus(n, 1));
        if mine.pos > mine.redeliver_below {
            self.store_peek(mine);
        }
        self.end_record(mine, pos, n);
    }

    /// SYNC peek: stored before the record is exposed, so that a successor knows what was.
    #[inline(always)]
    fn store_peek(&self, mine: &mut SingleConsumer) {
        let word = self.bits.pack_mark(self.cursor(mine));
        self.memory().header().consumers.peek.store(word, Release);
    }

    /// Passes over a record that needs no acknowledgement.
    fn pass_over(&self, mine: &mut SingleConsumer, n: u64, packets: u64) {
        let oldest = self.head(mine).pos == mine.pos;
        self.look_to(mine, self.cursor(mine).plus(n, packets));
        if mine.pos > mine.redeliver_below {
            self.store_peek(mine);
        }
        if oldest {
            mine.head = self.cursor(mine);
            self.store_head(mine);
        }
    }

    #[cold]
    fn take_returned(&self, mine: &mut SingleConsumer) -> Option<Taken> {
        while let Some(pos) = mine.returned.pop_front() {
            let (_, stamp) = self.load_stamp(pos);
            if stamp.lap != self.bits.lap(pos) || stamp.state != State::Ready {
                continue;
            }
            self.raise_redeliveries(pos);
            if let Ok(taken) = self.describe_taken(pos, stamp.n) {
                return Some(taken);
            }
            self.end_record(mine, pos, stamp.n);
        }
        None
    }
}
