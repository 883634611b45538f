//! Objects made by the schema itself: what is canonical stays as it is, what is not becomes so at once.

use k8s_openapi::api::{apps, coordination, core, discovery, networking};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde_json::{Map, Value, json};

use super::{POD, decode, prune};
use crate::{
    item::{FromItem, ItemError},
    schema::{Schema, Type},
    service_snapshot::{NodeView, RangeView, ServiceView, SliceView},
};

const MOST_FIELDS: usize = 5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As it is stored.
    Canonical,
    /// With nulls, empty values, and quantities and times as people write them.
    Messy,
}

fn object(definition: &'static str, style: Style) -> BoxedStrategy<Value> {
    let ty = Schema::get().object_type(definition).unwrap();
    // Kind and version are left out, because the typed views insist on theirs.
    value(ty, 6, style)
        .prop_map(|mut object| {
            let map = object.as_object_mut().unwrap();
            map.remove("kind");
            map.remove("apiVersion");
            object
        })
        .boxed()
}

fn value(ty: &'static Type, depth: u32, style: Style) -> BoxedStrategy<Value> {
    match ty {
        Type::Object(id) => {
            let fields = &Schema::get().resolve(*id).fields;
            if depth == 0 || fields.is_empty() {
                return Just(json!({})).boxed();
            }
            let indices: Vec<usize> = (0..fields.len()).collect();
            subsequence(indices, 0..=fields.len().min(MOST_FIELDS))
                .prop_flat_map(move |chosen| {
                    let of = |index: usize| {
                        let field = &fields[index];
                        value_or_nothing(&field.ty, depth - 1, style).prop_map(|value| (field.name.clone(), value))
                    };
                    chosen.into_iter().map(of).collect::<Vec<_>>()
                })
                .prop_map(|entries| Value::Object(entries.into_iter().collect()))
                .boxed()
        }
        Type::Map(item) => {
            proptest::collection::btree_map("[a-z]{1,3}", value(item, depth.saturating_sub(1), style), 1..3)
                .prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
                .boxed()
        }
        Type::List(item) => {
            proptest::collection::vec(value(item, depth.saturating_sub(1), style), 1..3).prop_map(Value::from).boxed()
        }
        Type::Text => "[ -~é\"\\\\]{1,6}".prop_map(Value::from).boxed(),
        Type::Bytes => Just(json!("YWJj")).boxed(),
        Type::Int32 => prop_oneof![1..i32::MAX, i32::MIN..0].prop_map(Value::from).boxed(),
        Type::Int64 => prop_oneof![1..i64::MAX, i64::MIN..0].prop_map(Value::from).boxed(),
        Type::Number => (1..9_i64).prop_map(Value::from).boxed(),
        Type::Boolean => Just(json!(true)).boxed(),
        Type::IntOrString => {
            prop_oneof![any::<i32>().prop_map(Value::from), "[a-z]{1,3}".prop_map(Value::from)].boxed()
        }
        Type::Quantity if style == Style::Messy => {
            prop_oneof![Just(json!(0.5)), Just(json!("1.50Gi")), Just(json!(3))].boxed()
        }
        Type::Quantity => prop_oneof![Just(json!("500m")), Just(json!("1536Mi"))].boxed(),
        Type::Time if style == Style::Messy => Just(json!("2026-01-02T03:04:05.678+02:00")).boxed(),
        Type::Time => Just(json!("2026-01-02T03:04:05Z")).boxed(),
        Type::MicroTime => Just(json!("2026-01-02T03:04:05.000006Z")).boxed(),
        Type::Any => Just(json!({"f:a": {".": {}}})).boxed(),
    }
}

/// The value of a field, which may be absent in one of many ways.
fn value_or_nothing(ty: &'static Type, depth: u32, style: Style) -> BoxedStrategy<Value> {
    let nothing = match ty {
        _ if style == Style::Canonical => return value(ty, depth, style),
        Type::Object(_) | Type::Map(_) => json!({}),
        Type::List(_) => json!([]),
        Type::Text | Type::Bytes => json!(""),
        Type::Int32 | Type::Int64 | Type::Number => json!(0),
        Type::Boolean => json!(false),
        _ => Value::Null,
    };
    prop_oneof![3 => value(ty, depth, style), 1 => Just(nothing), 1 => Just(Value::Null)].boxed()
}

