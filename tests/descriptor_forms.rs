//! Descriptors as JSON, values and bytes: everything survives, everything wrong is named.

use std::path::PathBuf;

use proptest::prelude::*;
use ringway::error::OpenError;
use ringway::queue::{DescriptorError, QueueConfig, QueueDescriptor, Side};
use ringway::shm::Lifetime;
use serde_json::{Value, json};

fn field_of(dict: &Value) -> String {
    match QueueDescriptor::from_json(&dict.to_string()) {
        Err(DescriptorError::Field { field, .. }) => field,
        other => panic!("{dict} gave {other:?}"),
    }
}

/// Everything that a descriptor says, equality being on kind and name alone.
fn assert_same(ours: &QueueDescriptor, theirs: &QueueDescriptor) {
    assert_eq!(ours, theirs);
    assert_eq!(ours.config(), theirs.config());
    assert_eq!(ours.lifetime(), theirs.lifetime());
    assert_eq!(ours.shm_address(), theirs.shm_address());
    assert_eq!(ours.fields(), theirs.fields());
    assert_eq!(ours.to_dict(), theirs.to_dict());
}

fn assert_round_trips(descriptor: &QueueDescriptor) {
    let all = [
        QueueDescriptor::from_json(&descriptor.to_json()).unwrap(),
        QueueDescriptor::from_dict(descriptor.to_dict()).unwrap(),
        QueueDescriptor::from_bytes(&descriptor.to_bytes()).unwrap(),
        descriptor.to_serializable_descriptor(),
        serde_json::from_str(&serde_json::to_string(descriptor).unwrap()).unwrap(),
        serde_json::from_value(serde_json::to_value(descriptor).unwrap()).unwrap(),
        postcard::from_bytes(&postcard::to_allocvec(descriptor).unwrap()).unwrap(),
        descriptor.clone(),
    ];
    for other in all {
        assert_same(descriptor, &other);
    }
    // Inside other values, which is how they travel.
    let packed = postcard::to_allocvec(&(1_u8, vec![descriptor.clone()], "tail")).unwrap();
    let (_, inside, tail): (u8, Vec<QueueDescriptor>, &str) =
        postcard::from_bytes(&packed).unwrap();
    assert_same(descriptor, &inside[0]);
    assert_eq!(tail, "tail");
}

