//! An object without some of its fields.

use serde_json::{Map, Value};

use super::path::PathElement;
use super::set::FieldSet;
use super::shape::{Atom, Shape};

/// `object` without the members of `fields`. Lists and maps that become empty go too.
pub(super) fn remove(object: &Value, fields: &FieldSet, shape: Shape<'_>) -> Value {
    removed(object, fields, shape).unwrap_or_else(|| Value::Object(Map::new()))
}

fn removed(value: &Value, fields: &FieldSet, shape: Shape<'_>) -> Option<Value> {
    match (shape.atom(), value) {
        (Atom::Scalar, value) => Some(value.clone()),
        (Atom::Struct(_) | Atom::Map(_), Value::Object(map)) => {
            let mut out = Map::new();
            for (key, value) in map {
                let element = PathElement::field(key);
                if fields.has(&element) {
                    continue;
                }
                let value = match (fields.below(&element), shape.within(&element)) {
                    (Some(below), Some(inner)) => removed(value, below, inner),
                    _ => Some(value.clone()),
                };
                if let Some(value) = value {
                    out.insert(key.clone(), value);
                }
            }
            (!out.is_empty()).then_some(Value::Object(out))
        }
        (atom @ (Atom::Set(item) | Atom::Keyed(item, _)), Value::Array(list)) => {
            let keep = |value: &Value| {
                let Ok(place) = atom.place_of(value) else { return Some(value.clone()) };
                if fields.has(&place) {
                    return None;
                }
                match fields.below(&place) {
                    Some(below) => Some(removed(value, below, item).unwrap_or_else(|| Value::Object(Map::new()))),
                    None => Some(value.clone()),
                }
            };
            let items = list.iter().filter_map(keep).collect::<Vec<_>>();
            (!items.is_empty()).then_some(Value::Array(items))
        }
        _ => None,
    }
}
