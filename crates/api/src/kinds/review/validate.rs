//! What may be asked: about a resource or a path, of somebody, with selectors that are some.

use serde_json::Value;

use crate::{
    field::FieldError,
    kinds::value::{at, is_set, list, text},
    selector::validate_requirement,
};

/// What is wrong with a review of access at `spec`, upstream's words in upstream's order. `namespace` is a local one's.
pub fn validate_access(review: &Value, namespace: Option<&str>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (resource, path) = (is_set(review, "/spec/resourceAttributes"), is_set(review, "/spec/nonResourceAttributes"));
    let of_path = |detail: &str| {
        let stated = |key: &str| text(review, &format!("/spec/nonResourceAttributes/{key}"));
        let shown = format!("{{\"Path\":{:?},\"Verb\":{:?}}}", stated("path"), stated("verb"));
        FieldError::invalid("spec.nonResourceAttributes", shown, detail)
    };
    match (resource, path) {
        (true, true) => errors.push(of_path("cannot be specified in combination with resourceAttributes")),
        (false, false) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid("spec.resourceAttributes", "null", detail));
        }
        _ => {}
    }
    if text(review, "/kind") != "SelfSubjectAccessReview"
        && text(review, "/spec/user").is_empty()
        && list(review, "/spec/groups").is_empty()
    {
        errors.push(FieldError::invalid("spec.user", "\"\"", "at least one of user or group must be specified"));
    }
    for kind in ["fieldSelector", "labelSelector"] {
        let pointer = format!("/spec/resourceAttributes/{kind}");
        if is_set(review, &pointer) {
            let field = format!("spec.resourceAttributes.{kind}");
            errors.extend(validate_selector(at(review, &pointer), kind, &field));
        }
    }
    errors.extend(validate_metadata(review, namespace));
    if let Some(namespace) = namespace {
        let stated = text(review, "/spec/resourceAttributes/namespace");
        if resource && stated != namespace {
            let (field, shown) = ("spec.resourceAttributes.namespace", format!("{stated:?}"));
            errors.push(FieldError::invalid(field, shown, "must match metadata.namespace"));
        }
        if path {
            errors.push(of_path("disallowed on this kind of request"));
        }
    }
    errors
}

/// A review has no name: it is kept nowhere. What is no review's own, as `creationTimestamp`, is upstream's to drop.
fn validate_metadata(review: &Value, namespace: Option<&str>) -> Option<FieldError> {
    let mut stated = at(review, "/metadata").as_object().cloned().unwrap_or_default();
    stated.retain(|key, value| {
        let is_empty = value.is_null() || value == "" || value.as_object().is_some_and(serde_json::Map::is_empty);
        !is_empty && !matches!(key.as_str(), "managedFields" | "namespace")
    });
    let detail = if namespace.is_some() { "must be empty except for namespace" } else { "must be empty" };
    (!stated.is_empty()).then(|| FieldError::invalid("metadata", Value::Object(stated), detail))
}

