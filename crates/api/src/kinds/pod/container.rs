//! What is wrong with a container: name, image, ports, variables. What it asks for is `resources`' to look at, what is asked of
//! it `handler`'s.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    super::{
        errors::Errors,
        value::{at, count, is_set, list, text},
    },
    handler, resources,
};
use crate::{
    field::FieldError,
    names::{config_map_key, dns1123_label, dns1123_subdomain, port_name, qualified_name},
};

/// Fields of the pod that a variable of a container can be set from.
const FIELD_REFERENCES: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields that a file could be made from, and a variable not.
const WHOLE_MAPS: [&str; 2] = ["metadata.annotations", "metadata.labels"];

/// What the pod says that its containers refer to or depend on.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Names of volumes.
    pub(super) volumes: BTreeSet<&'a str>,
    /// Names of claims.
    pub(super) claims: BTreeSet<&'a str>,
    pub(super) grace_seconds: i64,
    pub(super) restart_policy: &'a str,
}

/// `container` stands at `root`, such as `spec.containers[0]`.
pub(super) fn validate(container: &Value, pod: &Surroundings<'_>, root: &str) -> Vec<FieldError> {
    let mut errors = Errors::default();
    errors.named(&format!("{root}.name"), text(container, "/name"), dns1123_label);
    if text(container, "/image").is_empty() {
        errors.required(format!("{root}.image"));
    }
    let policies = &["File", "FallbackToLogsOnError"];
    let policy = text(container, "/terminationMessagePolicy");
    errors.one_of(format!("{root}.terminationMessagePolicy"), policy, policies);
    validate_ports(container, root, &mut errors);
    for (index, variable) in list(container, "/env").iter().enumerate() {
        validate_variable(variable, &format!("{root}.env[{index}]"), &mut errors);
    }
    for (index, source) in list(container, "/envFrom").iter().enumerate() {
        validate_source(source, &format!("{root}.envFrom[{index}]"), &mut errors);
    }
    super::volumes::validate_mounts(container, &pod.volumes, root, &mut errors);
    let policies = &["Always", "IfNotPresent", "Never"];
    errors.one_of(format!("{root}.imagePullPolicy"), text(container, "/imagePullPolicy"), policies);
    resources::validate(at(container, "/resources"), &pod.claims, &format!("{root}.resources"), &mut errors);
    resources::validate_resize_policy(container, pod.restart_policy, root, &mut errors);
    handler::validate_lifecycle(container, pod.grace_seconds, root, &mut errors);
    handler::validate_probes(container, root, &mut errors);
    if is_set(container, "/restartPolicy") {
        errors.forbidden(format!("{root}.restartPolicy"), "may not be set for non-init containers");
    }
    errors.into_vec()
}

fn validate_ports(container: &Value, root: &str, errors: &mut Errors) {
    let mut names = BTreeSet::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let field = |name: &str| format!("{root}.ports[{index}].{name}");
        let name = text(port, "/name");
        errors.maybe_named(&field("name"), name, port_name);
        if !name.is_empty() && !names.insert(name) {
            errors.duplicate(field("name"), &name.into());
        }
        if count(port, "/containerPort") == 0 {
            errors.required(field("containerPort"));
        } else {
            errors.port(port, "/containerPort", &field("containerPort"));
        }
        if count(port, "/hostPort") != 0 {
            errors.port(port, "/hostPort", &field("hostPort"));
        }
        errors.one_of(field("protocol"), text(port, "/protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

fn validate_variable(variable: &Value, root: &str, errors: &mut Errors) {
    errors.named(&format!("{root}.name"), text(variable, "/name"), variable_name);
    let Some(source) = variable.get("valueFrom").filter(|source| !source.is_null()) else { return };
    let field = format!("{root}.valueFrom");
    let sources = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];
    let named = sources.iter().filter(|name| is_set(source, &format!("/{name}"))).count();
    let nothing = &Value::from("");
    if named == 0 {
        let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`";
        errors.invalid(&field, nothing, detail);
    } else if !text(variable, "/value").is_empty() {
        errors.invalid(&field, nothing, "may not be specified when `value` is not empty");
    } else if named > 1 {
        errors.invalid(&field, nothing, "may not have more than one field specified at a time");
    }
    if is_set(source, "/fieldRef") {
        validate_field(at(source, "/fieldRef"), &format!("{field}.fieldRef"), errors);
    }
    for reference in ["configMapKeyRef", "secretKeyRef"] {
        if let Some(value) = source.get(reference).filter(|value| value.is_object()) {
            let name = text(value, "/name");
            errors.invalid_text(&format!("{field}.{reference}.name"), name, dns1123_subdomain(name));
            errors.named(&format!("{field}.{reference}.key"), text(value, "/key"), config_map_key);
        }
    }
}

/// A field of the pod that a variable is taken from.
fn validate_field(reference: &Value, root: &str, errors: &mut Errors) {
    let (path, field) = (text(reference, "/fieldPath"), format!("{root}.fieldPath"));
    let version = text(reference, "/apiVersion");
    if version.is_empty() {
        errors.required(format!("{root}.apiVersion"));
    } else if path.is_empty() {
        errors.required(field);
    } else if let Some((map, key)) = path.strip_suffix("']").and_then(|path| path.split_once("['")) {
        match map {
            "metadata.labels" => errors.invalid_text(&field, key, qualified_name(key)),
            "metadata.annotations" => errors.invalid_text(&field, key, qualified_name(&key.to_lowercase())),
            _ => errors.invalid(field, &map.into(), "does not support subscript"),
        }
    } else if version != "v1" {
        errors.invalid(field, &path.into(), format!("error converting fieldPath: unsupported pod version: {version}"));
    } else if WHOLE_MAPS.contains(&path) {
        errors.push(FieldError::not_supported(field, path, &FIELD_REFERENCES));
    } else if !FIELD_REFERENCES.contains(&path) {
        errors.invalid(field, &path.into(), format!("error converting fieldPath: field label not supported: {path}"));
    }
}

fn validate_source(source: &Value, root: &str, errors: &mut Errors) {
    errors.maybe_named(&format!("{root}.prefix"), text(source, "/prefix"), variable_name);
    let named: Vec<&str> =
        ["configMapRef", "secretRef"].into_iter().filter(|name| is_set(source, &format!("/{name}"))).collect();
    match named.as_slice() {
        [] => errors.invalid(root, &"".into(), "must specify one of: `configMapRef` or `secretRef`"),
        [_] => {}
        _ => errors.invalid(root, &"".into(), "may not have more than one field specified at a time"),
    }
    for reference in named {
        let name = text(source, &format!("/{reference}/name"));
        errors.named(&format!("{root}.{reference}.name"), name, dns1123_subdomain);
    }
}

/// What an environment knows as a name: all printable ASCII but `=`.
fn variable_name(name: &str) -> Vec<String> {
    if name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'=') {
        Vec::new()
    } else {
        vec![
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
                .to_owned(),
        ]
    }
}
