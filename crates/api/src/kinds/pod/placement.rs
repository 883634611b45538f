//! What is wrong with a pod's wishes about the nodes it comes to: tolerations, affinity, spreading.
//!
//! Most of them are not followed, which is `unhonoured`'s to say; they are looked at all the same.

use serde_json::Value;

use super::super::{
    errors::Errors,
    value::{at, is_set, list, number, text, texts},
};
use crate::{
    field::FieldError,
    names::{dns1123_label, dns1123_subdomain, in_range, label_value, qualified_name},
    selector::validate_label_selector,
};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

pub(super) fn validate_tolerations(spec: &Value, root: &str, errors: &mut Errors) {
    for (index, toleration) in list(spec, "/tolerations").iter().enumerate() {
        let field = |name: &str| format!("{root}.tolerations[{index}].{name}");
        let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
        errors.maybe_named(&field("key"), key, qualified_name);
        if key.is_empty() && operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            errors.invalid(field("operator"), &operator.into(), detail);
        }
        if is_set(toleration, "/tolerationSeconds") && text(toleration, "/effect") != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            errors.invalid(field("effect"), &text(toleration, "/effect").into(), detail);
        }
        let value = text(toleration, "/value");
        match operator {
            "Equal" | "" => {
                let problems = label_value(value);
                if !problems.is_empty() {
                    errors.invalid(field("operator"), &value.into(), problems.join(";"));
                }
            }
            "Exists" if value.is_empty() => {}
            "Exists" => errors.invalid(
                field("operator"),
                at(toleration, "/value"),
                "value must be empty when `operator` is 'Exists'",
            ),
            // Known, and switched off by default.
            "Lt" | "Gt" => {
                errors.push(FieldError::not_supported(field("operator"), operator, &["Equal", "Exists", "Lt", "Gt"]))
            }
            _ => errors.one_of(field("operator"), operator, &["Equal", "Exists"]),
        }
        let effect = text(toleration, "/effect");
        if !effect.is_empty() {
            errors.one_of(field("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

pub(super) fn validate_affinity(spec: &Value, root: &str, errors: &mut Errors) {
    let root = format!("{root}.affinity");
    let node = at(spec, "/affinity/nodeAffinity");
    if is_set(node, &format!("/{REQUIRED}")) {
        let field = format!("{root}.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        let terms = list(node, &format!("/{REQUIRED}/nodeSelectorTerms"));
        if terms.is_empty() {
            errors.push(FieldError::required(&field, "must have at least one node selector term"));
        }
        for (index, term) in terms.iter().enumerate() {
            validate_node_term(term, &format!("{field}[{index}]"), errors);
            validate_values(term, &format!("{field}[{index}]"), errors);
        }
    }
    for (index, term) in list(node, &format!("/{PREFERRED}")).iter().enumerate() {
        let field = format!("{root}.nodeAffinity.{PREFERRED}[{index}]");
        validate_weight(term, &field, errors);
        validate_node_term(at(term, "/preference"), &format!("{field}.preference"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (index, term) in list(spec, &format!("/affinity/{kind}/{REQUIRED}")).iter().enumerate() {
            validate_pod_term(term, &format!("{root}.{kind}.{REQUIRED}[{index}]"), errors);
        }
        for (index, term) in list(spec, &format!("/affinity/{kind}/{PREFERRED}")).iter().enumerate() {
            let field = format!("{root}.{kind}.{PREFERRED}[{index}]");
            validate_weight(term, &field, errors);
            validate_pod_term(at(term, "/podAffinityTerm"), &format!("{field}.podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(term: &Value, field: &str, errors: &mut Errors) {
    let weight = number(term, "/weight").unwrap_or_default();
    if !in_range(weight, 1, 100).is_empty() {
        errors.invalid(format!("{field}.weight"), &weight.into(), "must be in the range 1-100");
    }
}

fn validate_node_term(term: &Value, root: &str, errors: &mut Errors) {
    for (index, requirement) in list(term, "/matchExpressions").iter().enumerate() {
        let field = |name: &str| format!("{root}.matchExpressions[{index}].{name}");
        let (operator, values) = (text(requirement, "/operator"), list(requirement, "/values").len());
        let required = |problem| FieldError::required(field("values"), problem);
        match operator {
            "In" | "NotIn" if values == 0 => {
                errors.push(required("must be specified when `operator` is 'In' or 'NotIn'"));
            }
            "Exists" | "DoesNotExist" if values > 0 => {
                errors.forbidden(field("values"), "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
            }
            "Gt" | "Lt" if values != 1 => {
                errors.push(required("must be specified single value when `operator` is 'Lt' or 'Gt'"));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => errors.invalid(field("operator"), &operator.into(), "not a valid selector operator"),
        }
        let key = text(requirement, "/key");
        errors.invalid_text(&field("key"), key, qualified_name(key));
    }
    for (index, requirement) in list(term, "/matchFields").iter().enumerate() {
        validate_node_field(requirement, &format!("{root}.matchFields[{index}]"), errors);
    }
}

fn validate_node_field(requirement: &Value, root: &str, errors: &mut Errors) {
    let (operator, values) = (text(requirement, "/operator"), texts(requirement, "/values"));
    match operator {
        "In" | "NotIn" if values.len() != 1 => errors.push(FieldError::required(
            format!("{root}.values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        "In" | "NotIn" => {}
        _ => errors.invalid(format!("{root}.operator"), &operator.into(), "not a valid selector operator"),
    }
    let key = text(requirement, "/key");
    if key != "metadata.name" {
        return errors.invalid(format!("{root}.key"), &key.into(), "not a valid field selector key");
    }
    for (index, value) in values.iter().enumerate() {
        errors.invalid_text(&format!("{root}.values[{index}]"), value, dns1123_subdomain(value));
    }
}

/// Preferences may name what no label's value can be: they are met by no node.
fn validate_values(term: &Value, root: &str, errors: &mut Errors) {
    for (index, requirement) in list(term, "/matchExpressions").iter().enumerate() {
        for (place, value) in texts(requirement, "/values").into_iter().enumerate() {
            let field = format!("{root}.matchExpressions[{index}].values[{place}]");
            errors.invalid_text(&field, value, label_value(value));
        }
    }
}

fn validate_pod_term(term: &Value, root: &str, errors: &mut Errors) {
    for selector in ["labelSelector", "namespaceSelector"] {
        errors.extend(validate_label_selector(at(term, &format!("/{selector}")), &format!("{root}.{selector}")));
    }
    for namespace in texts(term, "/namespaces") {
        errors.invalid_text(&format!("{root}.namespace"), namespace, dns1123_label(namespace));
    }
    let keys = ["matchLabelKeys", "mismatchLabelKeys"];
    for kind in keys {
        validate_label_keys(term, kind, root, errors);
    }
    let [matched, mismatched] = keys.map(|kind| texts(term, &format!("/{kind}")));
    for (index, key) in matched.iter().enumerate().filter(|(_, key)| mismatched.contains(key)) {
        let problem = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.invalid(format!("{root}.matchLabelKeys[{index}]"), &(*key).into(), problem);
    }
    let (key, field) = (text(term, "/topologyKey"), format!("{root}.topologyKey"));
    if key.is_empty() {
        errors.push(FieldError::required(&field, "can not be empty"));
    }
    errors.invalid_text(&field, key, qualified_name(key));
}

/// Keys that add to a label selector, which has to be there.
fn validate_label_keys(object: &Value, kind: &str, root: &str, errors: &mut Errors) {
    let (keys, field) = (texts(object, &format!("/{kind}")), format!("{root}.{kind}"));
    if !keys.is_empty() && !is_set(object, "/labelSelector") {
        return errors.forbidden(field, "must not be specified when labelSelector is not set");
    }
    for (index, key) in keys.iter().enumerate() {
        errors.invalid_text(&format!("{field}[{index}]"), key, qualified_name(key));
    }
}

pub(super) fn validate_spread(spec: &Value, root: &str, errors: &mut Errors) {
    let constraints = list(spec, "/topologySpreadConstraints");
    let kind = |constraint| (text(constraint, "/topologyKey"), text(constraint, "/whenUnsatisfiable"));
    for (index, constraint) in constraints.iter().enumerate() {
        let field = |name: &str| format!("{root}.topologySpreadConstraints[{index}].{name}");
        let (key, action) = kind(constraint);
        let skew = number(constraint, "/maxSkew").unwrap_or_default();
        if skew <= 0 {
            errors.invalid(field("maxSkew"), &skew.into(), "must be greater than zero");
        }
        if key.is_empty() {
            errors.push(FieldError::required(field("topologyKey"), "can not be empty"));
        }
        errors.supported(field("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        if constraints[index + 1..].iter().any(|later| kind(later) == (key, action)) {
            let value = format!("{{{key}, {action}}}");
            errors.duplicate(field("{topologyKey, whenUnsatisfiable}"), &value.into());
        }
        if let Some(domains) = number(constraint, "/minDomains") {
            if domains <= 0 {
                errors.invalid(field("minDomains"), &domains.into(), "must be greater than zero");
            }
            if action != "DoNotSchedule" {
                let problem = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.invalid(field("minDomains"), &domains.into(), problem);
            }
        }
        for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if let Some(value) = at(constraint, &format!("/{policy}")).as_str() {
                errors.supported(field(policy), value, &["Honor", "Ignore"]);
            }
        }
        let root = format!("{root}.topologySpreadConstraints[{index}]");
        validate_label_keys(constraint, "matchLabelKeys", &root, errors);
        errors.extend(validate_label_selector(at(constraint, "/labelSelector"), &field("labelSelector")));
    }
}
