//! Endpoints: for each Service with a selector, one object of the Service's name with the addresses of its pods in the
//! Service's first family, ready ones apart from others.
//!
//! It writes only what differs. Endpoints made by hand, for Services without a selector, are nobody's here.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service, ServicePort, ServiceSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use stead_api::snapshot::{Kind, Snapshot};
use stead_client::EventKind;
use stead_model::{Family, ObjectKey};

use crate::{
    namespaces,
    outcome::{Note, Outcome, Source, Write},
    pods, service_pods,
};

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Whoever holds a leader election here is not done with the object.
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Addresses in one object; slices have no such bound.
const CAPACITY: usize = 1000;

/// Ports in order; pods that have the same ones share a subset.
type Ports = Vec<(Option<String>, i32, String, Option<String>)>;

#[derive(Default)]
struct Addresses {
    ready: Vec<EndpointAddress>,
    not_ready: Vec<EndpointAddress>,
}

pub(crate) fn reconcile(snapshot: &Snapshot, key: &ObjectKey) -> Outcome {
    let current = snapshot.endpoints.get(key);
    let mut outcome = Outcome::default();
    let Some(service) = snapshot.services.get(key) else {
        outcome.writes.extend(current.and_then(|endpoints| delete(endpoints)));
        return outcome;
    };
    let Some(spec) = service_pods::managed_spec(service) else { return outcome };
    if service.metadata.deletion_timestamp.is_some() || namespaces::is_ending(snapshot, &key.namespace) {
        return outcome;
    }
    let (subsets, truncated) = subsets(snapshot, key, spec);
    let wanted = object(key, service, spec, subsets, truncated, current.map(|endpoints| &**endpoints));
    let failed = |reason, message| Some(Note::new(Source::Endpoints, &**service, EventKind::Warning, reason, message));
    match current {
        None => outcome.writes.push(Write {
            on_failure: failed(
                "FailedToCreateEndpoint",
                format!("Failed to create endpoint for service {key}: {{error}}"),
            ),
            ..Write::create(Kind::Endpoints, &wanted)
        }),
        Some(current) if **current == wanted => {}
        Some(_) => outcome.writes.push(Write {
            on_failure: failed("FailedToUpdateEndpoint", format!("Failed to update endpoint {key}: {{error}}")),
            ..Write::update(Kind::Endpoints, &wanted)
        }),
    }
    outcome
}

fn delete(endpoints: &Endpoints) -> Option<Write> {
    let is_held = endpoints.metadata.annotations.iter().flatten().any(|(name, _)| name == LEADER);
    let is_going = endpoints.metadata.deletion_timestamp.is_some();
    (!is_held && !is_going).then(|| Write::delete(Kind::Endpoints, &endpoints.metadata))
}

/// The whole object as it is to be, on top of what is there.
fn object(
    key: &ObjectKey,
    service: &Service,
    spec: &ServiceSpec,
    subsets: Vec<EndpointSubset>,
    truncated: bool,
    current: Option<&Endpoints>,
) -> Endpoints {
    let mut metadata = current.map(|endpoints| endpoints.metadata.clone()).unwrap_or_else(|| ObjectMeta {
        namespace: Some(key.namespace.to_string()),
        name: Some(key.name.to_string()),
        ..ObjectMeta::default()
    });
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(service_pods::HEADLESS_LABEL);
    if service_pods::is_headless(spec) {
        labels.insert(service_pods::HEADLESS_LABEL.to_owned(), String::new());
    }
    labels.insert(MANAGED_BY.0.to_owned(), MANAGED_BY.1.to_owned());
    metadata.labels = Some(labels);
    let mut annotations = metadata.annotations.take().unwrap_or_default();
    annotations.remove(OVER_CAPACITY);
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    }
    metadata.annotations = (!annotations.is_empty()).then_some(annotations);
    Endpoints { metadata, subsets: (!subsets.is_empty()).then_some(subsets) }
}

