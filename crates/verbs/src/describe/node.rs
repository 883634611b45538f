//! The page of a Node.

use jiff::Timestamp;
use serde_json::Value;

use super::{
    allocated,
    page::{Page, date, joined, list, map, or_none, plain},
};

const ROLE: &str = "node-role.kubernetes.io/";

/// `pods` are those on it that are not over.
pub(super) fn describe(page: &mut Page, node: &Value, lease: Option<&Value>, pods: &[Value], now: Timestamp) {
    let (metadata, spec, status) = (&node["metadata"], &node["spec"], &node["status"]);
    page.field("Name", plain(&metadata["name"]));
    let roles: Vec<&str> = map(&metadata["labels"]).filter_map(|(key, _)| key.strip_prefix(ROLE)).collect();
    page.field("Roles", or_none(&roles.join(",")));
    page.labels("Labels", &metadata["labels"]);
    page.annotations("Annotations", &metadata["annotations"]);
    page.field("CreationTimestamp", date(&metadata["creationTimestamp"]));
    let taint = |one: &Value| {
        let [key, value, effect] = ["key", "value", "effect"].map(|field| plain(&one[field]));
        if value.is_empty() { format!("{key}:{effect}") } else { format!("{key}={value}:{effect}") }
    };
    page.column("Taints", &list(&spec["taints"]).map(taint).collect::<Vec<_>>());
    page.field("Unschedulable", spec["unschedulable"] == true);
    describe_lease(page, lease);
    describe_conditions(page, status);
    page.line(0, "Addresses:");
    for address in list(&status["addresses"]) {
        page.field_at(1, &plain(&address["type"]), plain(&address["address"]));
    }
    for (title, key) in [("Capacity", "capacity"), ("Allocatable", "allocatable")] {
        if map(&status[key]).next().is_some() {
            page.line(0, format_args!("{title}:"));
        }
        for (resource, amount) in map(&status[key]) {
            page.field_at(1, resource, plain(amount));
        }
    }
    describe_system(page, &status["nodeInfo"]);
    page.maybe("PodCIDR", &spec["podCIDR"]);
    page.maybe("PodCIDRs", &joined(&spec["podCIDRs"], ",").into());
    page.maybe("ProviderID", &spec["providerID"]);
    allocated::describe(page, node, pods, now);
}

fn describe_lease(page: &mut Page, lease: Option<&Value>) {
    let Some(lease) = lease else {
        page.field("Lease", "<none>");
        return;
    };
    let spec = &lease["spec"];
    let time = |value: &Value| if value.is_null() { "<unset>".to_owned() } else { date(value) };
    page.line(0, "Lease:");
    page.field_at(1, "HolderIdentity", plain(&spec["holderIdentity"]));
    page.field_at(1, "AcquireTime", time(&spec["acquireTime"]));
    page.field_at(1, "RenewTime", time(&spec["renewTime"]));
}

fn describe_conditions(page: &mut Page, status: &Value) {
    if list(&status["conditions"]).next().is_some() {
        page.line(0, "Conditions:\n  Type\tStatus\tLastHeartbeatTime\tLastTransitionTime\tReason\tMessage");
        page.line(1, "----\t------\t-----------------\t------------------\t------\t-------");
    }
    for condition in list(&status["conditions"]) {
        let [kind, state, reason, message] = ["type", "status", "reason", "message"].map(|key| plain(&condition[key]));
        let (beat, change) = (date(&condition["lastHeartbeatTime"]), date(&condition["lastTransitionTime"]));
        page.line(1, format_args!("{kind} \t{state} \t{beat} \t{change} \t{reason} \t{message}"));
    }
}

fn describe_system(page: &mut Page, info: &Value) {
    page.line(0, "System Info:");
    for (title, key) in [
        ("Machine ID", "machineID"),
        ("System UUID", "systemUUID"),
        ("Boot ID", "bootID"),
        ("Kernel Version", "kernelVersion"),
        ("OS Image", "osImage"),
        ("Operating System", "operatingSystem"),
        ("Architecture", "architecture"),
        ("Container Runtime Version", "containerRuntimeVersion"),
        ("Kubelet Version", "kubeletVersion"),
        ("Kube-Proxy Version", "kubeProxyVersion"),
    ] {
        page.field_at(1, title, plain(&info[key]));
    }
}
