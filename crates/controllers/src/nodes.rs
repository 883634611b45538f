//! Node liveness. A node whose Lease was not renewed for [`GRACE`] is unknown, its pods not ready, so that they leave all
//! endpoints; after [`EVICTION`] they are deleted, so that others take their place. Pods of a node that is deleted go at once.
//!
//! The agent renews the Lease and says everything else about a node; what it says again when it is back counts.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{Node, NodeCondition, Pod, PodCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::json;
use stead_api::{
    item::object_key,
    snapshot::{Kind, Snapshot, term},
};
use stead_client::EventKind;
use stead_model::ObjectKey;

use crate::{
    outcome::{First, Note, Outcome, Source, Verb, Write, json as to_json},
    pods,
};

/// Leases of nodes live in this namespace, under the node's name.
pub(crate) const LEASE_NAMESPACE: &str = "kube-node-lease";
const GRACE: SignedDuration = SignedDuration::from_secs(40);
/// Pods stay so long on a node that is not heard of: upstream's default toleration.
const EVICTION: SignedDuration = SignedDuration::from_secs(300);

/// `since`: when this controller began to watch; silence before that says nothing.
pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey, now: Timestamp, since: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let on_node = snapshot.pods.with_term(&term::node(&key.name)).map(|(_, pod)| &**pod);
    let Some(node) = snapshot.nodes.get(key) else {
        outcome.writes.extend(on_node.map(|pod| lose(pod, key)));
        return outcome;
    };
    let heard = last_heard(snapshot, node).max(since);
    let silent_from = heard.saturating_add(GRACE).unwrap_or(Timestamp::MAX);
    if now < silent_from {
        outcome.look_again(silent_from);
        return outcome;
    }
    outcome.writes.extend(unknown(node, now));
    let gone_from = silent_from.saturating_add(EVICTION).unwrap_or(Timestamp::MAX);
    for pod in on_node {
        if now >= gone_from && pods::is_active(pod) {
            outcome.writes.push(evict(pod));
        } else if pods::is_ready(pod) {
            outcome.writes.push(not_ready(pod, now));
        }
    }
    if now < gone_from {
        outcome.look_again(gone_from);
    }
    outcome
}

/// The last renewal; before the first one, the node's creation.
fn last_heard(snapshot: &Snapshot, node: &Node) -> Timestamp {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let lease = snapshot.leases.get(&ObjectKey::new(LEASE_NAMESPACE, name));
    let renewed = lease.and_then(|lease| Some(lease.spec.as_ref()?.renew_time.as_ref()?.0));
    let created = node.metadata.creation_timestamp.as_ref().map(|time| time.0);
    renewed.or(created).unwrap_or(Timestamp::MIN)
}

/// Sets what the node itself can no longer say to unknown, unless it is.
fn unknown(node: &Node, now: Timestamp) -> Option<Write> {
    let mut conditions = node.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    if !conditions.iter().any(|condition| condition.type_ == "Ready") {
        conditions.push(NodeCondition { type_: "Ready".to_owned(), ..NodeCondition::default() });
    }
    if conditions.iter().all(|condition| condition.status == "Unknown") {
        return None;
    }
    for condition in conditions.iter_mut().filter(|condition| condition.status != "Unknown") {
        condition.status = "Unknown".to_owned();
        condition.reason = Some("NodeStatusUnknown".to_owned());
        condition.message = Some("Kubelet stopped posting node status.".to_owned());
        condition.last_transition_time = Some(Time(now));
    }
    let verb = Verb::PatchStatus {
        status: json!({ "conditions": to_json(&conditions) }),
        revision: node.metadata.resource_version.clone(),
    };
    let key = object_key(&node.metadata);
    let message = format!("Node {} status is now: NodeNotReady", key.name);
    Some(Write {
        on_success: Some(Note::new(Source::Nodes, node, EventKind::Normal, "NodeNotReady", message)),
        ..Write::new(Kind::Node, key, verb)
    })
}

fn not_ready(pod: &Pod, now: Timestamp) -> Write {
    let condition = PodCondition {
        type_: "Ready".to_owned(),
        status: "False".to_owned(),
        reason: Some("NodeNotReady".to_owned()),
        message: Some("the node is not heard of".to_owned()),
        last_transition_time: Some(Time(now)),
        ..PodCondition::default()
    };
    let verb = Verb::PatchStatus {
        status: json!({ "conditions": to_json(&pods::with_condition(pod, condition)) }),
        revision: pod.metadata.resource_version.clone(),
    };
    Write {
        on_success: Some(Note::new(Source::Nodes, pod, EventKind::Warning, "NodeNotReady", "Node is not ready")),
        ..Write::new(Kind::Pod, object_key(&pod.metadata), verb)
    }
}

fn evict(pod: &Pod) -> Write {
    let message = format!("Marking for deletion Pod {}", object_key(&pod.metadata));
    Write {
        on_success: Some(Note::new(Source::Nodes, pod, EventKind::Normal, "TaintManagerEviction", message)),
        ..Write::delete(Kind::Pod, &pod.metadata)
    }
}

/// Nobody can end the containers of a node that does not exist: the object goes at once, if the node really is gone.
fn lose(pod: &Pod, node: &ObjectKey) -> Write {
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let verb = Verb::Delete { uid, grace_seconds: Some(0), propagation: None };
    Write {
        first: vec![First::EnsureGone { kind: Kind::Node, key: node.clone(), uid: String::new() }],
        ..Write::new(Kind::Pod, object_key(&pod.metadata), verb)
    }
}
