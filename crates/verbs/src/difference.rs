//! What differs between two values, as a merge patch (RFC 7386).

use serde_json::{Map, Value};

/// The patch that makes `after` of `before`; `None` where they are the same.
pub(crate) fn merge_patch(before: &Value, after: &Value) -> Option<Value> {
    let (Value::Object(old), Value::Object(new)) = (before, after) else {
        return (before != after).then(|| after.clone());
    };
    let mut patch = Map::new();
    for (key, value) in new {
        match old.get(key) {
            None => {
                patch.insert(key.clone(), value.clone());
            }
            Some(old) => {
                if let Some(change) = merge_patch(old, value) {
                    patch.insert(key.clone(), change);
                }
            }
        }
    }
    patch.extend(old.keys().filter(|key| !new.contains_key(*key)).map(|key| (key.clone(), Value::Null)));
    (!patch.is_empty()).then_some(Value::Object(patch))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_patch_makes_one_of_the_other() {
        let check = |before: Value, after: Value, expect: Option<Value>| {
            let patch = merge_patch(&before, &after);
            assert_eq!(patch, expect);
            let made =
                patch.map_or_else(|| Ok(before.clone()), |patch| stead_api::patch::apply_merge_patch(&before, &patch));
            assert_eq!(made.unwrap(), after);
        };
        check(json!({"a": 1}), json!({"a": 1}), None);
        check(json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": 1, "d": 3}}), Some(json!({"a": {"c": null, "d": 3}})));
        check(json!({"l": [1, 2]}), json!({"l": [2]}), Some(json!({"l": [2]})));
        check(json!({"a": 1}), json!({}), Some(json!({"a": null})));
    }
}
