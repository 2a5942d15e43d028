//! The configuration of a queue made of a ring, and how it becomes a ring's shape.
//!
//! A [`QueueConfig`] keeps what was *asked for*; [`QueueConfig::geometry`] computes what is made of
//! it. Two processes share a queue only when what is made is the same in both: the resolved shape,
//! the dead-letter ring and the schema are compared, not the wishes that led there.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::error::OpenError;
use crate::queue::name::{self, invalid};
use crate::shm::layout::{LOG2_ENTRIES, MAX_UNIT, PAGE_BYTES, UNIT_GRANULE};
use crate::shm::storage::{Geometry, Side};

/// Entries of a ring whose configuration does not say.
pub const DEFAULT_CAPACITY_PACKETS: u64 = 4096;
/// Bytes of data region of a ring whose configuration does not say.
pub const DEFAULT_CAPACITY_BYTES: u64 = 512 * 1024;
/// Longest name of a schema, in bytes.
pub const MAX_SCHEMA_NAME: usize = 255;

/// Shape and promises of a `local` or `shm` queue, as asked for.
///
/// The default is a many-to-many queue of 4096 packets and 512 KiB, without bound on the waiting
/// packets other than that space.
///
/// ```
/// use ringway::queue::QueueConfig;
///
/// let config = QueueConfig { maxsize: 100, max_payload: Some(1 << 20), ..Default::default() };
/// let geometry = config.geometry()?;
/// assert_eq!(geometry.maxsize, 100);
/// assert!(geometry.max_payload() >= 1 << 20);
/// # Ok::<(), ringway::error::OpenError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueConfig {
    /// Most packets that may wait; 0 for no bound but the space. Not more than the entries.
    pub maxsize: u64,
    /// Entries wanted, 1 to 2^20, rounded up to a power of two of at least 8. By default 4096, or
    /// as many as `maxsize` needs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_packets: Option<u64>,
    /// Bytes of data region wanted, rounded up; by default 512 KiB. Each packet of more than 48
    /// bytes (40 with timestamps) takes a whole number of units of `capacity_bytes / entries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity_bytes: Option<u64>,
    /// The longest payload that must fit, in bytes: raises the data region to four times as much.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payload: Option<u64>,
    /// Promises a single producer at a time, which is enforced and faster.
    pub producers: Side,
    /// Promises a single consumer at a time, which is enforced and faster.
    pub consumers: Side,
    /// Keeps the time of each put (`CLOCK_MONOTONIC`) with the packet.
    pub timestamps: bool,
    /// Deliveries after which a packet is a dead letter; 0 for no bound.
    pub max_deliveries: u32,
    /// Where dead letters go: for `shm` a ring of the same segment, for `local` the id of another
    /// local queue. Without one they are dropped and counted. Needs `max_deliveries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<String>,
    /// Name and version of the type of the values in a typed queue, such as `orders/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

impl QueueConfig {
    /// Computes the shape of the ring, and checks every field on the way.
    ///
    /// The entries are `capacity_packets` rounded up to a power of two. A unit is the data wanted,
    /// divided by the entries and rounded up such that it is a multiple of 64 bytes and the whole
    /// data region fills pages of 4096 bytes. So the ring has at least the packets and the bytes
    /// asked for.
    ///
    /// # Errors
    /// [`OpenError::InvalidConfig`] names the first field that is out of range.
    pub fn geometry(&self) -> Result<Geometry, OpenError> {
        self.check_names()?;
        let log2_entries = self.log2_entries()?;
        let entries = 1_u64 << log2_entries;
        let (wanted_bytes, field) = self.wanted_bytes()?;
        // Both are powers of two, so the larger is a multiple of the smaller.
        let granule = u64::from(UNIT_GRANULE).max(PAGE_BYTES / entries);
        let unit_bytes = wanted_bytes.div_ceil(entries).next_multiple_of(granule);
        let unit_bytes =
            u32::try_from(unit_bytes).ok().filter(|&unit| unit <= MAX_UNIT).ok_or_else(|| {
                let most = entries * u64::from(MAX_UNIT);
                let reason = format!(
                    "needs {wanted_bytes} bytes, but {entries} entries can have at most {most}"
                );
                invalid(field, reason)
            })?;
        let geometry = Geometry {
            log2_entries,
            unit_bytes,
            maxsize: self.maxsize,
            producers: self.producers,
            consumers: self.consumers,
            timestamps: self.timestamps,
            max_deliveries: self.max_deliveries,
        };
        geometry.validate().map_err(|(field, reason)| invalid(field, reason))?;
        Ok(geometry)
    }

