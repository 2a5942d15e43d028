//! Children of a peer, forked without exec. The peer has one thread, so a child may go on with
//! anything.

#![allow(unsafe_code, reason = "the promises about forked children need real ones")]

use std::io::{Read, Write};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{ForkResult, fork, getpid, getppid};

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

/// Makes a child that holds all it inherited, and outlives its parent; it ends when the test closes
/// the other end of stdin.
pub(super) fn hold_in_child() -> Answer {
    // SAFETY: as above.
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

fn die_with(parent: nix::unistd::Pid) {
    let asked = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
    if asked.is_err() || getppid() != parent {
        std::process::exit(1);
    }
}
