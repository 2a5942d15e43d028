//! The options of the verbs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(after_help = "\
States:
  writing, writing-run   claimed by the owner, which writes a record, or a run of them
  ready                  put by the owner, waiting
  reading                leased by the owner
  returned               given back, or left by a consumer that is gone
  released, skipped      acknowledged; never committed
  sealed                 the ring is closed here
  interior               part of the record before it (--all)
  reclaimed, never       free again; never used (--all)

Examples:
  shm-inspect dump job-42:words
  shm-inspect dump job-42:words --bytes 0       without payloads
  shm-inspect dump job-42:words --json | jq -r '.entries[] | select(.state == \"reading\") | .pid'
  shm-inspect dump job-42 --raw job-42.raw")]
pub(crate) struct DumpArgs {
    /// A segment, a ring of one, or a copy in a file
    #[arg(value_name = "SEGMENT[:RING]")]
    pub(crate) target: String,
    /// Copy the whole segment to a new file, and show nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["all", "bytes"])]
    pub(crate) raw: Option<PathBuf>,
    /// Also the entries that are not in use
    #[arg(long)]
    pub(crate) all: bool,
    /// Most bytes of each payload [default: 64 in tables, all in JSON]
    #[arg(long, value_name = "N")]
    pub(crate) bytes: Option<usize>,
}

/// How payloads are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// As what they look like
    Auto,
    /// As packets or stop signals
    Packet,
    /// As JSON
    Json,
    /// As UTF-8
    Text,
    /// As bytes
    Hex,
}

#[derive(Debug, Args)]
#[command(after_help = "\
With --json, one object a line.

Examples:
  shm-inspect peek job-42:words -n 5
  shm-inspect peek job-42:words --follow
  shm-inspect peek job-42:words --as hex
  shm-inspect peek job-42:words --json | jq -r .text")]
