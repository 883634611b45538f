use proptest::prelude::*;
use serde_json::{Value, json};

use super::table::Slot;
use super::*;
use crate::kinds;
use crate::schema::{Schema, Type};
use crate::wire::Message;

/// A body as clients write it.
fn sealed(api_version: &str, kind: &str, fill: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut unknown = Message::default();
    unknown.message(1, |out| {
        out.text(1, api_version);
        out.text(2, kind);
    });
    unknown.message(2, fill);
    // Both of these clients leave empty.
    unknown.text(3, "");
    unknown.text(4, "");
    [MAGIC, &unknown.into_bytes()].concat()
}

fn check(definition: &str, fill: impl FnOnce(&mut Message), expected: Value) {
    let body = sealed("v1", "Any", fill);
    let envelope = Envelope::open(&body).unwrap();
    assert_eq!((envelope.api_version, envelope.kind), ("v1", "Any"));
    assert_eq!(envelope.decode(definition).unwrap().value, expected);
}

#[test]
fn every_entry_of_the_table_is_read_and_names_a_field() {
    let (messages, unread) = table::parse();
    assert!(unread.is_empty(), "{unread:?}");
    let inlined = messages.values().flat_map(|message| message.slots());
    let inlined = inlined.filter_map(|(_, slot)| if let Slot::Inline(name) = slot { Some(name) } else { None });
    let inlined = inlined.collect::<Vec<_>>();
    for (definition, message) in &messages {
        let Some(object) = Schema::get().object(definition) else { continue };
        for (_, slot) in message.slots() {
            if let Slot::Field(name) = slot {
                assert!(object.field(name).is_some(), "{definition} {name}");
            }
        }
    }
    assert!(inlined.contains(&"io.k8s.api.core.v1.VolumeSource"));
    assert!(inlined.iter().all(|name| messages.contains_key(name)));
}

/// All that an object of one of our kinds may hold has a number.
#[test]
fn every_field_of_every_kind_has_a_number() {
    let mut wanted = kinds::ALL.iter().map(|kind| kind.definition.to_owned()).collect::<Vec<_>>();
    wanted.push("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions".to_owned());
    let mut seen = std::collections::BTreeSet::new();
    while let Some(definition) = wanted.pop() {
        if !seen.insert(definition.clone()) {
            continue;
        }
        let object = Schema::get().object(&definition).unwrap();
        let numbered = names(&definition);
        for field in &object.fields {
            let of_envelope =
                ["apiVersion", "kind"].contains(&field.name.as_str()) && object.field("metadata").is_some();
            let of_envelope = of_envelope || definition.ends_with("DeleteOptions");
            assert!(of_envelope || numbered.contains(&&*field.name), "{definition} {}", field.name);
            let mut ty = &field.ty;
            while let Type::List(item) | Type::Map(item) = ty {
                ty = item;
            }
            if let Type::Object(id) = ty {
                wanted.push(Schema::get().resolve(*id).definition.clone());
            }
        }
    }
}

/// The fields that a message and those inlined in it name.
fn names(definition: &str) -> Vec<&'static str> {
    let message = table::message(definition).unwrap_or_else(|| panic!("no message {definition}"));
    let of = |(_, slot)| match slot {
        Slot::Field(name) => vec![name],
        Slot::Inline(inlined) => names(inlined),
    };
    message.slots().flat_map(of).collect()
}

#[test]
fn services_are_read_as_their_json_would_be() {
    let fill = |out: &mut Message| {
        out.message(1, |meta| {
            meta.text(1, "web");
            meta.text(3, "");
            meta.message(8, |_| {});
            meta.message(11, |label| {
                label.text(1, "app");
                label.text(2, "web");
            });
            meta.message(11, |label| label.text(1, "empty"));
        });
        out.message(2, |spec| {
            spec.message(1, |port| {
                port.text(1, "http");
                port.text(2, "TCP");
                port.number(3, 80);
                port.message(4, |target| {
                    target.number(1, 1);
                    target.number(2, 0);
                    target.text(3, "web");
                });
                port.number(5, 0);
            });
            spec.message(1, |port| {
                port.number(3, 81);
                port.message(4, |target| target.number(2, 8081));
            });
            spec.text(4, "ClusterIP");
            spec.text(3, "10.96.0.7");
            // A field that nobody knows yet.
            spec.text(4711, "later");
        });
        out.message(3, |status| status.message(1, |_| {}));
    };
    let expected = json!({
        "metadata": {"name": "web", "labels": {"app": "web", "empty": ""}},
        "spec": {
            "ports": [
                {"name": "http", "protocol": "TCP", "port": 80, "targetPort": "web"}, {"port": 81, "targetPort": 8081},
            ],
            "type": "ClusterIP", "clusterIP": "10.96.0.7",
        },
        "status": {"loadBalancer": {}},
    });
    check("io.k8s.api.core.v1.Service", fill, expected);
}

