//! Which pods stand behind a Service, and where its ports lead in each of them. Endpoints and EndpointSlices are two ways of
//! writing this down.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};
use stead_api::snapshot::{Snapshot, term};
use stead_model::{Family, ObjectKey};

use crate::pods;

pub(crate) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The Service's spec, if endpoints are ours to keep: it has a selector and is no ExternalName.
pub(crate) fn managed_spec(service: &Service) -> Option<&ServiceSpec> {
    service.spec.as_ref().filter(|spec| spec.selector.is_some() && spec.type_.as_deref() != Some("ExternalName"))
}

/// All pods that the selector chooses, by name.
pub(crate) fn selected<'a>(snapshot: &'a Snapshot, namespace: &str, spec: &ServiceSpec) -> Vec<&'a Pod> {
    let Some(selector) = &spec.selector else { return Vec::new() };
    let rarest = selector
        .iter()
        .map(|(key, value)| term::label(namespace, key, value))
        .min_by_key(|term| snapshot.pods.count_with_term(term));
    match rarest {
        Some(term) => {
            let pods = snapshot.pods.with_term(&term).map(|(_, pod)| &**pod);
            pods.filter(|pod| pods::has_pairs(&pod.metadata.labels, selector)).collect()
        }
        None => snapshot.pods.in_namespace(namespace).map(|(_, pod)| &**pod).collect(),
    }
}

/// The Services that choose a pod.
pub(crate) fn services_choosing<'a>(snapshot: &'a Snapshot, pod: &Pod) -> Vec<&'a ObjectKey> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let labels = pod.metadata.labels.iter().flatten();
    let terms = labels.map(|(key, value)| term::selector(namespace, key, value)).chain([term::selects_all(namespace)]);
    terms
        .flat_map(|term| snapshot.services.with_term(&term))
        .filter(|(_, service)| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selector.is_some_and(|selector| pods::has_pairs(&pod.metadata.labels, selector))
        })
        .map(|(key, _)| key)
        .collect()
}

pub(crate) fn is_headless(spec: &ServiceSpec) -> bool {
    spec.cluster_ip.as_deref() == Some("None")
}

pub(crate) fn publishes_not_ready(spec: &ServiceSpec) -> bool {
    spec.publish_not_ready_addresses == Some(true)
}

/// The Service's families. Where it does not say, from a server that knows none: that of its virtual IP, or both.
pub(crate) fn families(spec: &ServiceSpec) -> Vec<Family> {
    let families = spec.ip_families.iter().flatten();
    let families: Vec<Family> =
        families.filter_map(|name| Family::ALL.into_iter().find(|f| f.to_string() == *name)).collect();
    if !families.is_empty() {
        return families;
    }
    match spec.cluster_ip.as_deref().and_then(|address| address.parse().ok()) {
        Some(address) => vec![Family::of(address)],
        None => Family::ALL.to_vec(),
    }
}

/// The pod's address of a family.
pub(crate) fn address(pod: &Pod, family: Family) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let all = status.pod_ips.iter().flatten().map(|each| each.ip.as_str());
    let mut all = all.chain(status.pod_ip.as_deref());
    all.find(|ip| ip.parse().is_ok_and(|ip| Family::of(ip) == family))
}

/// The number a Service port leads to in this pod; `None` where the pod does not have the port's name.
pub(crate) fn target_port(pod: &Pod, port: &ServicePort) -> Option<i32> {
    match port.target_port.as_ref() {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => Some(first_port(pod).unwrap_or(port.port)),
        Some(IntOrString::String(name)) => named_port(pod, name, protocol(port)),
    }
}

/// Where a Service leads that leaves the port to its pods, as those of 2014 could.
fn first_port(pod: &Pod) -> Option<i32> {
    let first = pod.spec.as_ref()?.containers.first()?;
    first.ports.iter().flatten().map(|port| port.container_port).next()
}

fn named_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let mut ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let found =
        ports.find(|port| port.name.as_deref() == Some(name) && port.protocol.as_deref().unwrap_or("TCP") == protocol);
    found.map(|port| port.container_port)
}

pub(crate) fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().unwrap_or("TCP")
}

/// How an endpoint names its pod.
pub(crate) fn target_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The hostname that DNS is to give the pod in this Service: only where the pod says that it belongs to it.
pub(crate) fn hostname<'a>(pod: &'a Pod, service: &ObjectKey) -> Option<&'a str> {
    let spec = pod.spec.as_ref()?;
    let belongs = spec.subdomain.as_deref() == Some(&*service.name)
        && pod.metadata.namespace.as_deref() == Some(&*service.namespace);
    spec.hostname.as_deref().filter(|hostname| belongs && !hostname.is_empty())
}

/// Whether two states of a pod can differ in what any Service says of it. Its node and its ports never change once it has an address.
pub(crate) fn differ(old: &Pod, new: &Pod) -> bool {
    let addresses = |pod: &Pod| pod.status.as_ref().map(|status| (status.pod_ips.clone(), status.pod_ip.clone()));
    let names = |pod: &Pod| pod.spec.as_ref().map(|spec| (spec.hostname.clone(), spec.subdomain.clone()));
    old.metadata.uid != new.metadata.uid
        || old.metadata.labels != new.metadata.labels
        || old.metadata.deletion_timestamp.is_some() != new.metadata.deletion_timestamp.is_some()
        || pods::is_ready(old) != pods::is_ready(new)
        || pods::is_terminal(old) != pods::is_terminal(new)
        || pods::node(old) != pods::node(new)
        || addresses(old) != addresses(new)
        || names(old) != names(new)
}

/// The labels that what stands for a Service has from it: its own, and whether it is headless.
pub(crate) fn inherited_labels(service: &Service, spec: &ServiceSpec) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS_LABEL);
    if is_headless(spec) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    }
    labels
}
