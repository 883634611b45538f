//! What is wrong with a Service, in upstream's words. Families and the cluster's ranges are `families`' and the server's.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{
    super::{
        address,
        errors::Errors,
        value::{at, count, is_set, list, map, number, text, texts},
    },
    spec::{HEADLESS, is_externally_reachable, is_headless, kind, needs_health_check_port},
};
use crate::{
    field::FieldError,
    meta,
    names::{dns1123_label, dns1123_subdomain, qualified_name},
    resource::Warnings,
};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const MAX_AFFINITY_SECONDS: i64 = 86_400;
const ONLY_FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// What holds for every Service, new or changed; metadata apart.
pub(super) fn validate(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    validate_annotations(service, &mut errors);
    validate_type(service, &mut errors);
    validate_ports(service, &mut errors);
    errors.extend(meta::validate_labels(map(service, "/spec/selector"), "spec.selector"));
    validate_affinity(service, &mut errors);
    errors.extend(validate_addressing(service));
    for (index, ip) in texts(service, "/spec/externalIPs").into_iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        let problems = address::ip(ip);
        let problems = if problems.is_empty() { address::destination(ip) } else { problems };
        errors.invalid_text(&field, ip, problems);
    }
    validate_node_ports(service, &mut errors);
    validate_balancer(service, &mut errors);
    validate_external_policy(service, &mut errors);
    if kind(service) != "ExternalName" || is_set(service, "/spec/internalTrafficPolicy") {
        let policy = text(service, "/spec/internalTrafficPolicy");
        errors.one_of("spec.internalTrafficPolicy", policy, &["Cluster", "Local"]);
    }
    if is_set(service, "/spec/trafficDistribution") {
        let distribution = text(service, "/spec/trafficDistribution");
        let supported = &["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.one_of("spec.trafficDistribution", distribution, supported);
    }
    errors.into_vec()
}

