//! The account itself: it must notice whatever is wrong, and nothing else.

use super::*;

fn received(number: u64, count: u32) -> Event {
    Event::Received { producer: 1, number, count }
}

fn acking(number: u64, count: u32) -> Event {
    Event::Acking { producer: 1, number, count }
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
    let first = [received(0, 1), acking(0, 1), acked(0, 1), received(1, 1), acking(1, 1)];
    let fine = settled(&[&first, &[received(1, 2), acking(1, 2)]]);
    assert!(fine.is_right(), "{fine:?}");
    assert_eq!((fine.committed, fine.delivered, fine.redelivered), (2, 2, 1));
    let third = [&BOTH[..], &[received(2, 1), acking(2, 1)]].concat();
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
    // Leased by one that was killed, which was not about to acknowledge it, and given to nobody else.
    let leased = [received(0, 1), received(1, 1), acking(0, 1)];
    assert_eq!(settled(&[&leased]).lost, 1);
    assert_eq!(settled(&[&BOTH[..3]]).lost, 1);
    // About to acknowledge it, but in front of the stamp; and behind it.
    let at_the_last = [&BOTH[..3], &[acking(1, 1)]].concat();
    for (acked, lost) in [(false, 1), (true, 0)] {
        let died = [&at_the_last[..], &[Event::Died { acked }]].concat();
        assert_eq!(settled(&[&died]).lost, lost);
    }
    // One that was not killed wrote down every acknowledgement.
    let ended = [received(0, 1), acked(0, 1), received(1, 1), Event::Ended];
    assert_eq!(settled(&[&ended]).lost, 1);
}

#[test]
fn of_what_was_to_be_acknowledged_together_a_part_may_be() {
    let together = [received(0, 1), received(1, 1), acking(0, 1), acking(1, 1)];
    assert!(settled(&[&together]).is_right());
    // The last one is not, or the first one is; of the other nobody knows.
    let killed = |acked| [&together[..], &[Event::Died { acked }]].concat();
    let again = |number| [received(number, 2), acking(number, 2), acked(number, 2)];
    assert_eq!(settled(&[&killed(false)]).lost, 1);
    assert!(settled(&[&killed(false), &again(1)]).is_right());
    assert!(settled(&[&killed(false), &again(0), &again(1)]).is_right());
    assert!(settled(&[&killed(true)]).is_right());
    assert!(settled(&[&killed(true), &again(1)]).is_right());
    assert_eq!(settled(&[&killed(true), &again(0)]).acked_redelivered, 1);
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
    // It died behind the stamp, as whoever saw it says; and without that word nobody can tell.
    let unsure = [&BOTH[..3], &[acking(1, 1)]].concat();
    let sure = [&unsure[..], &[Event::Died { acked: true }]].concat();
    let again = [received(1, 2), acking(1, 2), acked(1, 2)];
    assert_eq!(settled(&[&sure, &again]).acked_redelivered, 1);
    assert!(settled(&[&unsure, &again]).is_right());
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
    let empties = |put: usize, got: usize, kept: usize, about_to: bool| {
        let mut ledger = Ledger::default();
        let mut puts = vec![Event::Put { producer: EMPTY, number: 0 }; put];
        puts.push(Event::Ended);
        ledger.add("p", puts);
        let (received, acking, acked) = (
            Event::Received { producer: EMPTY, number: 0, count: 1 },
            Event::Acking { producer: EMPTY, number: 0, count: 1 },
            Event::Acked { producer: EMPTY, number: 0, count: 1 },
        );
        let mut gets = [received, acking, acked].repeat(got);
        gets.extend(vec![received; kept]);
        gets.extend(about_to.then_some(acking));
        ledger.add("c", gets);
        ledger.settle(1)
    };
    assert!(empties(3, 3, 0, false).is_right());
    assert!(empties(3, 2, 1, true).is_right());
    assert_eq!(empties(3, 2, 1, false).lost, 1);
    assert_eq!(empties(4, 2, 1, true).lost, 1);
    assert_eq!(empties(4, 2, 2, true).lost, 1);
    assert_ne!(empties(2, 4, 0, false).invented, 0);
    assert_ne!(empties(2, 0, 4, false).unflagged_duplicates, 0);
}
