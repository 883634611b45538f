//! JSON merge patch (RFC 7386): objects are merged, null removes, everything else replaces.

use serde_json::{Map, Value};

use super::{MAP, PatchError, kind_of};

/// What `document` becomes by `patch`, an object.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(PatchError::Nothing),
        other => return Err(PatchError::Shape { found: kind_of(other), expected: MAP }),
    }
    let mut merged = document.clone();
    merge(&mut merged, patch);
    Ok(merged)
}

fn merge(document: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *document = patch.clone();
        return;
    };
    if !document.is_object() {
        *document = Value::Object(Map::new());
    }
    let Value::Object(document) = document else { return };
    for (key, value) in patch {
        if value.is_null() {
            document.remove(key);
        } else {
            merge(document.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
