//! Deployment (`apps/v1`): rolls a template of pods out over ReplicaSets.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ALL_VERBS, cell,
    column::{AGE, CONTAINERS, IMAGES, NAME, shown, wide},
    errors::Errors,
    generation, pod,
    value::{at, child, count, fill, is_set, keep, number, set, text},
    workload,
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, Strategy, Subresource, Warnings},
};

mod rollout;

pub static RESOURCE: Resource = Resource {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Status, Subresource::Scale],
    definition: "io.k8s.api.apps.v1.Deployment",
    registry: "deployments",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Ready", "string", "How many pods are ready, of how many are asked for."),
        shown("Up-to-date", "string", "How many pods have the latest template."),
        shown("Available", "string", "How many pods have been ready for long enough."),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", "string", "Labels of the pods that count."),
    ],
    strategy: &Rules,
};

const STATUS_COUNTS: workload::StatusCounts = workload::StatusCounts {
    all: &[
        "observedGeneration",
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
    ],
    of_replicas: &["updatedReplicas", "readyReplicas", "availableReplicas"],
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        let spec = child(object, "spec");
        for (key, value) in [("replicas", 1), ("revisionHistoryLimit", 10), ("progressDeadlineSeconds", 600)] {
            if !is_set(spec, &format!("/{key}")) {
                set(spec, key, value);
            }
        }
        let strategy = child(spec, "strategy");
        fill(strategy, "type", "RollingUpdate");
        if text(strategy, "/type") == "RollingUpdate" {
            let rolling = child(strategy, "rollingUpdate");
            fill(rolling, "maxSurge", "25%");
            fill(rolling, "maxUnavailable", "25%");
        }
        pod::default_template(child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        generation::begin(object);
        set(object, "status", json!({}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        generation::follow(new, old, |new, old| {
            ["/spec", "/metadata/annotations"].iter().any(|pointer| at(new, pointer) != at(old, pointer))
        });
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        // Most updates are of the status; what the spec says was looked at when it was stored.
        if at(new, "/spec") != at(old, "/spec") {
            errors.extend(validate(new));
        }
        errors.extend(workload::validate_change(new, old));
        errors.extend(workload::validate_status(new, old, &STATUS_COUNTS));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        workload::warnings(new, old)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (containers, images) = cell::containers(at(object, "/spec/template"));
        let desired = number(object, "/spec/replicas").unwrap_or(1);
        vec![
            cell::name(object),
            format!("{}/{desired}", count(object, "/status/readyReplicas")).into(),
            count(object, "/status/updatedReplicas").into(),
            count(object, "/status/availableReplicas").into(),
            cell::age(object, now),
            containers,
            images,
            cell::selector(at(object, "/spec/selector")).into(),
        ]
    }
}

fn validate(deployment: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.extend(workload::validate(deployment));
    errors.extend(rollout::validate(at(deployment, "/spec/strategy")));
    errors.non_negative(deployment, "/spec/revisionHistoryLimit", "spec.revisionHistoryLimit");
    let deadline = "/spec/progressDeadlineSeconds";
    errors.non_negative(deployment, deadline, "spec.progressDeadlineSeconds");
    if number(deployment, deadline).is_some_and(|seconds| seconds <= count(deployment, "/spec/minReadySeconds")) {
        let detail = "must be greater than minReadySeconds";
        errors.invalid("spec.progressDeadlineSeconds", at(deployment, deadline), detail);
    }
    errors.into_vec()
}

#[cfg(test)]
mod tests;
