//! EndpointSlices: for each Service with a selector, its pods in slices of at most a hundred, per family and per set of ports.
//!
//! Says which endpoints there are; how they are laid into slices so that few slices change is [`pack`]'s. Slices that carry
//! another manager's label are left alone.

mod pack;

use std::collections::BTreeMap;

use k8s_openapi::{
    api::{
        core::v1::{Pod, Service, ServicePort, ServiceSpec},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use stead_api::{
    kinds::endpoint_slice::SERVICE_NAME_LABEL,
    snapshot::{Kind, Snapshot, term},
};
use stead_client::EventKind;
use stead_model::{Family, ObjectKey};

use self::pack::{Packed, pack};
use crate::{
    namespaces,
    outcome::{Note, Outcome, Source, Write},
    pods, selector, service_pods,
};

const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const MANAGER: &str = "endpointslice-controller.k8s.io";
const ZONE: &str = "topology.kubernetes.io/zone";

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey) -> Outcome {
    let mut outcome = Outcome::default();
    // Slices of a Service that is gone go with their owner reference.
    let Some(service) = snapshot.services.get(key) else { return outcome };
    let Some(spec) = service_pods::managed_spec(service) else { return outcome };
    if service.metadata.deletion_timestamp.is_some() || namespaces::is_ending(snapshot, &key.namespace) {
        return outcome;
    }
    let owner = selector::owner_reference(Kind::Service, &service.metadata);
    let families = service_pods::families(spec);
    let mut existing = BTreeMap::<Family, Vec<&EndpointSlice>>::new();
    for slice in managed_slices(snapshot, key) {
        let family = families.iter().find(|family| family.to_string() == slice.address_type);
        match family {
            Some(family) if is_ours(slice, &owner) => existing.entry(*family).or_default().push(slice),
            _ if slice.metadata.deletion_timestamp.is_some() => {}
            _ => outcome.writes.push(Write::delete(Kind::EndpointSlice, &slice.metadata)),
        }
    }
    let labels = labels(service, spec, key);
    for family in families {
        let wanted = endpoints(snapshot, key, spec, family);
        let packed = pack(&existing.remove(&family).unwrap_or_default(), wanted, &labels);
        outcome.writes.extend(packed.into_iter().map(|packed| write(service, key, family, &owner, &labels, packed)));
    }
    outcome
}

fn managed_slices<'a>(snapshot: &'a Snapshot, key: &ObjectKey) -> impl Iterator<Item = &'a EndpointSlice> + use<'a> {
    let slices = snapshot.endpoint_slices.with_term(&term::service(&key.namespace, &key.name));
    slices.map(|(_, slice)| &**slice).filter(|slice| is_managed(slice))
}

/// Whether a slice says that it is this controller's.
pub(crate) fn is_managed(slice: &EndpointSlice) -> bool {
    slice.metadata.labels.as_ref().and_then(|labels| labels.get(MANAGED_BY)).is_some_and(|by| by == MANAGER)
}

/// A slice of an earlier Service of this name is not ours to fill.
fn is_ours(slice: &EndpointSlice, owner: &OwnerReference) -> bool {
    slice.metadata.deletion_timestamp.is_none()
        && pods::controller(&slice.metadata).is_none_or(|current| current.uid == owner.uid)
}

fn labels(service: &Service, spec: &ServiceSpec, key: &ObjectKey) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(service_pods::HEADLESS_LABEL);
    if service_pods::is_headless(spec) {
        labels.insert(service_pods::HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(SERVICE_NAME_LABEL.to_owned(), key.name.to_string());
    labels.insert(MANAGED_BY.to_owned(), MANAGER.to_owned());
    labels
}

/// All endpoints of a family, grouped by their ports, in order of pods.
fn endpoints(
    snapshot: &Snapshot,
    key: &ObjectKey,
    spec: &ServiceSpec,
    family: Family,
) -> Vec<(Vec<EndpointPort>, Vec<Endpoint>)> {
    let mut groups = Vec::<(Vec<EndpointPort>, Vec<Endpoint>)>::new();
    for pod in service_pods::selected(snapshot, &key.namespace, spec) {
        let Some(endpoint) = endpoint(snapshot, pod, key, spec, family) else { continue };
        let declared = spec.ports.iter().flatten();
        let ports: Vec<_> = declared.filter_map(|port| endpoint_port(pod, port)).collect();
        match groups.iter_mut().find(|(known, _)| *known == ports) {
            Some((_, endpoints)) => endpoints.push(endpoint),
            None => groups.push((ports, vec![endpoint])),
        }
    }
    groups
}

fn endpoint_port(pod: &Pod, port: &ServicePort) -> Option<EndpointPort> {
    Some(EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(service_pods::target_port(pod, port)?),
        protocol: Some(service_pods::protocol(port).to_owned()),
        app_protocol: port.app_protocol.clone(),
    })
}

fn endpoint(
    snapshot: &Snapshot,
    pod: &Pod,
    service: &ObjectKey,
    spec: &ServiceSpec,
    family: Family,
) -> Option<Endpoint> {
    if pods::is_terminal(pod) {
        return None;
    }
    let address = service_pods::address(pod, family)?;
    let node_name = pods::node(pod);
    let node = node_name.and_then(|name| snapshot.nodes.get(&ObjectKey::cluster(name)));
    let not_ready_too = service_pods::publishes_not_ready(spec);
    // Its node will come, and then this Service is looked at again.
    if node.is_none() && !not_ready_too {
        return None;
    }
    let (serving, terminating) = (pods::is_ready(pod), pod.metadata.deletion_timestamp.is_some());
    Some(Endpoint {
        addresses: vec![address.to_owned()],
        conditions: Some(EndpointConditions {
            ready: Some(not_ready_too || (serving && !terminating)),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hostname: service_pods::hostname(pod, service),
        node_name: node_name.map(str::to_owned),
        target_ref: Some(service_pods::target_reference(pod)),
        zone: node.and_then(|node| node.metadata.labels.as_ref()?.get(ZONE).cloned()),
        ..Endpoint::default()
    })
}

fn write(
    service: &Service,
    key: &ObjectKey,
    family: Family,
    owner: &OwnerReference,
    labels: &BTreeMap<String, String>,
    packed: Packed,
) -> Write {
    let slice = |metadata, ports, endpoints| EndpointSlice {
        metadata,
        address_type: family.to_string(),
        ports: Some(ports),
        endpoints: Some(endpoints),
    };
    let write = match packed {
        Packed::Create { ports, endpoints } => {
            let metadata = ObjectMeta {
                namespace: Some(key.namespace.to_string()),
                generate_name: Some(format!("{}-", key.name)),
                labels: Some(labels.clone()),
                owner_references: Some(vec![owner.clone()]),
                ..ObjectMeta::default()
            };
            Write::create(Kind::EndpointSlice, &slice(metadata, ports, endpoints))
        }
        Packed::Update { metadata, ports, endpoints } => {
            let metadata =
                ObjectMeta { labels: Some(labels.clone()), owner_references: Some(vec![owner.clone()]), ..*metadata };
            Write::update(Kind::EndpointSlice, &slice(metadata, ports, endpoints))
        }
        Packed::Delete { metadata } => Write::delete(Kind::EndpointSlice, &metadata),
    };
    let message = format!("Error updating Endpoint Slices for Service {key}: {{error}}");
    let failed =
        Note::new(Source::EndpointSlices, service, EventKind::Warning, "FailedToUpdateEndpointSlices", message);
    Write { on_failure: Some(failed), ..write }
}
