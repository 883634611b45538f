//! From text to a canonical `Value`, in one pass against the [`Schema`]: what is unknown or given twice is reported with its
//! path, what has the wrong type is an error that names field and types, in upstream's words.
//!
//! Canonical means: no nulls, no unknown fields, no empty values where empty and unset are the same, quantities in their
//! shortest form, times in UTC. Whether reports become errors or warnings, and whether kind and version fit the path, is
//! the API server's to decide; whether values make sense is each kind's.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer};
use serde_json::Value;

use crate::schema::{Schema, Type};

mod path;
mod walk;

pub use path::Mismatch;
use path::Path;
use walk::{Node, Walk};

/// Objects nest at most this deep.
pub const MAX_DEPTH: usize = 128;
/// More problems of one object are not reported.
const MAX_PROBLEMS: usize = 100;

/// An object as it is stored, and what in its text is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub value: Value,
    /// In the order of the text, each once, at most 100.
    pub problems: Vec<Problem>,
}

/// Something in the text that has no effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A path such as `spec.ports[0].foo`.
    UnknownField(String),
    /// A path; its last value counts.
    DuplicateField(String),
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum DecodeError {
    #[error("{problem}")]
    Syntax { problem: String },
    #[error(transparent)]
    Type(#[from] Mismatch),
    #[error("{field} nests deeper than {MAX_DEPTH} levels")]
    TooDeep { field: String },
    #[error("no schema for {definition}")]
    NoSchema { definition: String },
}

/// Reads one JSON value as an object of `definition`.
pub fn decode(text: &[u8], definition: &str) -> Result<Decoded, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let decoded = decode_from(&mut deserializer, definition)?;
    deserializer.end().map_err(|error| DecodeError::Syntax { problem: error.to_string() })?;
    Ok(decoded)
}

/// The same for a value that is there already, such as what a patch made.
pub fn prune(value: Value, definition: &str) -> Result<Decoded, DecodeError> {
    decode_from(value, definition)
}

/// The same for any self-describing text.
pub fn decode_from<'de, D: Deserializer<'de>>(deserializer: D, definition: &str) -> Result<Decoded, DecodeError> {
    let schema = Schema::get();
    let ty = schema.object_type(definition);
    let ty = ty.ok_or_else(|| DecodeError::NoSchema { definition: definition.to_owned() })?;
    let mut walk = Walk::new(schema);
    let root = Path::root();
    match Node::root(&mut walk, &root, ty).deserialize(deserializer) {
        Ok(Some(value)) => Ok(Decoded { value, problems: walk.problems }),
        Ok(None) => Ok(Decoded { value: Value::Object(Default::default()), problems: walk.problems }),
        Err(error) => Err(walk.error.take().unwrap_or_else(|| DecodeError::Syntax { problem: error.to_string() })),
    }
}

impl Decoded {
    /// What strict validation answers: `strict decoding error: unknown field "spec.foo", …`.
    pub fn strict_error(&self) -> Option<String> {
        if self.problems.is_empty() {
            return None;
        }
        let list = self.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some(format!("strict decoding error: {list}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownField(path) => write!(f, "unknown field \"{path}\""),
            Self::DuplicateField(path) => write!(f, "duplicate field \"{path}\""),
        }
    }
}

impl Schema {
    pub(crate) fn object_type(&'static self, definition: &str) -> Option<&'static Type> {
        self.roots.get(definition)
    }
}

#[cfg(test)]
mod tests;
