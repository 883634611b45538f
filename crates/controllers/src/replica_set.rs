//! ReplicaSets and ReplicationControllers: as many active pods as `spec.replicas` says, made from the template, and a status
//! that counts them.
//!
//! What the two kinds have in common is [`set`]'s to say. Which pod goes first when there are too many is [`rank`]'s. Rollouts
//! are the deployment controller's, placing pods is the scheduler's.

mod rank;
mod set;

use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ReplicaSetSpec, ReplicaSetStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use stead_api::snapshot::{Kind, Snapshot, term};
use stead_client::EventKind;
use stead_model::ObjectKey;

use crate::{
    namespaces,
    outcome::{Outcome, Verb, Write, json},
    pods,
    selector::{Adoption, Claim, claim},
};

use self::set::Set;
pub(crate) use self::set::choosing;

/// Pods made or deleted in one look; the next look does the rest.
const BURST: usize = 500;

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey, now: Timestamp) -> Outcome {
    Set::replica_set(snapshot, key).map(|set| keep(snapshot, &set, key, now)).unwrap_or_default()
}

pub(crate) fn reconcile_controller(snapshot: &Snapshot, key: &ObjectKey, now: Timestamp) -> Outcome {
    Set::controller(snapshot, key).map(|set| keep(snapshot, &set, key, now)).unwrap_or_default()
}

/// Keeps the set's number of pods.
fn keep(snapshot: &Snapshot, set: &Set<'_>, key: &ObjectKey, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let pods = claimed(snapshot, set, &mut outcome);
    let mut active: Vec<&Pod> = pods.into_iter().filter(|pod| pods::is_active(pod)).collect();
    let mut surplus = Vec::new();
    // A pod that is being taken in or let go counts once the snapshot has it so.
    let is_adopting = !outcome.writes.is_empty();
    if !is_adopting && set.metadata.deletion_timestamp.is_none() && !namespaces::is_ending(snapshot, &key.namespace) {
        surplus = scale(snapshot, set, &mut active, now, &mut outcome);
    }
    // Told before they go: whoever reads the status never takes a pod for available that is about to end.
    let status = count(set, &active, now);
    if set.status.as_deref() != Some(&status) {
        let status = counts_only(&status);
        outcome.writes.push(Write::new(set.kind(), key.clone(), Verb::PatchStatus { status, revision: None }));
    }
    outcome.writes.extend(surplus.into_iter().map(|pod| delete(set, pod)));
    let min_ready = set.spec.min_ready_seconds.unwrap_or_default();
    let becoming = active.iter().filter_map(|pod| pods::available_at(pod, min_ready)).filter(|at| *at > now).min();
    if let Some(at) = becoming {
        outcome.look_again(at);
    }
    outcome
}

/// The pods that are the set's, with writes for those that become or cease to be.
fn claimed<'a>(snapshot: &'a Snapshot, set: &Set<'_>, outcome: &mut Outcome) -> Vec<&'a Pod> {
    let owner = set.owner();
    let adoption = Adoption::of(set.metadata);
    let mut owned = Vec::new();
    for pod in candidates(snapshot, set.metadata, &set.spec) {
        // An ended pod is let go or kept, but never taken in.
        if pods::controller(&pod.metadata).is_none() && !pods::is_active(pod) {
            continue;
        }
        match claim(Kind::Pod, &pod.metadata, &set.spec.selector, &owner, adoption) {
            Claim::Owned => owned.push(pod),
            Claim::Changed(write) => outcome.writes.push(*write),
            Claim::Foreign => {}
        }
    }
    owned
}

/// Pods that the set owns or that its selector may choose: those with the rarest of the selector's labels.
fn candidates<'a>(snapshot: &'a Snapshot, set: &ObjectMeta, spec: &ReplicaSetSpec) -> Vec<&'a Pod> {
    let namespace = set.namespace.as_deref().unwrap_or_default();
    let uid = set.uid.as_deref().unwrap_or_default();
    let rarest = spec
        .selector
        .match_labels
        .iter()
        .flatten()
        .map(|(key, value)| term::label(namespace, key, value))
        .min_by_key(|term| snapshot.pods.count_with_term(term));
    let mut found: Vec<_> = snapshot.pods.with_term(&term::owner(uid)).collect();
    match rarest {
        Some(term) => found.extend(snapshot.pods.with_term(&term)),
        None => found.extend(snapshot.pods.in_namespace(namespace)),
    }
    found.sort_by_key(|(key, _)| *key);
    found.dedup_by_key(|(key, _)| *key);
    found.into_iter().map(|(_, pod)| &**pod).collect()
}

