//! An update of a Service before anything is allocated: values that were allocated before and are left out now are inherited,
//! and fields that the new type has no use for are cleared.
//!
//! A field is cleared only when the client left it as it was; a value that the client changed at the same time stays and fails
//! in validation, so that nobody's wish is dropped in silence.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    super::value::{at, child, count, fill_zero, items_mut, keep, list, remove, set, text},
    spec::{
        allocates_node_ports, has_node_ports, is_externally_reachable, kind, needs_cluster_ip, needs_health_check_port,
    },
};

/// On create, `clusterIPs` follows from `clusterIP`. The other way round is an error of the client.
pub(super) fn normalise_created(service: &mut Value) {
    let cluster_ip = text(service, "/spec/clusterIP").to_owned();
    if !cluster_ip.is_empty() && list(service, "/spec/clusterIPs").is_empty() {
        set(child(service, "spec"), "clusterIPs", vec![cluster_ip]);
    }
}

/// Brings an update in line with what is stored; see the module.
pub(super) fn carry_over(new: &mut Value, old: &Value) {
    inherit_cluster_ips(new, old);
    inherit_node_ports(new, old);
    if needs_health_check_port(old) && needs_health_check_port(new) {
        fill_zero(child(new, "spec"), "healthCheckNodePort", count(old, "/spec/healthCheckNodePort"));
    }
    normalise_updated(new, old);
    clear_unused(new, old);
    if kind(new) != "LoadBalancer" {
        clear_ingress(new);
    }
}

fn inherit_cluster_ips(new: &mut Value, old: &Value) {
    if !needs_cluster_ip(old) || !needs_cluster_ip(new) {
        return;
    }
    if text(new, "/spec/clusterIP").is_empty() && !text(old, "/spec/clusterIP").is_empty() {
        keep(child(new, "spec"), at(old, "/spec"), "clusterIP");
    }
    if list(new, "/spec/clusterIPs").is_empty() && text(new, "/spec/clusterIP") == text(old, "/spec/clusterIP") {
        keep(child(new, "spec"), at(old, "/spec"), "clusterIPs");
    }
}

/// A port without a number gets that of the old port with its name, unless another port has taken it. Where none are
/// allocated, one that is left out is given up.
fn inherit_node_ports(new: &mut Value, old: &Value) {
    if !allocates_node_ports(old) || !allocates_node_ports(new) {
        return;
    }
    let used: BTreeSet<i64> = node_ports(old).intersection(&node_ports(new)).copied().collect();
    let by_name: BTreeMap<&str, i64> =
        list(old, "/spec/ports").iter().map(|port| (text(port, "/name"), count(port, "/nodePort"))).collect();
    for port in items_mut(child(new, "spec"), "ports") {
        let inherited = by_name.get(text(port, "/name")).copied().unwrap_or_default();
        if inherited != 0 && !used.contains(&inherited) {
            fill_zero(port, "nodePort", inherited);
        }
    }
}

/// Keeps `clusterIP` and `clusterIPs` together when the client changed only one of them.
fn normalise_updated(new: &mut Value, old: &Value) {
    let (was, is) = (text(old, "/spec/clusterIP"), text(new, "/spec/clusterIP").to_owned());
    if list(new, "/spec/clusterIPs").is_empty() && was == is {
        keep(child(new, "spec"), at(old, "/spec"), "clusterIPs");
    } else if was != is && (list(new, "/spec/clusterIPs").is_empty() || is_same(new, old, "/spec/clusterIPs")) {
        let spec = child(new, "spec");
        if is.is_empty() {
            remove(spec, "clusterIPs");
        } else {
            set(spec, "clusterIPs", vec![is]);
        }
    }
}

fn clear_unused(new: &mut Value, old: &Value) {
    let mut unused = Vec::new();
    if needs_cluster_ip(old) && !needs_cluster_ip(new) {
        if is_same(new, old, "/spec/clusterIP") && is_same(new, old, "/spec/clusterIPs") {
            unused.extend(["clusterIP", "clusterIPs"]);
        }
        unused.extend(["ipFamilies", "ipFamilyPolicy"].iter().filter(|field| is_same_field(new, old, field)));
    }
    if kind(old) == "LoadBalancer" && kind(new) != "LoadBalancer" {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        unused.extend(fields.iter().filter(|field| is_same_field(new, old, field)));
    }
    for (field, was_needed, is_needed) in [
        ("healthCheckNodePort", needs_health_check_port(old), needs_health_check_port(new)),
        ("externalTrafficPolicy", is_externally_reachable(old), is_externally_reachable(new)),
    ] {
        if was_needed && !is_needed && is_same_field(new, old, field) {
            unused.push(field);
        }
    }
    let clears_node_ports =
        has_node_ports(old) && !has_node_ports(new) && node_ports(old).is_superset(&node_ports(new));
    let spec = child(new, "spec");
    for field in unused {
        remove(spec, field);
    }
    if clears_node_ports {
        for port in items_mut(spec, "ports") {
            remove(port, "nodePort");
        }
    }
}

fn clear_ingress(service: &mut Value) {
    if let Some(balancer) = service.pointer_mut("/status/loadBalancer") {
        remove(balancer, "ingress");
    }
}

fn is_same(new: &Value, old: &Value, pointer: &str) -> bool {
    at(new, pointer) == at(old, pointer)
}

fn is_same_field(new: &Value, old: &Value, field: &str) -> bool {
    is_same(new, old, &format!("/spec/{field}"))
}

fn node_ports(service: &Value) -> BTreeSet<i64> {
    list(service, "/spec/ports").iter().map(|port| count(port, "/nodePort")).filter(|&port| port != 0).collect()
}
