//! Reading a Service: the questions that defaults, validation, transitions and allocation all ask.

use std::net::IpAddr;

use serde_json::Value;

use super::super::value::{list, text, texts};

/// The clusterIP of a headless Service.
pub const HEADLESS: &str = "None";

/// Whether the Service has no virtual address: its only clusterIP is `None`.
pub fn is_headless(service: &Value) -> bool {
    texts(service, "/spec/clusterIPs") == [HEADLESS]
}

/// Whether a selector finds the Service's endpoints. An empty selector is no selector, as upstream stores it.
pub fn has_selector(service: &Value) -> bool {
    service.pointer("/spec/selector").and_then(Value::as_object).is_some_and(|selector| !selector.is_empty())
}

/// `spec.externalIPs`; what is no address is left out.
pub fn external_addresses(service: &Value) -> Vec<IpAddr> {
    texts(service, "/spec/externalIPs").into_iter().filter_map(|address| address.parse().ok()).collect()
}

/// `status.loadBalancer.ingress`: the addresses in it; what is no address is left out.
pub fn balancer_addresses(service: &Value) -> Vec<IpAddr> {
    let ingress = list(service, "/status/loadBalancer/ingress");
    ingress.iter().filter_map(|ingress| text(ingress, "/ip").parse().ok()).collect()
}

pub(crate) fn kind(service: &Value) -> &str {
    text(service, "/spec/type")
}

/// Whether the type has a clusterIP; a headless Service has one too, `None`.
pub(crate) fn needs_cluster_ip(service: &Value) -> bool {
    kind(service) != "ExternalName"
}

/// Whether the type has node ports.
pub(crate) fn has_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// Whether each port that names no node port gets one.
pub(crate) fn allocates_node_ports(service: &Value) -> bool {
    let choice = service.pointer("/spec/allocateLoadBalancerNodePorts").and_then(Value::as_bool);
    has_node_ports(service) && (kind(service) == "NodePort" || choice.unwrap_or(true))
}

/// Whether a port for load balancers' health checks is allocated.
pub(crate) fn needs_health_check_port(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// Whether anything but cluster addresses leads to the Service.
pub(crate) fn is_externally_reachable(service: &Value) -> bool {
    match kind(service) {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(service, "/spec/externalIPs").is_empty(),
        _ => false,
    }
}
