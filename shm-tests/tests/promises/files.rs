//! Files that are no segments, files of others, and a filesystem that is full.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statvfs::statvfs;
use ringway::queue::{QueueConfig, QueueDescriptor};
use ringway::shm::Lifetime;
use shm_tests::place::Place;
use shm_tests::wait_until;

use crate::{mpmc, place};

/// A valid segment that nobody uses, and its file.
fn abandoned(place: &Place) -> (QueueDescriptor, PathBuf) {
    let queue = place.queue_of("file", mpmc(), Lifetime::Keep);
    let mut peer = place.peer();
    peer.open(&queue);
    peer.ok("put q x");
    peer.quit();
    (queue, place.segments().join("file"))
}

/// Opens it in a new process, which must refuse with the variant, and name the path.
#[track_caller]
fn refused(place: &Place, queue: &QueueDescriptor, variant: &str, path: &Path) {
    let mut peer = place.peer();
    let error = peer.err(format!("open q {}", queue.to_json()));
    assert!(error.starts_with(variant), "{error}");
    assert!(error.contains(&format!("{:?}", path.display().to_string())), "{error}");
    peer.quit();
}

#[test]
fn a_file_that_others_can_open_is_refused_by_its_path() {
    let place = place();
    let (queue, file) = abandoned(&place);
    for mode in [0o666, 0o660, 0o604, 0o640] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        refused(&place, &queue, "Permission", &file);
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(queue.get().unwrap().payload, b"x");
    fs::set_permissions(place.segments(), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&place, &queue, "Permission", place.segments());
    fs::set_permissions(place.segments(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_of_another_user_is_refused_by_its_path() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root can give a file to another user");
        return;
    }
    let place = place();
    let (queue, file) = abandoned(&place);
    chown(&file, Some(12345), None).unwrap();
    refused(&place, &queue, "Permission", &file);
    chown(&file, Some(0), None).unwrap();
    assert_eq!(queue.get().unwrap().payload, b"x");
    chown(place.segments(), Some(12345), None).unwrap();
    refused(&place, &queue, "Permission", place.segments());
    chown(place.segments(), Some(0), None).unwrap();
}

#[test]
fn a_truncated_or_garbage_file_is_refused_by_its_path() {
    let place = place();
    let (queue, file) = abandoned(&place);
    let whole = fs::read(&file).unwrap();
    let put = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
    };
    for len in [0, 1, 100, 4095, 4096, whole.len() / 2, whole.len() - 1] {
        put(&whole[..len]);
        refused(&place, &queue, "Corrupt", &file);
    }
    put(&[whole.as_slice(), &[0]].concat());
    refused(&place, &queue, "Corrupt", &file);
    put(&vec![0; whole.len()]);
    refused(&place, &queue, "Corrupt", &file);
    put(&vec![0xff; whole.len()]);
    refused(&place, &queue, "Corrupt", &file);
    put(b"#!/bin/sh\necho no segment\n");
    refused(&place, &queue, "Corrupt", &file);
    put(&whole);
    assert_eq!(queue.get().unwrap().payload, b"x");
}

#[test]
fn a_link_or_a_directory_in_place_of_the_file_is_refused_by_its_path() {
    let place = place();
    let (queue, file) = abandoned(&place);
    let elsewhere = place.path().join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
    refused(&place, &queue, "Permission", &file);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let mut peer = place.peer();
    let error = peer.err(format!("open q {}", queue.to_json()));
    assert!(error.contains("segments/file"), "{error}");
}

#[test]
fn a_full_filesystem_is_an_error_at_creation_and_never_a_sigbus() {
    // In a thread of its own: the mount is seen by it and its peers alone, and goes with them.
    std::thread::scope(|scope| {
        scope.spawn(on_a_small_filesystem).join().unwrap();
    });
}

/// A mounted filesystem; unmounted before the directory it is in is removed.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

