//! ReplicaSet (`apps/v1`): keeps a number of equal pods.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ALL_VERBS, cell,
    column::{AGE, CONTAINERS, IMAGES, NAME, shown, wide},
    generation, pod,
    value::{at, child, count, is_set, keep, number, set},
    workload,
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, Strategy, Subresource, Warnings},
};

pub static RESOURCE: Resource = Resource {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Status, Subresource::Scale],
    definition: "io.k8s.api.apps.v1.ReplicaSet",
    registry: "replicasets",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Desired", "integer", "How many pods are asked for."),
        shown("Current", "integer", "How many pods there are."),
        shown("Ready", "integer", "How many of them are ready."),
        AGE,
        CONTAINERS,
        IMAGES,
        wide("Selector", "string", "Labels of the pods that count."),
    ],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        let spec = child(object, "spec");
        if !is_set(spec, "/replicas") {
            set(spec, "replicas", 1);
        }
        pod::default_template(child(spec, "template"));
    }

    fn prepare_create(&self, object: &mut Value) {
        generation::begin(object);
        set(object, "status", json!({"replicas": 0}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        generation::follow_spec(new, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(workload::validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(workload::validate(new));
        errors.extend(workload::validate_change(new, old));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        workload::warnings(new, old)
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        (path == "status.replicas").then(|| count(object, "/status/replicas").to_string())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (containers, images) = cell::containers(at(object, "/spec/template"));
        vec![
            cell::name(object),
            number(object, "/spec/replicas").unwrap_or(1).into(),
            count(object, "/status/replicas").into(),
            count(object, "/status/readyReplicas").into(),
            cell::age(object, now),
            containers,
            images,
            cell::selector_or_none(at(object, "/spec/selector")).into(),
        ]
    }
}
