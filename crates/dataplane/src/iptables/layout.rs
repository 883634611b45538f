//! What the chains of the plane are called, and the rules in them that no Service has a part in.
//!
//! All is as kube-proxy 1.36 writes it but for what `docs/data-planes.md` lists.

use stead_model::{Family, ObjectKey, Protocol};
use stead_plan::{DetectLocal, MasqueradeAll, Settings};

use super::{
    hash::hash,
    rule::{Chain, Link, Mask, Match, Rule, Side, Target, lower},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Table {
    Mangle,
    Nat,
    Filter,
}

impl Table {
    pub(super) const ALL: [Self; 3] = [Self::Mangle, Self::Nat, Self::Filter];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

/// Chains that many Services have rules in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Shared {
    /// Where a virtual IP leads.
    Services,
    /// Where a node port leads.
    NodePorts,
    /// Virtual IPs with nobody behind them.
    Unserved,
    /// External addresses and node ports with nobody behind them.
    UnservedOutside,
    /// What may come in only from certain sources and was not let in.
    Firewall,
}

impl Shared {
    pub(super) const ALL: [Self; 5] =
        [Self::Services, Self::NodePorts, Self::Unserved, Self::UnservedOutside, Self::Firewall];

    pub(super) const fn place(self) -> (Table, &'static str) {
        match self {
            Self::Services => (Table::Nat, SERVICES),
            Self::NodePorts => (Table::Nat, NODE_PORTS),
            Self::Unserved => (Table::Filter, SERVICES),
            Self::UnservedOutside => (Table::Filter, EXTERNAL),
            Self::Firewall => (Table::Filter, FIREWALL),
        }
    }
}

const SERVICES: &str = "KUBE-SERVICES";
const NODE_PORTS: &str = "KUBE-NODEPORTS";
const EXTERNAL: &str = "KUBE-EXTERNAL-SERVICES";
const FIREWALL: &str = "KUBE-PROXY-FIREWALL";
const FORWARD: &str = "KUBE-FORWARD";
const POSTROUTING: &str = "KUBE-POSTROUTING";
pub(super) const MARK_MASQ: &str = "KUBE-MARK-MASQ";
const CANARY: &str = "KUBE-PROXY-CANARY";
/// Ours, in the table mangle: as long as it is there, all that [`is_ours`] is this plane's and not kube-proxy's.
pub(super) const MARKER: &str = "STEAD-SERVICES";
/// Ours: whoever is in none of several pod ranges is marked.
const MARK_OTHERS: &str = "KUBE-MARK-OTHERS";

/// Chains that one Service alone has rules in: what their names begin with.
pub(super) const OWN: [&str; 5] = ["KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"];

/// What a port of a Service is called in comments, and hashed by.
pub(super) struct PortName {
    /// `namespace/name` or `namespace/name:port`
    pub(super) text: String,
    protocol: Protocol,
    hash: String,
}

impl PortName {
    pub(super) fn new(key: &ObjectKey, port: &str, protocol: Protocol) -> Self {
        let colon = if port.is_empty() { "" } else { ":" };
        let text = format!("{}/{}{colon}{port}", key.namespace, key.name);
        let hash = hash(&[&text, lower(protocol)]);
        Self { text, protocol, hash }
    }

    /// The port's chain of one of the kinds in [`OWN`].
    pub(super) fn chain(&self, kind: &str) -> Chain {
        format!("{kind}{}", self.hash).into()
    }

    /// Who is remembered is so by an endpoint's chain: where `apart` is not empty, by another one than that of the same endpoint without it.
    pub(super) fn endpoint_chain(&self, endpoint: &str, apart: &str) -> Chain {
        format!("KUBE-SEP-{}", hash(&[&self.text, lower(self.protocol), endpoint, apart])).into()
    }
}

/// Rules of one family that hold whatever Services there are.
pub(super) struct Frame<'p> {
    pub(super) family: Family,
    pub(super) settings: &'p Settings,
    /// Of packets that are to be masqueraded.
    pub(super) mark: u32,
}

