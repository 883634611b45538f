//! Scale (`autoscaling/v1`): the number of pods of a Deployment, ReplicaSet or ReplicationController, as a subresource of it.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cell,
    column::{AGE, NAME, shown},
    errors::Errors,
    value::{at, child, count, is_set, number, set, text},
};
use crate::{
    field::FieldError,
    names::dns1123_subdomain,
    resource::{Resource, Strategy},
};

/// What a Table of a Scale is made from; no path leads to one but the object's own.
pub static RESOURCE: Resource = Resource {
    group: "autoscaling",
    version: "v1",
    kind: "Scale",
    plural: "scale",
    singular: "scale",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: &[],
    subresources: &[],
    definition: "io.k8s.api.autoscaling.v1.Scale",
    registry: "",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Desired", "integer", "How many pods there are to be."),
        shown("Available", "integer", "How many pods there are."),
        AGE,
    ],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn cells(&self, scale: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            cell::name(scale),
            count(scale, "/spec/replicas").into(),
            count(scale, "/status/replicas").into(),
            cell::age(scale, now),
        ]
    }
}

/// The `autoscaling/v1` Scale of any of these kinds.
pub fn of(object: &Value) -> Value {
    let mut metadata = json!({});
    for key in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if is_set(object, &format!("/metadata/{key}")) {
            set(&mut metadata, key, at(object, &format!("/metadata/{key}")).clone());
        }
    }
    let mut status = json!({"replicas": count(object, "/status/replicas")});
    let selector = selector(object);
    if !selector.is_empty() {
        set(&mut status, "selector", selector);
    }
    let replicas = number(object, "/spec/replicas").unwrap_or(1);
    let mut spec = json!({});
    if replicas != 0 {
        set(&mut spec, "replicas", replicas);
    }
    json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": metadata, "spec": spec, "status": status})
}

/// The selector as text. A ReplicationController's is a map of labels, that of the others a label selector.
fn selector(object: &Value) -> String {
    match text(object, "/kind") {
        "ReplicationController" => cell::pairs_text(object, "/spec/selector"),
        _ => cell::selector(at(object, "/spec/selector")),
    }
}

/// What is wrong with a Scale that a client sends for `object`. Its name must be the object's.
pub fn validate(scale: &Value, object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let name = text(scale, "/metadata/name");
    if name.is_empty() {
        errors.push(FieldError::required("metadata.name", "name or generateName is required"));
    } else {
        errors.invalid_text("metadata.name", name, dns1123_subdomain(name));
        errors.immutable(scale, object, "/metadata/name", "metadata.name");
    }
    errors.non_negative(scale, "/spec/replicas", "spec.replicas");
    errors.into_vec()
}

/// Sets `spec.replicas` to what a valid Scale says; all else of it is ignored but `metadata.resourceVersion` and `uid`, which
/// the API server compares.
pub fn apply(object: &mut Value, scale: &Value) {
    set(child(object, "spec"), "replicas", count(scale, "/spec/replicas"));
}