fn on_a_small_filesystem() {
    let place = place();
    let small = place.path().join("small");
    fs::create_dir(&small).unwrap();
    let none: Option<&str> = None;
    let mounted = unshare(CloneFlags::CLONE_NEWNS)
        .and_then(|()| mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none))
        .and_then(|()| {
            mount(Some("small"), &small, Some("tmpfs"), MsFlags::empty(), Some("size=2m,mode=700"))
        });
    if let Err(errno) = mounted {
        println!("SKIPPED: no small filesystem can be mounted here: {errno}");
        return;
    }
    let _unmount = Unmount(small.clone());
    let there = |name: &str, bytes: u64| {
        let config = QueueConfig {
            capacity_packets: Some(256),
            capacity_bytes: Some(bytes),
            ..QueueConfig::default()
        };
        place.queue(name, config).with_directory(&small).unwrap()
    };
    let left = || fs::read_dir(&small).unwrap().count();
    let mut peer = place.peer();
    let queue = there("first", 256 * 1024);
    peer.open(&queue);
    for _ in 0..3 {
        let error = peer.err(format!("open big {}", there("big/one", 8 << 20).to_json()));
        assert!(error.starts_with("NoSpace") && error.contains("small/big/one"), "{error}");
        let number = |field: &str| -> u64 {
            let (_, rest) = error.split_once(&format!("{field}: ")).unwrap();
            let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap();
            digits.parse().unwrap()
        };
        assert!(number("needed") > 8 << 20, "{error}");
        assert!((1..2 << 20).contains(&number("available")), "{error}");
        assert_eq!(left(), 1, "nothing is left of it");
    }
    // Not a byte is free, and the queue that exists goes on, all its bytes included.
    let filler = fs::File::create(small.join("filler")).unwrap();
    std::io::copy(&mut std::io::repeat(7), &mut &filler).unwrap_err();
    let error = peer.err(format!("open small {}", there("small", 4096).to_json()));
    assert!(error.starts_with("NoSpace"), "{error}");
    let mut other = place.peer();
    other.open(&queue);
    for round in 0..40 {
        for i in 0..3 {
            peer.ok(format!("put q {round}-{i}*60000"));
        }
        for i in 0..3 {
            assert_eq!(other.ok("get q"), format!("{round}-{i} 1"));
        }
    }
    drop(filler);
    fs::remove_file(small.join("filler")).unwrap();
    // A process that another test is just starting may still hold the file.
    wait_until("the room is free", || statvfs(&small).unwrap().blocks_available() > 100);
    peer.open_as("small", &there("small", 4096));
    peer.quit();
    other.quit();
    assert_eq!(left(), 0);
}

#[test]
fn a_file_cut_off_at_any_page_is_an_error_for_everybody_who_opens_it_and_no_sigbus() {
    let place = place();
    let (queue, file) = abandoned(&place);
    let whole = fs::read(&file).unwrap();
    let there = place.segments().display();
    // One process for all of it: a SIGBUS would be its end, and that of its answers.
    let mut peer = place.peer();
    for len in (0..whole.len()).step_by(4096).chain([1, whole.len() - 1]) {
        let cut = fs::File::options().write(true).open(&file).unwrap();
        cut.set_len(len as u64).unwrap();
        let error = peer.err(format!("open q {}", queue.to_json()));
        assert!(error.starts_with("Corrupt") && error.contains("truncated"), "{len}: {error}");
        let error = peer.err(format!("look {there} file"));
        assert!(error.starts_with("Corrupt") && error.contains("truncated"), "{len}: {error}");
        assert_eq!(peer.ok(format!("headers {there} file 1")), "0 1", "{len}");
        let report = peer.ok(format!("clean {there}"));
        assert!(report.contains("Unreadable") && report.contains("truncated"), "{len}: {report}");
        cut.set_len(whole.len() as u64).unwrap();
        fs::write(&file, &whole).unwrap();
    }
    peer.open(&queue);
    assert_eq!(peer.ok("get q"), "x 1");
}

#[test]
fn a_file_that_is_cut_off_meanwhile_hits_nobody_who_has_not_mapped_it() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let place = place();
    let (queue, file) = abandoned(&place);
    let whole = fs::read(&file).unwrap();
    let cut = fs::File::options().write(true).open(&file).unwrap();
    let over = AtomicBool::new(false);
    let mut peer = place.peer();
    let (mut whole_times, mut refused_times) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for len in [0, 100, 4096, 4200, whole.len() as u64 - 1] {
                    cut.set_len(len).unwrap();
                    std::thread::yield_now();
                    cut.set_len(whole.len() as u64).unwrap();
                    std::os::unix::fs::FileExt::write_all_at(&cut, &whole, 0).unwrap();
                    std::thread::yield_now();
                }
            }
        });
        let _over = Over(&over);
        wait_until("it was read whole, and found cut off, often enough", || {
            let answer = peer.ok(format!("headers {} file 200", place.segments().display()));
            let (read, refused) = answer.split_once(' ').unwrap();
            whole_times += read.parse::<u32>().unwrap();
            refused_times += refused.parse::<u32>().unwrap();
            whole_times > 200 && refused_times > 200
        });
    });
    peer.open(&queue);
    assert_eq!(peer.ok("get q"), "x 1");
}

/// Says that it is over, also after a failure.
struct Over<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