impl Frame<'_> {
    pub(super) const fn mask(&self) -> Mask {
        match self.family {
            Family::V4 => Mask::V4,
            Family::V6 => Mask::V6,
        }
    }

    /// Jumps in the kernel's own chains, in the order in which they stand at the top.
    pub(super) fn jumps(&self) -> Vec<(Table, &'static str, Rule)> {
        use Table::{Filter, Nat};
        let jump = |to: &'static str, comment: &'static str| Rule::jump(to).comment(comment);
        let new = |to: &'static str, comment: &'static str| Rule::jump(to).with(Match::State("NEW")).comment(comment);
        let firewall = || new(FIREWALL, "kubernetes load balancer firewall");
        let external = || new(EXTERNAL, "kubernetes externally-visible service portals");
        let portals = || new(SERVICES, "kubernetes service portals");
        vec![
            (Nat, "PREROUTING", jump(SERVICES, "kubernetes service portals")),
            (Nat, "OUTPUT", jump(SERVICES, "kubernetes service portals")),
            (Nat, "POSTROUTING", jump(POSTROUTING, "kubernetes postrouting rules")),
            (Filter, "INPUT", firewall()),
            (Filter, "INPUT", jump(NODE_PORTS, "kubernetes health check service ports")),
            (Filter, "INPUT", external()),
            (Filter, "FORWARD", firewall()),
            (Filter, "FORWARD", jump(FORWARD, "kubernetes forwarding rules")),
            (Filter, "FORWARD", portals()),
            (Filter, "FORWARD", external()),
            (Filter, "OUTPUT", firewall()),
            (Filter, "OUTPUT", portals()),
            (Filter, "OUTPUT", external()),
        ]
    }

    /// Chains that no Service has a part in.
    pub(super) fn chains(&self) -> Vec<(Table, &'static str, Vec<Rule>)> {
        use Table::{Filter, Mangle, Nat};
        let mut chains = vec![
            (Mangle, MARKER, vec![]),
            (Mangle, CANARY, vec![]),
            (Nat, CANARY, vec![]),
            (Nat, MARK_MASQ, vec![Rule::to(Target::Mark(self.mark))]),
            (
                Nat,
                POSTROUTING,
                vec![
                    Rule::to(Target::Return).with(Match::NotMarked(self.mark)),
                    Rule::to(Target::Unmark(self.mark)),
                    Rule::to(Target::Masquerade).comment("kubernetes service traffic requiring SNAT"),
                ],
            ),
            (Filter, CANARY, vec![]),
            (Filter, NODE_PORTS, vec![]),
            (
                Filter,
                FORWARD,
                vec![
                    Rule::to(Target::Drop).with(Match::State("INVALID")),
                    Rule::to(Target::Accept).comment("kubernetes forwarding rules").with(Match::Marked(self.mark)),
                    Rule::to(Target::Accept)
                        .comment("kubernetes forwarding conntrack rule")
                        .with(Match::State("RELATED,ESTABLISHED")),
                ],
            ),
        ];
        if let Pods::In(ranges) = self.pods()
            && ranges.len() > 1
        {
            let stay = ranges.into_iter().map(|range| Rule::to(Target::Return).from(Side::In(range)));
            chains.push((Nat, MARK_OTHERS, stay.chain([Rule::jump(MARK_MASQ)]).collect()));
        }
        chains
    }

    /// What a shared chain ends with, whatever Services there are.
    pub(super) fn ending(&self, shared: Shared) -> Vec<Rule> {
        match shared {
            Shared::Services => self.node_ports_last(),
            Shared::Unserved => self.rest_of_ranges(),
            Shared::NodePorts | Shared::UnservedOutside | Shared::Firewall => Vec::new(),
        }
    }

    fn node_ports_last(&self) -> Vec<Rule> {
        const NOTE: &str = "kubernetes service nodeports; NOTE: this must be the last rule in this chain";
        let jump = Rule::jump(NODE_PORTS).comment(NOTE);
        match self.node_ports() {
            NodePorts::Everywhere { but } => {
                vec![jump.destination(Side::NotIn(but)).with(Match::DestinationIsLocal)]
            }
            NodePorts::At(addresses) => addresses.into_iter().map(|address| jump.clone().addressed(address)).collect(),
        }
    }

    /// Addresses of the service ranges, and ports of virtual IPs, that are nobody's.
    fn rest_of_ranges(&self) -> Vec<Rule> {
        let ranges = self.settings.service_ranges.iter().filter(|range| Family::of(range.addr()) == self.family);
        ranges.flat_map(|range| self.refuse(Side::In(range.trunc()))).collect()
    }

    /// Refuses whatever is sent there, each protocol in its way.
    pub(super) fn refuse(&self, to: Side) -> [Rule; 2] {
        const NOBODYS: &str = "no such service port";
        let reset = Rule::to(Target::Reset).destination(to).comment(NOBODYS);
        let reject = Rule::to(Target::Reject(self.mask())).destination(to).comment(NOBODYS);
        [Rule { protocol: Some(Protocol::Tcp), ..reset }, reject]
    }

    /// Where node ports answer.
    pub(super) fn node_ports(&self) -> NodePorts {
        let of_family = |addresses: &[std::net::IpAddr]| {
            addresses.iter().copied().filter(|address| Family::of(*address) == self.family).collect::<Vec<_>>()
        };
        let (chosen, own) = (of_family(&self.settings.node_addresses), of_family(&self.settings.own_addresses));
        if chosen == own { NodePorts::Everywhere { but: self.loopback() } } else { NodePorts::At(chosen) }
    }

    fn loopback(&self) -> ipnet::IpNet {
        match self.family {
            Family::V4 => ipnet::IpNet::V4(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8)),
            Family::V6 => std::net::IpAddr::from(std::net::Ipv6Addr::LOCALHOST).into(),
        }
    }

    /// How pods are known.
    pub(super) fn pods(&self) -> Pods {
        match &self.settings.detect_local {
            DetectLocal::Unknown => Pods::Unknown,
            DetectLocal::Ranges(ranges) => {
                let ranges: Vec<_> = ranges
                    .iter()
                    .filter(|range| Family::of(range.addr()) == self.family)
                    .map(|range| range.trunc())
                    .collect();
                if ranges.is_empty() { Pods::Unknown } else { Pods::In(ranges) }
            }
            DetectLocal::Bridge(name) => Pods::By(name.clone()),
            DetectLocal::Prefix(prefix) => Pods::By(format!("{prefix}+").into()),
        }
    }

    /// Marks who is masqueraded on the way to a virtual IP, by what `rule` matches besides; `None` where nobody is.
    pub(super) fn mark_others(&self, rule: impl Fn(&'static str) -> Rule) -> Option<Rule> {
        if self.settings.masquerade_all == MasqueradeAll::Yes {
            return Some(rule(MARK_MASQ));
        }
        match self.pods() {
            Pods::Unknown => None,
            Pods::In(ranges) => Some(match &*ranges {
                [range] => rule(MARK_MASQ).from(Side::NotIn(*range)),
                _ => rule(MARK_OTHERS),
            }),
            Pods::By(link) => Some(Rule { link: Some(Link::IsNot(link)), ..rule(MARK_MASQ) }),
        }
    }
}

pub(super) enum Pods {
    Unknown,
    In(Vec<ipnet::IpNet>),
    By(Box<str>),
}

pub(super) enum NodePorts {
    /// At all addresses of the node but those of its loopback.
    Everywhere {
        but: ipnet::IpNet,
    },
    At(Vec<std::net::IpAddr>),
}

/// Whether a chain is this plane's, or kube-proxy's in the mode that this is like.
pub(super) fn is_ours(chain: &str) -> bool {
    is_own(chain)
        || [SERVICES, NODE_PORTS, EXTERNAL, FIREWALL, FORWARD, POSTROUTING, MARK_MASQ, CANARY, MARK_OTHERS, MARKER]
            .contains(&chain)
}

pub(super) fn is_own(chain: &str) -> bool {
    OWN.iter().any(|kind| chain.starts_with(kind))
}
