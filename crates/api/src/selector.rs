//! Which objects a client or another object means: label selectors and field selectors, parsed and matched.
//!
//! Errors are upstream's words, for the API server to answer with. Which fields of a kind can be selected is its strategy's
//! to say; `metadata.name` and `metadata.namespace` always can.

use serde_json::{Map, Value};

use crate::field::FieldError;
use crate::meta;
use crate::names::{label_value, qualified_name};
use crate::resource::Resource;

mod fields;
mod object;
mod parse;

pub use fields::{FieldSelector, FieldTerm};
pub(crate) use object::validate_requirement;
pub use object::{parse_label_selector, validate_label_selector};

/// Requirements on labels, all of which must hold. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// A requirement on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub key: String,
    pub operator: Operator,
}

/// How a label relates to values. Values are sorted and without doubles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    In(Vec<String>),
    /// Holds also where the label is missing.
    NotIn(Vec<String>),
    Exists,
    DoesNotExist,
    GreaterThan(i64),
    LessThan(i64),
}

#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum SelectorError {
    #[error("unable to parse requirement: {0}")]
    Requirement(#[source] Box<SelectorError>),
    #[error("found '{found}', expected: {expected}")]
    Unexpected { found: String, expected: &'static str },
    /// There are no values behind `in` or `notin`.
    #[error("found '{found}' expected: '('")]
    Unopened { found: String },
    #[error("{0}")]
    Invalid(FieldError),
    #[error("{operator:?} is not a valid label selector operator")]
    Operator { operator: String },
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {sequence}")]
    Escape { sequence: String },
    #[error("invalid field selector: unescaped character in value: {}", u32::from(*.character))]
    Unescaped { character: char },
    #[error("field label not supported: {field}")]
    UnknownField { field: String },
    /// The kind has no selectable fields of its own.
    #[error("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")]
    NotMetadata { field: String },
}

impl Selector {
    /// Parses `a=b,c!=d,e in (f,g),!h` and the like; see the `labelSelector` parameter.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        parse::parse(text).map(|requirements| Self { requirements })
    }

    pub fn new(requirements: Vec<Requirement>) -> Self {
        Self { requirements }
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Everything matches.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// `labels` as `metadata.labels` has them.
    pub fn matches(&self, labels: Option<&Map<String, Value>>) -> bool {
        self.matches_by(|key| labels?.get(key)?.as_str())
    }

    /// The same for labels that `lookup` finds.
    pub fn matches_by<'a>(&self, lookup: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| requirement.operator.holds(lookup(&requirement.key)))
    }
}

impl FieldSelector {
    /// The selector with `spec.nodeName` and the like known to `resource`; fails at the first that is not.
    pub fn validate(&self, resource: &Resource) -> Result<(), SelectorError> {
        let own = resource.strategy.selectable_fields();
        let known = |field: &str| match field {
            "metadata.name" => true,
            "metadata.namespace" => resource.namespaced || own.is_empty(),
            field => own.contains(&field),
        };
        match self.terms().iter().find(|term| !known(&term.field)) {
            Some(term) if own.is_empty() => Err(SelectorError::NotMetadata { field: term.field.clone() }),
            Some(term) => Err(SelectorError::UnknownField { field: term.field.clone() }),
            None => Ok(()),
        }
    }

    /// `object` is of `resource`, which knows all fields of this selector.
    pub fn matches(&self, resource: &Resource, object: &Value) -> bool {
        self.matches_by(|field| match field {
            "metadata.name" => Some(meta::name(object).to_owned()),
            "metadata.namespace" => Some(meta::namespace(object).to_owned()),
            _ => resource.strategy.selectable_field(object, field),
        })
    }
}

impl Requirement {
    /// Fails when key or values could not be a label's.
    pub fn new(key: &str, operator: Operator) -> Result<Self, SelectorError> {
        let problems = qualified_name(key);
        if !problems.is_empty() {
            return Err(SelectorError::Invalid(FieldError::invalid("key", format!("{key:?}"), problems.join("; "))));
        }
        if let Operator::In(values) | Operator::NotIn(values) = &operator {
            for (index, value) in values.iter().enumerate() {
                let problems = label_value(value);
                if !problems.is_empty() {
                    let field = format!("values[{index}][{key}]");
                    return Err(SelectorError::Invalid(FieldError::invalid(
                        field,
                        format!("{value:?}"),
                        problems.join("; "),
                    )));
                }
            }
        }
        Ok(Self { key: key.to_owned(), operator })
    }
}

impl Operator {
    pub fn holds(&self, value: Option<&str>) -> bool {
        let number = || value?.parse::<i64>().ok();
        match self {
            Self::In(values) => value.is_some_and(|value| values.iter().any(|v| v == value)),
            Self::NotIn(values) => value.is_none_or(|value| values.iter().all(|v| v != value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::GreaterThan(limit) => number().is_some_and(|n| n > *limit),
            Self::LessThan(limit) => number().is_some_and(|n| n < *limit),
        }
    }
}

impl std::fmt::Display for Selector {
    /// As it could be parsed again, and as `status.selector` of a Scale has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, Requirement { key, operator }) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match operator {
                Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
                Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
                Operator::NotIn(values) if values.len() == 1 => write!(f, "{key}!={}", values[0]),
                Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
                Operator::Exists => f.write_str(key),
                Operator::DoesNotExist => write!(f, "!{key}"),
                Operator::GreaterThan(limit) => write!(f, "{key}>{limit}"),
                Operator::LessThan(limit) => write!(f, "{key}<{limit}"),
            }?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
