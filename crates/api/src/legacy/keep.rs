//! What an update by an older version leaves alone: all that this version cannot say of the stored object.

use serde_json::Value;

/// `new` with what `stored` has and `said` does not. `said` is the part of `stored` that the older version can say, so
/// that what is in it and not in `new` was taken out on purpose.
pub(super) fn unsaid(mut new: Value, stored: &Value, said: &Value) -> Value {
    fill(&mut new, stored, said);
    new
}

fn fill(new: &mut Value, stored: &Value, said: &Value) {
    match (new, stored, said) {
        (Value::Object(new), Value::Object(stored), Value::Object(said)) => {
            for (key, value) in stored {
                match (new.get_mut(key), said.get(key)) {
                    (None, None) => {
                        new.insert(key.clone(), value.clone());
                    }
                    (Some(kept), Some(said)) => fill(kept, value, said),
                    (Some(_), None) | (None, Some(_)) => {}
                }
            }
        }
        // Items that are still in their places.
        (Value::Array(new), Value::Array(stored), Value::Array(said))
            if new.len() == stored.len() && said.len() == stored.len() =>
        {
            for ((new, stored), said) in new.iter_mut().zip(stored).zip(said) {
                if new.get("name") == stored.get("name") {
                    fill(new, stored, said);
                }
            }
        }
        _ => {}
    }
}
