//! What must happen to a packet, read off the raw objects in the dumbest way there is.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use serde_json::Value;
use stead_model::{Family, Frontend, Protocol};

use crate::{Arrival, DetectLocal, MasqueradeAll, NodeContext, Packet};

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
    Drop,
    To { backends: BTreeSet<SocketAddr>, masqueraded: BTreeSet<SocketAddr>, affinity: Option<u64> },
}

/// The best claim is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Claim {
    ClusterIp,
    NodePort,
    LoadBalancer,
    ExternalIp,
}

/// A real endpoint: whether it is on this node, and in which lists.
#[derive(Clone, Copy, Debug, Default)]
struct Real {
    local: bool,
    in_cluster: bool,
    in_local: bool,
}

pub(super) fn expect(world: &World, context: &NodeContext, packet: &Packet<'_>) -> Expected {
    match claimant(world, context, packet.destination) {
        Some((claim, name, port)) => forward(world, context, packet, (claim, name, port)),
        None if is_virtual(world, context, packet.destination.address) => Expected::Refuse,
        None => Expected::Pass,
    }
}

fn is_virtual(world: &World, context: &NodeContext, address: IpAddr) -> bool {
    let mut all =
        [80, 81].into_iter().flat_map(|port| Protocol::ALL.map(|protocol| Frontend { address, protocol, port }));
    contains(&context.settings.service_ranges, address)
        || all.any(|frontend| matches!(claimant(world, context, frontend), Some((Claim::ClusterIp, ..))))
}

/// Who has a frontend.
fn claimant<'w>(world: &'w World, context: &NodeContext, to: Frontend) -> Option<(Claim, &'w str, &'w Value)> {
    let claims = world.services.iter().filter_map(|(name, service)| {
        let mut ports = list(&service["spec"]["ports"]).iter();
        ports.find_map(|port| Some((claim(service, port, context, to)?, name.as_str(), port)))
    });
    claims.min_by_key(|(claim, name, _)| (*claim, *name))
}

/// As what the destination is this port's.
fn claim(service: &Value, port: &Value, context: &NodeContext, to: Frontend) -> Option<Claim> {
    let spec = &service["spec"];
    let is_ours = service["metadata"]["labels"]["service.kubernetes.io/service-proxy-name"].is_null()
        && spec["type"] != "ExternalName"
        && spec["clusterIP"] != "None";
    let cluster_ips = addresses(&spec["clusterIPs"]);
    let is_in_family = cluster_ips.iter().any(|ip| ip.is_ipv4() == to.address.is_ipv4());
    if !is_ours || !is_in_family || text(&port["protocol"], "TCP") != to.protocol.to_string() {
        return None;
    }
    let is_own = context.settings.own_addresses.contains(&to.address);
    let is_free = !is_banned(to.address) && !context.reserved.contains(&to.address);
    let is_free_outside = !contains(&context.settings.service_ranges, to.address)
        && is_free
        && (!is_own || context.open_to_external.iter().any(|open| open.range.contains(&to.address)));
    let is_number = |field: &str| port[field] == to.port;
    let ingress = list(&service["status"]["loadBalancer"]["ingress"]);
    let balanced = ingress.iter().filter(|ingress| ingress["ipMode"] != "Proxy").map(|ingress| ingress["ip"].clone());
    let balanced = addresses(&Value::Array(balanced.collect()));
    if is_number("port") && cluster_ips.contains(&to.address) && is_free && !is_own {
        Some(Claim::ClusterIp)
    } else if is_number("nodePort")
        && (spec["type"] == "NodePort" || spec["type"] == "LoadBalancer")
        && context.settings.node_addresses.contains(&to.address)
    {
        Some(Claim::NodePort)
    } else if is_number("port") && spec["type"] == "LoadBalancer" && balanced.contains(&to.address) && is_free_outside {
        Some(Claim::LoadBalancer)
    } else if is_number("port") && addresses(&spec["externalIPs"]).contains(&to.address) && is_free_outside {
        Some(Claim::ExternalIp)
    } else {
        None
    }
}

