//! EndpointSlice (`discovery.k8s.io/v1`): a part of the endpoints of a Service, of one address family.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    column::{AGE, NAME, shown},
    generation,
    value::{at, fill, is_set, items_mut, list, number, remove, set, text, texts},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, Strategy, Warnings},
};

mod validate;

pub static RESOURCE: Resource = Resource {
    group: "discovery.k8s.io",
    version: "v1",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    short_names: &[],
    categories: &[],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.discovery.v1.EndpointSlice",
    registry: "endpointslices",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[
        NAME,
        shown("AddressType", "string", "IPv4, IPv6 or FQDN: what the addresses are."),
        shown("Ports", "string", "Ports that all these endpoints have, the first three."),
        shown("Endpoints", "string", "Addresses of the endpoints, ready or not, the first three."),
        AGE,
    ],
    strategy: &Rules,
};

/// The label that names the Service which a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        for port in items_mut(object, "ports") {
            if !is_set(port, "/name") {
                set(port, "name", "");
            }
            fill(port, "protocol", "TCP");
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        drop_old_topology(object);
        generation::begin(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        drop_old_topology(new);
        let content = ["/addressType", "/endpoints", "/ports", "/metadata/labels"];
        generation::follow(new, old, |new, old| content.iter().any(|pointer| at(new, pointer) != at(old, pointer)));
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(validate::validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate::validate(new));
        errors.extend(validate::validate_change(new, old));
        errors
    }

    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Warnings {
        if text(new, "/addressType") == "FQDN" {
            vec![
                "addressType: not acted on by this version of Stead: traffic goes to IPv4 and IPv6 addresses"
                    .to_owned(),
            ]
        } else {
            Warnings::new()
        }
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let ports: Vec<String> = list(object, "/ports").iter().map(port_cell).collect();
        let addresses: Vec<String> = list(object, "/endpoints")
            .iter()
            .flat_map(|endpoint| texts(endpoint, "/addresses"))
            .map(str::to_owned)
            .collect();
        vec![
            cell::name(object),
            text(object, "/addressType").into(),
            cell::first_three(&ports, "<unset>").into(),
            cell::first_three(&addresses, "<unset>").into(),
            cell::age(object, now),
        ]
    }
}

/// `deprecatedTopology` is of `v1beta1`; at `v1`, `nodeName` and `zone` are in its place.
fn drop_old_topology(slice: &mut Value) {
    for endpoint in items_mut(slice, "endpoints") {
        remove(endpoint, "deprecatedTopology");
    }
}

fn port_cell(port: &Value) -> String {
    match (number(port, "/port"), text(port, "/name")) {
        (Some(number), _) => number.to_string(),
        (None, "") => "*".to_owned(),
        (None, name) => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