#[test]
fn a_hand_written_object_is_read_with_defaults() {
    let words =
        QueueDescriptor::from_json(r#"{"queue_type": "shm", "queue_id": "job-42:words"}"#).unwrap();
    assert_same(&words, &QueueDescriptor::shm("job-42:words").unwrap());
    let address = words.shm_address().unwrap();
    assert_eq!((address.segment(), address.ring()), ("job-42", "words"));
    assert_eq!(address.max_participants(), 64);
    assert_eq!(address.directory(), None);
    let nulls = json!({"queue_type": "shm", "queue_id": "job-42:words",
        "directory": null, "schema": null, "capacity_bytes": null, "maxsize": null});
    assert_same(&words, &QueueDescriptor::from_dict(nulls).unwrap());
    assert_eq!(words.to_string(), "shm:job-42:words");
}

#[test]
fn the_written_form_is_fixed() {
    let config = QueueConfig {
        maxsize: 10,
        capacity_packets: Some(64),
        capacity_bytes: Some(65536),
        max_payload: Some(100),
        producers: Side::Single,
        consumers: Side::Multi,
        timestamps: true,
        max_deliveries: 3,
        dead_letter: Some("dead".into()),
        schema: Some("orders/v1".into()),
    };
    let descriptor = QueueDescriptor::shm("a/b:c")
        .and_then(|it| it.with_config(config))
        .and_then(|it| it.with_lifetime(Lifetime::Job))
        .and_then(|it| it.with_max_participants(7))
        .and_then(|it| it.with_directory("/dev/shm/x"))
        .and_then(|it| it.with_group("analysts"))
        .unwrap();
    let golden = json!({
        "queue_type": "shm", "queue_id": "a/b:c", "maxsize": 10, "capacity_packets": 64,
        "capacity_bytes": 65536, "max_payload": 100, "producers": "single", "consumers": "multi",
        "timestamps": true, "max_deliveries": 3, "dead_letter": "dead", "schema": "orders/v1",
        "lifetime": "job", "max_participants": 7, "directory": "/dev/shm/x",
        "group": "analysts",
    });
    assert_eq!(descriptor.to_dict(), golden);
    assert_same(&descriptor, &QueueDescriptor::from_dict(golden).unwrap());

    let local = QueueDescriptor::local("a").unwrap();
    let golden = json!({
        "queue_type": "local", "queue_id": "a", "maxsize": 0, "producers": "multi",
        "consumers": "multi", "timestamps": false, "max_deliveries": 0, "lifetime": "ephemeral",
    });
    assert_eq!(local.to_dict(), golden);
}

#[test]
fn a_missing_id_is_generated_and_then_stays() {
    for queue_type in ["local", "shm"] {
        let make = || QueueDescriptor::from_dict(json!({"queue_type": queue_type})).unwrap();
        let (a, b) = (make(), make());
        assert_ne!(a, b);
        assert_round_trips(&a);
    }
    let made = QueueDescriptor::registered("x", serde_json::Map::new()).unwrap();
    assert!(!made.queue_id().is_empty());
    assert_round_trips(&made);
    assert_ne!(
        QueueDescriptor::local_unnamed().unwrap(),
        QueueDescriptor::local_unnamed().unwrap()
    );
    assert_ne!(QueueDescriptor::shm_unnamed().unwrap(), QueueDescriptor::shm_unnamed().unwrap());
}

#[test]
fn every_bad_field_is_named() {
    let with = |queue_type: &str, field: &str, value: Value| {
        let mut dict = json!({"queue_type": queue_type, "queue_id": "a"});
        dict[field] = value;
        dict
    };
    let bad = [
        ("queue_id", json!("")),
        ("queue_id", json!("a b")),
        ("queue_id", json!("../a")),
        ("queue_id", json!("a:b:c")),
        ("queue_id", json!(7)),
        ("maxsize", json!(-1)),
        ("maxsize", json!(1.5)),
        ("maxsize", json!("10")),
        ("maxsize", json!(u64::MAX)),
        ("capacity_packets", json!(0)),
        ("capacity_packets", json!(true)),
        ("capacity_bytes", json!(0)),
        ("capacity_bytes", json!([])),
        ("max_payload", json!(u64::MAX)),
        ("max_payload", json!({})),
        ("producers", json!("double")),
        ("producers", json!(1)),
        ("consumers", json!("Single")),
        ("timestamps", json!("yes")),
        ("timestamps", json!(1)),
        ("max_deliveries", json!(1_u64 << 32)),
        ("max_deliveries", json!("3")),
        ("dead_letter", json!("dead")),
        ("dead_letter", json!(5)),
        ("group", json!(5)),
        ("schema", json!("")),
        ("schema", json!(5)),
        ("lifetime", json!("forever")),
        ("lifetime", json!(1)),
        ("max_size", json!(1)),
        ("", json!(1)),
    ];
    for (field, value) in bad {
        for queue_type in ["local", "shm"] {
            assert_eq!(field_of(&with(queue_type, field, value.clone())), field, "{value}");
        }
    }
    for (field, value) in [
        ("max_participants", json!(0)),
        ("max_participants", json!(1024)),
        ("max_participants", json!("64")),
        ("directory", json!("relative/path")),
        ("directory", json!("")),
        ("directory", json!(5)),
    ] {
        assert_eq!(field_of(&with("shm", field, value.clone())), field, "{value}");
        assert_eq!(field_of(&with("local", field, value)), field, "not for local queues");
    }
    assert_eq!(field_of(&with("local", "lifetime", json!("job"))), "lifetime");
    for (queue_type, own) in [("local", "a"), ("shm", "queue"), ("shm", "a:b")] {
        let mut dict = with(queue_type, "dead_letter", json!(own));
        dict["max_deliveries"] = json!(3);
        assert_eq!(field_of(&dict), "dead_letter");
    }
    assert_eq!(field_of(&json!({"queue_id": "a"})), "queue_type");
    assert_eq!(field_of(&json!({"queue_type": ""})), "queue_type");
    assert_eq!(field_of(&json!({"queue_type": 5})), "queue_type");
    for text in ["", "[]", "5", "{", r#"{"queue_type": "shm",}"#, "null"] {
        let error = QueueDescriptor::from_json(text).unwrap_err();
        assert!(matches!(error, DescriptorError::Syntax(_)), "{text}: {error}");
    }
}

#[test]
fn builders_name_the_bad_field() {
    let field = |result: Result<QueueDescriptor, OpenError>| match result {
        Err(OpenError::InvalidConfig { field, .. }) => field,
        other => panic!("{other:?}"),
    };
    let local = QueueDescriptor::local("a").unwrap();
    let shm = QueueDescriptor::shm("a").unwrap();
    let other = QueueDescriptor::from_json(r#"{"queue_type": "x"}"#).unwrap();
    assert_eq!(field(QueueDescriptor::local("")), "queue_id");
    assert_eq!(field(QueueDescriptor::shm("a:")), "queue_id");
    assert_eq!(field(local.with_maxsize(u64::MAX)), "maxsize");
    assert_eq!(field(local.with_lifetime(Lifetime::Job)), "lifetime");
    assert_eq!(field(local.with_max_participants(3)), "queue_type");
    assert_eq!(field(local.with_directory("/x")), "queue_type");
    assert_eq!(field(shm.with_max_participants(0)), "max_participants");
    assert_eq!(field(shm.with_directory("x")), "directory");
    assert_eq!(field(shm.with_schema("")), "schema");
    assert_eq!(field(other.with_maxsize(1)), "queue_type");
    assert_eq!(field(other.with_lifetime(Lifetime::Keep)), "queue_type");
    assert_eq!(field(other.clone_with_id("")), "queue_id");
    let registered = |kind, fields: Value| {
        field(QueueDescriptor::registered(kind, fields.as_object().unwrap().clone()))
    };
    assert_eq!(registered("shm", json!({})), "queue_type");
    assert_eq!(registered("x", json!({"queue_id": ""})), "queue_id");
    assert_eq!(registered("x", json!({"queue_id": 5})), "queue_id");
}

#[test]
fn bytes_that_are_no_descriptor_are_refused() {
    let good = QueueDescriptor::local("a").unwrap().to_bytes();
    for cut in 0..good.len() {
        assert!(QueueDescriptor::from_bytes(&good[..cut]).is_err(), "{cut}");
    }
    let mut longer = good.clone();
    longer.push(0);
    assert!(matches!(QueueDescriptor::from_bytes(&longer), Err(DescriptorError::Binary(_))));
    let mut newer = good;
    newer[0] = 2;
    let error = QueueDescriptor::from_bytes(&newer).unwrap_err();
    assert!(error.to_string().contains("version is 2"), "{error}");
    let bad = postcard::to_allocvec(&(1_u8, r#"{"queue_type":"local","maxsize":"x"}"#)).unwrap();
    let error = QueueDescriptor::from_bytes(&bad).unwrap_err();
    assert!(matches!(error, DescriptorError::Field { field, .. } if field == "maxsize"));
}

#[test]
fn the_full_configuration_survives_use() {
    let config = QueueConfig { maxsize: 3, timestamps: true, ..Default::default() };
    let used = QueueDescriptor::local("survives").unwrap().with_config(config).unwrap();
    let before = used.to_json();
    used.put(b"x").unwrap();
    assert_eq!(used.to_json(), before);
    assert_round_trips(&used);
    used.clear_cache();
    assert_round_trips(&used);
    used.destroy().unwrap();
    assert_eq!(used.to_json(), before);
    assert_round_trips(&used);
}

fn name() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}"
}

fn side() -> impl Strategy<Value = Side> {
    prop_oneof![Just(Side::Single), Just(Side::Multi)]
}

prop_compose! {
    fn config()(
        capacity_packets in prop::option::of(1_u64..=1 << 20),
        maxsize_share in 0.0..=1.0,
        capacity_bytes in prop::option::of(1_u64..=1 << 27),
        max_payload in prop::option::of(0_u64..=1 << 20),
        (producers, consumers, timestamps) in (side(), side(), any::<bool>()),
        max_deliveries in 0_u32..4,
        dead_letter in prop::option::of("[a-z]{30,40}"),
        schema in prop::option::of("[^\\p{Cc}]{1,60}"),
    ) -> QueueConfig {
        let most = capacity_packets.map_or(1 << 20, u64::next_power_of_two);
        QueueConfig {
            maxsize: (most as f64 * maxsize_share) as u64,
            capacity_packets, capacity_bytes, max_payload, producers, consumers, timestamps,
            max_deliveries, dead_letter: dead_letter.filter(|_| max_deliveries > 0), schema,
        }
    }
}

fn descriptor() -> impl Strategy<Value = QueueDescriptor> {
    let lifetime =
        prop_oneof![Just(Lifetime::Keep), Just(Lifetime::Ephemeral), Just(Lifetime::Job)];
    let directory = prop::option::of("(/[^/\\x00]{1,10}){1,4}".prop_map(PathBuf::from));
    (name(), name(), any::<bool>(), config(), lifetime, 1_u32..=1023, directory).prop_map(
        |(segment, ring, local, config, lifetime, participants, directory)| {
            if local {
                let lifetime = if lifetime == Lifetime::Job { Lifetime::Keep } else { lifetime };
                QueueDescriptor::local(&segment).unwrap().with_lifetime(lifetime).unwrap()
            } else {
                let shm = QueueDescriptor::shm(&format!("{segment}:{ring}")).unwrap();
                let shm = shm.with_lifetime(lifetime).unwrap();
                let shm = shm.with_max_participants(participants).unwrap();
                match directory {
                    Some(directory) => shm.with_directory(directory).unwrap(),
                    None => shm,
                }
            }
            .with_config(config)
            .unwrap()
        },
    )
}

/// JSON as people write it, a few levels deep, with any number that JSON text can carry.
fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_configuration_survives_every_form(descriptor in descriptor()) {
        assert_round_trips(&descriptor);
    }

    #[test]
    fn what_is_made_has_at_least_what_was_asked_for(config in config()) {
        let geometry = config.geometry().unwrap();
        geometry.validate().unwrap();
        prop_assert!(geometry.entries() >= config.capacity_packets.unwrap_or(0));
        prop_assert!(geometry.entries() >= config.maxsize);
        prop_assert!(geometry.data_bytes() >= config.capacity_bytes.unwrap_or(0));
        prop_assert!(geometry.max_payload() as u64 >= config.max_payload.unwrap_or(0));
        let json = serde_json::to_string(&config).unwrap();
        prop_assert_eq!(serde_json::from_str::<QueueConfig>(&json).unwrap(), config);
    }

    #[test]
    fn unknown_types_re_serialize_unchanged(
        kind in "[a-z]{1,8}",
        fields in prop::collection::btree_map(any::<String>(), json_value(), 0..6),
    ) {
        prop_assume!(kind != "shm" && kind != "local");
        let mut dict = Value::Object(fields.into_iter().collect());
        dict["queue_type"] = kind.into();
        let text = dict.to_string();
        let descriptor = QueueDescriptor::from_json(&text).unwrap();
        prop_assert_eq!(descriptor.to_dict(), dict);
        prop_assert_eq!(descriptor.to_json(), text);
        assert_round_trips(&descriptor);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".*") {
        let _ = QueueDescriptor::from_bytes(&bytes);
        let _ = QueueDescriptor::from_json(&text);
        let _ = QueueDescriptor::local(&text);
        let _ = QueueDescriptor::shm(&text);
    }
}
