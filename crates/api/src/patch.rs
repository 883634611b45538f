//! Changing an object by what a client sends: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.
//!
//! A patch gives a new value or an error that names the path; the old value stays as it was. What comes out is not yet
//! canonical nor checked: it goes through [`decode::prune`](crate::decode::prune) and the kind's validation. Conflicts with
//! other writers, and retries, are the API server's.

use serde_json::Value;

mod json;
mod merge;
mod order;
mod pointer;
mod strategic;

pub use json::apply as apply_json_patch;
pub use merge::apply as apply_merge_patch;
pub use strategic::apply as apply_strategic_merge_patch;

/// Operations in one JSON patch.
pub const MAX_OPERATIONS: usize = 10_000;
/// Bytes that the `copy` operations of one JSON patch may add.
const MAX_COPIED: usize = 3 << 20;

/// Go's name for what an object is read as.
const MAP: &str = "map[string]interface {}";

/// A way to write a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchType {
    Json,
    Merge,
    StrategicMerge,
}

/// What an error means for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchErrorClass {
    /// The patch itself is wrong: 400.
    Malformed,
    /// The patch does not fit the object: 422.
    Inapplicable,
    /// The patch is too big: 413.
    TooLarge,
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PatchError {
    #[error("error decoding patch: {problem}")]
    Syntax { problem: String },
    #[error("error decoding patch: json: cannot unmarshal {found} into Go value of type {expected}")]
    Shape { found: &'static str, expected: &'static str },
    /// The same of a strategic merge patch, which upstream reads elsewhere.
    #[error("json: cannot unmarshal {found} into Go value of type {MAP}")]
    NoMap { found: &'static str },
    /// A merge patch that is null.
    #[error("Invalid JSON Patch")]
    Nothing,
    #[error("operation {index}: {problem}")]
    Operation { index: usize, problem: OperationError },
    #[error("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}")]
    TooManyOperations { count: usize },
    #[error("unknown patch type: {found} at {path}")]
    UnknownDirective { path: String, found: Value },
    #[error("invalid patch format of retainKeys at {path}")]
    RetainKeys { path: String },
    #[error("invalid patch format of primitive list at {path}")]
    PrimitiveList { path: String },
    #[error("invalid patch format of setElementOrder list at {path}")]
    ElementOrder { path: String },
    #[error("map: {item} does not contain declared merge key: {key} at {path}")]
    NoMergeKey { path: String, item: Value, key: String },
    #[error("cannot merge lists without merge key for {path}")]
    NoKeyDeclared { path: String },
    #[error("no schema for {definition}")]
    NoSchema { definition: String },
}

/// Why one operation of a JSON patch cannot be done.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum OperationError {
    #[error("unexpected kind: {kind}")]
    UnknownKind { kind: String },
    #[error("{member} is missing")]
    MissingMember { member: &'static str },
    #[error("{pointer:?} is no JSON pointer")]
    BadPointer { pointer: String },
    #[error("{kind} operation does not apply: doc is missing path: {path}: missing value")]
    MissingPath { kind: &'static str, path: String },
    #[error("{kind} operation does not apply: {path}: invalid index")]
    BadIndex { kind: &'static str, path: String },
    #[error("testing path {path} failed: test failed")]
    TestFailed { path: String },
    #[error("move operation does not apply: {from} contains {path}")]
    MoveIntoItself { from: String, path: String },
    #[error("copied values add up to more than {MAX_COPIED} bytes")]
    CopiedTooMuch,
    #[error("{path} would nest too deep")]
    TooDeep { path: String },
}

impl PatchType {
    /// By the media type of the request body, without parameters.
    pub fn from_media_type(media_type: &str) -> Option<Self> {
        match media_type {
            "application/json-patch+json" => Some(Self::Json),
            "application/merge-patch+json" => Some(Self::Merge),
            "application/strategic-merge-patch+json" => Some(Self::StrategicMerge),
            _ => None,
        }
    }

    /// All media types a patch can have, that of server-side apply first, which is
    /// [`managed_fields`](crate::managed_fields)' and no `PatchType`.
    pub const MEDIA_TYPES: [&str; 4] = [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
        "application/strategic-merge-patch+json",
    ];

    /// What `object`, of `definition`, becomes by `patch`.
    pub fn apply(self, object: &Value, patch: &Value, definition: &str) -> Result<Value, PatchError> {
        match self {
            Self::Json => apply_json_patch(object, patch),
            Self::Merge => apply_merge_patch(object, patch),
            Self::StrategicMerge => apply_strategic_merge_patch(object, patch, definition),
        }
    }
}

/// What a value is, as Go names it.
fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Reads the text of a patch.
pub fn parse(text: &[u8]) -> Result<Value, PatchError> {
    serde_json::from_slice(text).map_err(|error| PatchError::Syntax { problem: error.to_string() })
}

impl PatchError {
    pub fn class(&self) -> PatchErrorClass {
        match self {
            Self::TooManyOperations { .. } => PatchErrorClass::TooLarge,
            Self::Operation { problem, .. } => match problem {
                OperationError::MissingMember { .. } | OperationError::BadPointer { .. } => PatchErrorClass::Malformed,
                _ => PatchErrorClass::Inapplicable,
            },
            _ => PatchErrorClass::Malformed,
        }
    }
}

#[cfg(test)]
mod tests;
