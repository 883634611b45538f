use serde_json::json;

use super::*;
use crate::names;

fn meta(metadata: Value) -> Value {
    json!({"metadata": metadata})
}

fn check(metadata: Value, expected: &[&str]) {
    let object = meta(metadata);
    let errors: Vec<String> =
        validate_meta(&object, Scope::Namespaced, names::dns1123_subdomain).iter().map(ToString::to_string).collect();
    assert_eq!(errors.len(), expected.len(), "{object}: {errors:?}");
    for (error, start) in errors.iter().zip(expected) {
        assert!(error.starts_with(start), "{error}");
    }
}

#[test]
fn accessors_read_what_is_there_and_nothing_else() {
    let object = meta(json!({
        "name": "web", "generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z", "labels": {"app": "web"},
        "finalizers": ["a/b"],
        "ownerReferences": [
            {"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "1"},
            {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "2", "controller": true},
        ],
    }));
    assert_eq!(name(&object), "web");
    assert_eq!(namespace(&object), "");
    assert_eq!(generation(&object), 3);
    assert_eq!(creation_timestamp(&object).map(Timestamp::as_second), Some(1_767_323_045));
    assert_eq!(label(&object, "app"), Some("web"));
    let owners: Vec<_> = owner_references(&object).map(|owner| (owner.name, owner.controller)).collect();
    assert_eq!(owners, [("n", false), ("web-1", true)]);
    assert!(!is_being_deleted(&object));
    assert_eq!(finalizers(&object).collect::<Vec<_>>(), ["a/b"]);
    for odd in
        [Value::Null, json!([]), json!({"metadata": 1}), meta(json!({"name": 1, "labels": [], "generation": "x"}))]
    {
        assert_eq!((name(&odd), generation(&odd), label(&odd, "a")), ("", 0, None), "{odd}");
    }
}

#[test]
fn set_makes_metadata_where_there_is_none() {
    let mut object = json!({});
    set(&mut object, "name", "a");
    assert_eq!(object, meta(json!({"name": "a"})));
    unset(&mut object, "name");
    assert_eq!(object, meta(json!({})));
}

#[test]
fn generated_names_fit_a_label() {
    assert_eq!(generate_name("web-", 0), "web-bbbbb");
    assert_eq!(generate_name("web-", 1), "web-cbbbb");
    let long = generate_name(&"x".repeat(80), u64::MAX);
    assert_eq!(long.len(), 63);
    assert!(names::dns1123_label(&long).is_empty());
    assert_eq!(generate_name(&"é".repeat(40), 7).chars().filter(|c| *c == 'é').count(), 29);
}

#[test]
fn metadata_rules() {
    check(json!({"name": "web", "namespace": "default"}), &[]);
    check(json!({"name": "web-x", "generateName": "web-", "namespace": "default"}), &[]);
    check(
        json!({}),
        &["metadata.name: Required value: name or generateName is required", "metadata.namespace: Required value"],
    );
    check(
        json!({"name": "Web", "namespace": "a.b"}),
        &[
            r#"metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain"#,
            r#"metadata.namespace: Invalid value: "a.b": must not contain dots"#,
        ],
    );
    check(
        json!({"name": "a", "namespace": "b", "generation": -1, "labels": {"a b": "x", "c": "-"},
               "annotations": {"Example.com/A": "x", "/": ""}}),
        &[
            "metadata.generation: Invalid value: -1: must be greater",
            r#"metadata.labels: Invalid value: "a b": name part"#,
            r#"metadata.labels: Invalid value: "-": a valid label"#,
            r#"metadata.annotations: Invalid value: "/": prefix part"#,
            r#"metadata.annotations: Invalid value: "/": name part must be non-empty"#,
            r#"metadata.annotations: Invalid value: "/": name part must consist"#,
        ],
    );
    check(
        json!({"name": "a", "namespace": "b", "annotations": {"a": "x".repeat(256 * 1024)}}),
        &["metadata.annotations: Too long: may not be more than 262144 bytes"],
    );
}

#[test]
fn owners_and_finalizers() {
    let owner = |name: &str| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": "u", "controller": true});
    check(
        json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x"), owner("y"), {"kind": "Pod"}],
               "finalizers": ["orphan", "foregroundDeletion", "-"]}),
        &[
            "metadata.ownerReferences: Invalid value: [",
            r#"metadata.ownerReferences.apiVersion: Invalid value: "": version must not be empty"#,
            r#"metadata.ownerReferences.name: Invalid value: "": must not be empty"#,
            r#"metadata.ownerReferences.uid: Invalid value: "": must not be empty"#,
            r#"metadata.finalizers: Invalid value: "-": name part"#,
            "metadata.finalizers: Invalid value: [",
            r#"metadata.finalizers[2]: Invalid value: "-": name is neither a standard finalizer name nor is it fully qualified"#,
        ],
    );
}

#[test]
fn finalizers_belong_to_a_domain_or_the_system() {
    let named = |kind: &str, finalizers: Value| {
        let mut object = meta(json!({"name": "a", "namespace": "b", "finalizers": finalizers}));
        object["kind"] = kind.into();
        let errors = validate_meta(&object, Scope::Namespaced, names::dns1123_subdomain);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(named("Pod", json!(["kubernetes", "orphan", "example.com/x"])), [] as [&str; 0]);
    let why = "name is neither a standard finalizer name nor is it fully qualified";
    assert_eq!(
        named("Pod", json!(["a.b/c", "foo"])),
        [format!("metadata.finalizers[1]: Invalid value: \"foo\": {why}")]
    );
    assert_eq!(named("Lease", json!(["foo"])), [] as [&str; 0]);
}

#[test]
fn cluster_scope_has_no_namespace() {
    let errors = validate_meta(&meta(json!({"name": "n", "namespace": "x"})), Scope::Cluster, names::dns1123_subdomain);
    assert_eq!(errors[0].to_string(), "metadata.namespace: Forbidden: not allowed on this type");
}

#[test]
fn updates_keep_identity() {
    let old = meta(json!({"name": "a", "uid": "1", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z"}));
    assert_eq!(validate_meta_update(&old, &old), []);
    let mut new = old.clone();
    set(&mut new, "name", "b");
    set(&mut new, "generation", 1);
    set(&mut new, "finalizers", json!(["x/y"]));
    unset(&mut new, "deletionTimestamp");
    let errors: Vec<String> = validate_meta_update(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        errors,
        [
            r#"metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{"x/y"}"#,
            "metadata.generation: Invalid value: 1: must not be decremented",
            r#"metadata.name: Invalid value: "b": field is immutable"#,
            "metadata.deletionTimestamp: Invalid value: null: field is immutable",
        ]
    );
}