pub(crate) struct PeekArgs {
    /// A ring, also one in a copy
    #[arg(value_name = "RING")]
    pub(crate) ring: String,
    /// Most packets to show [default: all that wait; with --follow, no limit]
    #[arg(short = 'n', value_name = "N")]
    pub(crate) packets: Option<u64>,
    /// Go on with those that are put, until the ring is closed (a copy is) or the program is ended
    #[arg(long)]
    pub(crate) follow: bool,
    /// How to show the payloads
    #[arg(long = "as", value_name = "FORMAT", value_enum, default_value = "auto")]
    pub(crate) format: Format,
    /// Most bytes of each payload to show
    #[arg(long, value_name = "N", default_value_t = 4096)]
    pub(crate) bytes: usize,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Keys:
  s, S        sort by the next, the previous column
  r           turn the order round
  p, space    pause, go on
  up, down    choose a ring
  + -         refresh more often, less often
  q, Esc      quit

Examples:
  shm-inspect watch
  shm-inspect watch job-42 --interval 0.2")]
pub(crate) struct WatchArgs {
    /// A segment, a ring of one, or a copy in a file [default: all segments]
    #[arg(value_name = "SEGMENT")]
    pub(crate) segment: Option<String>,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
    pub(crate) interval: std::time::Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
The gaps are those between the puts where the ring keeps timestamps, and otherwise between the
moments at which the packets were seen. With --json, one object a line.

Examples:
  shm-inspect hz job-42:words
  shm-inspect hz job-42:words --interval 5 -n 1")]
pub(crate) struct HzArgs {
    /// A ring
    #[arg(value_name = "RING")]
    pub(crate) ring: String,
    /// Seconds that one line is about
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: std::time::Duration,
    /// Lines to print [default: until the program is ended]
    #[arg(short = 'n', value_name = "N")]
    pub(crate) lines: Option<u64>,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  shm-inspect top\n  shm-inspect top job-42 -n 3 --interval 5")]
pub(crate) struct TopArgs {
    /// Segments, or copies in files [default: all segments]
    #[arg(value_name = "SEGMENT")]
    pub(crate) segments: Vec<String>,
    /// Most rings to list
    #[arg(short = 'n', value_name = "N", default_value_t = 20)]
    pub(crate) rings: usize,
    /// Seconds between the two looks that the rates are made of
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub(crate) interval: std::time::Duration,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Ends when the ring is closed, or on Ctrl-C; the file is complete up to there. Of a copy in a file,
--waiting takes the packets that waited in it.

Examples:
  shm-inspect record job-42:words words.tape
  shm-inspect record job-42:words words.tape --waiting -n 100")]
pub(crate) struct RecordArgs {
    /// A ring
    #[arg(value_name = "RING")]
    pub(crate) ring: String,
    /// The recording: a new file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Begin with the packets that wait already
    #[arg(long)]
    pub(crate) waiting: bool,
    /// End after so many packets
    #[arg(short = 'n', value_name = "N")]
    pub(crate) packets: Option<u64>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) time: Option<std::time::Duration>,
}

/// How fast a recording is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Rate {
    /// As fast as it was recorded
    Original,
    /// As fast as the ring takes it
    Max,
}

#[derive(Debug, Args)]
#[command(after_help = "\
This changes the ring: it joins the segment and puts packets, waiting while the ring is full.

Examples:
  shm-inspect replay words.tape job-43:words
  shm-inspect replay words.tape job-43:words --rate max")]
pub(crate) struct ReplayArgs {
    /// A recording
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The ring that gets the packets
    #[arg(value_name = "RING")]
    pub(crate) ring: String,
    /// How fast
    #[arg(long, value_enum, default_value = "original")]
    pub(crate) rate: Rate,
    /// Give up when the ring stays full for so many seconds [default: wait for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<std::time::Duration>,
}

/// How packets are told apart on standard input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Framing {
    /// One packet a line, without the line's end
    Lines,
    /// Four bytes of length, little-endian, before each packet
    Prefixed,
    /// One packet: all of the input; on output, one after the other
    Whole,
}

#[derive(Debug, Args)]
#[command(after_help = "\
This changes the ring: it joins the segment and puts packets, waiting while the ring is full.
A packet that does not fit ends it; those before it have been put.

Examples:
  printf '%s\\n' apple pear | shm-inspect put shop:orders
  shm-inspect put shop:orders --framing whole < invoice.pdf
  echo hello | shm-inspect put job-42:words --packet --key tenant-7")]
pub(crate) struct PutArgs {
    /// The ring
    #[arg(value_name = "RING")]
    pub(crate) ring: String,
    /// How the packets are told apart
    #[arg(long, value_enum, default_value = "lines")]
    pub(crate) framing: Framing,
    /// Put packets in their wire form, made now, as a router does, instead of bare records
    #[arg(long)]
    pub(crate) packet: bool,
    /// The partition key of the packets: a text
    #[arg(long, value_name = "TEXT", requires = "packet")]
    pub(crate) key: Option<String>,
    /// Give up when the ring stays full for so many seconds [default: wait for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
This changes the ring: it joins the segment and takes packets out for good. One is acknowledged when
it has been written; if that fails, it is given back. Of packets in their wire form the payload is
written. With --json, one object a line.

Examples:
  shm-inspect get shop:orders
  shm-inspect get shop:orders --all
  shm-inspect get shop:orders --follow | while read -r order; do echo \"$order\"; done")]
pub(crate) struct GetArgs {
    /// The ring
    #[arg(value_name = "RING")]
    pub(crate) ring: String,
    /// Packets to take, waiting for each
    #[arg(short = 'n', value_name = "N", default_value_t = 1)]
    pub(crate) packets: u64,
    /// Take all that wait, and do not wait for more
    #[arg(long, conflicts_with_all = ["packets", "follow", "timeout"])]
    pub(crate) all: bool,
    /// Take packets until the ring is closed and drained
    #[arg(long, conflicts_with = "packets")]
    pub(crate) follow: bool,
    /// How the packets are told apart
    #[arg(long, value_enum, default_value = "lines")]
    pub(crate) framing: Framing,
    /// Write packets as they are in the ring, header included
    #[arg(long)]
    pub(crate) wire: bool,
    /// Give up when no packet comes for so many seconds [default: wait for ever]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
This deletes files. A segment in which anybody is alive, or stopped, is never touched, and neither
is what is no segment, or a damaged one.

Examples:
  shm-inspect clean --dry-run
  shm-inspect clean
  shm-inspect clean --discard")]
pub(crate) struct CleanArgs {
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Also segments in which packets are left: they are lost
    #[arg(long)]
    pub(crate) discard: bool,
}

/// A time in seconds, fractions allowed.
fn seconds(text: &str) -> Result<std::time::Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    std::time::Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
