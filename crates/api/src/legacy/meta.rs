//! Metadata: flat in the older version (`id`, a number as `resourceVersion`), an object of its own since.
//!
//! Answers carry both, so that a client of today finds the name where it looks for it. What is sent may have both too: the flat
//! field counts, and annotations are united.

use serde_json::{Value, json};

use super::carry::{Same, backward, forward, put};
use crate::kinds::value::{at, child, remove, set, text};

const SAME: Same = &[
    ("id", "name"),
    ("namespace", "namespace"),
    ("uid", "uid"),
    ("generateName", "generateName"),
    ("creationTimestamp", "creationTimestamp"),
    ("deletionTimestamp", "deletionTimestamp"),
    ("annotations", "annotations"),
    ("labels", "labels"),
];

/// Annotations that stand for what the older version says and v1 has no field for; nobody is shown them.
pub(super) const MARKS: &str = "v1beta1.stead.local/";

/// A v1 object of nothing but metadata.
pub(super) fn to_v1(old: &Value) -> Value {
    let mut metadata = old.get("metadata").filter(|metadata| metadata.is_object()).cloned().unwrap_or(json!({}));
    let mut annotations = at(&metadata, "/annotations").as_object().cloned().unwrap_or_default();
    for (key, value) in forward(old, SAME).as_object().into_iter().flatten() {
        set(&mut metadata, key, value.clone());
    }
    annotations.extend(at(old, "/annotations").as_object().cloned().unwrap_or_default());
    put(&mut metadata, "annotations", annotations);
    let revision = match at(old, "/resourceVersion") {
        Value::Number(number) if number.as_u64() != Some(0) => number.to_string(),
        Value::String(text) if text != "0" => text.clone(),
        _ => String::new(),
    };
    put(&mut metadata, "resourceVersion", revision);
    json!({"metadata": metadata})
}

/// An object of nothing but metadata, in both forms.
pub(super) fn from_v1(new: &Value) -> Value {
    let mut metadata = at(new, "/metadata").clone();
    if !metadata.is_object() {
        metadata = json!({});
    }
    remove(&mut metadata, "managedFields");
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.retain(|key, _| !key.starts_with(MARKS));
        if annotations.is_empty() {
            remove(&mut metadata, "annotations");
        }
    }
    let mut old = backward(&metadata, SAME);
    if let Ok(revision) = text(&metadata, "/resourceVersion").parse::<u64>() {
        set(&mut old, "resourceVersion", revision);
    }
    set(&mut old, "metadata", metadata);
    old
}

/// Leaves a mark on a v1 object.
pub(super) fn mark(new: &mut Value, name: &str, value: &str) {
    set(child(child(new, "metadata"), "annotations"), &format!("{MARKS}{name}"), value);
}

/// What a mark says.
pub(super) fn marked<'a>(new: &'a Value, name: &str) -> &'a str {
    let annotations = at(new, "/metadata/annotations");
    annotations.get(format!("{MARKS}{name}")).and_then(Value::as_str).unwrap_or_default()
}
