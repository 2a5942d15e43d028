//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

/// Looks into ringway segments, live, wedged or abandoned, and changes nothing
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    after_help = "\
SEGMENT is the name of a segment (job-42, team/ingest), or the path of a copy made by
`dump --raw` (job-42.raw; a name that exists as both is the segment, ./job-42 the file).
SEGMENT:RING means one ring of it.

Examples:
  shm-inspect list                             what there is
  shm-inspect show job-42                      participants, rings, who blocks, memory map
  shm-inspect show job-42:words --json | jq .rings[0].blocked_by
  shm-inspect dump job-42:words                every packet in the ring, in hex and text
  shm-inspect dump job-42 --raw job-42.raw     a copy of all of it, to look at elsewhere
  shm-inspect show ./job-42.raw

Exit codes:
  0  fine
  1  findings: something printed is damaged or could not be read
  2  wrong usage, or what was asked for is not there or is no segment"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Where the segments lie [default: $RINGWAY_DIR, else /dev/shm/ringway-UID]
    #[arg(long, value_name = "DIR", global = true)]
    pub(crate) dir: Option<PathBuf>,
    /// The group that shares the directory, by its name or number
    #[arg(long, global = true, value_parser = ringway::shm::directory::group_id)]
    pub(crate) group: Option<u32>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print nothing but errors: the exit code says what was found
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Lists all segments
    #[command(after_help = "Examples:\n  shm-inspect list\n  \
        shm-inspect list --dir /tmp/segments --json | jq -r .[].segment")]
    List,
    /// Shows a segment: participants, rings, counters, who holds and blocks what, what lies where
    #[command(after_help = "Examples:\n  shm-inspect show job-42\n  \
        shm-inspect show job-42:words\n  shm-inspect show ./job-42.raw --json")]
    Show {
        /// A segment, a ring of one, or a copy in a file
        #[arg(value_name = "SEGMENT[:RING]")]
        target: String,
    },
    /// Shows the entries of the rings with their payloads, or copies the whole segment to a file
    Dump(DumpArgs),
    /// Writes a completion script to standard output
    #[command(after_help = "Example:\n  shm-inspect completions bash > \
        ~/.local/share/bash-completion/completions/shm-inspect")]
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
}

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
