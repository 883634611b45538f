//! What Deployments, ReplicaSets and ReplicationControllers have in common: a selector and a template of pods. How many there are
//! to be is also a Scale's to say, which is [`super::scale`]'s.

use serde_json::Value;

use super::{
    errors::Errors,
    pod, unhonoured,
    value::{at, count, is_set, map, text},
};
use crate::{
    field::FieldError,
    resource::Warnings,
    selector::{parse_label_selector, validate_label_selector},
};

/// Selector and template, and whether they fit together.
pub(crate) fn validate(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.non_negative(object, "/spec/replicas", "spec.replicas");
    errors.non_negative(object, "/spec/minReadySeconds", "spec.minReadySeconds");
    if validate_selector(object, &mut errors) == Selects::Something {
        validate_template(at(object, "/spec/template"), "ReplicaSet", &mut errors);
    }
    errors.into_vec()
}

/// The numbers of a status: which they are, in upstream's order, and which of them count some of `replicas`.
#[derive(Debug)]
pub(crate) struct StatusCounts {
    pub(crate) all: &'static [&'static str],
    pub(crate) of_replicas: &'static [&'static str],
}

/// Those of ReplicaSets and ReplicationControllers.
pub(crate) const SET_COUNTS: StatusCounts = StatusCounts {
    all: &["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas", "observedGeneration"],
    of_replicas: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
};

/// What a status may not say, where it says something new.
pub(crate) fn validate_status(new: &Value, old: &Value, counts: &StatusCounts) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if at(new, "/status") == at(old, "/status") {
        return errors.into_vec();
    }
    let value = |name: &str| count(new, &format!("/status/{name}"));
    let field = |name: &str| format!("status.{name}");
    for name in counts.all {
        errors.non_negative(new, &format!("/status/{name}"), field(name));
    }
    for name in counts.of_replicas.iter().filter(|name| value(name) > value("replicas")) {
        errors.invalid(field(name), &value(name).into(), "cannot be greater than status.replicas");
    }
    let available = value("availableReplicas");
    if available > value("readyReplicas") {
        errors.invalid(field("availableReplicas"), &available.into(), "cannot be greater than readyReplicas");
    }
    errors.into_vec()
}

/// The template alone. `keeper` is the kind that upstream names as the one that keeps the pods.
pub(crate) fn validate_template(template: &Value, keeper: &str, errors: &mut Errors) {
    errors.extend(pod::validate_template(template, "spec.template"));
    let policy = text(template, "/spec/restartPolicy");
    if !["", "Always"].contains(&policy) {
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", policy, &["Always"]));
    }
    if is_set(template, "/spec/activeDeadlineSeconds") {
        let field = "spec.template.spec.activeDeadlineSeconds";
        errors.forbidden(field, format_args!("activeDeadlineSeconds in {keeper} is not Supported"));
    } else {
        errors.extend(refusals(template));
    }
}

/// Refusals of what nothing acts on in the pods to be.
fn refusals(template: &Value) -> Vec<FieldError> {
    unhonoured::refusals(unhonoured::POD_SPEC, at(template, "/spec"), "spec.template.spec")
}

/// Warnings about the pods to be, and about what nothing acts on in them.
pub(crate) fn warnings(new: &Value, old: Option<&Value>) -> Warnings {
    let spec = "/spec/template/spec";
    let mut warnings = Warnings::new();
    if old.is_none() {
        warnings.extend(pod::warnings::of_name(new, "Pod names and hostnames"));
    }
    if old.is_none_or(|old| at(old, "/metadata/generation") != at(new, "/metadata/generation")) {
        warnings.extend(pod::warnings::of_pod(at(new, "/spec/template"), "spec.template."));
    }
    warnings.extend(unhonoured::warnings(
        unhonoured::POD_SPEC,
        at(new, spec),
        old.map(|old| at(old, spec)),
        "spec.template.spec",
    ));
    warnings
}

/// The selector decides whose pods these are: it never changes.
pub(crate) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.immutable(new, old, "/spec/selector", "spec.selector");
    errors.into_vec()
}

/// Whether a label selector can be read, so that pods are worth a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Selects {
    Something,
    Nonsense,
}

fn validate_selector(object: &Value, errors: &mut Errors) -> Selects {
    let selector = at(object, "/spec/selector");
    if selector.is_null() {
        errors.required("spec.selector");
    }
    let problems = validate_label_selector(selector, "spec.selector");
    let parsed = parse_label_selector(Some(selector)).ok().filter(|_| problems.is_empty());
    errors.extend(problems);
    let Some(parsed) = parsed else {
        errors.invalid("spec.selector", selector, "invalid label selector");
        return Selects::Nonsense;
    };
    let labels = "/spec/template/metadata/labels";
    match parsed {
        Some(parsed) if parsed.is_empty() => {
            errors.invalid("spec.selector", selector, "empty selector is invalid for deployment");
        }
        Some(parsed) if parsed.matches(map(object, labels)) => {}
        Some(_) | None => errors.invalid(
            "spec.template.metadata.labels",
            at(object, labels),
            "`selector` does not match template `labels`",
        ),
    }
    Selects::Something
}
