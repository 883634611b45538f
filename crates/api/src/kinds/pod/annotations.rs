//! Annotations of a pod that mean something: what is wrong with them, in upstream's words.

use serde_json::Value;

use super::{
    super::{
        errors::Errors,
        value::{pairs, text},
    },
    volumes::descending,
};
use crate::field::FieldError;

/// Marks a pod as the picture of one that a node was given by a file.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Which of the pods of a ReplicaSet go first.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub(super) const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub(super) const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// `object` is a pod or a template, whose annotations are called `root`.
pub(super) fn validate(object: &Value, root: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for (key, value) in pairs(object, "/metadata/annotations") {
        let field = format!("{root}[{key}]");
        match key {
            MIRROR if text(object, "/spec/nodeName").is_empty() => {
                errors.invalid(field, &value.into(), "must set spec.nodeName if mirror pod annotation is set");
            }
            DELETION_COST if !is_cost(value) => errors.invalid(field, &value.into(), "must be a 32bit integer"),
            SECCOMP_OF_POD => validate_seccomp(value, &format!("{root}.{key}"), &mut errors),
            _ if key.starts_with(SECCOMP_OF_CONTAINER) => {
                validate_seccomp(value, &format!("{root}.{key}"), &mut errors)
            }
            _ => {}
        }
    }
    errors.into_vec()
}

/// One way to write each number: no plus sign, no zeros before it.
fn is_cost(value: &str) -> bool {
    value.parse::<i32>().is_ok_and(|cost| cost.to_string() == value)
}

fn validate_seccomp(profile: &str, field: &str, errors: &mut Errors) {
    match profile.strip_prefix("localhost/") {
        Some(path) => descending(path, field, errors),
        None if ["runtime/default", "docker/default", "unconfined"].contains(&profile) => {}
        None => errors.invalid(field, &profile.into(), "must be a valid seccomp profile"),
    }
}
