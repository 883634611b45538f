//! `LabelSelector` objects: `matchLabels` and `matchExpressions`.

use serde_json::Value;

use super::{Operator, Requirement, Selector, SelectorError};
use crate::field::FieldError;
use crate::meta::validate_labels;
use crate::names::{label_value, qualified_name};

/// The selector that a LabelSelector stands for. `None` (unset) selects nothing; an empty one everything.
pub fn parse_label_selector(selector: Option<&Value>) -> Result<Option<Selector>, SelectorError> {
    let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
        return Ok(None);
    };
    let mut requirements = Vec::new();
    for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
        requirements.push(Requirement::new(key, Operator::In(vec![text(Some(value)).to_owned()]))?);
    }
    for expression in expressions(selector) {
        let mut values: Vec<String> = values(expression).map(str::to_owned).collect();
        values.sort_unstable();
        values.dedup();
        let operator = match text(expression.get("operator")) {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => return Err(SelectorError::Operator { operator: other.to_owned() }),
        };
        requirements.push(Requirement::new(text(expression.get("key")), operator)?);
    }
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(Some(Selector::new(requirements)))
}

/// What is wrong with a LabelSelector at `field`, such as `spec.selector`.
pub fn validate_label_selector(selector: &Value, field: &str) -> Vec<FieldError> {
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let mut errors = validate_labels(labels, &format!("{field}.matchLabels"));
    for (index, expression) in expressions(selector).iter().enumerate() {
        errors.extend(validate_expression(expression, &format!("{field}.matchExpressions[{index}]")));
    }
    errors
}

fn validate_expression(expression: &Value, field: &str) -> Vec<FieldError> {
    let operator = text(expression.get("operator"));
    if matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
        return validate_requirement(expression, field);
    }
    let (at, stated) = (format!("{field}.operator"), format!("{operator:?}"));
    let mut errors = vec![FieldError::invalid(at, stated, "not a valid selector operator")];
    errors.extend(validate_requirement(expression, field));
    errors
}

/// What is wrong with a requirement, whose operator may be any: it has values where it needs some, key and values are a label's.
pub(crate) fn validate_requirement(requirement: &Value, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let count = values(requirement).count();
    match text(requirement.get("operator")) {
        "In" | "NotIn" if count == 0 => errors.push(FieldError::required(
            format!("{field}.values"),
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if count > 0 => errors.push(FieldError::forbidden(
            format!("{field}.values"),
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        _ => {}
    }
    let key = text(requirement.get("key"));
    for problem in qualified_name(key) {
        errors.push(FieldError::invalid(format!("{field}.key"), format!("{key:?}"), problem));
    }
    for (index, value) in values(requirement).enumerate() {
        for problem in label_value(value) {
            errors.push(FieldError::invalid(format!("{field}.values[{index}]"), format!("{value:?}"), problem));
        }
    }
    errors
}

fn expressions(selector: &Value) -> &[Value] {
    selector.get("matchExpressions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn values(expression: &Value) -> impl Iterator<Item = &str> {
    expression.get("values").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}