/// Makes what is missing; what is too many is taken out of `active` and returned, in the order in which it goes.
fn scale<'a>(
    snapshot: &Snapshot,
    set: &Set<'_>,
    active: &mut Vec<&'a Pod>,
    now: Timestamp,
    outcome: &mut Outcome,
) -> Vec<&'a Pod> {
    let wanted = usize::try_from(set.spec.replicas.unwrap_or(1)).unwrap_or_default();
    let missing = wanted.saturating_sub(active.len()).min(BURST);
    outcome.writes.extend((0..missing).map(|_| create(set)));
    let surplus = active.len().saturating_sub(wanted).min(BURST);
    if surplus == 0 {
        return Vec::new();
    }
    let mut ranked = rank::deletion_order(active, &related(snapshot, set), now);
    *active = ranked.split_off(surplus);
    ranked
}

fn create(set: &Set<'_>) -> Write {
    let template = set.spec.template.clone().unwrap_or_default();
    let metadata = template.metadata.unwrap_or_default();
    let pod = Pod {
        metadata: ObjectMeta {
            namespace: set.metadata.namespace.clone(),
            generate_name: Some(format!("{}-", set.metadata.name.as_deref().unwrap_or_default())),
            labels: metadata.labels,
            annotations: metadata.annotations,
            finalizers: metadata.finalizers,
            owner_references: Some(vec![set.owner()]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    Write {
        on_success: Some(set.note(EventKind::Normal, "SuccessfulCreate", "Created pod: {name}")),
        on_failure: Some(set.note(EventKind::Warning, "FailedCreate", "Error creating: {error}")),
        ..Write::create(Kind::Pod, &pod)
    }
}

fn delete(set: &Set<'_>, pod: &Pod) -> Write {
    Write {
        on_success: Some(set.note(EventKind::Normal, "SuccessfulDelete", "Deleted pod: {name}")),
        on_failure: Some(set.note(EventKind::Warning, "FailedDelete", "Error deleting: {error}")),
        ..Write::delete(Kind::Pod, &pod.metadata)
    }
}

/// Active pods of all ReplicaSets that have the same controller: a rollout's old and new pods crowd nodes together.
fn related<'a>(snapshot: &'a Snapshot, set: &'a Set<'a>) -> Vec<&'a Pod> {
    let own = set.metadata.uid.as_deref().unwrap_or_default();
    let siblings: Vec<&str> = match pods::controller(set.metadata).filter(|_| set.kind() == Kind::ReplicaSet) {
        Some(owner) => {
            let siblings = snapshot.replica_sets.with_term(&term::owner(&owner.uid));
            siblings.filter_map(|(_, sibling)| sibling.metadata.uid.as_deref()).collect()
        }
        None => vec![own],
    };
    let pods = siblings.iter().flat_map(|uid| snapshot.pods.with_term(&term::owner(uid)));
    pods.map(|(_, pod)| &**pod).filter(|pod| pods::is_active(pod)).collect()
}

fn count(set: &Set<'_>, active: &[&Pod], now: Timestamp) -> ReplicaSetStatus {
    let total = |holds: &dyn Fn(&Pod) -> bool| {
        i32::try_from(active.iter().filter(|pod| holds(pod)).count()).unwrap_or(i32::MAX)
    };
    let labels = set.spec.template.as_ref().and_then(|template| template.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let min_ready = set.spec.min_ready_seconds.unwrap_or_default();
    let before = set.status.as_deref().cloned().unwrap_or_default();
    let nonzero = |value: i32| (value != 0).then_some(value);
    ReplicaSetStatus {
        replicas: total(&|_| true),
        fully_labeled_replicas: nonzero(total(&|pod| pods::has_pairs(&pod.metadata.labels, &labels))),
        ready_replicas: nonzero(total(&pods::is_ready)),
        available_replicas: nonzero(total(&|pod| pods::available_at(pod, min_ready).is_some_and(|at| at <= now))),
        observed_generation: set.metadata.generation,
        conditions: before.conditions,
        terminating_replicas: before.terminating_replicas,
    }
}

/// The counts as a merge patch; one that is zero is taken out.
fn counts_only(status: &ReplicaSetStatus) -> serde_json::Value {
    let mut patch = serde_json::json!({
        "fullyLabeledReplicas": null, "readyReplicas": null, "availableReplicas": null,
    });
    if let (Some(patch), serde_json::Value::Object(status)) = (patch.as_object_mut(), json(status)) {
        patch.extend(status.into_iter().filter(|(field, _)| field != "conditions"));
    }
    patch
}
