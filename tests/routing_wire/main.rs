//! The wire form against its document: golden bytes, golden hashes, and bytes that are nothing.

mod keys;
mod packets;

use ringway::routing::PartitionKey;

const DOCUMENT: &str = include_str!("../../docs/wire.md");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn encode_key(key: &PartitionKey) -> Vec<u8> {
    let mut bytes = vec![0xee; key.encoded_len()];
    assert_eq!(key.encode_into(&mut bytes), Ok(bytes.len()));
    bytes
}
