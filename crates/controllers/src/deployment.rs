//! Deployments: ReplicaSets, one for each template, and how many pods each of them is to have while one takes over from the
//! others.
//!
//! One look takes one step: create the new ReplicaSet, or scale up, or scale down, or clean up; the ReplicaSets' own status
//! leads to the next look. How many is arithmetic ([`scale`]), names and annotations are [`revision`]'s, what people are told
//! is [`status`]. Pods are the ReplicaSet controller's.

mod revision;
mod scale;
mod status;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, ReplicaSet};
use serde_json::json;
use stead_api::{
    item::object_key,
    snapshot::{Kind, Snapshot, term},
};
use stead_client::EventKind;
use stead_model::ObjectKey;

use self::{
    scale::{Bounds, Share},
    status::Step,
};
use crate::{
    namespaces,
    outcome::{Note, Outcome, Source, Verb, Write},
    pods,
    selector::{Adoption, Claim, claim, matches, owner_reference},
};

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey, now: Timestamp) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(deployment) = snapshot.deployments.get(key) else { return outcome };
    let Some(spec) = &deployment.spec else { return outcome };
    let sets = claimed(snapshot, deployment, spec, &mut outcome);
    if !outcome.writes.is_empty() {
        // What is being taken in or let go counts once the snapshot has it so.
        return outcome;
    }
    let look = Look::new(snapshot, deployment, spec, sets, now);
    look.decide(&mut outcome);
    outcome
}

/// The ReplicaSets that are the Deployment's, oldest first, with writes for those that become or cease to be.
fn claimed<'a>(
    snapshot: &'a Snapshot,
    deployment: &Deployment,
    spec: &DeploymentSpec,
    outcome: &mut Outcome,
) -> Vec<&'a ReplicaSet> {
    let owner = owner_reference(Kind::Deployment, &deployment.metadata);
    let adoption = Adoption::of(&deployment.metadata);
    let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
    let mut owned = Vec::new();
    for (_, set) in snapshot.replica_sets.in_namespace(namespace) {
        match claim(Kind::ReplicaSet, &set.metadata, &spec.selector, &owner, adoption) {
            Claim::Owned => owned.push(&**set),
            Claim::Changed(write) => outcome.writes.push(*write),
            Claim::Foreign => {}
        }
    }
    owned.sort_by_key(|set| (set.metadata.creation_timestamp.clone(), set.metadata.name.clone()));
    owned
}

/// A Deployment with its ReplicaSets, at one moment.
struct Look<'a> {
    snapshot: &'a Snapshot,
    deployment: &'a Deployment,
    spec: &'a DeploymentSpec,
    /// Has the Deployment's template; of several, the oldest.
    new: Option<&'a ReplicaSet>,
    /// All others, oldest first.
    old: Vec<&'a ReplicaSet>,
    now: Timestamp,
}

impl<'a> Look<'a> {
    fn new(
        snapshot: &'a Snapshot,
        deployment: &'a Deployment,
        spec: &'a DeploymentSpec,
        sets: Vec<&'a ReplicaSet>,
        now: Timestamp,
    ) -> Self {
        let new = sets.iter().copied().find(|set| revision::has_template(set, &spec.template));
        let old = sets.into_iter().filter(|set| new.is_none_or(|new| !std::ptr::eq(*set, new))).collect();
        Self { snapshot, deployment, spec, new, old, now }
    }

    fn decide(&self, outcome: &mut Outcome) {
        let namespace = self.deployment.metadata.namespace.as_deref().unwrap_or_default();
        if self.deployment.metadata.deletion_timestamp.is_some() || namespaces::is_ending(self.snapshot, namespace) {
            return self.report(Step::Watching, outcome);
        }
        let refreshed = self.new.and_then(|new| revision::refresh_set(self.deployment, self.spec, new, &self.old));
        if let Some(refreshed) = refreshed {
            outcome.writes.push(refreshed);
            return self.report(Step::Rolling, outcome);
        }
        let paused = self.spec.paused == Some(true);
        let step = if paused || self.is_rescaled() {
            self.spread(outcome);
            if paused { Step::Paused } else { Step::Watching }
        } else if self.is_recreate() {
            self.recreate(outcome)
        } else {
            self.roll(outcome)
        };
        if !matches!(step, Step::Created(_) | Step::Collided) && outcome.writes.is_empty() {
            self.clean_up(outcome);
        }
        outcome.writes.extend(self.new.and_then(|new| revision::refresh_deployment(self.deployment, new)));
        self.report(step, outcome);
    }