/// One subset for each set of ports, in order of ports; whether addresses were left out because there are too many.
fn subsets(snapshot: &Snapshot, key: &ObjectKey, spec: &ServiceSpec) -> (Vec<EndpointSubset>, bool) {
    let family = service_pods::families(spec)[0];
    let not_ready_too = service_pods::publishes_not_ready(spec);
    let mut by_ports = BTreeMap::<Ports, Addresses>::new();
    for pod in service_pods::selected(snapshot, &key.namespace, spec) {
        if pods::is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && !not_ready_too) {
            continue;
        }
        let Some(address) = address(pod, key, family) else { continue };
        let is_ready = pods::is_ready(pod) || not_ready_too;
        if let Some(ports) = ports_of(pod, spec) {
            let addresses = by_ports.entry(ports).or_default();
            if is_ready { &mut addresses.ready } else { &mut addresses.not_ready }.push(address.clone());
        }
    }
    // A pod whose ports are all missing stands in one subset only if the Service has no ports at all.
    let truncated = truncate(&mut by_ports);
    (by_ports.into_iter().map(|(ports, addresses)| subset(ports, addresses)).collect(), truncated)
}

/// The port sets of one pod: all its ports together, as pods that lack a named port lack only that one.
fn ports_of(pod: &Pod, spec: &ServiceSpec) -> Option<Ports> {
    let declared = spec.ports.as_deref().unwrap_or_default();
    let mut ports: Ports = declared.iter().filter_map(|port| one_port(pod, port)).collect();
    ports.sort();
    let is_portless = declared.is_empty() && service_pods::is_headless(spec);
    (!ports.is_empty() || is_portless).then_some(ports)
}

fn one_port(pod: &Pod, port: &ServicePort) -> Option<(Option<String>, i32, String, Option<String>)> {
    let number = service_pods::target_port(pod, port)?;
    let name = port.name.clone().filter(|name| !name.is_empty());
    Some((name, number, service_pods::protocol(port).to_owned(), port.app_protocol.clone()))
}

fn address(pod: &Pod, service: &ObjectKey, family: Family) -> Option<EndpointAddress> {
    Some(EndpointAddress {
        ip: service_pods::address(pod, family)?.to_owned(),
        hostname: service_pods::hostname(pod, service),
        node_name: pods::node(pod).map(str::to_owned),
        target_ref: Some(service_pods::target_reference(pod)),
    })
}

/// Keeps the first addresses, ready ones before others.
fn truncate(by_ports: &mut BTreeMap<Ports, Addresses>) -> bool {
    let mut room = CAPACITY;
    let mut cut = |list: &mut Vec<EndpointAddress>| {
        let surplus = list.len() > room;
        list.truncate(room);
        room -= list.len();
        surplus
    };
    let mut truncated = false;
    by_ports.values_mut().for_each(|addresses| truncated |= cut(&mut addresses.ready));
    by_ports.values_mut().for_each(|addresses| truncated |= cut(&mut addresses.not_ready));
    by_ports.retain(|_, addresses| !addresses.ready.is_empty() || !addresses.not_ready.is_empty());
    truncated
}

fn subset(ports: Ports, mut addresses: Addresses) -> EndpointSubset {
    let by_ip = |a: &EndpointAddress, b: &EndpointAddress| a.ip.cmp(&b.ip);
    addresses.ready.sort_by(by_ip);
    addresses.not_ready.sort_by(by_ip);
    let list = |list: Vec<EndpointAddress>| (!list.is_empty()).then_some(list);
    let ports: Vec<_> = ports
        .into_iter()
        .map(|(name, port, protocol, app_protocol)| EndpointPort { name, port, protocol: Some(protocol), app_protocol })
        .collect();
    EndpointSubset {
        addresses: list(addresses.ready),
        not_ready_addresses: list(addresses.not_ready),
        ports: (!ports.is_empty()).then_some(ports),
    }
}
