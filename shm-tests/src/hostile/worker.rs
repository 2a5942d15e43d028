//! What one process of a fleet does.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use super::arena::{Arena, FILES};
use super::plan::{Fault, Plan, Step, When};
use super::status::Status;
use crate::random::{Random, mix};

/// The plan of a segment.
#[must_use]
pub fn plan_of(arena: &Arena, seed: u64, index: u64) -> Plan {
    Plan::new(&mut Random::new(mix(seed) ^ mix(index)), arena.images(), FILES)
}

/// Environment variable that makes a process fail at a segment, to see that it is noticed:
/// `panic@57`, `crash@57`, `hang@57`, or `slow@57`, which hangs the first time only.
pub const FAULT_VARIABLE: &str = "RINGWAY_MUTATE_FAULT";

fn fault(place: &Path) -> Option<(Fault, u64)> {
    let given = std::env::var(FAULT_VARIABLE).ok()?;
    let (kind, index) = given.split_once('@')?;
    if kind == "slow" && place.join("was-slow").exists() {
        return None;
    }
    let fault = match kind {
        "panic" => Fault::Panic,
        "crash" => Fault::Crash,
        "hang" | "slow" => Fault::Hang,
        _ => return None,
    };
    Some((fault, index.parse().ok()?))
}

/// Works through the segments `from`, `from + step`, … below `to`.
///
/// # Errors
/// What the system says about the files.
pub fn work(
    (arena, page, log): (&Path, &Path, &Path),
    (from, step, to): (u64, u64, u64),
    seed: u64,
) -> io::Result<()> {
    // A fleet that dies takes its workers with it.
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let status = Status::open(page)?;
    let mut arena = Arena::new(arena, true)?;
    let place = page.parent().unwrap_or(page);
    let fault = fault(place);
    for index in (from..to).step_by(step as usize) {
        status.start(index);
        let mut plan = plan_of(&arena, seed, index);
        if let Some((fault, _)) = fault.filter(|&(_, at)| at == index) {
            plan.steps.push(Step::Fail(fault));
            File::create(place.join("was-slow"))?;
        }
        let outcome = arena.run(&plan, &status, false)?;
        if let Some(panic) = outcome.panic {
            let mut log = File::options().append(true).create(true).open(log)?;
            writeln!(log, "{index} {}", panic.replace('\n', " "))?;
        }
    }
    Ok(())
}

/// Runs one segment so many times in this process, and tells what each operation comes to.
///
/// # Errors
/// What the system says about the files.
pub fn replay(place: &Path, seed: u64, index: u64, times: u64) -> io::Result<bool> {
    let status = Status::create(&place.join("page"))?;
    let root = place.join("arena");
    std::fs::create_dir(&root)?;
    std::fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    let mut arena = Arena::new(&root, true)?;
    let plan = plan_of(&arena, seed, index);
    let image = &arena.images()[plan.image];
    println!("{plan:#?}\n{:#?} closed: {}", image.config, image.closed);
    let mut fine = true;
    // What happens while a second thread writes is told the first time only.
    for time in 0..times {
        status.start(index);
        let outcome = arena.run(&plan, &status, time == 0)?;
        if outcome.panic.is_some() || time == 0 {
            println!("{outcome:?}");
        }
        fine &= outcome.panic.is_none();
        if plan.when == When::Never {
            break;
        }
    }
    Ok(fine)
}
