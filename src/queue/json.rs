//! Descriptors as JSON, as `serde_json` values, and as postcard bytes.
//!
//! The human form is one flat object, `{"queue_type": "shm", "queue_id": "job-42:words", …}`, which
//! people write by hand: missing fields (and `null`) mean the default, and a field that is unknown
//! or of a wrong type is an error that names it. Fields of unknown kinds are kept as they are.
//!
//! The binary form is a version byte and the same object as a string: formats that do not describe
//! themselves cannot carry the fields of unknown kinds otherwise, and one description of the fields
//! cannot disagree with another.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::OpenError;
use crate::queue::config::QueueConfig;
use crate::queue::registry::{LOCAL, SHM};
use crate::queue::spec::{ShmAddress, Spec};
use crate::queue::{QueueDescriptor, name};

/// Version of the binary form.
const BINARY_VERSION: u8 = 1;

/// Why something is no descriptor. Every variant is permanent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// A field is missing, unknown, of a wrong type or out of range.
    #[error("{field}: {reason}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The text is no JSON object.
    #[error("not a JSON object: {0}")]
    Syntax(String),
    /// The bytes are no descriptor in binary form.
    #[error("not a descriptor in binary form: {0}")]
    Binary(String),
    /// No `queue_id` could be generated for a descriptor without one.
    #[error(transparent)]
    Generate(OpenError),
}

impl From<OpenError> for DescriptorError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::InvalidConfig { field, reason } => {
                Self::Field { field: field.to_owned(), reason }
            }
            other => Self::Generate(other),
        }
    }
}

impl From<DescriptorError> for OpenError {
    fn from(error: DescriptorError) -> Self {
        match error {
            DescriptorError::Generate(error) => error,
            other => Self::InvalidConfig { field: "descriptor", reason: other.to_string() },
        }
    }
}

/// To and from text, values and bytes. None of these touches the queue, and none depends on whether
/// it was used.
impl QueueDescriptor {
    /// The flat object as a value. Fields whose default depends on others (`capacity_packets`, …)
    /// are left out when they were not given; all others are written, so that another build's
    /// defaults do not matter.
    #[must_use]
    pub fn to_dict(&self) -> Value {
        let mut map = match self.spec() {
            Spec::Local { config, lifetime, .. } => {
                let mut map = object(config);
                map.insert("lifetime".to_owned(), value(lifetime));
                map
            }
            Spec::Shm { config, address, .. } => {
                let mut map = object(config);
                map.insert("lifetime".to_owned(), value(&address.lifetime));
                map.insert("max_participants".to_owned(), value(&address.max_participants));
                if let Some(directory) = &address.directory {
                    map.insert("directory".to_owned(), value(directory));
                }
                if let Some(group) = &address.group {
                    map.insert("group".to_owned(), value(group));
                }
                map
            }
            Spec::Other { fields, .. } => fields.clone(),
        };
        if let (Some(id), false) = (self.spec().queue_id(), map.contains_key("queue_id")) {
            map.insert("queue_id".to_owned(), id.into());
        }
        map.insert("queue_type".to_owned(), self.queue_type().into());
        Value::Object(map)
    }

    /// The flat object as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.to_dict().to_string()
    }

    /// Reads the flat object. Without a `queue_id` a `local` or `shm` queue gets a random one.
    ///
    /// # Errors
    /// [`DescriptorError::Field`] names the field that is missing, unknown or wrong.
    pub fn from_dict(dict: Value) -> Result<Self, DescriptorError> {
        let Value::Object(mut map) = dict else {
            return Err(DescriptorError::Syntax(format!("it is {dict}")));
        };
        let queue_type: String =
            take(&mut map, "queue_type")?.ok_or_else(|| field("queue_type", "is missing"))?;
        let spec = match queue_type.as_str() {
            LOCAL => read_local(map)?,
            SHM => read_shm(map)?,
            "" => return Err(field("queue_type", "is empty")),
            _ => Spec::Other { queue_type, fields: map },
        };
        spec.check()?;
        Ok(Self::from_spec(spec))
    }

    /// Reads the flat object from text.
    ///
    /// # Errors
    /// [`DescriptorError::Syntax`] when it is no JSON; otherwise as [`QueueDescriptor::from_dict`].
    pub fn from_json(json: &str) -> Result<Self, DescriptorError> {
        let value = serde_json::from_str(json)
            .map_err(|error| DescriptorError::Syntax(error.to_string()))?;
        Self::from_dict(value)
    }

    /// The binary form, in postcard.
    ///
    /// # Panics
    /// Never: a byte and a string always have a postcard form.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("a byte and a string have a postcard form")
    }

    /// Reads the binary form.
    ///
    /// # Errors
    /// [`DescriptorError::Binary`] when it is cut short, followed by more, or of an unknown version;
    /// otherwise as [`QueueDescriptor::from_json`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DescriptorError> {
        // Postcard would drop the message of an error below, so it only splits the bytes here.
        let ((version, json), rest) = postcard::take_from_bytes::<(u8, &str)>(bytes)
            .map_err(|error| DescriptorError::Binary(error.to_string()))?;
        if !rest.is_empty() {
            let reason = format!("{} bytes follow it", rest.len());
            return Err(DescriptorError::Binary(reason));
        }
        Self::from_binary(version, json)
    }

    fn from_binary(version: u8, json: &str) -> Result<Self, DescriptorError> {
        if version != BINARY_VERSION {
            let reason = format!("its version is {version}, this build reads {BINARY_VERSION}");
            return Err(DescriptorError::Binary(reason));
        }
        Self::from_json(json)
    }
}

