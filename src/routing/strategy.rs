//! How a target is picked within a group.
//!
//! A packet's own strategy wins over its group's, which wins over round-robin. Packets carry one of
//! the [`PartitionStrategy`] values; a group may also have a user's function, which cannot travel
//! with a packet, but whose name can with the configuration.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::PacketRef;
use super::group::Target;

/// How to pick among the targets of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionStrategy {
    /// One target after the other.
    RoundRobin {
        /// Passes over targets that are full, to the first that takes the packet; where all are,
        /// the one whose turn it is gets it by its policy. Only a full target is passed over: one
        /// that is closed is a problem to report.
        #[serde(default)]
        skip_full: bool,
    },
    /// The target that the packet's key belongs to: [`super::PartitionKey::target_index`]. A packet
    /// without a key is refused.
    Hash,
    /// Every target, whether or not the packet has a key.
    Broadcast,
    /// The less loaded of two targets picked at random, by occupancy (Mitzenmacher 2001, "The power
    /// of two choices in randomized load balancing"). A target that is closed or cannot be opened
    /// counts as fuller than full: an emptied dead end must not attract everything. Where chance
    /// picks two such, all are looked at.
    LeastLoaded {
        /// Looks at all targets, and picks the least loaded. Among equals, the one whose turn it is.
        #[serde(default)]
        full_scan: bool,
    },
}

impl Default for PartitionStrategy {
    fn default() -> Self {
        Self::RoundRobin { skip_full: false }
    }
}

impl PartitionStrategy {
    /// Its byte on the wire.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::RoundRobin { skip_full: false } => 0,
            Self::RoundRobin { skip_full: true } => 1,
            Self::Hash => 2,
            Self::Broadcast => 3,
            Self::LeastLoaded { full_scan: false } => 4,
            Self::LeastLoaded { full_scan: true } => 5,
        }
    }

    pub(super) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::RoundRobin { skip_full: false },
            1 => Self::RoundRobin { skip_full: true },
            2 => Self::Hash,
            3 => Self::Broadcast,
            4 => Self::LeastLoaded { full_scan: false },
            5 => Self::LeastLoaded { full_scan: true },
            _ => return None,
        })
    }
}

impl fmt::Display for PartitionStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RoundRobin { skip_full: false } => "round-robin",
            Self::RoundRobin { skip_full: true } => "round-robin, skipping full",
            Self::Hash => "hash",
            Self::Broadcast => "broadcast",
            Self::LeastLoaded { full_scan: false } => "least-loaded of two",
            Self::LeastLoaded { full_scan: true } => "least-loaded of all",
        })
    }
}

/// The strategy of a group, for packets that name none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupStrategy {
    /// One of Ringway's own.
    Standard(PartitionStrategy),
    /// A user's function.
    Custom(CustomStrategy),
}

impl Default for GroupStrategy {
    fn default() -> Self {
        Self::Standard(PartitionStrategy::default())
    }
}

impl From<PartitionStrategy> for GroupStrategy {
    fn from(strategy: PartitionStrategy) -> Self {
        Self::Standard(strategy)
    }
}

impl From<CustomStrategy> for GroupStrategy {
    fn from(strategy: CustomStrategy) -> Self {
        Self::Custom(strategy)
    }
}

impl fmt::Display for GroupStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Standard(strategy) => strategy.fmt(f),
            Self::Custom(custom) => write!(f, "custom {:?}", custom.name),
        }
    }
}

/// What a [`CustomStrategy`] calls.
pub type StrategyFn = dyn Fn(&PacketRef<'_>, &GroupView<'_>) -> Choice + Send + Sync;

/// A user's function that picks the target, known by a name.
///
/// Serialized, it is its name alone; [`super::RouterConfig::bind`] gives it its function again in
/// the process that reads it. Equal where the names are.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CustomStrategy {
    name: String,
    #[serde(skip)]
    function: Option<Arc<StrategyFn>>,
}

impl CustomStrategy {
    /// Makes a strategy of a function.
    pub fn new(
        name: impl Into<String>,
        function: impl Fn(&PacketRef<'_>, &GroupView<'_>) -> Choice + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), function: Some(Arc::new(function)) }
    }

    /// Names a strategy whose function is bound later.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), function: None }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Says whether it has its function.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.function.is_some()
    }

    pub(super) fn bind(&mut self, function: Arc<StrategyFn>) {
        self.function = Some(function);
    }

    pub(super) fn function(&self) -> Option<&StrategyFn> {
        self.function.as_deref()
    }
}

impl PartialEq for CustomStrategy {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl fmt::Debug for CustomStrategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CustomStrategy")
            .field("name", &self.name)
            .field("bound", &self.is_bound())
            .finish()
    }
}

/// What a [`CustomStrategy`] picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// The target of this parallel index. One that the group has not got is a problem in the report.
    One(usize),
    /// Every target of the group.
    All,
    /// No target, on purpose: the report counts the group as declined, not as a problem.
    Decline,
}

/// A group, as a [`CustomStrategy`] sees it.
pub struct GroupView<'a> {
    pub(super) broadcast_index: u32,
    pub(super) position: usize,
    pub(super) targets: &'a [Target],
}

impl GroupView<'_> {
    /// Which group it is.
    #[must_use]
    pub fn broadcast_index(&self) -> u32 {
        self.broadcast_index
    }

    /// How many targets it has: at least 1. Their parallel indices are 0 to `len() - 1`.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a group is never empty")]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whose turn it is: 0 at first, and one past the last choice of one target.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Name of a target; `None` where the group has no such target.
    #[must_use]
    pub fn target_name(&self, parallel_index: usize) -> Option<&str> {
        self.targets.get(parallel_index).map(|target| target.connection().target_name.as_str())
    }

    /// Occupancy of a target's queue, 0.0–1.0, which others change all the time; `None` where there
    /// is no such target, or its queue is closed or cannot be opened.
    #[must_use]
    pub fn load(&self, parallel_index: usize) -> Option<f64> {
        self.targets.get(parallel_index)?.open_load()
    }
}

impl fmt::Debug for GroupView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupView")
            .field("broadcast_index", &self.broadcast_index)
            .field("len", &self.len())
            .field("position", &self.position)
            .finish()
    }
}

/// Marsaglia's xorshift64* (Vigna 2014): good enough to spread load, and a few instructions.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn seeded(seed: u64) -> Self {
        // The state must not be 0; the multiplication spreads small seeds.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1)
    }

    pub(super) fn from_entropy() -> Self {
        Self::seeded(RandomState::new().hash_one(0_u8))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Two different numbers below `count`, which is at least 2 and at most 2^32.
    pub(super) fn two_below(&mut self, count: usize) -> (usize, usize) {
        let bits = self.next();
        let below = |bits: u64, count: usize| ((bits * count as u64) >> 32) as usize;
        let first = below(bits >> 32, count);
        let second = below(bits & 0xffff_ffff, count - 1);
        (first, if second >= first { second + 1 } else { second })
    }
}
