//! Which zones and nodes are to use an endpoint: `trafficDistribution`, and before it the annotation
//! `service.kubernetes.io/topology-mode: Auto`, which wins where both are set.
//!
//! Writes hints into slices that are packed already, into as few as possible that would not change otherwise. What proxies make of
//! hints is theirs.

use std::{borrow::Cow, collections::BTreeMap};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::{Endpoint, EndpointHints, ForNode, ForZone},
};
use stead_api::snapshot::asks_for_shares;
use stead_client::EventKind;

use super::{
    pack::{Change, Packed},
    zones::{Allocation, Refusal, allocate, cpu_shares, moves},
};

/// What a Service asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    None,
    /// Each endpoint for its own zone.
    SameZone,
    /// Each endpoint for its own node, and its zone.
    SameNode,
    /// As many endpoints for each zone as it has of the cluster's processors.
    Shares,
}

/// What is said about hints.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub(super) kind: EventKind,
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Whether the Service's slices had hints for zones alone before this look, as the annotation makes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Hinted,
    Plain,
}

pub(super) fn mode(service: &Service) -> Mode {
    if asks_for_shares(service) {
        return Mode::Shares;
    }
    match service.spec.as_ref().and_then(|spec| spec.traffic_distribution.as_deref()) {
        Some("PreferClose" | "PreferSameZone") => Mode::SameZone,
        Some("PreferSameNode") => Mode::SameNode,
        _ => Mode::None,
    }
}

pub(super) fn before<'a>(mut endpoints: impl Iterator<Item = &'a Endpoint>) -> Before {
    let is_for_zones = |hints: &EndpointHints| hints.for_nodes.is_none();
    let is_hinted = endpoints.any(|endpoint| endpoint.hints.as_ref().is_some_and(is_for_zones));
    if is_hinted { Before::Hinted } else { Before::Plain }
}

/// Gives the endpoints of one family the hints that `mode` wants. `nodes` are all of the cluster's.
pub(super) fn assign<'n>(
    mode: Mode,
    slices: &mut [Packed<'_>],
    nodes: impl Iterator<Item = &'n Node>,
    before: Before,
) -> Option<Remark> {
    match mode {
        Mode::Shares => match share(slices, nodes) {
            Ok(()) if before == Before::Plain => Some(Remark {
                kind: EventKind::Normal,
                reason: "TopologyAwareHintsEnabled",
                message: "Topology Aware Hints has been enabled".to_owned(),
            }),
            Ok(()) => None,
            Err(refusal) => {
                each(slices, |_| None);
                Some(disabled(refusal.to_string()))
            }
        },
        Mode::SameZone => {
            each(slices, |endpoint| near(endpoint, None));
            None
        }
        Mode::SameNode => {
            each(slices, |endpoint| near(endpoint, endpoint.node_name.as_deref()));
            None
        }
        Mode::None => {
            each(slices, |_| None);
            (before == Before::Hinted).then(|| disabled("Topology Aware Hints has been disabled".to_owned()))
        }
    }
}

fn disabled(message: String) -> Remark {
    Remark { kind: EventKind::Warning, reason: "TopologyAwareHintsDisabled", message }
}

fn each(slices: &mut [Packed<'_>], hints: impl Fn(&Endpoint) -> Option<EndpointHints>) {
    for slice in slices {
        if slice.endpoints.iter().all(|endpoint| endpoint.hints == hints(endpoint)) {
            continue;
        }
        for endpoint in slice.endpoints.to_mut() {
            endpoint.hints = hints(endpoint);
        }
    }
}

fn near(endpoint: &Endpoint, node: Option<&str>) -> Option<EndpointHints> {
    let zone = endpoint.zone.as_deref();
    if !is_ready(endpoint) || (zone.is_none() && node.is_none()) {
        return None;
    }
    Some(EndpointHints {
        for_zones: zone.map(|name| vec![ForZone { name: name.to_owned() }]),
        for_nodes: node.map(|name| vec![ForNode { name: name.to_owned() }]),
    })
}

fn for_zone(name: &str) -> Option<EndpointHints> {
    Some(EndpointHints { for_zones: Some(vec![ForZone { name: name.to_owned() }]), for_nodes: None })
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(true)
}

/// Shares the ready endpoints out among the zones. Slices whose hints still hold are left alone.
fn share<'n>(slices: &mut [Packed<'_>], nodes: impl Iterator<Item = &'n Node>) -> Result<(), Refusal> {
    let ready = slices.iter().flat_map(|slice| &*slice.endpoints).filter(|endpoint| is_ready(endpoint)).count();
    let allocations = allocate(&cpu_shares(nodes)?, ready)?;
    let mut given = BTreeMap::<String, usize>::new();
    let mut open = Vec::new();
    for slice in slices {
        match holding(slice, &given, &allocations) {
            Some(counts) => counts.into_iter().for_each(|(zone, count)| *given.entry(zone).or_default() += count),
            None => open.push(slice),
        }
    }
    let mut endpoints: Vec<&mut Endpoint> = Vec::new();
    for slice in open {
        endpoints.extend(slice.endpoints.to_mut());
    }
    for endpoint in &mut endpoints {
        endpoint.hints = None;
        if is_ready(endpoint) {
            let zone = endpoint.zone.clone().filter(|zone| !zone.is_empty()).ok_or(Refusal::NoZone)?;
            endpoint.hints = for_zone(&zone);
            *given.entry(zone).or_default() += 1;
        }
    }
    let (mut giving, mut receiving) = moves(&allocations, &given);
    for endpoint in endpoints.into_iter().filter(|endpoint| is_ready(endpoint)) {
        let zone = endpoint.zone.as_deref().unwrap_or_default();
        if let (Some(left), Some(mut to)) = (giving.get_mut(zone).filter(|left| **left > 0), receiving.first_entry()) {
            endpoint.hints = for_zone(to.key());
            *left -= 1;
            *to.get_mut() -= 1;
            if *to.get() == 0 {
                to.remove();
            }
        }
    }
    if given.is_empty() { Err(Refusal::NoHints) } else { Ok(()) }
}

/// How many endpoints a slice has for each zone, if it can stay as it is: it is not written anyway, every ready endpoint has hints,
/// for zones that get some, and no zone has more than it may beside those of other slices.
fn holding(
    slice: &Packed<'_>,
    given: &BTreeMap<String, usize>,
    allocations: &BTreeMap<String, Allocation>,
) -> Option<BTreeMap<String, usize>> {
    if slice.change != Change::None || matches!(slice.endpoints, Cow::Owned(_)) {
        return None;
    }
    let mut counts = BTreeMap::<String, usize>::new();
    for endpoint in slice.endpoints.iter().filter(|endpoint| is_ready(endpoint)) {
        let zones = endpoint.hints.as_ref()?.for_zones.as_ref().filter(|zones| !zones.is_empty())?;
        for zone in zones {
            *counts.entry(zone.name.clone()).or_default() += 1;
        }
    }
    let fits = |(zone, count): (&String, &usize)| {
        allocations.get(zone).is_some_and(|allocation| count + given.get(zone).unwrap_or(&0) <= allocation.most)
    };
    counts.iter().all(fits).then_some(counts)
}
