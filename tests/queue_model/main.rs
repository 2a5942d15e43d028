//! Queues against a model, through the handles that users have, one thread at a time: every mode, on
//! the heap and in segments, with several leases and reservations at once, in any order.
//!
//! The model knows what each record is and what room it takes, so it says of every put whether it
//! must be taken, and of `qsize`, `in_flight`, `is_full` and `occupancy` what they must be.

mod model;

use model::{Model, State, UNITS};
use proptest::prelude::*;
use ringway::error::{GetError, PutError};
use ringway::queue::{Lease, QueueConfig, QueueDescriptor, RecordKind, Reservation, Side, Wait};

/// Two units of 512 bytes: a quarter of the ring.
const MAX_PAYLOAD: usize = 1024;

#[derive(Clone, Debug)]
enum Op {
    Put(usize),
    PutMany(Vec<usize>),
    Reserve(usize),
    Commit(usize, usize),
    Abandon(usize),
    Lease,
    Get,
    GetMany(usize),
    Ack(usize),
    GiveBack(usize),
    Trim,
    Close,
}

fn len() -> impl Strategy<Value = usize> {
    prop_oneof![
        Just(0_usize),
        1_usize..=48,
        Just(49),
        Just(512),
        Just(513),
        Just(MAX_PAYLOAD),
        Just(MAX_PAYLOAD + 1)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => len().prop_map(Op::Put),
        2 => prop::collection::vec(len(), 0..12).prop_map(Op::PutMany),
        2 => len().prop_map(Op::Reserve),
        2 => (0_usize..8, len()).prop_map(|(which, len)| Op::Commit(which, len)),
        1 => (0_usize..8).prop_map(Op::Abandon),
        4 => Just(Op::Lease),
        4 => Just(Op::Get),
        2 => (0_usize..12).prop_map(Op::GetMany),
        4 => (0_usize..8).prop_map(Op::Ack),
        2 => (0_usize..8).prop_map(Op::GiveBack),
        1 => Just(Op::Trim),
        1 => Just(Op::Close),
    ]
}

/// The queue, its model, and what is held of both.
struct Case {
    queue: QueueDescriptor,
    producers: Side,
    model: Model,
    reservations: Vec<(u64, Reservation)>,
    leases: Vec<(u64, Lease)>,
    puts: u64,
}

fn units(len: usize) -> u64 {
    if len <= 48 { 1 } else { len.div_ceil(512) as u64 }
}

/// A payload that tells itself from others of its length.
fn payload(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number as usize * 7 + at) as u8).collect()
}

