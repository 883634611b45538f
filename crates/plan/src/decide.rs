//! What must happen to a packet: the meaning of a [`Plan`], in one function.
//!
//! Every data plane is tested against it, so it is written to be read, not to be fast.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use stead_api::service_snapshot::TrafficPolicy;
use stead_model::Frontend;

use crate::{
    jhash,
    maglev::{self, Member},
    table::{Algorithm, Backend, DetectLocal, FrontendKind, List, MasqueradeAll, Plan, ServicePortPlan, Settings},
};

/// The first packet of a connection, as it reaches the node or leaves a process on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub source: IpAddr,
    pub arrival: Arrival<'a>,
    pub destination: Frontend,
}

/// How a packet comes to the node's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival<'a> {
    /// A process in the node's own network namespace sends it.
    FromNode,
    /// On the link of this name; for a port of a bridge that is the bridge.
    OnLink(&'a str),
}

/// Who sends a packet, as far as the node can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A pod of this cluster, by [`DetectLocal`].
    Pod,
    /// A process of the node itself.
    Node,
    /// Anybody else: another node, or who is no part of the cluster.
    Outside,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// Not for a Service: left as it is.
    Pass,
    /// For a Service, and nobody is there: the client is told at once (TCP reset, else ICMP port unreachable).
    Refuse,
    /// For a Service, and not for this client or not on this node: the client is told nothing.
    Drop,
    /// Sent to one of `backends` (never empty), as `balance` says.
    To {
        backends: Vec<&'p Backend>,
        balance: Balance,
        masquerade: Masquerade,
        /// `Some`: a client that was here less than so long ago goes where it went then, if that backend is still there.
        affinity: Option<Duration>,
    },
}

/// How one of several backends is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    pub algorithm: Algorithm,
    /// One for each backend: it gets connections in proportion.
    pub weights: Vec<u8>,
}

/// When the source address becomes one of the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    Always,
    /// Only where a pod is sent to itself (hairpin), which would otherwise answer itself directly.
    ToItself,
}

/// The verdict on a packet. A frontend decides before a range does; a virtual IP, and a range of them, refuse what no frontend has.
pub fn decide<'p>(plan: &'p Plan, packet: &Packet<'_>) -> Verdict<'p> {
    let Some((port, kind)) = find(plan, packet.destination) else {
        return if is_virtual(plan, packet.destination.address) { Verdict::Refuse } else { Verdict::Pass };
    };
    if !port.admits(kind, packet.source) {
        return Verdict::Drop;
    }
    let (list, masquerade) = match kind {
        FrontendKind::ClusterIp => (port.internal_policy.into(), plan.settings.internal_masquerade(packet)),
        _ => external(port.external_policy, plan.settings.origin(packet)),
    };
    let backends: Vec<_> = port.list(list).collect();
    match backends.is_empty() {
        false => {
            let weights = backends.iter().map(|backend| port.weights.of(backend.address.ip())).collect();
            let balance = Balance { algorithm: port.algorithm, weights };
            Verdict::To { backends, balance, masquerade, affinity: port.affinity }
        }
        true if port.list(List::Cluster).next().is_some() => Verdict::Drop,
        true => Verdict::Refuse,
    }
}

/// Whoever comes from outside by the policy `Local` keeps its address and stays on this node. For who is inside any node would do,
/// and another one's pods answer to a pod directly; but not to the node, which may have sent from an address that leads elsewhere.
fn external(policy: TrafficPolicy, origin: Origin) -> (List, Masquerade) {
    match (policy, origin) {
        (TrafficPolicy::Cluster, _) | (TrafficPolicy::Local, Origin::Node) => (List::Cluster, Masquerade::Always),
        (TrafficPolicy::Local, Origin::Pod) => (List::Cluster, Masquerade::ToItself),
        (TrafficPolicy::Local, Origin::Outside) => (List::Local, Masquerade::ToItself),
    }
}

impl<'p> Verdict<'p> {
    /// The one backend that a packet from this port of its sender goes to; `None` where chance, or what went before, has a say. It is the
    /// same on every node that has the same backends.
    pub fn certain(&self, packet: &Packet<'_>, source_port: u16) -> Option<&'p Backend> {
        let Self::To { backends, balance, affinity: None, .. } = self else { return None };
        let hash = jhash::hash(balance.algorithm, SocketAddr::new(packet.source, source_port), packet.destination)?;
        let members = backends.iter().zip(&balance.weights);
        let members = members.map(|(backend, weight)| Member { address: backend.address, weight: *weight });
        let table = maglev::table(&members.collect::<Vec<_>>());
        let slot = jhash::scale(hash, table.len() as u32);
        Some(backends[usize::from(table[slot as usize])])
    }
}

impl Settings {
    pub fn origin(&self, packet: &Packet<'_>) -> Origin {
        match packet.arrival {
            Arrival::FromNode => Origin::Node,
            Arrival::OnLink(_) if self.detect_local.is_pod(packet) => Origin::Pod,
            Arrival::OnLink(_) => Origin::Outside,
        }
    }

    /// To a cluster IP everybody is masqueraded of whom it is known that he is no pod: answers would not come back by this node.
    fn internal_masquerade(&self, packet: &Packet<'_>) -> Masquerade {
        let is_other = self.detect_local.can_tell(packet.destination.family()) && !self.detect_local.is_pod(packet);
        match self.masquerade_all {
            MasqueradeAll::No if !is_other => Masquerade::ToItself,
            _ => Masquerade::Always,
        }
    }
}

impl DetectLocal {
    fn is_pod(&self, packet: &Packet<'_>) -> bool {
        match (self, packet.arrival) {
            (Self::Ranges(ranges), _) => contains(ranges, packet.source),
            (Self::Bridge(name), Arrival::OnLink(link)) => **name == *link,
            (Self::Prefix(prefix), Arrival::OnLink(link)) => link.starts_with(&**prefix),
            (Self::Unknown, _) | (_, Arrival::FromNode) => false,
        }
    }
}

impl Masquerade {
    /// Whether a packet from `source` is masqueraded on its way to `backend`.
    pub fn applies(self, source: IpAddr, backend: &Backend) -> bool {
        match self {
            Self::Always => true,
            Self::ToItself => backend.local && backend.address.ip() == source,
        }
    }
}

fn find(plan: &Plan, destination: Frontend) -> Option<(&ServicePortPlan, FrontendKind)> {
    plan.services.values().flat_map(|service| &service.ports).find_map(|port| {
        let rule = port.frontends.iter().find(|rule| rule.frontend == destination)?;
        Some((port, rule.kind))
    })
}

/// Whether the address is a Service's alone, or nobody's in a range of such addresses. External addresses may have other uses.
fn is_virtual(plan: &Plan, address: IpAddr) -> bool {
    let rules = plan.services.values().flat_map(|service| &service.ports).flat_map(|port| &port.frontends);
    let mut cluster_ips = rules.filter(|rule| rule.kind == FrontendKind::ClusterIp).map(|rule| rule.frontend.address);
    contains(&plan.settings.service_ranges, address) || cluster_ips.any(|known| known == address)
}

fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}
