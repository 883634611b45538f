//! What an earlier agent left running, as the beginning of what is known of its pods.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodSpec},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};

use crate::{
    net::PodNetwork,
    pod::{Container, Finished, Image, Network, Observed, Run},
    runtime::{ContainerKey, ContainerRuntime, Found, RuntimeError},
    shim::{Exit, ExitCause},
};

/// Runs by pod and container, each container's in ascending order of the attempt.
#[derive(Debug, Default)]
pub(super) struct FoundRuns(BTreeMap<String, BTreeMap<String, Vec<(u32, Found)>>>);

impl FoundRuns {
    pub(super) async fn read(runtime: &dyn ContainerRuntime) -> Result<Self, RuntimeError> {
        let mut runs = Self::default();
        for (ContainerKey { pod_uid, container, attempt }, found) in runtime.list().await? {
            runs.0.entry(pod_uid).or_default().entry(container).or_default().push((attempt, found));
        }
        Ok(runs)
    }

    pub(super) fn pods(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(super) fn forget(&mut self, uid: &str) {
        self.0.remove(uid);
    }

    /// The beginning for a pod whose object is here.
    pub(super) fn observed_of(&mut self, pod: &Pod, network: Option<PodNetwork>, now: Timestamp) -> Observed {
        let mut found = self.0.remove(pod.metadata.uid.as_deref().unwrap_or_default()).unwrap_or_default();
        let mut observed = with_network(network, now);
        for container in pod.spec.iter().flat_map(|spec| &spec.containers) {
            let mut told = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
            let told = told.find(|told| told.name == container.name);
            let state = match found.remove(&container.name) {
                Some(runs) => state_of(runs, told, now),
                None => match told {
                    Some(told) if told.container_id.is_some() => lost(told, now),
                    _ => Container::default(),
                },
            };
            observed.containers.insert(container.name.clone(), state);
        }
        observed
    }

    /// The beginning of the end for one whose object is gone.
    pub(super) fn observed_of_lost(&self, uid: &str, network: Option<PodNetwork>, now: Timestamp) -> Observed {
        let mut observed = with_network(network, now);
        if observed.network == Network::Absent {
            // Addresses without a namespace are still to be given back.
            observed.network = Network::Attached(Vec::new());
        }
        for (container, runs) in self.0.get(uid).into_iter().flatten() {
            observed.containers.insert(container.clone(), state_of(runs.clone(), None, now));
        }
        observed
    }
}

/// Stands for an object that nobody has any more.
pub(super) fn lost_pod(uid: &str) -> Pod {
    let metadata = ObjectMeta { uid: Some(uid.to_owned()), ..ObjectMeta::default() };
    Pod { metadata, spec: Some(PodSpec::default()), status: None }
}

/// As a deletion without grace would.
pub(super) fn mark_deleted(pod: &mut Pod, now: Timestamp) {
    pod.metadata.deletion_timestamp.get_or_insert(Time(now));
    pod.metadata.deletion_grace_period_seconds = Some(0);
}

/// How an exit is told.
pub(super) fn finished(attempt: u32, exit: &Exit) -> Finished {
    let reason = match exit.cause {
        ExitCause::OutOfMemory => "OOMKilled",
        ExitCause::Unknown => "ContainerStatusUnknown",
        ExitCause::Own if exit.code == 0 => "Completed",
        ExitCause::Own => "Error",
    };
    Finished {
        attempt,
        code: exit.code,
        signal: exit.signal,
        reason,
        message: None,
        started_at: Some(exit.started_at),
        finished_at: exit.finished_at,
    }
}

fn with_network(network: Option<PodNetwork>, now: Timestamp) -> Observed {
    let mut observed = Observed::new(now);
    if let Some(network) = network {
        observed.network = Network::Attached(network.addresses);
    }
    observed
}

fn state_of(mut runs: Vec<(u32, Found)>, told: Option<&ContainerStatus>, now: Timestamp) -> Container {
    let mut state = Container::default();
    let Some((attempt, current)) = runs.pop() else { return state };
    state.last = runs.pop().and_then(|(attempt, found)| ended(attempt, found, now));
    if let Some(told) = told {
        state.image = match told.image_id.as_str() {
            "" => Image::Unknown,
            id => Image::Present { id: id.to_owned() },
        };
        let same_run = u32::try_from(told.restart_count) == Ok(attempt);
        // What was ready stays so until a probe says otherwise.
        state.is_ready = same_run && told.ready;
    }
    state.run = match current {
        Found::Running(running) => Run::Running { attempt, since: running.started_at, stop: None },
        found => ended(attempt, found, now).map_or(Run::None, Run::Ended),
    };
    state
}

fn ended(attempt: u32, found: Found, now: Timestamp) -> Option<Finished> {
    match found {
        Found::Running(_) => None,
        Found::Exited(exit) => Some(finished(attempt, &exit)),
        Found::Failed { message } => Some(Finished::never_started(attempt, message, now)),
    }
}

/// A run that the API knows of and this machine does not, as after a restart of the machine.
fn lost(told: &ContainerStatus, now: Timestamp) -> Container {
    let attempt = u32::try_from(told.restart_count).unwrap_or(0);
    let terminated = told.state.as_ref().and_then(|state| state.terminated.as_ref());
    let finished = match terminated {
        Some(terminated) => Finished {
            attempt,
            code: terminated.exit_code,
            signal: terminated.signal,
            reason: if terminated.exit_code == 0 { "Completed" } else { "Error" },
            message: terminated.message.clone(),
            started_at: terminated.started_at.as_ref().map(|time| time.0),
            finished_at: terminated.finished_at.as_ref().map_or(now, |time| time.0),
        },
        None => Finished {
            attempt,
            code: 137,
            signal: None,
            reason: "ContainerStatusUnknown",
            message: Some("the container could not be found when the node came back".to_owned()),
            started_at: None,
            finished_at: now,
        },
    };
    Container { run: Run::Ended(finished), ..Container::default() }
}
