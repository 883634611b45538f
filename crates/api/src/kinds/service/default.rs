//! Defaults of a Service that need nothing but the Service.
//!
//! Addresses, node ports, families and their policy depend on the cluster and are `allocation`'s and `families`'.

use serde_json::{Value, json};

use super::super::value::{child, fill, is_set, items_mut, list, remove, set, text};

pub(super) fn default(service: &mut Value) {
    let spec = child(service, "spec");
    fill(spec, "sessionAffinity", "None");
    match text(spec, "/sessionAffinity") {
        "None" => drop(remove(spec, "sessionAffinityConfig")),
        "ClientIP" => default_affinity_timeout(spec),
        _ => {}
    }
    fill(spec, "type", "ClusterIP");
    for port in items_mut(spec, "ports") {
        default_port(port);
    }
    if is_externally_reachable(spec) {
        fill(spec, "externalTrafficPolicy", "Cluster");
    }
    if matches!(text(spec, "/type"), "ClusterIP" | "NodePort" | "LoadBalancer") {
        fill(spec, "internalTrafficPolicy", "Cluster");
    }
    if text(spec, "/type") == "LoadBalancer" {
        if !is_set(spec, "/allocateLoadBalancerNodePorts") {
            set(spec, "allocateLoadBalancerNodePorts", true);
        }
        default_ip_mode(service);
    }
}

/// Whether anything but cluster addresses leads to the Service with this spec.
pub(crate) fn is_externally_reachable(spec: &Value) -> bool {
    match text(spec, "/type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(spec, "/externalIPs").is_empty(),
        _ => false,
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
        if !text(point, "/ip").is_empty() {
            fill(point, "ipMode", "VIP");
        }
    }
}
