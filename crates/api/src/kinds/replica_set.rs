//! ReplicaSet (`apps/v1`): keeps a number of equal pods, those that a label selector chooses.

use serde_json::Value;

use super::{
    ALL_VERBS, cell, pod,
    pod_set::{COLUMNS, PodSet, Selecting},
    value::{at, child, is_set},
    workload,
};
use crate::{
    field::FieldError,
    resource::{Resource, Subresource},
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
    columns: COLUMNS,
    strategy: &PodSet(LabelSelector),
};

#[derive(Debug)]
struct LabelSelector;

impl Selecting for LabelSelector {
    /// A template that is not there is an empty one.
    fn default(&self, object: &mut Value) {
        let spec = child(object, "spec");
        if !is_set(spec, "/template") {
            pod::default_template(child(spec, "template"));
        }
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        workload::validate(object)
    }

    fn validate_change(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        workload::validate_change(new, old)
    }

    fn cell(&self, object: &Value) -> String {
        cell::selector_or_none(at(object, "/spec/selector"))
    }

    fn orphans_dependents(&self) -> bool {
        false
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &[]
    }
}
