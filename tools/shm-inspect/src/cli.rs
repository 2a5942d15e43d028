//! The command line. What belongs to one verb alone is in `cli/verbs.rs`.

mod verbs;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

pub(crate) use verbs::*;

/// Looks into ringway segments, live, wedged or abandoned; only put, get, replay and clean change anything
#[derive(Debug, Parser)]
#[command(
    version,
    about,
    max_term_width = 100,
    after_help = "\
SEGMENT is the name of a segment (job-42, team/ingest), or the path of a copy made by
`dump --raw` (job-42.raw; a name that exists as both is the segment, ./job-42 the file).
SEGMENT:RING means one ring of it; where a RING is wanted and the segment has only one,
its name may be left out.

Examples:
  shm-inspect list                             what there is
  shm-inspect show job-42                      participants, rings, who blocks, memory map
  shm-inspect show job-42:words --json | jq .rings[0].blocked_by
  shm-inspect watch                            a screen that refreshes
  shm-inspect peek job-42:words                the packets that wait, left where they are
  shm-inspect dump job-42:words                every packet in the ring, in hex and text
  shm-inspect dump job-42 --raw job-42.raw     a copy of all of it, to look at elsewhere
  shm-inspect show ./job-42.raw
  shm-inspect doctor                           what is wrong, and how to mend it
  shm-inspect clean --dry-run                  what nobody uses any more

Exit codes:
  0  fine
  1  findings: something printed is damaged or could not be read, or not all could be done
  2  wrong usage, or what was asked for is not there or is no segment"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Clone, Debug, Args)]
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
        shm-inspect list --dir /tmp/segments --json | jq -r .[].segment\n  \
        shm-inspect list ./*.raw")]
    List {
        /// Segments, or copies in files [default: all segments]
        #[arg(value_name = "SEGMENT")]
        segments: Vec<String>,
    },
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
    /// Shows the packets that wait in a ring, and leaves them there
    Peek(PeekArgs),
    /// Shows rates, occupancy and participants on a screen that refreshes
    Watch(WatchArgs),
    /// Measures how often packets pass through a ring
    Hz(HzArgs),
    /// Lists the rings, those whose oldest packet waits longest first
    Top(TopArgs),
    /// Copies the packets that pass through a ring into a file, and takes none of them
    Record(RecordArgs),
    /// Puts the packets of a recording into a ring (changes the ring)
    Replay(ReplayArgs),
    /// Puts what it reads from standard input into a ring (changes the ring)
    Put(PutArgs),
    /// Takes packets out of a ring and writes them to standard output (changes the ring)
    Get(GetArgs),
    /// Removes the segments in which nobody is alive (deletes files)
    Clean(CleanArgs),
    /// Looks for what is wrong with the directory, the system and the segments, and says what mends it
    #[command(after_help = "Examples:\n  shm-inspect doctor\n  shm-inspect doctor job-42\n  \
        shm-inspect doctor --json | jq -r '.[] | select(.severity != \"ok\") | .mend'")]
    Doctor {
        /// Segments, or copies in files [default: all segments]
        #[arg(value_name = "SEGMENT")]
        segments: Vec<String>,
    },
    /// Prints the numbers of all rings in the text form that Prometheus reads
    #[command(after_help = "Example:\n  \
        shm-inspect metrics > /var/lib/node_exporter/ringway.prom.new &&\n    \
        mv /var/lib/node_exporter/ringway.prom.new /var/lib/node_exporter/ringway.prom")]
    Metrics {
        /// Segments, or copies in files [default: all segments]
        #[arg(value_name = "SEGMENT")]
        segments: Vec<String>,
    },
    /// Writes the manual page to standard output, or the pages of all verbs into a directory
    #[command(after_help = "Examples:\n  shm-inspect man | man -l -\n  \
        shm-inspect man ~/.local/share/man/man1")]
    Man {
        /// An existing directory: one page for the program, and one for each verb
        #[arg(value_name = "DIR")]
        into: Option<PathBuf>,
    },
    /// Writes a completion script to standard output
    #[command(after_help = "Example:\n  shm-inspect completions bash > \
        ~/.local/share/bash-completion/completions/shm-inspect")]
    Completions {
        /// The shell to complete for
        shell: Shell,
    },
}
