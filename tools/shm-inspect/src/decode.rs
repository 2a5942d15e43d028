//! What a payload looks like: a packet, JSON, a text, or bytes.

use ringway::queue::RecordKind;
use ringway::routing::{PacketRef, PartitionKey, Record, StopSignal};
use serde::Serialize;

use crate::cli::Format;
use crate::output::{hex, hex_lines, printable, utc};

/// A packet's header, or a stop signal, as JSON.
#[derive(Serialize)]
pub(crate) struct PacketJson {
    what: &'static str,
    timestamp_ns: u64,
    input_index: u32,
    key: Option<String>,
    strategy: Option<String>,
    upstream: Option<String>,
    sequence: Option<u64>,
    source: Option<String>,
    message: Option<String>,
    payload_length: usize,
}

impl PacketJson {
    fn packet(packet: &PacketRef<'_>, payload_length: usize) -> Self {
        let from = packet.provenance.as_ref();
        Self {
            what: "packet",
            timestamp_ns: packet.timestamp_ns,
            input_index: packet.input_index,
            key: packet
                .partition_key
                .as_ref()
                .and_then(|key| key.to_key().ok())
                .map(|key| key_text(&key)),
            strategy: packet.partition_strategy.map(|strategy| format!("{strategy:?}")),
            upstream: from.map(|from| format!("{}#{}", from.upstream_task, from.upstream_index)),
            sequence: from.map(|from| from.sequence),
            source: None,
            message: None,
            payload_length,
        }
    }

    fn stop(stop: &StopSignal) -> Self {
        Self {
            what: "stop",
            timestamp_ns: stop.timestamp_ns,
            input_index: stop.input_index,
            key: None,
            strategy: None,
            upstream: Some(stop.upstream.to_string()),
            sequence: None,
            source: Some(stop.source.clone()),
            message: stop.message.clone(),
            payload_length: 0,
        }
    }

    /// In one line: `packet key "tenant-7" from map#2 sequence 128, 4 bytes`.
    pub(crate) fn line(&self) -> String {
        let mut line = self.what.to_owned();
        let mut add = |name: &str, value: &Option<String>| {
            if let Some(value) = value {
                line.push_str(&format!(" {name} {}", printable(value)));
            }
        };
        add("key", &self.key);
        add("strategy", &self.strategy);
        add("from", &self.upstream);
        add("sequence", &self.sequence.map(|sequence| sequence.to_string()));
        add("source", &self.source);
        add("message", &self.message);
        let input = Some(self.input_index).filter(|&index| index != 0);
        add("input", &input.map(|index| index.to_string()));
        let made = Some(self.timestamp_ns).filter(|&at| at != 0);
        add("made", &made.map(utc));
        if self.what == "packet" {
            line.push_str(&format!(", {} bytes", self.payload_length));
        }
        line
    }
}

