//! What is wrong with a Service, in upstream's words. Families and the cluster's ranges are `families`' and the server's.

use serde_json::{Value, json};

use super::{
    super::{
        address,
        errors::Errors,
        value::{at, count, is_set, list, map, number, text, texts},
    },
    spec::{HEADLESS, is_headless, kind, needs_health_check_port},
};
use crate::{field::FieldError, meta, names::dns1123_subdomain, resource::Warnings};

mod addressing;
mod balancer;
mod ports;

pub(super) use addressing::validate_addressing;
pub(super) use balancer::validate_status;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const MAX_AFFINITY_SECONDS: i64 = 86_400;
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";

/// What holds for every Service, new or changed; metadata apart.
pub(super) fn validate(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    validate_annotations(service, &mut errors);
    validate_type(service, &mut errors);
    ports::validate_ports(service, &mut errors);
    errors.extend(meta::validate_labels(map(service, "/spec/selector"), "spec.selector"));
    validate_affinity(service, &mut errors);
    errors.extend(validate_addressing(service));
    for (index, ip) in texts(service, "/spec/externalIPs").into_iter().enumerate() {
        let field = format!("spec.externalIPs[{index}]");
        let problems = address::ip(ip);
        let problems = if problems.is_empty() { address::destination(ip) } else { problems };
        errors.invalid_text(&field, ip, problems);
    }
    ports::validate_node_ports(service, &mut errors);
    balancer::validate_balancer(service, &mut errors);
    balancer::validate_external_policy(service, &mut errors);
    if is_set(service, "/spec/internalTrafficPolicy") {
        let policy = text(service, "/spec/internalTrafficPolicy");
        errors.supported("spec.internalTrafficPolicy", policy, &["Cluster", "Local"]);
    } else if matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer") {
        errors.required("spec.internalTrafficPolicy");
    }
    if is_set(service, "/spec/trafficDistribution") {
        let distribution = text(service, "/spec/trafficDistribution");
        let supported = &["PreferClose", "PreferSameZone", "PreferSameNode"];
        errors.supported("spec.trafficDistribution", distribution, supported);
    }
    errors.into_vec()
}

/// What an update may not change.
pub(super) fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    if kind(new) != "ExternalName" && kind(old) != "ExternalName" {
        if !(is_headless(new) && is_headless(old)) {
            addressing::validate_first(new, old, "clusterIPs", "clusterIP", &mut errors);
        }
        if !is_headless(new) && !is_headless(old) {
            addressing::validate_first(new, old, "ipFamilies", "ipFamily", &mut errors);
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

/// Fields that have no effect together, values in odd forms, and what upstream gives up.
pub(super) fn warnings(service: &Value) -> Warnings {
    let mut warnings = Warnings::new();
    if meta::annotation(service, HINTS).is_some() {
        warnings.push(format!("annotation {HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    if !is_headless(service) {
        warnings.extend(odd_addresses(service, "clusterIPs"));
    }
    let external = texts(service, "/spec/externalIPs");
    if is_headless(service) {
        if !text(service, "/spec/loadBalancerIP").is_empty() {
            warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
        }
        if !external.is_empty() {
            warnings.push("spec.externalIPs is ignored for headless services".to_owned());
        }
        if text(service, "/spec/sessionAffinity") != "None" {
            warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
        }
    }
    warnings.extend(odd_addresses(service, "externalIPs"));
    let is_external_name = kind(service) == "ExternalName";
    if !external.is_empty() && !is_headless(service) && !is_external_name {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    warnings.extend(address::ip_warning("spec.loadBalancerIP", text(service, "/spec/loadBalancerIP")));
    let ranges = texts(service, "/spec/loadBalancerSourceRanges").into_iter().enumerate();
    warnings.extend(ranges.filter_map(|(index, range)| {
        address::cidr_warning(&format!("spec.loadBalancerSourceRanges[{index}]"), range.trim())
    }));
    if is_external_name && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !is_external_name && !text(service, "/spec/externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(service, "/spec/trafficDistribution") == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}

fn odd_addresses(service: &Value, field: &str) -> Warnings {
    let addresses = texts(service, &format!("/spec/{field}")).into_iter().enumerate();
    addresses.filter_map(|(index, ip)| address::ip_warning(&format!("spec.{field}[{index}]"), ip)).collect()
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
