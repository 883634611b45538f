//! JSON patch (RFC 6902): all operations, or none.

use serde_json::Value;

use super::pointer::Pointer;
use super::{MAX_COPIED, MAX_OPERATIONS, OperationError, PatchError, kind_of};
use crate::decode::MAX_DEPTH;

/// What `document` becomes by the operations in the list `patch`; null has none.
pub fn apply(document: &Value, patch: &Value) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations.as_slice(),
        Value::Null => &[],
        other => return Err(PatchError::Shape { found: kind_of(other), expected: "[]handlers.jsonPatchOp" }),
    };
    if operations.len() > MAX_OPERATIONS {
        return Err(PatchError::TooManyOperations { count: operations.len() });
    }
    let mut state = State { document: document.clone(), copied: 0 };
    for (index, operation) in operations.iter().enumerate() {
        state.apply(operation).map_err(|problem| PatchError::Operation { index, problem })?;
    }
    Ok(state.document)
}

struct State {
    document: Value,
    /// Bytes that copies have added so far.
    copied: usize,
}

impl State {
    fn apply(&mut self, operation: &Value) -> Result<(), OperationError> {
        let kind = operation.get("op").and_then(Value::as_str).unwrap_or_default();
        let path = pointer(operation, "path")?;
        match kind {
            "add" => self.add(&path, value(operation)?.clone(), "add"),
            "remove" => path.remove(&mut self.document, "remove").map(drop),
            "replace" => {
                let value = value(operation)?.clone();
                check_depth(&path, &value)?;
                path.replace(&mut self.document, value)
            }
            "move" => {
                let from = pointer(operation, "from")?;
                if from.contains(&path) {
                    let (from, path) = (from.text().to_owned(), path.text().to_owned());
                    return Err(OperationError::MoveIntoItself { from, path });
                }
                let value = from.remove(&mut self.document, "move")?;
                self.add(&path, value, "move")
            }
            "copy" => {
                let from = pointer(operation, "from")?;
                let value = from.find(&self.document).ok_or_else(|| from.missing("copy"))?.clone();
                self.copied = self.copied.saturating_add(value.to_string().len());
                if self.copied > MAX_COPIED {
                    return Err(OperationError::CopiedTooMuch);
                }
                self.add(&path, value, "copy")
            }
            "test" => {
                let expected = value(operation)?;
                match path.find(&self.document) {
                    Some(found) if equal(found, expected) => Ok(()),
                    None if expected.is_null() => Ok(()),
                    _ => Err(OperationError::TestFailed { path: path.text().to_owned() }),
                }
            }
            _ => Err(OperationError::UnknownKind { kind: kind.to_owned() }),
        }
    }

    fn add(&mut self, path: &Pointer, value: Value, kind: &'static str) -> Result<(), OperationError> {
        check_depth(path, &value)?;
        path.add(&mut self.document, value, kind)
    }
}

fn pointer(operation: &Value, member: &'static str) -> Result<Pointer, OperationError> {
    let text = operation.get(member).and_then(Value::as_str).ok_or(OperationError::MissingMember { member })?;
    Pointer::parse(text)
}

fn value(operation: &Value) -> Result<&Value, OperationError> {
    operation.get("value").ok_or(OperationError::MissingMember { member: "value" })
}

/// Keeps copies of copies from nesting without bound.
fn check_depth(path: &Pointer, value: &Value) -> Result<(), OperationError> {
    if path.tokens.len() + depth(value) > MAX_DEPTH {
        return Err(OperationError::TooDeep { path: path.text().to_owned() });
    }
    Ok(())
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Numbers are equal by value, however they are written.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}
