//! What is wrong with what is asked of a container or done in it: probes, and the hooks of its life.

use serde_json::Value;

use super::super::{
    errors::Errors,
    value::{at, count, is_set, list, text},
};
use crate::field::FieldError;

const OF_PROBES: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];
const OF_HOOKS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "sleep"];

/// The probes of the container at `root`.
pub(super) fn validate_probes(container: &Value, root: &str, errors: &mut Errors) {
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(value) = container.get(probe).filter(|value| value.is_object()) {
            validate_probe(value, probe, &format!("{root}.{probe}"), errors);
        }
    }
}

/// The hooks of the container at `root`, whose pod is granted so many seconds to end.
pub(super) fn validate_lifecycle(container: &Value, grace_seconds: i64, root: &str, errors: &mut Errors) {
    for hook in ["postStart", "preStop"] {
        let value = at(container, &format!("/lifecycle/{hook}"));
        if !value.is_object() {
            continue;
        }
        let root = format!("{root}.lifecycle.{hook}");
        if validate_handler(value, OF_HOOKS, &root, errors) == Some("sleep") {
            let seconds = count(value, "/sleep/seconds");
            if !(0..=grace_seconds).contains(&seconds) {
                let problem =
                    format!("must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})");
                errors.invalid(format!("{root}.sleep"), &seconds.into(), problem);
            }
        }
    }
}

/// The one way that is named, of those that there are; looked into unless it is `sleep`.
fn validate_handler(
    handler: &Value,
    kinds: [&'static str; 4],
    root: &str,
    errors: &mut Errors,
) -> Option<&'static str> {
    let mut named = kinds.into_iter().filter(|kind| is_set(handler, &format!("/{kind}")));
    let first = named.next();
    let field = |name: &str| format!("{root}.{name}");
    match first {
        None => errors.push(FieldError::required(root, "must specify a handler type")),
        Some("exec") if list(handler, "/exec/command").is_empty() => errors.required(field("exec.command")),
        Some("httpGet") => validate_http_get(at(handler, "/httpGet"), &field("httpGet"), errors),
        Some("tcpSocket") => errors.port_or_name(handler, "/tcpSocket/port", &field("tcpSocket.port")),
        Some("grpc") => errors.port(handler, "/grpc/port", &field("grpc.port")),
        Some(_) => {}
    }
    for other in named {
        errors.forbidden(field(other), "may not specify more than 1 handler type");
    }
    first
}

fn validate_probe(probe: &Value, kind: &str, root: &str, errors: &mut Errors) {
    validate_handler(probe, OF_PROBES, root, errors);
    for key in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        errors.non_negative(probe, &format!("/{key}"), format!("{root}.{key}"));
    }
    let grace = at(probe, "/terminationGracePeriodSeconds");
    let grace_field = format!("{root}.terminationGracePeriodSeconds");
    if grace.as_i64().is_some_and(|seconds| seconds <= 0) {
        errors.invalid(&grace_field, grace, "must be greater than 0");
    }
    if kind == "readinessProbe" {
        if !grace.is_null() {
            errors.invalid(grace_field, grace, "must not be set for readinessProbes");
        }
    } else if count(probe, "/successThreshold") != 1 {
        errors.invalid(format!("{root}.successThreshold"), at(probe, "/successThreshold"), "must be 1");
    }
}

fn validate_http_get(action: &Value, root: &str, errors: &mut Errors) {
    if text(action, "/path").is_empty() {
        errors.required(format!("{root}.path"));
    }
    errors.port_or_name(action, "/port", &format!("{root}.port"));
    let scheme = text(action, "/scheme");
    if !["HTTP", "HTTPS"].contains(&scheme) {
        errors.push(FieldError::not_supported(format!("{root}.scheme"), scheme, &["HTTP", "HTTPS"]));
    }
    for header in list(action, "/httpHeaders") {
        let name = text(header, "/name");
        errors.invalid_text(&format!("{root}.httpHeaders"), name, header_name(name));
    }
}

fn header_name(name: &str) -> Vec<String> {
    if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        Vec::new()
    } else {
        vec![
            "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for \
             validation is '[-A-Za-z0-9]+')"
                .to_owned(),
        ]
    }
}
