use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

const SERVICE: &str = "io.k8s.api.core.v1.Service";
const DEPLOYMENT: &str = "io.k8s.api.apps.v1.Deployment";
const POD: &str = "io.k8s.api.core.v1.Pod";

fn json_patch(document: Value, patch: Value, expected: Result<Value, &str>) {
    let result = apply_json_patch(&document, &patch).map_err(|e| e.to_string());
    assert_eq!(result, expected.map_err(str::to_owned), "{patch} on {document}");
}

#[test]
fn json_patch_examples_of_rfc_6902() {
    for (document, patch, expected) in [
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/baz", "value": "qux"}]),
            json!({"baz": "qux", "foo": "bar"}),
        ),
        (
            json!({"foo": ["bar", "baz"]}),
            json!([{"op": "add", "path": "/foo/1", "value": "qux"}]),
            json!({"foo": ["bar", "qux", "baz"]}),
        ),
        (json!({"baz": "qux", "foo": "bar"}), json!([{"op": "remove", "path": "/baz"}]), json!({"foo": "bar"})),
        (
            json!({"foo": ["bar", "qux", "baz"]}),
            json!([{"op": "remove", "path": "/foo/1"}]),
            json!({"foo": ["bar", "baz"]}),
        ),
        (json!({"baz": 1}), json!([{"op": "replace", "path": "/baz", "value": 2}]), json!({"baz": 2})),
        (
            json!({"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}}),
            json!([{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}]),
            json!({"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}}),
        ),
        (
            json!({"foo": ["all", "grass", "cows", "eat"]}),
            json!([{"op": "move", "from": "/foo/1", "path": "/foo/3"}]),
            json!({"foo": ["all", "cows", "eat", "grass"]}),
        ),
        (
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
            json!([{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2.0}]),
            json!({"baz": "qux", "foo": ["a", 2, "c"]}),
        ),
        (
            json!({"foo": "bar"}),
            json!([{"op": "add", "path": "/child", "value": {"g": {}}}]),
            json!({"foo": "bar", "child": {"g": {}}}),
        ),
        (json!({"/": 9, "~1": 10}), json!([{"op": "test", "path": "/~01", "value": 10}]), json!({"/": 9, "~1": 10})),
        (
            json!({"foo": ["bar"]}),
            json!([{"op": "add", "path": "/foo/-", "value": ["abc"]}]),
            json!({"foo": ["bar", ["abc"]]}),
        ),
        (
            json!({"a": {"b": 1}}),
            json!([{"op": "copy", "from": "/a", "path": "/c"}]),
            json!({"a": {"b": 1}, "c": {"b": 1}}),
        ),
        (json!({"a": 1}), json!([{"op": "add", "path": "", "value": {"b": 2}}]), json!({"b": 2})),
    ] {
        json_patch(document, patch, Ok(expected));
    }
}

#[test]
fn json_patch_errors_name_operation_and_path() {
    let document = || json!({"a": {"b": [1, 2]}, "s": "x"});
    for (patch, expected) in [
        (json!({}), "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (json!([1]), "operation 0: path is missing"),
        (json!([{"op": "add", "path": "/x"}]), "operation 0: value is missing"),
        (json!([{"op": "leap", "path": "/x"}]), "operation 0: unexpected kind: leap"),
        (json!([{"op": "remove", "path": "x"}]), r#"operation 0: "x" is no JSON pointer"#),
        (json!([{"op": "remove", "path": "/~2"}]), r#"operation 0: "/~2" is no JSON pointer"#),
        (
            json!([{"op": "test", "path": "/s", "value": "x"}, {"op": "remove", "path": "/a/c"}]),
            "operation 1: remove operation does not apply: doc is missing path: /a/c: missing value",
        ),
        (
            json!([{"op": "replace", "path": "/a/b/2", "value": 1}]),
            "operation 0: replace operation does not apply: doc is missing path: /a/b/2: missing value",
        ),
        (
            json!([{"op": "add", "path": "/a/b/3", "value": 1}]),
            "operation 0: add operation does not apply: /a/b/3: invalid index",
        ),
        (
            json!([{"op": "add", "path": "/a/b/01", "value": 1}]),
            "operation 0: add operation does not apply: /a/b/01: invalid index",
        ),
        (
            json!([{"op": "add", "path": "/s/x", "value": 1}]),
            "operation 0: add operation does not apply: doc is missing path: /s/x: missing value",
        ),
        (json!([{"op": "test", "path": "/s", "value": "y"}]), "operation 0: testing path /s failed: test failed"),
        (
            json!([{"op": "move", "from": "/a", "path": "/a/b/0"}]),
            "operation 0: move operation does not apply: /a contains /a/b/0",
        ),
    ] {
        json_patch(document(), patch, Err(expected));
    }
}

#[test]
fn json_patches_are_bounded() {
    let operations = vec![json!({"op": "test", "path": "", "value": {}}); 10_001];
    let error = apply_json_patch(&json!({}), &Value::Array(operations)).unwrap_err();
    assert_eq!(error.class(), PatchErrorClass::TooLarge);
    assert_eq!(error.to_string(), "The allowed maximum operations in a JSON patch is 10000, got 10001");

    let doubling = vec![json!({"op": "copy", "from": "/a", "path": "/a/-"}); 1000];
    assert!(matches!(
        apply_json_patch(&json!({"a": ["x"]}), &Value::Array(doubling)),
        Err(PatchError::Operation { problem: OperationError::CopiedTooMuch, .. })
    ));
    let nesting =
        vec![json!({"op": "copy", "from": "", "path": "/a"}), json!({"op": "move", "from": "/a", "path": ""})];
    let nesting: Vec<Value> = (0..300)
        .flat_map(|_| {
            [
                json!({"op": "move", "from": "/a", "path": "/b"}),
                json!({"op": "add", "path": "/a", "value": {}}),
                json!({"op": "move", "from": "/b", "path": "/a/x"}),
            ]
        })
        .chain(nesting)
        .collect();
    assert!(matches!(
        apply_json_patch(&json!({"a": 1}), &Value::Array(nesting)),
        Err(PatchError::Operation { problem: OperationError::TooDeep { .. }, .. })
    ));
}

#[test]
fn merge_patch_examples_of_rfc_7386() {
    for (document, patch, expected) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        assert_eq!(apply_merge_patch(&document, &patch), Ok(expected), "{patch} on {document}");
    }
    assert!(apply_merge_patch(&json!({}), &json!([1])).is_err());
}

fn strategic(definition: &str, document: Value, patch: Value, expected: Value) {
    assert_eq!(apply_strategic_merge_patch(&document, &patch, definition), Ok(expected), "{patch} on {document}");
}

fn strategic_error(definition: &str, document: Value, patch: Value, expected: &str) {
    let result = apply_strategic_merge_patch(&document, &patch, definition).map_err(|e| e.to_string());
    assert_eq!(result, Err(expected.to_owned()), "{patch} on {document}");
}

#[test]
fn strategic_merge_of_objects() {
    strategic(
        SERVICE,
        json!({"spec": {"type": "ClusterIP", "selector": {"a": "1", "b": "2"}}}),
        json!({"spec": {"type": "NodePort", "selector": {"a": null, "c": "3"}}}),
        json!({"spec": {"type": "NodePort", "selector": {"b": "2", "c": "3"}}}),
    );
    strategic(
        SERVICE,
        json!({"spec": {"selector": {"a": "1"}}}),
        json!({"spec": {"selector": {"$patch": "replace", "b": "2"}}}),
        json!({"spec": {"selector": {"b": "2"}}}),
    );
    strategic(
        SERVICE,
        json!({"spec": {"selector": {"a": "1"}}}),
        json!({"spec": {"selector": {"$patch": "delete"}}}),
        json!({"spec": {"selector": {}}}),
    );
    strategic(
        SERVICE,
        json!({"spec": {}}),
        json!({"spec": {"selector": {"x": null, "y": "1"}, "sessionAffinityConfig": {"$patch": "delete"}}}),
        json!({"spec": {"selector": {"y": "1"}}}),
    );
    strategic(
        DEPLOYMENT,
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}),
        json!({"spec": {"strategy": {"type": "Recreate"}}}),
    );
}

#[test]
fn strategic_merge_of_lists_with_keys() {
    let ports = |ports: Value| json!({"spec": {"ports": ports}});
    let a = || json!({"name": "a", "port": 1});
    let b = || json!({"name": "b", "port": 2});
    strategic(
        SERVICE,
        ports(json!([a(), b()])),
        ports(json!([{"port": 2, "nodePort": 30000}])),
        ports(json!([a(), {"name": "b", "port": 2, "nodePort": 30000}])),
    );
    strategic(SERVICE, ports(json!([a(), b()])), ports(json!([{"port": 3}])), ports(json!([{"port": 3}, a(), b()])));
    strategic(SERVICE, ports(json!([a(), b()])), ports(json!([{"$patch": "delete", "port": 1}])), ports(json!([b()])));
    strategic(
        SERVICE,
        ports(json!([a(), b()])),
        ports(json!([{"$patch": "replace"}, {"port": 9}])),
        ports(json!([{"port": 9}])),
    );
    strategic(
        SERVICE,
        json!({}),
        ports(json!([{"$patch": "delete", "port": 1}, {"port": 4, "name": null}])),
        ports(json!([{"port": 4}])),
    );
    strategic(
        SERVICE,
        ports(json!([a(), b(), {"port": 5}])),
        json!({"spec": {"$setElementOrder/ports": [{"port": 3}, {"port": 2}, {"port": 1}], "ports": [{"port": 3}]}}),
        ports(json!([{"port": 3}, b(), a(), {"port": 5}])),
    );
    strategic_error(
        SERVICE,
        ports(json!([a()])),
        ports(json!([{"name": "x"}])),
        r#"map: {"name":"x"} does not contain declared merge key: port at spec.ports"#,
    );
    strategic_error(
        SERVICE,
        ports(json!([a()])),
        json!({"spec": {"$setElementOrder/ports": [{"port": 1}], "ports": [{"port": 3}]}}),
        "invalid patch format of setElementOrder list at spec.ports",
    );
    strategic_error(
        SERVICE,
        json!({"spec": {}}),
        json!({"spec": {"$patch": "explode"}}),
        r#"unknown patch type: "explode" at spec"#,
    );
}

#[test]
fn strategic_merge_of_containers_keeps_what_it_does_not_name() {
    let pod = |containers: Value| json!({"spec": {"containers": containers}});
    strategic(
        POD,
        pod(
            json!([{"name": "app", "image": "a:1", "env": [{"name": "X", "value": "1"}]}, {"name": "side", "image": "s"}]),
        ),
        json!({"spec": {"$setElementOrder/containers": [{"name": "app"}], "containers": [
            {"name": "app", "image": "a:2", "env": [{"name": "Y", "value": "2"}, {"name": "X", "$patch": "delete"}]}]}}),
        pod(
            json!([{"name": "app", "image": "a:2", "env": [{"name": "Y", "value": "2"}]}, {"name": "side", "image": "s"}]),
        ),
    );
    strategic(
        POD,
        json!({"spec": {"tolerations": [{"key": "a"}], "containers": [{"name": "a", "args": ["1"]}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["2"]}]}}),
        json!({"spec": {"tolerations": [{"key": "b"}], "containers": [{"name": "a", "args": ["2"]}]}}),
    );
    strategic(
        POD,
        json!({"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "Other", "status": "True"}]}}),
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}]}}),
        json!({"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "True"}]}}),
    );
}

#[test]
fn strategic_merge_of_lists_of_texts() {
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
    strategic(POD, finalizers(json!(["a", "b"])), finalizers(json!(["b", "c"])), finalizers(json!(["a", "b", "c"])));
    strategic(
        POD,
        finalizers(json!(["a", "b", "c"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "$setElementOrder/finalizers": ["c", "a"]}}),
        finalizers(json!(["c", "a"])),
    );
    strategic_error(
        POD,
        finalizers(json!(["a"])),
        json!({"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}}),
        "invalid patch format of primitive list at metadata.finalizers",
    );
    strategic_error(
        DEPLOYMENT,
        json!({"spec": {"strategy": {}}}),
        json!({"spec": {"strategy": {"$retainKeys": ["type"], "rollingUpdate": {}}}}),
        "invalid patch format of retainKeys at spec.strategy",
    );
}

#[test]
fn media_types() {
    for media_type in &PatchType::MEDIA_TYPES[1..] {
        assert!(PatchType::from_media_type(media_type).is_some(), "{media_type}");
    }
    assert_eq!(PatchType::from_media_type("application/json"), None);
    assert_eq!(parse(b"{").unwrap_err().class(), PatchErrorClass::Malformed);
}

/// The merge patch that makes `new` of `old`, for objects without nulls.
fn diff(old: &Map<String, Value>, new: &Map<String, Value>) -> Map<String, Value> {
    let removed = old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null));
    let changed = new.iter().filter(|(key, value)| old.get(*key) != Some(value)).map(|(key, value)| {
        let change = match (old.get(key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => Value::Object(diff(old, new)),
            _ => value.clone(),
        };
        (key.clone(), change)
    });
    removed.chain(changed).collect()
}

fn value(depth: u32) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(Value::from),
        (0..9).prop_map(Value::from),
        "[a-c]{0,2}".prop_map(Value::from)
    ];
    leaf.prop_recursive(depth, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            object_of(inner).prop_map(Value::Object)
        ]
    })
}

