//! From a message to the value that its JSON would give, by the table of numbers and the schema's types.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use serde_json::{Map, Number, Value};

use super::table::{self, Slot};
use super::{ProtobufError, bytes, text, wrong_type};
use crate::decode::MAX_DEPTH;
use crate::schema::{Object, Schema, Type};
use crate::wire::{Fields, RawValue};

type Read<T> = Result<T, ProtobufError>;

/// The object of `definition` that `message` is.
pub(super) fn read(message: &[u8], definition: &str) -> Read<Map<String, Value>> {
    let object = Schema::get().object(definition);
    let object = object.ok_or_else(|| ProtobufError::NoTable { definition: definition.to_owned() })?;
    let mut map = Map::new();
    fields(message, definition, object, &mut map, 0)?;
    Ok(map)
}

/// Reads the fields of `message`, numbered as those of `numbers`, into `map`. All of them are fields of `object`.
fn fields(message: &[u8], numbers: &str, object: &Object, map: &mut Map<String, Value>, depth: usize) -> Read<()> {
    if depth > MAX_DEPTH {
        return Err(ProtobufError::TooDeep);
    }
    let table = table::message(numbers).ok_or_else(|| ProtobufError::NoTable { definition: numbers.to_owned() })?;
    for field in Fields::of(message) {
        let (number, value) = field?;
        match table.slot(number) {
            Some(Slot::Field(name)) => {
                let Some(field) = object.field(name) else { continue };
                take(value, &field.ty, name, map, depth)?;
            }
            Some(Slot::Inline(inlined)) => fields(bytes(value, inlined)?, inlined, object, map, depth + 1)?,
            None => {}
        }
    }
    Ok(())
}

