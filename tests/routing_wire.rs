//! The wire form against its document: golden bytes, golden hashes, and bytes that are nothing.

use proptest::prelude::*;
use ringway::queue::RecordKind;
use ringway::routing::{
    InstanceId, MAX_KEY_DEPTH, Packet, PacketRef, PartitionKey, PartitionStrategy, Provenance,
    Record, StopSignal, WireError, target_index,
};

const DOCUMENT: &str = include_str!("../docs/wire.md");
const TIME: u64 = 1_700_000_000_000_000_000;

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

fn tuple<const N: usize>(items: [PartitionKey; N]) -> PartitionKey {
    PartitionKey::Tuple(items.into())
}

/// Key, encoding (empty where the document shortens it), hash, target of 3, 10, 1000. Made by the
/// Python of the document.
fn key_vectors() -> Vec<(PartitionKey, &'static str, u64, [usize; 3])> {
    let map_key = PartitionKey::from(("tenant-7", 42));
    vec![
        (PartitionKey::Bytes(vec![]), "0100", 0xab94_ac0a_ce72_76c0, [2, 6, 670]),
        (PartitionKey::Bytes(vec![0]), "010100", 0xec6b_7e19_fff7_a1af, [2, 9, 923]),
        (PartitionKey::Bytes(vec![0, 0xff]), "010200ff", 0xa89d_ba72_b895_2b3f, [1, 6, 658]),
        ("".into(), "0200", 0x93ba_9ce8_e388_180a, [1, 5, 577]),
        ("a".into(), "020161", 0x3677_73a5_9a2d_17f9, [0, 2, 212]),
        ("tenant-7".into(), "020874656e616e742d37", 0x8e51_3887_2870_755d, [1, 5, 555]),
        ("zażółć".into(), "020a7a61c5bcc3b3c582c487", 0x71b8_72e8_4595_7afb, [1, 4, 444]),
        ("x".repeat(200).into(), "", 0x8cd9_ef8c_5967_1226, [1, 5, 550]),
        (PartitionKey::Int(0), "030000000000000000", 0xd1d3_0c5e_8136_b99d, [2, 8, 819]),
        (PartitionKey::Int(1), "030100000000000000", 0xa2a2_7a2a_65b0_9a01, [1, 6, 635]),
        (PartitionKey::Int(-1), "03ffffffffffffffff", 0x461f_577b_67b4_5767, [0, 2, 273]),
        (
            PartitionKey::Int(i64::MAX.into()),
            "03ffffffffffffff7f",
            0xfe89_0b16_dce4_93fb,
            [2, 9, 994],
        ),
        (
            PartitionKey::Int(i64::MIN.into()),
            "030000000000000080",
            0xd1b2_d1c1_2e98_7ec5,
            [2, 8, 819],
        ),
        (
            PartitionKey::Int(1 << 63),
            "0400000000000000800000000000000000",
            0x966d_64e0_ce48_cfb3,
            [1, 5, 587],
        ),
        (
            PartitionKey::Int(u64::MAX.into()),
            "04ffffffffffffffff0000000000000000",
            0x47f4_486c_3606_a588,
            [0, 2, 281],
        ),
        (
            PartitionKey::Int(i128::MIN),
            "0400000000000000000000000000000080",
            0xf246_28ae_f2e0_2c8b,
            [2, 9, 946],
        ),
        (tuple([]), "0500", 0x240b_7f68_adee_822c, [0, 1, 140]),
        (map_key, "0502020874656e616e742d37032a00000000000000", 0xd014_5694_590b_c61c, [2, 8, 812]),
        (
            tuple([tuple(["a".into()]), "b".into()]),
            "05020501020161020162",
            0x3d37_800c_04b8_40d8,
            [0, 2, 239],
        ),
        (
            tuple(["a".into(), tuple(["b".into()])]),
            "05020201610501020162",
            0x3e71_7c90_f040_0571,
            [0, 2, 243],
        ),
        (
            tuple(["".into(), PartitionKey::Bytes(vec![]), PartitionKey::Int(0), tuple([])]),
            "0504020001000300000000000000000500",
            0xd151_529c_4e22_6c26,
            [2, 8, 817],
        ),
    ]
}

