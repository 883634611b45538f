//! What the API is told of a pod.

use std::{net::IpAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
        HostIP, Pod, PodCondition, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

use super::{
    observed::{Container, Finished, Image, Network, Observed, Run},
    sync::{is_finished, restarts},
};

/// What a status says beyond the pod itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusContext<'a> {
    /// The node's addresses, the primary one first.
    pub host_addresses: &'a [IpAddr],
    /// What was told last.
    pub previous: &'a PodStatus,
    pub now: Timestamp,
}

/// For how long a failed pull is called that before it is called waiting.
pub(super) const ERROR_SHOWN: Duration = Duration::from_secs(2);

/// The phase by the rules of the pod's containers and its restart policy.
pub(crate) fn phase_of(pod: &Pod, observed: &Observed) -> &'static str {
    let states = || observed.containers.values();
    let count = pod.spec.as_ref().map_or(0, |spec| spec.containers.len());
    if count > 0 && is_finished(pod, observed) {
        let all_well = states().all(|state| matches!(&state.run, Run::Ended(finished) if finished.code == 0));
        return if all_well { "Succeeded" } else { "Failed" };
    }
    let begun = |state: &Container| state.last.is_some() || matches!(state.run, Run::Running { .. } | Run::Ended(_));
    if states().filter(|state| begun(state)).count() == count { "Running" } else { "Pending" }
}

/// The whole status. What only others write is carried over from the one before.
pub(crate) fn status(pod: &Pod, observed: &Observed, context: StatusContext<'_>) -> PodStatus {
    let previous = context.previous;
    let phase = phase_of(pod, observed);
    let mut containers: Vec<ContainerStatus> = pod
        .spec
        .iter()
        .flat_map(|spec| &spec.containers)
        .map(|container| {
            let state = observed.containers.get(&container.name).cloned().unwrap_or_default();
            let has_probe = container.readiness_probe.is_some();
            container_status(pod, &container.name, container.image.as_deref(), &state, has_probe, context.now)
        })
        .collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    let addresses: Vec<PodIP> = match &observed.network {
        Network::Attached(addresses) => addresses.iter().map(|ip| PodIP { ip: ip.to_string() }).collect(),
        // Where it ended, its addresses stay in its record, as they were.
        Network::Detaching | Network::Absent if is_finished(pod, observed) => {
            previous.pod_ips.clone().unwrap_or_default()
        }
        _ => Vec::new(),
    };
    let hosts: Vec<HostIP> = context.host_addresses.iter().map(|ip| HostIP { ip: ip.to_string() }).collect();
    PodStatus {
        phase: Some(phase.to_owned()),
        conditions: Some(conditions(pod, previous, observed, phase, &containers, context.now)),
        host_ip: hosts.first().map(|host| host.ip.clone()),
        host_ips: Some(hosts).filter(|hosts| !hosts.is_empty()),
        pod_ip: addresses.first().map(|address| address.ip.clone()),
        pod_ips: Some(addresses).filter(|addresses| !addresses.is_empty()),
        start_time: previous.start_time.clone().or(Some(whole_seconds(observed.seen_at))),
        container_statuses: Some(containers),
        qos_class: previous.qos_class.clone(),
        observed_generation: pod.metadata.generation,
        ..PodStatus::default()
    }
}

fn container_status(
    pod: &Pod,
    name: &str,
    image: Option<&str>,
    state: &Container,
    has_probe: bool,
    now: Timestamp,
) -> ContainerStatus {
    let is_running = matches!(state.run, Run::Running { .. });
    let (shown, last) = match &state.run {
        Run::None => (waiting(state, now), None),
        Run::Starting { .. } => match &state.last {
            Some(last) => (terminated(pod, name, last), None),
            None => (waiting(state, now), None),
        },
        Run::Unconfigured { message, .. } => {
            let reason = Some("CreateContainerConfigError".to_owned());
            let waiting = ContainerStateWaiting { reason, message: Some(message.clone()) };
            (ContainerState { waiting: Some(waiting), ..ContainerState::default() }, state.last.as_ref())
        }
        Run::Running { since, .. } => {
            let running = ContainerStateRunning { started_at: Some(whole_seconds(*since)) };
            (ContainerState { running: Some(running), ..ContainerState::default() }, state.last.as_ref())
        }
        Run::Ended(finished) if restarts(pod, finished) => match (&state.image, state.backoff.until()) {
            (Image::Missing { .. }, _) => (waiting(state, now), Some(finished)),
            (_, Some(until)) if now < until => {
                let wait = state.backoff.wait(finished.finished_at);
                (crash_loop(pod, name, wait), Some(finished))
            }
            _ => (terminated(pod, name, finished), state.last.as_ref()),
        },
        Run::Ended(finished) => (terminated(pod, name, finished), state.last.as_ref()),
    };
    let attempt = state.attempt();
    // Whose id and count are shown: those of the run that is or was last seen.
    let seen = match (&state.run, &state.last) {
        (Run::None, _) => None,
        (Run::Starting { .. } | Run::Unconfigured { .. }, last) => last.as_ref().map(|last| last.attempt),
        _ => Some(attempt),
    };
    ContainerStatus {
        name: name.to_owned(),
        image: image.unwrap_or_default().to_owned(),
        image_id: match &state.image {
            Image::Present { id } => id.clone(),
            _ => String::new(),
        },
        container_id: seen.map(|attempt| container_id(pod, name, attempt)),
        ready: is_running && (state.is_ready || !has_probe),
        restart_count: i32::try_from(seen.unwrap_or(0)).unwrap_or(i32::MAX),
        started: Some(is_running),
        state: Some(shown),
        last_state: Some(match last {
            Some(finished) => terminated(pod, name, finished),
            None => ContainerState::default(),
        }),
        ..ContainerStatus::default()
    }
}

