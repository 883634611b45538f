use jiff::Timestamp;
use serde_json::{Value, json};

use super::{RESOURCE, RESOURCE_EVENTS_V1, view};
use crate::kinds::{become_served, become_stored};

fn new_style() -> Value {
    json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "stead.dev/node",
        "reportingInstance": "node1",
        "action": "Pulling",
        "reason": "Failed",
        "type": "Warning",
        "note": "image is not in the store",
    })
}

fn old_style() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "web.2", "namespace": "default"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web", "fieldPath": "spec.containers{web}"},
        "source": {"component": "kubelet", "host": "node1"},
        "reason": "Started",
        "type": "Normal",
        "message": " started ",
        "count": 3,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:09:00Z",
    })
}

fn cells(event: &Value) -> String {
    let now: Timestamp = "2026-01-01T00:10:00Z".parse().unwrap();
    let cells = RESOURCE.strategy.cells(event, now);
    cells.iter().map(|cell| cell.as_str().map_or(cell.to_string(), str::to_owned)).collect::<Vec<_>>().join(" | ")
}

#[test]
fn both_views_are_one_event() {
    let mut event = new_style();
    become_stored(&RESOURCE_EVENTS_V1, &mut event);
    assert_eq!(
        event,
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "web.1", "namespace": "default"},
            "involvedObject": {"kind": "Pod", "namespace": "default", "name": "web"},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "reportingComponent": "stead.dev/node",
            "reportingInstance": "node1",
            "action": "Pulling",
            "reason": "Failed",
            "type": "Warning",
            "message": "image is not in the store",
        })
    );
    become_served(&RESOURCE_EVENTS_V1, &mut event);
    assert_eq!(event, new_style());
    let mut event = old_style();
    become_served(&RESOURCE_EVENTS_V1, &mut event);
    assert_eq!((&event["deprecatedCount"], &event["note"]), (&json!(3), &json!(" started ")));
    become_stored(&RESOURCE_EVENTS_V1, &mut event);
    assert_eq!(event, old_style());
}

#[test]
fn cells_read_as_kubectl_prints_them() {
    assert_eq!(
        cells(&old_style()),
        "60s | Normal | Started | pod/web | spec.containers{web} | kubelet, node1 | started | 10m | 3 | web.2"
    );
    let mut event = new_style();
    view::become_core(&mut event);
    assert_eq!(
        cells(&event),
        "10m | Warning | Failed | pod/web |  | stead.dev/node, node1 | image is not in the store | 10m | 1 | web.1"
    );
    event["series"] = json!({"count": 7, "lastObservedTime": "2026-01-01T00:09:50.000000Z"});
    assert!(cells(&event).starts_with("10s | Warning"), "{}", cells(&event));
}

#[test]
fn events_stay_with_their_object() {
    let mut event = old_style();
    assert_eq!(RESOURCE.strategy.validate_create(&event), []);
    event["involvedObject"]["namespace"] = "other".into();
    let errors = RESOURCE.strategy.validate_create(&event);
    assert_eq!(
        errors[0].to_string(),
        "involvedObject.namespace: Invalid value: \"other\": does not match event.namespace"
    );
    event["involvedObject"] = json!({"kind": "Node", "name": "node1"});
    assert_eq!(RESOURCE.strategy.validate_create(&event), []);
}

#[test]
fn new_events_may_tell_of_objects_elsewhere() {
    let check = |namespace: &str, object: &str, is_ok: bool| {
        let mut event = new_style();
        RESOURCE_EVENTS_V1.strategy.become_stored(&mut event);
        event["metadata"]["namespace"] = namespace.into();
        event["involvedObject"]["namespace"] = object.into();
        for kind in [&RESOURCE, &RESOURCE_EVENTS_V1] {
            assert_eq!(kind.strategy.validate_create(&event).is_empty(), is_ok, "{namespace} {object}");
        }
    };
    check("default", "default", true);
    check("default", "other", true);
    check("default", "", true);
    check("kube-system", "", true);
    check("other", "", false);
}

#[test]
fn new_events_say_who_and_when() {
    let check = |change: fn(&mut Value), expect: &[&str]| {
        let mut event = new_style();
        change(&mut event);
        RESOURCE_EVENTS_V1.strategy.become_stored(&mut event);
        let errors = RESOURCE_EVENTS_V1.strategy.validate_create(&event);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
    };
    check(|_| {}, &[]);
    check(|event| event["eventTime"] = Value::Null, &["eventTime: Required value"]);
    check(|event| event["action"] = Value::Null, &["action: Required value"]);
    let wrong = |field: &str| {
        let mut event = new_style();
        event["reportingController"] = "".into();
        RESOURCE_EVENTS_V1.strategy.become_stored(&mut event);
        let kind = if field == "reportingController" { &RESOURCE_EVENTS_V1 } else { &RESOURCE };
        let errors = kind.strategy.validate_create(&event);
        assert!(errors.len() == 3 && errors.iter().all(|error| error.field == field), "{errors:?}");
        assert_eq!(errors[0].to_string(), format!("{field}: Required value"));
    };
    wrong("reportingController");
    wrong("reportingComponent");
    check(|event| event["type"] = "Other".into(), &["type: Invalid value: \"\": has invalid value: Other"]);
    check(|event| event["deprecatedCount"] = 2.into(), &["count: Invalid value: \"\": needs to be unset"]);
    check(
        |event| event["note"] = "x".repeat(1025).into(),
        &["message: Invalid value: \"\": can have at most 1024 characters"],
    );
}

#[test]
fn a_series_has_several_and_a_last_one() {
    let check = |series: Value, expect: &[&str]| {
        let mut event = new_style();
        event["series"] = series.clone();
        RESOURCE_EVENTS_V1.strategy.become_stored(&mut event);
        let errors = RESOURCE_EVENTS_V1.strategy.validate_create(&event);
        assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{series}");
        assert_eq!(RESOURCE.strategy.validate_create(&event), [], "{series}: core events are free in it");
    };
    let last = "2026-01-01T00:01:00.000000Z";
    let (few, never) =
        ("series.count: Invalid value: \"\": should be at least 2", "series.lastObservedTime: Required value");
    check(json!({"count": 2, "lastObservedTime": last}), &[]);
    check(json!({"count": 1, "lastObservedTime": last}), &[few]);
    check(json!({"lastObservedTime": last}), &[few]);
    check(json!({"count": 3}), &[never]);
    check(json!({}), &[few, never]);
}

#[test]
fn only_the_series_of_a_new_event_goes_on() {
    let mut old = new_style();
    view::become_core(&mut old);
    let mut new = old.clone();
    new["series"] = json!({"count": 2, "lastObservedTime": "2026-01-01T00:01:00.000000Z"});
    assert_eq!(RESOURCE_EVENTS_V1.strategy.validate_update(&new, &old), []);
    new["reason"] = "Other".into();
    let errors = RESOURCE_EVENTS_V1.strategy.validate_update(&new, &old);
    assert_eq!(errors[0].to_string(), "reason: Invalid value: \"Other\": field is immutable");
}

#[test]
fn selectors_see_the_source_wherever_it_stands() {
    let field = |event: &Value, path: &str| RESOURCE.strategy.selectable_field(event, path).unwrap();
    assert_eq!(field(&old_style(), "source"), "kubelet");
    assert_eq!(field(&old_style(), "involvedObject.name"), "web");
    let mut event = new_style();
    view::become_core(&mut event);
    assert_eq!(field(&event, "source"), "stead.dev/node");
    assert_eq!(field(&event, "reportingComponent"), "stead.dev/node");
}
