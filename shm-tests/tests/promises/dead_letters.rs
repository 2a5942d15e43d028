//! Packets that kill whoever reads them, across processes.

use ringway::error::GetError;
use ringway::queue::{BlockKind, QueueConfig, QueueDescriptor, Side};
use shm_tests::place::Place;
use shm_tests::{WATCHDOG, wait_until};

use crate::{MODES, lease, place, small, stat};

fn config(producers: Side, consumers: Side) -> QueueConfig {
    QueueConfig {
        max_deliveries: 2,
        dead_letter: Some("dead".into()),
        timestamps: true,
        ..small(producers, consumers)
    }
}

/// The ring of the dead letters of `s:q`.
fn dead(place: &Place) -> QueueDescriptor {
    let config = QueueConfig { timestamps: true, ..small(Side::Multi, Side::Multi) };
    place.queue("s:dead", config)
}

#[test]
fn a_packet_that_kills_its_readers_ends_in_the_dead_letter_ring_with_its_history() {
    for (mode, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue("s:q", config(producers, consumers));
        let mut writer = place.peer();
        writer.open(&queue);
        writer.ok("put q poison*700");
        for count in [1, 2] {
            let mut reader = place.peer();
            reader.open(&queue);
            let answer = reader.ok("lease q");
            assert!(answer.ends_with(&format!(" poison {count}")), "{mode}: {answer}");
            reader.kill();
        }
        writer.ok("put q fine");
        let mut reader = place.peer();
        reader.open(&queue);
        assert_eq!(reader.ok("get q"), "fine 1", "{mode}");
        assert!(reader.err("get q now").starts_with("Empty"), "{mode}");
        assert_eq!((stat(&mut reader, "dead_lettered"), stat(&mut reader, "refused")), (1, 0));
        assert_eq!(reader.ok("in_flight q"), "0");
        let got = dead(&place).try_get().unwrap();
        assert_eq!((got.payload.len(), got.delivery_count), (700, 1), "{mode}");
        let history = got.dead_letter.unwrap();
        assert_eq!((history.ring.as_deref(), history.deliveries), (Some("q"), 2), "{mode}");
        assert!(history.timestamp_ns.unwrap() < got.timestamp_ns.unwrap(), "{mode}");
    }
}

#[test]
fn a_dead_letter_without_room_outlives_its_finders_and_goes_when_there_is_some() {
    for (mode, producers, consumers) in MODES {
        let place = place();
        let queue = place.queue("s:q", config(producers, consumers));
        let mut writer = place.peer();
        writer.open(&queue);
        writer.ok("put q poison");
        let letters = dead(&place);
        let mut filled = 0;
        while letters.try_put(b"filler").is_ok() {
            filled += 1;
        }
        for count in [1, 2] {
            let mut reader = place.peer();
            reader.open(&queue);
            assert_eq!(lease(&mut reader, "poison"), (1, count), "{mode}");
            reader.kill();
        }
        // Each finds no room for it, keeps it, and is killed.
        for _ in 0..3 {
            let mut finder = place.peer();
            finder.open(&queue);
            assert!(finder.err("get q now").starts_with("Empty"), "{mode}");
            assert!(stat(&mut finder, "dead_letters_kept") > 0, "{mode}");
            finder.kill();
        }
        let blockers = queue.queue().unwrap().backend().ring().unwrap().blocked_by();
        assert_eq!(blockers.iter().map(|by| by.kind).collect::<Vec<_>>(), [BlockKind::DeadLetter]);
        // A reader that sleeps all the while moves it as soon as there is room.
        let mut sleeper = place.peer();
        sleeper.open(&queue);
        sleeper.send("get q");
        assert_eq!(letters.try_get().unwrap().payload, b"filler");
        wait_until("the dead letter is moved", || letters.qsize().unwrap() == filled);
        for _ in 1..filled {
            assert_eq!(letters.try_get().unwrap().dead_letter, None);
        }
        // It is counted as soon as it is claimed.
        let got = letters.get_timeout(WATCHDOG).unwrap();
        assert_eq!(
            (&got.payload[..], got.dead_letter.unwrap().deliveries),
            (&b"poison"[..], 2),
            "{mode}"
        );
        assert!(matches!(letters.try_get(), Err(GetError::Empty)));
        writer.ok("put q end");
        assert_eq!(sleeper.answer_ok(), "end 1", "{mode}");
    }
}