impl Case {
    /// What must become of a put of this length, and whether it must be taken.
    fn expect(&self, len: usize) -> Result<(), &'static str> {
        if len > MAX_PAYLOAD {
            Err("TooLarge")
        } else if self.model.closed {
            Err("Closed")
        } else if self.producers == Side::Single && !self.reservations.is_empty() {
            Err("RoleTaken")
        } else if self.model.has_room(units(len)) {
            Ok(())
        } else {
            Err("Full")
        }
    }

    /// What must become of it, if it is not what was `got` and may be.
    fn expect_or(&self, got: Result<(), &'static str>, len: usize) -> Result<(), &'static str> {
        match self.expect(len) {
            Ok(()) if got == Err("Full") && self.model.may_refuse(units(len)) => got,
            other => other,
        }
    }

    fn put(&mut self, len: usize) {
        let bytes = payload(self.puts, len);
        self.puts += 1;
        let got = said(&self.queue.try_put(&bytes));
        assert_eq!(got, self.expect_or(got, len), "a put of {len}");
        if got.is_ok() {
            self.model.push(State::Waiting, units(len), bytes);
        }
    }

    fn put_many(&mut self, lens: &[usize]) {
        let payloads: Vec<_> =
            lens.iter().zip(self.puts..).map(|(&len, number)| payload(number, len)).collect();
        self.puts += lens.len() as u64;
        let slices: Vec<_> = payloads.iter().map(|payload| &payload[..]).collect();
        let result = self.queue.try_put_many(&slices);
        let got = match result {
            Ok(()) => (lens.len(), Ok(())),
            Err(error) => (error.put, said(&Err::<(), _>(error.error))),
        };
        let mut expected = (0, Ok(()));
        for (len, bytes) in lens.iter().zip(payloads) {
            let this = if expected.0 == got.0 { got.1 } else { Ok(()) };
            expected.1 = self.expect_or(this, *len);
            if expected.1.is_err() {
                break;
            }
            expected.0 += 1;
            self.model.push(State::Waiting, units(*len), bytes);
        }
        assert_eq!(got, expected, "many puts of {lens:?}");
    }

    fn reserve(&mut self, len: usize) {
        let result = self.queue.try_reserve(len);
        let got = said(&result);
        assert_eq!(got, self.expect_or(got, len), "a reservation of {len}");
        if let Ok(reservation) = result {
            assert_eq!(reservation.len(), len);
            let number = self.model.push(State::Reserved, units(len), Vec::new());
            self.reservations.push((number, reservation));
        }
    }

    fn commit(&mut self, which: usize, len: usize) {
        let Some(at) = which.checked_rem(self.reservations.len()) else { return };
        let (number, mut reservation) = self.reservations.remove(at);
        let bytes = payload(self.puts, len.min(reservation.len()));
        self.puts += 1;
        reservation[..bytes.len()].copy_from_slice(&bytes);
        reservation.commit_len(bytes.len()).unwrap();
        let record = self.model.records.iter_mut().find(|it| it.number == number).unwrap();
        (record.state, record.payload) = (State::Waiting, bytes);
    }

    fn abandon(&mut self, which: usize) {
        let Some(at) = which.checked_rem(self.reservations.len()) else { return };
        let (number, reservation) = self.reservations.remove(at);
        drop(reservation);
        match self.producers {
            Side::Multi => {
                let mut records = self.model.records.iter();
                let units = records.find(|record| record.number == number).unwrap().units;
                self.model.unpassed.push(units);
                self.model.set(number, State::Abandoned);
            }
            // A single producer has written nothing that others saw.
            Side::Single => self.model.records.retain(|record| record.number != number),
        }
    }

    /// Finds the record that was delivered, and checks that it is one that may be.
    fn delivered(&mut self, bytes: &[u8], redelivered: bool, state: State) -> u64 {
        let candidates = self.model.candidates();
        let found = candidates.iter().find(|record| {
            record.payload == bytes && redelivered == (record.state == State::Returned)
        });
        let number = found.unwrap_or_else(|| panic!("{bytes:?} is none of {candidates:?}")).number;
        self.model.set(number, state);
        number
    }

    fn nothing(&mut self, error: &GetError) {
        self.model.looked();
        let drained = self.model.candidates().is_empty();
        assert!(drained, "{error} in spite of {:?}", self.model.candidates());
        let pending = self.reservations.len();
        match error {
            GetError::Empty => assert!(!self.model.closed, "empty, and closed"),
            GetError::Closed => assert!(self.model.closed && pending == 0),
            GetError::Draining { in_flight } => {
                assert!(self.model.closed && pending > 0 && *in_flight == 0);
            }
            other => panic!("{other}"),
        }
    }

    fn get(&mut self) {
        match self.queue.try_get() {
            Ok(got) => {
                self.delivered(&got.payload, got.redelivered, State::Done);
            }
            Err(error) => self.nothing(&error),
        }
    }

    fn get_many(&mut self, max: usize) {
        match self.queue.lease_many(max, Wait::No) {
            Ok(leases) => {
                assert!(leases.len() <= max && (max == 0 || !leases.is_empty()));
                for lease in leases {
                    self.delivered(&lease, lease.redelivered(), State::Done);
                    assert_eq!(lease.kind(), RecordKind::RAW);
                    lease.ack();
                }
            }
            Err(error) => self.nothing(&error),
        }
    }

    fn lease(&mut self) {
        match self.queue.try_lease() {
            Ok(lease) => {
                let number = self.delivered(&lease, lease.redelivered(), State::Leased);
                self.leases.push((number, lease));
            }
            Err(error) => self.nothing(&error),
        }
    }

    fn end_lease(&mut self, which: usize, ack: bool) {
        let Some(at) = which.checked_rem(self.leases.len()) else { return };
        let (number, lease) = self.leases.remove(at);
        if ack {
            lease.ack();
            self.model.set(number, State::Done);
        } else {
            drop(lease);
            self.model.set(number, State::Returned);
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Put(len) => self.put(len),
            Op::PutMany(lens) => self.put_many(&lens),
            Op::Reserve(len) => self.reserve(len),
            Op::Commit(which, len) => self.commit(which, len),
            Op::Abandon(which) => self.abandon(which),
            Op::Lease => self.lease(),
            Op::Get => self.get(),
            Op::GetMany(max) => self.get_many(max),
            Op::Ack(which) => self.end_lease(which, true),
            Op::GiveBack(which) => self.end_lease(which, false),
            Op::Trim => {
                self.queue.trim();
                self.model.succeeded();
            }
            Op::Close => {
                self.queue.close().unwrap();
                self.model.closed = true;
            }
        }
        self.check();
    }

    /// What the header says is what the model says.
    fn check(&self) {
        let model = &self.model;
        let in_flight = model.count(&[State::Leased, State::Returned]);
        assert_eq!(self.queue.in_flight().unwrap(), in_flight, "in flight");
        assert_eq!(self.queue.is_closed().unwrap(), model.closed);
        // What was abandoned counts until it is passed.
        let most = model.waiting() + model.unpassed.len() as u64;
        let waiting = self.queue.qsize().unwrap();
        assert!((model.waiting()..=most).contains(&waiting), "{waiting} waiting");
        assert_eq!(self.queue.is_empty().unwrap(), waiting == 0);
        let unpassed: u64 = model.unpassed.iter().sum();
        let load = |waiting: u64, used: u64| {
            let packets =
                if model.maxsize == 0 { 0.0 } else { waiting as f64 / model.maxsize as f64 };
            packets.max(used as f64 / UNITS as f64).min(1.0)
        };
        let occupancy = self.queue.occupancy().unwrap();
        let exact = load(model.waiting(), model.used());
        let most = load(most, model.used() + unpassed);
        assert!(
            exact - 1e-9 <= occupancy && occupancy <= most + 1e-9,
            "occupancy {occupancy} is not in {exact}..={most}"
        );
        let full = self.queue.is_full().unwrap();
        assert!(full || model.has_room(1), "not full, and no room");
        assert!(!full || !model.has_room(1) || unpassed > 0, "full, with room");
        for (number, lease) in &self.leases {
            let record = model.records.iter().find(|record| record.number == *number).unwrap();
            assert_eq!(**lease, record.payload[..], "a lease does not change");
        }
    }
}