fn object_of(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::btree_map("[a-d]", inner, 0..4).prop_map(|map| map.into_iter().collect())
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    object_of(value(3))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_patch_of_the_difference_makes_the_other(old in object(), new in object()) {
        let patch = Value::Object(diff(&old, &new));
        prop_assert_eq!(apply_merge_patch(&Value::Object(old), &patch), Ok(Value::Object(new)));
    }

    #[test]
    fn merging_twice_is_merging_once(document in object(), patch in object()) {
        let (document, patch) = (Value::Object(document), Value::Object(patch));
        let once = apply_merge_patch(&document, &patch).unwrap();
        prop_assert_eq!(apply_merge_patch(&once, &patch), Ok(once));
    }

    #[test]
    fn what_is_added_is_found_and_what_is_removed_is_gone(document in object(), key in "[a-z~/]{1,4}", value in value(2)) {
        let path = format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        let document = Value::Object(document);
        let added = apply_json_patch(&document, &json!([
            {"op": "add", "path": path, "value": value}, {"op": "test", "path": path, "value": value}])).unwrap();
        prop_assert_eq!(added.get(&key), Some(&value));
        let removed = apply_json_patch(&added, &json!([{"op": "remove", "path": path}])).unwrap();
        prop_assert_eq!(removed.get(&key), None);
    }

    /// On fields without mergeable lists the two ways to merge are one.
    #[test]
    fn strategic_merge_is_merge_where_lists_are_replaced(document in object(), patch in object()) {
        let wrap = |map: Map<String, Value>| json!({"unknown": map});
        let (document, patch) = (wrap(document), wrap(patch));
        prop_assert_eq!(
            apply_strategic_merge_patch(&document, &patch, SERVICE),
            apply_merge_patch(&document, &patch)
        );
    }

    #[test]
    fn strategic_merge_is_idempotent_on_ports(
        old in proptest::collection::btree_map(1..9_i32, "[a-c]", 0..5),
        new in proptest::collection::btree_map(1..9_i32, "[a-c]", 0..5),
    ) {
        let ports = |ports: std::collections::BTreeMap<i32, String>| {
            let list: Vec<Value> = ports.into_iter().map(|(port, name)| json!({"port": port, "name": name})).collect();
            json!({"spec": {"ports": list}})
        };
        let patch = ports(new);
        let once = apply_strategic_merge_patch(&ports(old), &patch, SERVICE).unwrap();
        prop_assert_eq!(apply_strategic_merge_patch(&once, &patch, SERVICE), Ok(once));
    }

    #[test]
    fn odd_directives_are_refused_or_done_and_nothing_worse(document in service_like(), patch in service_like()) {
        let patched = apply_strategic_merge_patch(&document, &patch, SERVICE);
        if let Ok(patched) = patched {
            let _ = crate::decode::prune(patched, SERVICE);
        }
    }
}

