//! One consumer: records of one unit that lie ready are exposed at once, and each is acknowledged as it is read,
//! by RELEASED in its entry; the head follows behind the last.
//!
//! A dead consumer's successor passes over those, and delivers the others again, flagged.

use super::super::run::Run;
use super::super::stamp::State;
use super::super::{Ring, Taken};
use super::SingleConsumer;
use crate::shm::layout::Entry;
use crate::sync::crash_point;

impl Ring {
    /// Exposes the records of one unit that lie ready from the next on, up to `most`. `None` where there is
    /// none at first sight, or the next one needs [`Ring::take_single`], which says what is the matter.
    #[inline(always)]
    pub fn take_run_single(&self, mine: &mut SingleConsumer, most: u64) -> Option<Run> {
        if !mine.plain {
            return None;
        }
        let start = mine.pos;
        let add = |(n, bytes), taken: Taken| (n + 1, bytes + taken.len() as u64);
        let (n, bytes) = self.ready_from(start, most).fold((0, 0), add);
        if n == 0 {
            return None;
        }
        self.expose_up_to(mine, self.cursor(mine).plus(n, n), bytes);
        Some(Run::new(start, n))
    }

    /// As [`Ring::read_run`], of what [`Ring::take_run_single`] exposed.
    #[inline(always)]
    pub fn read_run_single(
        &self,
        mine: &mut SingleConsumer,
        run: &mut Run,
        read: impl FnMut(&Entry, &Taken) -> bool,
    ) {
        if self.reads_ahead() {
            self.read_run_ahead(mine, run, read);
        } else {
            self.read_each::<false>(mine, run, read);
        }
    }

    /// Out of line, so that the loop without it keeps its registers: 6 of 53 instructions.
    #[inline(never)]
    fn read_run_ahead(
        &self,
        mine: &mut SingleConsumer,
        run: &mut Run,
        read: impl FnMut(&Entry, &Taken) -> bool,
    ) {
        self.read_each::<true>(mine, run, read);
    }

    #[inline(always)]
    fn read_each<const AHEAD: bool>(
        &self,
        mine: &mut SingleConsumer,
        run: &mut Run,
        mut read: impl FnMut(&Entry, &Taken) -> bool,
    ) {
        let (start, n) = (run.pos(), run.count());
        let released = self.bits.pack(State::Released, start, 1, 0);
        for (entry, pos) in self.memory().entries_from(start, n).iter().zip(start..) {
            if let Ok(taken) = self.describe_at(entry, pos, 1) {
                if AHEAD {
                    self.read_ahead(mine, &taken);
                }
                if !read(entry, &taken) {
                    return;
                }
                self.hand_back_lines(&taken);
            }
            crash_point("ack_single.before_stamp");
            Self::store_stamp_released(entry, released);
            run.passed(pos);
        }
        if start == mine.head.pos {
            mine.head = mine.head.plus(n, n);
            self.head_moved(mine);
        }
    }

    /// Gives what is left of such a run back to this very consumer, and acknowledges what was read of it.
    #[cold]
    pub fn give_back_run_single(&self, mine: &mut SingleConsumer, run: &mut Run) {
        self.head_moved(mine);
        for pos in run.pos()..run.pos() + run.count() {
            self.give_back_single(mine, pos);
            run.passed(pos);
        }
    }
}
