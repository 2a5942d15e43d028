//! Many records read in place in one go: what is read is acknowledged, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use ringway::error::GetError;
use ringway::queue::{Consumer, Queue, RecordInfo, Side, Wait};
use ringway::{QueueConfig, QueueDescriptor};

const MODES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Multi, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Multi),
];

fn queue((producers, consumers): (Side, Side), maxsize: u64) -> Queue {
    let config = QueueConfig {
        capacity_packets: Some(64),
        capacity_bytes: Some(64 * 256),
        maxsize,
        producers,
        consumers,
        ..QueueConfig::default()
    };
    QueueDescriptor::local_unnamed().unwrap().with_config(config).unwrap().queue().unwrap()
}

fn consumer(queue: &Queue) -> Consumer {
    queue.ring().unwrap().consumer().unwrap()
}

/// A payload that says its number: in the entry, in one unit, or in several.
fn payload(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize([8, 48, 49, 200, 8, 8, 700][number as usize % 7], number as u8);
    bytes
}

#[test]
fn records_read_in_one_go_come_in_order_up_to_the_maximum_and_are_acknowledged() {
    for mode in MODES {
        let queue = queue(mode, 0);
        let mut consumer = consumer(&queue);
        let (mut put, mut got) = (0, 0);
        for round in 0..400 {
            while put - got < 1 + round % 20 {
                queue.try_put(&payload(put)).unwrap();
                put += 1;
            }
            let (max, before) = (1 + round as usize % 7, got);
            let count = consumer.get_many_with(max, Wait::No, |bytes, info| {
                assert_eq!(bytes, payload(got), "{mode:?}");
                assert_eq!((info.len, info.delivery_count), (bytes.len(), 1));
                got += 1;
            });
            assert_eq!(count.unwrap() as u64, got - before);
            assert!(got > before && got - before <= max as u64, "{mode:?}: {got} after {before}");
            assert_eq!((queue.qsize(), queue.in_flight()), (put - got, 0), "{mode:?}");
        }
        let stats = queue.stats();
        let bytes = (0..got).map(|number| payload(number).len() as u64).sum::<u64>();
        assert_eq!((stats.gets, stats.bytes_got, stats.redelivered), (got, bytes, 0), "{mode:?}");
    }
}

#[test]
fn nothing_is_read_and_nothing_waited_for_where_nothing_is_asked_for() {
    for mode in MODES {
        let queue = queue(mode, 0);
        let mut consumer = consumer(&queue);
        let unread = |_: &[u8], _: RecordInfo| panic!("nothing was asked for, or is there");
        assert_eq!(consumer.get_many_with(0, Wait::Forever, unread).unwrap(), 0);
        let empty = consumer.get_many_with(3, Wait::No, unread);
        assert!(matches!(empty, Err(GetError::Empty)), "{empty:?}");
        queue.close().unwrap();
        let closed = consumer.get_many_with(3, Wait::Forever, unread);
        assert!(matches!(closed, Err(GetError::Closed)), "{closed:?}");
    }
}

#[test]
fn of_records_read_in_one_go_those_that_were_not_read_to_the_end_come_again() {
    for (mode, len) in MODES.into_iter().flat_map(|mode| [(mode, 8), (mode, 100)]) {
        let queue = queue(mode, 0);
        let mut consumer = consumer(&queue);
        let record = |number: u8| vec![number; len];
        // The first that a consumer gets is taken alone: a predecessor may have left something.
        queue.try_put(b"the first").unwrap();
        assert_eq!(consumer.get_many_with(6, Wait::No, |_, _| ()).unwrap(), 1);
        for round in 0..40 {
            (0..8).for_each(|number| queue.try_put(&record(number)).unwrap());
            let fatal = round % 6;
            let mut seen = Vec::new();
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                consumer.get_many_with(6, Wait::No, |bytes, _| {
                    seen.push(bytes[0]);
                    if bytes[0] == fatal {
                        // Not by `panic!`, which would be printed.
                        resume_unwind(Box::new("the reader panics"));
                    }
                })
            }));
            assert!(panicked.is_err());
            assert_eq!(seen, (0..=fatal).collect::<Vec<u8>>(), "{mode:?}");
            assert_eq!(queue.qsize() + queue.in_flight(), u64::from(8 - fatal), "{mode:?}");
            let mut again = Vec::new();
            while let Ok(count) = consumer.get_many_with(3, Wait::No, |bytes, info| {
                assert_eq!(bytes, record(bytes[0]));
                again.push((bytes[0], info.delivery_count));
            }) {
                assert!(count != 0);
            }
            // The one that was being read, and what was taken with it, flagged.
            let times = |number: u8| if number < 6 { 2 } else { 1 };
            assert!(mode.1 == Side::Multi || again.is_sorted(), "{again:?}");
            again.sort_unstable();
            let expected = (fatal..8).map(|number| (number, times(number))).collect::<Vec<_>>();
            assert_eq!(again, expected, "{mode:?}, {len} bytes");
            assert_eq!((queue.qsize(), queue.in_flight()), (0, 0));
        }
    }
}

#[test]
fn a_producer_below_maxsize_goes_on_while_what_was_taken_is_read() {
    for mode in MODES {
        let queue = queue(mode, 4);
        let mut consumer = consumer(&queue);
        (0..4).for_each(|number| queue.try_put(&payload(number)).unwrap());
        assert!(queue.try_put(b"too many").is_err());
        let mut read = 0;
        let count = consumer.get_many_with(4, Wait::No, |_, _| {
            read += 1;
            // Taken is no longer waiting.
            queue.try_put(b"one more").unwrap();
        });
        assert_eq!((count.unwrap(), read, queue.qsize()), (4, 4, 4), "{mode:?}");
    }
}

#[test]
fn records_held_or_leased_stay_so_while_others_are_read_in_one_go() {
    for mode in MODES {
        let queue = queue(mode, 0);
        let mut consumer = consumer(&queue);
        (0..6).for_each(|number| queue.try_put(&[number]).unwrap());
        assert_eq!(consumer.hold(Wait::No).unwrap().0, [0]);
        let mut leases = Vec::new();
        assert_eq!(consumer.lease_many(1, &mut leases, Wait::No).unwrap(), 1);
        let read = |consumer: &mut Consumer| {
            let mut read = Vec::new();
            consumer.get_many_with(2, Wait::No, |bytes, _| read.push(bytes[0])).unwrap();
            read
        };
        let mut all = read(&mut consumer);
        assert_eq!(queue.in_flight(), 2, "{mode:?}");
        leases.drain(..).for_each(ringway::queue::Lease::ack);
        consumer.ack_held();
        while queue.qsize() != 0 {
            all.extend(read(&mut consumer));
        }
        assert_eq!((all, queue.in_flight()), (vec![2, 3, 4, 5], 0), "{mode:?}");
    }
}