/// Operators that nobody knows may be of a client that is newer.
fn validate_selector(selector: &Value, kind: &str, field: &str) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (raw, requirements) = (text(selector, "/rawSelector"), list(selector, "/requirements"));
    if !raw.is_empty() && !requirements.is_empty() {
        let detail = "may not specified at the same time as requirements";
        errors.push(FieldError::invalid(format!("{field}.rawSelector"), format!("{raw:?}"), detail));
    }
    if raw.is_empty() && requirements.is_empty() {
        let detail = format!("when {field} is specified, requirements or rawSelector is required");
        errors.push(FieldError::required(format!("{field}.requirements"), detail));
    }
    for (index, requirement) in requirements.iter().enumerate() {
        let at = format!("{field}.requirements[{index}]");
        let found = validate_requirement(requirement, &at);
        if kind == "labelSelector" {
            errors.extend(found);
            continue;
        }
        if text(requirement, "/key").is_empty() {
            errors.push(FieldError::required(format!("{at}.key"), "must be specified"));
        }
        // Keys and values of fields may be anything.
        errors.extend(found.into_iter().filter(|error| error.field == format!("{at}.values")));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_may_be_asked() {
        let check = |kind: &str, spec: Value, expected: &[&str]| {
            let namespace = (kind == "LocalSubjectAccessReview").then_some("default");
            let found = validate_access(&json!({"kind": kind, "spec": spec}), namespace);
            assert_eq!(Vec::from_iter(found.iter().map(ToString::to_string)), expected, "{kind} {spec}");
        };
        let (other, own, local) = ("SubjectAccessReview", "SelfSubjectAccessReview", "LocalSubjectAccessReview");
        let (pods, path) = (json!({"verb": "get", "resource": "pods"}), json!({"path": "/x", "verb": "get"}));
        let none = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or \
            resourceAttributes must be specified";
        let both = "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: cannot be \
            specified in combination with resourceAttributes";
        let nobody = "spec.user: Invalid value: \"\": at least one of user or group must be specified";
        let elsewhere = "spec.resourceAttributes.namespace: Invalid value: \"\": must match metadata.namespace";
        let disallowed = "spec.nonResourceAttributes: Invalid value: {\"Path\":\"/x\",\"Verb\":\"get\"}: \
            disallowed on this kind of request";
        check(own, json!({"resourceAttributes": pods}), &[]);
        check(own, json!({"nonResourceAttributes": path}), &[]);
        check(own, json!({}), &[none]);
        check(own, json!({"resourceAttributes": pods, "nonResourceAttributes": path}), &[both]);
        check(other, json!({}), &[none, nobody]);
        check(other, json!({"groups": ["g"], "resourceAttributes": pods}), &[]);
        check(other, json!({"resourceAttributes": pods}), &[nobody]);
        let all = json!({"user": "x", "resourceAttributes": pods, "nonResourceAttributes": path});
        check(local, all, &[both, elsewhere, disallowed]);
        check(local, json!({"user": "x", "nonResourceAttributes": path}), &[disallowed]);
        check(local, json!({"user": "x"}), &[none]);
        check(local, json!({"user": "x", "resourceAttributes": {"namespace": "default"}}), &[]);
    }

    #[test]
    fn selectors_of_a_question() {
        let check = |kind: &str, selector: Value, expected: &[&str]| {
            let review = json!({"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": {kind: selector}}});
            let prefix = format!("spec.resourceAttributes.{kind}.");
            let found = validate_access(&review, None);
            let found = found.iter().map(|error| error.to_string().strip_prefix(&prefix).unwrap().to_owned());
            assert_eq!(Vec::from_iter(found), expected, "{kind} {selector}");
        };
        for kind in ["fieldSelector", "labelSelector"] {
            let required = format!(
                "requirements: Required value: when spec.resourceAttributes.{kind} is specified, requirements or \
                 rawSelector is required"
            );
            check(kind, json!({}), &[&required]);
            check(kind, json!({"rawSelector": "(("}), &[]);
            let two = json!({"rawSelector": "a", "requirements": [{"key": "a", "operator": "Exists"}]});
            check(
                kind,
                two,
                &["rawSelector: Invalid value: \"a\": may not specified at the same time as requirements"],
            );
        }
        let requirements = json!({"requirements": [
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["x"]},
            {"key": "a", "operator": "Newer"}, {"key": "", "operator": "Newer"}]});
        let values = "requirements[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'";
        let none =
            "requirements[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
        check("fieldSelector", requirements, &[values, none, "requirements[3].key: Required value: must be specified"]);
        let requirements = json!({"requirements": [{"key": "-", "operator": "In", "values": ["a b"]}]});
        let found = validate_selector(&requirements, "labelSelector", "s");
        assert_eq!(
            Vec::from_iter(found.iter().map(|e| &*e.field)),
            ["s.requirements[0].key", "s.requirements[0].values[0]"]
        );
        assert!(validate_selector(&requirements, "fieldSelector", "s").is_empty(), "fields are no labels");
    }

    #[test]
    fn a_question_has_no_name() {
        let check = |kind: &str, metadata: Value, expected: Option<&str>| {
            let review = json!({"kind": kind, "metadata": metadata});
            let found = validate_metadata(&review, (kind == "LocalSubjectAccessReview").then_some("default"));
            assert_eq!(found.map(|error| error.to_string()).as_deref(), expected);
        };
        check("SubjectAccessReview", json!({"creationTimestamp": null, "namespace": "a"}), None);
        check(
            "SubjectAccessReview",
            json!({"name": "x"}),
            Some("metadata: Invalid value: {\"name\":\"x\"}: must be empty"),
        );
        let except = "metadata: Invalid value: {\"labels\":{\"a\":\"b\"}}: must be empty except for namespace";
        check("LocalSubjectAccessReview", json!({"namespace": "default", "labels": {"a": "b"}}), Some(except));
    }
}