fn forward(
    world: &World,
    context: &NodeContext,
    packet: &Packet<'_>,
    (claim, name, port): (Claim, &str, &Value),
) -> Expected {
    let spec = &world.services[name]["spec"];
    let is_external = claim != Claim::ClusterIp;
    if is_external && !admits(&world.services[name], context, packet.source) {
        return Expected::Drop;
    }
    let (pods, from_node) = (pods(context), packet.arrival == Arrival::FromNode);
    let is_pod = contains(pods, packet.source);
    let (wants_local, masquerades_all) = if !is_external {
        let can_tell = pods.iter().any(|range| range.addr().is_ipv4() == packet.source.is_ipv4());
        let masquerades = context.settings.masquerade_all == MasqueradeAll::Yes || (can_tell && !is_pod);
        (spec["internalTrafficPolicy"] == "Local", masquerades)
    } else if spec["externalTrafficPolicy"] == "Local" {
        (!from_node && !is_pod, from_node)
    } else {
        (false, true)
    };
    let real = real(world, context, name, port, packet.destination.family());
    let is_chosen = |real: &Real| if wants_local { real.in_local } else { real.in_cluster };
    let chosen: BTreeMap<_, _> = real.iter().filter(|(_, real)| is_chosen(real)).collect();
    if chosen.is_empty() {
        return if real.values().any(|real| real.in_cluster) { Expected::Drop } else { Expected::Refuse };
    }
    let masqueraded = chosen
        .iter()
        .filter(|(address, real)| masquerades_all || (real.local && address.ip() == packet.source))
        .map(|(address, _)| **address)
        .collect();
    let affinity = (spec["sessionAffinity"] == "ClientIP")
        .then(|| spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"].as_u64().unwrap_or(10_800));
    Expected::To { backends: chosen.into_keys().copied().collect(), masqueraded, affinity }
}

/// Whether a source is in the ranges that the Service names.
fn admits(service: &Value, context: &NodeContext, source: IpAddr) -> bool {
    let ranges = list(&service["spec"]["loadBalancerSourceRanges"]);
    let read: Vec<IpNet> = ranges.iter().filter_map(|range| range.as_str()?.parse().ok()).collect();
    let has_node = context.settings.own_addresses.iter().any(|own| contains(&read, *own));
    let balanced = list(&service["status"]["loadBalancer"]["ingress"]).iter();
    let mut balanced = balanced.filter(|ingress| ingress["ipMode"] != "Proxy").map(|ingress| text(&ingress["ip"], ""));
    ranges.is_empty() || contains(&read, source) || (has_node && balanced.any(|ip| ip == source.to_string()))
}

/// Where a Service leads: virtual IPs among its endpoints are replaced by what is behind them, once.
fn real(world: &World, context: &NodeContext, name: &str, port: &Value, family: Family) -> BTreeMap<SocketAddr, Real> {
    let protocol = text(&port["protocol"], "TCP").parse().unwrap();
    let owner = |address: SocketAddr| {
        let frontend = Frontend { address: address.ip(), protocol, port: address.port() };
        claimant(world, context, frontend).filter(|(claim, ..)| *claim == Claim::ClusterIp)
    };
    let is_nobodys = |address: SocketAddr| contains(&context.settings.service_ranges, address.ip());
    let mut real = BTreeMap::<SocketAddr, Real>::new();
    let mut add = |address, found: Real| {
        let known = real.entry(address).or_default();
        known.local |= found.local;
        known.in_cluster |= found.in_cluster;
        known.in_local |= found.in_local;
    };
    for (address, own) in endpoints(world, context, name, port, family) {
        match owner(address) {
            Some((_, other, _)) if other == name => {}
            Some((_, other, other_port)) => {
                let is_local_only = world.services[other]["spec"]["internalTrafficPolicy"] == "Local";
                for (beyond, found) in endpoints(world, context, other, other_port, family) {
                    let leads = if is_local_only { found.in_local } else { found.in_cluster };
                    if leads && owner(beyond).is_none() && !is_nobodys(beyond) {
                        let in_local = found.local && has_local_list(&world.services[name]);
                        add(beyond, Real { in_cluster: own.in_cluster, in_local, ..found });
                    }
                }
            }
            None if is_nobodys(address) => {}
            None => add(address, own),
        }
    }
    real
}

fn has_local_list(service: &Value) -> bool {
    ["internalTrafficPolicy", "externalTrafficPolicy"].iter().any(|policy| service["spec"][*policy] == "Local")
}

/// A Service's own endpoints that get traffic.
fn endpoints(
    world: &World,
    context: &NodeContext,
    name: &str,
    port: &Value,
    family: Family,
) -> BTreeMap<SocketAddr, Real> {
    let mut named = BTreeMap::<SocketAddr, Vec<&Value>>::new();
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
                named.entry(SocketAddr::new(address, number.try_into().unwrap())).or_default().push(endpoint);
            }
        }
    }
    let is_ready = |endpoint: &&&Value| endpoint["conditions"]["ready"].as_bool().unwrap_or(true);
    let is_leaving = |endpoint: &&&Value| {
        let serving = endpoint["conditions"]["serving"].as_bool().unwrap_or(is_ready(endpoint));
        serving && endpoint["conditions"]["terminating"] == true
    };
    let has_ready = |endpoints: &&Vec<&Value>| endpoints.iter().any(|endpoint| is_ready(&endpoint));
    let has_leaving = |endpoints: &Vec<&Value>| endpoints.iter().any(|endpoint| is_leaving(&endpoint));
    let is_local = |endpoints: &Vec<&Value>| endpoints.iter().any(|endpoint| endpoint["nodeName"] == *context.node);

    let hints = |endpoints: &Vec<&Value>, field: &str| -> BTreeSet<String> {
        let ready = endpoints.iter().filter(|endpoint| is_ready(endpoint));
        let names = ready.flat_map(|endpoint| list(&endpoint["hints"][field]));
        names.map(|hint| text(&hint["name"], "").to_owned()).collect()
    };
    let topology = [("forNodes", Some(&context.node)), ("forZones", context.zone.as_ref())].into_iter();
    let mut topology = topology.filter_map(|(field, us)| Some((field, us?.to_string())));
    let decisive = topology.find(|(field, us)| {
        let all: Vec<_> = named.values().filter(has_ready).map(|endpoints| hints(endpoints, field)).collect();
        all.iter().all(|hints| !hints.is_empty()) && all.iter().any(|hints| hints.contains(us))
    });
    let is_for_us =
        |endpoints: &Vec<&Value>| decisive.as_ref().is_none_or(|(field, us)| hints(endpoints, field).contains(us));

    let is_any_ready = named.values().any(|endpoints| has_ready(&endpoints));
    let is_ready_here = named.values().any(|endpoints| has_ready(&endpoints) && is_local(endpoints));
    let wants_local = has_local_list(&world.services[name]);
    let real = |endpoints: &Vec<&Value>| {
        let turn = |is_any_ready| if is_any_ready { has_ready(&endpoints) } else { has_leaving(endpoints) };
        Real {
            local: is_local(endpoints),
            in_cluster: turn(is_any_ready) && (!is_any_ready || is_for_us(endpoints)),
            in_local: wants_local && is_local(endpoints) && turn(is_ready_here),
        }
    };
    named.iter().map(|(address, endpoints)| (*address, real(endpoints))).collect()
}

