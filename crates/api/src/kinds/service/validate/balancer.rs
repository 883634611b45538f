//! What a Service says about load balancers and traffic from outside, and what a load balancer says in the status.

use serde_json::Value;

use super::super::{
    super::{
        address,
        errors::Errors,
        value::{count, is_set, list, text, texts},
    },
    spec::{is_externally_reachable, kind, needs_health_check_port},
};
use crate::{
    field::FieldError,
    meta,
    names::{dns1123_subdomain, qualified_name},
};

const ONLY_FOR_BALANCERS: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// What a status may say.
pub(in super::super) fn validate_status(service: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let ingress = list(service, "/status/loadBalancer/ingress");
    if kind(service) != "LoadBalancer" && !ingress.is_empty() {
        errors.forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'");
        return errors.into_vec();
    }
    for (index, point) in ingress.iter().enumerate() {
        let field = |name: &str| format!("status.loadBalancer.ingress[{index}].{name}");
        let (ip, mode, hostname) = (text(point, "/ip"), text(point, "/ipMode"), text(point, "/hostname"));
        errors.maybe_named(&field("ip"), ip, address::ip);
        match (ip, is_set(point, "/ipMode")) {
            ("", false) => {}
            ("", true) => errors.forbidden(field("ipMode"), "may not be specified when `ip` is not set"),
            (_, false) => errors.push(FieldError::required(field("ipMode"), "must be specified when `ip` is set")),
            (_, true) => errors.supported(field("ipMode"), mode, &["Proxy", "VIP"]),
        }
        errors.maybe_named(&field("hostname"), hostname, dns1123_subdomain);
        if address::family(hostname).is_some() {
            errors.invalid(field("hostname"), &hostname.into(), "must be a DNS name, not an IP address");
        }
    }
    errors.into_vec()
}

pub(super) fn validate_balancer(service: &Value, errors: &mut Errors) {
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

pub(super) fn validate_external_policy(service: &Value, errors: &mut Errors) {
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
