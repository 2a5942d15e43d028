//! The account itself: it must notice whatever is wrong, and nothing else.

use super::*;

fn received(number: u64, count: u32) -> Event {
    Event::Received { producer: 1, number, count }
}

fn acked(number: u64, count: u32) -> Event {
    Event::Acked { producer: 1, number, count }
}

/// Two packets of a producer, and what consumers wrote down.
fn settled(consumers: &[&[Event]]) -> Verdict {
    let mut ledger = Ledger::default();
    ledger.add("p", vec![Event::Put { producer: 1, number: 1 }]);
    for events in consumers {
        ledger.add("c", events.to_vec());
    }
    ledger.settle(1)
}

const BOTH: [Event; 4] = [
    Event::Received { producer: 1, number: 0, count: 1 },
    Event::Acked { producer: 1, number: 0, count: 1 },
    Event::Received { producer: 1, number: 1, count: 1 },
    Event::Acked { producer: 1, number: 1, count: 1 },
];

#[test]
fn what_is_right_is_accepted() {
    // Killed between the acknowledgement and writing it down: once for each process.
    let fine = settled(&[&[received(0, 1), acked(0, 1), received(1, 1)], &[received(1, 2)]]);
    assert!(fine.is_right(), "{fine:?}");
    assert_eq!((fine.committed, fine.delivered, fine.redelivered), (2, 2, 1));
    let third = [&BOTH[..], &[received(2, 1)]].concat();
    let uncertain = settled(&[&third]);
    assert!(uncertain.is_right(), "{uncertain:?}");
    assert_eq!(uncertain.uncertain, 1);
    assert!(settled(&[&BOTH, &[Event::Ended]]).is_right());
}

#[test]
fn a_loss_is_noticed() {
    assert_eq!(settled(&[&[received(0, 1), acked(0, 1)]]).lost, 1);
    assert_eq!(settled(&[&[received(1, 1), acked(1, 1)]]).lost, 1);
    assert_eq!(settled(&[]).lost, 2);
    // Leased by one that was killed, and given to nobody after it.
    assert_eq!(settled(&[&[received(0, 1), received(1, 1)]]).lost, 1);
    // One that was not killed wrote down every acknowledgement.
    let ended = [received(0, 1), acked(0, 1), received(1, 1), Event::Ended];
    assert_eq!(settled(&[&ended]).lost, 1);
}

#[test]
fn what_nobody_put_is_noticed() {
    let more = [&BOTH[..], &[received(2, 1), acked(2, 1), received(3, 1), acked(3, 1)]].concat();
    assert_eq!(settled(&[&more]).invented, 1);
    let gap = [&BOTH[..], &[received(3, 1), acked(3, 1)]].concat();
    assert_eq!(settled(&[&gap]).invented, 1);
}

#[test]
fn a_duplicate_is_noticed() {
    assert_eq!(settled(&[&BOTH, &[received(0, 1)]]).unflagged_duplicates, 1);
    let twice = [received(0, 2), received(0, 2), acked(0, 2), received(1, 1), acked(1, 1)];
    assert_eq!(settled(&[&twice]).unflagged_duplicates, 1);
}

#[test]
fn what_comes_back_is_noticed() {
    assert_eq!(settled(&[&BOTH, &[received(0, 2)]]).acked_redelivered, 1);
    let twice = [&BOTH[..], &[acked(0, 1)]].concat();
    assert_eq!(settled(&[&twice]).acked_redelivered, 1);
}

#[test]
fn what_overtakes_is_noticed() {
    let swapped = [BOTH[2], BOTH[3], BOTH[0], BOTH[1]];
    assert_eq!(settled(&[&swapped]).out_of_order, 1);
    // Among several consumers it cannot be told; of consumers that were there one after the other it can.
    let (first, second) = (&BOTH[2..], &BOTH[..2]);
    assert!(settled(&[first, second]).is_right());
    let mut one = Ledger { one_consumer: true, ..Ledger::default() };
    one.add("p", vec![Event::Put { producer: 1, number: 1 }]);
    one.add("c-1", first.to_vec());
    one.add("c-2", second.to_vec());
    assert_eq!(one.settle(1).out_of_order, 1);
}

#[test]
fn empty_packets_are_counted() {
    let empties = |put: usize, got: usize, kept: usize| {
        let mut ledger = Ledger::default();
        let mut puts = vec![Event::Put { producer: EMPTY, number: 0 }; put];
        puts.push(Event::Ended);
        ledger.add("p", puts);
        let (received, acked) = (
            Event::Received { producer: EMPTY, number: 0, count: 1 },
            Event::Acked { producer: EMPTY, number: 0, count: 1 },
        );
        let mut gets = [received, acked].repeat(got);
        gets.extend(vec![received; kept]);
        ledger.add("c", gets);
        ledger.settle(1)
    };
    assert!(empties(3, 3, 0).is_right());
    assert!(empties(3, 2, 1).is_right());
    assert_ne!(empties(4, 2, 1).lost, 0);
    assert_ne!(empties(4, 2, 2).lost, 0);
    assert_ne!(empties(2, 4, 0).invented, 0);
    assert_ne!(empties(2, 0, 4).unflagged_duplicates, 0);
}
