//! A test for every row of the table of fields: what a field is when it is left out, what it may be, what an update may change.

mod addresses;
mod load_balancer;
mod ports;
mod traffic;

use serde_json::{Value, json};
use stead_model::Family::{V4, V6};

use super::{create, update};
use crate::{
    field::FieldError,
    kinds::service::{RESOURCE, allocation, families::resolve},
};

fn lines(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

/// The spec with one port, where it names none.
fn with_port(mut spec: Value) -> Value {
    if spec.get("ports").is_none() {
        spec["ports"] = json!([{"port": 80}]);
    }
    spec
}

/// What a whole write makes of a Service, and what is wrong with it. Addresses and numbers are given out of thin air.
fn write(mut service: Value, old: Option<&Value>) -> (Value, Vec<String>) {
    let errors = resolve(&mut service, old, &[V4, V6]);
    if !errors.is_empty() {
        return (service, lines(errors));
    }
    let errors = match old {
        None => RESOURCE.strategy.validate_create(&service),
        Some(old) => RESOURCE.strategy.validate_update(&service, old),
    };
    let plan = allocation::plan(&service, old);
    for claim in &plan.addresses {
        let free = if claim.family == V4 { "10.96.0.100" } else { "fd00::100" }.parse().unwrap();
        claim.grant(&mut service, claim.wanted.unwrap_or(free));
    }
    for (offset, claim) in (0..).zip(&plan.node_ports) {
        claim.grant(&mut service, claim.wanted.unwrap_or(30_100 + offset));
    }
    (service, lines(errors))
}

#[track_caller]
fn made(spec: Value) -> Value {
    let (service, errors) = write(create(with_port(spec)), None);
    assert_eq!(errors, [] as [&str; 0]);
    service["spec"].clone()
}

/// `field` of a Service that is made with `spec`.
#[track_caller]
fn becomes(spec: Value, field: &str, expect: Value) {
    let made = made(spec.clone());
    assert_eq!(made.get(field).cloned().unwrap_or_default(), expect, "{spec}");
}

#[track_caller]
fn refused(spec: Value, expect: &[&str]) {
    let (_, errors) = write(create(with_port(spec.clone())), None);
    assert_eq!(errors, expect, "{spec}");
}

/// `field` after an update from one spec to another; both merge patches of nothing.
#[track_caller]
fn updated(old: Value, new: Value, field: &str, expect: Value) {
    let (old, errors) = write(create(with_port(old)), None);
    assert_eq!(errors, [] as [&str; 0]);
    let (service, errors) = write(update(&old, with_port(new.clone())), Some(&old));
    assert_eq!(errors, [] as [&str; 0], "{new}");
    assert_eq!(service["spec"].get(field).cloned().unwrap_or_default(), expect, "{new}");
}

#[track_caller]
fn update_refused(old: Value, new: Value, expect: &[&str]) {
    let (old, errors) = write(create(with_port(old)), None);
    assert_eq!(errors, [] as [&str; 0]);
    let (_, errors) = write(update(&old, with_port(new.clone())), Some(&old));
    assert_eq!(errors, expect, "{new}");
}

fn port(fields: Value) -> Value {
    let mut port = json!({"port": 80});
    port.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"ports": [port]})
}

/// One field of the only port.
#[track_caller]
fn port_becomes(fields: Value, field: &str, expect: Value) {
    assert_eq!(made(port(fields.clone()))["ports"][0].get(field).cloned().unwrap_or_default(), expect, "{fields}");
}

#[test]
fn field_type() {
    becomes(json!({}), "type", json!("ClusterIP"));
    let all = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"];
    for old in all {
        for new in all {
            let spec = |kind: &str| json!({"type": kind, "externalName": if kind == "ExternalName" { "a.example" } else { "" }});
            updated(spec(old), spec(new), "type", json!(new));
        }
    }
    let (_, errors) = write(create(with_port(json!({"type": "Magic"}))), None);
    let supported = "supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"";
    assert_eq!(errors[0], format!("spec.type: Unsupported value: \"Magic\": {supported}"));
}

#[test]
fn field_selector() {
    becomes(json!({}), "selector", Value::Null);
    becomes(json!({"selector": {}}), "selector", Value::Null);
    let (_, errors) = write(create(with_port(json!({"selector": {"a": "b c"}}))), None);
    assert!(errors[0].starts_with("spec.selector: Invalid value: \"b c\": a valid label must"), "{errors:?}");
    updated(json!({"selector": {"a": "b"}}), json!({"selector": {"c": "d"}}), "selector", json!({"c": "d"}));
}

#[test]
fn field_external_name() {
    let named = |name: &str| json!({"type": "ExternalName", "externalName": name});
    for good in ["db.example.org", "db.example.org.", "192.0.2.1", "db"] {
        becomes(named(good), "externalName", json!(good));
    }
    refused(named(""), &["spec.externalName: Required value"]);
    for bad in ["DB.example", "a..b", "a b", "db.example.."] {
        let (_, errors) = write(create(with_port(named(bad))), None);
        assert!(errors[0].starts_with("spec.externalName: Invalid value"), "{bad}: {errors:?}");
    }
    becomes(json!({"externalName": "Not A Name"}), "externalName", json!("Not A Name"));
    let service = create(with_port(json!({"externalName": "db.example"})));
    let warnings = RESOURCE.strategy.warnings(&service, None);
    assert!(
        warnings.iter().any(|warning| warning == "spec.externalName is ignored when spec.type is not \"ExternalName\"")
    );
}

/// A name may begin with a digit; only a new one is looked at.
#[test]
fn a_name_is_a_label_and_may_begin_with_a_digit() {
    let named = |name: &str| {
        let mut service = create(with_port(json!({})));
        service["metadata"]["name"] = name.into();
        write(service, None).1
    };
    assert_eq!(named("1a"), [] as [&str; 0]);
    for bad in ["a.b", "A", "-a", &"a".repeat(64)] {
        assert!(named(bad)[0].starts_with("metadata.name: Invalid value"), "{bad}");
    }
}