#[test]
fn keys_encode_and_hash_as_documented_in_every_build() {
    for (key, encoding, hash, targets) in key_vectors() {
        let bytes = encode_key(&key);
        if !encoding.is_empty() {
            assert_eq!(hex(&bytes), encoding, "{key:?}");
            let [of_3, of_10, of_1000] = targets;
            let row = format!("| `{encoding}` | `{hash:016x}` | {of_3} | {of_10} | {of_1000} |");
            assert!(DOCUMENT.contains(&row), "{row} is not in docs/wire.md");
        }
        assert_eq!(key.hash64(), hash, "{key:?}");
        assert_eq!([3, 10, 1000].map(|count| key.target_index(count).unwrap()), targets, "{key:?}");
        assert_eq!(PartitionKey::decode(&bytes), Ok(key));
    }
}

#[test]
fn document_has_no_key_vector_that_is_not_tested() {
    let rows = DOCUMENT.lines().filter(|line| line.matches(" | ").count() == 5);
    let header_and_vectors = rows.count();
    assert_eq!(header_and_vectors, 1 + key_vectors().len());
}

#[test]
fn integers_of_all_types_are_one_key() {
    let keys: [PartitionKey; 6] =
        [7_u8.into(), 7_i8.into(), 7_u32.into(), 7_i64.into(), 7_u64.into(), 7_i128.into()];
    assert!(keys.iter().all(|key| *key == PartitionKey::Int(7)));
}

#[test]
fn every_hash_has_a_target_below_the_count() {
    for count in [1, 2, 3, 1 << 20, usize::MAX] {
        assert_eq!(target_index(0, count), Some(0));
        assert_eq!(target_index(u64::MAX, count), Some(count - 1));
    }
    assert_eq!(target_index(5, 0), None);
}

#[test]
fn keys_in_another_form_are_refused() {
    let cases = [
        ("03010000000000", WireError::Truncated { what: "key integer", missing: 2 }),
        ("0401000000000000000000000000000000", WireError::BadNumber { what: "key integer" }),
        ("018000", WireError::BadNumber { what: "key bytes" }),
        ("01ffffffffffffffffff7f", WireError::BadNumber { what: "key bytes" }),
        ("0201ff", WireError::NotUtf8 { what: "key text" }),
        ("0103aabb", WireError::Truncated { what: "key bytes", missing: 1 }),
        ("0502020161", WireError::Truncated { what: "key tag", missing: 1 }),
        ("06", WireError::UnknownKeyTag { tag: 6 }),
        ("020161ff", WireError::Trailing { what: "key", count: 1 }),
    ];
    for (bytes, error) in cases {
        assert_eq!(PartitionKey::decode(&unhex(bytes)), Err(error.clone()), "{bytes}");
        if !matches!(error, WireError::Trailing { .. }) {
            let in_packet = [vec![1, 1 << 4], unhex(bytes)].concat();
            assert_eq!(PacketRef::decode(&in_packet).unwrap_err(), error, "{bytes}");
        }
    }
}

#[test]
fn nesting_has_a_limit_on_both_ends() {
    let nested = |depth| (0..depth).fold(PartitionKey::Int(1), |key, _| tuple([key]));
    let deepest = nested(MAX_KEY_DEPTH);
    assert_eq!(PartitionKey::decode(&encode_key(&deepest)), Ok(deepest));

    let error = WireError::KeyTooDeep { max: MAX_KEY_DEPTH };
    assert_eq!(nested(MAX_KEY_DEPTH + 1).encode_into(&mut [0; 99]), Err(error.clone()));
    let packet = Packet::new("").with_key(nested(MAX_KEY_DEPTH + 1));
    assert_eq!(packet.encode_into(&mut [0; 99]), Err(error.clone()));
    let hostile = [5, 1].repeat(100_000);
    assert_eq!(PartitionKey::decode(&hostile), Err(error.clone()));
    let in_packet = [vec![1, 1 << 4], hostile].concat();
    assert_eq!(PacketRef::decode(&in_packet).unwrap_err(), error);
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

fn keys() -> impl Strategy<Value = PartitionKey> {
    let leaf = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200).prop_map(PartitionKey::Bytes),
        any::<String>().prop_map(PartitionKey::Str),
        any::<i128>().prop_map(PartitionKey::Int),
        any::<i64>().prop_map(PartitionKey::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop::collection::vec(inner, 0..4).prop_map(PartitionKey::Tuple)
    })
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

    #[test]
    fn no_key_begins_another(a in keys(), b in keys()) {
        let (bytes_a, bytes_b) = (encode_key(&a), encode_key(&b));
        prop_assert_eq!(a == b, bytes_a == bytes_b);
        prop_assert!(a == b || !bytes_b.starts_with(&bytes_a));
        prop_assert_eq!(a.hash64(), xxhash_rust::xxh3::xxh3_64(&bytes_a));
    }
}
