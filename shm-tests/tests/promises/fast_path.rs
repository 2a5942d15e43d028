//! What the fast path does not do, seen instruction by instruction: the peer is traced.

use std::fs::File;
use std::os::unix::fs::FileExt;

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use ringway::queue::{QueueConfig, Side};
use shm_tests::peer::Peer;

use crate::{place, small};

/// Of what kind an instruction is that costs more than itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Costly {
    system_calls: u32,
    fences: u32,
    locked: u32,
}

#[test]
fn single_sided_fast_path_makes_no_system_call_and_no_fence() {
    let Some((steps, costly)) = watch(Side::Single) else { return };
    assert!(steps > 1000, "{steps} instructions are no puts and gets");
    assert_eq!(costly, Costly::default(), "in {steps} instructions");
}

#[test]
fn the_watch_sees_the_locked_instructions_of_a_many_sided_ring() {
    let Some((_, costly)) = watch(Side::Multi) else { return };
    assert!(costly.locked > 0, "{costly:?}");
    assert_eq!((costly.system_calls, costly.fences), (0, 0), "{costly:?}");
}

#[test]
fn a_router_adds_no_system_call_no_fence_and_no_locked_instruction_to_a_put() {
    for side in [Side::Single, Side::Multi] {
        let Some((_, without)) = watch_verb(side, &[], "marked-route q 0 3") else { return };
        let Some((_, with)) = watch_verb(side, &[], "marked-route q 1 3") else { return };
        // The shared queue has some of its own: the slot of a single producer, the claim of many.
        assert!(without.locked > 0, "{without:?}");
        assert_eq!(with, without, "{side:?}");
    }
}

/// Counts what a peer executes that puts and gets through owned handles.
fn watch(side: Side) -> Option<(u32, Costly)> {
    watch_verb(side, &["producer q", "consumer q"], "marked q 3")
}

/// Counts what a peer executes between the two signals of a verb.
fn watch_verb(side: Side, before: &[&str], verb: &str) -> Option<(u32, Costly)> {
    let place = place();
    let queue =
        place.queue("watched", QueueConfig { capacity_packets: Some(256), ..small(side, side) });
    let mut peer = place.peer();
    peer.open(&queue);
    for command in before {
        peer.ok(*command);
    }
    let pid = Pid::from_raw(peer.id() as i32);
    match ptrace::seize(pid, ptrace::Options::PTRACE_O_EXITKILL) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            eprintln!("SKIPPED: this system lets nobody trace its children (ptrace: EPERM)");
            return None;
        }
        Err(errno) => panic!("tracing: {errno}"),
    }
    peer.send(verb);
    await_stop(pid, Signal::SIGWINCH);
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut steps, mut costly) = (0, Costly::default());
    loop {
        let next = instruction_at(&memory, pid);
        if next.mnemonic() == Mnemonic::Syscall {
            if ptrace::getregs(pid).unwrap().rax == nix::libc::SYS_kill as u64 {
                break;
            }
            costly.system_calls += 1;
        }
        count(&next, &mut costly);
        steps += 1;
        ptrace::step(pid, None).unwrap();
        await_stop(pid, Signal::SIGTRAP);
    }
    finish(pid, &mut peer);
    Some((steps, costly))
}

/// Lets the peer go past its second signal, untraced.
fn finish(pid: Pid, peer: &mut Peer) {
    ptrace::cont(pid, None).unwrap();
    await_stop(pid, Signal::SIGWINCH);
    ptrace::detach(pid, None).unwrap();
    peer.answer_ok();
}

/// Waits until the peer stops for this; other signals are passed on.
fn await_stop(pid: Pid, wanted: Signal) {
    loop {
        match waitpid(pid, Some(WaitPidFlag::__WALL)).unwrap() {
            WaitStatus::Stopped(_, signal) if signal == wanted => return,
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal).unwrap(),
            other => panic!("the peer ended: {other:?}"),
        }
    }
}

fn instruction_at(memory: &File, pid: Pid) -> Instruction {
    let at = ptrace::getregs(pid).unwrap().rip;
    let mut bytes = [0; 15];
    let len = memory.read_at(&mut bytes, at).unwrap();
    let next = Decoder::with_ip(64, &bytes[..len], at, DecoderOptions::NONE).decode();
    assert_ne!(next.code(), Code::INVALID, "at {at:#x}");
    next
}

fn count(instruction: &Instruction, costly: &mut Costly) {
    use Mnemonic::{Cpuid, Lfence, Mfence, Serialize, Sfence, Xchg};
    match instruction.mnemonic() {
        Mfence | Lfence | Sfence | Cpuid | Serialize => costly.fences += 1,
        // Locked without saying so.
        Xchg if instruction.op0_kind() == OpKind::Memory => costly.locked += 1,
        _ if instruction.has_lock_prefix() => costly.locked += 1,
        _ => {}
    }
}
