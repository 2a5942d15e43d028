//! A scripted process, as the test sees it.
//!
//! Commands go down its stdin, answers come back line by line; a thread collects them, so that every
//! wait for an answer has a deadline. The peer dies with the thread that started it
//! (`PR_SET_PDEATHSIG`), with the end of its stdin, and when this is dropped.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ringway::queue::{Queue, QueueDescriptor};

use crate::{WATCHDOG, wait_until};

/// A scripted process; killed when dropped.
#[derive(Debug)]
pub struct Peer {
    child: Child,
    stdin: Option<ChildStdin>,
    answers: Receiver<String>,
    last: String,
}

/// What a sleeper waits for.
#[derive(Clone, Copy, Debug)]
pub enum Asleep {
    /// Something to get.
    Getting,
    /// Room to put.
    Putting,
}

impl Peer {
    /// Starts the program, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(program: &Path) -> Self {
        Self::of(Self::spawn(program, std::process::id()).expect("starting a peer"))
    }

    /// As [`Peer::start`], as another user, of one group and no other. For root.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_as(program: &Path, uid: u32, gid: u32) -> Self {
        let mut command = Command::new(program);
        command.uid(uid).gid(gid).current_dir("/");
        Self::of(Self::spawn_by(command, std::process::id()).expect("starting a peer"))
    }

    /// Starts the program, which dies with the calling thread. `parent` is this process as the peer
    /// sees it: 0 from a pid namespace of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn spawn(program: &Path, parent: u32) -> io::Result<Child> {
        Self::spawn_by(Command::new(program), parent)
    }

    fn spawn_by(mut command: Command, parent: u32) -> io::Result<Child> {
        command.arg(parent.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()
    }

    /// Takes over what [`Peer::spawn`] started, and waits until it is ready.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn of(mut child: Child) -> Self {
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("the peer's stdout");
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let mut peer = Self { child, stdin, answers, last: "start".into() };
        assert_eq!(peer.answer(), "ok ready");
        peer
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Sends a command; the answer is to be fetched with [`Peer::answer`].
    ///
    /// # Panics
    /// When the peer is dead.
    #[track_caller]
    pub fn send(&mut self, command: impl Into<String>) {
        self.last = command.into();
        let stdin = self.stdin.as_mut().expect("the peer was told to end");
        let sent = writeln!(stdin, "{}", self.last).and_then(|()| stdin.flush());
        assert!(sent.is_ok(), "the peer is dead before {:?}", self.last);
    }

    /// Sends a command, unless the peer is dead already.
    pub fn try_send(&mut self, command: impl Into<String>) -> bool {
        self.last = command.into();
        let Some(stdin) = self.stdin.as_mut() else { return false };
        writeln!(stdin, "{}", self.last).and_then(|()| stdin.flush()).is_ok()
    }

    /// Lets it end in order: it has no more commands to come.
    pub fn finish(&mut self) {
        drop(self.stdin.take());
    }

    /// Says how it ended, if it has.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("waiting for a peer")
    }

    /// All answers up to the end of a peer that has ended.
    pub fn last_words(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        while let Ok(line) = self.answers.recv_timeout(WATCHDOG) {
            words.push(line);
        }
        words
    }

    /// Waits for the next answer.
    ///
    /// # Panics
    /// When the peer dies, or the watchdog's time is over.
    #[track_caller]
    pub fn answer(&mut self) -> String {
        match self.answers.recv_timeout(WATCHDOG) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => {
                panic!("peer {} does not answer to {:?}", self.child.id(), self.last)
            }
            Err(RecvTimeoutError::Disconnected) => {
                panic!("peer {} died of {:?}: {:?}", self.child.id(), self.last, self.child.wait())
            }
        }
    }

    /// The answer, if it has come already.
    pub fn try_answer(&mut self) -> Option<String> {
        self.answers.try_recv().ok()
    }

    /// Sends a command and waits for its answer.
    #[track_caller]
    pub fn ask(&mut self, command: impl Into<String>) -> String {
        self.send(command);
        self.answer()
    }

    /// Waits for the answer to be `ok`, and returns the rest of it.
    ///
    /// # Panics
    /// On any other answer.
    #[track_caller]
    pub fn answer_ok(&mut self) -> String {
        let answer = self.answer();
        match answer.strip_prefix("ok") {
            Some(rest) => rest.trim_start().to_owned(),
            None => panic!("{:?} got {answer:?}", self.last),
        }
    }

    /// Waits for the answer to be `err`, and returns the rest of it: the variant and its fields.
    ///
    /// # Panics
    /// On any other answer.
    #[track_caller]
    pub fn answer_err(&mut self) -> String {
        let answer = self.answer();
        match answer.strip_prefix("err ") {
            Some(rest) => rest.to_owned(),
            None => panic!("{:?} got {answer:?}", self.last),
        }
    }

    /// Sends a command that must succeed.
    #[track_caller]
    pub fn ok(&mut self, command: impl Into<String>) -> String {
        self.send(command);
        self.answer_ok()
    }

    /// Sends a command that must fail; returns the variant and its fields.
    #[track_caller]
    pub fn err(&mut self, command: impl Into<String>) -> String {
        self.send(command);
        self.answer_err()
    }

    /// Opens a queue in the peer, under the name `q`.
    #[track_caller]
    pub fn open(&mut self, queue: &QueueDescriptor) {
        self.open_as("q", queue);
    }

    /// Opens a queue in the peer.
    #[track_caller]
    pub fn open_as(&mut self, name: &str, queue: &QueueDescriptor) {
        self.ok(format!("open {name} {}", queue.to_json()));
    }

    /// Kills it (SIGKILL) and reaps it: when this returns, the kernel has freed its locks.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        self.kill_unreaped();
        self.child.wait().expect("reaping a peer");
    }

    /// Kills it (SIGKILL) and leaves the zombie.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill_unreaped(&self) {
        kill(self.pid(), Signal::SIGKILL).expect("killing a peer");
    }

    /// Stops it (SIGSTOP), and waits until it is stopped.
    ///
    /// # Panics
    /// When it cannot be stopped.
    pub fn stop(&self) {
        kill(self.pid(), Signal::SIGSTOP).expect("stopping a peer");
        wait_until("the peer is stopped", || self.state() == 'T');
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it cannot be continued.
    pub fn resume(&self) {
        kill(self.pid(), Signal::SIGCONT).expect("continuing a peer");
    }

    /// Ends it in order: everything is dropped, the process exits.
    ///
    /// # Panics
    /// When it does not exit with success.
    pub fn quit(mut self) {
        drop(self.stdin.take());
        let mut ended = None;
        wait_until("the peer has ended", || {
            ended = self.child.try_wait().expect("waiting for a peer");
            ended.is_some()
        });
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }

    /// The state letter of `/proc/PID/stat`: `R`, `S`, `T`, `Z`, …; `X` when there is none.
    #[must_use]
    pub fn state(&self) -> char {
        state_of(self.child.id())
    }

    /// Waits until it sleeps in a blocking operation on `queue`: it is registered as a waiter, and
    /// its process sleeps.
    ///
    /// # Panics
    /// When it does not fall asleep.
    #[track_caller]
    pub fn wait_asleep(&self, queue: &Queue, id: u16, what: Asleep) {
        let header = queue.ring().expect("a ring").raw().memory().header();
        let line = match what {
            Asleep::Getting => &header.get_waiters,
            Asleep::Putting => &header.put_waiters,
        };
        let word = &line.words[usize::from(id) / 64];
        wait_until("the peer sleeps", || {
            let waits = word.load(std::sync::atomic::Ordering::Acquire) & (1 << (id % 64)) != 0;
            waits && self.state() == 'S'
        });
    }
}

/// The state letter of a process.
#[must_use]
pub fn state_of(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.unwrap_or('X')
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
