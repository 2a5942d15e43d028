use super::*;
use std::fs::File;

fn scratch() -> File {
    let file = tempfile::tempfile().unwrap();
    file.set_len(4 * page_bytes()).unwrap();
    file
}

#[test]
fn a_changed_word_ends_the_wait_at_once() {
    let word = AtomicU32::new(7);
    assert_eq!(futex_wait(&word, 6, None), FutexWait::Changed);
    assert_eq!(futex_wait_any(&[(&word, 7), (&word, 6)], None), FutexWait::Changed);
    assert_eq!(wait_in_turns(&[(&word, 7), (&word, 6)], None), FutexWait::Changed);
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let word = AtomicU32::new(0);
    for wait in [futex_wait_any, wait_in_turns] {
        let deadline = deadline_after(Duration::from_millis(5));
        assert_eq!(wait(&[(&word, 0), (&word, 0)], Some(deadline)), FutexWait::TimedOut);
        assert!(monotonic_ns() >= deadline);
    }
    let deadline = deadline_after(Duration::from_millis(5));
    assert_eq!(futex_wait(&word, 0, Some(deadline)), FutexWait::TimedOut);
    assert!(monotonic_ns() >= deadline);
}

#[test]
fn a_wake_reaches_a_sleeper_on_several_words() {
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    let deadline = deadline_after(Duration::from_secs(20));
    std::thread::scope(|scope| {
        let sleeper =
            scope.spawn(|| futex_wait_any(&[(&words[0], 0), (&words[1], 0)], Some(deadline)));
        while futex_wake(&words[1], 1) == 0 && !sleeper.is_finished() {
            assert!(monotonic_ns() < deadline, "the sleeper never slept");
            std::thread::yield_now();
        }
        assert_eq!(sleeper.join().unwrap(), FutexWait::Woken);
    });
}

#[test]
fn a_process_wide_barrier_works_or_is_refused_every_time() {
    let registered = register_barrier();
    assert_eq!(register_barrier(), registered);
    assert_eq!(heavy_barrier(), registered);
}

#[test]
fn a_lock_excludes_its_own_process_too_until_dropped() {
    let file = scratch();
    let held = ByteLock::try_exclusive(&file, 1 << 60).unwrap().unwrap();
    assert!(ByteLock::try_exclusive(&file, 1 << 60).unwrap().is_none());
    assert!(ByteLock::try_shared(&file, 1 << 60).unwrap().is_none());
    assert!(is_held(&file, 1 << 60).unwrap());
    assert!(!is_held(&file, (1 << 60) + 1).unwrap());
    assert!(any_held(&file, (1 << 60) - 5, 10).unwrap());
    let deadline = deadline_after(Duration::from_millis(3));
    let late = ByteLock::lock_until(&file, 1 << 60, LockKind::Shared, deadline).unwrap();
    assert!(late.is_none());
    drop(held);
    assert!(!is_held(&file, 1 << 60).unwrap());
}

#[test]
fn shared_locks_admit_each_other_and_exclude_exclusive_ones() {
    let file = scratch();
    let first = ByteLock::try_shared(&file, 9).unwrap().unwrap();
    let second = ByteLock::try_shared(&file, 9).unwrap().unwrap();
    drop(first);
    assert!(ByteLock::try_exclusive(&file, 9).unwrap().is_none());
    drop(second);
    assert!(ByteLock::try_exclusive(&file, 9).unwrap().is_some());
}

#[test]
fn locks_leave_no_descriptor_open() {
    let file = scratch();
    let inode = {
        use std::os::unix::fs::MetadataExt;
        file.metadata().unwrap().ino()
    };
    let open_here = || {
        use std::os::unix::fs::MetadataExt;
        std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|entry| std::fs::metadata(entry.ok()?.path()).ok())
            .filter(|meta| meta.ino() == inode)
            .count()
    };
    let _locks: Vec<_> =
        (0..10).map(|byte| ByteLock::try_exclusive(&file, byte).unwrap().unwrap()).collect();
    assert_eq!(open_here(), 1);
}

#[test]
fn the_mirror_shows_the_same_bytes() {
    let file = scratch();
    let page = page_bytes();
    let mapping = Mapping::of_file(&file, page, 2 * page, page, Access::Shared).unwrap();
    assert_eq!(mapping.len_bytes() as u64, 3 * page);
    let at = |offset: u64| mapping.base().wrapping_add(offset as usize);
    // SAFETY: inside the mapping, which nobody else uses.
    unsafe { at(2 * page).write(42) };
    // SAFETY: as above.
    assert_eq!(unsafe { at(page).read() }, 42);
}

#[test]
fn a_read_only_mapping_shows_the_file_change_and_is_not_writable() {
    use std::os::unix::fs::FileExt;
    let file = scratch();
    let mapping = Mapping::of_file(&file, 0, page_bytes(), 0, Access::ReadOnly).unwrap();
    file.write_all_at(&[5], 1).unwrap();
    // SAFETY: inside the mapping, which nobody else uses.
    assert_eq!(unsafe { mapping.base().wrapping_add(1).read() }, 5);
    let start = format!("{:x}-", mapping.base() as usize);
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.starts_with(&start)).unwrap();
    assert_eq!(line.split(' ').nth(1), Some("r--s"), "{line}");
}
