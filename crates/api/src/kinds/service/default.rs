//! Defaults of a Service that need nothing but the Service.
//!
//! Addresses, node ports, families and their policy depend on the cluster; `families` and `allocation` know them.

use serde_json::{Value, json};

use super::{
    super::value::{child, fill, is_set, items_mut, remove, set, text},
    spec::{is_externally_reachable, kind},
};

pub(super) fn default(service: &mut Value) {
    let spec = child(service, "spec");
    fill(spec, "sessionAffinity", "None");
    match text(spec, "/sessionAffinity") {
        "None" => drop(remove(spec, "sessionAffinityConfig")),
        "ClientIP" => default_affinity_timeout(spec),
        _ => {}
    }
    fill(spec, "type", "ClusterIP");
    if spec.get("selector").and_then(Value::as_object).is_some_and(|selector| selector.is_empty()) {
        remove(spec, "selector");
    }
    for port in items_mut(spec, "ports") {
        default_port(port);
    }
    if is_externally_reachable(service) {
        fill(child(service, "spec"), "externalTrafficPolicy", "Cluster");
    }
    default_internal_policy(service);
    if kind(service) == "LoadBalancer" {
        if !is_set(service, "/spec/allocateLoadBalancerNodePorts") {
            set(child(service, "spec"), "allocateLoadBalancerNodePorts", true);
        }
        default_ip_mode(service);
    }
}

/// An ExternalName has no use for one, and shows none.
fn default_internal_policy(service: &mut Value) {
    let policy = text(service, "/spec/internalTrafficPolicy").to_owned();
    match kind(service) {
        "ClusterIP" | "NodePort" | "LoadBalancer" if !is_set(service, "/spec/internalTrafficPolicy") => {
            set(child(service, "spec"), "internalTrafficPolicy", "Cluster");
        }
        "ExternalName" if matches!(policy.as_str(), "Cluster" | "Local") => {
            remove(child(service, "spec"), "internalTrafficPolicy");
        }
        _ => {}
    }
}

fn default_affinity_timeout(spec: &mut Value) {
    if !is_set(spec, "/sessionAffinityConfig/clientIP/timeoutSeconds") {
        set(spec, "sessionAffinityConfig", json!({"clientIP": {"timeoutSeconds": 10_800}}));
    }
}

fn default_port(port: &mut Value) {
    fill(port, "protocol", "TCP");
    let target = port.get("targetPort");
    if target.is_none_or(|target| target.is_null() || target == 0 || target == "") {
        let number = port.get("port").cloned().unwrap_or_else(|| 0.into());
        set(port, "targetPort", number);
    }
}

/// An ingress address of a load balancer is a VIP unless it says otherwise.
fn default_ip_mode(service: &mut Value) {
    let Some(balancer) = service.pointer_mut("/status/loadBalancer") else { return };
    for point in items_mut(balancer, "ingress") {
        if !text(point, "/ip").is_empty() && !is_set(point, "/ipMode") {
            set(point, "ipMode", "VIP");
        }
    }
}
