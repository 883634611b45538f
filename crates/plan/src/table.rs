//! The forwarding table: what one node does with packets to Services, in terms that every data plane can carry out.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use stead_model::{Frontend, ObjectKey, Protocol};

/// The most backends that one port can have: each has a number of its own in 16 bits, and some numbers are left for meanings.
pub const MAX_BACKENDS: usize = 65_000;

/// The whole table of one node: [`Settings`] that hold for all packets, and one independent part for each Service.
///
/// A change of one Service replaces one entry of `services`; nothing else of the table depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub settings: Settings,
    pub services: BTreeMap<ObjectKey, ServicePlan>,
}

/// What holds for the node as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Ranges that virtual IPs come from. An address inside that no frontend has is refused.
    pub service_ranges: Vec<IpNet>,
    /// Ranges that pods' addresses come from. Traffic to a virtual IP from a source outside is masqueraded.
    pub pod_ranges: Vec<IpNet>,
    /// This node's addresses that node ports answer on, in ascending order, without duplicates.
    pub node_addresses: Vec<IpAddr>,
}

/// The ports of one Service, in ascending order of (name, protocol).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServicePlan {
    pub ports: Vec<ServicePortPlan>,
}

/// One service port: every frontend in `frontends` spreads over the same `backends`.
///
/// A dual-stack Service has one of these for each port *and family*; all addresses in it are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePortPlan {
    /// The port's name, empty where there is but one.
    pub name: Box<str>,
    pub protocol: Protocol,
    /// In ascending order of the frontend; no frontend stands twice in one plan.
    pub frontends: Vec<FrontendRule>,
    /// In ascending order, without duplicates, at most [`MAX_BACKENDS`]. Empty: connections are refused.
    pub backends: Vec<Backend>,
    /// Endpoints that get nothing new but keep the connections they have: they are about to end, or not ready for a while. In ascending
    /// order, without duplicates, none of them in `backends`. A connection to an address in neither is to be forgotten.
    pub draining: Vec<SocketAddr>,
    /// `Some`: a client address stays with its backend for this long after its last new connection (1 s – 1 day).
    pub affinity: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontendRule {
    pub frontend: Frontend,
    pub kind: FrontendKind,
}

/// Where a frontend comes from; it decides who gets masqueraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FrontendKind {
    /// A virtual IP of the Service: masqueraded only for sources outside the pod ranges.
    ClusterIp,
    /// A node's address and the Service's node port: always masqueraded.
    NodePort,
}

/// Where a packet can be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    pub address: SocketAddr,
    /// Whether it runs on this node: only then can it meet itself through its own virtual IP (hairpin).
    pub local: bool,
}
