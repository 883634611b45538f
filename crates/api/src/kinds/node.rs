//! Node: a machine, or a lab's namespace, that runs pods and programs Services.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, cell,
    cell::{NONE, UNKNOWN, or},
    column::{AGE, NAME, shown, wide},
    value::{is_true, keep, list, pairs, text},
};
use crate::resource::{Resource, Strategy, Subresource};

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    categories: &[],
    namespaced: false,
    verbs: ALL_VERBS,
    subresources: &[Subresource::Status],
    definition: "io.k8s.api.core.v1.Node",
    registry: "minions",
    create_on_update: false,
    delete_returns_object: false,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Status", "string", "Ready, NotReady or Unknown, and whether new pods are kept away."),
        shown("Roles", "string", "Roles the node has by its labels."),
        AGE,
        shown("Version", "string", "Version that the node's agent reports."),
        wide("Internal-IP", "string", "Address under which the cluster reaches the node."),
        wide("External-IP", "string", "Address under which the outside reaches the node."),
        wide("OS-Image", "string", "Operating system that the node reports."),
        wide("Kernel-Version", "string", "Kernel that the node reports."),
        wide("Container-Runtime", "string", "Runtime and version that run the node's containers."),
    ],
    strategy: &Rules,
};

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        (path == "spec.unschedulable").then(|| is_true(object, "/spec/unschedulable").to_string())
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let info = |key: &str| text(object, &format!("/status/nodeInfo/{key}")).to_owned();
        vec![
            cell::name(object),
            status(object).into(),
            roles(object).into(),
            cell::age(object, now),
            info("kubeletVersion").into(),
            address(object, "InternalIP").into(),
            address(object, "ExternalIP").into(),
            or(&info("osImage"), UNKNOWN).into(),
            or(&info("kernelVersion"), UNKNOWN).into(),
            or(&info("containerRuntimeVersion"), UNKNOWN).into(),
        ]
    }
}

fn status(node: &Value) -> String {
    let ready = list(node, "/status/conditions").iter().find(|condition| text(condition, "/type") == "Ready");
    let status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    if is_true(node, "/spec/unschedulable") { format!("{status},SchedulingDisabled") } else { status.to_owned() }
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = pairs(node, "/metadata/labels")
        .into_iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None => (key == "kubernetes.io/role").then_some(value),
        })
        .filter(|role| !role.is_empty())
        .collect();
    or(&roles.into_iter().collect::<Vec<_>>().join(","), NONE).to_owned()
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let address = list(node, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
    address.map_or(NONE, |address| text(address, "/address"))
}
