//! Container manifests: what a pod's spec was, with volumes, containers and the restart policy in their older shapes.
//!
//! `command` is what v1 calls `args`; the image's entry point is `entrypoint`. What a manifest cannot say of a volume's source
//! leaves out the volume, since one without a source means an empty directory.

use serde_json::{Value, json};

use super::{
    carry::{Same, amounts, backward, each, forward, nanos, part, put, thousandths, whole, with_protocol},
    manifest::volume::{volume_from_v1, volume_to_v1},
};
use crate::{
    field::FieldError,
    kinds::value::{at, child, count, is_set, is_true, set, text},
};

mod volume;

const SAME: Same = &[
    ("dnsPolicy", "dnsPolicy"),
    ("hostNetwork", "hostNetwork"),
    ("terminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
    ("activeDeadlineSeconds", "activeDeadlineSeconds"),
    ("imagePullSecrets", "imagePullSecrets"),
];
const CONTAINER: Same = &[
    ("name", "name"),
    ("image", "image"),
    ("entrypoint", "command"),
    ("command", "args"),
    ("workingDir", "workingDir"),
    ("terminationMessagePath", "terminationMessagePath"),
];
const CONTAINER_PORT: Same = &[
    ("name", "name"),
    ("hostPort", "hostPort"),
    ("containerPort", "containerPort"),
    ("protocol", "protocol"),
    ("hostIP", "hostIP"),
];
const PROBE: Same = &[("initialDelaySeconds", "initialDelaySeconds"), ("timeoutSeconds", "timeoutSeconds")];
const HTTP_GET: Same = &[("path", "path"), ("port", "port"), ("host", "host")];
const SECURITY: Same = &[
    ("capabilities", "capabilities"),
    ("privileged", "privileged"),
    ("seLinuxOptions", "seLinuxOptions"),
    ("runAsUser", "runAsUser"),
];
const RESTART: [(&str, &str); 3] = [("always", "Always"), ("onFailure", "OnFailure"), ("never", "Never")];
const PULL: [(&str, &str); 3] =
    [("PullAlways", "Always"), ("PullIfNotPresent", "IfNotPresent"), ("PullNever", "Never")];
/// Versions of manifests; all that are known mean the same.
const VERSIONS: [&str; 3] = ["v1beta1", "v1beta2", "v1beta3"];
const VERSION: &str = "v1beta2";
/// Fields of the pod that an environment variable may show: as the older version names them, and v1.
const FIELDS: [(&str, &str); 2] = [("name", "metadata.name"), ("namespace", "metadata.namespace")];

pub(super) fn to_v1(old: &Value, field: &str, errors: &mut Vec<FieldError>) -> Value {
    let version = text(old, "/version");
    if !version.is_empty() && !VERSIONS.contains(&version.to_lowercase().as_str()) {
        errors.push(FieldError::not_supported(format!("{field}.version"), version, &VERSIONS));
    }
    let mut new = forward(old, SAME);
    put(&mut new, "volumes", each(old, "volumes", |volume| Some(volume_to_v1(volume))));
    put(&mut new, "containers", each(old, "containers", |container| Some(container_to_v1(container))));
    let policy = RESTART.iter().find(|(name, _)| is_set(old, &format!("/restartPolicy/{name}")));
    put(&mut new, "restartPolicy", policy.map_or("", |(_, policy)| policy));
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = backward(new, SAME);
    set(&mut old, "version", VERSION);
    set(&mut old, "volumes", each(new, "volumes", volume_from_v1));
    set(&mut old, "containers", each(new, "containers", |container| Some(container_from_v1(container))));
    if let Some((name, _)) = RESTART.iter().find(|(_, policy)| text(new, "/restartPolicy") == *policy) {
        set(&mut old, "restartPolicy", json!({*name: {}}));
    }
    old
}

fn container_to_v1(old: &Value) -> Value {
    let mut new = forward(old, CONTAINER);
    put(&mut new, "ports", each(old, "ports", |port| Some(with_protocol(forward(port, CONTAINER_PORT)))));
    put(&mut new, "env", each(old, "env", |variable| Some(variable_to_v1(variable))));
    put(&mut new, "volumeMounts", each(old, "volumeMounts", |mount| Some(mount_to_v1(mount))));
    put(&mut new, "resources", resources_to_v1(old));
    for (key, handler) in [("livenessProbe", at(old, "/livenessProbe")), ("readinessProbe", at(old, "/readinessProbe"))]
    {
        if handler.is_object() {
            set(&mut new, key, probe(handler, forward));
        }
    }
    put(&mut new, "lifecycle", part(old, "lifecycle", |lifecycle| both_hooks(lifecycle, forward)));
    let policy = text(old, "/imagePullPolicy");
    put(&mut new, "imagePullPolicy", PULL.iter().find(|(from, _)| *from == policy).map_or(policy, |(_, to)| to));
    let mut security = forward(at(old, "/securityContext"), SECURITY);
    for key in ["privileged", "capabilities"] {
        if !is_set(&security, &format!("/{key}")) {
            put(&mut security, key, old.get(key).cloned().unwrap_or_default());
        }
    }
    put(&mut new, "securityContext", security);
    new
}

fn container_from_v1(new: &Value) -> Value {
    let mut old = backward(new, CONTAINER);
    put(&mut old, "ports", each(new, "ports", |port| Some(backward(port, CONTAINER_PORT))));
    put(&mut old, "env", each(new, "env", variable_from_v1));
    put(&mut old, "volumeMounts", each(new, "volumeMounts", |mount| Some(mount_from_v1(mount))));
    let limits = at(new, "/resources/limits");
    put(&mut old, "cpu", limits.get("cpu").and_then(nanos).map_or(0, thousandths));
    put(&mut old, "memory", limits.get("memory").and_then(nanos).map_or(0, whole));
    let mut resources = json!({});
    put(&mut resources, "limits", amounts(limits));
    put(&mut resources, "requests", amounts(at(new, "/resources/requests")));
    put(&mut old, "resources", resources);
    for (key, handler) in [("livenessProbe", at(new, "/livenessProbe")), ("readinessProbe", at(new, "/readinessProbe"))]
    {
        let turned = probe(handler, backward);
        if has_action(&turned) {
            set(&mut old, key, turned);
        }
    }
    put(&mut old, "lifecycle", part(new, "lifecycle", |lifecycle| both_hooks(lifecycle, backward)));
    let policy = text(new, "/imagePullPolicy");
    put(&mut old, "imagePullPolicy", PULL.iter().find(|(_, to)| *to == policy).map_or("", |(from, _)| from));
    let security = backward(at(new, "/securityContext"), SECURITY);
    put(&mut old, "privileged", is_true(&security, "/privileged"));
    put(&mut old, "capabilities", at(&security, "/capabilities").clone());
    put(&mut old, "securityContext", security);
    old
}

/// `cpu` in thousandths of a core and `memory` in bytes are limits; those of `resources` count before them.
fn resources_to_v1(old: &Value) -> Value {
    let mut resources = old.get("resources").cloned().unwrap_or_default();
    let (cpu, memory) = (count(old, "/cpu"), count(old, "/memory"));
    for (name, amount, unit) in [("cpu", cpu, "m"), ("memory", memory, "")] {
        if amount != 0 && !is_set(&resources, &format!("/limits/{name}")) {
            set(child(&mut resources, "limits"), name, format!("{amount}{unit}"));
        }
    }
    resources
}

fn variable_to_v1(old: &Value) -> Value {
    let name = [text(old, "/name"), text(old, "/key")].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
    let mut new = json!({"name": name});
    put(&mut new, "value", text(old, "/value"));
    if let Some(field) = old.pointer("/valueFrom/fieldRef") {
        let path = text(field, "/fieldPath");
        let is_own = !["v1", "v1beta3"].contains(&text(field, "/apiVersion"));
        let known = FIELDS.iter().find(|(from, _)| is_own && (*from == path || (path == "id" && *from == "name")));
        let path = known.map_or(path, |(_, to)| to);
        set(&mut new, "valueFrom", json!({"fieldRef": {"apiVersion": "v1", "fieldPath": path}}));
    }
    new
}

/// A variable whose value comes from what was not there then is left out.
fn variable_from_v1(new: &Value) -> Option<Value> {
    let name = text(new, "/name");
    let mut old = json!({"name": name, "key": name});
    put(&mut old, "value", text(new, "/value"));
    if let Some(source) = new.get("valueFrom").filter(|source| source.is_object()) {
        let path = text(source.get("fieldRef")?, "/fieldPath");
        let known = FIELDS.iter().find(|(_, to)| *to == path);
        let (version, path) = known.map_or(("v1", path), |(from, _)| ("v1beta1", from));
        set(&mut old, "valueFrom", json!({"fieldRef": {"apiVersion": version, "fieldPath": path}}));
    }
    Some(old)
}

fn mount_to_v1(old: &Value) -> Value {
    let path = [text(old, "/mountPath"), text(old, "/path")].into_iter().find(|path| !path.is_empty());
    let mut new = json!({"name": text(old, "/name"), "mountPath": path.unwrap_or_default()});
    put(&mut new, "readOnly", is_true(old, "/readOnly"));
    new
}

fn mount_from_v1(new: &Value) -> Value {
    let path = text(new, "/mountPath");
    let mut old = json!({"name": text(new, "/name"), "mountPath": path, "path": path});
    put(&mut old, "readOnly", is_true(new, "/readOnly"));
    old
}

type Turn = fn(&Value, Same) -> Value;

fn probe(probe: &Value, turn: Turn) -> Value {
    let mut turned = turn(probe, PROBE);
    for (key, value) in handler(probe, turn).as_object().into_iter().flatten() {
        set(&mut turned, key, value.clone());
    }
    turned
}

/// The action of a probe or hook; one that was not there then is left out.
fn handler(handler: &Value, turn: Turn) -> Value {
    let mut turned = json!({});
    put(&mut turned, "exec", at(handler, "/exec").clone());
    put(&mut turned, "httpGet", part(handler, "httpGet", |get| turn(get, HTTP_GET)));
    put(&mut turned, "tcpSocket", part(handler, "tcpSocket", |socket| turn(socket, &[("port", "port")])));
    turned
}

fn has_action(probe: &Value) -> bool {
    ["exec", "httpGet", "tcpSocket"].iter().any(|action| probe.get(action).is_some())
}

fn both_hooks(lifecycle: &Value, turn: Turn) -> Value {
    let mut turned = json!({});
    for hook in ["postStart", "preStop"] {
        put(&mut turned, hook, part(lifecycle, hook, |hook| handler(hook, turn)));
    }
    turned
}
