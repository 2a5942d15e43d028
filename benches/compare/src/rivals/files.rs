//! Pipes and sockets: a write per packet, reads of as much as there is.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::error::{BenchError, Doing, Result};
use crate::payload::{self, Source};
use crate::peers::Pair;
use crate::rivals::ahead;
use crate::transport::{Inlet, Outlet};
use crate::work::Task;

/// What the kernel is asked to buffer, in bytes: the most an ordinary user gets of a pipe.
const BUFFER: usize = 1 << 20;

/// Writes packets.
pub(crate) struct Writer<W> {
    file: W,
    private: Source,
}

/// Reads packets.
pub(crate) struct Reader<R> {
    file: BufReader<R>,
    private: Vec<u8>,
}

impl<W: Write> Writer<W> {
    fn new(file: W, task: &Task) -> Self {
        Self { file, private: Source::new(task.work.payload(), ahead(task.work)) }
    }
}

impl<R: Read> Reader<R> {
    fn new(file: R, task: &Task) -> Self {
        let payload = task.work.payload();
        let file = BufReader::with_capacity(payload.max(64 << 10), file);
        Self { file, private: vec![0; payload] }
    }
}

impl<W: Write> Outlet for Writer<W> {
    fn send(&mut self, first: u64, n: usize) -> Result<()> {
        for sequence in first..first + n as u64 {
            self.file.write_all(self.private.one(sequence)).doing("writing a packet")?;
        }
        Ok(())
    }

    fn source(&mut self) -> Option<&mut Source> {
        Some(&mut self.private)
    }
}

impl<R: Read> Inlet for Reader<R> {
    fn receive(&mut self, expected: u64, _: usize) -> Result<usize> {
        self.file.read_exact(&mut self.private).doing("reading a packet")?;
        if payload::read(&self.private, expected) {
            Ok(1)
        } else {
            Err(BenchError::Damaged { sequence: expected })
        }
    }

    fn try_receive(&mut self, _: u64) -> Result<bool> {
        Err(BenchError::Usage("pipes and sockets have no open loop here".into()))
    }
}

/// Opens two named pipes.
///
/// # Errors
/// `Os` when the system refuses.
pub(crate) fn pipes(
    pair: &Pair,
    task: &Task,
    starter: bool,
) -> Result<(Writer<File>, Reader<File>)> {
    let forth = task.directory.join("pipe-forth");
    let back = task.directory.join("pipe-back");
    if starter {
        for path in [&forth, &back] {
            // A run before may have left it.
            let _ = std::fs::remove_file(path);
            mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR).doing("making a pipe")?;
        }
    }
    pair.meet();
    // Opening a pipe waits for the other end: both open the same one first.
    let write = |path| OpenOptions::new().write(true).open(path).doing("opening a pipe");
    let read = |path| File::open(path).doing("opening a pipe");
    let (outlet, inlet) = if starter {
        let outlet = write(&forth)?;
        (outlet, read(&back)?)
    } else {
        let inlet = read(&forth)?;
        (write(&back)?, inlet)
    };
    rustix::pipe::fcntl_setpipe_size(&outlet, BUFFER).doing("widening a pipe")?;
    Ok((Writer::new(outlet, task), Reader::new(inlet, task)))
}

/// Connects two ends of a socket.
///
/// # Errors
/// `Os` when the system refuses.
pub(crate) fn sockets(
    pair: &Pair,
    task: &Task,
    starter: bool,
) -> Result<(Writer<UnixStream>, Reader<UnixStream>)> {
    let path = task.directory.join("socket");
    let stream = if starter {
        // A run before may have left it.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).doing("making a socket")?;
        pair.meet();
        listener.accept().doing("accepting a connection")?.0
    } else {
        pair.meet();
        UnixStream::connect(&path).doing("connecting to a socket")?
    };
    let other = stream.try_clone().doing("sharing a socket")?;
    Ok((Writer::new(stream, task), Reader::new(other, task)))
}
