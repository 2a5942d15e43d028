//! Promises about segment files: atomic creation, and nothing believed before it was checked.

mod support;

use std::mem::offset_of;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;

use ringway::error::OpenError;
use ringway::shm::Lifetime;
use ringway::shm::directory::Directory;
use ringway::shm::layout::{PAGE_BYTES, RingRecord, SegmentHeader};
use ringway::shm::segment::{RingConfig, Segment, SegmentConfig};
use ringway::shm::storage::{Geometry, Side};
use support::*;
use xxhash_rust::xxh3::Xxh3;

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn skip(why: &str) {
    eprintln!("SKIP: {why}");
}

fn write_private(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    let mut file =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// The bytes of a good segment.
fn good_bytes() -> Vec<u8> {
    let place = place();
    let segment = Segment::create(&place.directory, &config("good", Lifetime::Keep)).unwrap();
    std::fs::read(segment.path()).unwrap()
}

/// Where the immutable part of a segment of two rings ends.
const END_OF_DIRECTORY: usize = PAGE_BYTES as usize + 2 * size_of::<RingRecord>();

fn reseal(bytes: &mut [u8]) {
    let at = offset_of!(SegmentHeader, checksum);
    bytes[at..at + 8].fill(0);
    let mut hash = Xxh3::new();
    hash.update(&bytes[..size_of::<SegmentHeader>()]);
    hash.update(&bytes[PAGE_BYTES as usize..END_OF_DIRECTORY]);
    bytes[at..at + 8].copy_from_slice(&hash.digest().to_le_bytes());
}

/// Attaches to a file of these bytes.
fn attach_bytes(place: &Place, bytes: &[u8]) -> Result<(), OpenError> {
    let path = place.directory.path().join("made");
    write_private(&path, bytes);
    let attached = Segment::attach(&place.directory, &name("made"), "t").map(drop);
    std::fs::remove_file(path).unwrap();
    attached
}

fn refused(place: &Place, bytes: &[u8]) -> String {
    match attach_bytes(place, bytes) {
        Err(error @ OpenError::Corrupt { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_segment_has_its_rings_empty_and_all_its_space() {
    use std::os::unix::fs::MetadataExt;
    let place = place();
    let config = config("team/ingest", Lifetime::Keep);
    let segment = Segment::create(&place.directory, &config).unwrap();
    let stat = std::fs::metadata(segment.path()).unwrap();
    assert_eq!(stat.mode() & 0o7777, 0o600);
    assert_eq!(stat.len(), segment.total_bytes());
    assert!(stat.blocks() * 512 >= stat.len());
    let parent = std::fs::metadata(segment.path().parent().unwrap()).unwrap();
    assert_eq!(parent.mode() & 0o7777, 0o700);
    assert_eq!(segment.packets_left().unwrap(), 0);
    assert_eq!(segment.rings(), config.rings);
    assert_eq!(segment.ring_index("replies").unwrap(), 1);
    assert_eq!(segment.participants().len(), 1);
    let map = segment.memory_map();
    assert!(map.iter().zip(&map[1..]).all(|(a, b)| a.offset + a.bytes == b.offset && a.bytes > 0));
    assert_eq!(map.last().map(|part| part.offset + part.bytes), Some(segment.total_bytes()));
    let error = segment.ring_index("nothing").unwrap_err();
    assert!(matches!(&error, OpenError::NoSuchRing { have, .. } if have == &["orders", "replies"]));
    let again = Segment::attach(&place.directory, &name("team/ingest"), "t").unwrap();
    assert_eq!(again.uuid(), segment.uuid());
    assert_ne!(again.participant_id(), segment.participant_id());
    // One file, two mappings.
    let tail = |segment: &Segment| {
        let memory = segment.memory(0).unwrap();
        memory.header().producers.high_water.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    };
    assert_eq!((tail(&segment), tail(&again)), (0, 1));
}

#[test]
fn of_many_creators_exactly_one_succeeds() {
    let place = place();
    let start = Barrier::new(8);
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    Segment::create(&place.directory, &config("a/b/c", Lifetime::Keep))
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    for result in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(result, OpenError::Exists { .. }), "{result}");
    }
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let place = place();
    let huge = Geometry { log2_entries: 20, unit_bytes: 1 << 13, ..geometry() };
    let mut config = SegmentConfig::new(name("a/b"), Lifetime::Keep);
    config.rings = (0..1 << 14).map(|i| RingConfig::new(format!("r{i}"), huge)).collect();
    match Segment::create(&place.directory, &config) {
        Err(OpenError::NoSpace { needed, available, .. }) => assert!(needed > available),
        other => panic!("{other:?}"),
    }
    let left: Vec<_> = std::fs::read_dir(place.dir.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_full_filesystem_is_an_error_at_creation() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        return skip("a full tmpfs needs the right to mount one (root)");
    }
    let directory = Directory::open(dir.path(), None).unwrap();
    let unit = |unit_bytes| {
        let geometry = Geometry { unit_bytes, ..geometry() };
        SegmentConfig::new(name("big"), Lifetime::Keep).with_ring(RingConfig::new("r", geometry))
    };
    let refused = Segment::create(&directory, &unit(4096));
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    let fits = Segment::create(&directory, &unit(1024)).is_ok();
    drop(directory);
    let _ = Command::new("umount").arg("-l").arg(dir.path()).status();
    match refused {
        Err(OpenError::NoSpace { needed, available, .. }) => {
            assert!(needed > 64 * 4096 && available <= 256 * 1024 && available > 0);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(left, 0);
    assert!(fits, "all of the space is free again");
}

#[test]
fn what_is_no_segment_is_refused_by_name() {
    let place = place();
    let good = good_bytes();
    assert!(attach_bytes(&place, &good).is_ok());
    assert!(refused(&place, b"").contains("truncated"));
    assert!(refused(&place, &good[..4000]).contains("truncated"));
    assert!(refused(&place, &good[..good.len() - 1]).contains("truncated"));
    assert!(refused(&place, &[good.as_slice(), b"x"].concat()).contains("too long"));
    assert!(refused(&place, &vec![0xa5; good.len()]).contains("not a Ringway segment"));
    let mut other = good.clone();
    other[offset_of!(SegmentHeader, layout_version)] ^= 0x40;
    assert!(refused(&place, &other).contains("layout version"));
    let mut other = good;
    other[offset_of!(SegmentHeader, abi_hash)] ^= 1;
    assert!(refused(&place, &other).contains("other structs"));
    let missing = Segment::attach(&place.directory, &name("x/y"), "t");
    assert!(matches!(missing, Err(OpenError::NotFound { .. })));
}

#[test]
fn any_changed_byte_of_header_or_directory_is_noticed() {
    let place = place();
    let mut bytes = good_bytes();
    let header = 0..size_of::<SegmentHeader>();
    for at in header.chain(PAGE_BYTES as usize..END_OF_DIRECTORY) {
        bytes[at] ^= 1;
        refused(&place, &bytes);
        bytes[at] ^= 1;
    }
}

#[test]
fn every_field_is_checked_although_the_checksum_is_right() {
    // Fields that any value is allowed in.
    let free = |at: usize| {
        let within = |start: usize, bytes: usize| (start..start + bytes).contains(&at);
        let record = at.wrapping_sub(PAGE_BYTES as usize) % size_of::<RingRecord>();
        let in_record = |start: usize, bytes: usize| {
            at >= PAGE_BYTES as usize && (start..start + bytes).contains(&record)
        };
        within(offset_of!(SegmentHeader, uuid), 16)
            || within(offset_of!(SegmentHeader, creator_uid), 4)
            || within(offset_of!(SegmentHeader, creator_pid), 4)
            || within(offset_of!(SegmentHeader, created_unix_ns), 8)
            || within(offset_of!(SegmentHeader, checksum), 8)
            || in_record(offset_of!(RingRecord, schema_tag), 8)
            || in_record(offset_of!(RingRecord, max_deliveries), 4)
    };
    let place = place();
    let good = good_bytes();
    let header = 0..size_of::<SegmentHeader>();
    for at in header.chain(PAGE_BYTES as usize..END_OF_DIRECTORY) {
        let mut bytes = good.clone();
        bytes[at] ^= 0xff;
        reseal(&mut bytes);
        let attached = attach_bytes(&place, &bytes);
        match (free(at), attached) {
            (true, Ok(())) | (false, Err(OpenError::Corrupt { .. })) => {}
            (_, other) => panic!("byte {at}: {other:?}"),
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config::with_cases(200))]

    #[test]
    fn no_mutation_of_a_whole_segment_makes_attaching_panic(
        changes in proptest::collection::vec((0usize..1 << 16, proptest::num::u8::ANY), 1..20),
        sealed: bool,
        cut in 0usize..1 << 16,
    ) {
        let place = place();
        let mut bytes = good_bytes();
        for (at, value) in changes {
            let near = END_OF_DIRECTORY + 8192;
            bytes[at % near] = value;
        }
        if sealed {
            reseal(&mut bytes);
        } else if cut % 4 == 0 {
            bytes.truncate(cut % bytes.len());
        }
        let _ = attach_bytes(&place, &bytes);
        let raw = place.dir.path().join("raw");
        std::fs::write(&raw, &bytes).unwrap();
        if let Ok(segment) = Segment::open_raw_file(&raw) {
            let _ = (segment.packets_left(), segment.participants(), segment.control_stats());
        }
    }
}

#[test]
fn only_a_private_regular_file_of_ours_is_attached() {
    let place = place();
    let segment = Segment::create(&place.directory, &config("real", Lifetime::Keep)).unwrap();
    let dir = place.directory.path();
    let attach =
        |segment: &str| Segment::attach(&place.directory, &name(segment), "t").unwrap_err();
    symlink(segment.path(), dir.join("link")).unwrap();
    assert!(matches!(attach("link"), OpenError::Permission { .. }));
    std::fs::create_dir(dir.join("directory")).unwrap();
    assert!(matches!(attach("directory"), OpenError::Corrupt { .. }));
    let fifo = Command::new("mkfifo").args(["-m", "600"]).arg(dir.join("fifo")).status();
    assert!(fifo.unwrap().success());
    assert!(attach("fifo").to_string().contains("FIFO"));
    // Would wait for a writer for ever.
    let look = Segment::open_readonly(&place.directory, &name("fifo")).unwrap_err();
    assert!(look.to_string().contains("FIFO"));
    let set_mode = |mode| {
        std::fs::set_permissions(segment.path(), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for mode in [0o640, 0o620, 0o604, 0o666] {
        set_mode(mode);
        let error = attach("real");
        assert!(matches!(error, OpenError::Permission { .. }), "{error}");
        assert!(error.to_string().contains("real"), "{error}");
    }
    set_mode(0o600);
    std::fs::hard_link(segment.path(), dir.join("second")).unwrap();
    assert!(matches!(attach("real"), OpenError::Permission { .. }));
    std::fs::remove_file(dir.join("second")).unwrap();
    Segment::attach(&place.directory, &name("real"), "t").unwrap();
    if !is_root() {
        return skip("a file of another owner needs root");
    }
    chown(segment.path(), Some(12345), None).unwrap();
    assert!(matches!(attach("real"), OpenError::Permission { .. }));
}

#[test]
fn a_directory_that_others_could_have_made_is_not_used() {
    let place = place();
    let uid = nix::unistd::geteuid();
    let made = |sub: &str, mode| {
        let path = place.dir.path().join(sub);
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let open = |path: &Path| Directory::open(path, None);
    let private = made("private", 0o700);
    assert_eq!(open(&private).unwrap().path(), private);
    // Shared, but our own child is safe there.
    for (sub, mode) in [("sticky", 0o1777), ("readable", 0o755)] {
        let shared = made(sub, mode);
        let own = open(&shared).unwrap();
        assert_eq!(own.path(), shared.join(format!("ringway-{uid}")));
        assert_eq!(std::fs::metadata(own.path()).unwrap().permissions().mode() & 0o7777, 0o700);
        assert_eq!(open(&shared).unwrap().path(), own.path());
    }
    assert!(matches!(open(&made("open", 0o777)), Err(OpenError::Permission { .. })));
    // The child was there before us, made by somebody careless or evil.
    let trap = made("trap", 0o1777);
    let child = trap.join(format!("ringway-{uid}"));
    std::fs::create_dir(&child).unwrap();
    std::fs::set_permissions(&child, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(open(&trap), Err(OpenError::Permission { .. })));
    std::fs::remove_dir(&child).unwrap();
    symlink(&private, &child).unwrap();
    assert!(matches!(open(&trap), Err(OpenError::Permission { .. })));
    assert!(matches!(open(&child), Err(OpenError::Permission { .. })));
    // The same for the directories of a name.
    let directory = open(&private).unwrap();
    std::fs::create_dir(private.join("team")).unwrap();
    std::fs::set_permissions(private.join("team"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let error = Segment::create(&directory, &config("team/x", Lifetime::Keep)).unwrap_err();
    assert!(matches!(error, OpenError::Permission { .. }), "{error}");
    if !is_root() {
        return skip("a directory of another owner needs root");
    }
    let theirs = made("theirs", 0o700);
    chown(&theirs, Some(12345), None).unwrap();
    assert!(matches!(open(&theirs), Err(OpenError::Permission { .. })));
}

#[test]
fn a_group_gets_its_own_directory_and_files() {
    use std::os::unix::fs::MetadataExt;
    if !is_root() {
        return skip("giving files to a group needs root");
    }
    let place = place();
    let shared = place.dir.path().join("shared");
    let directory = Directory::open(&shared, Some(4242)).unwrap();
    let stat = std::fs::metadata(directory.path()).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o770, 4242));
    let segment = Segment::create(&directory, &config("a/b", Lifetime::Keep)).unwrap();
    let stat = std::fs::metadata(segment.path()).unwrap();
    assert_eq!((stat.mode() & 0o7777, stat.gid()), (0o660, 4242));
    Segment::attach(&directory, &name("a/b"), "t").unwrap();
    // Another member made it.
    chown(segment.path(), Some(12345), None).unwrap();
    Segment::attach(&directory, &name("a/b"), "t").unwrap();
    chown(segment.path(), Some(0), Some(4243)).unwrap();
    let error = Segment::attach(&directory, &name("a/b"), "t").unwrap_err();
    assert!(matches!(error, OpenError::Permission { .. }), "{error}");
    // Who does not expect a group refuses it.
    assert!(matches!(Directory::open(&shared, None), Err(OpenError::Permission { .. })));
}

#[test]
fn wrong_configurations_name_the_field() {
    let place = place();
    let fails =
        |config: &SegmentConfig, wanted: &str| match Segment::create(&place.directory, config) {
            Err(OpenError::InvalidConfig { field, .. }) => assert_eq!(field, wanted),
            other => panic!("{wanted}: {other:?}"),
        };
    let good = config("x", Lifetime::Keep);
    fails(&SegmentConfig { rings: Vec::new(), ..good.clone() }, "rings");
    fails(&SegmentConfig { max_participants: 0, ..good.clone() }, "max_participants");
    fails(&SegmentConfig { max_participants: 1024, ..good.clone() }, "max_participants");
    fails(&good.clone().with_ring(RingConfig::new("orders", geometry())), "ring name");
    fails(&good.clone().with_ring(RingConfig::new("a/b", geometry())), "ring name");
    fails(&SegmentConfig { laps_left: Some(u64::MAX), ..good.clone() }, "laps_left");
    let maxsize = Geometry { maxsize: 65, ..geometry() };
    fails(&good.clone().with_ring(RingConfig::new("r", maxsize)), "maxsize");
    let dead = |target: &str, geometry| {
        let letter =
            RingConfig { dead_letter: Some(target.into()), ..RingConfig::new("r", geometry) };
        good.clone().with_ring(letter)
    };
    fails(&dead("nowhere", geometry()), "dead_letter");
    fails(&dead("r", geometry()), "dead_letter");
    fails(&dead("orders", Geometry { unit_bytes: 128, ..geometry() }), "dead_letter");
    let single = Geometry { producers: Side::Single, ..geometry() };
    fails(&dead("s", geometry()).with_ring(RingConfig::new("s", single)), "dead_letter");
    let circle = RingConfig { dead_letter: Some("r".into()), ..RingConfig::new("s", geometry()) };
    fails(&dead("s", geometry()).with_ring(circle.clone()), "dead_letter");
    let longer = RingConfig { dead_letter: Some("t".into()), ..circle };
    let back = RingConfig { dead_letter: Some("s".into()), ..RingConfig::new("t", geometry()) };
    fails(&dead("s", geometry()).with_ring(longer.clone()).with_ring(back), "dead_letter");
    let end = RingConfig::new("t", geometry());
    Segment::create(&place.directory, &dead("s", geometry()).with_ring(longer).with_ring(end))
        .unwrap();
}

#[test]
fn rings_start_as_close_to_their_end_as_asked() {
    let place = place();
    let config = SegmentConfig { laps_left: Some(3), ..config("x", Lifetime::Ephemeral) };
    let segment = Segment::create(&place.directory, &config).unwrap();
    let memory = segment.memory(0).unwrap();
    let bits = memory.geometry().bits();
    let tail = memory.header().producers.tail.load(std::sync::atomic::Ordering::Relaxed);
    let left = bits.last_pos() - bits.unpack_mark(tail).pos;
    assert_eq!(left, 3 * bits.entries());
    assert_eq!(segment.packets_left().unwrap(), 0);
}

#[test]
fn looking_changes_nothing_and_needs_no_place() {
    let place = place();
    let config = SegmentConfig { max_participants: 1, ..config("x", Lifetime::Keep) };
    let segment = Segment::create(&place.directory, &config).unwrap();
    let error = Segment::attach(&place.directory, &name("x"), "t").unwrap_err();
    assert!(matches!(error, OpenError::TooManyParticipants { max: 1, .. }));
    let before = std::fs::read(segment.path()).unwrap();
    let copy = place.dir.path().join("copy.raw");
    std::fs::write(&copy, &before).unwrap();
    let looks = [
        Segment::open_readonly(&place.directory, &name("x")).unwrap(),
        Segment::open_raw_file(&copy).unwrap(),
    ];
    for look in &looks {
        assert_eq!(look.uuid(), segment.uuid());
        assert_eq!(look.participants().len(), 1);
        let ring = look.ring_view(0).unwrap();
        assert_eq!((ring.waiting(), look.packets_left().unwrap()), (0, 0));
        // Mapped so that nothing can be written: the table, and the file with the ring. (The attachment's own
        // mappings show the file as it was before it got its name.)
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let file = look.path().to_str().unwrap();
        let of_file = maps.lines().filter(|line| line.ends_with(file));
        let how: Vec<_> = of_file.map(|line| line.split(' ').nth(1).unwrap()).collect();
        assert_eq!(how, ["r--s"; 2]);
    }
    assert!(looks[0].participants()[0].alive && !looks[1].participants()[0].alive);
    assert_eq!(std::fs::read(segment.path()).unwrap(), before);
    segment.destroy().unwrap();
    assert!(looks[0].is_destroyed(), "a look is live");
}
