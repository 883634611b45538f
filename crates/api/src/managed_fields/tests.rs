use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const SERVICE: &str = "io.k8s.api.core.v1.Service";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const CONFIG_MAP: &str = "io.k8s.api.core.v1.ConfigMap";

fn writer<'a>(manager: &'a str, definition: &'a str) -> Writer<'a> {
    let api_version = if definition == DEPLOYMENT { "apps/v1" } else { "v1" };
    let now = "2026-01-02T03:04:05Z".parse().unwrap();
    Writer { manager, subresource: "", api_version, definition, ignored: &["status"], now }
}

/// `MANAGER OPERATION [subresource]` and its fields, for each entry.
fn owners(object: &Value) -> Vec<(String, Value)> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array).cloned().unwrap_or_default();
    let owner = |entry: Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let name = format!("{} {} {}", text("manager"), text("operation"), text("subresource"));
        (name.trim().to_owned(), entry["fieldsV1"].clone())
    };
    entries.into_iter().map(owner).collect()
}

#[track_caller]
fn check_owners(object: &Value, expected: Value) {
    let found: serde_json::Map<String, Value> = owners(object).into_iter().collect();
    assert_eq!(Value::Object(found), expected);
}

fn created(manager: &str, definition: &str, mut object: Value) -> Value {
    record_update(None, &mut object, &writer(manager, definition));
    object
}

fn applied(live: &Value, manager: &str, definition: &str, config: Value) -> Value {
    apply(live, &config, &writer(manager, definition), Force::Refuse).unwrap()
}

fn service() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"}, "finalizers": ["a/b"]},
        "spec": {
            "type": "ClusterIP", "selector": {"app": "web"}, "clusterIPs": ["10.96.0.7"],
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": 8080}],
        },
    })
}

#[test]
fn creations_own_what_they_state_as_upstream_writes_it() {
    check_owners(
        &created("kubectl-create", SERVICE, service()),
        json!({"kubectl-create Update": {
            "f:metadata": {"f:finalizers": {".": {}, "v:\"a/b\"": {}}, "f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:clusterIPs": {},
                "f:ports": {".": {}, "k:{\"port\":80,\"protocol\":\"TCP\"}": {
                    ".": {}, "f:port": {}, "f:protocol": {}, "f:targetPort": {},
                }},
                "f:selector": {},
                "f:type": {},
            },
        }}),
    );
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {
            "replicas": 1, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"rollingUpdate": {"maxSurge": 1}, "type": "RollingUpdate"},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
        "status": {"replicas": 1},
    });
    check_owners(
        &created("controller", DEPLOYMENT, deployment),
        json!({"controller Update": {"f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:a": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"c\"}": {
                    ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                }}},
            },
        }}}),
    );
    let set = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}}});
    let (_, fields) = owners(&created("x", "io.k8s.api.core.v1.ReplicationController", set)).remove(0);
    let metadata = json!({".": {}, "f:labels": {".": {}, "f:a": {}}});
    assert_eq!(fields["f:spec"]["f:template"]["f:metadata"], metadata);
}

#[test]
fn updates_take_what_they_change_and_leave_the_rest() {
    let live = created("one", CONFIG_MAP, json!({"metadata": {"name": "c"}, "data": {"a": "1", "b": "1", "c": "1"}}));
    let mut new = live.clone();
    new["data"] = json!({"a": "1", "b": "2", "d": "2"});
    record_update(Some(&live), &mut new, &writer("two", CONFIG_MAP));
    let expected = json!({
        "one Update": {"f:data": {".": {}, "f:a": {}}},
        "two Update": {"f:data": {"f:b": {}, "f:d": {}}},
    });
    check_owners(&new, expected.clone());
    // Nothing changes, so nothing is noted, also where the client leaves the entries out.
    let mut same = new.clone();
    meta::unset(&mut same, "managedFields");
    record_update(Some(&new), &mut same, &writer("three", CONFIG_MAP));
    assert_eq!(same, new);
    // Status is noted apart, and is nobody's who writes the object.
    let mut status = new.clone();
    status["data"]["a"] = "3".into();
    let by_status = Writer { subresource: "status", ..writer("one", CONFIG_MAP) };
    record_update(Some(&new), &mut status, &by_status);
    assert_eq!(owners(&status).len(), 3);
}

