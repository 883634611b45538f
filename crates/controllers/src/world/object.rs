//! Objects of a [`World`](super::World) as JSON: what they are, what differs between two of them, and how writes change them.
//!
//! Pure, and simpler than what the API server does: enough for the objects that controllers write.

use serde_json::{Value, json};
use stead_api::snapshot::Kind;
use stead_model::ObjectKey;

use crate::{Verb, Write};

/// A write without what its kind and key say already: owners by name, of an update what differs.
pub(super) fn brief(write: &Write, before: Option<&Value>) -> String {
    let mut write = Write { on_success: None, on_failure: None, ..write.clone() };
    match &mut write.verb {
        Verb::Create(object) => {
            for field in ["apiVersion", "kind"] {
                object.as_object_mut().unwrap().remove(field);
            }
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.retain(|field, _| !matches!(field.as_str(), "name" | "namespace"));
            if let Some(owners) = metadata.remove("ownerReferences") {
                metadata.insert("owner".to_owned(), owners[0]["name"].clone());
            }
            prune(object);
        }
        Verb::Update(object) => *object = difference(before.unwrap_or(&Value::Null), object),
        Verb::Patch(patch) => {
            if let Some(metadata) = patch.get_mut("metadata").and_then(Value::as_object_mut) {
                metadata.retain(|field, _| !matches!(field.as_str(), "uid" | "resourceVersion"));
            }
        }
        Verb::PatchStatus { status, .. } => {
            let before = before.and_then(|object| object.get("status")).unwrap_or(&Value::Null);
            let mut after = before.clone();
            merge(&mut after, status);
            *status = difference(before, &after);
        }
        _ => {}
    }
    write.to_string()
}

/// The merge patch from one object to another.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(old), Value::Object(new)) = (before, after) else { return after.clone() };
    let mut patch = serde_json::Map::new();
    for (field, value) in new {
        match old.get(field) {
            Some(known) if known == value => {}
            Some(known) => {
                patch.insert(field.clone(), difference(known, value));
            }
            None => {
                patch.insert(field.clone(), value.clone());
            }
        }
    }
    let gone = old.keys().filter(|field| !new.contains_key(*field));
    patch.extend(gone.map(|field| (field.clone(), Value::Null)));
    Value::Object(patch)
}

pub(crate) fn kind_of(object: &Value) -> Kind {
    let (api_version, kind) = (text(object, "/apiVersion"), text(object, "/kind"));
    Kind::from_reference(api_version, kind).unwrap_or_else(|| panic!("no kind {api_version} {kind}"))
}

pub(super) fn key_of(object: &Value) -> ObjectKey {
    ObjectKey::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

pub(crate) fn text<'a>(object: &'a Value, path: &str) -> &'a str {
    object.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

pub(super) fn has_finalizers(object: &Value) -> bool {
    object.pointer("/metadata/finalizers").and_then(Value::as_array).is_some_and(|list| !list.is_empty())
}

/// RFC 7386.
pub(super) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (field, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(field);
        } else {
            merge(&mut target[field], value);
        }
    }
}

/// What the server leaves out of stored objects: nulls, empty maps and lists.
pub(super) fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(prune);
            fields.retain(|field, value| match value {
                Value::Null => false,
                Value::Object(inner) => !inner.is_empty(),
                Value::Array(list) => !list.is_empty() || field == "endpoints",
                _ => true,
            });
        }
        Value::Array(list) => list.iter_mut().for_each(prune),
        _ => {}
    }
}