fn definitions() -> impl Strategy<Value = &'static str> {
    let all: Vec<&'static str> = crate::sample::ALL.iter().map(|resource| resource.definition).collect();
    proptest::sample::select(all)
}

/// The definition of a kind that is watched, and the reader that its watchers have of it.
type Watched = (&'static str, fn(&[u8]) -> Result<(), ItemError>);

macro_rules! watched {
    ($($definition:literal: $($reader:ty),+;)*) => {
        &[$($(($definition, |json| <$reader>::from_item(json).map(drop)),)+)*]
    };
}

const WATCHED: &[Watched] = watched! {
    "io.k8s.api.core.v1.ConfigMap": core::v1::ConfigMap;
    "io.k8s.api.apps.v1.Deployment": apps::v1::Deployment;
    "io.k8s.api.discovery.v1.EndpointSlice": discovery::v1::EndpointSlice, SliceView;
    "io.k8s.api.core.v1.Endpoints": core::v1::Endpoints;
    "io.k8s.api.networking.v1.IPAddress": networking::v1::IPAddress;
    "io.k8s.api.coordination.v1.Lease": coordination::v1::Lease;
    "io.k8s.api.core.v1.Namespace": core::v1::Namespace;
    "io.k8s.api.core.v1.Node": core::v1::Node, NodeView;
    "io.k8s.api.core.v1.Pod": core::v1::Pod;
    "io.k8s.api.apps.v1.ReplicaSet": apps::v1::ReplicaSet;
    "io.k8s.api.core.v1.ReplicationController": core::v1::ReplicationController;
    "io.k8s.api.core.v1.Service": core::v1::Service, ServiceView;
    "io.k8s.api.core.v1.ServiceAccount": core::v1::ServiceAccount;
    "io.k8s.api.networking.v1.ServiceCIDR": networking::v1::ServiceCIDR, RangeView;
};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_canonical_stays_as_it_is(
        (definition, object) in definitions().prop_flat_map(|d| (Just(d), object(d, Style::Canonical))),
    ) {
        let decoded = decode(object.to_string().as_bytes(), definition).unwrap();
        prop_assert_eq!(&decoded.problems, &[]);
        prop_assert_eq!(&decoded.value, &object);
        prop_assert_eq!(prune(object, definition), Ok(decoded));
    }

    #[test]
    fn what_is_not_becomes_so_at_once(
        (definition, object) in definitions().prop_flat_map(|d| (Just(d), object(d, Style::Messy))),
    ) {
        let once = decode(object.to_string().as_bytes(), definition).unwrap();
        prop_assert_eq!(&once.problems, &[]);
        prop_assert_eq!(decode(once.value.to_string().as_bytes(), definition), Ok(once));
    }

    #[test]
    fn whatever_is_accepted_its_watchers_read(
        (reader, object) in proptest::sample::select(WATCHED)
            .prop_flat_map(|(definition, reader)| (Just((definition, reader)), object(definition, Style::Messy))),
    ) {
        let (definition, read) = reader;
        let mut value = prune(object, definition).unwrap().value;
        value["metadata"]["name"] = "a".into();
        let text = value.to_string();
        read(text.as_bytes()).map_err(|error| TestCaseError::fail(format!("{definition} {text}: {error:?}")))?;
    }

    #[test]
    fn a_broken_text_is_refused_or_read_and_nothing_worse(
        pod in object(POD, Style::Messy),
        at in any::<proptest::sample::Index>(),
        byte in prop_oneof![any::<u8>(), proptest::sample::select(&b"{}[]\",:\\0"[..])],
    ) {
        let mut text = pod.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(decoded) = decode(&text, POD) {
            prop_assert_eq!(decode(decoded.value.to_string().as_bytes(), POD).map(|d| d.value), Ok(decoded.value));
        }
        let _ = decode(&text[..at], POD);
    }
}