#[test]
fn managed_fields_can_be_written_and_forgotten() {
    let live = created("one", CONFIG_MAP, json!({"metadata": {"name": "c"}, "data": {"a": "1"}}));
    for reset in [json!([]), json!([{}])] {
        let mut new = live.clone();
        new["metadata"]["managedFields"] = reset;
        record_update(Some(&live), &mut new, &writer("one", CONFIG_MAP));
        check_owners(&new, json!({}));
        // Nobody is noted until something is applied.
        let mut later = new.clone();
        later["data"]["b"] = "2".into();
        record_update(Some(&new), &mut later, &writer("two", CONFIG_MAP));
        check_owners(&later, json!({}));
        let applied = applied(&later, "three", CONFIG_MAP, json!({"data": {"a": "1"}}));
        check_owners(
            &applied,
            json!({
                "before-first-apply Update": {"f:data": {".": {}, "f:a": {}, "f:b": {}}},
                "three Apply": {"f:data": {"f:a": {}}},
            }),
        );
    }
    let mut given = live.clone();
    let entry = json!({
        "manager": "four", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}}, "x:unknown": {}},
    });
    given["metadata"]["managedFields"] = json!([entry]);
    record_update(Some(&live), &mut given, &writer("one", CONFIG_MAP));
    check_owners(&given, json!({"four Apply": {"f:data": {"f:a": {}}}}));
    let mut wrong = live.clone();
    wrong["metadata"]["managedFields"] = json!([{"manager": "x", "operation": "Delete"}]);
    record_update(Some(&live), &mut wrong, &writer("one", CONFIG_MAP));
    check_owners(&wrong, json!({"one Update": {"f:data": {".": {}, "f:a": {}}}}));
}

#[test]
fn what_is_no_longer_applied_goes_unless_others_own_it() {
    let empty = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
    let one = applied(&empty, "one", CONFIG_MAP, json!({"data": {"a": "1", "b": "1", "c": "1"}}));
    let two = applied(&one, "two", CONFIG_MAP, json!({"data": {"b": "1"}}));
    let expected = json!({
        "one Apply": {"f:data": {"f:a": {}, "f:b": {}, "f:c": {}}}, "two Apply": {"f:data": {"f:b": {}}},
    });
    check_owners(&two, expected);
    let less = applied(&two, "one", CONFIG_MAP, json!({"data": {"a": "1"}}));
    assert_eq!(less["data"], json!({"a": "1", "b": "1"}));
    check_owners(&less, json!({"one Apply": {"f:data": {"f:a": {}}}, "two Apply": {"f:data": {"f:b": {}}}}));
    let none = applied(&less, "one", CONFIG_MAP, json!({}));
    assert_eq!(none["data"], json!({"b": "1"}));
    check_owners(&none, json!({"two Apply": {"f:data": {"f:b": {}}}}));
}

