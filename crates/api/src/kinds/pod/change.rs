//! What an update of a pod may change: images, additions to tolerations, and little else. Which node a pod is on is decided once,
//! by a binding.

use serde_json::{Value, json};

use super::super::{
    errors::Errors,
    value::{at, child, count, items_mut, keep, list, number, remove},
};
use crate::field::FieldError;

const UPDATABLE: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// What an update changes and may not.
pub(super) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for kind in ["containers", "initContainers"] {
        let pointer = format!("/spec/{kind}");
        if list(new, &pointer).len() != list(old, &pointer).len() {
            errors.forbidden(format!("spec.{kind}"), "pod updates may not add or remove containers");
            return errors.into_vec();
        }
    }
    validate_deadline(new, old, &mut errors);
    validate_tolerations(new, old, &mut errors);
    if with_changeable_of(new, old).get("spec") != old.get("spec") {
        errors.forbidden("spec", UPDATABLE);
    }
    errors.into_vec()
}

/// `new` with all fields that may change put back to what they were.
fn with_changeable_of(new: &Value, old: &Value) -> Value {
    let mut same = json!({"spec": at(new, "/spec")});
    let spec = child(&mut same, "spec");
    for kind in ["containers", "initContainers"] {
        for (container, old) in items_mut(spec, kind).iter_mut().zip(list(old, &format!("/spec/{kind}"))) {
            keep(container, old, "image");
        }
    }
    for key in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        keep(spec, at(old, "/spec"), key);
    }
    if count(old, "/spec/terminationGracePeriodSeconds") < 0 && count(spec, "/terminationGracePeriodSeconds") == 1 {
        keep(spec, at(old, "/spec"), "terminationGracePeriodSeconds");
    }
    same
}

fn validate_deadline(new: &Value, old: &Value, errors: &mut Errors) {
    let (pointer, field) = ("/spec/activeDeadlineSeconds", "spec.activeDeadlineSeconds");
    match (number(new, pointer), number(old, pointer)) {
        (Some(new), Some(old)) if new > old => {
            errors.invalid(field, &new.into(), "must be less than or equal to previous value");
        }
        (None, Some(_)) => {
            errors.invalid(field, &Value::Null, "must not update from a positive integer to nil value");
        }
        _ => {}
    }
}

fn validate_tolerations(new: &Value, old: &Value, errors: &mut Errors) {
    let without_seconds = |toleration: &Value| {
        let mut toleration = toleration.clone();
        remove(&mut toleration, "tolerationSeconds");
        toleration
    };
    let kept: Vec<Value> = list(new, "/spec/tolerations").iter().map(without_seconds).collect();
    if list(old, "/spec/tolerations").iter().any(|toleration| !kept.contains(&without_seconds(toleration))) {
        errors.forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds");
    }
}