fn pods(context: &NodeContext) -> &[IpNet] {
    match &context.settings.detect_local {
        DetectLocal::Ranges(ranges) => ranges,
        _ => &[],
    }
}

fn usable(address: &Value, family: Family) -> Option<IpAddr> {
    let address: IpAddr = address.as_str()?.parse().ok()?;
    (Family::of(address) == family && !is_banned(address)).then_some(address)
}

fn is_banned(address: IpAddr) -> bool {
    address.is_loopback() || address.to_string().starts_with("169.254.")
}

fn addresses(texts: &Value) -> Vec<IpAddr> {
    list(texts).iter().filter_map(|text| text.as_str()?.parse().ok()).collect()
}

fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text<'v>(value: &'v Value, default: &'v str) -> &'v str {
    value.as_str().unwrap_or(default)
}

/// Every packet that could tell two plans over these addresses and numbers apart.
pub(super) fn packets<'a>(
    sources: &'a [(IpAddr, Arrival<'a>)],
    destinations: &'a [IpAddr],
    ports: &'a [u16],
) -> impl Iterator<Item = Packet<'a>> + 'a {
    sources.iter().flat_map(move |(source, arrival)| {
        destinations.iter().flat_map(move |address| {
            ports.iter().flat_map(move |port| {
                [Protocol::Tcp, Protocol::Udp].map(|protocol| Packet {
                    source: *source,
                    arrival: *arrival,
                    destination: Frontend { address: *address, protocol, port: *port },
                })
            })
        })
    })
}
