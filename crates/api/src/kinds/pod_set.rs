//! What keeps a number of equal pods: the rules and columns that ReplicaSet and ReplicationController share.
//!
//! Whose pods are kept is where the two differ; each kind says that of its own as [`Selecting`]. Templates and scales are
//! `workload`'s, since Deployments have them too.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    cell,
    column::{AGE, CONTAINERS, IMAGES, NAME, shown, wide},
    generation, pod,
    value::{at, child, count, is_set, keep, number, set},
    workload,
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Column, Strategy, Warnings},
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    shown("Desired", "integer", "How many pods are asked for."),
    shown("Current", "integer", "How many pods there are."),
    shown("Ready", "integer", "How many of them are ready."),
    AGE,
    CONTAINERS,
    IMAGES,
    wide("Selector", "string", "Labels of the pods that count."),
];

/// How a kind says which pods are its own.
pub(super) trait Selecting: std::fmt::Debug + Sync {
    /// Fills what stands for an absent selector or template, once the template that is there has its defaults.
    fn default(&self, object: &mut Value);

    /// Selector, template and numbers, and whether they fit together.
    fn validate(&self, object: &Value) -> Vec<FieldError>;

    fn validate_change(&self, new: &Value, old: &Value) -> Vec<FieldError>;

    /// The selector as a cell.
    fn cell(&self, object: &Value) -> String;

    /// As [`Strategy::orphans_dependents`].
    fn orphans_dependents(&self) -> bool;

    /// As [`Strategy::selectable_fields`]; upstream lets only the older kind be selected by its number of pods.
    fn selectable_fields(&self) -> &'static [&'static str];
}

#[derive(Debug)]
pub(super) struct PodSet<S>(pub(super) S);

impl<S: Selecting> Strategy for PodSet<S> {
    fn default(&self, object: &mut Value) {
        let spec = child(object, "spec");
        if !is_set(spec, "/replicas") {
            set(spec, "replicas", 1);
        }
        if is_set(spec, "/template") {
            pod::default_template(child(spec, "template"));
        }
        self.0.default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        generation::begin(object);
        set(object, "status", json!({"replicas": 0}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        generation::follow_spec(new, old);
    }

    fn orphans_dependents(&self) -> bool {
        self.0.orphans_dependents()
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(self.0.validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        // Most updates are of the status; what the spec says was looked at when it was stored.
        if at(new, "/spec") != at(old, "/spec") {
            errors.extend(self.0.validate(new));
        }
        errors.extend(self.0.validate_change(new, old));
        errors.extend(workload::validate_status(new, old, &workload::SET_COUNTS));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        workload::warnings(new, old)
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        let selectable = self.selectable_fields().contains(&path) && path == "status.replicas";
        selectable.then(|| count(object, "/status/replicas").to_string())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        self.0.selectable_fields()
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
            self.0.cell(object).into(),
        ]
    }
}
