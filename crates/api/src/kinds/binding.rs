//! Binding: a scheduler's word that a pod goes to a node. It is taken and kept nowhere; what the pod becomes is the API server's.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    cell,
    column::{AGE, NAME},
};
use crate::resource::{Resource, Strategy};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Binding",
    plural: "bindings",
    singular: "binding",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: &["create"],
    subresources: &[],
    definition: "io.k8s.api.core.v1.Binding",
    registry: "bindings",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, AGE],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), cell::age(object, now)]
    }
}
