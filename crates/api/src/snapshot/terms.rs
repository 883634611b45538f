//! The index terms of a controllers' snapshot: names under which objects are found besides their keys.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::kinds::endpoint_slice::SERVICE_NAME_LABEL;

/// Terms as text, for lookups with [`super::Objects::with_term`].
pub mod term {
    /// Objects of any kind that name `uid` among their owners.
    pub fn owner(uid: &str) -> Box<str> {
        format!("owner {uid}").into()
    }

    /// Pods bound to a node; those bound to none for the empty name.
    pub fn node(name: &str) -> Box<str> {
        format!("node {name}").into()
    }

    /// Pods with this label.
    pub fn label(namespace: &str, key: &str, value: &str) -> Box<str> {
        format!("label {namespace} {key} {value}").into()
    }

    /// Services whose selector has this pair as its first in order of keys.
    pub fn selector(namespace: &str, key: &str, value: &str) -> Box<str> {
        format!("selector {namespace} {key} {value}").into()
    }

    /// Services with an empty selector that is not missing: they select every pod.
    pub fn selects_all(namespace: &str) -> Box<str> {
        format!("selects all {namespace}").into()
    }

    /// Services whose annotations ask for hints by the zones' processors.
    pub fn topology_aware() -> Box<str> {
        "topology aware".into()
    }

    /// EndpointSlices of a Service, by the label that says so.
    pub fn service(namespace: &str, name: &str) -> Box<str> {
        format!("service {namespace} {name}").into()
    }
}

pub(super) fn owners(metadata: &ObjectMeta) -> Vec<Box<str>> {
    metadata.owner_references.iter().flatten().map(|owner| term::owner(&owner.uid)).collect()
}

pub(super) fn of_pod(pod: &Pod) -> Vec<Box<str>> {
    let mut terms = owners(&pod.metadata);
    terms.push(term::node(pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default()));
    let namespace = namespace(&pod.metadata);
    terms.extend(pairs(&pod.metadata.labels).map(|(key, value)| term::label(namespace, key, value)));
    terms
}

pub(super) fn of_service(service: &Service) -> Vec<Box<str>> {
    let mut terms = owners(&service.metadata);
    let namespace = namespace(&service.metadata);
    if let Some(spec) = &service.spec
        && spec.selector.is_some()
    {
        terms.push(match pairs(&spec.selector).next() {
            Some((key, value)) => term::selector(namespace, key, value),
            None => term::selects_all(namespace),
        });
    }
    if asks_for_shares(service) {
        terms.push(term::topology_aware());
    }
    terms
}

/// Whether the annotation `service.kubernetes.io/topology-mode`, or before it the deprecated one, says `Auto`.
pub fn asks_for_shares(service: &Service) -> bool {
    const NAMES: [&str; 2] = ["service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode"];
    let annotations = service.metadata.annotations.as_ref();
    let value = annotations.and_then(|all| NAMES.iter().find_map(|name| all.get(*name)));
    value.is_some_and(|value| value == "Auto" || value == "auto")
}

pub(super) fn of_slice(slice: &EndpointSlice) -> Vec<Box<str>> {
    let mut terms = owners(&slice.metadata);
    if let Some(service) = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_NAME_LABEL)) {
        terms.push(term::service(namespace(&slice.metadata), service));
    }
    terms
}

fn namespace(metadata: &ObjectMeta) -> &str {
    metadata.namespace.as_deref().unwrap_or_default()
}

fn pairs(map: &Option<BTreeMap<String, String>>) -> impl Iterator<Item = (&String, &String)> {
    map.iter().flatten()
}
