//! What is wrong with an Event. Events of the old recorders, without `eventTime`, are free in most of their fields.

use serde_json::Value;

use super::super::{
    errors::Errors,
    value::{at, count, is_set, text},
};
use crate::{field::FieldError, meta, names::qualified_name};

/// What `events.k8s.io/v1` calls who reports, and what core `v1` does.
pub(super) const CONTROLLER: &str = "reportingController";
pub(super) const COMPONENT: &str = "reportingComponent";
const MAX_WORD: usize = 128;
const MAX_NOTE: usize = 1024;

/// `controller` is what the version of the request calls `reportingComponent`.
pub(super) fn validate(event: &Value, controller: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let (namespace, object) = (meta::namespace(event), text(event, "/involvedObject/namespace"));
    let is_new_style = !text(event, "/eventTime").is_empty();
    let is_ok = match (object, is_new_style) {
        ("", true) => ["default", "kube-system"].contains(&namespace),
        (_, true) => true,
        ("", false) => ["", "default"].contains(&namespace),
        (object, false) => namespace == object,
    };
    if !is_ok {
        errors.invalid("involvedObject.namespace", &object.into(), "does not match event.namespace");
    }
    if is_new_style {
        validate_words(event, controller, &mut errors);
    }
    errors.into_vec()
}

/// What `events.k8s.io/v1` asks for on top.
pub(super) fn validate_new_style(event: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let nothing = &Value::from("");
    if text(event, "/eventTime").is_empty() {
        errors.required("eventTime");
        validate_words(event, CONTROLLER, &mut errors);
    }
    let kind = text(event, "/type");
    if !["Normal", "Warning"].contains(&kind) {
        errors.invalid("type", nothing, format!("has invalid value: {kind}"));
    }
    for field in ["firstTimestamp", "lastTimestamp"] {
        if is_set(event, &format!("/{field}")) {
            errors.invalid(field, nothing, "needs to be unset");
        }
    }
    if count(event, "/count") != 0 {
        errors.invalid("count", nothing, "needs to be unset");
    }
    if !text(event, "/source/component").is_empty() || !text(event, "/source/host").is_empty() {
        errors.invalid("source", nothing, "needs to be unset");
    }
    if is_set(event, "/series") {
        if count(event, "/series/count") < 2 {
            errors.invalid("series.count", nothing, "should be at least 2");
        }
        if text(event, "/series/lastObservedTime").is_empty() {
            errors.required("series.lastObservedTime");
        }
    }
    errors.into_vec()
}

/// An event is told once; only its series goes on.
pub(super) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for field in [
        "involvedObject",
        "reason",
        "message",
        "source",
        "firstTimestamp",
        "lastTimestamp",
        "count",
        "type",
        "eventTime",
        "action",
        "related",
        "reportingInstance",
    ] {
        errors.immutable(new, old, &format!("/{field}"), field);
    }
    errors.immutable(new, old, "/reportingComponent", "reportingController");
    errors.into_vec()
}

fn validate_words(event: &Value, field: &str, errors: &mut Errors) {
    let controller = text(event, "/reportingComponent");
    if controller.is_empty() {
        errors.required(field);
    }
    errors.invalid_text(field, controller, qualified_name(controller));
    for field in ["reportingInstance", "action", "reason"] {
        let word = text(event, &format!("/{field}"));
        if word.is_empty() {
            errors.required(field);
        } else if word.len() > MAX_WORD {
            errors.invalid(field, &"".into(), format!("can have at most {MAX_WORD} characters"));
        }
    }
    if at(event, "/message").as_str().is_some_and(|note| note.len() > MAX_NOTE) {
        errors.invalid("message", &"".into(), format!("can have at most {MAX_NOTE} characters"));
    }
}
