//! Promises about files whose header is damaged: what is wrong is said, and what is left is shown.

mod support;

use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use proptest::prelude::*;
use ringway::shm::inspect::{Entries, EntryOptions, SegmentSnapshot};
use ringway::shm::segment::{Salvage, Segment};
use ringway::{Queue, shm::Lifetime};
use support::*;

const WHOLE: EntryOptions = EntryOptions { payload_bytes: usize::MAX, all: false };

/// A copy of a segment in which two packets wait, and one is held.
fn copy(place: &Place) -> PathBuf {
    let config = config("x", Lifetime::Keep);
    let segment = Segment::create(&place.directory, &config).unwrap();
    let queue = Queue::of_segment(&segment, "orders").unwrap();
    for payload in [&b"held"[..], b"one", b"two"] {
        queue.put(payload).unwrap();
    }
    let _lease = queue.lease().unwrap();
    let copy = place.dir.path().join("copy.raw");
    std::fs::copy(segment.path(), &copy).unwrap();
    drop(_lease);
    drop(queue);
    segment.destroy().unwrap();
    copy
}

fn damaged(place: &Place, damage: impl FnOnce(&std::fs::File)) -> Salvage {
    let copy = copy(place);
    assert!(Segment::salvage_raw_file(&copy).unwrap().is_none(), "nothing is wrong with it");
    damage(&std::fs::OpenOptions::new().write(true).open(&copy).unwrap());
    assert!(Segment::open_raw_file(&copy).is_err());
    Segment::salvage_raw_file(&copy).unwrap().unwrap()
}

fn wrong(salvage: &Salvage) -> Vec<&str> {
    let wrong = salvage.fields.iter().filter(|field| field.expected.is_some());
    wrong.map(|field| field.name).collect()
}

fn assert_packets(salvage: &Salvage) {
    let view = salvage.view.as_ref().unwrap();
    assert_eq!(
        view.rings().iter().map(|ring| &ring.name).collect::<Vec<_>>(),
        ["orders", "replies"]
    );
    let entries: Vec<_> = Entries::of_segment(view, 0, WHOLE).unwrap().collect();
    let payloads: Vec<_> = entries.iter().map(|entry| entry.payload.clone().unwrap()).collect();
    assert_eq!(payloads, [&b"held"[..], b"one", b"two"]);
    let snapshot = SegmentSnapshot::take(view).unwrap();
    assert_eq!((snapshot.rings[0].qsize, snapshot.rings[0].in_flight), (2, 1));
    assert_eq!(snapshot.participants.len(), 1);
}

#[test]
fn a_flipped_field_is_named_and_the_rest_is_shown() {
    for (offset, name) in [
        (0, "magic"),
        (8, "layout_version"),
        (16, "abi_hash"),
        (24, "checksum"),
        (32, "total_bytes"),
        (48, "control_offset"),
        (64, "rings_offset"),
        (76, "max_participants"),
    ] {
        let place = place();
        let salvage = damaged(&place, |file| file.write_all_at(&[0xee], offset).unwrap());
        let wrong = wrong(&salvage);
        assert!(wrong.contains(&name), "{name}: {wrong:?}");
        // The checksum covers the others.
        assert!(wrong.iter().all(|found| *found == name || *found == "checksum"), "{wrong:?}");
        assert_packets(&salvage);
    }
}

#[test]
fn rings_are_shown_without_any_header() {
    let place = place();
    let salvage = damaged(&place, |file| file.write_all_at(&[0; 4096], 0).unwrap());
    assert!(salvage.error.to_string().contains("not a Ringway segment"));
    assert_packets(&salvage);
}

#[test]
fn what_is_too_damaged_shows_its_first_bytes_and_can_be_copied() {
    let place = place();
    let salvage = damaged(&place, |file| file.set_len(100).unwrap());
    assert!(salvage.view.is_none() && salvage.fields.is_empty());
    assert_eq!((salvage.file_bytes, salvage.first_bytes.len()), (100, 100));
    let place = support::place();
    // Names and offsets of the rings are gone: nobody can say where they lie.
    let salvage = damaged(&place, |file| file.write_all_at(&[0xff; 8192], 0).unwrap());
    assert!(salvage.view.is_none());
    assert_ne!(wrong(&salvage), Vec::<&str>::new());
    let file = std::fs::read(place.dir.path().join("copy.raw")).unwrap();
    for _ in 0..2 {
        let mut copied = Vec::new();
        assert_eq!(salvage.copy_raw(&mut copied).unwrap(), file.len() as u64);
        assert!(copied == file);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn no_damage_makes_salvaging_panic(
        changes in prop::collection::vec((0_u64..16_384, any::<u8>()), 1..40),
        cut in prop::option::of(0_u64..40_000),
    ) {
        let place = place();
        let copy = copy(&place);
        let file = std::fs::OpenOptions::new().write(true).open(&copy).unwrap();
        for (at, value) in changes {
            file.write_all_at(&[value], at).unwrap();
        }
        if let Some(cut) = cut {
            file.set_len(cut).unwrap();
        }
        if let Ok(Some(salvage)) = Segment::salvage_raw_file(&copy)
            && let Some(view) = salvage.view
        {
            let _ = SegmentSnapshot::take(&view);
            for index in 0..view.rings().len() {
                prop_assert!(Entries::of_segment(&view, index, WHOLE).unwrap().count() <= 64);
            }
        }
    }
}
