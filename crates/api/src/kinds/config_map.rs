//! ConfigMap: texts and bytes by key.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    value::map,
};
use crate::resource::{Resource, Strategy};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.core.v1.ConfigMap",
    registry: "configmaps",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("Data", "string", "How many keys the map holds, texts and bytes together."), AGE],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let keys = |pointer: &str| map(object, pointer).map_or(0, |keys| keys.len());
        vec![cell::name(object), (keys("/data") + keys("/binaryData")).into(), cell::age(object, now)]
    }
}
