//! Status: flat, and the name of what it is about is `details.id`. Clients of today read it too, so that it says both and is of
//! their version.

use serde_json::{Value, json};

use super::carry::put;
use crate::kinds::value::{at, text};

/// A v1 Status with what an older client looks for.
pub fn status_from_v1(new: &Value) -> Value {
    let mut old = new.clone();
    let name = text(new, "/details/name");
    if !name.is_empty() {
        put(&mut old["details"], "id", name);
    }
    old["creationTimestamp"] = Value::Null;
    old
}

/// What a deletion answers with, where v1 answers with the object that is gone or going.
pub fn deleted(object: &Value, plural: &str) -> Value {
    let name = text(object, "/metadata/name");
    let mut details = json!({"id": name, "name": name, "kind": plural});
    put(&mut details, "uid", at(object, "/metadata/uid").clone());
    json!({
        "kind": "Status", "creationTimestamp": null, "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": details,
    })
}
