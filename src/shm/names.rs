//! How segments and rings are called: `team/ingest`, and `team/ingest:orders`.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::OpenError;
use crate::shm::layout::MAX_RING_NAME;

/// Longest name of a segment, in bytes.
pub const MAX_SEGMENT_NAME: usize = 200;
/// Most parts of a segment's name.
pub const MAX_NAME_PARTS: usize = 8;

/// Name of a segment: one to eight parts of `[A-Za-z0-9._-]` joined by `/`, none of them `.` or
/// `..`, at most 200 bytes in all.
///
/// ```
/// use ringway::shm::names::SegmentName;
/// assert!("team/ingest".parse::<SegmentName>().is_ok());
/// assert!("../etc".parse::<SegmentName>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentName(String);

impl SegmentName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] says what is wrong with it.
    pub fn new(name: impl Into<String>) -> Result<Self, OpenError> {
        let name = name.into();
        match complain_about_segment(&name) {
            None => Ok(Self(name)),
            Some(why) => Err(OpenError::InvalidConfig {
                field: "segment name",
                reason: format!("{:?} {why}", Clipped(&name)),
            }),
        }
    }

    /// The name as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The directories that lead to the file.
    pub(crate) fn parents(&self) -> impl DoubleEndedIterator<Item = &str> + Clone {
        self.0.rsplit_once('/').map_or("", |(parents, _)| parents).split_terminator('/')
    }

    /// The file's own name.
    pub(crate) fn leaf(&self) -> &str {
        self.0.rsplit_once('/').map_or(&self.0, |(_, leaf)| leaf)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SegmentName {
    type Err = OpenError;

    fn from_str(name: &str) -> Result<Self, OpenError> {
        Self::new(name)
    }
}

impl TryFrom<String> for SegmentName {
    type Error = OpenError;

    fn try_from(name: String) -> Result<Self, OpenError> {
        Self::new(name)
    }
}

impl From<SegmentName> for String {
    fn from(name: SegmentName) -> Self {
        name.0
    }
}

/// Name of a ring with its segment, written `SEGMENT:RING`.
///
/// ```
/// let ring: ringway::shm::names::RingAddress = "team/ingest:orders".parse()?;
/// assert_eq!((ring.segment.as_str(), ring.ring.as_str()), ("team/ingest", "orders"));
/// # Ok::<(), ringway::error::OpenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RingAddress {
    /// The segment.
    pub segment: SegmentName,
    /// The ring in it.
    pub ring: String,
}

impl fmt::Display for RingAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.ring)
    }
}

impl FromStr for RingAddress {
    type Err = OpenError;

    fn from_str(address: &str) -> Result<Self, OpenError> {
        let Some((segment, ring)) = address.split_once(':') else {
            return Err(OpenError::InvalidConfig {
                field: "ring address",
                reason: format!("{:?} is not SEGMENT:RING", Clipped(address)),
            });
        };
        let segment = SegmentName::new(segment)?;
        check_ring_name("ring name", ring)?;
        Ok(Self { segment, ring: ring.to_owned() })
    }
}

impl TryFrom<String> for RingAddress {
    type Error = OpenError;

    fn try_from(address: String) -> Result<Self, OpenError> {
        address.parse()
    }
}

impl From<RingAddress> for String {
    fn from(address: RingAddress) -> Self {
        address.to_string()
    }
}

/// Checks the name of a ring: one part, at most 63 bytes.
///
/// # Errors
/// [`OpenError::InvalidConfig`] for `field`.
pub fn check_ring_name(field: &'static str, name: &str) -> Result<(), OpenError> {
    let complaint = if name.len() > MAX_RING_NAME {
        Some("is longer than 63 bytes")
    } else {
        complain_about_part(name)
    };
    match complaint {
        None => Ok(()),
        Some(why) => {
            let reason = format!("{:?} {why}", Clipped(name));
            Err(OpenError::InvalidConfig { field, reason })
        }
    }
}

fn complain_about_segment(name: &str) -> Option<&'static str> {
    if name.len() > MAX_SEGMENT_NAME {
        return Some("is longer than 200 bytes");
    }
    if name.split('/').count() > MAX_NAME_PARTS {
        return Some("has more than 8 parts");
    }
    name.split('/').find_map(complain_about_part)
}

fn complain_about_part(part: &str) -> Option<&'static str> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match part {
        "" => Some("is empty, or has an empty part"),
        "." | ".." => Some("has a part . or .."),
        _ if !part.bytes().all(allowed) => Some("has other characters than [A-Za-z0-9._-]"),
        _ => None,
    }
}

/// Shows the start of a text that may be anything.
struct Clipped<'a>(&'a str);

impl fmt::Debug for Clipped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(80) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}…", &self.0[..end]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_survive_text_and_json() {
        for good in ["a", "job-42", "team/ingest", ".x", "..x", "a.b/c_d-e/1/2/3/4/5/6"] {
            let name: SegmentName = good.parse().unwrap();
            assert_eq!(name.to_string(), good);
            let json = serde_json::to_string(&name).unwrap();
            assert_eq!(serde_json::from_str::<SegmentName>(&json).unwrap(), name);
        }
    }

    #[test]
    fn names_that_could_lead_elsewhere_are_refused() {
        let long = "x".repeat(201);
        for bad in [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a b",
            "a\0",
            "ä",
            "a:b",
            &long,
            "1/2/3/4/5/6/7/8/9",
        ] {
            assert!(bad.parse::<SegmentName>().is_err(), "{bad:?}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<SegmentName>(&json).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_falls_into_directories_and_a_file() {
        let name: SegmentName = "a/b/c".parse().unwrap();
        assert_eq!((name.parents().collect::<Vec<_>>(), name.leaf()), (vec!["a", "b"], "c"));
        let name: SegmentName = "c".parse().unwrap();
        assert_eq!((name.parents().count(), name.leaf()), (0, "c"));
    }

    #[test]
    fn ring_addresses_need_both_parts() {
        let address: RingAddress = "a/b:c".parse().unwrap();
        assert_eq!(address.to_string(), "a/b:c");
        for bad in ["a", "a:", ":b", "a:b:c", "a:b/c", "a/b:.."] {
            assert!(bad.parse::<RingAddress>().is_err(), "{bad:?}");
        }
        assert!(format!("a:{}", "r".repeat(64)).parse::<RingAddress>().is_err());
        assert!(format!("a:{}", "r".repeat(63)).parse::<RingAddress>().is_ok());
    }
}
