//! `spec.strategy` of a Deployment.

use serde_json::Value;

use super::super::{
    errors::Errors,
    value::{at, is_set, text},
};
use crate::field::FieldError;

const ROOT: &str = "spec.strategy";
const BAD_PERCENT: &str = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or \
    '93%', regex used for validation is '[0-9]+%')";

pub(super) fn validate(strategy: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    match text(strategy, "/type") {
        "Recreate" if is_set(strategy, "/rollingUpdate") => {
            let detail = "may not be specified when strategy `type` is 'Recreate'";
            errors.forbidden(format!("{ROOT}.rollingUpdate"), detail);
        }
        "Recreate" => {}
        "RollingUpdate" => validate_rolling_update(at(strategy, "/rollingUpdate"), &mut errors),
        other => {
            let field = format!("{ROOT}.type");
            errors.push(FieldError::not_supported(field, other, &["Recreate", "RollingUpdate"]));
        }
    }
    errors.into_vec()
}

fn validate_rolling_update(rolling: &Value, errors: &mut Errors) {
    let field = |name: &str| format!("{ROOT}.rollingUpdate.{name}");
    for name in ["maxUnavailable", "maxSurge"] {
        validate_amount(at(rolling, &format!("/{name}")), &field(name), errors);
    }
    let (unavailable, surge) = (at(rolling, "/maxUnavailable"), at(rolling, "/maxSurge"));
    if amount(unavailable) == Some(0) && amount(surge) == Some(0) {
        errors.invalid(field("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0");
    }
    if unavailable.is_string() && amount(unavailable).is_some_and(|percent| percent > 100) {
        errors.invalid(field("maxUnavailable"), unavailable, "must not be greater than 100%");
    }
}

fn validate_amount(value: &Value, field: &str, errors: &mut Errors) {
    if value.is_string() && amount(value).is_none() {
        errors.invalid(field, value, BAD_PERCENT);
    } else if amount(value).is_some_and(|amount| amount < 0) {
        errors.invalid(field, value, "must be greater than or equal to 0");
    }
}

/// A number of pods, or a percentage of them as text.
fn amount(value: &Value) -> Option<i64> {
    match value.as_str() {
        None => value.as_i64(),
        Some(text) => {
            let digits = text.strip_suffix('%')?;
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse().unwrap_or(i64::MAX))
        }
    }
}
