//! What is compared, and how each is opened at both ends.

#[cfg(feature = "aeron")]
mod aeron;
mod files;
mod futexes;
mod iceoryx;
mod many;
mod request;
mod threads;

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::cpus::{CpuPair, pin};
use crate::error::{BenchError, Result};
use crate::link::{RingInlet, RingOutlet};
use crate::peers::{self, Pair, Session};
use crate::scratch::Scratch;
use crate::shared::Region;
use crate::sizing::{RingSize, default_capacity};
use crate::transport::{LinkSpec, Mode, Transport};
use crate::work::{self, Measured, Task, Work};

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Rival {
    /// A bare shared futex: the floor of waking.
    Futex,
    /// Ringway, one producer and one consumer, put and get.
    Ringway,
    /// The same, reserve and lease.
    RingwayInPlace,
    /// Ringway's many-to-many ring, put and get.
    RingwayMany,
    /// Aeron's IPC channel, messages copied.
    Aeron,
    /// The same, messages written in place.
    AeronClaim,
    /// iceoryx2's publish and subscribe, written and read in place.
    Iceoryx2,
    /// iceoryx2's request and response.
    Iceoryx2Request,
    /// iceoryx2's event.
    Iceoryx2Event,
    /// rtrb, between threads.
    Rtrb,
    /// crossbeam's ArrayQueue, between threads.
    ArrayQueue,
    /// crossbeam's bounded channel, between threads.
    Channel,
    /// A named pipe.
    Pipe,
    /// A unix stream socket.
    Socket,
}

impl Rival {
    /// All, in the order in which a round measures them.
    pub(crate) fn all() -> [Self; 14] {
        [
            Self::Futex,
            Self::Ringway,
            Self::RingwayInPlace,
            Self::RingwayMany,
            Self::Aeron,
            Self::AeronClaim,
            Self::Iceoryx2,
            Self::Iceoryx2Request,
            Self::Iceoryx2Event,
            Self::Rtrb,
            Self::ArrayQueue,
            Self::Channel,
            Self::Pipe,
            Self::Socket,
        ]
    }