#[test]
fn conflicts_name_the_owner_and_the_field() {
    let live = created("kubectl-create", SERVICE, service());
    let config = |port: u16, kind: &str| json!({"apiVersion": "v1", "kind": "Service", "spec": {"type": kind, "ports": [{"port": 80, "targetPort": port}]}});
    let conflicts =
        |config: Value| apply(&live, &config, &writer("x", SERVICE), Force::Refuse).unwrap_err().to_string();
    assert_eq!(
        conflicts(config(1, "ClusterIP")),
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: \
         .spec.ports[port=80,protocol=\"TCP\"].targetPort"
    );
    assert_eq!(
        conflicts(config(1, "NodePort")),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-create\" using v1:\n\
         - .spec.ports[port=80,protocol=\"TCP\"].targetPort\n- .spec.type"
    );
    let forced = apply(&live, &config(1, "NodePort"), &writer("x", SERVICE), Force::Take).unwrap();
    assert_eq!(forced["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 1}]));
    let owned = owners(&forced);
    let of = |name: &str| owned.iter().find(|(owner, _)| owner == name).map(|(_, fields)| fields["f:spec"].clone());
    let port = "k:{\"port\":80,\"protocol\":\"TCP\"}";
    let expected = json!({"f:ports": {port: {".": {}, "f:port": {}, "f:targetPort": {}}}, "f:type": {}});
    assert_eq!(of("x Apply"), Some(expected));
    let rest = json!({
        "f:clusterIPs": {}, "f:ports": {".": {}, port: {".": {}, "f:port": {}, "f:protocol": {}}}, "f:selector": {},
    });
    assert_eq!(of("kubectl-create Update"), Some(rest));
}

#[test]
fn lists_with_keys_are_merged_by_item_and_atomic_ones_as_a_whole() {
    let live = created("one", SERVICE, service());
    let ports = json!({"spec": {"ports": [{"port": 443, "name": "b"}, {"port": 80, "name": "a"}]}});
    let both = applied(&live, "two", SERVICE, ports);
    let expected = json!([
        {"port": 443, "name": "b"}, {"port": 80, "name": "a", "protocol": "TCP", "targetPort": 8080},
    ]);
    assert_eq!(both["spec"]["ports"], expected);
    let fewer = applied(&both, "two", SERVICE, json!({"spec": {"ports": [{"port": 443, "name": "b"}]}}));
    // The item is another's too; its name was the applier's alone.
    let expected = json!([{"port": 443, "name": "b"}, {"port": 80, "protocol": "TCP", "targetPort": 8080}]);
    let mut found = fewer["spec"]["ports"].as_array().unwrap().clone();
    found.sort_by_key(|port| std::cmp::Reverse(port["port"].as_i64()));
    assert_eq!(Value::Array(found), expected);
    let selector = json!({"spec": {"selector": {"app": "web", "tier": "front"}}});
    let error = apply(&live, &selector, &writer("two", SERVICE), Force::Refuse).unwrap_err();
    assert!(error.to_string().ends_with(": .spec.selector"), "{error}");
    let finalizers = json!({"metadata": {"finalizers": ["c/d"]}});
    let two = applied(&live, "two", SERVICE, finalizers);
    assert_eq!(two["metadata"]["finalizers"], json!(["a/b", "c/d"]));
    let gone = applied(&two, "two", SERVICE, json!({"metadata": {"labels": {"x": "y"}}}));
    assert_eq!(gone["metadata"]["finalizers"], json!(["a/b"]));
}

#[test]
fn configurations_that_cannot_be_applied() {
    let fails = |config: Value, expected: &str| {
        let error = apply(&service(), &config, &writer("x", SERVICE), Force::Take).unwrap_err();
        assert_eq!(error.to_string(), expected);
    };
    fails(json!({"spec": {"foo": 1}}), ".spec.foo: field not declared in schema");
    let twice = json!({"spec": {"ports": [{"port": 80}, {"port": 80, "protocol": "TCP"}]}});
    fails(twice, ".spec.ports: duplicate entries for key [port=80,protocol=\"TCP\"]");
    fails(
        json!({"spec": {"ports": [1]}}),
        ".spec.ports: element 0: associative list with keys may not have non-map elements",
    );
}

/// An empty value is a value: stating it where another owns something else is a conflict, whatever its type, and by force it
/// takes field and ownership.
#[test]
fn empty_values_conflict_with_what_others_own() {
    let check = |definition: &str, stated: Value, empty: Value, field: &str| {
        let one = applied(&json!({}), "one", definition, stated.clone());
        let error = apply(&one, &empty, &writer("two", definition), Force::Refuse).unwrap_err();
        let expected = format!("Apply failed with 1 conflict: conflict with \"one\": {field}");
        assert_eq!(error.to_string(), expected, "{empty}");
        let taken = apply(&one, &empty, &writer("two", definition), Force::Take).unwrap();
        let find = |name: &str| owners(&taken).into_iter().find(|(owner, _)| owner == name);
        let (_, fields) = find("two Apply").expect("it states something");
        assert_ne!(find("one Apply").map(|(_, fields)| fields), Some(fields), "{field}");
    };
    let spec = |value: Value| json!({"spec": value});
    let service = |field: &str, stated: Value, empty: Value| {
        check(SERVICE, spec(json!({field: stated})), spec(json!({field: empty})), &format!(".spec.{field}"));
    };
    service("selector", json!({"a": "b"}), json!({}));
    service("publishNotReadyAddresses", json!(true), json!(false));
    service("externalName", json!("a.example"), json!(""));
    service("loadBalancerSourceRanges", json!(["10.0.0.0/8"]), json!([]));
    service("healthCheckNodePort", json!(30_000), json!(0));
    let port = |node_port: i64| spec(json!({"ports": [{"port": 80, "nodePort": node_port}]}));
    check(SERVICE, port(30_080), port(0), ".spec.ports[port=80,protocol=\"TCP\"].nodePort");
    check(DEPLOYMENT, spec(json!({"paused": true})), spec(json!({"paused": false})), ".spec.paused");
    let template = |value: Value| spec(json!({"template": {"spec": value}}));
    let (here, anywhere) = (template(json!({"nodeSelector": {"a": "b"}})), template(json!({"nodeSelector": {}})));
    check(DEPLOYMENT, here, anywhere, ".spec.template.spec.nodeSelector");
    let env = |value: &str| template(json!({"containers": [{"name": "c", "env": [{"name": "A", "value": value}]}]}));
    let field = ".spec.template.spec.containers[name=\"c\"].env[name=\"A\"].value";
    check(DEPLOYMENT, env("1"), env(""), field);
    check(CONFIG_MAP, json!({"immutable": true}), json!({"immutable": false}), ".immutable");
}

#[test]
fn times_alone_are_no_change() {
    let at = |time: &str, data: &str| json!({"data": {"a": data}, "metadata": {"managedFields": [{"manager": "m", "time": time}]}});
    let check = |live: Value, new: Value, expected: Value| {
        let mut found = new;
        settle_times(&live, &mut found);
        assert_eq!(found, expected);
    };
    check(at("1", "x"), at("2", "x"), at("1", "x"));
    check(at("1", "x"), at("2", "y"), at("2", "y"));
    let other = json!({"data": {"a": "x"}, "metadata": {"managedFields": [{"manager": "n", "time": "2"}]}});
    check(at("1", "x"), other.clone(), other);
}

/// Defaults are stated by nobody, and what is applied again changes nothing.
#[test]
fn applying_twice_is_applying_once() {
    let empty = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}});
    let config = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "creationTimestamp": null},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}, "status": {},
    });
    let mut once = applied(&empty, "x", SERVICE, config.clone());
    once["spec"]["ports"][0]["protocol"] = "TCP".into();
    once["spec"]["type"] = "ClusterIP".into();
    let expected = json!({
        "f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}, "f:selector": {},
    });
    check_owners(&once, json!({"x Apply": {"f:spec": expected}}));
    assert_eq!(applied(&once, "x", SERVICE, config), once);
}