    fn log2_entries(&self) -> Result<u32, OpenError> {
        let most = 1_u64 << LOG2_ENTRIES.end();
        if self.maxsize > most {
            return Err(invalid("maxsize", format!("{} is more than {most}", self.maxsize)));
        }
        let wanted = match self.capacity_packets {
            None => DEFAULT_CAPACITY_PACKETS.max(self.maxsize),
            Some(given) if (1..=most).contains(&given) => given,
            Some(given) => {
                return Err(invalid("capacity_packets", format!("{given} is not in 1..={most}")));
            }
        };
        let log2 = wanted.next_power_of_two().ilog2().max(*LOG2_ENTRIES.start());
        if self.maxsize > 1 << log2 {
            let reason = format!(
                "{} is more than the {} entries that capacity_packets asks for",
                self.maxsize,
                1_u64 << log2
            );
            return Err(invalid("maxsize", reason));
        }
        Ok(log2)
    }

    /// Bytes of data wanted, and the field that wants so many.
    fn wanted_bytes(&self) -> Result<(u64, &'static str), OpenError> {
        if self.capacity_bytes == Some(0) {
            return Err(invalid("capacity_bytes", "0 is too small"));
        }
        let capacity = self.capacity_bytes.unwrap_or(DEFAULT_CAPACITY_BYTES);
        let max_payload = self.max_payload.unwrap_or(0);
        // The length of a record is 32 bits wide.
        if max_payload > u64::from(u32::MAX) {
            return Err(invalid("max_payload", format!("{max_payload} is more than {}", u32::MAX)));
        }
        Ok(if 4 * max_payload > capacity {
            (4 * max_payload, "max_payload")
        } else {
            (capacity, "capacity_bytes")
        })
    }

    fn check_names(&self) -> Result<(), OpenError> {
        if let Some(dead_letter) = &self.dead_letter {
            name::split_id("dead_letter", dead_letter)?;
            if self.max_deliveries == 0 {
                return Err(invalid("dead_letter", "has no use while max_deliveries is 0"));
            }
        }
        match &self.schema {
            Some(schema) => check_schema(schema),
            None => Ok(()),
        }
    }

    /// Computes everything that two users of one queue must agree on.
    ///
    /// # Errors
    /// Those of [`QueueConfig::geometry`].
    pub fn resolve(&self) -> Result<ResolvedConfig, OpenError> {
        Ok(ResolvedConfig {
            geometry: self.geometry()?,
            dead_letter: self.dead_letter.clone(),
            schema_tag: self.schema_tag(),
        })
    }

    /// The tag of the schema, as kept in the segment; 0 for none.
    #[must_use]
    pub fn schema_tag(&self) -> u64 {
        self.schema.as_deref().map_or(0, schema_tag)
    }
}

/// Computes the tag of a schema: XXH3-64 of its name, or 1 in place of 0.
///
/// The same in every process, build and language. Two different names share a tag with a
/// probability of 2^-64.
#[must_use]
pub fn schema_tag(name: &str) -> u64 {
    xxh3_64(name.as_bytes()).max(1)
}

/// Checks the name of a schema.
pub(crate) fn check_schema(name: &str) -> Result<(), OpenError> {
    if name.is_empty() {
        return Err(invalid("schema", "is empty"));
    }
    if name.len() > MAX_SCHEMA_NAME {
        return Err(invalid(
            "schema",
            format!("{} bytes are more than {MAX_SCHEMA_NAME}", name.len()),
        ));
    }
    if name.chars().any(char::is_control) {
        return Err(invalid("schema", format!("{name:?} has a control character")));
    }
    Ok(())
}

/// What all users of one queue must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedConfig {
    /// The shape of the ring.
    pub geometry: Geometry,
    /// Where dead letters go.
    pub dead_letter: Option<String>,
    /// See [`schema_tag`]; 0 for none.
    pub schema_tag: u64,
}

impl ResolvedConfig {
    /// Compares this process's configuration with that of the existing queue. The schema comes
    /// first: when the type differs, the rest is beside the point.
    ///
    /// # Errors
    /// [`OpenError::ConfigMismatch`] names the first field that differs, in the words of
    /// [`QueueConfig`].
    pub fn check_same(&self, queue: &str, existing: &Self) -> Result<(), OpenError> {
        let (ours, theirs) = (self.facts(), existing.facts());
        for ((field, ours), (_, theirs)) in ours.into_iter().zip(theirs) {
            if ours != theirs {
                return Err(OpenError::ConfigMismatch {
                    queue: queue.to_owned(),
                    field,
                    ours,
                    theirs,
                });
            }
        }
        Ok(())
    }

