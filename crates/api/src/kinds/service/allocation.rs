//! What must be claimed and released so that a Service may be stored.
//!
//! The plan is a value. The API server finds free numbers, claims a key for each in the transaction that stores the Service, and
//! tells the Service what it got; which Service needs what is decided here alone.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::Value;
use stead_model::Family;

use super::{
    super::value::{at, child, count, list, set, text, texts},
    families::families,
    spec::{allocates_node_ports, has_node_ports, is_headless, needs_cluster_ip, needs_health_check_port},
};
use crate::field::FieldError;

/// What is to be claimed and released for one write of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocationPlan {
    pub addresses: Vec<AddressClaim>,
    pub node_ports: Vec<NodePortClaim>,
    /// Addresses that the old Service held and the new one does not.
    pub released_addresses: Vec<IpAddr>,
    /// Node ports that the old Service held and the new one does not, its health check port included.
    pub released_node_ports: Vec<u16>,
}

/// One address that the Service needs and does not hold yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressClaim {
    /// Place in `spec.clusterIPs`.
    pub index: usize,
    pub family: Family,
    /// The address that the user names; any free one of the family otherwise.
    pub wanted: Option<IpAddr>,
}

/// One node port that the Service needs and does not hold yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePortClaim {
    pub target: PortTarget,
    /// The number that the user names; any free one otherwise.
    pub wanted: Option<u16>,
}

/// Where in the Service a claimed node port is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortTarget {
    /// Places in `spec.ports`; several when one number serves TCP and UDP on the same port.
    Ports(Vec<usize>),
    HealthCheck,
}

/// Why a claim for a value that the user names fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal<'a> {
    /// Another Service holds it.
    Taken,
    /// It lies outside of `range`, such as `30000-32767`.
    OutOfRange { range: &'a str },
    /// No range gives it out.
    NoRange,
    /// A program of the cluster itself listens there on its nodes.
    Own,
}

/// What a client is told about a value that it named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Complaint {
    Field(FieldError),
    /// Upstream answers with an internal error.
    Internal(String),
}

/// What must be claimed and released to store `new` in the place of `old`. Both are defaulted, prepared and
/// [resolved](super::families::resolve); `new` has passed validation.
pub fn plan(new: &Value, old: Option<&Value>) -> AllocationPlan {
    let held_addresses = old.map(addresses).unwrap_or_default();
    let held_ports = old.map(node_ports).unwrap_or_default();
    let kept_addresses = addresses(new);
    let kept_ports = node_ports(new);
    AllocationPlan {
        addresses: address_claims(new, &held_addresses),
        node_ports: node_port_claims(new, old),
        released_addresses: held_addresses.into_iter().filter(|held| !kept_addresses.contains(held)).collect(),
        released_node_ports: held_ports.difference(&kept_ports).copied().collect(),
    }
}

/// What is released when the Service is gone.
pub fn plan_removal(old: &Value) -> AllocationPlan {
    AllocationPlan {
        released_addresses: addresses(old),
        released_node_ports: node_ports(old).into_iter().collect(),
        ..AllocationPlan::default()
    }
}

/// The cluster addresses that a Service holds.
pub fn addresses(service: &Value) -> Vec<IpAddr> {
    if !needs_cluster_ip(service) || is_headless(service) {
        return Vec::new();
    }
    texts(service, "/spec/clusterIPs").into_iter().filter_map(|address| address.parse().ok()).collect()
}

/// The node ports that a Service holds, its health check port included.
pub fn node_ports(service: &Value) -> BTreeSet<u16> {
    let mut held = own_node_ports(service);
    held.extend(health_check_port(service));
    held
}

fn own_node_ports(service: &Value) -> BTreeSet<u16> {
    let ports = list(service, "/spec/ports").iter().filter(|_| has_node_ports(service));
    ports.filter_map(node_port).collect()
}

fn health_check_port(service: &Value) -> Option<u16> {
    needs_health_check_port(service).then(|| number(count(service, "/spec/healthCheckNodePort")))?
}

impl AddressClaim {
    /// Writes the address that was claimed.
    pub fn grant(&self, service: &mut Value, address: IpAddr) {
        let mut all: Vec<Value> = list(service, "/spec/clusterIPs").to_vec();
        all.resize(all.len().max(self.index + 1), Value::from(""));
        all[self.index] = address.to_string().into();
        let spec = child(service, "spec");
        set(spec, "clusterIP", all[0].clone());
        set(spec, "clusterIPs", all);
    }

    /// What is said of a wanted address that cannot be had.
    pub fn refuse(&self, service: &Value, refusal: Refusal<'_>) -> Complaint {
        let wanted = text(service, &format!("/spec/clusterIPs/{}", self.index));
        let cause = match refusal {
            Refusal::Taken | Refusal::Own => "provided IP is already allocated",
            Refusal::NoRange | Refusal::OutOfRange { .. } => "the provided network does not match the current range",
        };
        let detail = format!("failed to allocate IP {wanted}: {cause}");
        Complaint::Field(FieldError::invalid("spec.clusterIPs", at(service, "/spec/clusterIPs"), detail))
    }
}

