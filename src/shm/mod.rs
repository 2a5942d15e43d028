//! The memory: everything another process can see, and the algorithms that keep it alive.

// What processes share goes through `crate::sync`, where loom sees it.
#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub(crate) mod answer;
pub(crate) mod cpu;
#[cfg(not(loom))]
pub mod directory;
#[cfg(not(loom))]
pub mod inspect;
pub mod layout;
#[cfg(not(loom))]
pub(crate) mod mapped;
#[cfg(not(loom))]
pub mod names;
#[cfg(not(loom))]
pub mod os;
#[cfg(not(loom))]
pub mod participant;
pub mod peers;
pub mod recovery;
pub mod ring;
#[cfg(not(loom))]
pub mod segment;
#[cfg(not(loom))]
pub mod segment_peers;
pub mod storage;
#[cfg(not(loom))]
pub mod view;
pub mod wait;

/// How long a segment lives.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u32)]
pub enum Lifetime {
    /// Until it is destroyed; packets survive all processes.
    Keep = 1,
    /// Until the last participant leaves.
    #[default]
    Ephemeral = 2,
    /// Its dispatcher's; removed at the next start, whatever it holds.
    Job = 3,
}
