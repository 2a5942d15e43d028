//! Why nothing could be shown.

use std::fmt;
use std::io;
use std::path::PathBuf;

use ringway::error::OpenError;

/// Why nothing could be shown.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What was asked for is not there, or cannot be what it says.
    Open(OpenError),
    /// There is no such segment, but there are others.
    NoSegment { target: String, place: PathBuf, have: Vec<String> },
    /// The directory that `--dir` names is missing.
    NoDirectory { path: PathBuf },
    /// Our own output failed.
    Output(io::Error),
    /// The ring of a segment with several was not named.
    WhichRing { segment: String, have: Vec<String> },
    /// The segment is a copy, or nobody keeps it.
    NotToBeChanged { target: String, why: &'static str },
    /// The user asked for something impossible.
    Usage(String),
    /// A file could not be read, or written.
    File { path: PathBuf, source: io::Error },
}

/// What every fallible function of this program returns.
pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Says whether the reader of our output went away.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        match self {
            Self::Open(error) => error.fmt(f),
            Self::NoSegment { target, place, have } => {
                write!(f, "there is no segment {target:?} in {}", place.display())?;
                match have.split_at_checked(SHOWN) {
                    None if have.is_empty() => f.write_str("; it has none"),
                    None => write!(f, "; it has {}", have.join(", ")),
                    Some((shown, [])) => write!(f, "; it has {}", shown.join(", ")),
                    Some((shown, rest)) => {
                        write!(f, "; it has {}, and {} more", shown.join(", "), rest.len())
                    }
                }
            }
            Self::WhichRing { segment, have } => {
                let shown: Vec<_> = have.iter().take(SHOWN).map(String::as_str).collect();
                let more = have.len() - shown.len();
                write!(f, "which ring of {segment}? It has {}", shown.join(", "))?;
                if more == 0 { Ok(()) } else { write!(f, ", and {more} more") }
            }
            Self::NotToBeChanged { target, why } => write!(f, "{target}: {why}"),
            Self::Usage(what) => f.write_str(what),
            Self::NoDirectory { path } => write!(f, "there is no directory {}", path.display()),
            Self::Output(error) => write!(f, "standard output: {error}"),
            Self::File { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}
