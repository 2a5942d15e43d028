//! Dying, or stopping, at a named crash point of the library.
//!
//! Built with `--cfg ringway_crash` only; otherwise there are no crash points, and [`arm`] says so.
//! Before it dies or stops, the process says on stdout where and when: `dying POINT NANOSECONDS` or
//! `stopped POINT NANOSECONDS`, of `CLOCK_MONOTONIC`.

/// What such an announcement says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// It dies there; otherwise it stops.
    pub dies: bool,
    /// Where.
    pub point: String,
    /// When, by `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

impl Announcement {
    /// Reads one, if that is what the line is.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let dies = match words.next()? {
            "dying" => true,
            "stopped" => false,
            _ => return None,
        };
        Some(Self { dies, point: words.next()?.to_owned(), at_ns: words.next()?.parse().ok()? })
    }
}

#[cfg(not(ringway_crash))]
/// Arms this process.
///
/// # Errors
/// There are no crash points in this build.
pub fn arm(_point: &str, _passes: u64, _dies: bool) -> Result<(), String> {
    Err("Usage: this build has no crash points".into())
}

#[cfg(not(ringway_crash))]
/// Switches a deliberate defect of the library on, in this process.
///
/// # Errors
/// There are none in this build.
pub fn switch_on(_mutant: &str) -> Result<(), String> {
    Err("Usage: this build has no mutants".into())
}

#[cfg(ringway_crash)]
pub use armed::{arm, switch_on};

#[cfg(ringway_crash)]
mod armed {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nix::sys::signal::{Signal, raise};

    struct Armed {
        point: String,
        dies: bool,
        passes: AtomicU64,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Arms this process, once: when it comes to `point` for the `passes`-th time, it dies, or stops.
    ///
    /// # Errors
    /// It is armed already.
    pub fn arm(point: &str, passes: u64, dies: bool) -> Result<(), String> {
        let armed = Armed { point: point.into(), dies, passes: AtomicU64::new(passes.max(1)) };
        ARMED.set(armed).map_err(|_| "Usage: it is armed already".to_owned())?;
        ringway::crash::set_hook(Some(hook));
        Ok(())
    }

    /// Switches a deliberate defect of the library on, in this process.
    ///
    /// # Errors
    /// Never.
    pub fn switch_on(mutant: &str) -> Result<(), String> {
        ringway::mutants::set_mutants(&[mutant]);
        Ok(())
    }

    fn hook(name: &'static str) {
        let Some(armed) = ARMED.get() else { return };
        if armed.point != name {
            return;
        }
        let left =
            armed.passes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if left != Ok(1) {
            return;
        }
        let word = if armed.dies { "dying" } else { "stopped" };
        let line = format!("{word} {name} {}\n", ringway::shm::os::monotonic_ns());
        // Whoever does not hear of it sees the death.
        let _ = std::io::stdout().write_all(line.as_bytes());
        let signal = if armed.dies { Signal::SIGKILL } else { Signal::SIGSTOP };
        let _ = raise(signal);
    }
}
