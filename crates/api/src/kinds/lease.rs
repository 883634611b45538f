//! Lease (`coordination.k8s.io/v1`): heartbeats of nodes and locks of controllers.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    value::text,
};
use crate::resource::{Resource, Strategy};

pub static RESOURCE: Resource = Resource {
    group: "coordination.k8s.io",
    version: "v1",
    kind: "Lease",
    plural: "leases",
    singular: "lease",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.coordination.v1.Lease",
    registry: "leases",
    create_on_update: true,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("Holder", "string", "Who holds the lease now."), AGE],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), text(object, "/spec/holderIdentity").into(), cell::age(object, now)]
    }
}
