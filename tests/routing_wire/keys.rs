//! Partition keys: encoding, hash and target.

use proptest::prelude::*;
use ringway::routing::{MAX_KEY_DEPTH, Packet, PacketRef, PartitionKey, WireError, target_index};

use crate::{DOCUMENT, encode_key, hex, unhex};

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

pub(crate) fn keys() -> impl Strategy<Value = PartitionKey> {
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

proptest! {
    #[test]
    fn no_key_begins_another(a in keys(), b in keys()) {
        let (bytes_a, bytes_b) = (encode_key(&a), encode_key(&b));
        prop_assert_eq!(a == b, bytes_a == bytes_b);
        prop_assert!(a == b || !bytes_b.starts_with(&bytes_a));
        prop_assert_eq!(a.hash64(), xxhash_rust::xxh3::xxh3_64(&bytes_a));
    }
}
