//! Which rules send clients to the listening sockets, and which turn away the others. Pure: rules are lines as `iptables-save` prints them.
//!
//! The chains and rules of kube-proxy's userspace mode of 2015 redirect in `nat`. What must not get in is left alone there, and turned away
//! in `filter` by chains of our own, where only packets arrive with a Service's address that nobody has redirected.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use stead_model::{Family, ObjectKey, Protocol};
use stead_plan::{DetectLocal, FrontendKind, FrontendRule, List, ServicePortPlan, Settings, TrafficPolicy};

/// What a rule says of the Service that it is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Comments {
    /// Its name, as in 2015, with the port's where it has one.
    #[default]
    Name,
    /// `NAMESPACE/NAME:PORT`, as later.
    Namespaced,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    Nat,
    Filter,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chain {
    PortalsContainer,
    PortalsHost,
    NodePortContainer,
    NodePortHost,
    /// What is nobody's is not routed on, which may tell a client of another way there, but refused by the node itself.
    Last,
    NodePortNonLocal,
    /// Whom a Service without endpoints would let in.
    Refuse,
    /// Whom a Service does not let in, or not on this node.
    Deny,
    /// Addresses that only Services have, whatever is left of them.
    Nobody,
}

/// One rule of one of our chains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) chain: Chain,
    /// What follows `-A CHAIN `.
    pub(crate) spec: String,
}

/// A rule of a kernel's chain that leads to one of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) table: Table,
    pub(crate) from: &'static str,
    pub(crate) spec: &'static str,
    pub(crate) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    First,
    Last,
}

impl Table {
    pub(crate) const ALL: [Self; 2] = [Self::Nat, Self::Filter];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }
}

impl Chain {
    pub(crate) const ALL: [Self; 9] = [
        Self::PortalsContainer,
        Self::PortalsHost,
        Self::NodePortContainer,
        Self::NodePortHost,
        Self::Last,
        Self::NodePortNonLocal,
        Self::Refuse,
        Self::Deny,
        Self::Nobody,
    ];

    pub(crate) const fn table(self) -> Table {
        match self {
            Self::PortalsContainer | Self::PortalsHost | Self::NodePortContainer | Self::NodePortHost | Self::Last => {
                Table::Nat
            }
            Self::NodePortNonLocal | Self::Refuse | Self::Deny | Self::Nobody => Table::Filter,
        }
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::PortalsContainer => "KUBE-PORTALS-CONTAINER",
            Self::PortalsHost => "KUBE-PORTALS-HOST",
            Self::NodePortContainer => "KUBE-NODEPORT-CONTAINER",
            Self::NodePortHost => "KUBE-NODEPORT-HOST",
            Self::Last => "KUBE-PORTALS-LAST",
            Self::NodePortNonLocal => "KUBE-NODEPORT-NON-LOCAL",
            Self::Refuse => "KUBE-PORTALS-REFUSE",
            Self::Deny => "KUBE-PORTALS-DENY",
            Self::Nobody => "KUBE-PORTALS-NOBODY",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chain| chain.name() == name)
    }
}

const fn jump(table: Table, from: &'static str, spec: &'static str, place: Place) -> Jump {
    Jump { table, from, spec, place }
}

const TO_PORTALS: [&str; 2] = [
    "-m comment --comment \"handle ClusterIPs; NOTE: this must be before the NodePort rules\" -j KUBE-PORTALS-CONTAINER",
    "-m comment --comment \"handle ClusterIPs; NOTE: this must be before the NodePort rules\" -j KUBE-PORTALS-HOST",
];
const TO_NODE_PORTS: [&str; 2] = [
    "-m addrtype --dst-type LOCAL -m comment --comment \"handle service NodePorts; NOTE: this must be the last rule in the chain\" -j KUBE-NODEPORT-CONTAINER",
    "-m addrtype --dst-type LOCAL -m comment --comment \"handle service NodePorts; NOTE: this must be the last rule in the chain\" -j KUBE-NODEPORT-HOST",
];
const TO_NON_LOCAL: &str =
    "-m comment --comment \"Ensure that non-local NodePort traffic can flow\" -j KUBE-NODEPORT-NON-LOCAL";
