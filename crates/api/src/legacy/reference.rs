//! References to objects: what v1 calls a name was `id` in the beginning, and `name` soon after.

use serde_json::{Value, json};

use super::carry::{Same, backward, forward, put};
use crate::kinds::value::{is_set, text};

const SAME: Same = &[
    ("kind", "kind"),
    ("namespace", "namespace"),
    ("id", "name"),
    ("name", "name"),
    ("uid", "uid"),
    ("apiVersion", "apiVersion"),
    ("fieldPath", "fieldPath"),
];

pub(super) fn to_v1(old: &Value) -> Value {
    let mut new = forward(old, SAME);
    let revision = match old.get("resourceVersion") {
        Some(Value::Number(number)) => number.to_string(),
        _ => text(old, "/resourceVersion").to_owned(),
    };
    put(&mut new, "resourceVersion", revision);
    new
}

/// Null for no reference.
pub(super) fn from_v1(new: &Value) -> Value {
    if !new.is_object() {
        return Value::Null;
    }
    let mut old = backward(new, &SAME[..2]);
    for (key, value) in backward(new, &SAME[3..]).as_object().into_iter().flatten() {
        put(&mut old, key, value.clone());
    }
    if is_set(new, "/resourceVersion") {
        put(&mut old, "resourceVersion", new["resourceVersion"].clone());
    }
    if old == json!({}) { Value::Null } else { old }
}