#[test]
fn client_side_apply_is_taken_over_by_kubectl_alone() {
    let config = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": value}});
    let mut live = config("1");
    live["metadata"] =
        json!({"annotations": {"kubectl.kubernetes.io/last-applied-configuration": config("1").to_string()}});
    let live = created("kubectl-client-side-apply", CONFIG_MAP, live);
    assert!(apply(&live, &config("2"), &writer("other", CONFIG_MAP), Force::Refuse).is_err());
    let taken = applied(&live, "kubectl", CONFIG_MAP, config("2"));
    assert_eq!(taken["data"]["a"], "2");
    let annotation = &taken["metadata"]["annotations"]["kubectl.kubernetes.io/last-applied-configuration"];
    assert_eq!(annotation.as_str(), Some(format!("{}\n", config("2")).as_str()));
    // What was changed behind client-side apply's back is a conflict.
    let mut edited = live.clone();
    edited["data"]["a"] = "3".into();
    record_update(Some(&live), &mut edited, &writer("kubectl-edit", CONFIG_MAP));
    assert!(apply(&edited, &config("2"), &writer("kubectl", CONFIG_MAP), Force::Refuse).is_err());
}

#[test]
fn many_updaters_are_merged() {
    let mut live = created("m00", CONFIG_MAP, json!({"data": {"k00": "x"}}));
    for number in 1..15 {
        let mut new = live.clone();
        new["data"][format!("k{number:02}")] = "x".into();
        record_update(Some(&live), &mut new, &writer(&format!("m{number:02}"), CONFIG_MAP));
        live = new;
    }
    let owners = owners(&live);
    assert_eq!(owners.len(), 10);
    let ancient = &owners.iter().find(|(name, _)| name == "ancient-changes Update").unwrap().1["f:data"];
    assert_eq!(ancient.as_object().unwrap().len(), 7, "{ancient}");
}

