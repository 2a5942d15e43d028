//! Children of a peer, forked without exec. The peer has one thread, so a child may go on with
//! anything; but in a storm of forks, which has two, and whose children only wait.

#![allow(unsafe_code, reason = "the promises about forked children need real ones")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::WaitStatus;
use nix::unistd::{ForkResult, Pid, fork, getpid, getppid};
use ringway::queue::{QueueDescriptor, RecordInfo, Wait};
use ringway::shm::directory::Directory;
use ringway::shm::segment::Segment;

use super::{Answer, Script, err};

/// Runs a command in a child, which then drops all it inherited and ends; returns its answer.
pub(super) fn run_in_child(script: &mut Script, command: &str) -> Answer {
    let (mut reader, mut writer) = std::io::pipe().map_err(err)?;
    let parent = getpid();
    // SAFETY: this process has one thread, so the child finds no lock held by another.
    match unsafe { fork() }.map_err(err)? {
        ForkResult::Child => {
            drop(reader);
            die_with(parent);
            let answer = script.run(command);
            *script = Script::default();
            let told = writer.write_all(answer.as_bytes());
            std::process::exit(i32::from(told.is_err()));
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut answer = String::new();
            let read = reader.read_to_string(&mut answer);
            let ended = nix::sys::wait::waitpid(child, None);
            read.map_err(err)?;
            match answer.split_once(' ') {
                Some(("ok", rest)) => Ok(rest.to_owned()),
                Some(("err", rest)) => Err(rest.to_owned()),
                _ if answer == "ok" => Ok(String::new()),
                _ => Err(format!("ChildDied {ended:?}")),
            }
        }
    }
}

/// Reads up to `max` records in place, and makes a child inside the reader of the first, which leaves the
/// reader as well, drops all it inherited and ends; says how many were read here, and how the child ended.
pub(super) fn fork_in_reader(script: &mut Script, name: &str, max: usize) -> Answer {
    let consumer = script.consumers.get_mut(name).ok_or("Usage: no consumer")?;
    let parent = getpid();
    let mut ended = None;
    let mut read = |_: &[u8], _: RecordInfo| {
        ended.get_or_insert_with(|| fork_here(parent));
    };
    let got = match max {
        1 => consumer.get_with(Wait::No, &mut read).map(|()| 1),
        _ => consumer.get_many_with(max, Wait::No, &mut read),
    };
    if getpid() != parent {
        *script = Script::default();
        std::process::exit(0);
    }
    Ok(format!("{} {}", got.map_err(err)?, ended.unwrap_or_default()))
}

/// Forks, and returns in both: in the parent how the child ended, when it has.
fn fork_here(parent: Pid) -> String {
    // SAFETY: this process has one thread, so the child finds no lock held by another.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            die_with(parent);
            String::new()
        }
        Ok(ForkResult::Parent { child }) => {
            let ended = nix::sys::wait::waitpid(child, None).map(|end| match end {
                WaitStatus::Exited(_, code) => format!("exited {code}"),
                other => format!("{other:?}"),
            });
            format!("{ended:?}")
        }
        Err(error) => err(error),
    }
}

/// Makes a child that holds all it inherited, and outlives its parent; it ends when the test closes
/// the other end of stdin.
pub(super) fn hold_in_child() -> Answer {
    // SAFETY: the child only waits and dies, with system calls alone: it needs no lock, whichever
    // another thread held.
    match unsafe { fork() }.map_err(err)? {
        ForkResult::Child => {
            let stdin = std::io::stdin();
            let mut hang_up = [PollFd::new(stdin.as_fd(), PollFlags::empty())];
            // Only a hang-up ends it: commands that wait in the pipe are the parent's.
            while poll(&mut hang_up, PollTimeout::NONE).is_err() {}
            let _ = kill(getpid(), Signal::SIGKILL);
            std::process::abort()
        }
        ForkResult::Parent { child } => Ok(child.to_string()),
    }
}

/// Makes such children, one after the other, while another thread attaches to the segment of a queue
/// and leaves it again all the time.
pub(super) fn storm(count: u64, json: &str) -> Answer {
    let queue = QueueDescriptor::from_json(json).map_err(err)?;
    let address = queue.shm_address().ok_or("Usage: a queue in shared memory")?;
    let directory = address.directory().ok_or("Usage: a queue with a directory")?;
    let directory = Directory::open(directory, None).map_err(err)?;
    let name = address.segment().parse().map_err(err)?;
    let (attached, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let attacher = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                Segment::attach(&directory, &name, "storm").map_err(err)?;
                attached.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), String>(())
        });
        let children: Vec<Answer> = (0..count)
            .map(|_| {
                // At another point of another attachment each time.
                let seen = attached.load(Ordering::Relaxed);
                while attached.load(Ordering::Relaxed) == seen && !attacher.is_finished() {
                    std::hint::spin_loop();
                }
                hold_in_child()
            })
            .collect();
        done.store(true, Ordering::Relaxed);
        attacher.join().map_err(|_| "Panicked")??;
        let children: Result<Vec<String>, String> = children.into_iter().collect();
        Ok(children?.join(" "))
    })
}

fn die_with(parent: Pid) {
    let asked = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    if asked.is_err() || getppid() != parent {
        std::process::exit(1);
    }
}