/// A key as its users write it: `"tenant-7"`, `42`, `b"00ff"`, `("a", 1)`.
fn key_text(key: &PartitionKey) -> String {
    match key {
        PartitionKey::Bytes(bytes) => format!("b\"{}\"", hex(bytes)),
        PartitionKey::Str(text) => format!("{text:?}"),
        PartitionKey::Int(number) => number.to_string(),
        PartitionKey::Tuple(keys) => {
            format!("({})", keys.iter().map(key_text).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Bytes that the header of a packet rarely exceeds: read in any case, so that it is decoded even where
/// little of the payload is shown.
pub(crate) const HEADER_BYTES: usize = 1024;

/// Reads the first bytes of a record, which has `length` in all, as a packet or stop signal, where its kind
/// says that it is one; returns what there is of its payload as well.
pub(crate) fn packet(kind: u8, bytes: &[u8], length: usize) -> Option<(PacketJson, &[u8])> {
    match Record::decode(RecordKind(kind), bytes).ok()? {
        Record::Packet(packet) => {
            let header = bytes.len() - packet.payload.len();
            let header = PacketJson::packet(&packet, length.saturating_sub(header));
            Some((header, packet.payload))
        }
        Record::Stop(stop) => Some((PacketJson::stop(&stop), &[])),
    }
}

/// A payload, as it was decoded.
#[derive(Serialize)]
pub(crate) struct Decoded {
    /// `packet`, `stop`, `json`, `text`, `hex`.
    pub(crate) decoded_as: &'static str,
    /// The header, where it is a packet or a stop signal.
    pub(crate) packet: Option<PacketJson>,
    /// The payload as JSON.
    pub(crate) json: Option<serde_json::Value>,
    /// The payload as text.
    pub(crate) text: Option<String>,
    /// The payload in hexadecimal.
    pub(crate) hex: String,
    /// Whether that is all of the payload.
    #[serde(skip)]
    pub(crate) complete: bool,
    /// What follows it, for people.
    #[serde(skip)]
    lines: String,
}

impl Decoded {
    /// Decodes the first bytes of a record, which has `length` in all, and at most so many of its payload.
    pub(crate) fn of(kind: u8, bytes: &[u8], length: usize, most: usize, format: Format) -> Self {
        let header = match format {
            Format::Auto => packet(kind, bytes, length),
            // Whoever asks for packets may know better than the record's kind.
            Format::Packet => {
                packet(kind, bytes, length).or_else(|| packet(RecordKind::PACKET.0, bytes, length))
            }
            _ => None,
        };
        let (header, payload, length) = match header {
            Some((header, payload)) => {
                let length = header.payload_length;
                (Some(header), payload, length)
            }
            None => (None, bytes, length),
        };
        let payload = &payload[..payload.len().min(most)];
        let complete = payload.len() == length;
        let text = match std::str::from_utf8(payload) {
            Ok(text) => Some(text),
            // Cut off within a character.
            Err(error) if !complete && error.error_len().is_none() => {
                std::str::from_utf8(&payload[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let json = text.filter(|_| complete && matches!(format, Format::Auto | Format::Json));
        // A bare word or number is rather a text.
        let json: Option<serde_json::Value> =
            json.and_then(|text| serde_json::from_str(text).ok()).filter(|json| {
                let json: &serde_json::Value = json;
                format == Format::Json || json.is_object() || json.is_array()
            });
        let readable = text.filter(|text| {
            format != Format::Hex && !text.chars().any(|c| c.is_control() && !c.is_whitespace())
        });
        let what = header.as_ref().map(|header| header.what);
        let lines = match (&json, readable) {
            (Some(json), _) => json.to_string(),
            (None, Some(text)) => printable(text),
            (None, None) => hex_lines(payload),
        };
        let by_payload = match (&json, readable) {
            (Some(_), _) => "json",
            (None, Some(_)) => "text",
            (None, None) => "hex",
        };
        Self {
            decoded_as: what.unwrap_or(by_payload),
            packet: header,
            json,
            text: readable.map(str::to_owned),
            hex: hex(payload),
            complete,
            lines,
        }
    }

    /// What a table shows: the header, if there is one, and the payload.
    pub(crate) fn lines(&self) -> String {
        match &self.packet {
            None => self.lines.clone(),
            Some(packet) if self.lines.is_empty() => packet.line(),
            Some(packet) => format!("{}\n{}", packet.line(), self.lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringway::routing::{InstanceId, Packet};

    fn decoded(kind: u8, bytes: &[u8]) -> (&'static str, String) {
        let decoded = Decoded::of(kind, bytes, bytes.len(), usize::MAX, Format::Auto);
        (decoded.decoded_as, decoded.lines())
    }

    #[test]
    fn a_payload_is_shown_as_what_it_looks_like() {
        assert_eq!(decoded(0, b"apple"), ("text", "apple".into()));
        assert_eq!(decoded(0, br#"{"a":[1]}"#), ("json", r#"{"a":[1]}"#.into()));
        assert_eq!(decoded(0, b"7"), ("text", "7".into()));
        assert_eq!(decoded(0, &[0xff, 0]), ("hex", "ff 00 |..|".into()));
        assert_eq!(decoded(0, b"\x1b[31m").0, "hex");
        // Cut off, it is no JSON any more.
        assert_eq!(Decoded::of(0, b"[1]", 4, 9, Format::Auto).decoded_as, "text");
        assert_eq!(Decoded::of(0, b"[1] ", 4, 3, Format::Auto).decoded_as, "text");
        // Cut off within a letter, it is still a text.
        let cut = Decoded::of(0, "né".as_bytes(), 3, 2, Format::Auto);
        assert_eq!((cut.decoded_as, cut.lines(), cut.complete), ("text", "n".into(), false));
    }

    #[test]
    fn a_packet_is_shown_with_its_header() {
        let packet = Packet::new("hi")
            .with_timestamp_ns(0)
            .with_key(("tenant-7", 42))
            .with_provenance(InstanceId::new("map", 2), 128);
        let mut bytes = vec![0; packet.encoded_len()];
        packet.encode_into(&mut bytes).unwrap();
        let line = "packet key (\"tenant-7\", 42) from map#2 sequence 128, 2 bytes\nhi";
        assert_eq!(decoded(1, &bytes), ("packet", line.into()));
        // As a bare record it is bytes, unless somebody knows better.
        assert_eq!(decoded(0, &bytes).0, "hex");
        assert_eq!(Decoded::of(0, &bytes, bytes.len(), 9, Format::Packet).decoded_as, "packet");
        // Little of the payload is shown, or read: the header says how much there is.
        let decoded_of = |len, most| Decoded::of(1, &bytes[..len], bytes.len(), most, Format::Auto);
        for part in [decoded_of(bytes.len(), 1), decoded_of(bytes.len() - 1, 9)] {
            assert_eq!((part.lines(), part.complete), (line.trim_end_matches('i').into(), false));
        }
        let stop = StopSignal::new("src", InstanceId::new("map", 2)).with_timestamp_ns(0);
        let mut bytes = vec![0; stop.encoded_len()];
        stop.encode_into(&mut bytes).unwrap();
        assert_eq!(decoded(2, &bytes), ("stop", "stop from map#2 source src".into()));
    }
}