fn element() -> impl Strategy<Value = PathElement> {
    prop_oneof![
        "[a-c]".prop_map(|name| PathElement::field(&name)),
        (0..3_i64).prop_map(|port| PathElement::Key(vec![("port".into(), port.into())])),
        "[x-z]".prop_map(|text| PathElement::Value(text.into())),
        (0..2_i64).prop_map(PathElement::Index),
    ]
}

fn field_set() -> impl Strategy<Value = FieldSet> {
    proptest::collection::vec(proptest::collection::vec(element(), 1..4), 0..8).prop_map(|paths| {
        let mut set = FieldSet::default();
        for path in paths {
            set.insert(&path);
        }
        set
    })
}

fn members(set: &FieldSet) -> BTreeSet<String> {
    set.paths().into_iter().collect()
}

fn data() -> impl Strategy<Value = Value> {
    proptest::collection::btree_map("[a-d]", "[0-2]", 0..4).prop_map(|map| json!({"data": map}))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sets_are_sets_of_paths(a in field_set(), b in field_set()) {
        let (of_a, of_b) = (members(&a), members(&b));
        prop_assert_eq!(members(&a.union(&b)), of_a.union(&of_b).cloned().collect());
        prop_assert_eq!(members(&a.intersection(&b)), of_a.intersection(&of_b).cloned().collect());
        prop_assert_eq!(members(&a.difference(&b)), of_a.difference(&of_b).cloned().collect());
        let below = |path: &String| of_b.iter().any(|above| path.starts_with(above.as_str()));
        prop_assert_eq!(members(&a.without(&b)), of_a.iter().filter(|path| !below(path)).cloned().collect());
        prop_assert_eq!(FieldSet::parse(&a.render()).unwrap(), a);
    }

    #[test]
    fn any_json_is_read_or_refused(keys in proptest::collection::vec("[fkvi.]{0,2}:?[\\[{\"a0]{0,4}", 0..6)) {
        let map: serde_json::Map<String, Value> = keys.into_iter().map(|key| (key, json!({}))).collect();
        let _ = FieldSet::parse(&Value::Object(map));
    }

    #[test]
    fn what_two_apply_in_turn_settles(live in data(), one in data(), two in data()) {
        let by = |live: &Value, manager: &str, config: &Value| {
            apply(live, config, &writer(manager, CONFIG_MAP), Force::Take).unwrap()
        };
        let both = by(&by(&live, "one", &one), "two", &two);
        prop_assert_eq!(by(&both, "two", &two), both.clone());
        for (key, value) in two["data"].as_object().unwrap() {
            prop_assert_eq!(&both["data"][key], value);
        }
        let without = by(&both, "two", &json!({}));
        for (_, fields) in owners(&without) {
            for key in fields["f:data"].as_object().unwrap().keys().filter_map(|key| key.strip_prefix("f:")) {
                prop_assert!(without["data"].get(key).is_some(), "{key} has an owner and is gone");
            }
        }
    }

    #[test]
    fn equal_objects_do_not_differ(object in data()) {
        let shape = Shape::of(CONFIG_MAP).unwrap();
        prop_assert!(Comparison::of(&object, &object, shape).is_same());
    }
}
