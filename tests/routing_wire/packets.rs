//! Packets and stop signals: golden bytes, round trips, and any bytes at all.

use proptest::prelude::*;
use ringway::queue::RecordKind;
use ringway::routing::{
    InstanceId, Packet, PacketRef, PartitionKey, PartitionStrategy, Provenance, Record, StopSignal,
    WireError,
};

use crate::keys::keys;
use crate::{DOCUMENT, encode_key, hex, unhex};

const TIME: u64 = 1_700_000_000_000_000_000;

fn encode_packet(packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![0xee; packet.encoded_len()];
    assert_eq!(packet.encode_into(&mut bytes), Ok(bytes.len()));
    bytes
}

fn encode_stop(stop: &StopSignal) -> Vec<u8> {
    let mut bytes = vec![0xee; stop.encoded_len()];
    assert_eq!(stop.encode_into(&mut bytes), Ok(bytes.len()));
    bytes
}

#[test]
fn packets_have_their_golden_bytes() {
    let full = Packet::new(unhex("deadbeef"))
        .with_timestamp_ns(TIME)
        .with_input_index(300)
        .with_strategy(PartitionStrategy::RoundRobin { skip_full: true })
        .with_provenance(InstanceId::new("map", 2), 128)
        .with_key(("tenant-7", 42));
    let zero_key = Packet::new("").with_timestamp_ns(0).with_strategy(PartitionStrategy::Hash);
    let vectors = [
        (Packet::default(), "0100"),
        (Packet::new("hi").with_timestamp_ns(TIME), "010100002a36fe9c97176869"),
        (zero_key.with_key(0), "011402030000000000000000"),
        (
            full,
            "011f00002a36fe9c9717ac0201800102036d6170\
             0502020874656e616e742d37032a00000000000000deadbeef",
        ),
    ];
    for (packet, golden) in vectors {
        assert_eq!(hex(&encode_packet(&packet)), golden);
        assert!(DOCUMENT.contains(&format!("`{golden}`")), "{golden} is not in docs/wire.md");
        let golden = unhex(golden);
        assert_eq!(PacketRef::decode(&golden).unwrap().to_packet(), Ok(packet));
    }
}

#[test]
fn stop_signals_have_their_golden_bytes() {
    let plain = StopSignal::new("src", InstanceId::new("map", 2)).with_timestamp_ns(0);
    let mut full = plain.clone().with_timestamp_ns(TIME).with_message("done");
    full.input_index = 1;
    let vectors = [
        (plain, "01000373726302036d6170"),
        (full, "010700002a36fe9c9717010373726302036d617004646f6e65"),
    ];
    for (stop, golden) in vectors {
        assert_eq!(hex(&encode_stop(&stop)), golden);
        assert!(DOCUMENT.contains(&format!("`{golden}`")), "{golden} is not in docs/wire.md");
        assert_eq!(StopSignal::decode(&unhex(golden)), Ok(stop));
    }
}

#[test]
fn strategies_have_their_documented_bytes() {
    let strategies = [
        PartitionStrategy::RoundRobin { skip_full: false },
        PartitionStrategy::RoundRobin { skip_full: true },
        PartitionStrategy::Hash,
        PartitionStrategy::Broadcast,
        PartitionStrategy::LeastLoaded { full_scan: false },
        PartitionStrategy::LeastLoaded { full_scan: true },
    ];
    for (code, strategy) in strategies.into_iter().enumerate() {
        let bytes = encode_packet(&Packet::default().with_strategy(strategy));
        assert_eq!(bytes, [1, 1 << 2, code as u8]);
        assert_eq!(PacketRef::decode(&bytes).unwrap().partition_strategy, Some(strategy));
        let row = format!("| {strategy} | `{code:02x}` |");
        assert!(DOCUMENT.contains(&row), "{row} is not in docs/wire.md");
    }
    assert_eq!(
        PacketRef::decode(&[1, 1 << 2, 6]).unwrap_err(),
        WireError::UnknownStrategy { code: 6 }
    );
}

#[test]
fn packet_of_32_bytes_fits_an_entry() {
    let packet = Packet::new([0; 32]).with_input_index(u32::MAX);
    assert!(packet.encoded_len() <= 48);
}

#[test]
fn foreign_bytes_are_typed_errors() {
    let kind = |bytes: &[u8]| PacketRef::decode(bytes).unwrap_err();
    assert_eq!(kind(&[]), WireError::Truncated { what: "version", missing: 1 });
    assert_eq!(kind(&[2, 0]), WireError::UnknownVersion { version: 2 });
    assert_eq!(kind(&[1, 0x20]), WireError::UnknownFlags { flags: 0x20 });
    assert_eq!(kind(&[1, 1, 0]), WireError::Truncated { what: "timestamp", missing: 7 });
    let over_u32 = [1, 2, 0xff, 0xff, 0xff, 0xff, 0x1f];
    assert_eq!(kind(&over_u32), WireError::BadNumber { what: "input index" });
    let trailing = unhex("01000373726302036d617000");
    let error = WireError::Trailing { what: "stop signal", count: 1 };
    assert_eq!(StopSignal::decode(&trailing), Err(error));
    assert_eq!(StopSignal::decode(&[1, 8]), Err(WireError::UnknownFlags { flags: 8 }));
    assert!(matches!(Record::decode(RecordKind::PACKET, &[1, 0, 9]), Ok(Record::Packet(_))));
    assert!(matches!(Record::decode(RecordKind::STOP, &trailing[..11]), Ok(Record::Stop(_))));
    assert_eq!(
        Record::decode(RecordKind::RAW, &[1, 0]).unwrap_err(),
        WireError::UnknownKind { kind: 0 }
    );
}

