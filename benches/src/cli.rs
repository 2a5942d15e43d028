//! The command line.

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::error::Result;
use crate::sizing::{RingSize, parse_bytes};
use crate::transport::{LinkSpec, Mode, Transport};

/// Most packets that one call puts.
const MAX_BATCH: u64 = 4096;
/// Most packets or rounds of one measurement: days.
const MAX_PACKETS: u64 = 1 << 44;

/// Measures Ringway between two processes pinned to two CPUs, next to what the machine itself can do
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
Examples:
  ringway-bench latency                              32 bytes, one producer, one consumer
  ringway-bench latency --mode mpmc --payload 4KiB --json
  ringway-bench throughput --payload 1KiB --batch 32
  ringway-bench throughput --payload 16KiB --in-place --cpus 2,3
  ringway-bench create
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
    payload: usize,
    /// Packets that the ring holds [default: 4096, fewer where that is more than 16 MiB]
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
pub(crate) struct LatencyArgs {
    /// What the ring promises about its ends; two processes take part in any case
    #[arg(long, value_enum, default_value_t = Mode::Spsc)]
    mode: Mode,
    #[command(flatten)]
    ring: RingArgs,
    /// Round trips that count
    #[arg(long, value_name = "N", default_value_t = 1_000_000,
        value_parser = clap::value_parser!(u64).range(1..MAX_PACKETS))]
    pub(crate) rounds: u64,
    /// What carries the packets
    #[arg(long, value_enum, default_value_t = Transport::Ring)]
    transport: Transport,
    #[command(flatten)]
    pub(crate) common: Common,
}

impl LatencyArgs {
    /// Says what is to be measured.
    ///
    /// # Errors
    /// `Usage` when the payload does not fit.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        self.ring.link(self.transport, self.mode, 1)
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
    /// What the ring promises about its ends; two processes take part in any case
    #[arg(long, value_enum, default_value_t = Mode::Spsc)]
    mode: Mode,
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
    /// `Usage` when the payload does not fit.
    pub(crate) fn link(&self) -> Result<LinkSpec> {
        self.stream.ring.link(self.transport, self.mode, self.stream.batch)
    }
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
    ring: RingArgs,
    /// Packets that count [default: 10 million, fewer where that is more than 4 GiB]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..MAX_PACKETS))]
    packets: Option<u64>,
    /// Packets put, and taken, by one call
    #[arg(long, value_name = "B", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=MAX_BATCH))]
    batch: u64,
}

impl StreamArgs {
    /// Says how many packets count.
    pub(crate) fn packets(&self) -> u64 {
        self.packets.unwrap_or_else(|| {
            let fitting = (4_usize << 30) / self.ring.payload.max(1);
            (fitting as u64).clamp(1000, 10_000_000)
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
        ] {
            let arguments = std::iter::once("ringway-bench").chain(line.split(' '));
            assert!(Cli::try_parse_from(arguments).is_err(), "{line}");
        }
    }
}
