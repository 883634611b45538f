//! `v1beta3`: today's shape, with some fields under the names they had then, and without what came later.
//!
//! What was there and means the same is carried by name; all else of a v1 object is left out.

use serde_json::{Value, json};

use super::{
    carry::{Same, backward, each, forward, part, put, with_protocol},
    meta, service,
};
use crate::kinds::value::{at, is_true, items_mut, remove, set, text};

const SERVICE: Same = &[
    ("portalIP", "clusterIP"),
    ("selector", "selector"),
    ("sessionAffinity", "sessionAffinity"),
    ("type", "type"),
    ("deprecatedPublicIPs", "externalIPs"),
];
const PORT: Same = &[
    ("containerPort", "targetPort"),
    ("name", "name"),
    ("protocol", "protocol"),
    ("port", "port"),
    ("targetPort", "targetPort"),
    ("nodePort", "nodePort"),
];
const POD: Same = &[
    ("volumes", "volumes"),
    ("restartPolicy", "restartPolicy"),
    ("terminationGracePeriodSeconds", "terminationGracePeriodSeconds"),
    ("activeDeadlineSeconds", "activeDeadlineSeconds"),
    ("dnsPolicy", "dnsPolicy"),
    ("nodeSelector", "nodeSelector"),
    ("serviceAccount", "serviceAccountName"),
    ("host", "nodeName"),
    ("hostNetwork", "hostNetwork"),
    ("imagePullSecrets", "imagePullSecrets"),
];
const CONTAINER: Same = &[
    ("args", "args"),
    ("command", "command"),
    ("env", "env"),
    ("image", "image"),
    ("imagePullPolicy", "imagePullPolicy"),
    ("lifecycle", "lifecycle"),
    ("livenessProbe", "livenessProbe"),
    ("name", "name"),
    ("ports", "ports"),
    ("readinessProbe", "readinessProbe"),
    ("resources", "resources"),
    ("securityContext", "securityContext"),
    ("terminationMessagePath", "terminationMessagePath"),
    ("volumeMounts", "volumeMounts"),
    ("workingDir", "workingDir"),
];
const POD_STATUS: Same = &[
    ("conditions", "conditions"),
    ("hostIP", "hostIP"),
    ("message", "message"),
    ("phase", "phase"),
    ("podIP", "podIP"),
];
const CONTAINER_STATUS: Same = &[
    ("containerID", "containerID"),
    ("image", "image"),
    ("imageID", "imageID"),
    ("name", "name"),
    ("ready", "ready"),
    ("restartCount", "restartCount"),
];
const STATE: Same = &[("waiting", "waiting"), ("running", "running"), ("termination", "terminated")];
const NODE: Same = &[("podCIDR", "podCIDR"), ("externalID", "externalID"), ("unschedulable", "unschedulable")];
const NODE_STATUS: Same = &[
    ("addresses", "addresses"),
    ("capacity", "capacity"),
    ("conditions", "conditions"),
    ("nodeInfo", "nodeInfo"),
    ("phase", "phase"),
];
const ADDRESS: Same = &[("IP", "ip"), ("targetRef", "targetRef")];
const EVENT: Same = &[
    ("count", "count"),
    ("firstTimestamp", "firstTimestamp"),
    ("involvedObject", "involvedObject"),
    ("lastTimestamp", "lastTimestamp"),
    ("message", "message"),
    ("reason", "reason"),
    ("source", "source"),
];

type Turn = fn(&Value, Same) -> Value;

fn whole(object: &Value) -> Value {
    json!({"metadata": at(object, "/metadata")})
}

/// Metadata as they were, without what nobody is shown.
fn shown(new: &Value) -> Value {
    json!({"metadata": at(&meta::from_v1(new), "/metadata")})
}

pub(super) fn service_to_v1(old: &Value) -> Value {
    let mut new = whole(old);
    let was = at(old, "/spec");
    let mut spec = forward(was, SERVICE);
    put(&mut spec, "externalIPs", at(was, "/publicIPs").clone());
    if text(was, "/type").is_empty() && is_true(was, "/createExternalLoadBalancer") {
        set(&mut spec, "type", "LoadBalancer");
    }
    put(&mut spec, "ports", each(was, "ports", |port| Some(with_protocol(forward(port, PORT)))));
    if at(was, "/selector").as_object().is_some_and(|selector| selector.is_empty()) {
        service::mark_everything(&mut new);
    }
    set(&mut new, "spec", spec);
    put(&mut new, "status", at(old, "/status").clone());
    new
}

pub(super) fn service_from_v1(new: &Value) -> Value {
    let mut old = shown(new);
    let is = at(new, "/spec");
    let mut spec = backward(is, SERVICE);
    if text(is, "/type") == "ExternalName" {
        remove(&mut spec, "type");
    }
    if service::leaves_choice_to_all(new) {
        set(&mut spec, "selector", json!({}));
    }
    put(
        &mut spec,
        "ports",
        each(is, "ports", |port| {
            ["", "TCP", "UDP"].contains(&text(port, "/protocol")).then(|| backward(port, &PORT[1..]))
        }),
    );
    set(&mut old, "spec", spec);
    let mut status = json!({});
    put(&mut status, "loadBalancer", at(new, "/status/loadBalancer").clone());
    set(&mut old, "status", status);
    old
}

