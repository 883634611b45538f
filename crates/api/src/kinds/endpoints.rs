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

const NOT_MIRRORED: &str = "subsets: not acted on by this version of Stead: Endpoints written by hand are not mirrored into \
                            EndpointSlices, so no traffic follows them; make an EndpointSlice";

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
        errors.extend(validate(object));
        errors
    }

    /// Subsets that were stored before a rule was made stay valid until they change.
    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        if at(new, "/subsets") != at(old, "/subsets") {
            errors.extend(validate(new));
        }
        errors
    }

    /// The endpoints controller writes Endpoints and EndpointSlices both; what others write stays alone.
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        let is_new = old.is_none_or(|old| at(new, "/subsets") != at(old, "/subsets"));
        let is_alone = !is_set(new, "/metadata/labels/endpoints.kubernetes.io~1managed-by")
            && text(new, "/metadata/labels/endpointslice.kubernetes.io~1skip-mirror") != "true";
        if is_new && is_alone && !list(new, "/subsets").is_empty() {
            vec![NOT_MIRRORED.to_owned()]
        } else {
            Warnings::new()
        }
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        // Subsets without a ready address are not `<none>`: nothing is shown.
        let empty = if list(object, "/subsets").is_empty() { cell::NONE } else { "" };
        vec![cell::name(object), cell::first_three(&ready(object), empty).into(), cell::age(object, now)]
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

fn validate(endpoints: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    for (index, subset) in list(endpoints, "/subsets").iter().enumerate() {
        let root = format!("subsets[{index}]");
        let kinds = ["addresses", "notReadyAddresses"];
        if kinds.iter().all(|kind| list(subset, &format!("/{kind}")).is_empty()) {
            errors.push(FieldError::required(&root, "must specify `addresses` or `notReadyAddresses`"));
        }
        for kind in kinds {
            for (index, address) in list(subset, &format!("/{kind}")).iter().enumerate() {
                validate_address(address, &format!("{root}.{kind}[{index}]"), &mut errors);
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

fn validate_address(endpoint: &Value, root: &str, errors: &mut Errors) {
    let (ip, field) = (text(endpoint, "/ip"), format!("{root}.ip"));
    let problems = address::ip(ip);
    let problems = if problems.is_empty() { address::destination(ip) } else { problems };
    errors.invalid_text(&field, ip, problems);
    errors.maybe_named(&format!("{root}.hostname"), text(endpoint, "/hostname"), dns1123_label);
    errors.maybe_named(&format!("{root}.nodeName"), text(endpoint, "/nodeName"), dns1123_subdomain);
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
    fn whoever_writes_them_by_hand_is_told_that_no_traffic_follows() {
        let warned = |labels: Value, subsets: &Value, old: Option<&Value>| {
            let mut new = endpoints(subsets.clone());
            new["metadata"]["labels"] = labels;
            RESOURCE.strategy.warnings(&new, old) == [NOT_MIRRORED]
        };
        let subsets = json!([{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]);
        let stored = endpoints(subsets.clone());
        assert!(warned(json!({}), &subsets, None));
        assert!(warned(json!({"endpointslice.kubernetes.io/skip-mirror": "false"}), &subsets, None));
        assert!(warned(json!({}), &json!([{"addresses": [{"ip": "10.0.0.2"}]}]), Some(&stored)));
        assert!(!warned(json!({"a": "b"}), &subsets, Some(&stored)), "only a label changes");
        assert!(!warned(json!({}), &json!([]), Some(&stored)), "nothing is to follow");
        assert!(!warned(json!({"endpoints.kubernetes.io/managed-by": "endpoint-controller"}), &subsets, None));
        assert!(!warned(json!({"endpointslice.kubernetes.io/skip-mirror": "true"}), &subsets, None));
    }

    #[test]
    fn what_was_stored_stays_valid() {
        let old = endpoints(json!([{}]));
        let mut new = old.clone();
        new["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(RESOURCE.strategy.validate_update(&new, &old), []);
    }
}