impl NodePortClaim {
    /// Writes the node port that was claimed.
    pub fn grant(&self, service: &mut Value, port: u16) {
        match &self.target {
            PortTarget::HealthCheck => set(child(service, "spec"), "healthCheckNodePort", port),
            PortTarget::Ports(indices) => {
                for index in indices {
                    if let Some(entry) = service.pointer_mut(&format!("/spec/ports/{index}")) {
                        set(entry, "nodePort", port);
                    }
                }
            }
        }
    }

    /// What is said of a wanted node port that cannot be had.
    pub fn refuse(&self, refusal: Refusal<'_>) -> Complaint {
        let wanted = self.wanted.unwrap_or_default();
        let detail = match refusal {
            Refusal::Taken | Refusal::NoRange => "provided port is already allocated".to_owned(),
            Refusal::Own => "provided port is used by the API server or by the agents of nodes".to_owned(),
            Refusal::OutOfRange { range } => {
                format!("provided port is not in the valid range. The range of valid ports is {range}")
            }
        };
        match &self.target {
            PortTarget::HealthCheck => {
                Complaint::Internal(format!("failed to allocate requested HealthCheck NodePort {wanted}: {detail}"))
            }
            PortTarget::Ports(indices) => {
                let field = format!("spec.ports[{}].nodePort", indices.first().copied().unwrap_or_default());
                Complaint::Field(FieldError::invalid(field, wanted, detail))
            }
        }
    }
}

fn address_claims(service: &Value, held: &[IpAddr]) -> Vec<AddressClaim> {
    if !needs_cluster_ip(service) || is_headless(service) {
        return Vec::new();
    }
    let named = texts(service, "/spec/clusterIPs");
    let wanted = |index: usize| named.get(index).and_then(|address| address.parse::<IpAddr>().ok());
    families(service)
        .into_iter()
        .enumerate()
        .map(|(index, family)| AddressClaim { index, family, wanted: wanted(index) })
        .filter(|claim| claim.wanted.is_none_or(|address| !held.contains(&address)))
        .collect()
}

/// A number is held as what it is: a node port of the old Service is no health check port of the new one, nor the other way
/// round.
fn node_port_claims(service: &Value, old: Option<&Value>) -> Vec<NodePortClaim> {
    let mut claims = Vec::new();
    if has_node_ports(service) {
        claim_named(service, &old.map(own_node_ports).unwrap_or_default(), &mut claims);
        if allocates_node_ports(service) {
            claim_free(service, old, &mut claims);
        }
    }
    if needs_health_check_port(service) {
        let wanted = health_check_port(service);
        if wanted.is_none() || wanted != old.and_then(health_check_port) {
            claims.push(NodePortClaim { target: PortTarget::HealthCheck, wanted });
        }
    }
    claims
}

/// A number that several ports name, for different protocols, is claimed once.
fn claim_named(service: &Value, held: &BTreeSet<u16>, claims: &mut Vec<NodePortClaim>) {
    for (index, port) in list(service, "/spec/ports").iter().enumerate() {
        let Some(wanted) = node_port(port).filter(|port| !held.contains(port)) else { continue };
        match claims.iter_mut().find(|claim| claim.wanted == Some(wanted)) {
            Some(NodePortClaim { target: PortTarget::Ports(indices), .. }) => indices.push(index),
            _ => claims.push(NodePortClaim { target: PortTarget::Ports(vec![index]), wanted: Some(wanted) }),
        }
    }
}

/// Ports that name no number. When a Service is created, the same port for TCP and UDP gets the same number; an update gives
/// each a number of its own.
fn claim_free(service: &Value, old: Option<&Value>, claims: &mut Vec<NodePortClaim>) {
    let ports = list(service, "/spec/ports");
    let mut free: Vec<(i64, Vec<usize>)> = Vec::new();
    for (index, port) in ports.iter().enumerate().filter(|(_, port)| node_port(port).is_none()) {
        let number = count(port, "/port");
        match free.iter_mut().find(|(same, _)| *same == number && old.is_none()) {
            Some((_, indices)) => indices.push(index),
            None => free.push((number, vec![index])),
        }
    }
    for (number, indices) in free {
        let named = claims.iter_mut().find(|claim| {
            matches!(&claim.target, PortTarget::Ports(named) if named.iter().any(|&i| count(&ports[i], "/port") == number))
        });
        match named {
            Some(NodePortClaim { target: PortTarget::Ports(named), .. }) if old.is_none() => named.extend(indices),
            _ => claims.push(NodePortClaim { target: PortTarget::Ports(indices), wanted: None }),
        }
    }
}

fn node_port(port: &Value) -> Option<u16> {
    number(count(port, "/nodePort"))
}

fn number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|&port| port != 0)
}