/// `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy` by themselves and together.
pub(super) fn validate_addressing(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if kind(service) == "ExternalName" {
        return Vec::new();
    }
    let (cluster_ip, all) = (text(service, "/spec/clusterIP"), texts(service, "/spec/clusterIPs"));
    let shown = at(service, "/spec/clusterIPs");
    match (cluster_ip, all.first()) {
        ("", Some(_)) => errors.invalid("spec.clusterIPs", shown, "must be empty when `clusterIP` is not specified"),
        ("", None) => {}
        (_, None) => errors.required("spec.clusterIPs"),
        (_, Some(first)) if *first != cluster_ip => {
            errors.invalid("spec.clusterIPs", shown, "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = BTreeSet::new();
    for (index, family) in texts(service, "/spec/ipFamilies").into_iter().enumerate() {
        let field = format!("spec.ipFamilies[{index}]");
        if !["IPv4", "IPv6"].contains(&family) {
            errors.push(FieldError::not_supported(&field, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.duplicate(field, &family.into());
        }
    }
    if is_set(service, "/spec/ipFamilyPolicy") {
        errors.one_of("spec.ipFamilyPolicy", text(service, "/spec/ipFamilyPolicy"), POLICIES);
    }
    if validate_cluster_ips(&all, shown, &mut errors) {
        if all.len() > 1 && !address::are_dual_stack(&all) {
            errors.invalid("spec.clusterIPs", shown, "may specify no more than one IP for each IP family");
        }
        if !is_headless(service) {
            match_families(service, &all, &mut errors);
        }
    }
    errors.into_vec()
}

/// What an update may not change.
pub(super) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if kind(new) != "ExternalName" && kind(old) != "ExternalName" {
        if !(is_headless(new) && is_headless(old)) {
            validate_first(new, old, "clusterIPs", "clusterIP", &mut errors);
        }
        if !is_headless(new) && !is_headless(old) {
            validate_first(new, old, "ipFamilies", "ipFamily", &mut errors);
        }
    }
    if kind(new) == "LoadBalancer" && kind(old) == "LoadBalancer" {
        let class = "/spec/loadBalancerClass";
        if at(new, class) != at(old, class) {
            errors.invalid("spec.loadBalancerClass", at(new, class), "may not change once set");
        }
    }
    let port = "/spec/healthCheckNodePort";
    if needs_health_check_port(new) && needs_health_check_port(old) && count(new, port) != count(old, port) {
        errors.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
    errors.into_vec()
}

/// What a status may say.
pub(super) fn validate_status(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let ingress = list(service, "/status/loadBalancer/ingress");
    if kind(service) != "LoadBalancer" && !ingress.is_empty() {
        errors.forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'");
        return errors.into_vec();
    }
    for (index, point) in ingress.iter().enumerate() {
        let field = |name: &str| format!("status.loadBalancer.ingress[{index}].{name}");
        let (ip, mode, hostname) = (text(point, "/ip"), text(point, "/ipMode"), text(point, "/hostname"));
        match (ip, mode) {
            ("", "") => {}
            ("", _) => errors.forbidden(field("ipMode"), "may not be specified when `ip` is not set"),
            (_, "") => errors.push(FieldError::required(field("ipMode"), "must be specified when `ip` is set")),
            _ => errors.one_of(field("ipMode"), mode, &["Proxy", "VIP"]),
        }
        errors.maybe_named(&field("ip"), ip, address::ip);
        errors.maybe_named(&field("hostname"), hostname, dns1123_subdomain);
        if address::family(hostname).is_some() {
            errors.invalid(field("hostname"), &hostname.into(), "must be a DNS name, not an IP address");
        }
    }
    errors.into_vec()
}

/// Fields that have no effect together, or that upstream gives up.
pub(super) fn warnings(service: &Value) -> Warnings {
    let mut warnings = Warnings::new();
    if is_headless(service) {
        if !text(service, "/spec/loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if text(service, "/spec/sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    if kind(service) != "ExternalName" && !text(service, "/spec/externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(service, "/spec/trafficDistribution") == "PreferClose" {
        warnings.push("spec.trafficDistribution: PreferClose is deprecated; use PreferSameZone instead".to_owned());
    }
    if meta::annotation(service, HINTS).is_some() {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    warnings
}

fn validate_annotations(service: &Value, errors: &mut Errors) {
    if let (Some(hints), Some(mode)) = (meta::annotation(service, HINTS), meta::annotation(service, TOPOLOGY_MODE))
        && hints != mode
    {
        errors.invalid(
            format!("metadata.annotations[{TOPOLOGY_MODE}]"),
            &mode.into(),
            format!("must match annotations[{HINTS}] when both are specified"),
        );
    }
}

fn validate_type(service: &Value, errors: &mut Errors) {
    if list(service, "/spec/ports").is_empty() && !is_headless(service) && kind(service) != "ExternalName" {
        errors.required("spec.ports");
    }
    match kind(service) {
        kind @ ("LoadBalancer" | "NodePort") if is_headless(service) => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.invalid("spec.clusterIPs[0]", &HEADLESS.into(), detail);
        }
        "ExternalName" => validate_external_name(service, errors),
        _ => {}
    }
    errors.one_of("spec.type", kind(service), TYPES);
}

fn validate_external_name(service: &Value, errors: &mut Errors) {
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let pointer = format!("/spec/{field}");
        if is_set(service, &pointer) && at(service, &pointer) != &json!([]) {
            errors.forbidden(format!("spec.{field}"), "may not be set for ExternalName services");
        }
    }
    let name = text(service, "/spec/externalName");
    errors.named("spec.externalName", name.strip_suffix('.').unwrap_or(name), dns1123_subdomain);
}

fn validate_ports(service: &Value, errors: &mut Errors) {
    let ports = list(service, "/spec/ports");
    let mut names = BTreeSet::new();
    for (index, port) in ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{index}].{name}");
        match text(port, "/name") {
            "" if ports.len() > 1 => errors.required(field("name")),
            "" => {}
            name => {
                errors.named(&field("name"), name, dns1123_label);
                if !names.insert(name) {
                    errors.duplicate(field("name"), &name.into());
                }
            }
        }
        errors.port(port, "/port", &field("port"));
        errors.one_of(field("protocol"), text(port, "/protocol"), PROTOCOLS);
        errors.port_or_name(port, "/targetPort", &field("targetPort"));
        if is_set(port, "/appProtocol") {
            let protocol = text(port, "/appProtocol");
            errors.invalid_text(&field("appProtocol"), protocol, qualified_name(protocol));
        }
        let node_port = count(port, "/nodePort");
        if !(0..=65_535).contains(&node_port) {
            errors.invalid(field("nodePort"), &node_port.into(), "must be between 0 and 65535, inclusive");
        }
    }
}

fn validate_affinity(service: &Value, errors: &mut Errors) {
    let affinity = text(service, "/spec/sessionAffinity");
    errors.one_of("spec.sessionAffinity", affinity, &["ClientIP", "None"]);
    let field = "spec.sessionAffinityConfig";
    let pointer = "/spec/sessionAffinityConfig/clientIP/timeoutSeconds";
    let missing = "when session affinity type is ClientIP";
    match (affinity, number(service, pointer)) {
        ("None", _) if is_set(service, "/spec/sessionAffinityConfig") => {
            errors.forbidden(field, "must not be set when session affinity is None");
        }
        ("ClientIP", None) => {
            errors.push(FieldError::required(format!("{field}.clientIP.timeoutSeconds"), missing));
        }
        ("ClientIP", Some(seconds)) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => {
            let detail = format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}");
            errors.invalid(format!("{field}.clientIP.timeoutSeconds"), &seconds.into(), detail);
        }
        _ => {}
    }
}

fn validate_node_ports(service: &Value, errors: &mut Errors) {
    let mut node_ports = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for (index, port) in list(service, "/spec/ports").iter().enumerate() {
        let node_port = count(port, "/nodePort");
        let field = format!("spec.ports[{index}].nodePort");
        if node_port != 0 && kind(service) == "ClusterIP" {
            errors.forbidden(&field, "may not be used when `type` is 'ClusterIP'");
        }
        if node_port != 0 && !node_ports.insert((text(port, "/protocol"), node_port)) {
            errors.duplicate(field, &node_port.into());
        }
    }
    for (index, port) in list(service, "/spec/ports").iter().enumerate() {
        let (protocol, number) = (text(port, "/protocol"), count(port, "/port"));
        if !numbers.insert((protocol, number)) {
            errors.push(FieldError::duplicate(format!("spec.ports[{index}]"), shown_port(protocol, number)));
        }
    }
}

/// A port as upstream shows it when it is a duplicate: only protocol and number count, all else is empty.
fn shown_port(protocol: &str, number: i64) -> String {
    format!(r#"{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{number},"TargetPort":0,"NodePort":0}}"#)
}

fn validate_balancer(service: &Value, errors: &mut Errors) {
    let is_balancer = kind(service) == "LoadBalancer";
    let ranges = texts(service, "/spec/loadBalancerSourceRanges");
    let field = if ranges.is_empty() {
        format!("metadata.annotations[{SOURCE_RANGES}]")
    } else {
        "spec.LoadBalancerSourceRanges".to_owned()
    };
    let annotation = meta::annotation(service, SOURCE_RANGES).filter(|_| ranges.is_empty());
    if (!ranges.is_empty() || annotation.is_some()) && !is_balancer {
        errors.forbidden(&field, ONLY_FOR_BALANCERS);
    }
    for (index, range) in ranges.iter().enumerate() {
        errors.invalid_text(&format!("{field}[{index}]"), range.trim(), address::cidr(range.trim()));
    }
    for range in annotation.unwrap_or_default().split(',').map(str::trim).filter(|range| !range.is_empty()) {
        errors.invalid_text(&field, range, address::cidr(range));
    }
    match (is_balancer, is_set(service, "/spec/allocateLoadBalancerNodePorts")) {
        (false, true) => errors.forbidden("spec.allocateLoadBalancerNodePorts", ONLY_FOR_BALANCERS),
        (true, false) => errors.required("allocateLoadBalancerNodePorts"),
        _ => {}
    }
    if is_set(service, "/spec/loadBalancerClass") {
        if is_balancer {
            let class = text(service, "/spec/loadBalancerClass");
            errors.invalid_text("spec.loadBalancerClass", class, qualified_name(class));
        } else {
            errors.forbidden("spec.loadBalancerClass", ONLY_FOR_BALANCERS);
        }
    }
}

fn validate_external_policy(service: &Value, errors: &mut Errors) {
    let policy = text(service, "/spec/externalTrafficPolicy");
    if is_externally_reachable(service) {
        errors.one_of("spec.externalTrafficPolicy", policy, &["Cluster", "Local"]);
    } else if !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.invalid("spec.externalTrafficPolicy", &policy.into(), detail);
    }
    let port = count(service, "/spec/healthCheckNodePort");
    if port != 0 && !needs_health_check_port(service) {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        errors.invalid("spec.healthCheckNodePort", &port.into(), detail);
    } else if port != 0 {
        errors.port(service, "/spec/healthCheckNodePort", "spec.healthCheckNodePort");
    }
}

/// Whether the addresses can be looked at any further.
fn validate_cluster_ips(all: &[&str], shown: &Value, errors: &mut Errors) -> bool {
    let mut is_valid = true;
    for (index, ip) in all.iter().enumerate() {
        if index == 0 && *ip == HEADLESS {
            if all.len() > 1 {
                is_valid = false;
                errors.invalid("spec.clusterIPs", shown, "'None' must be the first and only value");
            }
            continue;
        }
        let problems = address::ip(ip);
        is_valid &= problems.is_empty();
        errors.invalid_text(&format!("spec.clusterIPs[{index}]"), ip, problems);
    }
    if all.len() > 2 {
        errors.invalid("spec.clusterIPs", shown, "may only hold up to 2 values");
    }
    is_valid
}

fn match_families(service: &Value, all: &[&str], errors: &mut Errors) {
    for (index, (ip, family)) in all.iter().zip(texts(service, "/spec/ipFamilies")).enumerate() {
        let is = address::family(ip).map(|family| family.to_string());
        if ["IPv4", "IPv6"].contains(&family) && is.as_deref() != Some(family) {
            errors.invalid(
                format!("spec.clusterIPs[{index}]"),
                &(*ip).into(),
                format!("expected an {family} value as indicated by `ipFamilies[{index}]`"),
            );
        }
    }
}

/// The first of `clusterIPs` or `ipFamilies` stays; a second one may come, and go with SingleStack.
fn validate_first(new: &Value, old: &Value, field: &str, one: &str, errors: &mut Errors) {
    let pointer = format!("/spec/{field}");
    let (is, was) = (list(new, &pointer), list(old, &pointer));
    let first = format!("spec.{field}[0]");
    let shown = at(new, &pointer);
    if was.is_empty() {
        return;
    }
    if is.is_empty() {
        return errors.invalid(first, shown, format!("primary {one} can not be unset"));
    }
    for index in 0..was.len().min(is.len()) {
        if was[index] != is[index] {
            errors.invalid(format!("spec.{field}[{index}]"), shown, "may not change once set");
        }
    }
    if is.len() < was.len() && text(new, "/spec/ipFamilyPolicy") != "SingleStack" {
        let detail = format!("must be set to 'SingleStack' when releasing the secondary {one}");
        errors.invalid("spec.ipFamilyPolicy", at(new, "/spec/ipFamilyPolicy"), detail);
    }
}
