//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::error::{BenchError, Result};
use crate::sizing::{RingSize, parse_bytes};
use crate::transport::{LinkSpec, Mode, Transport};
use crate::{line, open_loop, streams};

/// Most packets that one call puts.
const MAX_BATCH: u64 = 4096;
/// Most packets or rounds of one measurement: days.
const MAX_PACKETS: u64 = 1 << 44;

/// Measures Ringway between processes pinned to CPUs, next to what the machine itself can do
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  ringway-bench latency                              32 bytes, one producer, one consumer
  ringway-bench latency --mode mpmc --payload 4KiB --json
  ringway-bench latency --rate 100000 --plot latency.svg
  ringway-bench throughput --payload 1KiB --batch 32
  ringway-bench throughput --producers 2 --consumers 2
  ringway-bench throughput --payload 16KiB --in-place --cpus 2,3
  ringway-bench wakeup && ringway-bench oversubscribed && ringway-bench scale
  ringway-bench create
  ringway-bench report --quick
  ringway-bench floor && ringway-bench copy --payload 1MiB --in-place

Only ratios within one run count: every run measures its own floor and ceiling.
benches/README.md defines every workload and every field of the JSON."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Ping-pong over two rings: one-way time (half a round trip) with percentiles, and the floor
    Latency(LatencyArgs),
    /// A stream over one ring: packets and bytes per second, the floor and the copy ceiling
    Throughput(ThroughputArgs),
    /// Ping-pong of routed packets: encode, route, put, get, decode; next to bare records
    Packet(PacketArgs),
    /// Calls of a service in a job of two processes; next to bare round trips
    Service(PacketArgs),
    /// How long a process that sleeps on the ring takes to run after a put, and a bare futex
    Wakeup(WakeupArgs),
    /// A stream among more processes than there are CPUs
    Oversubscribed(OversubscribedArgs),
    /// What an operation costs with more participants, more rings, more connections
    Scale(ScaleArgs),
    /// Runs all of these, and writes one report with drawings
    Report(ReportArgs),
    /// Microseconds to create a queue, to attach to it, and to its first packet
    Create(CreateArgs),
    /// The floor alone: one cache line bounced between the two processes
    Floor(FloorArgs),
    /// The ceiling alone: payloads copied through shared memory with two counters
    Copy(CopyArgs),
    /// What cache lines cost that change hands: in a stream, and there and back over N of them
    #[command(
        after_help = "The ring's layout rests on two of these figures: writing lines that the \
        reader only read, against lines that it wrote back; and the way over N lines in turn, against \
        the floor's one."
    )]
    Lines(LinesArgs),
    /// Writes a completion script to standard output
    #[command(after_help = "Example:\n  ringway-bench completions bash > \
        ~/.local/share/bash-completion/completions/ringway-bench")]
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
    /// The other process of a measurement
    #[command(hide = true)]
    Peer {
        /// What to do, as JSON
        #[arg(long)]
        job: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// The CPUs of the two processes [default: two of different cores]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) cpus: Option<Vec<usize>>,
    /// Print one line of JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RingArgs {
    /// Bytes of each payload: written in full, read in full (32, 4KiB, 1MiB)
    #[arg(long, value_name = "BYTES", default_value = "32", value_parser = parse_bytes)]
    pub(crate) payload: usize,
    /// Packets that the ring holds [default: 4096, fewer where that is more than 8 MiB]
    #[arg(long, value_name = "PACKETS")]
    capacity: Option<usize>,
    /// Bytes of the ring's data region [default: what the capacity needs]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    data_bytes: Option<usize>,
    /// Write and read payloads where they lie (reserve and lease) instead of copying (put and get)
    #[arg(long)]
    in_place: bool,
}

impl RingArgs {
    /// The same with another payload; where that is not the one asked for, with default measures.
    fn sized(&self, payload: usize) -> Self {
        let same = payload == self.payload;
        let (capacity, data_bytes) =
            if same { (self.capacity, self.data_bytes) } else { (None, None) };
        Self { payload, capacity, data_bytes, in_place: self.in_place }
    }

