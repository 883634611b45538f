//! Service: a steady virtual address before the pods that a selector finds.
//!
//! Addresses and node ports are claimed by the API server in the transaction that stores the Service; what has to be claimed
//! and released is decided here. A write goes `default` → `prepare_*` → [`families::resolve`] → `validate_*` →
//! [`allocation::plan`], then the claims, and only then the store.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ALL_VERBS, cell,
    cell::{NONE, or},
    column::{AGE, NAME, shown, wide},
    conditions, unhonoured,
    value::{child, count, keep, list, set, text, texts},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_label,
    resource::{Resource, Strategy, Subresource, Warnings},
};

pub mod allocation;
mod default;
pub mod families;
mod spec;
mod transition;
mod validate;

pub use spec::{HEADLESS, balancer_addresses, external_addresses, has_selector, is_headless};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Proxy, Subresource::Status],
    definition: "io.k8s.api.core.v1.Service",
    registry: "services/specs",
    create_on_update: true,
    delete_returns_object: true,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Type", "string", "From where the Service can be reached."),
        shown("Cluster-IP", "string", "Virtual address inside the cluster."),
        shown("External-IP", "string", "Addresses or names under which the outside reaches the Service."),
        shown("Port(s)", "string", "Ports, node ports after a colon, and protocols."),
        AGE,
        wide("Selector", "string", "Labels of the pods that serve."),
    ],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        default::default(object);
        child(child(object, "status"), "loadBalancer");
        conditions::default(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        set(object, "status", json!({"loadBalancer": {}}));
        transition::normalise_created(object);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        transition::carry_over(new, old);
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_label);
        errors.extend(validate::validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate::validate_change(new, old));
        errors.extend(validate::validate(new));
        errors.extend(validate::validate_status(new));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        let mut warnings = unhonoured::warnings(unhonoured::SERVICE, new, old, "");
        warnings.extend(validate::warnings(new));
        warnings
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        match path {
            "spec.clusterIP" => Some(text(object, "/spec/clusterIP").to_owned()),
            "spec.type" => Some(text(object, "/spec/type").to_owned()),
            _ => None,
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cluster_ip = or(text(object, "/spec/clusterIPs/0"), text(object, "/spec/clusterIP"));
        vec![
            cell::name(object),
            text(object, "/spec/type").into(),
            or(cluster_ip, NONE).into(),
            external_ip(object).into(),
            ports(object).into(),
            cell::age(object, now),
            cell::labels(object, "/spec/selector").into(),
        ]
    }
}

fn external_ip(service: &Value) -> String {
    let external = texts(service, "/spec/externalIPs");
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => or(&external.join(","), NONE).to_owned(),
        "LoadBalancer" => {
            let points = list(service, "/status/loadBalancer/ingress").iter();
            let points: BTreeSet<&str> = points
                .map(|point| or(text(point, "/ip"), text(point, "/hostname")))
                .filter(|at| !at.is_empty())
                .collect();
            let all: Vec<&str> = points.into_iter().chain(external).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => cell::UNKNOWN.to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let ports = list(service, "/spec/ports").iter().map(|port| {
        let (number, protocol) = (count(port, "/port"), text(port, "/protocol"));
        match count(port, "/nodePort") {
            ..=0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    });
    or(&ports.collect::<Vec<_>>().join(","), NONE).to_owned()
}

#[cfg(test)]
mod tests;
