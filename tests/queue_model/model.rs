//! The ring as it must look: what each record is, and what room it takes.

use std::collections::VecDeque;

/// Units of the ring.
pub(crate) const UNITS: u64 = 8;

/// What becomes of a record, in the order of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Reserved,
    Abandoned,
    Waiting,
    Leased,
    Returned,
    Done,
}

#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) number: u64,
    pub(crate) units: u64,
    pub(crate) state: State,
    pub(crate) payload: Vec<u8>,
}

/// The ring as it must look.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) maxsize: u64,
    /// Says whether producers claim before they write: many of them do.
    pub(crate) claims: bool,
    pub(crate) records: VecDeque<Record>,
    pub(crate) next: u64,
    pub(crate) closed: bool,
    pub(crate) single_consumer: bool,
    /// Units that the head may not have passed, of abandoned reservations above all: they count
    /// until somebody looks.
    pub(crate) unpassed: Vec<u64>,
}

impl Model {
    /// The records that the ring's words count: a single producer tells of its own when it commits.
    pub(crate) fn seen(&self) -> impl Iterator<Item = &Record> {
        let claims = self.claims;
        self.records.iter().filter(move |record| claims || record.state != State::Reserved)
    }

    pub(crate) fn count(&self, states: &[State]) -> u64 {
        self.seen().filter(|record| states.contains(&record.state)).count() as u64
    }

    /// Frees what is done at the front: room is made in the order of the ring.
    pub(crate) fn settle(&mut self) {
        let over = |record: &Record| matches!(record.state, State::Done | State::Abandoned);
        while self.records.front().is_some_and(over) {
            self.records.pop_front();
        }
    }

    /// A single consumer's role passed on: its successor passes what was acknowledged out of order
    /// when it comes to it.
    pub(crate) fn succeeded(&mut self) {
        if self.single_consumer {
            let done = self.records.iter().filter(|record| record.state == State::Done);
            self.unpassed.extend(done.map(|record| record.units));
        }
    }

    /// Somebody looked, and found nothing: the head has passed what was abandoned before the first
    /// that is not.
    pub(crate) fn looked(&mut self) {
        if self.waiting() == 0 {
            self.unpassed.clear();
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.seen().map(|record| record.units).sum()
    }

    /// Packets that wait. One that was abandoned counts as long as one that waits is before it.
    pub(crate) fn waiting(&self) -> u64 {
        let first = self
            .records
            .iter()
            .position(|record| matches!(record.state, State::Reserved | State::Waiting));
        let rest = first.map_or(0, |first| {
            let behind = self.records.iter().skip(first);
            behind.filter(|record| record.state == State::Abandoned).count() as u64
        });
        self.count(&[State::Reserved, State::Waiting]) + rest
    }

    pub(crate) fn has_room(&self, units: u64) -> bool {
        self.used() + units <= UNITS && (self.maxsize == 0 || self.waiting() < self.maxsize)
    }

    /// Only a single consumer may move its head, so what was abandoned there takes its room until
    /// that consumer looks.
    pub(crate) fn may_refuse(&self, units: u64) -> bool {
        let unpassed: u64 = self.unpassed.iter().sum();
        let waiting = self.waiting() + self.unpassed.len() as u64;
        self.single_consumer
            && (self.used() + unpassed + units > UNITS
                || (self.maxsize != 0 && waiting >= self.maxsize))
    }

    pub(crate) fn push(&mut self, state: State, units: u64, payload: Vec<u8>) -> u64 {
        let number = self.next;
        self.next += 1;
        self.records.push_back(Record { number, units, state, payload });
        number
    }

    pub(crate) fn set(&mut self, number: u64, state: State) {
        let record = self.records.iter_mut().find(|record| record.number == number).unwrap();
        record.state = state;
        self.settle();
    }

    /// Which records a get may bring: any that was given back, or the oldest that waits, unless a
    /// reservation is before it.
    pub(crate) fn candidates(&self) -> Vec<Record> {
        let returned = self.records.iter().filter(|record| record.state == State::Returned);
        let waiting = self
            .records
            .iter()
            .find(|record| matches!(record.state, State::Reserved | State::Waiting))
            .filter(|record| record.state == State::Waiting);
        returned.chain(waiting).cloned().collect()
    }
}
