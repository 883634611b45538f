//! How many endpoints each zone gets: in proportion to the processors of its nodes, where no zone has to carry a fifth more than its
//! share.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use stead_api::quantity;

use super::wanted::zone;

/// By how much more than its share a zone's endpoints may be used.
const OVERLOAD: f64 = 0.2;
const NOT_COUNTED: [&str; 2] = ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"];

/// Why there are no hints, in upstream's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("One or more endpoints do not have a zone specified")]
    NoZone,
    #[error("No hints allocated for zones")]
    NoHints,
    #[error("Insufficient Node information: allocatable CPU or zone not specified on one or more nodes")]
    Nodes,
    #[error("Insufficient number of endpoints ({endpoints} endpoints, {zones} zones)")]
    Endpoints { endpoints: usize, zones: usize },
    #[error(
        "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold ({endpoints} endpoints, {zones} zones)"
    )]
    Overload { endpoints: usize, zones: usize },
}

/// The endpoints of one zone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Allocation {
    pub(super) most: usize,
    desired: f64,
}

/// Each zone's part of all processors; at least two zones.
pub(super) fn cpu_shares<'n>(nodes: impl Iterator<Item = &'n Node>) -> Result<BTreeMap<String, f64>, Refusal> {
    let mut by_zone = BTreeMap::<String, i128>::new();
    for node in nodes.filter(|node| counts(node)) {
        let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("cpu"));
        let cpu = allocatable.and_then(|cpu| quantity::parse_nanos(&cpu.0)).filter(|cpu| *cpu > 0);
        let (Some(zone), Some(cpu)) = (zone(node), cpu) else { return Err(Refusal::Nodes) };
        *by_zone.entry(zone.to_owned()).or_default() += cpu;
    }
    if by_zone.len() < 2 {
        return Err(Refusal::Nodes);
    }
    let total: i128 = by_zone.values().sum();
    Ok(by_zone.into_iter().map(|(zone, cpu)| (zone, cpu as f64 / total as f64)).collect())
}

fn counts(node: &Node) -> bool {
    let has_role = |role: &&str| node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(*role));
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let is_ready = conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    is_ready && !NOT_COUNTED.iter().any(has_role)
}

/// What decides about [`cpu_shares`] in a node.
pub(crate) fn differ(old: &Node, new: &Node) -> bool {
    let cpu = |node: &Node| node.status.as_ref().and_then(|status| status.allocatable.as_ref()?.get("cpu").cloned());
    counts(old) != counts(new) || zone(old) != zone(new) || cpu(old) != cpu(new)
}

pub(super) fn allocate(
    shares: &BTreeMap<String, f64>,
    endpoints: usize,
) -> Result<BTreeMap<String, Allocation>, Refusal> {
    let zones = shares.len();
    if zones > endpoints {
        return Err(Refusal::Endpoints { endpoints, zones });
    }
    let desired = |share: &f64| share * endpoints as f64;
    let least = |share: &f64| (desired(share) / (1.0 + OVERLOAD)).ceil() as usize;
    let sum: usize = shares.values().map(least).sum();
    let Some(spare) = endpoints.checked_sub(sum) else { return Err(Refusal::Overload { endpoints, zones }) };
    let allocations = shares.iter().map(|(zone, share)| {
        let least = least(share);
        (zone.clone(), Allocation { most: least + spare, desired: desired(share).max(least as f64) })
    });
    Ok(allocations.collect())
}

/// How many endpoints each zone gives to others and gets from others, so that those `given` come near what is desired.
pub(super) fn moves(
    allocations: &BTreeMap<String, Allocation>,
    given: &BTreeMap<String, usize>,
) -> (BTreeMap<String, usize>, BTreeMap<String, usize>) {
    let surplus = |(zone, allocation): (&String, &Allocation)| {
        (zone.clone(), given.get(zone).copied().unwrap_or_default() as f64 - allocation.desired)
    };
    let (mut over, mut under): (BTreeMap<_, _>, BTreeMap<_, _>) =
        allocations.iter().map(surplus).partition(|(_, surplus)| *surplus > 0.0);
    under.values_mut().for_each(|surplus| *surplus = -*surplus);
    let (mut giving, mut receiving) = (BTreeMap::new(), BTreeMap::new());
    while let (Some((from, gives)), Some((to, takes))) = (most(&over), most(&under)) {
        if (gives < 1.0 && takes < 1.0) || gives < 0.5 || takes < 0.5 {
            break;
        }
        *over.entry(from.clone()).or_default() -= 1.0;
        *under.entry(to.clone()).or_default() -= 1.0;
        *giving.entry(from).or_default() += 1;
        *receiving.entry(to).or_default() += 1;
    }
    (giving, receiving)
}

fn most(zones: &BTreeMap<String, f64>) -> Option<(String, f64)> {
    let most = zones.iter().max_by(|a, b| a.1.total_cmp(b.1))?;
    (*most.1 > 0.0).then(|| (most.0.clone(), *most.1))
}
