//! Endpoints: the addresses behind a Service in one object. Its successor is EndpointSlice; both are kept.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    value::{count, fill, items_mut, list, text},
};
use crate::resource::{Resource, Strategy};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.core.v1.Endpoints",
    registry: "services/endpoints",
    create_on_update: true,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("Endpoints", "string", "Ready addresses with their ports, the first three."), AGE],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        for subset in items_mut(object, "subsets") {
            for port in items_mut(subset, "ports") {
                fill(port, "protocol", "TCP");
            }
        }
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![cell::name(object), cell::first_three(&ready(object), cell::NONE).into(), cell::age(object, now)]
    }
}

fn ready(endpoints: &Value) -> Vec<String> {
    let mut ready = Vec::new();
    for subset in list(endpoints, "/subsets") {
        let addresses = || list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            ready.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            ready.extend(addresses().map(|address| host_port(address, count(port, "/port"))));
        }
    }
    ready
}

fn host_port(address: &str, port: i64) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}