#[test]
fn special_types_and_inlined_messages() {
    let fill = |out: &mut Message| {
        out.message(1, |meta| {
            meta.message(8, |time| {
                time.number(1, 1_700_000_000);
                time.number(2, 123_456_789);
            });
            meta.number(7, 0);
            meta.message(17, |entry| {
                entry.text(1, "kubectl");
                entry.message(7, |fields| fields.text(1, r#"{"f:spec":{}}"#));
            });
        });
        out.message(2, |spec| {
            spec.message(1, |volume| {
                volume.text(1, "data");
                volume.message(2, |source| source.message(2, |empty_dir| empty_dir.text(1, "Memory")));
            });
            spec.message(2, |container| {
                container.text(1, "app");
                container.message(8, |resources| {
                    resources.message(1, |limit| {
                        limit.text(1, "cpu");
                        limit.message(2, |quantity| quantity.text(1, "0.5"));
                    });
                });
                container.message(10, |probe| {
                    probe.message(1, |handler| handler.message(3, |tcp| tcp.message(1, |port| port.number(2, 80))));
                    probe.number(2, 0);
                });
            });
            // Pointers: zero is a value. Scalars: it is none.
            spec.number(4, 0);
            spec.number(11, 0);
        });
    };
    let expected = json!({
        "metadata": {
            "creationTimestamp": "2023-11-14T22:13:20Z",
            "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "volumes": [{"name": "data", "emptyDir": {"medium": "Memory"}}],
            "containers": [{
                "name": "app",
                "resources": {"limits": {"cpu": "500m"}},
                "livenessProbe": {"tcpSocket": {"port": 80}},
            }],
            "terminationGracePeriodSeconds": 0,
        },
    });
    check("io.k8s.api.core.v1.Pod", fill, expected);
    let lease = |out: &mut Message| {
        out.message(2, |spec| {
            spec.message(4, |time| {
                time.number(1, 1_700_000_000);
                time.number(2, 123_456_789);
            });
            spec.number(5, u64::MAX);
        });
    };
    let expected = json!({"spec": {"renewTime": "2023-11-14T22:13:20.123456Z", "leaseTransitions": -1}});
    check("io.k8s.api.coordination.v1.Lease", lease, expected);
    let map = |out: &mut Message| {
        out.message(3, |entry| {
            entry.text(1, "key");
            entry.text(2, "\u{1}\u{2}");
        });
    };
    check("io.k8s.api.core.v1.ConfigMap", map, json!({"binaryData": {"key": "AQI="}}));
    let options = |out: &mut Message| {
        out.number(1, 0);
        out.message(2, |preconditions| preconditions.text(1, "u"));
        out.text(5, "All");
    };
    let expected = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}, "dryRun": ["All"]});
    check("io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions", options, expected);
    let review = |out: &mut Message| {
        out.message(2, |spec| {
            spec.message(5, |extra| {
                extra.text(1, "scopes");
                extra.message(2, |values| {
                    values.text(1, "a");
                    values.text(1, "b");
                });
            });
        });
    };
    let expected = json!({"spec": {"extra": {"scopes": ["a", "b"]}}, });
    check("io.k8s.api.authorization.v1.SubjectAccessReview", review, expected);
}

#[test]
fn what_is_no_object_is_refused() {
    let service = "io.k8s.api.core.v1.Service";
    let fails = |body: &[u8], expected: &str| {
        let result = Envelope::open(body).and_then(|envelope| envelope.decode(service));
        assert_eq!(result.unwrap_err().to_string(), expected, "{body:?}");
    };
    fails(b"{}", "provided data does not appear to be a protobuf message, expected prefix [107, 56, 115, 0]");
    fails(b"k8s\0\x0a\x05", "unexpected EOF");
    fails(b"k8s\0\x12\x02\x0a\x09", "unexpected EOF");
    fails(b"k8s\0\x12\x02\x08\x01", "proto: wrong wireType = 0 for field metadata");
    fails(
        &sealed("v1", "Service", |out| out.message(1, |meta| meta.number(1, 5))),
        "proto: wrong wireType = 0 for field name",
    );
    fails(b"k8s\0\x12\x05\x0a\x03\x0a\x01\xff", "name is no UTF-8");
    let huge = sealed("v1", "Service", |out| {
        out.message(1, |meta| meta.message(8, |time| time.number(1, i64::MAX as u64)));
    });
    fails(&huge, "creationTimestamp is a point in time that no clock shows");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes is read or refused.
    #[test]
    fn bytes_never_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..400_usize) {
        let mut body = sealed("v1", "Pod", |out| {
            out.message(1, |meta| meta.text(1, "a"));
            out.message(2, |spec| spec.message(2, |container| container.text(1, "c")));
        });
        body.truncate(cut);
        body.extend_from_slice(&bytes);
        if let Ok(envelope) = Envelope::open(&body) {
            for kind in kinds::ALL {
                let _ = envelope.decode(kind.definition);
            }
        }
    }
}