    /// Whether `spec.replicas` changed since the ReplicaSets were last scaled.
    fn is_rescaled(&self) -> bool {
        let wanted = self.replicas();
        let mut active = self.sets().filter(|set| replicas(set) > 0);
        active.any(|set| revision::desired_replicas(set).is_some_and(|desired| desired != wanted))
    }

    /// Gives every active ReplicaSet its share of a new total.
    fn spread(&self, outcome: &mut Outcome) {
        let sets: Vec<&ReplicaSet> = self.sets().collect();
        let shares: Vec<Share> = sets.iter().map(|set| self.share(set)).collect();
        let newest = self.new.and_then(|new| sets.iter().position(|set| std::ptr::eq(*set, new)));
        let targets = scale::proportional(&self.bounds(), &shares, newest);
        for (set, target) in sets.into_iter().zip(targets) {
            self.scale(set, target, outcome);
        }
    }

    fn recreate(&self, outcome: &mut Outcome) -> Step {
        let active: Vec<_> = self.old.iter().filter(|set| replicas(set) > 0).collect();
        if !active.is_empty() {
            active.into_iter().for_each(|set| self.scale(set, 0, outcome));
            return Step::Rolling;
        }
        if self.old.iter().any(|set| self.has_running_pods(set)) {
            return Step::Rolling;
        }
        match self.new {
            None => self.create(self.replicas(), outcome),
            Some(new) => {
                self.scale(new, self.replicas(), outcome);
                Step::Rolling
            }
        }
    }

    fn roll(&self, outcome: &mut Outcome) -> Step {
        let (bounds, old) = (self.bounds(), self.old.iter().map(|set| self.share(set)).collect::<Vec<_>>());
        let target = scale::new_replicas(&bounds, self.new.map(|new| self.share(new)).as_ref(), &old);
        let Some(new) = self.new else { return self.create(target, outcome) };
        if target != replicas(new) {
            self.scale(new, target, outcome);
            return Step::Rolling;
        }
        let targets = scale::old_replicas(&bounds, &self.share(new), &old);
        for (set, target) in self.old.iter().zip(targets) {
            self.scale(set, target, outcome);
        }
        Step::Rolling
    }

    fn create(&self, replicas: i32, outcome: &mut Outcome) -> Step {
        let set = revision::new_set(self.deployment, self.spec, &self.old, replicas, self.bounds().most());
        let key = object_key(&set.metadata);
        if self.snapshot.replica_sets.get(&key).is_some() {
            return Step::Collided;
        }
        let mut write = Write::create(Kind::ReplicaSet, &set);
        if replicas > 0 {
            let message = format!("Scaled up replica set {} from 0 to {replicas}", key.name);
            write.on_success = Some(self.note(EventKind::Normal, "ScalingReplicaSet", message));
        }
        let message = format!("Failed to create new replica set {:?}: {{error}}", key.name);
        write.on_failure = Some(self.note(EventKind::Warning, "ReplicaSetCreateError", message));
        outcome.writes.push(write);
        Step::Created(key.name)
    }

    /// Scales one ReplicaSet and marks on it what the Deployment's total was, if it is not so already.
    fn scale(&self, set: &ReplicaSet, target: i32, outcome: &mut Outcome) {
        let before = replicas(set);
        let marks = revision::scale_marks(self.replicas(), self.bounds().most());
        let is_marked = marks.iter().all(|(name, value)| revision::annotation(&set.metadata, name) == Some(value));
        // ReplicaSets without pods keep the marks of their time.
        if before == target && (is_marked || target == 0) {
            return;
        }
        let patch = json!({
            "metadata": { "resourceVersion": set.metadata.resource_version, "annotations": marks },
            "spec": { "replicas": target },
        });
        let mut write = Write::new(Kind::ReplicaSet, object_key(&set.metadata), Verb::Patch(patch));
        if before != target {
            let direction = if target > before { "up" } else { "down" };
            let name = set.metadata.name.as_deref().unwrap_or_default();
            let message = format!("Scaled {direction} replica set {name} from {before} to {target}");
            write.on_success = Some(self.note(EventKind::Normal, "ScalingReplicaSet", message));
        }
        outcome.writes.push(write);
    }