    fn link(&self, transport: Transport, mode: Mode, batch: u64) -> Result<LinkSpec> {
        Ok(LinkSpec {
            transport,
            mode,
            payload: self.payload,
            batch: batch as usize,
            in_place: self.in_place,
            size: RingSize::new(self.payload, self.capacity, self.data_bytes)?,
            directory: None,
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct PlotArgs {
    /// Draw a curve into this file, as SVG
    #[arg(long, value_name = "FILE")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// What the ring promises about its ends; two processes take part in any case
    #[arg(long, value_enum, default_value_t = Mode::Spsc)]
    mode: Mode,
    #[command(flatten)]
    ring: RingArgs,
    /// Round trips that count [default: 1000000; with --rate at most 5 seconds' worth]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..MAX_PACKETS))]
    rounds: Option<u64>,
    /// Open loop: so many packets a second leave whatever became of those before, and the time of
    /// each counts from its intended start
    #[arg(long, value_name = "PER_SECOND",
        value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub(crate) rate: Option<u64>,
    /// What carries the packets
    #[arg(long, value_enum, default_value_t = Transport::Ring)]
    transport: Transport,
    #[command(flatten)]
    pub(crate) plot: PlotArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl LatencyArgs {
    /// Says how many rounds count.
    ///
    /// # Errors
    /// `Usage` when an open loop cannot keep so many times.
    pub(crate) fn rounds(&self) -> Result<u64> {
        let most = self.rate.map_or(MAX_PACKETS, |_| open_loop::MOST);
        let by_default = self.rate.map_or(1_000_000, |rate| (5 * rate).min(1_000_000));
        let rounds = self.rounds.unwrap_or(by_default);
        if rounds <= most {
            return Ok(rounds);
        }
        Err(BenchError::Usage(format!("--rounds {rounds}: with --rate at most {most}")))
    }

    /// Says what is to be measured.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        let link = self.ring.link(self.transport, self.mode, 1)?;
        if self.transport == Transport::Line {
            if self.rate.is_some() {
                return Err(BenchError::Usage(
                    "--transport line has no --rate: nothing waits for room".into(),
                ));
            }
            line::check(&link)?;
        }
        Ok(link)
    }
}

#[derive(Debug, Args)]
pub(crate) struct PacketArgs {
    /// Round trips that count
    #[arg(long, value_name = "N", default_value_t = 500_000,
        value_parser = clap::value_parser!(u64).range(1..MAX_PACKETS))]
    pub(crate) rounds: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl PacketArgs {
    /// Says what is to be measured: 32 bytes through rings of one producer and one consumer.
    ///
    /// # Errors
    /// None: these do fit.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        let ring = RingArgs { payload: 32, capacity: None, data_bytes: None, in_place: false };
        ring.link(Transport::Ring, Mode::Spsc, 1)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ThroughputArgs {
    /// What the ring promises about its ends [default: what the numbers of processes allow]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Processes that put; with more than one at an end, all are pinned round robin
    #[arg(long, value_name = "P", default_value_t = 1, value_parser = ends())]
    pub(crate) producers: u64,
    /// Processes that get
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = ends())]
    pub(crate) consumers: u64,
    #[command(flatten)]
    pub(crate) plot: PlotArgs,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    /// What carries the packets
    #[arg(long, value_enum, default_value_t = Transport::Ring)]
    transport: Transport,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl ThroughputArgs {
    /// Says what is to be measured.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit, or the options contradict each other.
    pub(crate) fn link(&self, payload: usize) -> Result<LinkSpec> {
        let (producers, consumers) = (self.producers as usize, self.consumers as usize);
        let mode = self.mode.unwrap_or_else(|| Mode::fitting(producers, consumers));
        let contradiction = if self.transport == Transport::Line {
            Some("--transport line carries no streams: it is for `latency`")
        } else if producers > 1 && !mode.many_producers() {
            Some("--producers asks for several where --mode promises one")
        } else if consumers > 1 && !mode.many_consumers() {
            Some("--consumers asks for several where --mode promises one")
        } else if self.is_team() && self.transport == Transport::Bare {
            Some("--transport bare has one producer and one consumer")
        } else if self.is_team() && payload < 8 {
            Some(
                "with several producers or consumers, packets carry a number: --payload 8 at least",
            )
        } else {
            None
        };
        if let Some(contradiction) = contradiction {
            return Err(BenchError::Usage(contradiction.into()));
        }
        self.stream.ring.sized(payload).link(self.transport, mode, self.stream.batch)
    }

    /// Says whether more than two processes take part.
    pub(crate) fn is_team(&self) -> bool {
        self.producers > 1 || self.consumers > 1
    }
}

fn ends() -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(1..=streams::MOST as u64)
}

#[derive(Debug, Args)]
pub(crate) struct WakeupArgs {
    /// What the rings promise about their ends
    #[arg(long, value_enum, default_value_t = Mode::Spsc)]
    mode: Mode,
    #[command(flatten)]
    ring: RingArgs,
    /// Round trips that count: two wake-ups each
    #[arg(long, value_name = "N", default_value_t = 1000,
        value_parser = clap::value_parser!(u64).range(1..10_000_000))]
    pub(crate) rounds: u64,
    /// Microseconds before every packet: longer than a ring spins before it sleeps
    #[arg(long, value_name = "US", default_value_t = 500,
        value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    pub(crate) pause: u64,
    #[command(flatten)]
    pub(crate) plot: PlotArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl WakeupArgs {
    /// Says what is to be measured.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        self.ring.link(Transport::Ring, self.mode, 1)
    }
}