/// What a put said, in a word.
fn said<T>(result: &Result<T, PutError>) -> Result<(), &'static str> {
    match result {
        Ok(_) => Ok(()),
        Err(PutError::Full) => Err("Full"),
        Err(PutError::Closed) => Err("Closed"),
        Err(PutError::RoleTaken { pid }) if *pid == std::process::id() => Err("RoleTaken"),
        Err(PutError::TooLarge { max: MAX_PAYLOAD, .. }) => Err("TooLarge"),
        Err(other) => panic!("{other}"),
    }
}

fn run(queue: QueueDescriptor, producers: Side, consumers: Side, maxsize: u64, ops: Vec<Op>) {
    let config = QueueConfig {
        maxsize,
        capacity_packets: Some(UNITS),
        capacity_bytes: Some(4096),
        producers,
        consumers,
        ..QueueConfig::default()
    };
    let queue = queue.with_config(config).unwrap();
    assert_eq!(queue.max_payload().unwrap(), MAX_PAYLOAD);
    let model = Model {
        maxsize,
        claims: producers == Side::Multi,
        single_consumer: consumers == Side::Single,
        ..Model::default()
    };
    let (reservations, leases) = (Vec::new(), Vec::new());
    let mut case = Case { queue, producers, model, reservations, leases, puts: 0 };
    for op in ops {
        case.run(op);
    }
    // At the end everything that was taken comes out, and nothing else.
    while !case.reservations.is_empty() {
        case.run(Op::Commit(0, 3));
    }
    while !case.leases.is_empty() {
        case.run(Op::GiveBack(0));
    }
    case.run(Op::Close);
    while !case.model.candidates().is_empty() {
        case.run(Op::Get);
    }
    assert!(matches!(case.queue.get(), Err(GetError::Closed)));
    case.queue.destroy().unwrap();
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Single), Just(Side::Multi)]
}

proptest! {
    #[test]
    fn a_queue_does_what_its_model_says_in_every_mode(
        (producers, consumers) in (side(), side()),
        maxsize in prop_oneof![Just(0_u64), Just(1), Just(2), Just(8)],
        shared in any::<bool>(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let queue = if shared {
            QueueDescriptor::shm("model").unwrap().with_directory(directory.path()).unwrap()
        } else {
            QueueDescriptor::local_unnamed().unwrap()
        };
        run(queue, producers, consumers, maxsize, ops);
    }
}