    /// For tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Futex => "bare futex",
            Self::Ringway => "**Ringway**, one to one, put/get",
            Self::RingwayInPlace => "**Ringway**, one to one, in place",
            Self::RingwayMany => "**Ringway**, many to many, put/get",
            Self::Aeron => "Aeron IPC, exclusive publication, offer",
            Self::AeronClaim => "Aeron IPC, exclusive publication, tryClaim",
            Self::Iceoryx2 => "iceoryx2 publish/subscribe",
            Self::Iceoryx2Request => "iceoryx2 request/response",
            Self::Iceoryx2Event => "iceoryx2 event",
            Self::Rtrb => "rtrb (threads)",
            Self::ArrayQueue => "crossbeam ArrayQueue (threads)",
            Self::Channel => "crossbeam channel (threads)",
            Self::Pipe => "named pipe",
            Self::Socket => "unix socket",
        }
    }

    /// Says whether this program has it.
    pub(crate) fn is_built(self) -> bool {
        cfg!(feature = "aeron") || !self.is_aeron()
    }

    fn is_aeron(self) -> bool {
        matches!(self, Self::Aeron | Self::AeronClaim)
    }

    /// Says whether this is what a user calls it: a word of its name.
    pub(crate) fn is_called(self, name: &str) -> bool {
        let own = self.name().to_ascii_lowercase();
        own.split(|c: char| !c.is_alphanumeric()).any(|word| word == name.to_ascii_lowercase())
    }

    /// Says whether it moves more than some ten million small packets a second.
    pub(crate) fn is_fast(self) -> bool {
        matches!(
            self,
            Self::Ringway
                | Self::RingwayInPlace
                | Self::RingwayMany
                | Self::Aeron
                | Self::AeronClaim
                | Self::Rtrb
                | Self::ArrayQueue
                | Self::Channel
        )
    }

    /// Says whether it takes part in a workload.
    pub(crate) fn part(self, work: Work) -> Part {
        use Part::{LeftOut, NoQuestion, Takes};
        let long = work.payload() > 4096;
        match (self, work) {
            // What there is of one product only where it is at its place.
            (Self::Futex | Self::Iceoryx2Event, Work::Wakeup { .. }) => Takes,
            (Self::Futex | Self::Iceoryx2Event, _) => NoQuestion,
            (Self::Iceoryx2Request, Work::Latency { .. }) => Takes,
            (Self::Iceoryx2Request, _) => NoQuestion,
            (Self::RingwayInPlace, Work::Wakeup { .. }) => NoQuestion,

            (Self::RingwayMany, Work::Many { .. }) => Takes,
            (Self::Ringway | Self::RingwayInPlace, Work::Many { .. }) => NoQuestion,
            (Self::ArrayQueue | Self::Channel, Work::Many { batch: 1, .. }) => Takes,
            (Self::Rtrb, Work::Many { .. }) => LeftOut("one producer and one consumer only"),
            (Self::Aeron | Self::AeronClaim, Work::Many { .. }) => {
                LeftOut("every subscription gets every message: consumers do not share a stream")
            }
            (Self::Iceoryx2, Work::Many { .. }) => {
                LeftOut("every subscriber gets every sample: consumers do not share a stream")
            }
            (Self::Pipe | Self::Socket, Work::Many { .. }) => {
                LeftOut("readers that share it and read through a buffer get torn packets")
            }

            (Self::Aeron | Self::AeronClaim, Work::Wakeup { .. }) => {
                LeftOut("its subscribers poll: nobody sleeps who could be woken")
            }
            (Self::Iceoryx2, Work::Wakeup { .. }) => NoQuestion,
            (Self::Rtrb | Self::ArrayQueue, Work::Wakeup { .. }) => LeftOut("has no waiting"),
            (Self::Channel, Work::Wakeup { .. }) => {
                LeftOut("wakes threads of one process, not another process")
            }

            (Self::RingwayInPlace, _) if work.batch() > 1 => {
                LeftOut("reservations are made one by one")
            }
            (Self::ArrayQueue | Self::Channel, _) if work.batch() > 1 => {
                LeftOut("has no batches: see the same without")
            }
            (Self::Pipe | Self::Socket | Self::Iceoryx2, _) if work.batch() > 1 => {
                LeftOut("sends one packet a call: see the same without batches")
            }
            (Self::RingwayMany, _) if long => {
                LeftOut("as one to one: what differs does not depend on the length")
            }
            (Self::AeronClaim, _) if work.payload() > 60 << 10 => {
                LeftOut("longer messages than an MTU of 64 KiB cannot be claimed")
            }
            (Self::Rtrb | Self::ArrayQueue | Self::Channel, _)
                if !threads::carries(work.payload()) =>
            {
                LeftOut(
                    "carries values: beyond 4 KiB they would be boxed, and a pointer sent in \
                     place of the bytes",
                )
            }
            _ => Takes,
        }
    }
}

/// Whether a rival takes part in a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// It does.
    Takes,
    /// It does not, for this reason, which tables must say.
    LeftOut(&'static str),
    /// It is only another way to use something that does take part, or a floor of something else.
    NoQuestion,
}

/// What all runs share.
#[derive(Debug)]
pub(crate) struct Environment {
    scratch: Scratch,
    #[cfg(feature = "aeron")]
    driver: aeron::Driver,
}

impl Environment {
    /// Makes a directory, and starts what must run beside.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn start() -> Result<Self> {
        peers::supervise()?;
        let scratch = Scratch::create()?;
        let directory = scratch.path.clone();
        peers::at_exit(move || iceoryx::remove_leftovers(&directory));
        #[cfg(feature = "aeron")]
        let driver = aeron::Driver::start(&scratch.path)?;
        Ok(Self {
            scratch,
            #[cfg(feature = "aeron")]
            driver,
        })
    }

    /// Where a rival's files are.
    pub(crate) fn directory(&self, rival: Rival) -> PathBuf {
        #[cfg(feature = "aeron")]
        if rival.is_aeron() {
            return self.driver.directory();
        }
        let _ = rival;
        self.scratch.path.clone()
    }
}

/// Says what was being done when a rival refused.
fn refused<E: std::fmt::Debug>(doing: &'static str) -> impl Fn(E) -> BenchError {
    move |error| BenchError::Transport { doing, source: format!("{error:?}").into() }
}

/// Packets that may wait in a rival's buffers.
fn capacity(payload: usize) -> usize {
    default_capacity(payload.max(1))
}

fn ring(task: &Task) -> Result<LinkSpec> {
    let payload = task.work.payload();
    let mode = if task.rival == Rival::RingwayMany { Mode::Mpmc } else { Mode::Spsc };
    Ok(LinkSpec {
        transport: Transport::Ring,
        mode,
        payload,
        batch: task.work.batch(),
        in_place: task.rival == Rival::RingwayInPlace,
        size: RingSize::new(payload, None, None)?,
        directory: Some(task.directory.clone()),
    })
}

