//! Field selectors: `metadata.name=web,spec.clusterIP!=None`, where `\` escapes `\`, `,` and `=` in values.

use std::fmt;

use super::SelectorError;

/// Terms that must all hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    terms: Vec<FieldTerm>,
}

/// What one field must be, or must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub value: String,
    /// The term is `FIELD!=VALUE`.
    pub negated: bool,
}

impl FieldSelector {
    /// Terms are kept in the order of their text.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parts = split_terms(text);
        parts.sort_unstable();
        let terms = parts.into_iter().filter(|part| !part.is_empty()).map(|part| term(text, part));
        Ok(Self { terms: terms.collect::<Result<_, _>>()? })
    }

    pub fn terms(&self) -> &[FieldTerm] {
        &self.terms
    }

    /// Everything matches.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value that this field must have, if the selector fixes one: a watch on `metadata.name` is of one object.
    pub fn required(&self, field: &str) -> Option<&str> {
        self.terms.iter().find(|term| !term.negated && term.field == field).map(|term| term.value.as_str())
    }

    /// An unknown field has the empty value.
    pub(super) fn matches_by(&self, lookup: impl Fn(&str) -> Option<String>) -> bool {
        self.terms.iter().all(|term| (lookup(&term.field).unwrap_or_default() == term.value) != term.negated)
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            let separator = if index > 0 { "," } else { "" };
            let operator = if term.negated { "!=" } else { "=" };
            let value = term.value.replace('\\', r"\\").replace(',', r"\,").replace('=', r"\=");
            write!(f, "{separator}{}{operator}{value}", term.field)?;
        }
        Ok(())
    }
}

fn split_terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (index, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

fn term(selector: &str, part: &str) -> Result<FieldTerm, SelectorError> {
    let operator = part.find("!=").into_iter().chain(part.find('=')).min();
    let Some((field, rest)) = operator.map(|at| part.split_at(at)) else {
        return Err(SelectorError::Term { selector: selector.to_owned(), term: part.to_owned() });
    };
    let negated = rest.starts_with('!');
    let value = ["!=", "==", "="].iter().find_map(|operator| rest.strip_prefix(operator)).unwrap_or_default();
    Ok(FieldTerm { field: field.to_owned(), value: unescape(value)?, negated })
}

fn unescape(text: &str) -> Result<String, SelectorError> {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some(escaped @ ('\\' | ',' | '=')) => value.push(escaped),
                other => {
                    let sequence = std::iter::once('\\').chain(other).collect();
                    return Err(SelectorError::Escape { sequence });
                }
            },
            ',' | '=' => return Err(SelectorError::Unescaped { character }),
            _ => value.push(character),
        }
    }
    Ok(value)
}
