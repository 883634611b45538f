//! Node: a machine, or a lab's namespace, that runs pods and programs Services.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::Value;

use super::{
    ALL_VERBS, address as ip, cell,
    cell::{NONE, UNKNOWN, or},
    column::{AGE, NAME, shown, wide},
    errors::Errors,
    unhonoured,
    value::{at, child, is_set, is_true, keep, list, pairs, set, text, texts},
};
use crate::{
    field::{FieldError, Reason},
    meta::{self, Scope},
    names::{dns1123_subdomain, label_value, qualified_name},
    quantity::Quantity,
    resource::{Resource, Strategy, Subresource, Warnings},
};

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
    subresources: &[Subresource::Proxy, Subresource::Status],
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

/// Amounts that are counted.
const WHOLE: [&str; 1] = ["pods"];

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        default_pod_ranges(object);
        if !is_set(object, "/status/allocatable") && is_set(object, "/status/capacity") {
            let capacity = at(object, "/status/capacity").clone();
            set(child(object, "status"), "allocatable", capacity);
        }
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Cluster, dns1123_subdomain);
        errors.extend(validate(object));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        errors.extend(validate(new));
        errors.extend(validate_change(new, old));
        errors
    }

    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        let mut warnings = unhonoured::warnings(unhonoured::NODE, new, old, "");
        if !text(new, "/spec/externalID").is_empty() {
            warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
        }
        warnings
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
            kernel(&info("kernelVersion"), &info("architecture")).into(),
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

/// All addresses that a Node states, of any type; names are passed over.
pub fn addresses(node: &Value) -> Vec<IpAddr> {
    let addresses = list(node, "/status/addresses").iter();
    addresses.filter_map(|address| text(address, "/address").parse().ok()).collect()
}

/// The ranges of a Node's pods.
pub fn pod_ranges(node: &Value) -> Vec<IpNet> {
    let listed = texts(node, "/spec/podCIDRs").into_iter().chain([text(node, "/spec/podCIDR")]);
    listed.filter_map(|range| range.parse().ok()).collect()
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let address = list(node, "/status/addresses").iter().find(|address| text(address, "/type") == kind);
    address.map_or(NONE, |address| text(address, "/address"))
}

/// `podCIDR` is the first of `podCIDRs`; either can be given, and it counts where they do not agree.
fn default_pod_ranges(node: &mut Value) {
    let (first, all) = (text(node, "/spec/podCIDR").to_owned(), list(node, "/spec/podCIDRs"));
    if let ("", Some(range)) = (first.as_str(), all.first()) {
        let range = range.clone();
        set(child(node, "spec"), "podCIDR", range);
    } else if !first.is_empty() && all.first().and_then(Value::as_str) != Some(&first) {
        set(child(node, "spec"), "podCIDRs", vec![first]);
    }
}

fn validate(node: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let ranges = texts(node, "/spec/podCIDRs");
    for (index, range) in ranges.iter().enumerate() {
        errors.invalid_text(&format!("spec.podCIDRs[{index}]"), range, ip::cidr(range));
    }
    let addresses: Vec<&str> = ranges.iter().filter_map(|range| range.split('/').next()).collect();
    if ranges.len() > 1 && !ip::are_dual_stack(&addresses) {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.invalid("spec.podCIDRs", at(node, "/spec/podCIDRs"), detail);
    }
    let mut seen = BTreeSet::new();
    for (index, taint) in list(node, "/spec/taints").iter().enumerate() {
        // Upstream's words: the taints are not where it says.
        let field = |name: &str| format!("metadata.taints[{index}].{name}");
        let (key, value, effect) = (text(taint, "/key"), text(taint, "/value"), text(taint, "/effect"));
        errors.invalid_text(&field("key"), key, qualified_name(key));
        errors.maybe_named(&field("value"), value, label_value);
        errors.one_of(field("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((key, effect)) {
            // As Go writes the taint.
            let time = at(taint, "/timeAdded");
            let shown = format!(r#"{{"Key":{key:?},"Value":{value:?},"Effect":{effect:?},"TimeAdded":{time}}}"#);
            let text = format!("Duplicate value: {shown}: taints must be unique by key and effect pair");
            errors.push(FieldError::new(Reason::FieldValueDuplicate, format!("metadata.taints[{index}]"), text));
        }
    }
    let amounts = ["capacity", "allocatable"].into_iter().flat_map(|list| {
        let amounts = pairs(node, &format!("/status/{list}"));
        amounts.into_iter().map(move |(name, amount)| (format!("status.{list}.{name}"), name, amount))
    });
    for (field, name, amount) in amounts {
        let nanos = amount.parse::<Quantity>().map_or(0, Quantity::nanos);
        if nanos < 0 {
            errors.invalid(field, &amount.into(), "must be greater than or equal to 0");
        } else if WHOLE.contains(&name) && nanos % 1_000_000_000 != 0 {
            errors.invalid(field, &amount.into(), "must be an integer");
        }
    }
    errors.into_vec()
}

/// Pods have addresses of the node's ranges: these are given once.
fn validate_change(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Errors::default();
    let addresses = list(new, "/status/addresses");
    for (index, address) in
        addresses.iter().enumerate().filter(|(index, address)| addresses[..*index].contains(address))
    {
        let (kind, address) = (text(address, "/type"), text(address, "/address"));
        let shown = format!(r#"{{"Type":{kind:?},"Address":{address:?}}}"#);
        errors.push(FieldError::duplicate(format!("status.addresses[{index}]"), shown));
    }
    if text(new, "/spec/externalID") != text(old, "/spec/externalID") {
        errors.forbidden("spec.externalID", "may not be updated");
    }
    let (was, is) = (list(old, "/spec/podCIDRs"), list(new, "/spec/podCIDRs"));
    if !was.is_empty() && was != is {
        errors.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
    }
    let provider = "/spec/providerID";
    if !text(old, provider).is_empty() && text(old, provider) != text(new, provider) {
        errors.forbidden("spec.providerID", "node updates may not change providerID except from \"\" to valid");
    }
    errors.into_vec()
}

/// The kernel's version, and what it runs on where that is known.
fn kernel(version: &str, architecture: &str) -> String {
    let version = or(version, UNKNOWN);
    if architecture.is_empty() { version.to_owned() } else { format!("{version} ({architecture})") }
}

#[cfg(test)]
mod tests;
