//! The walk itself: a serde seed for each type of the schema. What goes wrong is kept in [`Walk`], because the error types
//! of deserializers have no room for it.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::path::{Mismatch, Path};
use super::{DecodeError, MAX_DEPTH, MAX_PROBLEMS, Problem};
use crate::quantity::Quantity;
use crate::schema::{Empty, Field, Object, ObjectId, Schema, Type};

/// What a walk has found so far.
pub(super) struct Walk {
    schema: &'static Schema,
    pub(super) problems: Vec<Problem>,
    /// Set when the walk ended early.
    pub(super) error: Option<DecodeError>,
}

/// A value that is about to be read. Reads `None` for null.
pub(super) struct Node<'w> {
    walk: &'w mut Walk,
    path: &'w Path<'w>,
    ty: &'static Type,
    /// The field that holds the value, itself or as an item of its list or map.
    holder: Option<(&'static Object, &'static Field)>,
}

impl Walk {
    pub(super) fn new(schema: &'static Schema) -> Self {
        Self { schema, problems: Vec::new(), error: None }
    }

    fn report(&mut self, problem: Problem) {
        if self.problems.len() < MAX_PROBLEMS && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }
}

impl<'w> Node<'w> {
    pub(super) fn root(walk: &'w mut Walk, path: &'w Path<'w>, ty: &'static Type) -> Self {
        Self { walk, path, ty, holder: None }
    }

    fn mismatch<E: Error>(self, found: impl fmt::Display, detail: impl fmt::Display) -> E {
        let schema = self.walk.schema;
        let target = match self.holder {
            Some((object, _)) => format!("struct field {}.{}", object.short_name(), self.path.render_fields()),
            None => "value".to_owned(),
        };
        let expected = match self.holder {
            Some((_, field)) if field.ty == *self.ty => field.go_type(schema),
            _ => self.ty.go_type(schema),
        };
        let field = self.path.render();
        let (found, detail) = (found.to_string(), detail.to_string());
        self.walk.error = Some(Mismatch { field, found, target, expected, detail }.into());
        E::custom("value of a wrong type")
    }

    fn integer<E: Error>(self, number: Number, fits: bool) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Int32 | Type::IntOrString if fits => Ok(Some(Value::Number(number))),
            Type::Int64 if number.is_i64() => Ok(Some(Value::Number(number))),
            Type::Number => Ok(Some(Value::Number(number))),
            Type::Quantity => self.quantity(&number.to_string(), "number"),
            Type::Int32 | Type::IntOrString | Type::Int64 => Err(self.mismatch(format_args!("number {number}"), "")),
            _ => Err(self.mismatch("number", "")),
        }
    }

    fn text<E: Error>(self, text: &str, owned: impl FnOnce() -> String) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Text | Type::IntOrString => Ok(Some(Value::String(owned()))),
            Type::Quantity => self.quantity(text, "string"),
            Type::Time => self.time(text, print_seconds),
            Type::MicroTime => self.time(text, |time| format!("{time:.6}")),
            Type::Bytes => match base64::Engine::decode(&base64::engine::general_purpose::STANDARD, text) {
                Ok(_) => Ok(Some(Value::String(owned()))),
                Err(error) => Err(self.mismatch("string", error)),
            },
            _ => Err(self.mismatch("string", "")),
        }
    }

    fn quantity<E: Error>(self, text: &str, found: &str) -> Result<Option<Value>, E> {
        match text.parse::<Quantity>() {
            Ok(quantity) => Ok(Some(Value::String(quantity.to_string()))),
            Err(error) => Err(self.mismatch(found, error)),
        }
    }

    fn time<E: Error>(self, text: &str, print: impl FnOnce(Timestamp) -> String) -> Result<Option<Value>, E> {
        match text.parse::<Timestamp>() {
            Ok(time) => Ok(Some(Value::String(print(time)))),
            Err(_) => {
                let detail = format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\" failed");
                Err(self.mismatch("string", detail))
            }
        }
    }

    /// What null stands for as an item of a list or map.
    fn zero(ty: &Type) -> Value {
        match ty {
            Type::Object(_) | Type::Map(_) => Value::Object(Map::new()),
            Type::List(_) => Value::Array(Vec::new()),
            Type::Text | Type::Bytes => Value::String(String::new()),
            Type::Quantity => Value::String("0".to_owned()),
            Type::Int32 | Type::Int64 | Type::Number | Type::IntOrString => Value::from(0),
            Type::Boolean => Value::Bool(false),
            Type::Time | Type::MicroTime | Type::Any => Value::Null,
        }
    }

    fn object<'de, A: MapAccess<'de>>(self, id: ObjectId, mut entries: A) -> Result<Option<Value>, A::Error> {
        let Self { walk, path, .. } = self;
        let object = walk.schema.resolve(id);
        let mut map = Map::new();
        let mut seen = 0_u128;
        while let Some(key) = entries.next_key_seed(FieldKey(object))? {
            let index = match key {
                Ok(index) => index,
                Err(unknown) => {
                    entries.next_value::<IgnoredAny>()?;
                    walk.report(Problem::UnknownField(path.field(&unknown).render()));
                    continue;
                }
            };
            let field = &object.fields[index];
            let path = path.field(&field.name);
            if seen & (1 << index) != 0 {
                walk.report(Problem::DuplicateField(path.render()));
                map.remove(&field.name);
            }
            seen |= 1 << index;
            let node = Node { walk, path: &path, ty: &field.ty, holder: Some((object, field)) };
            match entries.next_value_seed(node)? {
                Some(value) if field.empty == Empty::Kept || !is_empty(&value) => {
                    map.insert(field.name.clone(), value);
                }
                _ => {}
            }
        }
        Ok(Some(Value::Object(map)))
    }

    fn map<'de, A: MapAccess<'de>>(self, item: &'static Type, mut entries: A) -> Result<Option<Value>, A::Error> {
        let Self { walk, path, holder, .. } = self;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let path = path.key(&key);
            if map.contains_key(&key) {
                walk.report(Problem::DuplicateField(path.render()));
            }
            let value = entries.next_value_seed(Node { walk, path: &path, ty: item, holder })?;
            map.insert(key, value.unwrap_or_else(|| Self::zero(item)));
        }
        Ok(Some(Value::Object(map)))
    }
}

