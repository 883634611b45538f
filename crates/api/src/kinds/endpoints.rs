//! Endpoints: the addresses behind a Service in one object. Its successor is EndpointSlice; both are kept.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, address, cell,
    column::{AGE, NAME, shown},
    errors::Errors,
    value::{at, count, fill, is_set, items_mut, list, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::{dns1123_label, dns1123_subdomain, qualified_name},
    resource::{Resource, Strategy, Warnings},
};

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

/// The two lists of addresses in a subset.
const KINDS: [&str; 2] = ["addresses", "notReadyAddresses"];

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

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(validate(object, &[]));
        errors
    }

    /// Subsets that were stored before a rule was made stay valid until they change.
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        if at(new, "/subsets") != at(old, "/subsets") {
            let stored: Vec<&str> = addresses(old).map(|(_, ip)| ip).collect();
            errors.extend(validate(new, &stored));
        }
        errors
    }

    /// What the endpoints controller writes is right already.
    fn warnings(&self, new: &Value, _old: Option<&Value>) -> Warnings {
        if text(new, "/metadata/labels/endpoints.kubernetes.io~1managed-by") == "endpoint-controller" {
            return Warnings::new();
        }
        addresses(new).filter_map(|(field, ip)| address::ip_warning(&field, ip)).collect()
    }

    fn deprecation(&self) -> Option<&'static str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        // Subsets without a ready address are not `<none>`: nothing is shown.
        let empty = if list(object, "/subsets").is_empty() { cell::NONE } else { "" };
        vec![cell::name(object), cell::first_three(&ready(object), empty).into(), cell::age(object, now)]
    }
}

/// All addresses with their fields, ready or not.
pub fn addresses(endpoints: &Value) -> impl Iterator<Item = (String, &str)> {
    list(endpoints, "/subsets").iter().enumerate().flat_map(|(subset_index, subset)| {
        KINDS.iter().flat_map(move |kind| {
            let addresses = list(subset, &format!("/{kind}")).iter().enumerate();
            addresses.map(move |(index, address)| {
                (format!("subsets[{subset_index}].{kind}[{index}].ip"), text(address, "/ip"))
            })
        })
    })
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

/// `stored`: addresses that were there before.
fn validate(endpoints: &Value, stored: &[&str]) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for (index, subset) in list(endpoints, "/subsets").iter().enumerate() {
        let root = format!("subsets[{index}]");
        if KINDS.iter().all(|kind| list(subset, &format!("/{kind}")).is_empty()) {
            errors.push(FieldError::required(&root, "must specify `addresses` or `notReadyAddresses`"));
        }
        for kind in KINDS {
            for (index, address) in list(subset, &format!("/{kind}")).iter().enumerate() {
                validate_address(address, &format!("{root}.{kind}[{index}]"), stored, &mut errors);
            }
        }
        let ports = list(subset, "/ports");
        for (index, port) in ports.iter().enumerate() {
            let root = format!("{root}.ports[{index}]");
            if ports.len() > 1 && text(port, "/name").is_empty() {
                errors.required(format!("{root}.name"));
            }
            validate_port(port, &root, &mut errors);
        }
    }
    errors.into_vec()
}

fn validate_address(endpoint: &Value, root: &str, stored: &[&str], errors: &mut Errors) {
    let (ip, field) = (text(endpoint, "/ip"), format!("{root}.ip"));
    let odd = address::ip_or_stored(ip, stored);
    // Upstream says of what is no address at all twice that it is none.
    let is_odd_address = !odd.is_empty() && address::family(ip).is_some();
    let destination = if is_odd_address { Vec::new() } else { address::destination(ip) };
    errors.invalid_text(&field, ip, odd.into_iter().chain(destination));
    errors.maybe_named(&format!("{root}.hostname"), text(endpoint, "/hostname"), dns1123_label);
    if is_set(endpoint, "/nodeName") {
        let node = text(endpoint, "/nodeName");
        errors.invalid_text(&format!("{root}.nodeName"), node, dns1123_subdomain(node));
    }
}

