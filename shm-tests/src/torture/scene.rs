//! Short parts: a process that creates, closes, leaves, destroys or cleans, and dies of it.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::crash::Announcement;
use crate::peer::Peer;
use crate::torture::points::Point;
use crate::torture::session::Session;

/// How long one may take, while this process runs.
const PATIENCE: Duration = Duration::from_secs(30);
const PACE: Duration = Duration::from_micros(200);

/// Time that passes only while this process runs, so that a machine which stops everybody for a
/// minute harms no verdict.
#[derive(Debug)]
pub(super) struct Patience {
    left: Duration,
}

impl Patience {
    pub(super) fn new(left: Duration) -> Self {
        Self { left }
    }

    /// Waits a moment, and says whether there is any left.
    pub(super) fn wait(&mut self, moment: Duration) -> bool {
        std::thread::sleep(moment);
        self.left = self.left.saturating_sub(moment);
        !self.left.is_zero()
    }
}

/// How a scene ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Killed where it was to be.
    Died,
    /// It did all it was told; the answers.
    Lived(Vec<String>),
    /// It did not end: wedged.
    Hung,
}

/// Starts a process, arms it, has it do all commands and end in order, unless it dies before.
pub(super) fn play(session: &mut Session, point: Option<&Point>, commands: &[String]) -> Ending {
    let programs = &session.programs;
    let program = if point.is_some() { &programs.crashing } else { &programs.ordinary };
    let mut peer = Peer::start(program);
    if let Some(point) = point {
        peer.try_send(format!("die {} 1", point.name));
    }
    for command in commands {
        peer.try_send(command.clone());
    }
    peer.finish();
    let mut patience = Patience::new(PATIENCE);
    let status = loop {
        if let Some(status) = peer.ended() {
            break status;
        }
        if !patience.wait(PACE) {
            return Ending::Hung;
        }
    };
    let words = peer.last_words();
    let died = words.iter().filter_map(|line| Announcement::parse(line)).find(|it| it.dies);
    if let Some(announced) = died
        && status.signal().is_some()
    {
        session.killed(Some(&announced.point));
        return Ending::Died;
    }
    if !status.success() {
        session.fault(format!("{commands:?} armed with {point:?} ended with {status}"));
    }
    Ending::Lived(words)
}
