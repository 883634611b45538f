//! Nodes, which were called minions: their address and capacity flat, conditions `Full` or `None`.

use serde_json::{Value, json};

use super::{
    carry::{Same, amounts, backward, each, forward, put},
    meta,
    pod::CONDITIONS,
};
use crate::kinds::value::{at, list, set, text};

const SPEC: Same = &[("podCIDR", "podCIDR"), ("unschedulable", "unschedulable"), ("externalID", "externalID")];
const STATUS: Same = &[("phase", "phase"), ("addresses", "addresses"), ("nodeInfo", "nodeInfo")];
const CONDITION: Same = &[
    ("kind", "type"),
    ("lastProbeTime", "lastHeartbeatTime"),
    ("lastTransitionTime", "lastTransitionTime"),
    ("reason", "reason"),
    ("message", "message"),
];
const NODE_INFO: Same = &[
    ("machineID", "machineID"),
    ("systemUUID", "systemUUID"),
    ("bootID", "bootID"),
    ("kernelVersion", "kernelVersion"),
    ("osImage", "osImage"),
    ("containerRuntimeVersion", "containerRuntimeVersion"),
    ("kubeletVersion", "kubeletVersion"),
    ("kubeProxyVersion", "kubeProxyVersion"),
];
const ADDRESSES: [&str; 3] = ["Hostname", "ExternalIP", "InternalIP"];

pub(super) fn to_v1(old: &Value) -> Value {
    let mut new = meta::to_v1(old);
    put(&mut new, "spec", forward(old, SPEC));
    let was = at(old, "/status");
    let mut status = forward(was, STATUS);
    put(&mut status, "conditions", each(was, "conditions", |condition| Some(condition_to_v1(condition))));
    put(&mut status, "capacity", at(old, "/resources/capacity").clone());
    let host = text(old, "/hostIP");
    let is_known = list(&status, "/addresses").iter().any(|address| text(address, "/type") == "InternalIP");
    if !host.is_empty() && !is_known {
        let mut addresses = list(&status, "/addresses").to_vec();
        addresses.insert(0, json!({"type": "InternalIP", "address": host}));
        set(&mut status, "addresses", addresses);
    }
    put(&mut new, "status", status);
    new
}

pub(super) fn from_v1(new: &Value) -> Value {
    let mut old = meta::from_v1(new);
    for (key, value) in backward(at(new, "/spec"), SPEC).as_object().into_iter().flatten() {
        put(&mut old, key, value.clone());
    }
    let is = at(new, "/status");
    let internal = list(is, "/addresses").iter().find(|address| text(address, "/type") == "InternalIP");
    put(&mut old, "hostIP", internal.map_or("", |address| text(address, "/address")));
    set(&mut old, "resources", json!({"capacity": amounts(at(is, "/capacity"))}));
    let mut status = json!({});
    put(&mut status, "phase", text(is, "/phase"));
    put(&mut status, "conditions", each(is, "conditions", |condition| Some(condition_from_v1(condition))));
    let said = |address: &Value| ADDRESSES.contains(&text(address, "/type")).then(|| address.clone());
    put(&mut status, "addresses", each(is, "addresses", said));
    put(&mut status, "nodeInfo", backward(at(is, "/nodeInfo"), NODE_INFO));
    set(&mut old, "status", status);
    old
}

fn condition_to_v1(old: &Value) -> Value {
    let status = text(old, "/status");
    let status = CONDITIONS.iter().find(|(from, _)| *from == status).map_or(status, |(_, to)| to);
    let mut new = forward(old, CONDITION);
    set(&mut new, "status", status);
    new
}

fn condition_from_v1(new: &Value) -> Value {
    let status = text(new, "/status");
    let status = CONDITIONS.iter().find(|(_, to)| *to == status).map_or(status, |(from, _)| from);
    let mut old = backward(new, CONDITION);
    set(&mut old, "status", status);
    old
}