fn validate_port(port: &Value, root: &str, errors: &mut Errors) {
    errors.maybe_named(&format!("{root}.name"), text(port, "/name"), dns1123_label);
    errors.port(port, "/port", &format!("{root}.port"));
    errors.one_of(format!("{root}.protocol"), text(port, "/protocol"), &["SCTP", "TCP", "UDP"]);
    if is_set(port, "/appProtocol") {
        let protocol = text(port, "/appProtocol");
        errors.invalid_text(&format!("{root}.appProtocol"), protocol, qualified_name(protocol));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn endpoints(subsets: Value) -> Value {
        let mut endpoints = json!({"metadata": {"name": "web", "namespace": "default"}, "subsets": subsets});
        RESOURCE.strategy.default(&mut endpoints);
        endpoints
    }

    #[test]
    fn three_addresses_are_shown() {
        let check = |subsets: Value, expect: &str| {
            assert_eq!(RESOURCE.strategy.cells(&endpoints(subsets), Timestamp::UNIX_EPOCH)[1], expect);
        };
        check(json!([]), "<none>");
        check(json!([{"notReadyAddresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]), "");
        check(json!([{"addresses": [{"ip": "10.0.0.1"}]}]), "10.0.0.1");
        check(json!([{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]), "[fd00::1]:80");
        check(
            json!([
                {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]},
                {"addresses": [{"ip": "10.0.0.3"}], "ports": [{"name": "a", "port": 82}]},
            ]),
            "10.0.0.1:80,10.0.0.2:80,10.0.0.1:81 + 2 more...",
        );
    }

    #[test]
    fn subsets_lead_somewhere_else_than_to_the_node_itself() {
        let check = |subsets: Value, expect: &[&str]| {
            let errors = RESOURCE.strategy.validate_create(&endpoints(subsets));
            assert_eq!(errors.iter().map(ToString::to_string).collect::<Vec<_>>(), expect);
        };
        check(
            json!([{"addresses": [{"ip": "10.0.0.1", "hostname": "a", "nodeName": "node1"}], "ports": [{"port": 80}]}]),
            &[],
        );
        check(json!([{}]), &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]);
        check(
            json!([{"addresses": [{"ip": "127.0.0.1"}]}]),
            &[
                "subsets[0].addresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        );
        check(
            json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 0}, {"name": "b", "port": 1}]}]),
            &[
                "subsets[0].ports[0].name: Required value",
                "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        );
    }

    #[test]
    fn addresses_that_could_be_written_better_are_named_but_to_the_controller() {
        let mut new = endpoints(json!([{"notReadyAddresses": [{"ip": "FD00::1"}], "ports": [{"port": 80}]}]));
        let warning = "subsets[0].notReadyAddresses[0].ip: IPv6 address \"FD00::1\" should be in RFC 5952 canonical format (\"fd00::1\")";
        assert_eq!(RESOURCE.strategy.warnings(&new, None), [warning]);
        new["metadata"]["labels"] = json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"});
        assert!(RESOURCE.strategy.warnings(&new, None).is_empty());
    }

    #[test]
    fn an_address_stored_before_the_rules_were_strict_may_stay() {
        let old = endpoints(json!([{"addresses": [{"ip": "010.0.0.1"}]}]));
        let problems = |ip: &str| {
            let new = endpoints(json!([{"addresses": [{"ip": ip}, {"ip": "10.0.0.2"}]}]));
            RESOURCE.strategy.validate_update(&new, &old).len()
        };
        assert_eq!(problems("010.0.0.1"), 0);
        assert_eq!(problems("010.0.0.9"), 1);
        assert_eq!(RESOURCE.strategy.validate_create(&old).len(), 1);
    }

    #[test]
    fn what_was_stored_stays_valid() {
        let old = endpoints(json!([{}]));
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(RESOURCE.strategy.validate_update(&new, &old), []);
    }
}
