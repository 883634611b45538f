//! What `kubectl get pods` says of a pod: ready containers, status, restarts.

use jiff::Timestamp;
use serde_json::Value;

use super::super::{
    cell::{NONE, since},
    value::{count, is_set, is_true, list, text},
};
use crate::resource::RowCondition;

/// A pod in a few words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) containers: usize,
    pub(super) ready: usize,
    pub(super) reason: String,
    restarts: i64,
    /// RFC 3339, empty when nothing was restarted.
    last_restart: String,
}

impl Summary {
    pub(super) fn restarts_cell(&self, now: Timestamp) -> String {
        if self.restarts == 0 || self.last_restart.is_empty() {
            self.restarts.to_string()
        } else {
            format!("{} ({} ago)", self.restarts, since(&self.last_restart, now))
        }
    }

    fn count_restarts(&mut self, status: &Value) {
        self.restarts += count(status, "/restartCount");
        let finished = text(status, "/lastState/terminated/finishedAt");
        if finished > self.last_restart.as_str() {
            finished.clone_into(&mut self.last_restart);
        }
    }
}

pub(super) fn summarise(pod: &Value) -> Summary {
    let sidecars = list(pod, "/spec/initContainers").iter().filter(|container| is_sidecar(container)).count();
    let mut summary = Summary {
        containers: list(pod, "/spec/containers").len() + sidecars,
        ready: 0,
        reason: phase_or_reason(pod),
        restarts: 0,
        last_restart: String::new(),
    };
    let is_initializing = initialise(pod, &mut summary);
    if !is_initializing || has_condition(pod, "Initialized") {
        count_sidecar_restarts(pod, &mut summary);
        run(pod, &mut summary);
    }
    if is_set(pod, "/metadata/deletionTimestamp") {
        if text(pod, "/status/reason") == "NodeLost" {
            "Unknown".clone_into(&mut summary.reason);
        } else if !matches!(text(pod, "/status/phase"), "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut summary.reason);
        }
    }
    summary
}

/// How the row of a pod is marked whose containers have all ended for good.
pub(super) fn ended(pod: &Value) -> Option<RowCondition> {
    let (reason, message) = match text(pod, "/status/phase") {
        "Succeeded" => ("Succeeded", "The pod has completed successfully."),
        "Failed" => ("Failed", "The pod failed."),
        _ => return None,
    };
    Some(RowCondition { kind: "Completed", reason, message })
}

/// How many of the pod's readiness gates hold, of how many; `<none>` without any.
pub(super) fn readiness_gates(pod: &Value) -> String {
    let gates = list(pod, "/spec/readinessGates");
    let holding = gates.iter().filter(|gate| has_condition(pod, text(gate, "/conditionType"))).count();
    if gates.is_empty() { NONE.to_owned() } else { format!("{holding}/{}", gates.len()) }
}

fn phase_or_reason(pod: &Value) -> String {
    let is_gated = list(pod, "/status/conditions")
        .iter()
        .any(|condition| text(condition, "/type") == "PodScheduled" && text(condition, "/reason") == "SchedulingGated");
    match text(pod, "/status/reason") {
        _ if is_gated => "SchedulingGated".to_owned(),
        "" => text(pod, "/status/phase").to_owned(),
        reason => reason.to_owned(),
    }
}

/// The first init container that is not done gives the reason. Returns whether there is one.
fn initialise(pod: &Value, summary: &mut Summary) -> bool {
    let specs = list(pod, "/spec/initContainers");
    for (done, status) in list(pod, "/status/initContainerStatuses").iter().enumerate() {
        summary.count_restarts(status);
        let is_sidecar = specs.iter().any(|spec| text(spec, "/name") == text(status, "/name") && is_sidecar(spec));
        let waiting = text(status, "/state/waiting/reason");
        let reason = if is_set(status, "/state/terminated") && count(status, "/state/terminated/exitCode") == 0 {
            continue;
        } else if is_sidecar && is_true(status, "/started") {
            summary.ready += usize::from(is_true(status, "/ready"));
            continue;
        } else if is_set(status, "/state/terminated") {
            format!("Init:{}", termination(status))
        } else if !matches!(waiting, "" | "PodInitializing") {
            format!("Init:{waiting}")
        } else {
            format!("Init:{done}/{}", specs.len())
        };
        summary.reason = reason;
        return true;
    }
    false
}

/// Restarts of init containers that are done no longer count, those of sidecars do.
fn count_sidecar_restarts(pod: &Value, summary: &mut Summary) {
    summary.restarts = 0;
    summary.last_restart.clear();
    let specs = list(pod, "/spec/initContainers");
    for status in list(pod, "/status/initContainerStatuses") {
        if specs.iter().any(|spec| text(spec, "/name") == text(status, "/name") && is_sidecar(spec)) {
            summary.count_restarts(status);
        }
    }
}

/// The first container that does not run gives the reason.
fn run(pod: &Value, summary: &mut Summary) {
    let mut has_running = false;
    for status in list(pod, "/status/containerStatuses").iter().rev() {
        summary.count_restarts(status);
        match text(status, "/state/waiting/reason") {
            "" if is_set(status, "/state/terminated") => summary.reason = termination(status),
            "" if is_true(status, "/ready") && is_set(status, "/state/running") => {
                has_running = true;
                summary.ready += 1;
            }
            "" => {}
            waiting => waiting.clone_into(&mut summary.reason),
        }
    }
    if summary.reason == "Completed" && has_running {
        let reason = if has_condition(pod, "Ready") { "Running" } else { "NotReady" };
        reason.clone_into(&mut summary.reason);
    }
}

fn termination(status: &Value) -> String {
    let signal = count(status, "/state/terminated/signal");
    match text(status, "/state/terminated/reason") {
        "" if signal != 0 => format!("Signal:{signal}"),
        "" => format!("ExitCode:{}", count(status, "/state/terminated/exitCode")),
        reason => reason.to_owned(),
    }
}

fn has_condition(pod: &Value, kind: &str) -> bool {
    list(pod, "/status/conditions")
        .iter()
        .any(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}
