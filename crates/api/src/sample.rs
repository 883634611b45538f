//! Two resources for the tests of this crate: one of the core group, one of another, with every subresource.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::meta;
use crate::resource::{Column, Resource, Strategy, Subresource};
use crate::table::object_age;

#[derive(Debug)]
struct Sample;

impl Strategy for Sample {
    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        let text = object["spec"]["type"].as_str().unwrap_or_default();
        (path == "spec.type").then(|| text.to_owned())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.type"]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![meta::name(object).into(), object_age(object, now).into(), json!(7)]
    }
}

const COLUMNS: &[Column] = &[
    Column { name: "Name", kind: "string", format: "name", description: "The name.", priority: 0 },
    Column { name: "Age", kind: "string", format: "", description: "The age.", priority: 0 },
    Column { name: "Extra", kind: "integer", format: "", description: "Wide.", priority: 1 },
];

const VERBS: &[&str] = &["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];

pub(crate) static SERVICES: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    verbs: VERBS,
    subresources: &[Subresource::Status],
    definition: "io.k8s.api.core.v1.Service",
    registry: "services/specs",
    create_on_update: true,
    delete_returns_object: true,
    time_to_live: None,
    columns: COLUMNS,
    strategy: &Sample,
};

pub(crate) static NAMESPACES: Resource = Resource {
    kind: "Namespace",
    plural: "namespaces",
    singular: "namespace",
    short_names: &["ns"],
    categories: &[],
    namespaced: false,
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    subresources: &[Subresource::Status, Subresource::Finalize],
    definition: "io.k8s.api.core.v1.Namespace",
    registry: "namespaces",
    create_on_update: false,
    ..SERVICES
};

pub(crate) static PODS: Resource = Resource {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    subresources: &[Subresource::Status, Subresource::Log, Subresource::Binding],
    definition: "io.k8s.api.core.v1.Pod",
    registry: "pods",
    create_on_update: false,
    ..SERVICES
};

pub(crate) static DEPLOYMENTS: Resource = Resource {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    subresources: &[Subresource::Status, Subresource::Scale],
    definition: "io.k8s.api.apps.v1.Deployment",
    registry: "deployments",
    delete_returns_object: false,
    ..PODS
};

/// All of them, as the API server would hand them in.
pub(crate) static ALL: [&Resource; 4] = [&NAMESPACES, &PODS, &SERVICES, &DEPLOYMENTS];
