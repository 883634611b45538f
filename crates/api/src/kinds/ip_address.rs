//! IPAddress (`networking.k8s.io/v1`): one address in use, named as the address is written, with what uses it.
//!
//! For a Service's address the object is the claim: it is written in the transaction that stores the Service, and nobody gets
//! an address whose object exists. Others may hold addresses by creating objects of their own.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use stead_model::Family;

use super::{
    ALL_VERBS, address, cell,
    column::{NAME, shown},
    errors::Errors,
    value::{at, is_set, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::{dns1123_subdomain, path_segment},
    resource::{Resource, Strategy},
};

pub static RESOURCE: Resource = Resource {
    group: "networking.k8s.io",
    version: "v1",
    kind: "IPAddress",
    plural: "ipaddresses",
    singular: "ipaddress",
    short_names: &["ip"],
    categories: &[],
    namespaced: false,
    verbs: ALL_VERBS,
    subresources: &[],
    definition: "io.k8s.api.networking.v1.IPAddress",
    registry: "ipaddresses",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[NAME, shown("ParentRef", "string", "What uses the address.")],
    strategy: &Rules,
};

/// Who made the object, and looks after it.
pub const MANAGED_BY_LABEL: &str = "ipaddress.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY_LABEL`] for addresses of Services.
pub const ALLOCATOR: &str = "ipallocator.k8s.io";
/// `IPv4` or `IPv6`.
pub const FAMILY_LABEL: &str = "ipaddress.kubernetes.io/ip-family";

/// The object that claims `address` for a Service; without `uid` and time of creation.
pub fn of_service(address: IpAddr, namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(),
            "labels": {FAMILY_LABEL: Family::of(address).to_string(), MANAGED_BY_LABEL: ALLOCATOR},
        },
        "spec": {"parentRef": {"resource": "services", "namespace": namespace, "name": name}},
    })
}

/// Whether the object was made for a Service's address and says so in its labels.
pub fn is_allocated(object: &Value) -> bool {
    let label = |key| meta::labels(object).and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let family = address::family(meta::name(object)).map(|family| family.to_string());
    label(MANAGED_BY_LABEL) == Some(ALLOCATOR) && label(FAMILY_LABEL) == family.as_deref()
}

/// `NAMESPACE/NAME` of the Service that the object refers to; `None` where it refers to something else.
pub fn service(object: &Value) -> Option<(&str, &str)> {
    let parent = at(object, "/spec/parentRef");
    let is_service = text(parent, "/group").is_empty() && text(parent, "/resource") == "services";
    is_service.then(|| (text(parent, "/namespace"), text(parent, "/name")))
}

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Cluster, address::canonical);
        errors.extend(validate_parent(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Errors::default();
        errors.extend(meta::validate_meta_update(new, old));
        errors.extend(validate_parent(new));
        let parent = "/spec/parentRef";
        if at(new, parent) != at(old, parent) {
            let shown = if is_set(new, parent) { shown_parent(at(new, parent)) } else { "null".to_owned() };
            errors.push(FieldError::invalid("spec.parentRef", shown, "field is immutable"));
        }
        errors.into_vec()
    }

    fn cells(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let part = |key: &str| text(object, &format!("/spec/parentRef/{key}")).to_owned();
        let group = Some(part("group")).filter(|group| !group.is_empty()).map(|group| format!(".{group}"));
        let parts = [format!("{}{}", part("resource"), group.unwrap_or_default()), part("namespace"), part("name")];
        let shown = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
        vec![cell::name(object), cell::or(&shown, cell::NONE).into()]
    }
}

/// As upstream shows its own structure.
fn shown_parent(parent: &Value) -> String {
    let part = |key: &str| text(parent, key);
    let [group, resource, namespace, name] = ["/group", "/resource", "/namespace", "/name"].map(part);
    format!(r#"{{"Group":{group:?},"Resource":{resource:?},"Namespace":{namespace:?},"Name":{name:?}}}"#)
}

fn validate_parent(object: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if !is_set(object, "/spec/parentRef") {
        errors.required("spec.parentRef");
        return errors.into_vec();
    }
    let parent = |key: &str| (format!("spec.parentRef.{key}"), text(object, &format!("/spec/parentRef/{key}")));
    let (field, group) = parent("group");
    errors.maybe_named(&field, group, dns1123_subdomain);
    for key in ["resource", "name"] {
        let (field, value) = parent(key);
        errors.named(&field, value, path_segment);
    }
    let (field, namespace) = parent("namespace");
    errors.maybe_named(&field, namespace, path_segment);
    errors.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str, parent: Value) -> Value {
        json!({"metadata": {"name": name}, "spec": {"parentRef": parent}})
    }

    fn errors(object: &Value) -> Vec<String> {
        RESOURCE.strategy.validate_create(object).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_address_has_its_own_name_and_a_parent() {
        let service = json!({"resource": "services", "namespace": "default", "name": "web"});
        for name in ["10.96.0.9", "fd00::9"] {
            assert_eq!(errors(&address(name, service.clone())), [] as [&str; 0]);
        }
        for (name, expect) in [
            ("10.96.0.09", "metadata.name: Invalid value: \"10.96.0.09\": must not have leading 0s"),
            ("FD00::9", "metadata.name: Invalid value: \"FD00::9\": must be in canonical form (\"fd00::9\")"),
            ("fd00:0::9", "metadata.name: Invalid value: \"fd00:0::9\": must be in canonical form (\"fd00::9\")"),
            (
                "web",
                "metadata.name: Invalid value: \"web\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ),
        ] {
            assert_eq!(errors(&address(name, service.clone())), [expect]);
        }
        assert_eq!(errors(&json!({"metadata": {"name": "10.96.0.9"}})), ["spec.parentRef: Required value"]);
        assert_eq!(
            errors(&address("10.96.0.9", json!({"group": "A"})))[1..],
            ["spec.parentRef.resource: Required value", "spec.parentRef.name: Required value"]
        );
    }

    #[test]
    fn a_parent_stays() {
        let old = address("10.96.0.9", json!({"resource": "services", "name": "web"}));
        let new = address("10.96.0.9", json!({"resource": "services", "name": "other"}));
        let errors = |new: &Value| {
            RESOURCE.strategy.validate_update(new, &old).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(
            errors(&new),
            [
                "spec.parentRef: Invalid value: {\"Group\":\"\",\"Resource\":\"services\",\"Namespace\":\"\",\"Name\":\"other\"}: field is immutable"
            ]
        );
        assert_eq!(
            errors(&json!({"metadata": {"name": "10.96.0.9"}})),
            ["spec.parentRef: Required value", "spec.parentRef: Invalid value: null: field is immutable"]
        );
    }

    #[test]
    fn the_claim_of_a_service_says_whose_it_is() {
        let claim = of_service("fd00::9".parse().unwrap(), "shop", "web");
        assert_eq!(errors(&claim), [] as [&str; 0]);
        assert!(is_allocated(&claim));
        assert_eq!(service(&claim), Some(("shop", "web")));
        let cells = RESOURCE.strategy.cells(&claim, Timestamp::UNIX_EPOCH);
        assert_eq!(cells, ["fd00::9", "services/shop/web"]);
        let gateway =
            address("192.0.2.1", json!({"group": "gateway.networking.k8s.io", "resource": "gateways", "name": "g"}));
        assert!(!is_allocated(&gateway) && service(&gateway).is_none());
        assert_eq!(RESOURCE.strategy.cells(&gateway, Timestamp::UNIX_EPOCH)[1], "gateways.gateway.networking.k8s.io/g");
    }
}
