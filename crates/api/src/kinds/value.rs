//! Reading and filling fields of decoded objects by JSON pointer.
//!
//! Decoding has made sure that fields have the right types, so a field of another type reads as absent; nothing here fails.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// What [`Value::pointer`] finds. That one makes two copies of every part of the pointer, and a write reads hundreds.
fn find<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    let mut parts = pointer.split('/');
    parts.next().filter(|before| before.is_empty())?;
    parts.try_fold(object, |value, part| {
        let part = match part.contains('~') {
            true => Cow::Owned(part.replace("~1", "/").replace("~0", "~")),
            false => Cow::Borrowed(part),
        };
        match value {
            Value::Object(map) => map.get(&*part),
            Value::Array(list) => list.get(index(&part)?),
            _ => None,
        }
    })
}

/// A place in a list has one way of being written.
fn index(part: &str) -> Option<usize> {
    let is_padded = part.starts_with('+') || part.len() > 1 && part.starts_with('0');
    part.parse().ok().filter(|_| !is_padded)
}

/// The text at `pointer`, empty when it is absent.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    find(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The number at `pointer`.
pub(crate) fn number(object: &Value, pointer: &str) -> Option<i64> {
    find(object, pointer).and_then(Value::as_i64)
}

/// The number at `pointer`, 0 when it is absent.
pub(crate) fn count(object: &Value, pointer: &str) -> i64 {
    number(object, pointer).unwrap_or_default()
}

/// Whether `pointer` is set to true.
pub(crate) fn is_true(object: &Value, pointer: &str) -> bool {
    find(object, pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The items of the list at `pointer`, none when it is absent.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    find(object, pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The texts of the list at `pointer`.
pub(crate) fn texts<'a>(object: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(object, pointer).iter().filter_map(Value::as_str).collect()
}

/// The map at `pointer`.
pub(crate) fn map<'a>(object: &'a Value, pointer: &str) -> Option<&'a Map<String, Value>> {
    find(object, pointer).and_then(Value::as_object)
}

/// The keys and texts of the map at `pointer`, in the order of the keys.
pub(crate) fn pairs<'a>(object: &'a Value, pointer: &str) -> Vec<(&'a str, &'a str)> {
    map(object, pointer)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()))
        .collect()
}

/// Whether `pointer` holds anything but null.
pub(crate) fn is_set(object: &Value, pointer: &str) -> bool {
    find(object, pointer).is_some_and(|value| !value.is_null())
}

/// The value at `pointer`; null when absent, so that two objects can be compared by field.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> &'a Value {
    find(object, pointer).unwrap_or(&Value::Null)
}

/// The map under `key`, made empty when it is absent.
pub(crate) fn child<'a>(object: &'a mut Value, key: &str) -> &'a mut Value {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let child = &mut object[key];
    if !child.is_object() {
        *child = Value::Object(Map::new());
    }
    child
}

/// The list under `key` for changing, none when it is absent.
pub(crate) fn items_mut<'a>(object: &'a mut Value, key: &str) -> &'a mut [Value] {
    object.get_mut(key).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// Sets `key` when it is absent, null or the empty text, which upstream's text fields treat alike.
pub(crate) fn fill(object: &mut Value, key: &str, value: impl Into<Value>) {
    let Some(fields) = object.as_object_mut() else { return };
    let is_empty = fields.get(key).is_none_or(|old| old.is_null() || old.as_str() == Some(""));
    if is_empty {
        fields.insert(key.to_owned(), value.into());
    }
}

/// Sets `key` when it is absent, null or 0: numbers that are no pointers upstream.
pub(crate) fn fill_zero(object: &mut Value, key: &str, value: i64) {
    if count(object, &format!("/{key}")) == 0 {
        set(object, key, value);
    }
}

pub(crate) fn set(object: &mut Value, key: &str, value: impl Into<Value>) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), value.into());
    }
}

pub(crate) fn remove(object: &mut Value, key: &str) -> Option<Value> {
    object.as_object_mut().and_then(|fields| fields.remove(key))
}

/// Makes `key` of `new` what it is in `old`, absence included.
pub(crate) fn keep(new: &mut Value, old: &Value, key: &str) {
    match old.get(key) {
        Some(value) => set(new, key, value.clone()),
        None => drop(remove(new, key)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_found_is_what_the_standard_says() {
        let object = json!({"a": {"b/c": [1, {"~": 2}], "": 3, "0": 4}, "": 5});
        let pointers = [
            "",
            "/",
            "a",
            "/a",
            "/a/b~1c/0",
            "/a/b~1c/1/~0",
            "/a/b~1c/01",
            "/a/b~1c/+1",
            "/a/b~1c/2",
            "/a/",
            "/a/0",
            "/a/0/x",
            "/x",
        ];
        for pointer in pointers {
            assert_eq!(find(&object, pointer), object.pointer(pointer), "{pointer:?}");
        }
    }
}