/// One occurrence of a field: items of lists and maps come one by one, objects are read into what is there of them.
fn take(value: RawValue<'_>, ty: &Type, name: &str, map: &mut Map<String, Value>, depth: usize) -> Read<()> {
    match ty {
        Type::List(item) => {
            let slot = map.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Value::Array(list) = slot else { return Ok(()) };
            match (value, &**item) {
                (RawValue::Bytes(packed), Type::Int32 | Type::Int64 | Type::Boolean) => {
                    for number in Fields::packed(packed) {
                        list.push(number_of(number?, item));
                    }
                }
                _ => list.push(single(value, item, name, depth)?),
            }
        }
        Type::Map(item) => {
            let slot = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(entries) = slot else { return Ok(()) };
            let (key, value) = entry(bytes(value, name)?, item, name, depth)?;
            entries.insert(key, value);
        }
        Type::Object(id) => {
            let slot = map.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(inner) = slot else { return Ok(()) };
            let object = Schema::get().resolve(*id);
            fields(bytes(value, name)?, &object.definition, object, inner, depth + 1)?;
        }
        _ => {
            let value = single(value, ty, name, depth)?;
            map.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// An entry of a map. A list as its value is a message of its own with the items.
fn entry(message: &[u8], item: &Type, name: &str, depth: usize) -> Read<(String, Value)> {
    let mut key = String::new();
    let mut found = None;
    for field in Fields::of(message) {
        match field? {
            (1, value) => text(value, name)?.clone_into(&mut key),
            (2, value) => found = Some(value),
            _ => {}
        }
    }
    let value = match (found, item) {
        (Some(value), Type::List(inner)) => {
            let mut items = Vec::new();
            for field in Fields::of(bytes(value, name)?) {
                if let (1, value) = field? {
                    items.push(single(value, inner, name, depth + 1)?);
                }
            }
            Value::Array(items)
        }
        (Some(value), _) => single(value, item, name, depth + 1)?,
        (None, _) => single(empty(item), item, name, depth + 1)?,
    };
    Ok((key, value))
}

/// What stands for a value that is not written.
const fn empty(ty: &Type) -> RawValue<'static> {
    match ty {
        Type::Int32 | Type::Int64 | Type::Boolean => RawValue::Varint(0),
        Type::Number => RawValue::Fixed64(0),
        _ => RawValue::Bytes(&[]),
    }
}

/// A value that is no list or map.
fn single(value: RawValue<'_>, ty: &Type, name: &str, depth: usize) -> Read<Value> {
    Ok(match ty {
        Type::Text => text(value, name)?.into(),
        Type::Bytes => BASE64_STANDARD.encode(bytes(value, name)?).into(),
        Type::Int32 | Type::Int64 | Type::Boolean => {
            number_of(value.varint().map_err(|wrong| wrong_type(wrong, name))?, ty)
        }
        Type::Number => match value {
            RawValue::Fixed64(bits) => Number::from_f64(f64::from_bits(bits)).into(),
            other => return Err(wrong_type(other.wrong(), name)),
        },
        Type::IntOrString => int_or_string(bytes(value, name)?, name)?,
        Type::Quantity => first_text(bytes(value, name)?, name)?.into(),
        Type::Time => time(bytes(value, name)?, name, Precision::Seconds)?,
        Type::MicroTime => time(bytes(value, name)?, name, Precision::Microseconds)?,
        Type::Any => raw_json(bytes(value, name)?, name)?,
        Type::Object(id) => {
            let object = Schema::get().resolve(*id);
            let mut map = Map::new();
            fields(bytes(value, name)?, &object.definition, object, &mut map, depth + 1)?;
            Value::Object(map)
        }
        Type::List(_) | Type::Map(_) => Value::Null,
    })
}

fn number_of(number: u64, ty: &Type) -> Value {
    match ty {
        Type::Boolean => (number != 0).into(),
        // Negative numbers are written in 64 bits, whatever their type.
        Type::Int32 => (number as i32).into(),
        _ => (number as i64).into(),
    }
}

/// A number, or a text where the first field says so.
fn int_or_string(message: &[u8], name: &str) -> Read<Value> {
    let (mut is_text, mut number, mut string) = (false, 0, "");
    for field in Fields::of(message) {
        match field? {
            (1, value) => is_text = value.varint().map_err(|wrong| wrong_type(wrong, name))? == 1,
            (2, value) => number = value.varint().map_err(|wrong| wrong_type(wrong, name))?,
            (3, value) => string = text(value, name)?,
            _ => {}
        }
    }
    Ok(if is_text { string.into() } else { (number as i32).into() })
}

fn first_text<'a>(message: &'a [u8], name: &str) -> Read<&'a str> {
    let mut found = "";
    for field in Fields::of(message) {
        if let (1, value) = field? {
            found = text(value, name)?;
        }
    }
    // The message of no amount at all is empty.
    Ok(if found.is_empty() { "0" } else { found })
}

/// What of a time is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Seconds,
    Microseconds,
}

/// No time at all is an empty message.
fn time(message: &[u8], name: &str, precision: Precision) -> Read<Value> {
    if message.is_empty() {
        return Ok(Value::Null);
    }
    let (mut seconds, mut nanoseconds) = (0, 0);
    for field in Fields::of(message) {
        match field? {
            (1, value) => seconds = value.varint().map_err(|wrong| wrong_type(wrong, name))? as i64,
            (2, value) => nanoseconds = value.varint().map_err(|wrong| wrong_type(wrong, name))? as i32,
            _ => {}
        }
    }
    let impossible = |_| ProtobufError::Time { field: name.to_owned() };
    match precision {
        Precision::Seconds => Ok(Timestamp::new(seconds, 0).map_err(impossible)?.to_string().into()),
        Precision::Microseconds => {
            let time = Timestamp::new(seconds, nanoseconds / 1_000 * 1_000).map_err(impossible)?;
            Ok(format!("{time:.6}").into())
        }
    }
}

/// JSON within a message.
fn raw_json(message: &[u8], name: &str) -> Read<Value> {
    for field in Fields::of(message) {
        if let (1, value) = field? {
            let json = bytes(value, name)?;
            return serde_json::from_slice(json)
                .map_err(|error| ProtobufError::Json { field: name.to_owned(), problem: error.to_string() });
        }
    }
    Ok(Value::Null)
}