/// `stead://` and the digest of what names the run.
fn container_id(pod: &Pod, container: &str, attempt: u32) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let digest = crate::image::Digest::of(format!("{uid}/{container}/{attempt}").as_bytes());
    format!("stead://{}", digest.hex())
}

fn waiting(state: &Container, now: Timestamp) -> ContainerState {
    let (reason, message) = match &state.image {
        Image::Missing { reason, message, since, .. } => {
            let fresh = now < super::observed::after(*since, ERROR_SHOWN);
            match reason {
                super::observed::MissingReason::ErrImagePull if !fresh => {
                    ("ImagePullBackOff", Some(format!("Back-off pulling image: {message}")))
                }
                reason => (reason.as_str(), Some(message.clone())),
            }
        }
        // Asked again: what was shown stays until there is an answer.
        Image::Resolving { delay } if !delay.is_zero() => ("ImagePullBackOff", None),
        _ => ("ContainerCreating", None),
    };
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn crash_loop(pod: &Pod, name: &str, wait: Duration) -> ContainerState {
    let wait = match wait.as_secs() {
        seconds if seconds >= 60 => format!("{}m{}s", seconds / 60, seconds % 60),
        seconds => format!("{seconds}s"),
    };
    let message = format!("back-off {wait} restarting failed container={name} pod={}", pod_reference(pod));
    let waiting = ContainerStateWaiting { reason: Some("CrashLoopBackOff".to_owned()), message: Some(message) };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

/// `NAME_NAMESPACE(UID)`, as messages name a pod.
pub(super) fn pod_reference(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    format!("{}_{}({})", part(&pod.metadata.name), part(&pod.metadata.namespace), part(&pod.metadata.uid))
}

fn terminated(pod: &Pod, name: &str, finished: &Finished) -> ContainerState {
    let terminated = ContainerStateTerminated {
        exit_code: finished.code,
        signal: finished.signal,
        reason: Some(finished.reason.to_owned()),
        message: finished.message.clone(),
        started_at: finished.started_at.map(whole_seconds),
        finished_at: Some(whole_seconds(finished.finished_at)),
        container_id: Some(container_id(pod, name, finished.attempt)),
    };
    ContainerState { terminated: Some(terminated), ..ContainerState::default() }
}

fn conditions(
    pod: &Pod,
    previous: &PodStatus,
    observed: &Observed,
    phase: &str,
    containers: &[ContainerStatus],
    now: Timestamp,
) -> Vec<PodCondition> {
    let before = previous.conditions.as_deref().unwrap_or_default();
    let unready: Vec<&str> = containers.iter().filter(|c| !c.ready).map(|c| c.name.as_str()).collect();
    let (is_ready, reason, message) = match phase {
        "Succeeded" => (false, Some("PodCompleted"), None),
        "Failed" => (false, Some("PodFailed"), None),
        _ if unready.is_empty() && !containers.is_empty() => (true, None, None),
        _ => {
            let message = format!("containers with unready status: [{}]", unready.join(" "));
            (false, Some("ContainersNotReady"), Some(message))
        }
    };
    let has_network = matches!(observed.network, Network::Attached(_));
    let wanted = [
        ("PodReadyToStartContainers", has_network, None, None),
        ("Initialized", true, (phase == "Succeeded").then_some("PodCompleted"), None),
        ("Ready", is_ready, reason, message.clone()),
        ("ContainersReady", is_ready, reason, message),
        ("PodScheduled", true, None, None),
    ];
    let mut conditions: Vec<PodCondition> = wanted
        .into_iter()
        .map(|(name, holds, reason, message)| {
            let status = if holds { "True" } else { "False" };
            let old = before.iter().find(|old| old.type_ == name && old.status == status);
            let since = old.and_then(|old| old.last_transition_time.clone());
            PodCondition {
                type_: name.to_owned(),
                status: status.to_owned(),
                reason: reason.map(str::to_owned),
                message,
                last_transition_time: since.or(Some(whole_seconds(now))),
                observed_generation: pod.metadata.generation,
                ..PodCondition::default()
            }
        })
        .collect();
    let known: Vec<&str> = wanted_names().to_vec();
    conditions.extend(before.iter().filter(|old| !known.contains(&old.type_.as_str())).cloned());
    conditions
}

fn wanted_names() -> [&'static str; 5] {
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
}

/// Times of the API have whole seconds; one that has more would differ from itself after a round trip.
fn whole_seconds(time: Timestamp) -> Time {
    Time(Timestamp::from_second(time.as_second()).unwrap_or(time))
}
