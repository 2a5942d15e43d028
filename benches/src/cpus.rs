//! Which CPUs: one for each of two processes, or some that many processes share.

#![allow(unsafe_code, reason = "no crate in use here has a safe sched_setscheduler")]

use std::fs;

use nix::libc;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::error::{BenchError, Doing, Result};

/// The CPUs of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuPair {
    /// Where this process runs.
    pub(crate) here: usize,
    /// Where the peer process runs.
    pub(crate) there: usize,
}

impl CpuPair {
    /// Takes the CPUs asked for, or picks two on different cores where there are such.
    ///
    /// # Errors
    /// `Usage` when there are not two different CPUs on which this process may run.
    pub(crate) fn choose(asked: Option<&[usize]>) -> Result<Self> {
        let allowed = allowed()?;
        match asked {
            Some(asked) => check(asked, &allowed),
            None => pick(&allowed, &siblings),
        }
    }
}

/// Takes the CPUs asked for, or all on which this process may run: two at least, for a team's members
/// round robin.
///
/// # Errors
/// `Usage` when there are not two different CPUs on which this process may run.
pub(crate) fn choose_many(asked: Option<&[usize]>) -> Result<Vec<usize>> {
    let allowed = allowed()?;
    let chosen = asked.unwrap_or(&allowed).to_vec();
    // The first two are the floor's.
    match *chosen {
        [first, second, ..] => check(&[first, second], &allowed)?,
        _ => check(&chosen, &allowed)?,
    };
    if let Some(cpu) = chosen.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(not_allowed(*cpu, &allowed));
    }
    Ok(chosen)
}

/// Keeps the calling thread, and those it starts, on one CPU.
///
/// # Errors
/// `Os` when the system refuses, say because the CPU went offline.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).doing(format!("pinning to CPU {cpu}"))
}

/// Has the calling thread run only while nobody else wants its CPU.
///
/// # Errors
/// `Os` when the system refuses.
pub(crate) fn be_idle() -> Result<()> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the parameters, which live throughout, and changes the calling thread's
    // policy alone.
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    nix::errno::Errno::result(outcome).map(drop).doing("lowering a thread's priority")
}

fn allowed() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None).doing("asking for the CPUs of this process")?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

fn check(asked: &[usize], allowed: &[usize]) -> Result<CpuPair> {
    let [here, there] = *asked else {
        return Err(BenchError::Usage(format!(
            "--cpus takes two CPUs, one for each process, not {}: for example --cpus 0,1",
            asked.len()
        )));
    };
    if here == there {
        return Err(BenchError::Usage(format!(
            "--cpus {here},{there} asks for one CPU only: two processes that spin would wait for \
             each other's time slices; name two different ones"
        )));
    }
    if let Some(cpu) = asked.iter().find(|cpu| !allowed.contains(cpu)) {
        return Err(not_allowed(*cpu, allowed));
    }
    Ok(CpuPair { here, there })
}

fn not_allowed(cpu: usize, allowed: &[usize]) -> BenchError {
    BenchError::Usage(format!("CPU {cpu} is not among those of this process: {}", list(allowed)))
}

fn pick(allowed: &[usize], siblings: &dyn Fn(usize) -> Vec<usize>) -> Result<CpuPair> {
    let [here, rest @ ..] = allowed else {
        return Err(BenchError::Usage("this process may run on no CPU at all".into()));
    };
    let same_core = siblings(*here);
    let there = rest.iter().find(|cpu| !same_core.contains(cpu)).or_else(|| rest.first());
    there.map(|there| CpuPair { here: *here, there: *there }).ok_or_else(|| {
        BenchError::Usage(format!(
            "two CPUs are needed, one for each process, but this process may run on CPU {here} \
             only (see taskset, cpusets, container limits)"
        ))
    })
}

/// The hardware threads of a CPU's core, itself included; nothing where it is not known.
fn siblings(cpu: usize) -> Vec<usize> {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    fs::read_to_string(path).map(|text| parse_list(text.trim())).unwrap_or_default()
}

/// Parses the kernel's `0-2,5`.
fn parse_list(text: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    text.split(',').filter_map(range).flatten().collect()
}

fn list(cpus: &[usize]) -> String {
    cpus.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{CpuPair, check, parse_list, pick};

    #[test]
    fn one_cpu_is_refused_by_name() {
        let error = pick(&[3], &|cpu| vec![cpu]).unwrap_err().to_string();
        assert!(error.contains("CPU 3 only"), "{error}");
        let error = check(&[1], &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("takes two CPUs"), "{error}");
        let error = check(&[1, 1], &[0, 1]).unwrap_err().to_string();
        assert!(error.contains("one CPU only"), "{error}");
    }

    #[test]
    fn a_cpu_outside_the_mask_is_refused_with_the_mask() {
        let error = check(&[0, 9], &[0, 2]).unwrap_err().to_string();
        assert!(error.contains("CPU 9") && error.contains("0, 2"), "{error}");
    }

    #[test]
    fn another_core_is_preferred_to_another_thread_of_the_same() {
        let siblings = |cpu: usize| vec![cpu / 2 * 2, cpu / 2 * 2 + 1];
        assert_eq!(pick(&[0, 1, 2, 3], &siblings).unwrap(), CpuPair { here: 0, there: 2 });
        assert_eq!(pick(&[0, 1], &siblings).unwrap(), CpuPair { here: 0, there: 1 });
    }

    #[test]
    fn kernel_lists_are_understood() {
        assert_eq!(parse_list("0-2,5"), [0, 1, 2, 5]);
        assert_eq!(parse_list("7"), [7]);
        assert!(parse_list("").is_empty());
    }
}
