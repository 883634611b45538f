//! Pod: containers that share one network namespace on one node.
//!
//! The cell "Status" is a small logic of its own, in [`status`]; defaults, which Deployments and ReplicaSets share for their
//! templates, are in [`default`].

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    ALL_VERBS, cell,
    cell::{NONE, or},
    column::{AGE, NAME, shown, wide},
    generation, unhonoured,
    value::{at, child, count, fill, is_true, keep, list, set, text},
};
use crate::{
    field::FieldError,
    meta::{self, Scope},
    names::dns1123_subdomain,
    resource::{Resource, RowCondition, Strategy, Subresource, Warnings},
};

mod annotations;
mod change;
mod condition;
mod container;
mod default;
mod dns;
mod handler;
mod placement;
mod quality;
mod resources;
mod status;
mod validate;
mod volumes;
pub(crate) mod warnings;

pub use condition::{become_evicted, become_scheduled};
pub(crate) use default::default_template;
pub(crate) use validate::validate_template;

pub static RESOURCE: Resource = Resource {
    group: "",
    version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    namespaced: true,
    verbs: ALL_VERBS,
    subresources: &[
        Subresource::Status,
        Subresource::Log,
        Subresource::Binding,
        Subresource::Eviction,
        Subresource::Attach,
        Subresource::Exec,
        Subresource::PortForward,
        Subresource::Proxy,
    ],
    definition: "io.k8s.api.core.v1.Pod",
    registry: "pods",
    create_on_update: false,
    delete_returns_object: true,
    time_to_live: None,
    columns: &[
        NAME,
        shown("Ready", "string", "How many containers are ready, of all."),
        shown("Status", "string", "What the pod does, or what keeps it from doing so."),
        shown("Restarts", "string", "How often containers were started again, and when last."),
        AGE,
        wide("IP", "string", "Address of the pod."),
        wide("Node", "string", "Node that runs the pod."),
        wide("Nominated Node", "string", "Node that the pod may come to once others have left it."),
        wide("Readiness Gates", "string", "Conditions from outside that must hold for the pod to be ready."),
    ],
    strategy: &Rules,
};

const SELECTABLE: &[&str] = &[
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

const ANNOTATIONS: &str = "metadata.annotations";

#[derive(Debug)]
struct Rules;

impl Strategy for Rules {
    fn default(&self, object: &mut Value) {
        default::default_pod(object);
    }

    fn prepare_create(&self, object: &mut Value) {
        generation::begin(object);
        fill(child(object, "spec"), "serviceAccountName", "default");
        fill(child(object, "spec"), "serviceAccount", "default");
        if count(object, "/spec/terminationGracePeriodSeconds") < 0 {
            set(child(object, "spec"), "terminationGracePeriodSeconds", 1);
        }
        set(object, "status", json!({"phase": "Pending", "qosClass": quality::class(object)}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "status");
        generation::follow_spec(new, old);
    }

    /// Whose a pod is, is not its agent's to say.
    fn prepare_status_update(&self, new: &mut Value, old: &Value) {
        keep(new, old, "spec");
        for key in ["generation", "ownerReferences"] {
            match at(old, "/metadata").get(key) {
                Some(value) => meta::set(new, key, value.clone()),
                None => meta::unset(new, key),
            }
        }
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta(object, Scope::Namespaced, dns1123_subdomain);
        errors.extend(annotations::validate(object, ANNOTATIONS));
        errors.extend(validate::validate_pod(object));
        errors.extend(unhonoured::refusals(unhonoured::POD_SPEC, at(object, "/spec"), "spec"));
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = meta::validate_meta_update(new, old);
        if at(new, "/metadata/annotations") != at(old, "/metadata/annotations") {
            errors.extend(annotations::validate(new, ANNOTATIONS));
        }
        // Most updates are of the status; what the spec says was looked at when it was stored.
        if new.get("spec") != old.get("spec") {
            errors.extend(change::validate_change(new, old));
            errors.extend(validate::validate_pod(new));
        }
        errors
    }

    /// Changes of a pod are mostly its agent's, which reads no warnings.
    fn warnings(&self, new: &Value, old: Option<&Value>) -> Warnings {
        let mut warnings = Warnings::new();
        if old.is_none() {
            warnings.extend(warnings::of_name(new, "the Pod's hostname"));
            warnings.extend(warnings::of_pod(new, ""));
        }
        warnings.extend(unhonoured::warnings(
            unhonoured::POD_SPEC,
            at(new, "/spec"),
            old.map(|old| at(old, "/spec")),
            "spec",
        ));
        warnings
    }

    fn selectable_field(&self, object: &Value, path: &str) -> Option<String> {
        match path {
            "spec.hostNetwork" => Some(is_true(object, "/spec/hostNetwork").to_string()),
            "status.podIPs" => {
                let addresses: Vec<&str> =
                    list(object, "/status/podIPs").iter().map(|address| text(address, "/ip")).collect();
                Some(addresses.join(","))
            }
            _ if SELECTABLE.contains(&path) => Some(text(object, &format!("/{}", path.replace('.', "/"))).to_owned()),
            _ => None,
        }
    }

    fn selectable_fields(&self) -> &'static [&'static str] {
        SELECTABLE
    }

    fn row_condition(&self, pod: &Value) -> Option<RowCondition> {
        status::ended(pod)
    }

    fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let summary = status::summarise(object);
        let ip = text(object, "/status/podIPs/0/ip");
        vec![
            cell::name(object),
            format!("{}/{}", summary.ready, summary.containers).into(),
            summary.reason.clone().into(),
            summary.restarts_cell(now).into(),
            cell::age(object, now),
            or(ip, or(text(object, "/status/podIP"), NONE)).into(),
            or(text(object, "/spec/nodeName"), NONE).into(),
            or(text(object, "/status/nominatedNodeName"), NONE).into(),
            status::readiness_gates(object).into(),
        ]
    }
}

#[cfg(test)]
mod tests;
