//! What must happen to a packet, read off the raw objects in the dumbest way there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use serde_json::Value;
use stead_model::{Family, Frontend, Protocol};

use crate::{Packet, Settings};

/// All objects of a cluster as JSON, by name; all in one namespace.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) services: BTreeMap<String, Value>,
    pub(super) slices: BTreeMap<String, Value>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Expected {
    Pass,
    Refuse,
    To { backends: BTreeSet<SocketAddr>, masqueraded: BTreeSet<SocketAddr>, affinity: Option<u64> },
}

pub(super) fn expect(world: &World, node: &str, settings: &Settings, packet: &Packet) -> Expected {
    for (name, service) in &world.services {
        for port in list(&service["spec"]["ports"]) {
            if let Some(is_external) = reaches(service, port, settings, packet.destination) {
                return forward(world, name, service, port, (node, settings, packet, is_external));
            }
        }
    }
    if settings.service_ranges.iter().any(|range| range.contains(&packet.destination.address)) {
        Expected::Refuse
    } else {
        Expected::Pass
    }
}

/// Whether the destination is this port's, and then whether through a node port.
fn reaches(service: &Value, port: &Value, settings: &Settings, destination: Frontend) -> Option<bool> {
    let spec = &service["spec"];
    let is_ours = service["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"].is_null()
        && spec["type"] != "ExternalName"
        && spec["clusterIP"] != "None";
    let protocol = port["protocol"].as_str().unwrap_or("TCP");
    if !is_ours || protocol != destination.protocol.to_string() {
        return None;
    }
    let cluster_ips: Vec<IpAddr> =
        list(&spec["clusterIPs"]).iter().filter_map(|ip| ip.as_str().unwrap().parse().ok()).collect();
    let is_number = |field: &str| port[field] == destination.port;
    if cluster_ips.contains(&destination.address)
        && is_number("port")
        && spec["internalTrafficPolicy"] != "Local"
        && !destination.address.is_loopback()
    {
        return Some(false);
    }
    let has_node_ports = (spec["type"] == "NodePort" || spec["type"] == "LoadBalancer")
        && spec["externalTrafficPolicy"] != "Local"
        && list(&spec["loadBalancerSourceRanges"]).is_empty();
    let is_in_family = cluster_ips.iter().any(|ip| ip.is_ipv4() == destination.address.is_ipv4());
    let is_node_port = has_node_ports
        && is_in_family
        && is_number("nodePort")
        && settings.node_addresses.contains(&destination.address);
    is_node_port.then_some(true)
}

fn forward(
    world: &World,
    name: &str,
    service: &Value,
    port: &Value,
    (node, settings, packet, is_external): (&str, &Settings, &Packet, bool),
) -> Expected {
    let family = packet.destination.family();
    let at = |address: SocketAddr| Frontend { address: address.ip(), port: address.port(), ..packet.destination };
    let is_virtual = |address: &SocketAddr| settings.service_ranges.iter().any(|range| range.contains(&address.ip()));
    let mut chosen = BTreeMap::new();
    for (address, is_local) in endpoints(world, name, port, family, node) {
        match owner(world, settings, at(address)) {
            Some((other, _)) if other == name => {}
            Some((other, other_port)) => {
                let others = endpoints(world, other, other_port, family, node);
                let direct = others
                    .into_iter()
                    .filter(|(address, _)| !is_virtual(address) && owner(world, settings, at(*address)).is_none());
                direct.for_each(|(address, is_local)| *chosen.entry(address).or_insert(false) |= is_local);
            }
            None if is_virtual(&address) => {}
            None => *chosen.entry(address).or_insert(false) |= is_local,
        }
    }
    if chosen.is_empty() {
        return Expected::Refuse;
    }
    let is_pod = settings.pod_ranges.iter().any(|range| range.contains(&packet.source));
    let masqueraded = chosen
        .iter()
        .filter(|(address, is_local)| is_external || !is_pod || (**is_local && address.ip() == packet.source))
        .map(|(address, _)| *address)
        .collect();
    let affinity = (service["spec"]["sessionAffinity"] == "ClientIP")
        .then(|| service["spec"]["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_u64().unwrap_or(10_800));
    Expected::To { backends: chosen.into_keys().collect(), masqueraded, affinity }
}

/// The Service and port that have a virtual IP; a node's own addresses are none.
fn owner<'w>(world: &'w World, settings: &Settings, frontend: Frontend) -> Option<(&'w str, &'w Value)> {
    let all = world.services.iter().flat_map(|(name, service)| {
        list(&service["spec"]["ports"]).iter().map(move |port| (name.as_str(), service, port))
    });
    let mut owners = all.filter(|(_, service, port)| reaches(service, port, settings, frontend) == Some(false));
    owners.next().map(|(name, _, port)| (name, port)).filter(|_| !settings.node_addresses.contains(&frontend.address))
}

/// A Service's own endpoints that get traffic, and whether they are on this node.
fn endpoints(world: &World, name: &str, port: &Value, family: Family, node: &str) -> BTreeMap<SocketAddr, bool> {
    let mut ready = BTreeMap::new();
    let mut leaving = BTreeMap::new();
    for slice in world.slices.values() {
        let labels = &slice["metadata"]["labels"];
        let is_its = labels["kubernetes.io/service-name"] == name
            && labels["service.kubernetes.io/headless"].is_null()
            && slice["addressType"] == family.to_string();
        for target in list(&slice["ports"]) {
            let is_same = text(&target["name"], "") == text(&port["name"], "")
                && text(&target["protocol"], "TCP") == text(&port["protocol"], "TCP");
            let Some(number) = target["port"].as_u64().filter(|number| is_its && is_same && *number > 0) else {
                continue;
            };
            for endpoint in list(&slice["endpoints"]) {
                let Some(address) = usable(&endpoint["addresses"][0], family) else { continue };
                let address = SocketAddr::new(address, number.try_into().unwrap());
                let is_local = endpoint["nodeName"] == node;
                let conditions = &endpoint["conditions"];
                let is_ready = conditions["ready"].as_bool().unwrap_or(true);
                if is_ready {
                    *ready.entry(address).or_insert(false) |= is_local;
                }
                if conditions["serving"].as_bool().unwrap_or(is_ready) && conditions["terminating"] == true {
                    *leaving.entry(address).or_insert(false) |= is_local;
                }
            }
        }
    }
    if ready.is_empty() { leaving } else { ready }
}

fn usable(address: &Value, family: Family) -> Option<IpAddr> {
    let address: IpAddr = address.as_str()?.parse().ok()?;
    let is_banned = address.is_loopback() || address.to_string().starts_with("169.254.");
    (Family::of(address) == family && !is_banned).then_some(address)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, default: &'v str) -> &'v str {
    value.as_str().unwrap_or(default)
}

/// Every packet that could tell two plans over these addresses and numbers apart.
pub(super) fn packets<'a>(
    sources: &'a [IpAddr],
    destinations: &'a [IpAddr],
    ports: &'a [u16],
) -> impl Iterator<Item = Packet> + 'a {
    sources.iter().flat_map(move |source| {
        destinations.iter().flat_map(move |address| {
            ports.iter().flat_map(move |port| {
                [Protocol::Tcp, Protocol::Udp].map(|protocol| Packet {
                    source: *source,
                    destination: Frontend { address: *address, protocol, port: *port },
                })
            })
        })
    })
}
