//! A list of field errors in the making, with the checks that many fields share.

use std::fmt::Display;

use serde_json::Value;

use super::value::{at, number, text};
use crate::field::FieldError;

const NON_NEGATIVE: &str = "must be greater than or equal to 0";

/// Errors in the order they were found.
#[derive(Debug, Default)]
pub(crate) struct Errors(Vec<FieldError>);

impl Errors {
    pub(crate) fn into_vec(self) -> Vec<FieldError> {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn push(&mut self, error: FieldError) {
        self.0.push(error);
    }

    pub(crate) fn extend(&mut self, errors: impl IntoIterator<Item = FieldError>) {
        self.0.extend(errors);
    }

    pub(crate) fn invalid(&mut self, field: impl Into<String>, value: &Value, problem: impl Display) {
        self.push(FieldError::invalid(field, value, problem));
    }

    /// One error for each problem with a text.
    pub(crate) fn invalid_text(&mut self, field: &str, text: &str, problems: impl IntoIterator<Item = String>) {
        for problem in problems {
            self.push(FieldError::invalid(field, format!("{text:?}"), problem));
        }
    }

    pub(crate) fn required(&mut self, field: impl Into<String>) {
        self.push(FieldError::required(field, ""));
    }

    pub(crate) fn forbidden(&mut self, field: impl Into<String>, detail: impl Display) {
        self.push(FieldError::forbidden(field, detail));
    }

    pub(crate) fn duplicate(&mut self, field: impl Into<String>, value: &Value) {
        self.push(FieldError::duplicate(field, value));
    }

    /// A text that must be there and be one of `supported`, in the order in which upstream lists them.
    pub(crate) fn one_of(&mut self, field: impl Into<String>, text: &str, supported: &[&str]) {
        if text.is_empty() {
            self.required(field);
        } else {
            self.supported(field, text, supported);
        }
    }

    /// The same for a field that tells the empty text from none: it is one more that is not supported.
    pub(crate) fn supported(&mut self, field: impl Into<String>, text: &str, supported: &[&str]) {
        if !supported.contains(&text) {
            self.push(FieldError::not_supported(field, text, supported));
        }
    }

    /// A text that must be there and keep `rule`.
    pub(crate) fn named(&mut self, field: &str, text: &str, rule: fn(&str) -> Vec<String>) {
        if text.is_empty() {
            self.required(field);
        } else {
            self.invalid_text(field, text, rule(text));
        }
    }

    /// A text that may be absent and otherwise keeps `rule`.
    pub(crate) fn maybe_named(&mut self, field: &str, text: &str, rule: fn(&str) -> Vec<String>) {
        if !text.is_empty() {
            self.named(field, text, rule);
        }
    }

    /// The number at `pointer` of `object`, which may be absent and is not below 0.
    pub(crate) fn non_negative(&mut self, object: &Value, pointer: &str, field: impl Into<String>) {
        if number(object, pointer).is_some_and(|number| number < 0) {
            self.invalid(field, at(object, pointer), NON_NEGATIVE);
        }
    }

    /// A number from 1 to 65535.
    pub(crate) fn port(&mut self, object: &Value, pointer: &str, field: &str) {
        let port = number(object, pointer).unwrap_or_default();
        for problem in crate::names::port_number(port) {
            self.push(FieldError::invalid(field, port, problem));
        }
    }

    /// The number of a port, or the name of a container's port.
    pub(crate) fn port_or_name(&mut self, object: &Value, pointer: &str, field: &str) {
        if at(object, pointer).is_string() {
            let name = text(object, pointer);
            self.invalid_text(field, name, crate::names::port_name(name));
        } else {
            self.port(object, pointer, field);
        }
    }

    /// `pointer` is what it was: else `field is immutable`.
    pub(crate) fn immutable(&mut self, new: &Value, old: &Value, pointer: &str, field: impl Into<String>) {
        if at(new, pointer) != at(old, pointer) {
            self.invalid(field, at(new, pointer), "field is immutable");
        }
    }
}
