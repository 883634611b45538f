//! Tells people what the loop did: log lines, and Kubernetes Events for problems of Services.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use stead_client::{EventKind, Recorder, ServiceCache, error_text};
use stead_dataplane::Applied;
use stead_model::ObjectKey;
use stead_plan::Problem;

use crate::{
    forwarder::{Programmed, Report},
    predecessors::Removal,
};

/// Problems of one Service that are told one by one; of the others only the number.
const TOLD: usize = 5;

/// Says what happened to this node.
#[derive(Clone, Debug)]
pub(crate) struct NodeRecorder {
    recorder: Recorder,
    node: ObjectReference,
}

impl NodeRecorder {
    pub(crate) fn new(recorder: Recorder, node: &str) -> Self {
        let node = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(node.to_owned()),
            // Those who look for a node's events ask for this.
            uid: Some(node.to_owned()),
            ..ObjectReference::default()
        };
        Self { recorder, node }
    }

    pub(crate) fn record(&self, kind: EventKind, reason: &str, message: String) {
        self.recorder.record(&self.node, kind, reason, message);
    }
}

/// Says what happened to Services.
#[derive(Clone, Debug)]
pub(crate) struct ServiceRecorder {
    recorder: Recorder,
    cache: ServiceCache,
}

impl ServiceRecorder {
    pub(crate) fn new(recorder: Recorder, cache: ServiceCache) -> Self {
        Self { recorder, cache }
    }

    /// Also a line in the log.
    pub(crate) fn record(&self, service: &ObjectKey, kind: EventKind, reason: &str, message: String) {
        tracing::warn!(%service, "{message}");
        self.recorder.record(&self.reference(service), kind, reason, message);
    }

    fn reference(&self, key: &ObjectKey) -> ObjectReference {
        let uid = self.cache.read().service(key).map(|service| service.uid.to_string()).filter(|uid| !uid.is_empty());
        ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(key.namespace.to_string()),
            name: Some(key.name.to_string()),
            uid,
            ..ObjectReference::default()
        }
    }
}

pub(crate) struct Reporter {
    node: NodeRecorder,
    services: ServiceRecorder,
    /// The failure told last, so that a lasting one is a warning once and then detail.
    last_failure: String,
    has_programmed: bool,
}

impl Reporter {
    pub(crate) fn new(node: NodeRecorder, services: ServiceRecorder) -> Self {
        Self { node, services, last_failure: String::new(), has_programmed: false }
    }

    /// `took`: how long the step was at work.
    pub(crate) fn tell(&mut self, report: Report, took: Duration) {
        if let Some(Programmed { extent, services, applied, names, .. }) = &report.programmed {
            let Applied { operations, bytes, .. } = applied;
            if self.has_programmed {
                let names = names.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
                tracing::debug!(?extent, services, names, operations, bytes, ?took, "programmed");
            } else {
                tracing::info!(services, operations, bytes, ?took, "all Services are programmed");
            }
            self.has_programmed = true;
        }
        if report.healed > 0 {
            tracing::warn!(operations = report.healed, ?took, "somebody changed our kernel tables; put right");
            let message = format!(
                "somebody changed the proxy's tables in the kernel; {} operations put them right",
                report.healed
            );
            self.node.record(EventKind::Warning, "ForeignChangesHealed", message);
        }
        for Removal { mode, outcome } in &report.removals {
            match outcome {
                Ok(()) => tracing::info!(%mode, "removed what another data plane left"),
                Err(error) => {
                    tracing::warn!(%mode, error = error_text(error), "what another data plane left stays; trying again");
                }
            }
        }
        let failure = report.failure.as_ref().map(|failure| error_text(failure)).unwrap_or_default();
        if !failure.is_empty() && failure == self.last_failure {
            tracing::debug!(failure, "failed again; trying again");
        } else if !failure.is_empty() {
            tracing::warn!(failure, "failed; trying again");
        }
        self.last_failure = failure;
        self.tell_problems(report.problems);
    }

    fn tell_problems(&self, problems: Vec<Problem>) {
        let mut by_service = BTreeMap::<_, Vec<_>>::new();
        for problem in problems {
            by_service.entry(problem.service.clone()).or_default().push(problem);
        }
        for (service, problems) in by_service {
            let reference = self.services.reference(&service);
            for problem in problems.iter().take(TOLD) {
                tracing::warn!("{problem}");
                self.services.recorder.record(
                    &reference,
                    EventKind::Warning,
                    problem.reason(),
                    problem.cause.to_string(),
                );
            }
            if let Some(more) = problems.len().checked_sub(TOLD).filter(|more| *more > 0) {
                tracing::warn!("Service {service}: {more} more problems");
                let message = format!("{more} more problems are not named");
                self.services.recorder.record(&reference, EventKind::Warning, "MoreProblems", message);
            }
        }
    }
}
