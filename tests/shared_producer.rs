//! Promises of a single-producer queue that several threads of one process share.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use ringway::queue::{QueueConfig, QueueDescriptor, Side};

const WATCHDOG: Duration = Duration::from_secs(20);

/// Says whether a thread of this process sleeps in the kernel.
fn sleeps(thread: nix::unistd::Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.starts_with('S')
}

#[test]
fn every_thread_that_waits_behind_a_reservation_puts_after_it() {
    let config = QueueConfig { producers: Side::Single, ..QueueConfig::default() };
    let queue = QueueDescriptor::local("shared-producer/reserved").unwrap();
    let queue = queue.with_config(config).unwrap().queue().unwrap();
    let mut room = queue.reserve(5).unwrap();
    let (started, threads) = channel();
    for _ in 0..3 {
        let (queue, started) = (queue.clone(), started.clone());
        std::thread::spawn(move || {
            started.send(nix::unistd::gettid()).unwrap();
            queue.put(b"later").unwrap();
        });
    }
    for thread in threads.iter().take(3) {
        let start = Instant::now();
        while !sleeps(thread) {
            assert!(start.elapsed() < WATCHDOG);
            std::thread::yield_now();
        }
    }
    room.copy_from_slice(b"first");
    room.commit().unwrap();
    assert_eq!(queue.get_timeout(WATCHDOG).unwrap().payload, b"first");
    for _ in 0..3 {
        assert_eq!(queue.get_timeout(WATCHDOG).unwrap().payload, b"later");
    }
}