/// The second that `time` is in: Go's `Time` forgets the rest.
fn print_seconds(time: Timestamp) -> String {
    let nanoseconds = time.as_nanosecond().div_euclid(1_000_000_000) * 1_000_000_000;
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(time).to_string()
}

/// Empty in the sense of Go's `omitempty`.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Value>, D::Error> {
        if self.path.depth > MAX_DEPTH {
            self.walk.error = Some(DecodeError::TooDeep { field: self.path.render() });
            return Err(D::Error::custom("nests too deep"));
        }
        match self.ty {
            Type::Any => Ok(Some(Value::deserialize(deserializer)?).filter(|value| !value.is_null())),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_none<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Boolean => Ok(Some(Value::Bool(value))),
            _ => Err(self.mismatch("bool", "")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Value>, E> {
        self.integer(value.into(), i32::try_from(value).is_ok())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Value>, E> {
        self.integer(value.into(), i32::try_from(value).is_ok())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Value>, E> {
        match (self.ty, Number::from_f64(value)) {
            (Type::Number, Some(number)) => Ok(Some(Value::Number(number))),
            (Type::Quantity, _) => self.quantity(&value.to_string(), "number"),
            (Type::Int32 | Type::Int64 | Type::IntOrString, _) => {
                Err(self.mismatch(format_args!("number {value:?}"), ""))
            }
            _ => Err(self.mismatch("number", "")),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Option<Value>, E> {
        self.text(text, || text.to_owned())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Option<Value>, E> {
        match self.ty {
            Type::Text | Type::IntOrString => Ok(Some(Value::String(text))),
            _ => self.visit_str(&text),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Option<Value>, A::Error> {
        let Type::List(item) = self.ty else {
            return Err(self.mismatch("array", ""));
        };
        let Self { walk, path, holder, .. } = self;
        let mut list = Vec::new();
        loop {
            let path = path.index(list.len());
            match items.next_element_seed(Node { walk, path: &path, ty: item, holder })? {
                Some(value) => list.push(value.unwrap_or_else(|| Self::zero(item))),
                None => return Ok(Some(Value::Array(list))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Option<Value>, A::Error> {
        match self.ty {
            Type::Object(id) => self.object(*id, entries),
            Type::Map(item) => self.map(item, entries),
            _ => Err(self.mismatch("object", "")),
        }
    }
}

/// Reads a key as the index of a field, or as the unknown key itself.
struct FieldKey(&'static Object);

impl<'de> DeserializeSeed<'de> for FieldKey {
    type Value = Result<usize, String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldKey {
    type Value = Result<usize, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_index(key).ok_or_else(|| key.to_owned()))
    }
}
