//! Which pods a ReplicaSet gives up first. The order is upstream's: what costs least, in this sequence of questions.

use std::{
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use crate::pods;

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// `pods`, the first to go first. `related` are the pods whose crowding of nodes counts, usually a superset.
pub(super) fn deletion_order<'a>(pods: &[&'a Pod], related: &[&Pod], now: Timestamp) -> Vec<&'a Pod> {
    let mut on_node = BTreeMap::<&str, usize>::new();
    for node in related.iter().filter_map(|pod| pods::node(pod)) {
        *on_node.entry(node).or_default() += 1;
    }
    let crowd = |pod: &Pod| pods::node(pod).and_then(|node| on_node.get(node)).copied().unwrap_or_default();
    let mut ranked = pods.to_vec();
    ranked.sort_by(|a, b| {
        by_state(a)
            .cmp(&by_state(b))
            .then_with(|| crowd(b).cmp(&crowd(a)))
            .then_with(|| younger_first(pods::ready_since(a), pods::ready_since(b), now))
            .then_with(|| restarts(b).cmp(&restarts(a)))
            .then_with(|| younger_first(created(a), created(b), now))
            .then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
    });
    ranked
}

/// Unassigned before assigned, pending before unknown before running, not ready before ready, cheap before dear.
fn by_state(pod: &Pod) -> (bool, u8, bool, i32) {
    let phase = match pods::phase(pod) {
        "Pending" | "" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = pod.metadata.annotations.as_ref().and_then(|all| all.get(DELETION_COST)?.parse().ok());
    (pods::node(pod).is_some(), phase, pods::is_ready(pod), cost.unwrap_or_default())
}

/// Ages are compared by their order of magnitude, so that among pods of about one age the choice is spread.
fn younger_first(a: Option<Timestamp>, b: Option<Timestamp>, now: Timestamp) -> Ordering {
    let magnitude = |since: Option<Timestamp>| {
        let seconds = since.map(|since| now.duration_since(since).as_secs().max(0).unsigned_abs());
        Reverse(seconds.map(|seconds| u64::BITS - seconds.leading_zeros()))
    };
    magnitude(b).cmp(&magnitude(a))
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, difference: Value) -> Pod {
        let mut pod = json!({
            "metadata": { "name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "nodeName": "node1", "containers": [] },
            "status": { "phase": "Running", "conditions": [
                { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
            ]},
        });
        for (path, value) in difference.as_object().unwrap() {
            *pod.pointer_mut(path).unwrap() = value.clone();
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn what_costs_least_goes_first() {
        let now: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let ready = "/status/conditions/0/lastTransitionTime";
        let pods = [
            pod("8-old", json!({})),
            pod("7-younger", json!({ "/metadata/creationTimestamp": "2026-01-01T09:59:00Z" })),
            pod("6-ready-later", json!({ ready: "2026-01-01T09:59:00Z" })),
            pod("5-crowded", json!({ "/spec/nodeName": "node2" })),
            pod("4-not-ready", json!({ "/status/conditions/0/status": "False" })),
            pod("3-unknown", json!({ "/status/phase": "Unknown" })),
            pod("2-pending", json!({ "/status/phase": "Pending" })),
            pod("1-unassigned", json!({ "/spec/nodeName": null })),
        ];
        let all: Vec<&Pod> = pods.iter().collect();
        let crowd: Vec<Pod> = (0..9).map(|_| pod("x", json!({ "/spec/nodeName": "node2" }))).collect();
        let related: Vec<&Pod> = all.iter().copied().chain(&crowd).collect();
        let order = deletion_order(&all, &related, now);
        let names: Vec<_> = order.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let mut expect = names.clone();
        expect.sort_unstable();
        assert_eq!(names, expect);
    }
}
