//! EndpointSlice (`discovery.k8s.io/v1`): a part of the endpoints of a Service, of one address family.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, address, cell,
    column::{AGE, NAME, shown},
    generation,
    value::{at, is_set, items_mut, list, number, remove, set, text, texts},
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

/// Who writes slices for others, as the label `endpointslice.kubernetes.io/managed-by` says.
const CONTROLLERS: [&str; 2] = ["endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io"];

/// The label that names the Service which a slice belongs to.
pub const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        for port in items_mut(object, "ports") {
            for (field, default) in [("name", ""), ("protocol", "TCP")] {
                if !is_set(port, &format!("/{field}")) {
                    set(port, field, default);
                }
            }
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
        errors.extend(validate::validate(object, &[]));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        let stored: Vec<&str> = addresses(old).map(|(_, address)| address).collect();
        errors.extend(validate::validate(new, &stored));
        errors.extend(validate::validate_change(new, old));
        errors
    }

    /// What our own controllers write is right already.
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        let mut warnings = Warnings::new();
        if old.is_none() && text(new, "/addressType") == "FQDN" {
            warnings.push("spec.addressType: FQDN endpoints are deprecated".to_owned());
        }
        let manager = text(new, "/metadata/labels/endpointslice.kubernetes.io~1managed-by");
        if text(new, "/addressType") != "FQDN" && !CONTROLLERS.contains(&manager) {
            warnings.extend(addresses(new).filter_map(|(field, address)| address::ip_warning(&field, address)));
        }
        warnings
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
            cell::or(&cell::first_three(&ports, ""), "<unset>").into(),
            cell::first_three(&addresses, "<unset>").into(),
            cell::age(object, now),
        ]
    }
}

/// All addresses with their fields.
pub fn addresses(slice: &Value) -> impl Iterator<Item = (String, &str)> {
    list(slice, "/endpoints").iter().enumerate().flat_map(|(endpoint, object)| {
        let addresses = texts(object, "/addresses").into_iter().enumerate();
        addresses.map(move |(index, address)| (format!("endpoints[{endpoint}].addresses[{index}]"), address))
    })
}

/// `deprecatedTopology` is of `v1beta1`; at `v1`, `nodeName` and `zone` are in its place.
fn drop_old_topology(slice: &mut Value) {
    for endpoint in items_mut(slice, "endpoints") {
        remove(endpoint, "deprecatedTopology");
    }
}

fn port_cell(port: &Value) -> String {
    number(port, "/port").map_or_else(|| text(port, "/name").to_owned(), |number| number.to_string())
}

#[cfg(test)]
mod tests;