const TO_REFUSE: &str = "-m comment --comment \"Services without endpoints\" -j KUBE-PORTALS-REFUSE";
const TO_DENY: &str = "-m comment --comment \"Services that are not for everybody\" -j KUBE-PORTALS-DENY";
const TO_LAST: &str = "-m comment --comment \"addresses of Services alone\" -j KUBE-PORTALS-LAST";
const TO_NOBODY: &str = "-m comment --comment \"addresses of Services alone\" -j KUBE-PORTALS-NOBODY";

/// All of them; of those that come first in a chain, the last one here is its first.
pub(crate) const JUMPS: [Jump; 15] = [
    jump(Table::Nat, "PREROUTING", TO_LAST, Place::First),
    jump(Table::Nat, "PREROUTING", TO_PORTALS[0], Place::First),
    jump(Table::Nat, "OUTPUT", TO_PORTALS[1], Place::First),
    jump(Table::Nat, "PREROUTING", TO_NODE_PORTS[0], Place::Last),
    jump(Table::Nat, "OUTPUT", TO_NODE_PORTS[1], Place::Last),
    jump(Table::Filter, "INPUT", TO_NON_LOCAL, Place::First),
    jump(Table::Filter, "INPUT", TO_NOBODY, Place::First),
    jump(Table::Filter, "FORWARD", TO_NOBODY, Place::First),
    jump(Table::Filter, "OUTPUT", TO_NOBODY, Place::First),
    jump(Table::Filter, "INPUT", TO_DENY, Place::First),
    jump(Table::Filter, "FORWARD", TO_DENY, Place::First),
    jump(Table::Filter, "OUTPUT", TO_DENY, Place::First),
    jump(Table::Filter, "INPUT", TO_REFUSE, Place::First),
    jump(Table::Filter, "FORWARD", TO_REFUSE, Place::First),
    jump(Table::Filter, "OUTPUT", TO_REFUSE, Place::First),
];

/// Where nobody listens (RFC 863).
const DISCARD: u16 = 9;
/// Ends rules of exceptions, which come before all others of their chain.
pub(crate) const RETURN: &str = " -j RETURN";

/// What becomes of those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Served,
    Dropped,
    Refused,
}

/// What the rules of one family are made from.
#[derive(Debug)]
pub(crate) struct Lowering<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) comments: Comments,
    pub(crate) family: Family,
}

