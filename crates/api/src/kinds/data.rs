//! What ConfigMaps and Secrets have in common: values by key, together not larger than a mebibyte, which may be made immutable.

use serde_json::Value;

use super::{
    errors::Errors,
    value::{at, is_true},
};
use crate::field::{FieldError, Reason};

/// Keys apart, all texts and bytes of an object together.
const MAX_SIZE: usize = 1024 * 1024;

/// How many bytes a base64 text stands for.
pub(super) fn decoded_length(text: &str) -> usize {
    text.trim_end_matches('=').len() * 3 / 4
}

/// Refuses more bytes than an object may hold. `field` is where upstream says so.
pub(super) fn validate_size(size: usize, field: &str, errors: &mut Errors) {
    if size > MAX_SIZE {
        let message = format!("Too long: may not be more than {MAX_SIZE} bytes");
        errors.push(FieldError::new(Reason::FieldValueTooLong, field, message));
    }
}

/// An immutable object keeps these fields as they are, and stays immutable.
pub(super) fn validate_immutable(new: &Value, old: &Value, fields: &[&str], errors: &mut Errors) {
    let detail = "field is immutable when `immutable` is set";
    if !is_true(old, "/immutable") {
        return;
    }
    if !is_true(new, "/immutable") {
        errors.forbidden("immutable", detail);
    }
    for field in fields {
        let pointer = format!("/{field}");
        if at(new, &pointer) != at(old, &pointer) {
            errors.forbidden(*field, detail);
        }
    }
}