#[derive(Debug, Args)]
pub(crate) struct OversubscribedArgs {
    /// Numbers of processes, half of them producers; the first is what the others are compared with
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "2,4,16",
        value_parser = clap::value_parser!(u64).range(2..=2 * streams::MOST as u64))]
    pub(crate) processes: Vec<u64>,
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl OversubscribedArgs {
    /// Says what is to be measured.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit, or has no room for a number.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        if self.stream.ring.payload < 8 {
            return Err(BenchError::Usage("packets carry a number: --payload 8 at least".into()));
        }
        self.stream.ring.link(Transport::Ring, Mode::Mpmc, self.stream.batch)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ScaleArgs {
    /// Numbers of participants attached to the segment
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16,64,256",
        value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) participants: Vec<u64>,
    /// Numbers of rings in the segment, of which one is used
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,10,100,1000",
        value_parser = clap::value_parser!(u64).range(1..=4000))]
    pub(crate) rings: Vec<u64>,
    /// Numbers of connections of a router, to a ring each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,10,100,1000",
        value_parser = clap::value_parser!(u64).range(1..=4000))]
    pub(crate) connections: Vec<u64>,
    /// Times that each size is measured, in turn
    #[arg(long, value_name = "N", default_value_t = 15,
        value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    pub(crate) rounds: u64,
    /// Operations of each; an eighth as many sends of a router
    #[arg(long, value_name = "N", default_value_t = 20_000,
        value_parser = clap::value_parser!(u64).range(1..1 << 40))]
    pub(crate) operations: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Short runs, under a minute in all
    #[arg(long)]
    pub(crate) quick: bool,
    /// Where report.md, report.json and the drawings go
    #[arg(long, value_name = "DIR", default_value = "ringway-report")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArgs {
    #[command(flatten)]
    pub(crate) stream: StreamArgs,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl CopyArgs {
    /// Says what is to be measured.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        self.stream.ring.link(Transport::Bare, Mode::Spsc, self.stream.batch)
    }
}

#[derive(Debug, Args)]
pub(crate) struct StreamArgs {
    #[command(flatten)]
    pub(crate) ring: RingArgs,
    /// Packets that count [default: 10 million, fewer where that is more than 4 GiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..MAX_PACKETS))]
    pub(crate) packets: Option<u64>,
    /// Packets put, and taken, by one call
    #[arg(long, value_name = "B", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
}

impl StreamArgs {
    /// Says how many packets count, at most `most` unless asked for.
    pub(crate) fn packets(&self, payload: usize, most: u64) -> u64 {
        self.packets.unwrap_or_else(|| {
            let fitting = (4_usize << 30) / payload.max(1);
            (fitting as u64).clamp(1000, most)
        })
    }
}

#[derive(Debug, Args)]
pub(crate) struct LinesArgs {
    /// Lines written, and round trips, of each part
    #[arg(long, value_name = "N", default_value_t = 400_000,
        value_parser = clap::value_parser!(u64).range(10_000..MAX_PACKETS))]
    pub(crate) rounds: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Queues that are created and count
    #[arg(long, value_name = "N", default_value_t = 200,
        value_parser = clap::value_parser!(u64).range(1..1_000_000))]
    pub(crate) repetitions: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct FloorArgs {
    /// Round trips that count, half of them in each of two measurements
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(2..1 << 28))]
    pub(crate) rounds: u64,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::{CommandFactory, Parser};

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "latency --rounds 0",
            "throughput --batch 0",
            "throughput --packets 0",
            "latency --mode one-to-one",
            "latency --payload many",
            "latency --cpus a,b",
            "create --repetitions 0",
            "latency --rate 0",
            "throughput --producers 0",
            "throughput --consumers 31",
            "oversubscribed --processes 1",
            "scale --participants 0",
        ] {
            let arguments = std::iter::once("ringway-bench").chain(line.split(' '));
            assert!(Cli::try_parse_from(arguments).is_err(), "{line}");
        }
    }
}
