//! Pods: what is wanted in `desiredState`, what is in `currentState`, where v1 has spec and status.

use serde_json::{Map, Value, json};

use super::{
    carry::{Same, backward, each, forward, put},
    manifest, meta,
};
use crate::{
    field::FieldError,
    kinds::value::{at, child, list, set, text},
};

/// `Terminated` and `Failed` are both names of a pod that has ended badly.
const PHASES: [(&str, &str); 6] = [
    ("Waiting", "Pending"),
    ("Running", "Running"),
    ("Succeeded", "Succeeded"),
    ("Failed", "Failed"),
    ("Terminated", "Failed"),
    ("Unknown", "Unknown"),
];
const STATUS: Same = &[("message", "message"), ("hostIP", "hostIP"), ("podIP", "podIP")];
const CONTAINER: Same = &[
    ("ready", "ready"),
    ("restartCount", "restartCount"),
    ("image", "image"),
    ("imageID", "imageID"),
    ("containerID", "containerID"),
];
const STATES: Same = &[("waiting", "waiting"), ("running", "running"), ("termination", "terminated")];
const WAITING: Same = &[("reason", "reason")];
const RUNNING: Same = &[("startedAt", "startedAt")];
const ENDED: Same = &[
    ("exitCode", "exitCode"),
    ("signal", "signal"),
    ("reason", "reason"),
    ("message", "message"),
    ("startedAt", "startedAt"),
    ("finishedAt", "finishedAt"),
    ("containerID", "containerID"),
];

/// A condition's status then, and now.
pub(super) const CONDITIONS: [(&str, &str); 3] = [("Full", "True"), ("None", "False"), ("Unknown", "Unknown")];

/// What v1 calls the phase that was called `status`.
pub(super) fn phase_to_v1(status: &str) -> Option<&'static str> {
    PHASES.iter().find(|(old, _)| *old == status).map(|(_, new)| *new)
}

/// What the phase was called.
pub(super) fn status_word(phase: &str) -> &'static str {
    PHASES.iter().find(|(_, new)| *new == phase).map_or("", |(old, _)| old)
}

pub(super) fn to_v1(old: &Value, errors: &mut Vec<FieldError>) -> Value {
    let mut new = meta::to_v1(old);
    if text(&new, "/metadata/name").is_empty() {
        let id = text(old, "/desiredState/manifest/id");
        put(child(&mut new, "metadata"), "name", id);
    }
    set(&mut new, "spec", spec_to_v1(old, errors, "desiredState"));
    let status = status_to_v1(at(old, "/currentState"), errors);
    put(&mut new, "status", status);
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    for (key, value) in spec_from_v1(at(new, "/spec")).as_object().into_iter().flatten() {
        set(&mut old, key, value.clone());
    }
    let (name, uid) = (text(new, "/metadata/name"), text(new, "/metadata/uid"));
    let manifest = &mut old["desiredState"]["manifest"];
    set(manifest, "id", name);
    put(manifest, "uuid", uid);
    let mut state = status_from_v1(at(new, "/status"));
    put(&mut state, "host", text(new, "/spec/nodeName"));
    set(&mut old, "currentState", state);
    old
}

/// The spec of a pod or template: its manifest, and what stands beside it.
pub(super) fn spec_to_v1(old: &Value, errors: &mut Vec<FieldError>, field: &str) -> Value {
    let manifest = at(old, "/desiredState/manifest");
    let mut spec = manifest::to_v1(manifest, &format!("{field}.manifest"), errors);
    put(&mut spec, "nodeName", text(old, "/desiredState/host"));
    put(&mut spec, "serviceAccountName", text(old, "/serviceAccount"));
    put(&mut spec, "nodeSelector", at(old, "/nodeSelector").clone());
    spec
}

/// `desiredState` and what stands beside it.
pub(super) fn spec_from_v1(spec: &Value) -> Value {
    let mut state = json!({"manifest": manifest::from_v1(spec)});
    put(&mut state, "host", text(spec, "/nodeName"));
    let mut old = json!({"desiredState": state});
    put(&mut old, "serviceAccount", text(spec, "/serviceAccountName"));
    put(&mut old, "nodeSelector", at(spec, "/nodeSelector").clone());
    old
}

fn status_to_v1(old: &Value, errors: &mut Vec<FieldError>) -> Value {
    let mut status = forward(old, STATUS);
    let word = text(old, "/status");
    match phase_to_v1(word) {
        Some(phase) => put(&mut status, "phase", phase),
        None if word.is_empty() => {}
        None => {
            let known = PHASES.map(|(old, _)| old);
            errors.push(FieldError::not_supported("currentState.status", word, &known));
        }
    }
    put(&mut status, "conditions", each(old, "Condition", |condition| Some(condition_to_v1(condition))));
    let containers = at(old, "/info").as_object().into_iter().flatten();
    let containers = containers.filter(|(_, container)| container.is_object()).map(|(name, container)| {
        let mut turned = forward(container, CONTAINER);
        set(&mut turned, "name", name.as_str());
        put(&mut turned, "state", state(at(container, "/state"), forward));
        put(&mut turned, "lastState", state(at(container, "/lastState"), forward));
        turned
    });
    put(&mut status, "containerStatuses", containers.collect::<Vec<_>>());
    status
}

fn status_from_v1(new: &Value) -> Value {
    let mut old = backward(new, STATUS);
    put(&mut old, "status", status_word(text(new, "/phase")));
    let ready = list(new, "/conditions").iter().filter(|condition| text(condition, "/type") == "Ready");
    put(&mut old, "Condition", ready.map(condition_from_v1).collect::<Vec<_>>());
    let mut info = Map::new();
    for container in list(new, "/containerStatuses") {
        let mut turned = backward(container, CONTAINER);
        put(&mut turned, "state", state(at(container, "/state"), backward));
        put(&mut turned, "lastState", state(at(container, "/lastState"), backward));
        info.insert(text(container, "/name").to_owned(), turned);
    }
    put(&mut old, "info", info);
    old
}

fn condition_to_v1(old: &Value) -> Value {
    let status = text(old, "/status");
    let status = CONDITIONS.iter().find(|(from, _)| *from == status).map_or(status, |(_, to)| to);
    json!({"type": text(old, "/kind"), "status": status})
}

fn condition_from_v1(new: &Value) -> Value {
    let status = text(new, "/status");
    let status = CONDITIONS.iter().find(|(_, to)| *to == status).map_or(status, |(from, _)| from);
    json!({"kind": text(new, "/type"), "status": status})
}

fn state(state: &Value, turn: fn(&Value, Same) -> Value) -> Value {
    let mut turned = json!({});
    for (key, value) in turn(state, STATES).as_object().into_iter().flatten() {
        let fields = match key.as_str() {
            "waiting" => WAITING,
            "running" => RUNNING,
            _ => ENDED,
        };
        set(&mut turned, key, turn(value, fields));
    }
    turned
}