pub(super) fn pod_to_v1(old: &Value) -> Value {
    let mut new = whole(old);
    put(&mut new, "spec", part(old, "spec", spec_to_v1));
    put(&mut new, "status", part(old, "status", |status| pod_status(status, forward)));
    new
}

pub(super) fn pod_from_v1(new: &Value) -> Value {
    let mut old = shown(new);
    put(&mut old, "spec", part(new, "spec", spec_from_v1));
    put(&mut old, "status", part(new, "status", |status| pod_status(status, backward)));
    old
}

fn spec_to_v1(old: &Value) -> Value {
    let mut spec = forward(old, POD);
    put(
        &mut spec,
        "containers",
        each(old, "containers", |container| {
            let mut turned = forward(container, CONTAINER);
            let mut security = container.get("securityContext").cloned().unwrap_or(json!({}));
            for key in ["privileged", "capabilities"] {
                if security.get(key).is_none() {
                    put(&mut security, key, container.get(key).cloned().unwrap_or_default());
                }
            }
            put(&mut turned, "securityContext", security);
            put(&mut turned, "ports", each(container, "ports", |port| Some(with_protocol(port.clone()))));
            Some(turned)
        }),
    );
    spec
}

fn spec_from_v1(new: &Value) -> Value {
    let mut spec = backward(new, POD);
    put(&mut spec, "containers", each(new, "containers", |container| Some(backward(container, CONTAINER))));
    spec
}

fn pod_status(status: &Value, turn: Turn) -> Value {
    let mut turned = turn(status, POD_STATUS);
    put(
        &mut turned,
        "containerStatuses",
        each(status, "containerStatuses", |container| {
            let mut turned = turn(container, CONTAINER_STATUS);
            for key in ["state", "lastState"] {
                put(&mut turned, key, part(container, key, |state| turn(state, STATE)));
            }
            Some(turned)
        }),
    );
    turned
}

pub(super) fn controller_to_v1(old: &Value) -> Value {
    controller(old, whole(old), spec_to_v1)
}

pub(super) fn controller_from_v1(new: &Value) -> Value {
    controller(new, shown(new), spec_from_v1)
}

fn controller(object: &Value, mut turned: Value, pods: impl Fn(&Value) -> Value) -> Value {
    let is = at(object, "/spec");
    let mut spec = forward(is, &[("replicas", "replicas"), ("selector", "selector")]);
    put(
        &mut spec,
        "template",
        part(is, "template", |template| {
            let mut turned = forward(template, &[("metadata", "metadata")]);
            put(&mut turned, "spec", part(template, "spec", &pods));
            turned
        }),
    );
    set(&mut turned, "spec", spec);
    let status = forward(at(object, "/status"), &[("replicas", "replicas")]);
    set(&mut turned, "status", status);
    turned
}

pub(super) fn node_to_v1(old: &Value) -> Value {
    node(old, whole(old))
}

pub(super) fn node_from_v1(new: &Value) -> Value {
    node(new, shown(new))
}

fn node(object: &Value, mut turned: Value) -> Value {
    put(&mut turned, "spec", forward(at(object, "/spec"), NODE));
    put(&mut turned, "status", forward(at(object, "/status"), NODE_STATUS));
    turned
}

pub(super) fn endpoints_to_v1(old: &Value) -> Value {
    let mut new = endpoints(old, whole(old), forward);
    for subset in items_mut(&mut new, "subsets") {
        let ports = each(subset, "ports", |port| Some(with_protocol(port.clone())));
        put(subset, "ports", ports);
    }
    new
}

pub(super) fn endpoints_from_v1(new: &Value) -> Value {
    endpoints(new, shown(new), backward)
}

fn endpoints(object: &Value, mut turned: Value, turn: Turn) -> Value {
    let subsets = each(object, "subsets", |subset| {
        let mut turned = forward(subset, &[("ports", "ports")]);
        put(&mut turned, "addresses", each(subset, "addresses", |address| Some(turn(address, ADDRESS))));
        turned.get("addresses").is_some().then_some(turned)
    });
    set(&mut turned, "subsets", subsets);
    turned
}

pub(super) fn event_to_v1(old: &Value) -> Value {
    let mut new = whole(old);
    for (key, value) in forward(old, EVENT).as_object().into_iter().flatten() {
        set(&mut new, key, value.clone());
    }
    new
}

pub(super) fn event_from_v1(new: &Value) -> Value {
    let mut old = shown(new);
    for (key, value) in backward(new, EVENT).as_object().into_iter().flatten() {
        set(&mut old, key, value.clone());
    }
    old
}

pub(super) fn namespace_to_v1(old: &Value) -> Value {
    let mut new = whole(old);
    put(&mut new, "spec", at(old, "/spec").clone());
    put(&mut new, "status", at(old, "/status").clone());
    new
}

pub(super) fn namespace_from_v1(new: &Value) -> Value {
    let mut old = shown(new);
    put(&mut old, "spec", at(new, "/spec").clone());
    put(&mut old, "status", forward(at(new, "/status"), &[("phase", "phase")]));
    old
}

pub(super) fn binding_to_v1(old: &Value) -> Value {
    let mut new = whole(old);
    let host = text(old, "/host");
    let target = if host.is_empty() { at(old, "/target").clone() } else { json!({"kind": "Node", "name": host}) };
    set(&mut new, "target", target);
    new
}

pub(super) fn binding_from_v1(new: &Value) -> Value {
    let mut old = shown(new);
    set(&mut old, "target", at(new, "/target").clone());
    old
}
