//! JSON pointers (RFC 6901): finding, adding and removing what they point to.

use serde_json::Value;

use super::OperationError;

/// A parsed pointer; no tokens point to the whole document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    text: String,
    pub(super) tokens: Vec<String>,
}

impl Pointer {
    pub(super) fn parse(text: &str) -> Result<Self, OperationError> {
        let bad = || OperationError::BadPointer { pointer: text.to_owned() };
        let mut tokens = Vec::new();
        if !text.is_empty() {
            for token in text.strip_prefix('/').ok_or_else(bad)?.split('/') {
                let escapes_well = token.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
                if !escapes_well {
                    return Err(bad());
                }
                tokens.push(token.replace("~1", "/").replace("~0", "~"));
            }
        }
        Ok(Self { text: text.to_owned(), tokens })
    }

    pub(super) fn contains(&self, other: &Self) -> bool {
        other.tokens.len() > self.tokens.len() && other.tokens.starts_with(&self.tokens)
    }

    pub(super) fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.tokens.iter().try_fold(document, |value, token| match value {
            Value::Object(map) => map.get(token),
            Value::Array(list) => list.get(index(token)?),
            _ => None,
        })
    }

    /// Inserts into a list, or sets in an object; `-` is the end of a list.
    pub(super) fn add(&self, document: &mut Value, value: Value, kind: &'static str) -> Result<(), OperationError> {
        let Some((last, parents)) = self.tokens.split_last() else {
            *document = value;
            return Ok(());
        };
        match find_mut(document, parents) {
            Some(Value::Object(map)) => {
                map.insert(last.clone(), value);
                Ok(())
            }
            Some(Value::Array(list)) => {
                let at = if last == "-" { Some(list.len()) } else { index(last) };
                match at.filter(|at| *at <= list.len()) {
                    Some(at) => list.insert(at, value),
                    None => return Err(OperationError::BadIndex { kind, path: self.text.clone() }),
                }
                Ok(())
            }
            _ => Err(self.missing(kind)),
        }
    }

    pub(super) fn replace(&self, document: &mut Value, value: Value) -> Result<(), OperationError> {
        match find_mut(document, &self.tokens) {
            Some(place) => {
                *place = value;
                Ok(())
            }
            None => Err(self.missing("replace")),
        }
    }

    pub(super) fn remove(&self, document: &mut Value, kind: &'static str) -> Result<Value, OperationError> {
        let Some((last, parents)) = self.tokens.split_last() else {
            return Ok(document.take());
        };
        let removed = match find_mut(document, parents) {
            Some(Value::Object(map)) => map.remove(last),
            Some(Value::Array(list)) => index(last).filter(|at| *at < list.len()).map(|at| list.remove(at)),
            _ => None,
        };
        removed.ok_or_else(|| self.missing(kind))
    }

    pub(super) fn missing(&self, kind: &'static str) -> OperationError {
        OperationError::MissingPath { kind, path: self.text.clone() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

fn find_mut<'a>(document: &'a mut Value, tokens: &[String]) -> Option<&'a mut Value> {
    tokens.iter().try_fold(document, |value, token| match value {
        Value::Object(map) => map.get_mut(token),
        Value::Array(list) => list.get_mut(index(token)?),
        _ => None,
    })
}

/// Digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|b| b.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    token.parse().ok().filter(|_| digits)
}