/// Payloads made ahead of a stream, in private memory.
fn ahead(work: Work) -> usize {
    match work {
        Work::Stream { payload, batch, .. } => {
            crate::payload::Source::ahead_for_stream(payload, batch)
        }
        _ => 1,
    }
}

/// Measures once, in the starter.
///
/// # Errors
/// When a process or the rival fails.
pub(crate) fn measure(cpus: CpuPair, task: &Task) -> Result<Measured> {
    let work = task.work;
    if matches!(work, Work::Many { .. }) {
        return many::measure(cpus, task);
    }
    if matches!(task.rival, Rival::Rtrb | Rival::ArrayQueue | Rival::Channel) {
        return between_threads(cpus, task);
    }
    let session = Session::start(cpus, 0, task.clone())?;
    let (pair, clock) = (&session.pair, session.clock);
    let measured = match task.rival {
        Rival::Ringway | Rival::RingwayInPlace | Rival::RingwayMany => {
            let spec = ring(task)?;
            let outlet = RingOutlet::open(&spec, "forth", ahead(work))?;
            let inlet = RingInlet::open(&spec, "back")?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        Rival::Futex => {
            let (outlet, inlet) = futexes::ends(pair, true);
            work::measure(pair, clock, work, outlet, inlet)?
        }
        Rival::Pipe => {
            let (outlet, inlet) = files::pipes(pair, task, true)?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        Rival::Socket => {
            let (outlet, inlet) = files::sockets(pair, task, true)?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        Rival::Iceoryx2 => {
            let (outlet, inlet) = iceoryx::ends(pair, task, true)?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        Rival::Iceoryx2Event => {
            let (outlet, inlet) = iceoryx::events(pair, task, true)?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        Rival::Iceoryx2Request => {
            let (outlet, inlet) = request::client(pair, task)?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        #[cfg(feature = "aeron")]
        Rival::Aeron | Rival::AeronClaim => {
            let (outlet, inlet) = aeron::ends(task, true)?;
            work::measure(pair, clock, work, outlet, inlet)?
        }
        _ => return Err(BenchError::Usage(format!("{} is not built", task.rival.name()))),
    };
    session.finish()?;
    Ok(measured)
}

/// Answers, in the peer.
///
/// # Errors
/// When the rival fails.
pub(crate) fn answer(pair: &Pair, task: &Task) -> Result<()> {
    let work = task.work;
    if matches!(work, Work::Many { .. }) {
        return many::answer(pair, task);
    }
    match task.rival {
        Rival::Ringway | Rival::RingwayInPlace | Rival::RingwayMany => {
            let spec = ring(task)?;
            let inlet = RingInlet::open(&spec, "forth")?;
            let outlet = RingOutlet::open(&spec, "back", 1)?;
            work::answer(pair, work, inlet, outlet)
        }
        Rival::Futex => {
            let (outlet, inlet) = futexes::ends(pair, false);
            work::answer(pair, work, inlet, outlet)
        }
        Rival::Pipe => {
            let (outlet, inlet) = files::pipes(pair, task, false)?;
            work::answer(pair, work, inlet, outlet)
        }
        Rival::Socket => {
            let (outlet, inlet) = files::sockets(pair, task, false)?;
            work::answer(pair, work, inlet, outlet)
        }
        Rival::Iceoryx2 => {
            let (outlet, inlet) = iceoryx::ends(pair, task, false)?;
            work::answer(pair, work, inlet, outlet)
        }
        Rival::Iceoryx2Event => {
            let (outlet, inlet) = iceoryx::events(pair, task, false)?;
            work::answer(pair, work, inlet, outlet)
        }
        Rival::Iceoryx2Request => {
            let (outlet, inlet) = request::server(pair, task)?;
            work::answer(pair, work, inlet, outlet)
        }
        #[cfg(feature = "aeron")]
        Rival::Aeron | Rival::AeronClaim => {
            let (outlet, inlet) = aeron::ends(task, false)?;
            work::answer(pair, work, inlet, outlet)
        }
        _ => Err(BenchError::Usage(format!("{} has no peer process", task.rival.name()))),
    }
}

/// Measures a rival that lives within one process: the peer is a thread.
fn between_threads(cpus: CpuPair, task: &Task) -> Result<Measured> {
    pin(cpus.here)?;
    let clock = Clock::new();
    let region = Arc::new(Region::create(0)?.0);
    let (here, there) = (Pair::of(Arc::clone(&region), true), Pair::of(region, false));
    threads::measure(here, there, clock, cpus, task)
}
