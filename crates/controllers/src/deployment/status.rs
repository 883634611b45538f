//! What people and `kubectl rollout status` are told about a Deployment: counts and conditions, in upstream's words.

use jiff::{SignedDuration, Timestamp, Unit};
use k8s_openapi::{
    api::apps::v1::{Deployment, DeploymentCondition, DeploymentSpec, DeploymentStatus, ReplicaSet},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde_json::{Value, json};

use super::{replicas, scale::Bounds};
use crate::outcome::json as to_json;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const NEW_SET_AVAILABLE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
const PAUSED: &str = "DeploymentPaused";

/// What this look did.
pub(super) enum Step {
    /// It rolls, or has rolled, towards its template.
    Rolling,
    /// It makes the ReplicaSet of this name.
    Created(Box<str>),
    /// The name for its ReplicaSet is another's.
    Collided,
    /// It is paused.
    Paused,
    /// Nothing about the rollout.
    Watching,
}

pub(super) struct Report {
    pub status: DeploymentStatus,
    /// When a rollout that stands still will have taken too long.
    pub look_again: Option<Timestamp>,
}

/// Whether every pod is of the current template and available.
pub(super) fn is_complete(deployment: &Deployment, wanted: i32, status: &DeploymentStatus) -> bool {
    let is_wanted = |count: Option<i32>| count.unwrap_or_default() == wanted;
    is_wanted(status.updated_replicas)
        && is_wanted(status.replicas)
        && is_wanted(status.available_replicas)
        && status.observed_generation >= deployment.metadata.generation
}

pub(super) fn report(
    deployment: &Deployment,
    spec: &DeploymentSpec,
    new: Option<&ReplicaSet>,
    sets: &[&ReplicaSet],
    bounds: &Bounds,
    step: Step,
    now: Timestamp,
) -> Report {
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = count(deployment, new, sets, &before);
    let mut conditions = Conditions { list: before.conditions.clone().unwrap_or_default(), now: whole_seconds(now) };
    if status.available_replicas.unwrap_or_default() >= bounds.least() {
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.");
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    let deadline = spec.progress_deadline_seconds.filter(|seconds| *seconds != i32::MAX);
    match (&step, deadline) {
        (Step::Collided, _) => {
            status.collision_count = Some(before.collision_count.unwrap_or_default() + 1);
        }
        (_, None) => conditions.list.retain(|condition| condition.type_ != PROGRESSING),
        (Step::Watching, Some(_)) => {}
        (Step::Paused, Some(_)) => conditions.pause(),
        (Step::Created(name), Some(_)) => {
            let message = format!("Created new replica set {name:?}");
            conditions.set(PROGRESSING, "True", "NewReplicaSetCreated", &message);
        }
        (Step::Rolling, Some(deadline)) => {
            conditions.resume();
            let name = new.and_then(|new| new.metadata.name.as_deref());
            if conditions.get(PROGRESSING).is_none()
                && let Some(name) = name
            {
                conditions.set(PROGRESSING, "True", "FoundNewReplicaSet", &format!("Found new replica set {name:?}"));
            }
            conditions.progress(deployment, bounds.wanted, name, &before, &status, deadline);
        }
    }
    let look_again = deadline.and_then(|deadline| conditions.deadline(deadline)).filter(|at| *at > now);
    status.conditions = (!conditions.list.is_empty()).then_some(conditions.list);
    Report { status, look_again }
}

/// The status as a merge patch; a count that is zero is taken out.
pub(super) fn patch(status: &DeploymentStatus) -> Value {
    let mut patch = json!({
        "replicas": null, "updatedReplicas": null, "readyReplicas": null,
        "availableReplicas": null, "unavailableReplicas": null,
    });
    if let (Some(patch), Value::Object(status)) = (patch.as_object_mut(), to_json(status)) {
        patch.extend(status);
    }
    patch
}

fn count(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    sets: &[&ReplicaSet],
    before: &DeploymentStatus,
) -> DeploymentStatus {
    let of = |set: &ReplicaSet| set.status.clone().unwrap_or_default();
    let sum = |count: &dyn Fn(&ReplicaSet) -> i32| sets.iter().map(|set| count(set)).sum::<i32>();
    let nonzero = |count: i32| (count != 0).then_some(count);
    let available = sum(&|set| of(set).available_replicas.unwrap_or_default());
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: nonzero(sum(&|set| of(set).replicas)),
        updated_replicas: nonzero(new.map_or(0, |new| of(new).replicas)),
        ready_replicas: nonzero(sum(&|set| of(set).ready_replicas.unwrap_or_default())),
        available_replicas: nonzero(available),
        unavailable_replicas: nonzero((sum(&replicas) - available).max(0)),
        ..before.clone()
    }
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, type_: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == type_)
    }

    /// Sets a condition, unless it has this status and reason already.
    fn set(&mut self, type_: &str, status: &str, reason: &str, message: &str) {
        let known = self.get(type_);
        if known.is_some_and(|known| known.status == status && known.reason.as_deref() == Some(reason)) {
            return;
        }
        let kept = known.filter(|known| known.status == status).and_then(|known| known.last_transition_time.clone());
        let condition = DeploymentCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_update_time: Some(Time(self.now)),
            last_transition_time: Some(kept.unwrap_or(Time(self.now))),
        };
        match self.list.iter_mut().find(|known| known.type_ == type_) {
            Some(known) => *known = condition,
            None => self.list.push(condition),
        }
    }

    fn has_reason(&self, reason: &str) -> bool {
        self.get(PROGRESSING).is_some_and(|condition| condition.reason.as_deref() == Some(reason))
    }

    fn pause(&mut self) {
        if !self.has_reason(TIMED_OUT) {
            self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused");
        }
    }

    fn resume(&mut self) {
        if self.has_reason(PAUSED) {
            self.set(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed");
        }
    }

    /// Complete, moving, or standing still for too long.
    fn progress(
        &mut self,
        deployment: &Deployment,
        wanted: i32,
        name: Option<&str>,
        before: &DeploymentStatus,
        status: &DeploymentStatus,
        deadline: i32,
    ) {
        if status.replicas == status.updated_replicas && self.has_reason(NEW_SET_AVAILABLE) {
            return;
        }
        let subject = match name {
            Some(name) => format!("ReplicaSet {name:?}"),
            None => format!("Deployment {:?}", deployment.metadata.name.as_deref().unwrap_or_default()),
        };
        if is_complete(deployment, wanted, status) {
            let message = format!("{subject} has successfully progressed.");
            self.set(PROGRESSING, "True", NEW_SET_AVAILABLE, &message);
        } else if has_moved(before, status) {
            self.touch(&format!("{subject} is progressing."));
        } else if self.deadline(deadline).is_some_and(|at| at <= self.now) {
            self.set(PROGRESSING, "False", TIMED_OUT, &format!("{subject} has timed out progressing."));
        }
    }

    /// Progress restarts the deadline, so that the condition is renewed although it says the same.
    fn touch(&mut self, message: &str) {
        self.set(PROGRESSING, "True", "ReplicaSetUpdated", message);
        if let Some(condition) = self.list.iter_mut().find(|condition| condition.type_ == PROGRESSING) {
            condition.message = Some(message.to_owned());
            condition.last_update_time = Some(Time(self.now));
        }
    }

    /// When a rollout that goes on has taken too long; `None` where none does.
    fn deadline(&self, seconds: i32) -> Option<Timestamp> {
        let condition = self.get(PROGRESSING)?;
        let is_settled = matches!(condition.reason.as_deref(), Some(NEW_SET_AVAILABLE | TIMED_OUT | PAUSED));
        let since = condition.last_update_time.as_ref().filter(|_| !is_settled)?.0;
        since.checked_add(SignedDuration::from_secs(i64::from(seconds) + 1)).ok()
    }
}

fn has_moved(before: &DeploymentStatus, status: &DeploymentStatus) -> bool {
    let count = |count: Option<i32>| count.unwrap_or_default();
    let old = |status: &DeploymentStatus| count(status.replicas) - count(status.updated_replicas);
    count(status.updated_replicas) > count(before.updated_replicas)
        || old(status) < old(before)
        || count(status.ready_replicas) > count(before.ready_replicas)
        || count(status.available_replicas) > count(before.available_replicas)
}

/// Times in objects are whole seconds.
fn whole_seconds(now: Timestamp) -> Timestamp {
    now.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc)).unwrap_or(now)
}
