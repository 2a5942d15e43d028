//! One worker process, as its parent has it: started, heard, killed, and never left behind.

use std::ffi::OsString;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use nix::sys::signal::Signal;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::dispatcher::Dispatcher;
use super::plan::TaskSpec;
use super::worker::environment;

/// Lines of standard error that a report has.
const TAIL_LINES: usize = 20;
/// Bytes of standard error that are kept.
const TAIL_BYTES: usize = 8 << 10;

/// A running worker; killed when dropped.
pub(super) struct Process {
    child: Child,
    /// Readable when it has ended.
    pub(super) pidfd: OwnedFd,
    stderr: Option<ChildStderr>,
    tail: Vec<u8>,
    forward: bool,
    reaped: bool,
}

impl Process {
    pub(super) fn start(how: &Dispatcher, spec: &TaskSpec) -> std::io::Result<Self> {
        let own = || std::env::args_os().skip(1).collect::<Vec<OsString>>();
        let (program, args) = match (&how.program, &how.args) {
            // The very file that runs, whatever is there on disk by now.
            (None, args) => ("/proc/self/exe".into(), args.clone().unwrap_or_else(own)),
            (Some(program), args) => (program.clone(), args.clone().unwrap_or_default()),
        };
        let name = match &how.program {
            Some(program) => program.as_os_str().to_owned(),
            None => std::env::args_os().next().unwrap_or_default(),
        };
        let name = std::path::Path::new(&name).file_name().unwrap_or_default();
        let mut shown = name.to_owned();
        shown.push(format!(" {}", spec.instance));
        let mut command = Command::new(program);
        command
            .arg0(shown)
            .args(args)
            .envs(environment(spec)?)
            .stdin(if spec.keeps_stdin { Stdio::inherit() } else { Stdio::null() })
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let made = (|| {
            let stderr = child.stderr.take();
            if let Some(stderr) = &stderr {
                let flags = rustix::fs::fcntl_getfl(stderr)?;
                rustix::fs::fcntl_setfl(stderr, flags | rustix::fs::OFlags::NONBLOCK)?;
            }
            Ok::<_, std::io::Error>((
                pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?,
                stderr,
            ))
        })();
        match made {
            Ok((pidfd, stderr)) => Ok(Self {
                child,
                pidfd,
                stderr,
                tail: Vec::new(),
                forward: how.forward_stderr,
                reaped: false,
            }),
            Err(error) => {
                // It may have ended by itself.
                let _ = child.kill();
                let _ = child.wait();
                Err(error)
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is to be polled for more standard error.
    pub(super) fn stderr(&self) -> Option<&ChildStderr> {
        self.stderr.as_ref()
    }

    /// Reads what it has written to its standard error, and keeps the end of it.
    pub(super) fn hear(&mut self) {
        let mut buffer = [0; 4096];
        while let Some(stderr) = &mut self.stderr {
            match stderr.read(&mut buffer) {
                Ok(0) => self.stderr = None,
                Ok(count) => {
                    if self.forward {
                        // Nobody may be there to read it.
                        let _ = std::io::stderr().write_all(&buffer[..count]);
                    }
                    self.tail.extend_from_slice(&buffer[..count]);
                    let excess = self.tail.len().saturating_sub(TAIL_BYTES);
                    self.tail.drain(..excess);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => self.stderr = None,
            }
        }
    }

    /// Says how it ended, if it did; hears it to the end.
    pub(super) fn ended(&mut self) -> Option<Ending> {
        let status = self.child.try_wait().ok().flatten()?;
        self.reaped = true;
        self.hear();
        let text = String::from_utf8_lossy(&self.tail);
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        let stderr = lines[lines.len().saturating_sub(TAIL_LINES)..].to_vec();
        Some(Ending { status, stderr })
    }

    pub(super) fn kill(&mut self) {
        // It may just have ended.
        let _ = self.child.kill();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// How a worker ended.
pub(super) struct Ending {
    pub(super) status: ExitStatus,
    pub(super) stderr: Vec<String>,
}

impl Ending {
    pub(super) fn signal(&self) -> Option<Signal> {
        self.status.signal().and_then(|signal| Signal::try_from(signal).ok())
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.status.signal(), self.status.code()) {
            (Some(signal), _) => match Signal::try_from(signal) {
                Ok(name) => write!(f, "was killed by {name}"),
                Err(_) => write!(f, "was killed by signal {signal}"),
            },
            (None, Some(code)) => write!(f, "exited with status {code}"),
            (None, None) => write!(f, "ended with {}", self.status),
        }
    }
}