    fn facts(&self) -> [(&'static str, String); 9] {
        let side = |side| match side {
            Side::Single => "single".to_owned(),
            Side::Multi => "multi".to_owned(),
        };
        let geometry = &self.geometry;
        let schema = match self.schema_tag {
            0 => "none".to_owned(),
            tag => format!("{tag:#018x}"),
        };
        [
            ("schema", schema),
            ("maxsize", geometry.maxsize.to_string()),
            ("capacity_packets", geometry.entries().to_string()),
            ("capacity_bytes", geometry.data_bytes().to_string()),
            ("producers", side(geometry.producers)),
            ("consumers", side(geometry.consumers)),
            ("timestamps", geometry.timestamps.to_string()),
            ("max_deliveries", geometry.max_deliveries.to_string()),
            ("dead_letter", self.dead_letter.clone().unwrap_or_else(|| "none".to_owned())),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field_of(config: &QueueConfig) -> &'static str {
        match config.geometry() {
            Err(OpenError::InvalidConfig { field, .. }) => field,
            other => panic!("{config:?} gave {other:?}"),
        }
    }

    #[test]
    fn defaults_are_as_documented() {
        let geometry = QueueConfig::default().geometry().unwrap();
        assert_eq!((geometry.entries(), geometry.data_bytes()), (4096, 512 * 1024));
        assert_eq!(geometry.unit_bytes, 128);
        assert_eq!(geometry.maxsize, 0);
    }

    #[test]
    fn sizes_are_rounded_up_and_never_down() {
        let config = |packets, bytes| QueueConfig {
            capacity_packets: Some(packets),
            capacity_bytes: Some(bytes),
            ..Default::default()
        };
        for (packets, bytes, entries, unit) in [
            (1, 1, 8, 512),
            (8, 4097, 8, 1024),
            (9, 1, 16, 256),
            (64, 4096, 64, 64),
            (1 << 20, 1, 1 << 20, 64),
            (1000, 1_000_000, 1024, 1024),
        ] {
            let geometry = config(packets, bytes).geometry().unwrap();
            assert_eq!((geometry.entries(), geometry.unit_bytes), (entries, unit));
        }
    }

    #[test]
    fn maxsize_raises_the_default_entries_and_one_works() {
        let geometry = |maxsize| QueueConfig { maxsize, ..Default::default() }.geometry().unwrap();
        assert_eq!(geometry(1).entries(), 4096);
        assert_eq!(geometry(5000).entries(), 8192);
        assert_eq!(geometry(1 << 20).entries(), 1 << 20);
    }

    #[test]
    fn max_payload_fits() {
        for max_payload in [0, 1, 49, 131_073, 10 << 20] {
            let config = QueueConfig { max_payload: Some(max_payload), ..Default::default() };
            assert!(config.geometry().unwrap().max_payload() as u64 >= max_payload);
        }
    }

    #[test]
    fn every_bad_field_is_named() {
        let d = QueueConfig::default;
        let bad = [
            ("maxsize", QueueConfig { maxsize: u64::MAX, ..d() }),
            ("maxsize", QueueConfig { maxsize: 9, capacity_packets: Some(8), ..d() }),
            ("capacity_packets", QueueConfig { capacity_packets: Some(0), ..d() }),
            ("capacity_packets", QueueConfig { capacity_packets: Some((1 << 20) + 1), ..d() }),
            ("capacity_packets", QueueConfig { capacity_packets: Some(u64::MAX), ..d() }),
            ("capacity_bytes", QueueConfig { capacity_bytes: Some(0), ..d() }),
            ("capacity_bytes", QueueConfig { capacity_bytes: Some(u64::MAX), ..d() }),
            ("max_payload", QueueConfig { max_payload: Some(u64::MAX), ..d() }),
            (
                "max_payload",
                QueueConfig { max_payload: Some(1 << 30), capacity_packets: Some(8), ..d() },
            ),
            ("dead_letter", QueueConfig { dead_letter: Some("x".into()), ..d() }),
            (
                "dead_letter",
                QueueConfig { dead_letter: Some(String::new()), max_deliveries: 1, ..d() },
            ),
            ("schema", QueueConfig { schema: Some(String::new()), ..d() }),
            ("schema", QueueConfig { schema: Some("a\nb".into()), ..d() }),
            ("schema", QueueConfig { schema: Some("x".repeat(256)), ..d() }),
        ];
        for (field, config) in bad {
            assert_eq!(field_of(&config), field, "{config:?}");
        }
    }

    #[test]
    fn schema_tags_are_stable() {
        // The XXH3-64 of the empty string, a published test vector.
        assert_eq!(schema_tag(""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn wishes_that_lead_to_one_shape_agree() {
        let resolve = |capacity_packets| {
            QueueConfig { capacity_packets, ..Default::default() }.resolve().unwrap()
        };
        resolve(None).check_same("q", &resolve(Some(4000))).unwrap();
        let error = resolve(None).check_same("q", &resolve(Some(8))).unwrap_err();
        assert!(matches!(error, OpenError::ConfigMismatch { field: "capacity_packets", .. }));
    }
}
