//! Objects as Protocol Buffers, the form in which `kubectl` and controllers written in Go send many of them: read into the same
//! canonical `Value` that their JSON gives.
//!
//! A message names its fields by number alone. Which number is which field is a table of facts, `protobuf/fields.txt`; what a
//! field holds the [`Schema`](crate::schema) knows already, and what of it is kept [`decode`](crate::decode) decides, as
//! for any other text. Nothing is written in this form: clients that send it take JSON as answer.

use serde_json::Value;

use crate::decode::{DecodeError, Decoded, prune};
use crate::wire::{Fields, RawValue, WireError, Wrong};

mod message;
mod table;

/// The media type of such bodies.
pub const MEDIA_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";

/// An object in its envelope: what it says to be, and its message, not looked at yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// Empty where it is not stated.
    pub api_version: &'a str,
    pub kind: &'a str,
    message: &'a [u8],
}

/// Why bytes are no object. Texts are upstream's where it has them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtobufError {
    #[error("provided data does not appear to be a protobuf message, expected prefix {MAGIC:?}")]
    NoEnvelope,
    #[error("{0}")]
    Wire(String),
    #[error("proto: wrong wireType = {found} for field {field}")]
    WireType { field: String, found: u8 },
    #[error("{field} is no UTF-8")]
    Text { field: String },
    #[error("{field} holds no JSON: {problem}")]
    Json { field: String, problem: String },
    #[error("{field} is a point in time that no clock shows")]
    Time { field: String },
    #[error("messages nest too deep")]
    TooDeep,
    #[error("no table of fields for {definition}")]
    NoTable { definition: String },
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl<'a> Envelope<'a> {
    /// Opens a body.
    pub fn open(body: &'a [u8]) -> Result<Self, ProtobufError> {
        let unknown = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoEnvelope)?;
        let mut envelope = Self { api_version: "", kind: "", message: &[] };
        for field in Fields::of(unknown) {
            match field? {
                (1, value) => envelope.read_type(bytes(value, "TypeMeta")?)?,
                (2, value) => envelope.message = bytes(value, "Raw")?,
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_type(&mut self, type_meta: &'a [u8]) -> Result<(), ProtobufError> {
        for field in Fields::of(type_meta) {
            match field? {
                (1, value) => self.api_version = text(value, "APIVersion")?,
                (2, value) => self.kind = text(value, "Kind")?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The object as one of `definition`, without `apiVersion` and `kind`. Fields that no table names are passed over.
    pub fn decode(&self, definition: &str) -> Result<Decoded, ProtobufError> {
        let object = message::read(self.message, definition)?;
        Ok(prune(Value::Object(object), definition)?)
    }
}

fn bytes<'a>(value: RawValue<'a>, field: &str) -> Result<&'a [u8], ProtobufError> {
    value.bytes().map_err(|wrong| wrong_type(wrong, field))
}

fn text<'a>(value: RawValue<'a>, field: &str) -> Result<&'a str, ProtobufError> {
    std::str::from_utf8(bytes(value, field)?).map_err(|_| ProtobufError::Text { field: field.to_owned() })
}

fn wrong_type(wrong: Wrong, field: &str) -> ProtobufError {
    ProtobufError::WireType { field: field.to_owned(), found: wrong.0 }
}

impl From<WireError> for ProtobufError {
    fn from(error: WireError) -> Self {
        Self::Wire(error.to_string())
    }
}

#[cfg(test)]
mod tests;
