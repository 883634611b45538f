//! What must happen to a packet: the meaning of a [`Plan`], in one function.
//!
//! Every data plane is tested against it, so it is written to be read, not to be fast.

use std::{net::IpAddr, time::Duration};

use ipnet::IpNet;
use stead_model::Frontend;

use crate::table::{Backend, FrontendKind, Plan, ServicePortPlan};

/// The first packet of a connection, as it reaches the node or leaves a process on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    pub source: IpAddr,
    pub destination: Frontend,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict<'p> {
    /// Not for a Service: left as it is.
    Pass,
    /// For a Service, and nobody is there: the client is told at once (TCP reset, else ICMP port unreachable).
    Refuse,
    /// Sent to one of `backends` (never empty), each as likely as the others.
    To {
        backends: &'p [Backend],
        masquerade: Masquerade,
        /// `Some`: a client that was here less than so long ago goes where it went then, if that backend is still there.
        affinity: Option<Duration>,
    },
}

/// When the source address becomes one of the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Masquerade {
    Always,
    /// Only where a pod is sent to itself (hairpin), which would otherwise answer itself directly.
    ToItself,
}

/// The verdict on a packet. A frontend decides before a range does; a range refuses what no frontend has.
pub fn decide<'p>(plan: &'p Plan, packet: &Packet) -> Verdict<'p> {
    match find(plan, packet.destination) {
        Some((port, _)) if port.backends.is_empty() => Verdict::Refuse,
        Some((port, kind)) => {
            let is_pod = contains(&plan.settings.pod_ranges, packet.source);
            let masquerade = match kind {
                FrontendKind::ClusterIp if is_pod => Masquerade::ToItself,
                FrontendKind::ClusterIp | FrontendKind::NodePort => Masquerade::Always,
            };
            Verdict::To { backends: &port.backends, masquerade, affinity: port.affinity }
        }
        None if contains(&plan.settings.service_ranges, packet.destination.address) => Verdict::Refuse,
        None => Verdict::Pass,
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

fn contains(ranges: &[IpNet], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(&address))
}
