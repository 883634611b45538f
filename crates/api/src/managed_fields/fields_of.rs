//! The fields that a configuration states.

use std::collections::BTreeSet;

use serde_json::Value;

use super::path::PathElement;
use super::set::FieldSet;
use super::shape::{Atom, ItemError, Shape};

/// Why a configuration cannot be applied. The path is as upstream writes it: `.spec.ports`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("{path}: field not declared in schema")]
    Unknown { path: String },
    #[error("{path}: element {index}: {problem}")]
    Item { path: String, index: usize, problem: String },
    #[error("{path}: duplicate entries for key {key}")]
    Duplicate { path: String, key: String },
}

/// What is done with items of a list that share a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Duplicates {
    /// An error, as for unknown fields.
    Refused,
    Allowed,
}

/// The fields that `object` states.
pub(super) fn fields_of(object: &Value, shape: Shape<'_>, duplicates: Duplicates) -> Result<FieldSet, ConfigError> {
    let mut walk = Walk { set: FieldSet::default(), path: Vec::new(), duplicates };
    walk.visit(object, shape)?;
    Ok(walk.set)
}

struct Walk {
    set: FieldSet,
    path: Vec<PathElement>,
    duplicates: Duplicates,
}

impl Walk {
    fn visit(&mut self, value: &Value, shape: Shape<'_>) -> Result<(), ConfigError> {
        match (shape.atom(), value) {
            (Atom::Scalar | Atom::Whole, _) => self.set.insert(&self.path),
            (Atom::Struct(object), Value::Object(map)) => {
                for (name, value) in map {
                    let element = PathElement::field(name);
                    let Some(field) = object.field(name) else {
                        if self.duplicates == Duplicates::Allowed {
                            continue;
                        }
                        return Err(ConfigError::Unknown { path: format!("{}{element}", self.place()) });
                    };
                    self.path.push(element);
                    self.visit(value, Shape::of_field(field))?;
                    if is_empty_map(value) {
                        self.set.insert(&self.path);
                    }
                    self.path.pop();
                }
            }
            (Atom::Map(item), Value::Object(map)) => {
                for (name, value) in map {
                    self.path.push(PathElement::field(name));
                    self.visit(value, item)?;
                    self.set.insert(&self.path);
                    self.path.pop();
                }
            }
            (atom @ (Atom::Set(item) | Atom::Keyed(item, _)), Value::Array(list)) => self.items(list, &atom, item)?,
            _ => {}
        }
        Ok(())
    }

    fn items(&mut self, list: &[Value], atom: &Atom<'_>, item: Shape<'_>) -> Result<(), ConfigError> {
        let (mut seen, mut doubled) = (BTreeSet::new(), BTreeSet::new());
        let mut places = Vec::with_capacity(list.len());
        for (index, value) in list.iter().enumerate() {
            let place = match atom.place_of(value) {
                Ok(place) => place,
                Err(_) if self.duplicates == Duplicates::Allowed => continue,
                Err(problem) => return Err(self.item_error(index, &problem)),
            };
            if !seen.insert(place.clone()) {
                if self.duplicates == Duplicates::Refused {
                    return Err(ConfigError::Duplicate { path: self.place(), key: place.to_string() });
                }
                doubled.insert(place.clone());
            }
            places.push((place, value));
        }
        for (place, value) in places {
            let is_doubled = doubled.contains(&place);
            self.path.push(place);
            if !is_doubled {
                self.visit(value, item)?;
            }
            self.set.insert(&self.path);
            self.path.pop();
        }
        Ok(())
    }

    fn place(&self) -> String {
        self.path.iter().map(ToString::to_string).collect()
    }

    fn item_error(&self, index: usize, problem: &ItemError) -> ConfigError {
        ConfigError::Item { path: self.place(), index, problem: problem.to_string() }
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty)
}
