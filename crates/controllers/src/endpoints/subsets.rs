//! The subsets of Endpoints, in the one form that is always the same for the same pods: ports that all lead to the same addresses
//! stand together, everything is sorted, and there are at most a thousand addresses.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Pod, ServicePort, ServiceSpec};
use stead_model::{Family, ObjectKey};

use crate::{pods, service_pods};

/// Addresses in one object; slices have no such bound.
const CAPACITY: usize = 1000;

/// Whether all addresses found room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Whole,
    Truncated,
}

/// A port as it is sorted: name, number, protocol, application protocol.
type Port<'a> = (&'a str, i32, &'a str, Option<&'a str>);

/// A pod that has a place in the object.
struct Row<'a> {
    ip: &'a str,
    pod: &'a Pod,
    is_ready: bool,
}

/// A subset on its way: places of rows.
struct Subset<'a> {
    ports: Vec<Port<'a>>,
    ready: Vec<usize>,
    not_ready: Vec<usize>,
}

pub(super) fn subsets(chosen: &[&Pod], key: &ObjectKey, spec: &ServiceSpec) -> (Vec<EndpointSubset>, Fit) {
    let rows = rows(chosen, spec);
    let mut subsets: Vec<_> = by_places(&rows, spec)
        .into_iter()
        .map(|(places, ports)| {
            let (ready, not_ready) = places.into_iter().partition(|place| rows[*place].is_ready);
            Subset { ports, ready, not_ready }
        })
        .collect();
    subsets.sort_by(|a, b| a.ports.cmp(&b.ports));
    let fit = truncate(&mut subsets);
    let address = |place: usize| address(&rows[place], key);
    let addresses = |places: Vec<usize>| {
        let addresses: Vec<_> = places.into_iter().map(address).collect();
        (!addresses.is_empty()).then_some(addresses)
    };
    let finished = subsets.into_iter().map(|subset| EndpointSubset {
        addresses: addresses(subset.ready),
        not_ready_addresses: addresses(subset.not_ready),
        ports: (!subset.ports.is_empty()).then(|| subset.ports.into_iter().map(port).collect()),
    });
    let finished = finished.filter(|subset| subset.addresses.is_some() || subset.not_ready_addresses.is_some());
    (finished.collect(), fit)
}

/// All pods that have a place, by address and then uid.
fn rows<'a>(chosen: &[&'a Pod], spec: &ServiceSpec) -> Vec<Row<'a>> {
    let family = service_pods::families(spec).first().copied().unwrap_or(Family::V4);
    let not_ready_too = service_pods::publishes_not_ready(spec);
    let has_place =
        |pod: &&Pod| !pods::is_terminal(pod) && (pod.metadata.deletion_timestamp.is_none() || not_ready_too);
    let mut rows: Vec<Row<'_>> = chosen
        .iter()
        .copied()
        .filter(has_place)
        .filter_map(|pod| {
            let ip = service_pods::address(pod, family)?;
            Some(Row { ip, pod, is_ready: not_ready_too || pods::is_ready(pod) })
        })
        .collect();
    rows.sort_by(|a, b| (a.ip, &a.pod.metadata.uid).cmp(&(b.ip, &b.pod.metadata.uid)));
    rows
}

/// The sets of rows that ports lead to, each with the ports that lead to exactly these. A pod that lacks a named port is left out for
/// that port alone. A headless Service without ports has one set, and no port leads to it.
fn by_places<'a>(rows: &[Row<'_>], spec: &'a ServiceSpec) -> BTreeMap<Vec<usize>, Vec<Port<'a>>> {
    let declared = spec.ports.as_deref().unwrap_or_default();
    if declared.is_empty() {
        let is_shown = service_pods::is_headless(spec) && !rows.is_empty();
        return is_shown.then(|| ((0..rows.len()).collect(), Vec::new())).into_iter().collect();
    }
    let mut by_port = BTreeMap::<Port<'_>, Vec<usize>>::new();
    for declared in declared {
        for (place, row) in rows.iter().enumerate() {
            if let Some(number) = service_pods::target_port(row.pod, declared) {
                by_port.entry(sortable(declared, number)).or_default().push(place);
            }
        }
    }
    let mut by_places = BTreeMap::<_, Vec<_>>::new();
    for (port, places) in by_port {
        by_places.entry(places).or_default().push(port);
    }
    by_places
}

fn sortable(port: &ServicePort, number: i32) -> Port<'_> {
    (port.name.as_deref().unwrap_or_default(), number, service_pods::protocol(port), port.app_protocol.as_deref())
}

/// Cuts down to the capacity: where ready addresses alone are too many, to a part of them, else only among the others. Each subset
/// keeps a part in proportion to what it has, rounded up; the last ones get what is left.
fn truncate(subsets: &mut [Subset<'_>]) -> Fit {
    let ready: usize = subsets.iter().map(|subset| subset.ready.len()).sum();
    let not_ready: usize = subsets.iter().map(|subset| subset.not_ready.len()).sum();
    if ready + not_ready <= CAPACITY {
        return Fit::Whole;
    }
    let is_ready_cut = ready > CAPACITY;
    let (room, total) = if is_ready_cut { (CAPACITY, ready) } else { (CAPACITY - ready, not_ready) };
    let mut left = room;
    for subset in subsets {
        let list = if is_ready_cut {
            subset.not_ready.clear();
            &mut subset.ready
        } else {
            &mut subset.not_ready
        };
        list.truncate((list.len() * room).div_ceil(total).min(left));
        left -= list.len();
    }
    Fit::Truncated
}

fn address(row: &Row<'_>, key: &ObjectKey) -> EndpointAddress {
    EndpointAddress {
        ip: row.ip.to_owned(),
        hostname: service_pods::hostname(row.pod, key).map(str::to_owned),
        node_name: pods::node(row.pod).map(str::to_owned),
        target_ref: Some(service_pods::target_reference(row.pod)),
    }
}

fn port((name, port, protocol, app_protocol): Port<'_>) -> EndpointPort {
    EndpointPort {
        name: (!name.is_empty()).then(|| name.to_owned()),
        port,
        protocol: Some(protocol.to_owned()),
        app_protocol: app_protocol.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests;