/// Objects under a Service's names, with directives in right and wrong places.
fn service_like() -> impl Strategy<Value = Value> {
    let key = || {
        proptest::sample::select(vec![
            "spec",
            "ports",
            "port",
            "finalizers",
            "metadata",
            "selector",
            "$patch",
            "$retainKeys",
            "$setElementOrder/ports",
            "$deleteFromPrimitiveList/finalizers",
            "$setElementOrder/finalizers",
        ])
    };
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3).prop_map(Value::from),
        proptest::sample::select(vec!["replace", "delete", "merge", "a", "b"]).prop_map(Value::from),
    ];
    let inner = leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((key(), inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    });
    (inner.clone(), inner).prop_map(|(spec, metadata)| json!({"spec": spec, "metadata": metadata}))
}

#[test]
fn what_is_no_patch_is_told_in_upstreams_words() {
    let document = json!({"metadata": {"name": "a"}});
    let check = |kind: PatchType, patch: Value, expected: Option<&str>| {
        let patched = kind.apply(&document, &patch, "io.k8s.api.core.v1.ConfigMap");
        let unchanged = Ok(document.clone());
        let expected = expected.map_or(unchanged, |text| Err(text.to_owned()));
        assert_eq!(patched.map_err(|error| error.to_string()), expected, "{kind:?} {patch}");
    };
    check(PatchType::Json, Value::Null, None);
    check(PatchType::StrategicMerge, Value::Null, None);
    check(PatchType::Merge, Value::Null, Some("Invalid JSON Patch"));
    let words = |found: &str| format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}");
    for (patch, found) in [(json!([]), "array"), (json!("x"), "string"), (json!(1), "number"), (json!(true), "bool")] {
        check(PatchType::StrategicMerge, patch.clone(), Some(&words(found)));
        check(PatchType::Merge, patch, Some(&format!("error decoding patch: {}", words(found))));
    }
}
