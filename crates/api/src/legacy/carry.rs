//! Fields that two versions both have, carried from one to the other by a list of names. Null is carried as absence.

use serde_json::{Map, Value};

use crate::quantity::Quantity;

/// What a field is called in the older version and in v1. What it holds means the same in both.
pub(super) type Same = &'static [(&'static str, &'static str)];

/// An object with v1's names.
pub(super) fn forward(old: &Value, same: Same) -> Value {
    let pairs = same.iter().filter_map(|(from, to)| taken(old, from, to));
    Value::Object(pairs.collect())
}

/// An object with the older version's names.
pub(super) fn backward(new: &Value, same: Same) -> Value {
    let pairs = same.iter().filter_map(|(to, from)| taken(new, from, to));
    Value::Object(pairs.collect())
}

fn taken(object: &Value, from: &str, to: &str) -> Option<(String, Value)> {
    object.get(from).filter(|value| !value.is_null()).map(|value| (to.to_owned(), value.clone()))
}

/// A port whose protocol is written as v1 does: it was read in any case.
pub(super) fn with_protocol(mut port: Value) -> Value {
    if let Some(protocol) = port.get_mut("protocol") {
        *protocol = protocol.as_str().unwrap_or_default().to_uppercase().into();
    }
    port
}

/// Sets `key` unless the value says nothing: null, nothing in it, 0, false.
pub(super) fn put(object: &mut Value, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let is_empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    };
    if let (false, Some(fields)) = (is_empty, object.as_object_mut()) {
        fields.insert(key.to_owned(), value);
    }
}

/// Each item of the list at `key`, turned; nothing where one cannot be said.
pub(super) fn each(object: &Value, key: &str, turn: impl Fn(&Value) -> Option<Value>) -> Value {
    object.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(turn).collect()
}

/// The part of an object under `key`, turned; null where it is absent.
pub(super) fn part(object: &Value, key: &str, turn: impl Fn(&Value) -> Value) -> Value {
    object.get(key).filter(|part| part.is_object()).map_or(Value::Null, turn)
}

/// Amounts as v1 writes them, as the older version did: processors in cores, as a text, all else in whole units.
pub(super) fn amounts(resources: &Value) -> Value {
    let mut amounts = Map::new();
    for (name, amount) in resources.as_object().into_iter().flatten() {
        let Some(nanos) = nanos(amount) else { continue };
        let amount = match name.as_str() {
            "cpu" => Value::String((thousandths(nanos) as f64 / 1000.0).to_string()),
            _ => whole(nanos).into(),
        };
        amounts.insert(name.clone(), amount);
    }
    Value::Object(amounts)
}

/// The amount in units of 10⁻⁹.
pub(super) fn nanos(amount: &Value) -> Option<i128> {
    amount.as_str()?.parse::<Quantity>().ok().map(Quantity::nanos)
}

pub(super) fn thousandths(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(1_000_000) + i128::from(nanos.rem_euclid(1_000_000) > 0)).unwrap_or(i64::MAX)
}

pub(super) fn whole(nanos: i128) -> i64 {
    i64::try_from(nanos.div_euclid(1_000_000_000) + i128::from(nanos.rem_euclid(1_000_000_000) > 0)).unwrap_or(i64::MAX)
}