    /// Deletes old ReplicaSets beyond the history limit, of the lowest revisions, once a rollout is complete.
    fn clean_up(&self, outcome: &mut Outcome) {
        let Some(limit) = self.spec.revision_history_limit.and_then(|limit| usize::try_from(limit).ok()) else {
            return;
        };
        let status = self.deployment.status.clone().unwrap_or_default();
        if !status::is_complete(self.deployment, self.replicas(), &status) {
            return;
        }
        let mut idle: Vec<_> = self.old.iter().filter(|set| is_idle(set)).collect();
        idle.sort_by_key(|set| revision::of(&set.metadata));
        let surplus = idle.len().saturating_sub(limit);
        outcome.writes.extend(idle.iter().take(surplus).map(|set| Write::delete(Kind::ReplicaSet, &set.metadata)));
    }

    fn report(&self, step: Step, outcome: &mut Outcome) {
        let sets: Vec<&ReplicaSet> = self.sets().collect();
        let report = status::report(self.deployment, self.spec, self.new, &sets, &self.bounds(), step, self.now);
        if self.deployment.status.as_ref() != Some(&report.status) {
            let status = status::patch(&report.status);
            let key = object_key(&self.deployment.metadata);
            let verb = Verb::PatchStatus { status, revision: None };
            outcome.writes.push(Write::new(Kind::Deployment, key, verb));
        }
        if let Some(at) = report.look_again {
            outcome.look_again(at);
        }
    }

    fn sets(&self) -> impl Iterator<Item = &'a ReplicaSet> {
        self.old.iter().copied().chain(self.new)
    }

    fn share(&self, set: &ReplicaSet) -> Share {
        let available = set.status.as_ref().and_then(|status| status.available_replicas).unwrap_or_default();
        Share {
            replicas: replicas(set),
            // A status from before it was scaled down counts pods that are about to go.
            available: available.min(replicas(set)),
            most: revision::most_replicas(set),
        }
    }

    fn has_running_pods(&self, set: &ReplicaSet) -> bool {
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        self.snapshot.pods.with_term(&term::owner(uid)).any(|(_, pod)| !pods::is_terminal(pod))
    }

    fn is_recreate(&self) -> bool {
        is_recreate(self.spec)
    }

    fn replicas(&self) -> i32 {
        self.spec.replicas.unwrap_or(1)
    }

    fn bounds(&self) -> Bounds {
        let rolling = self.spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        if self.is_recreate() {
            return Bounds { wanted: self.replicas(), surge: 0, unavailable: 0 };
        }
        let (surge, unavailable) = match rolling {
            Some(rolling) => (rolling.max_surge.as_ref(), rolling.max_unavailable.as_ref()),
            None => (None, None),
        };
        Bounds::resolve(self.replicas(), surge, unavailable)
    }

    fn note(&self, kind: EventKind, reason: &'static str, message: String) -> Note {
        Note::new(Source::Deployment, self.deployment, kind, reason, message)
    }
}

/// Whether the Deployment's selector chooses these labels.
pub(crate) fn chooses(deployment: &Deployment, labels: &Option<BTreeMap<String, String>>) -> bool {
    deployment.spec.as_ref().is_some_and(|spec| matches(&spec.selector, labels))
}

pub(crate) fn is_recreate(spec: &DeploymentSpec) -> bool {
    spec.strategy.as_ref().and_then(|strategy| strategy.type_.as_deref()) == Some("Recreate")
}

fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Without pods, by its spec and by a status that is up to date.
fn is_idle(set: &ReplicaSet) -> bool {
    let status = set.status.as_ref();
    replicas(set) == 0
        && status.is_none_or(|status| status.replicas == 0)
        && status.and_then(|status| status.observed_generation) >= set.metadata.generation
        && set.metadata.deletion_timestamp.is_none()
}
