//! The endpoints that a Service is to have, as its pods say. Borrowed, so that thousands of endpoints that stay as they are cost no
//! copy of anything.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    core::v1::{Node, Pod, ServicePort, ServiceSpec},
    discovery::v1::{Endpoint, EndpointConditions, EndpointPort},
};
use stead_api::snapshot::Snapshot;
use stead_model::{Family, ObjectKey};

use crate::{pods, service_pods};

pub(super) const ZONE: &str = "topology.kubernetes.io/zone";

/// One pod as an endpoint. Hints are not part of it.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) pod: &'a Pod,
    address: &'a str,
    hostname: Option<&'a str>,
    node: Option<&'a str>,
    zone: Option<&'a str>,
    conditions: EndpointConditions,
}

/// What an endpoint is, whatever its condition: address, host name, namespace and name of the pod.
pub(super) type Identity<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Endpoints whose ports have the same numbers.
#[derive(Debug, Default)]
pub(super) struct Group<'a> {
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Wanted<'a>>,
}

/// What the pods of a Service come to in one family.
#[derive(Debug, Default)]
pub(super) struct Wish<'a> {
    pub(super) groups: Vec<Group<'a>>,
    /// Pods left out because nobody knows their node: it may come yet.
    pub(super) homeless: Vec<&'a Pod>,
}

/// Groups the pods that are to be endpoints, in order of pods.
pub(super) fn wish<'a>(
    snapshot: &'a Snapshot,
    chosen: &[&'a Pod],
    key: &ObjectKey,
    spec: &ServiceSpec,
    family: Family,
) -> Wish<'a> {
    let mut by_numbers = BTreeMap::<Vec<Option<i32>>, usize>::new();
    let mut wish = Wish::default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    for pod in chosen.iter().copied().filter(|pod| !pods::is_terminal(pod)) {
        let Some(address) = service_pods::address(pod, family) else { continue };
        let node_name = pods::node(pod);
        let node = node_name.and_then(|name| snapshot.nodes.get(&ObjectKey::cluster(name)));
        if node.is_none() && !service_pods::publishes_not_ready(spec) {
            wish.homeless.push(pod);
            continue;
        }
        let (serving, terminating) = (pods::is_ready(pod), pod.metadata.deletion_timestamp.is_some());
        let ready = service_pods::publishes_not_ready(spec) || (serving && !terminating);
        let endpoint = Wanted {
            pod,
            address,
            hostname: service_pods::hostname(pod, key),
            node: node_name,
            zone: node.and_then(|node| zone(node)),
            conditions: EndpointConditions {
                ready: Some(ready),
                serving: Some(serving),
                terminating: Some(terminating),
            },
        };
        let numbers: Vec<_> = ports.iter().map(|port| service_pods::target_port(pod, port)).collect();
        let place = *by_numbers.entry(numbers).or_insert_with_key(|numbers| {
            wish.groups.push(Group { ports: endpoint_ports(ports, numbers), endpoints: Vec::new() });
            wish.groups.len() - 1
        });
        wish.groups[place].endpoints.push(endpoint);
    }
    wish
}

pub(super) fn zone(node: &Node) -> Option<&str> {
    let zone = node.metadata.labels.as_ref()?.get(ZONE)?;
    (!zone.is_empty()).then_some(zone)
}

fn endpoint_ports(ports: &[ServicePort], numbers: &[Option<i32>]) -> Vec<EndpointPort> {
    let found = ports.iter().zip(numbers).filter_map(|(port, number)| Some((port, (*number)?)));
    found
        .map(|(port, number)| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(number),
            protocol: Some(service_pods::protocol(port).to_owned()),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

impl<'a> Wanted<'a> {
    pub(super) fn identity(&self) -> Identity<'a> {
        let name = |name: &'a Option<String>| name.as_deref().unwrap_or_default();
        let metadata = &self.pod.metadata;
        (self.address, self.hostname.unwrap_or_default(), name(&metadata.namespace), name(&metadata.name))
    }

    /// Whether an endpoint of the same identity says all that this one does.
    pub(super) fn is(&self, held: &Endpoint) -> bool {
        let uid = held.target_ref.as_ref().and_then(|target| target.uid.as_deref());
        held.node_name.as_deref() == self.node
            && held.zone.as_deref() == self.zone
            && held.conditions.as_ref() == Some(&self.conditions)
            && uid == self.pod.metadata.uid.as_deref()
    }

    pub(super) fn to_endpoint(&self) -> Endpoint {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Endpoint {
            addresses: vec![self.address.to_owned()],
            conditions: Some(self.conditions.clone()),
            hostname: owned(self.hostname),
            node_name: owned(self.node),
            target_ref: Some(service_pods::target_reference(self.pod)),
            zone: owned(self.zone),
            ..Endpoint::default()
        }
    }
}

pub(super) fn identity(held: &Endpoint) -> Identity<'_> {
    let target = held.target_ref.as_ref();
    (
        held.addresses.first().map_or("", String::as_str),
        held.hostname.as_deref().unwrap_or_default(),
        target.and_then(|target| target.namespace.as_deref()).unwrap_or_default(),
        target.and_then(|target| target.name.as_deref()).unwrap_or_default(),
    )
}
