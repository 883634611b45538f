//! The forwarding table: what one node does with packets to Services, in terms that every data plane can carry out.
//!
//! What the terms mean for a packet is [`decide`](crate::decide)'s to say.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
pub use stead_api::service_snapshot::{Algorithm, TrafficPolicy, Weights};
use stead_model::{Family, Frontend, ObjectKey, Protocol};

/// The most backends that one port can have: each has a number of its own in 16 bits, and some numbers are left for meanings.
pub const MAX_BACKENDS: usize = 65_000;
/// Backends of all ports of one Service together: thousands of ports to thousands of endpoints would be more than a kernel holds.
pub const MAX_BACKENDS_OF_SERVICE: usize = 500_000;

/// The whole table of one node: [`Settings`] that hold for all packets, and one independent part for each Service.
///
/// A change of one Service replaces one entry of `services`; nothing else of the table depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub settings: Settings,
    pub services: BTreeMap<ObjectKey, ServicePlan>,
}

/// What holds for the node as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Ranges that virtual IPs come from. An address inside that no frontend has is refused.
    pub service_ranges: Vec<IpNet>,
    pub detect_local: DetectLocal,
    pub masquerade_all: MasqueradeAll,
    /// All addresses of this node, in ascending order, without duplicates: who sends from one is the node itself.
    pub own_addresses: Vec<IpAddr>,
    /// Those of them that node ports answer on, in ascending order, without duplicates.
    pub node_addresses: Vec<IpAddr>,
}

/// How a packet is known to come from a pod of this cluster (`--detect-local-mode`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum DetectLocal {
    /// It is not: nobody is taken for a pod, and nobody is masqueraded on the way to a cluster IP.
    #[default]
    Unknown,
    /// By its source address: the cluster's ranges (`ClusterCIDR`), or those of this node's pods alone (`NodeCIDR`). In a family
    /// without a range it is as with `Unknown`.
    Ranges(Vec<IpNet>),
    /// It arrives on this link (`BridgeInterface`).
    Bridge(Box<str>),
    /// It arrives on a link whose name begins so (`InterfaceNamePrefix`).
    Prefix(Box<str>),
}

/// Whether connections to cluster IPs are masqueraded whoever sends (`--masquerade-all`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum MasqueradeAll {
    #[default]
    No,
    Yes,
}

/// The ports of one Service, in ascending order of (name, protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    pub ports: Vec<ServicePortPlan>,
}

/// One service port: every frontend in `frontends` leads to a list of `backends`; which of its two lists depends on policy and sender.
///
/// A dual-stack Service has one of these for each port *and family*; all addresses in it are of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePortPlan {
    /// The port's name, empty where there is but one.
    pub name: Box<str>,
    pub protocol: Protocol,
    /// In ascending order of the frontend; no frontend stands twice in one plan.
    pub frontends: Vec<FrontendRule>,
    /// Who gets new connections by one of the lists. In ascending order of the address, without duplicates, at most [`MAX_BACKENDS`].
    pub backends: Vec<Backend>,
    /// Endpoints that get nothing new but keep the connections they have: they are about to end, not ready for a while, or ready for
    /// other zones. In ascending order, without duplicates, none of them in `backends`, `lists` as if they were ready. A connection to an address in
    /// neither is to be forgotten.
    pub draining: Vec<Backend>,
    /// `Some`: a client address stays with its backend for this long after its last new connection (1 s – 1 day).
    pub affinity: Option<Duration>,
    /// How one of a list's backends is chosen; [`Algorithm::Random`] where there is affinity, which chooses before.
    pub algorithm: Algorithm,
    /// Each backend of a list gets connections in proportion to the weight of its address.
    pub weights: Weights,
    /// Which list the frontends of kind [`FrontendKind::ClusterIp`] lead to.
    pub internal_policy: TrafficPolicy,
    /// Which list all other frontends lead to for clients outside the cluster; pods and the node always have the cluster list.
    pub external_policy: TrafficPolicy,
    /// `Some`: through frontends of other kinds than [`FrontendKind::ClusterIp`] only these sources get in, of this port's family,
    /// ascending and disjoint; empty where nobody does.
    pub sources: Option<Box<[IpNet]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FrontendRule {
    pub frontend: Frontend,
    pub kind: FrontendKind,
}

/// Where a frontend comes from; it decides who gets in, to which list, and who gets masqueraded. Of two Services that claim one
/// frontend the lesser kind has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FrontendKind {
    /// A virtual IP of the Service.
    ClusterIp,
    /// A node's address and the Service's node port.
    NodePort,
    /// An address in the Service's `status.loadBalancer.ingress`.
    LoadBalancer,
    /// One of the Service's `externalIPs`.
    ExternalIp,
}

impl FrontendKind {
    /// Whether external policy and source ranges hold for it.
    pub const fn is_external(self) -> bool {
        !matches!(self, Self::ClusterIp)
    }
}

/// Where a packet can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Backend {
    pub address: SocketAddr,
    /// Whether it runs on this node: only then can it meet itself through its own virtual IP (hairpin).
    pub local: bool,
    pub lists: Lists,
}

/// One of the two lists of a port's backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// Of all the cluster: those that are ready, as far as topology hints give them to this node; where none is ready anywhere, those
    /// that still serve while they terminate.
    Cluster,
    /// Of this node: those that are ready, or else those that still serve while they terminate. Without members where no policy of the Service is
    /// `Local`.
    Local,
}

/// The lists that a backend is in: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Lists {
    Cluster,
    Local,
    Both,
}

impl Lists {
    /// `None` where it is in no list.
    pub const fn of(in_cluster: bool, in_local: bool) -> Option<Self> {
        match (in_cluster, in_local) {
            (true, true) => Some(Self::Both),
            (true, false) => Some(Self::Cluster),
            (false, true) => Some(Self::Local),
            (false, false) => None,
        }
    }

    pub const fn has(self, list: List) -> bool {
        matches!((self, list), (Self::Both, _) | (Self::Cluster, List::Cluster) | (Self::Local, List::Local))
    }

    /// What is in one of the two.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Cluster, Self::Cluster) => Self::Cluster,
            (Self::Local, Self::Local) => Self::Local,
            _ => Self::Both,
        }
    }
}

impl From<TrafficPolicy> for List {
    fn from(policy: TrafficPolicy) -> Self {
        match policy {
            TrafficPolicy::Cluster => Self::Cluster,
            TrafficPolicy::Local => Self::Local,
        }
    }
}

impl ServicePortPlan {
    /// Who gets new connections by this list, in ascending order of the address.
    pub fn list(&self, list: List) -> impl Iterator<Item = &Backend> {
        self.backends.iter().filter(move |backend| backend.lists.has(list))
    }

    /// Whether a source may come in through a frontend of this kind.
    pub fn admits(&self, kind: FrontendKind, source: IpAddr) -> bool {
        let ranges = self.sources.as_ref().filter(|_| kind.is_external());
        ranges.is_none_or(|ranges| ranges.iter().any(|range| range.contains(&source)))
    }
}

impl DetectLocal {
    /// Whether anybody of this family can be told to be a pod.
    pub fn can_tell(&self, family: Family) -> bool {
        match self {
            Self::Unknown => false,
            Self::Ranges(ranges) => ranges.iter().any(|range| Family::of(range.addr()) == family),
            Self::Bridge(_) | Self::Prefix(_) => true,
        }
    }
}