#[test]
fn short_buffers_are_refused_with_the_length_needed() {
    let packet = Packet::new("payload").with_key("key").with_timestamp_ns(TIME);
    let needed = packet.encoded_len();
    for have in 0..needed {
        let error = WireError::BufferTooSmall { needed, have };
        assert_eq!(packet.encode_into(&mut vec![0; have]), Err(error));
    }
}

#[test]
fn payload_of_another_type_is_an_error_and_not_garbage() {
    let packet = Packet::of(&(1_u32, "text")).unwrap();
    assert_eq!(packet.decode::<(u32, String)>(), Ok((1, "text".to_owned())));
    assert_eq!(packet.decode::<u32>(), Err(WireError::Trailing { what: "payload", count: 5 }));
    assert!(matches!(packet.decode::<(u32, String, u64)>(), Err(WireError::Payload(_))));
}

#[test]
fn partition_is_inherited_whole() {
    let keyed = Packet::new("").with_key("").with_strategy(PartitionStrategy::Hash);
    let plain = Packet::new("other").with_timestamp_ns(5);
    assert!(keyed.is_keyed() && !plain.is_keyed());
    let inherited = plain.clone().inherit_partition_from(&keyed);
    assert_eq!(inherited.partition_key, Some("".into()));
    assert_eq!(inherited.partition_strategy, Some(PartitionStrategy::Hash));
    assert_eq!(inherited.payload, b"other");
    assert_eq!(inherited.inherit_partition_from(&plain), plain);
}

fn strategies() -> impl Strategy<Value = PartitionStrategy> {
    prop_oneof![
        any::<bool>().prop_map(|skip_full| PartitionStrategy::RoundRobin { skip_full }),
        Just(PartitionStrategy::Hash),
        Just(PartitionStrategy::Broadcast),
        any::<bool>().prop_map(|full_scan| PartitionStrategy::LeastLoaded { full_scan }),
    ]
}

prop_compose! {
    fn packets()(
        payload in prop::collection::vec(any::<u8>(), 0..300),
        input_index in any::<u32>(),
        key in prop::option::of(keys()),
        strategy in prop::option::of(strategies()),
        timestamp_ns in any::<u64>(),
        provenance in prop::option::of((any::<String>(), any::<u32>(), any::<u64>())),
    ) -> Packet {
        let mut packet =
            Packet::new(payload).with_input_index(input_index).with_timestamp_ns(timestamp_ns);
        packet.partition_key = key;
        packet.partition_strategy = strategy;
        packet.provenance = provenance.map(|(task, index, sequence)| Provenance {
            upstream: InstanceId::new(task, index),
            sequence,
        });
        packet
    }
}

proptest! {
    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = StopSignal::decode(&bytes);
        if let Ok(key) = PartitionKey::decode(&bytes) {
            prop_assert_eq!(encode_key(&key), bytes.clone());
        }
        if let Ok(packet) = PacketRef::decode(&bytes) {
            prop_assert!(packet.to_packet().is_ok());
        }
        // Past the version and the flags, where the parts are.
        for flags in 0..32 {
            let bytes = [&[1, flags], &bytes[..]].concat();
            let _ = StopSignal::decode(&bytes);
            if let Ok(packet) = PacketRef::decode(&bytes) {
                let owned = packet.to_packet().unwrap();
                let again = encode_packet(&owned);
                prop_assert_eq!(PacketRef::decode(&again).unwrap().to_packet(), Ok(owned));
            }
        }
    }

    #[test]
    fn changed_bytes_of_a_packet_give_a_value_or_an_error(
        packet in packets(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = encode_packet(&packet);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(packet) = PacketRef::decode(&bytes) {
            prop_assert!(packet.to_packet().is_ok());
        }
        let _ = PacketRef::decode(&bytes[..at]);
    }

    #[test]
    fn packets_survive_the_wire(packet in packets()) {
        let bytes = encode_packet(&packet);
        let read = PacketRef::decode(&bytes).unwrap();
        prop_assert_eq!(read.to_packet(), Ok(packet.clone()));
        // Forwarded in place, without a copy in between, it is the same again.
        let mut again = vec![0; read.encoded_len()];
        prop_assert_eq!(read.encode_into(&mut again), Ok(again.len()));
        prop_assert_eq!(&again, &bytes);
        let hashes = (read.partition_key.map(|key| key.hash64()), packet.partition_key);
        prop_assert_eq!(hashes.0, hashes.1.map(|key| key.hash64()));
    }

    #[test]
    fn stop_signals_survive_the_wire(
        source in any::<String>(), task in any::<String>(), index in any::<u32>(),
        input_index in any::<u32>(), timestamp_ns in any::<u64>(),
        message in prop::option::of(any::<String>()),
    ) {
        let mut stop =
            StopSignal::new(source, InstanceId::new(task, index)).with_timestamp_ns(timestamp_ns);
        stop.input_index = input_index;
        stop.message = message;
        prop_assert_eq!(StopSignal::decode(&encode_stop(&stop)), Ok(stop));
    }
}
