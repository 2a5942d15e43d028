//! What can go wrong in a measurement, in words that say what to do.

use std::io;

/// Why a measurement was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The options ask for something that cannot be; the text says what can.
    #[error("{0}")]
    Usage(String),
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Os {
        /// What was being done.
        doing: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The peer process ended before its work was done.
    #[error("the peer process ended early ({status}){output}")]
    Peer {
        /// How it ended.
        status: String,
        /// What it wrote to its standard error, after a colon; or nothing.
        output: String,
    },
    /// A received payload is not the one that was sent: the transport is broken.
    #[error("packet {sequence} arrived damaged or out of order")]
    Damaged {
        /// The packet that was expected.
        sequence: u64,
    },
    /// The packets received are not those that were sent: the transport is broken.
    #[error("of {packets} packets some were lost, or came twice")]
    Lost {
        /// How many were sent.
        packets: u64,
    },
    /// The transport refused.
    #[error("{doing}: {source}")]
    Transport {
        /// What was being done.
        doing: &'static str,
        /// The transport's answer.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What every fallible function of this program returns.
pub(crate) type Result<T> = std::result::Result<T, BenchError>;

/// Says what was being done when the operating system refused.
pub(crate) trait Doing<T> {
    /// Turns the system's error into one that says what was being done.
    fn doing(self, what: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|error| BenchError::Os { doing: what.into(), source: error.into() })
    }
}