impl Lowering<'_> {
    /// Those of one port, which listens at `number`; `None`: it does not, and is refused.
    pub(crate) fn port(&self, key: &ObjectKey, port: &ServicePortPlan, number: Option<u16>) -> BTreeSet<Rule> {
        let mut rules = BTreeSet::new();
        let frontends = port.frontends.iter().filter(|rule| rule.frontend.family() == self.family);
        for frontend in frontends {
            self.frontend(&mut rules, &self.comment(key, port), port, frontend, number);
        }
        rules
    }

    /// Those that are no Service's: what only Services have is refused to everybody whom they have not taken.
    pub(crate) fn ranges(&self) -> BTreeSet<Rule> {
        let ranges = self.settings.service_ranges.iter().filter(|range| Family::of(range.addr()) == self.family);
        ranges.flat_map(|range| self.nobodys(*range)).collect()
    }

    fn nobodys(&self, range: IpNet) -> Vec<Rule> {
        let range = range.trunc();
        let mut rules = Vec::new();
        for protocol in Protocol::ALL {
            let (name, reject) = (protocol.to_string().to_lowercase(), self.reject(protocol));
            let redirect = format!("-d {range} -p {name} -j REDIRECT --to-ports {DISCARD}");
            rules.push(Rule { chain: Chain::Last, spec: redirect });
            let redirected = format!("-m conntrack --ctstate DNAT --ctorigdst {range} -m {name} --dport {DISCARD}");
            rules.push(Rule { chain: Chain::Nobody, spec: format!("-p {name} {redirected} -j {reject}") });
        }
        let tcp = format!("-d {range} -p tcp -j {}", self.reject(Protocol::Tcp));
        let others = format!("-d {range} ! -p tcp -j {}", self.reject(Protocol::Udp));
        rules.extend([tcp, others].map(|spec| Rule { chain: Chain::Nobody, spec }));
        rules
    }

    fn frontend(
        &self,
        rules: &mut BTreeSet<Rule>,
        comment: &str,
        port: &ServicePortPlan,
        frontend: &FrontendRule,
        number: Option<u16>,
    ) {
        let FrontendRule { frontend: to, kind } = *frontend;
        let [pod, node, outside] = self.fates(port, kind, number);
        let ranges = self.settings.service_ranges.iter();
        if kind == FrontendKind::ClusterIp && !ranges.into_iter().any(|range| range.contains(&to.address)) {
            rules.extend(self.nobodys(to.address.into()));
        }
        let sources = port.sources.as_deref().filter(|_| kind.is_external());
        let destination = self.destination(kind, to.address);
        let protocol = to.protocol.to_string().to_lowercase();
        let matches = |scope: &Scope, more: &str| {
            let [source, link] = scope.texts();
            let service = format!("-p {protocol} -m comment --comment {comment} -m {protocol} --dport {}", to.port);
            format!("{source}{destination}{link}{service}{more}")
        };
        let all = Scope::default();
        let (container, host) = match kind {
            FrontendKind::NodePort => (Chain::NodePortContainer, Chain::NodePortHost),
            _ => (Chain::PortalsContainer, Chain::PortalsHost),
        };
        if let Some(number) = number {
            let redirect = format!(" -j REDIRECT --to-ports {number}");
            let scopes = match (pod, outside) {
                (_, Fate::Served) => vec![all.clone()],
                (Fate::Served, _) => self.pods(),
                _ => Vec::new(),
            };
            for scope in scopes.iter().flat_map(|scope| scope.within(sources)) {
                rules.insert(Rule { chain: container, spec: matches(&scope, &redirect) });
            }
            if node == Fate::Served {
                let to_host = self
                    .host()
                    .map_or(redirect, |host| format!(" -j DNAT --to-destination {}", SocketAddr::new(host, number)));
                for scope in all.within(sources) {
                    rules.insert(Rule { chain: host, spec: matches(&scope, &to_host) });
                }
            }
            if kind == FrontendKind::NodePort && [pod, node, outside].contains(&Fate::Served) {
                let spec = format!(
                    "-p {protocol} -m comment --comment {comment} -m {protocol} --dport {number} -m state --state NEW -j ACCEPT"
                );
                rules.insert(Rule { chain: Chain::NodePortNonLocal, spec });
            }
        }
        let local =
            if kind == FrontendKind::NodePort && destination.is_empty() { " -m addrtype --dst-type LOCAL" } else { "" };
        let is_refused = [pod, node, outside] == [Fate::Refused; 3];
        let mut refused = match is_refused {
            // Who is everybody meets a refusal at the end anyway, where the address is a Service's alone.
            true if !kind.is_external() => Vec::new(),
            true => vec![all.clone()],
            false => self.refused_alone(pod, node),
        };
        if !refused.is_empty() {
            let reject = format!("{local} -j {}", self.reject(to.protocol));
            refused = refused.iter().flat_map(|scope| scope.within(sources)).collect();
            for scope in &refused {
                rules.insert(Rule { chain: Chain::Refuse, spec: matches(scope, &reject) });
            }
        }
        if sources.is_some() || (!is_refused && [pod, node, outside] != [Fate::Served; 3]) {
            rules.insert(Rule { chain: Chain::Deny, spec: matches(&all, &format!("{local} -j DROP")) });
            if !kind.is_external() {
                rules.insert(Rule { chain: Chain::Last, spec: matches(&all, RETURN) });
            }
        }
    }

    /// Of pods, the node, and who is outside.
    fn fates(&self, port: &ServicePortPlan, kind: FrontendKind, number: Option<u16>) -> [Fate; 3] {
        let fate = |list: List| {
            let is_relayed = number.is_some() && port.protocol != Protocol::Sctp;
            let has = |list| port.list(list).next().is_some();
            match (has(list), has(List::Cluster)) {
                (true, _) if is_relayed => Fate::Served,
                (false, true) => Fate::Dropped,
                _ => Fate::Refused,
            }
        };
        let by = |policy: TrafficPolicy| fate(policy.into());
        match kind {
            FrontendKind::ClusterIp => [by(port.internal_policy); 3],
            _ => [fate(List::Cluster), fate(List::Cluster), by(port.external_policy)],
        }
    }

    /// What a rule says of the destination. A node port that answers at all of the node's addresses needs none.
    fn destination(&self, kind: FrontendKind, address: IpAddr) -> String {
        let of_family = |addresses: &[IpAddr]| {
            addresses.iter().copied().filter(|each| Family::of(*each) == self.family).collect::<Vec<_>>()
        };
        let is_everywhere = of_family(&self.settings.node_addresses) == of_family(&self.settings.own_addresses);
        match kind {
            FrontendKind::NodePort if is_everywhere => String::new(),
            _ => format!("-d {} ", IpNet::from(address)),
        }
    }

    /// Who is refused while others are dropped.
    fn refused_alone(&self, pod: Fate, node: Fate) -> Vec<Scope> {
        let own = self.settings.own_addresses.iter().filter(|address| Family::of(**address) == self.family);
        let own = own.map(|address| Scope { source: Some((*address).into()), link: None });
        let pods = self.pods().into_iter().filter(|_| pod == Fate::Refused);
        pods.chain(own.filter(|_| node == Fate::Refused)).collect()
    }

    /// How a pod's packets are told.
    fn pods(&self) -> Vec<Scope> {
        match &self.settings.detect_local {
            DetectLocal::Unknown => Vec::new(),
            DetectLocal::Ranges(ranges) => {
                let ranges = ranges.iter().filter(|range| Family::of(range.addr()) == self.family);
                ranges.map(|range| Scope { source: Some(range.trunc()), link: None }).collect()
            }
            DetectLocal::Bridge(name) => vec![Scope { source: None, link: Some(name.to_string()) }],
            DetectLocal::Prefix(prefix) => vec![Scope { source: None, link: Some(format!("{prefix}+")) }],
        }
    }

    /// The address at which the node's own packets find the listening sockets.
    fn host(&self) -> Option<IpAddr> {
        let addresses = self.settings.node_addresses.iter().chain(&self.settings.own_addresses);
        addresses.copied().find(|address| Family::of(*address) == self.family && !address.is_loopback())
    }

    const fn reject(&self, protocol: Protocol) -> &'static str {
        match (protocol, self.family) {
            (Protocol::Tcp, _) => "REJECT --reject-with tcp-reset",
            (_, Family::V4) => "REJECT --reject-with icmp-port-unreachable",
            (_, Family::V6) => "REJECT --reject-with icmp6-port-unreachable",
        }
    }

    fn comment(&self, key: &ObjectKey, port: &ServicePortPlan) -> String {
        let text = match (self.comments, &*port.name) {
            (Comments::Name, "") => key.name.to_string(),
            (Comments::Name, name) => format!("{}:{name}", key.name),
            (Comments::Namespaced, name) => format!("{}/{}:{name}", key.namespace, key.name),
        };
        // As iptables-save quotes.
        let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "_-".contains(letter);
        if text.chars().all(is_plain) { text } else { format!("\"{text}\"") }
    }
}

/// Of whom a rule is.
#[derive(Clone, Debug, Default)]
struct Scope {
    source: Option<IpNet>,
    link: Option<String>,
}

impl Scope {
    /// What of it lies in one of these ranges each; all of it where there are none.
    fn within(&self, ranges: Option<&[IpNet]>) -> Vec<Self> {
        let Some(ranges) = ranges else { return vec![self.clone()] };
        let part = |range: &IpNet| {
            let source = match self.source {
                None => *range,
                Some(source) if range.contains(&source) => source,
                Some(source) if source.contains(range) => *range,
                Some(_) => return None,
            };
            Some(Self { source: Some(source.trunc()), link: self.link.clone() })
        };
        ranges.iter().filter_map(part).collect()
    }

    /// What comes before and behind the destination.
    fn texts(&self) -> [String; 2] {
        let source = self.source.filter(|source| source.prefix_len() > 0);
        [
            source.map_or_else(String::new, |source| format!("-s {source} ")),
            self.link.as_ref().map_or_else(String::new, |link| format!("-i {link} ")),
        ]
    }
}
