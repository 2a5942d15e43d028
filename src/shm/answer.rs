//! Asking early for the lines that an answer will be written to.
//!
//! Whoever waits for an answer has looked at the entry where it will stand, so both CPUs have its line,
//! and whoever answers must first take it back: half as long again as the answer's way. The lines of its payload,
//! if it is a longer one, are there with whoever read the answer a lap before, or were fetched with it. They can
//! be asked for when the question is seen, and come while that is read and answered. A question and its answer
//! lie in different rings, so each thread remembers where its first put after a wait ended. If the first one after
//! the next wait begins right there, it answers, and nobody else puts there: from then on, the entry behind is
//! asked for at the end of each wait, until a put goes elsewhere, or none comes; and so are as many lines behind
//! the payload as that one took.
//!
//! Addresses only, never followed: stale ones cost lines that were fetched for nothing.

#[cfg(not(loom))]
use core::cell::Cell;

#[cfg(not(loom))]
use crate::shm::cpu::{lines_of, prefetch_for_write};
use crate::shm::layout::Entry;

/// No put has come since the last wait.
#[cfg(not(loom))]
const WAITED: usize = 1;
/// The last put began where the one before had ended.
#[cfg(not(loom))]
const ANSWERS: usize = 2;
/// What else there is: the end of the first put after a wait.
#[cfg(not(loom))]
const END: usize = !(align_of::<Entry>() - 1);
/// Most bytes of a payload whose lines are asked for: as many lines as a CPU waits for at a time. The question is
/// still to be read.
#[cfg(not(loom))]
const MOST: usize = 1024;

#[cfg(not(loom))]
thread_local! {
    static LAST: Cell<usize> = const { Cell::new(0) };
    /// What lies behind the payload of the put that `LAST` tells of.
    static BEHIND: Cell<Payload> = const { Cell::new(Payload::INLINE) };
}

/// Where a payload lies, or will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Payload {
    start: usize,
    len: usize,
}

impl Payload {
    /// In its entry.
    pub(crate) const INLINE: Self = Self { start: 0, len: 0 };

    /// From here on, so many bytes.
    #[cfg(not(loom))]
    pub(crate) fn at(start: *const u8, len: usize) -> Self {
        Self { start: start.addr(), len }
    }
}

/// To be called by a put, with the record's first entry, when it is stamped; `behind` says where the payload of
/// the next record will lie, if it is as long. Stores nothing where no wait went before: a store more would slow
/// a stream down.
#[inline(always)]
pub(crate) fn note_put(entry: *const Entry, entries: u64, behind: impl FnOnce() -> Payload) {
    #[cfg(not(loom))]
    if LAST.get() & WAITED != 0 {
        note_first_put(entry, entries, behind());
    }
    #[cfg(loom)]
    let _ = (entry, entries, behind);
}

#[cfg(not(loom))]
#[inline]
fn note_first_put(entry: *const Entry, entries: u64, behind: Payload) {
    let start = entry.addr();
    let end = start.wrapping_add(entries as usize * size_of::<Entry>());
    LAST.set(end | if LAST.get() & END == start { ANSWERS } else { 0 });
    BEHIND.set(behind);
}

/// To be called when a wait for a record has ended, as soon as possible.
#[cfg(not(loom))]
#[inline]
pub(crate) fn fetch() {
    if let Some((entry, payload)) = note_wait() {
        prefetch_for_write(core::ptr::without_provenance(entry));
        let start = core::ptr::without_provenance(payload.start);
        lines_of(start, payload.len.min(MOST)).for_each(prefetch_for_write);
    }
}

/// Where the answer will go, if this thread answers: its entry, and its payload.
#[cfg(not(loom))]
#[inline]
fn note_wait() -> Option<(usize, Payload)> {
    let last = LAST.get();
    LAST.set(if last & WAITED != 0 { WAITED } else { last & END | WAITED });
    (last & ANSWERS != 0).then(|| (last & END, BEHIND.get()))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// What the waits of a thread of its own expect, each followed by puts of one entry at these places.
    fn expected(puts: &'static [&'static [usize]]) -> Vec<Option<usize>> {
        expected_of(1, puts)
    }

    /// The same with puts of so many entries.
    fn expected_of(entries: u64, puts: &'static [&'static [usize]]) -> Vec<Option<usize>> {
        let at = |place: usize| core::ptr::without_provenance(place * size_of::<Entry>());
        let run = move || {
            let one_wait = |places: &&[usize]| {
                let place = note_wait();
                places.iter().for_each(|place| note_put(at(*place), entries, || Payload::INLINE));
                place.map(|(place, _)| place / size_of::<Entry>())
            };
            puts.iter().map(one_wait).collect()
        };
        std::thread::spawn(run).join().expect("no panic")
    }

    #[test]
    fn an_answer_is_expected_behind_the_last_after_two_in_a_row() {
        assert_eq!(expected(&[&[7], &[8], &[9], &[10]]), [None, None, Some(9), Some(10)]);
    }

    #[test]
    fn nothing_is_expected_of_a_thread_that_only_waits_puts_elsewhere_or_is_not_alone() {
        assert_eq!(expected(&[&[], &[], &[], &[]]), [None; 4]);
        assert_eq!(expected(&[&[7], &[8], &[40], &[41], &[]])[3..], [None, Some(42)]);
        assert_eq!(expected(&[&[7], &[8], &[], &[9], &[10]]), [None, None, Some(9), None, None]);
        assert_eq!(expected(&[&[7], &[9], &[11], &[13]]), [None; 4]);
    }

    #[test]
    fn a_burst_after_each_wait_is_no_answer() {
        assert_eq!(expected(&[&[7, 8, 9], &[10, 11, 12], &[13, 14]]), [None; 3]);
    }

    #[test]
    fn a_record_of_several_entries_ends_behind_all_of_them() {
        assert_eq!(expected_of(4, &[&[8], &[12], &[]]), [None, None, Some(16)]);
    }

    #[test]
    fn the_lines_of_an_answer_lie_behind_those_of_the_last() {
        let payload = |nth: usize| Payload { start: nth * 4096, len: nth };
        let expected = std::thread::spawn(move || {
            [7, 8, 9].map(|place| {
                let last = note_wait();
                let entry = core::ptr::without_provenance(place * size_of::<Entry>());
                note_put(entry, 1, || payload(place));
                // Not the first after the wait.
                note_put(entry, 1, || Payload::INLINE);
                last.map(|(_, behind)| behind)
            })
        });
        assert_eq!(expected.join().expect("no panic"), [None, None, Some(payload(8))]);
    }
}