impl Serialize for QueueDescriptor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.to_dict().serialize(serializer)
        } else {
            (BINARY_VERSION, self.to_json()).serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for QueueDescriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let descriptor = if deserializer.is_human_readable() {
            Self::from_dict(Value::deserialize(deserializer)?)
        } else {
            let (version, json) = <(u8, String)>::deserialize(deserializer)?;
            Self::from_binary(version, &json)
        };
        descriptor.map_err(D::Error::custom)
    }
}

fn read_local(mut map: Map<String, Value>) -> Result<Spec, DescriptorError> {
    let mut spec = Spec::local(&read_id(&mut map)?)?;
    if let Spec::Local { lifetime, config, .. } = &mut spec {
        *lifetime = take(&mut map, "lifetime")?.unwrap_or_default();
        *config = read_config(&mut map)?;
    }
    refuse_rest(&map, LOCAL)?;
    Ok(spec)
}

fn read_shm(mut map: Map<String, Value>) -> Result<Spec, DescriptorError> {
    let mut spec = Spec::shm(&read_id(&mut map)?)?;
    if let Spec::Shm { address, config, .. } = &mut spec {
        let ShmAddress { directory, group, lifetime, max_participants, .. } = address;
        *directory = take(&mut map, "directory")?;
        *group = take(&mut map, "group")?;
        *lifetime = take(&mut map, "lifetime")?.unwrap_or_default();
        if let Some(given) = take(&mut map, "max_participants")? {
            *max_participants = given;
        }
        *config = read_config(&mut map)?;
    }
    refuse_rest(&map, SHM)?;
    Ok(spec)
}

fn read_id(map: &mut Map<String, Value>) -> Result<String, DescriptorError> {
    match take(map, "queue_id")? {
        Some(id) => Ok(id),
        None => Ok(name::generate()?),
    }
}

fn read_config(map: &mut Map<String, Value>) -> Result<QueueConfig, DescriptorError> {
    Ok(QueueConfig {
        maxsize: take(map, "maxsize")?.unwrap_or_default(),
        capacity_packets: take(map, "capacity_packets")?,
        capacity_bytes: take(map, "capacity_bytes")?,
        max_payload: take(map, "max_payload")?,
        producers: take(map, "producers")?.unwrap_or_default(),
        consumers: take(map, "consumers")?.unwrap_or_default(),
        timestamps: take(map, "timestamps")?.unwrap_or_default(),
        max_deliveries: take(map, "max_deliveries")?.unwrap_or_default(),
        dead_letter: take(map, "dead_letter")?,
        schema: take(map, "schema")?,
    })
}

/// Removes a field and reads it; `None` when it is missing or `null`.
fn take<T: DeserializeOwned>(
    map: &mut Map<String, Value>,
    name: &str,
) -> Result<Option<T>, DescriptorError> {
    match map.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            serde_json::from_value(value).map(Some).map_err(|error| field(name, error.to_string()))
        }
    }
}

fn refuse_rest(map: &Map<String, Value>, queue_type: &str) -> Result<(), DescriptorError> {
    match map.keys().next() {
        Some(name) => Err(field(name, format!("{queue_type:?} queues have no such field"))),
        None => Ok(()),
    }
}

fn field(name: &str, reason: impl Into<String>) -> DescriptorError {
    DescriptorError::Field { field: name.to_owned(), reason: reason.into() }
}

/// The object form of a struct of numbers, booleans, names and UTF-8 paths, which always has one.
fn object<T: Serialize>(fields: &T) -> Map<String, Value> {
    match value(fields) {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn value<T: Serialize>(plain: &T) -> Value {
    serde_json::to_value(plain).unwrap_or_default()
}
