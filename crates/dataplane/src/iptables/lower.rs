//! One Service in the rules of one family: chains of its own, and rules in shared ones.
//!
//! A shared chain's rules of different Services never match one packet, so their order there does not matter; those of one Service stand
//! as they are given.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use ipnet::IpNet;
use stead_model::{Family, ObjectKey};
use stead_plan::{Algorithm, Backend, FrontendKind, List, ServicePlan, ServicePortPlan, TrafficPolicy};

use super::{
    layout::{Frame, MARK_MASQ, NodePorts, Pods, PortName, Shared},
    rule::{Chain, Link, Match, Rule, Side, Target, probability},
};

/// Whether rules that are one for each endpoint say whose they are. kube-proxy leaves that out where there are more than a thousand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Comments {
    #[default]
    All,
    FewOfEndpoints,
}

/// What the Services of one family come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Lowered {
    /// Of the table nat.
    pub(super) chains: BTreeMap<Chain, Vec<Rule>>,
    pub(super) shared: Vec<(Shared, Rule)>,
}

/// Adds what a Service has in the family of the frame.
pub(super) fn lower(frame: &Frame<'_>, comments: Comments, key: &ObjectKey, service: &ServicePlan, into: &mut Lowered) {
    for port in &service.ports {
        let family = port.frontends.first().map(|rule| rule.frontend.family());
        if family == Some(frame.family) {
            let name = PortName::new(key, &port.name, port.protocol);
            Lowering { frame, comments, port, name, into }.lower();
        }
    }
}

struct Lowering<'l, 'p> {
    frame: &'l Frame<'p>,
    comments: Comments,
    port: &'l ServicePortPlan,
    name: PortName,
    into: &'l mut Lowered,
}

/// What is sent to, besides the protocol.
#[derive(Clone, Copy)]
enum To {
    Address(IpAddr, u16),
    /// A node port.
    Node(u16),
}

impl Lowering<'_, '_> {
    fn lower(mut self) {
        let internal = self.list_chain(self.port.internal_policy.into());
        let external = self.list_chain(self.port.external_policy.into());
        let is_served = !self.is_empty(List::Cluster);
        let outside = self.outside();
        for to in self.of_kind(FrontendKind::ClusterIp) {
            self.virtual_ip(to, internal.as_ref());
        }
        if !outside.is_empty() {
            let entry = self.entry(is_served);
            for (kind, to) in &outside {
                if let Some(entry) = &entry {
                    self.lead(*kind, *to, entry);
                }
                self.guard(*to, external.is_none() && !is_served);
                if external.is_none() {
                    let rule = self.unserved(*to, is_served);
                    self.share(Shared::UnservedOutside, rule);
                }
            }
            if is_served {
                self.entry_chain(external.as_ref());
            }
        }
        let uses_local = self.port.internal_policy == TrafficPolicy::Local
            || (self.port.external_policy == TrafficPolicy::Local && !outside.is_empty());
        let uses_cluster = self.port.internal_policy == TrafficPolicy::Cluster || !outside.is_empty();
        for (list, is_used) in [(List::Cluster, uses_cluster), (List::Local, uses_local)] {
            if is_used {
                // Else a client that comes by both lists would be led by the one to where the other sent it.
                let apart = list == List::Local && uses_cluster && self.port.affinity.is_some();
                self.balance(list, if apart { "local" } else { "" });
            }
        }
    }

    fn is_empty(&self, list: List) -> bool {
        self.port.list(list).next().is_none()
    }

    /// The chain of a list that somebody is in.
    fn list_chain(&self, list: List) -> Option<Chain> {
        (!self.is_empty(list)).then(|| self.chain_of(list))
    }

    fn chain_of(&self, list: List) -> Chain {
        self.name.chain(match list {
            List::Cluster => "KUBE-SVC-",
            List::Local => "KUBE-SVL-",
        })
    }

    fn of_kind(&self, kind: FrontendKind) -> Vec<To> {
        let frontends = self.port.frontends.iter().filter(|rule| rule.kind == kind).map(|rule| rule.frontend);
        let mut all: Vec<_> = match (kind, self.frame.node_ports()) {
            (FrontendKind::NodePort, NodePorts::Everywhere { .. }) => {
                frontends.map(|frontend| To::Node(frontend.port)).collect()
            }
            _ => frontends.map(|frontend| To::Address(frontend.address, frontend.port)).collect(),
        };
        all.dedup_by(|a, b| matches!((a, b), (To::Node(a), To::Node(b)) if a == b));
        all
    }

    /// All but virtual IPs.
    fn outside(&self) -> Vec<(FrontendKind, To)> {
        let kinds = [FrontendKind::ExternalIp, FrontendKind::LoadBalancer, FrontendKind::NodePort];
        kinds.into_iter().flat_map(|kind| self.of_kind(kind).into_iter().map(move |to| (kind, to))).collect()
    }

    /// A rule for what is sent there.
    fn sent(&self, to: To, comment: String, target: Target) -> Rule {
        let rule = Rule::to(target).comment(comment);
        let rule = match (to, self.frame.node_ports()) {
            (To::Address(address, _), _) => rule.addressed(address),
            // What listens on the loopback for the node alone is asked there.
            (To::Node(_), NodePorts::Everywhere { but }) if rule.target != Some(Target::Reset) && !rule.rejects() => {
                rule.destination(Side::NotIn(but)).with(Match::DestinationIsLocal)
            }
            (To::Node(_), _) => rule.with(Match::DestinationIsLocal),
        };
        rule.transport(self.port.protocol, Some(to.port()))
    }

    fn share(&mut self, shared: Shared, rule: Rule) {
        self.into.shared.push((shared, rule));
    }

    fn virtual_ip(&mut self, to: To, chain: Option<&Chain>) {
        let text = &self.name.text;
        match chain {
            Some(chain) => {
                let comment = format!("{text} cluster IP");
                let rule = self.sent(to, comment.clone(), Target::Jump(chain.clone()));
                self.share(Shared::Services, rule);
                let mark = |target: &'static str| self.sent(to, comment.clone(), Target::Jump(target.into()));
                if let Some(mark) = self.frame.mark_others(mark) {
                    self.into.chains.entry(chain.clone()).or_default().push(mark);
                }
            }
            None => {
                let rule = self.unserved(to, !self.is_empty(List::Cluster));
                self.share(Shared::Unserved, rule);
            }
        }
        let To::Address(address, _) = to else { return };
        let is_in = |range: &IpNet| range.contains(&address);
        if !self.frame.settings.service_ranges.iter().any(is_in) {
            for rule in self.frame.refuse(Side::In(address.into())) {
                self.share(Shared::Unserved, rule);
            }
        }
    }

    /// What becomes of what nobody here serves: somebody elsewhere does, or nobody at all.
    fn unserved(&self, to: To, is_elsewhere: bool) -> Rule {
        let (why, target) = match is_elsewhere {
            true => ("local endpoints", Target::Drop),
            false if self.port.protocol == stead_model::Protocol::Tcp => ("endpoints", Target::Reset),
            false => ("endpoints", Target::Reject(self.frame.mask())),
        };
        self.sent(to, format!("{} has no {why}", self.name.text), target)
    }

    /// The chain that packets from outside come in by; `None` where nobody is there.
    fn entry(&mut self, is_served: bool) -> Option<Chain> {
        if !is_served {
            return None;
        }
        let entry = self.name.chain("KUBE-EXT-");
        let Some(sources) = &self.port.sources else { return Some(entry) };
        let text = &self.name.text;
        let admit = |source: &IpNet| {
            let comment = format!("{text} loadbalancer IP");
            Rule::jump(entry.clone()).comment(comment).from(Side::In(source.trunc()))
        };
        let mut rules: Vec<_> = sources.iter().map(admit).collect();
        rules.push(Rule::default().comment(format!("other traffic to {text} will be dropped by KUBE-PROXY-FIREWALL")));
        let firewall = self.name.chain("KUBE-FW-");
        self.into.chains.insert(firewall.clone(), rules);
        Some(firewall)
    }

    fn lead(&mut self, kind: FrontendKind, to: To, entry: &Chain) {
        let text = &self.name.text;
        let comment = match kind {
            FrontendKind::LoadBalancer => format!("{text} loadbalancer IP"),
            FrontendKind::ExternalIp => format!("{text} external IP"),
            FrontendKind::ClusterIp | FrontendKind::NodePort => text.clone(),
        };
        match kind {
            FrontendKind::NodePort => {
                // Which addresses they are of is asked on the way here.
                let rule = Rule::jump(entry.clone()).comment(comment).transport(self.port.protocol, Some(to.port()));
                if !self.into.shared.contains(&(Shared::NodePorts, rule.clone())) {
                    self.share(Shared::NodePorts, rule);
                }
            }
            _ => {
                let rule = self.sent(to, comment, Target::Jump(entry.clone()));
                self.share(Shared::Services, rule);
            }
        }
    }

    /// Drops what was not let in. Who may come in is told that nobody is there, so where nobody is he passes by.
    fn guard(&mut self, to: To, is_empty: bool) {
        let Some(sources) = &self.port.sources else { return };
        let firewall = self.name.chain("KUBE-FW-");
        let comment = format!("{} traffic not accepted by {firewall}", self.name.text);
        if is_empty {
            for source in sources {
                let rule = self.sent(to, comment.clone(), Target::Return);
                self.into.shared.push((Shared::Firewall, rule.from(Side::In(source.trunc()))));
            }
        }
        let rule = self.sent(to, comment, Target::Drop);
        self.share(Shared::Firewall, rule);
    }

    /// Who comes from outside by policy `Local` keeps to this node and to his address; for who is inside all of the cluster will do.
    fn entry_chain(&mut self, external: Option<&Chain>) {
        let text = &self.name.text;
        let mut rules = Vec::new();
        if self.port.external_policy == TrafficPolicy::Cluster {
            rules.push(Rule::jump(MARK_MASQ).comment(format!("masquerade traffic for {text} external destinations")));
        } else {
            let cluster = self.chain_of(List::Cluster);
            let pods = Rule::jump(cluster.clone()).comment(format!("pod traffic for {text} external destinations"));
            match self.frame.pods() {
                Pods::Unknown => {}
                Pods::In(ranges) => rules.extend(ranges.into_iter().map(|range| pods.clone().from(Side::In(range)))),
                Pods::By(link) => rules.push(Rule { link: Some(Link::Is(link)), ..pods }),
            }
            let of_node = |verb: &str, target: Rule| {
                let comment = format!("{verb} LOCAL traffic for {text} external destinations");
                target.comment(comment).with(Match::SourceIsLocal)
            };
            rules.push(of_node("masquerade", Rule::jump(MARK_MASQ)));
            rules.push(of_node("route", Rule::jump(cluster)));
        }
        rules.extend(external.map(|chain| Rule::jump(chain.clone())));
        self.into.chains.insert(self.name.chain("KUBE-EXT-"), rules);
    }

    /// A list's chain, and those of the endpoints in it.
    fn balance(&mut self, list: List, apart: &str) {
        let port = self.port;
        let backends: Vec<_> = port.list(list).collect();
        if backends.is_empty() {
            return;
        }
        let mut rules = Vec::with_capacity(2 * backends.len());
        let ends: Vec<_> = backends
            .iter()
            .map(|backend| {
                let text = backend.address.to_string();
                let chain = self.name.endpoint_chain(&text, apart);
                (self.endpoint_comment(|| format!("{} -> {text}", self.name.text)), chain)
            })
            .collect();
        if let Some(affinity) = port.affinity {
            rules.extend(ends.iter().map(|(comment, chain)| {
                let (seconds, mask) = (affinity.as_secs(), self.frame.mask());
                self.to_end(comment, chain).with(Match::Remembered { list: chain.clone(), seconds, mask })
            }));
        }
        for (at, chance) in slots(port, &backends) {
            let (comment, chain) = &ends[at];
            let rule = self.to_end(comment, chain);
            rules.push(match chance {
                Some(chance) => rule.with(chance),
                None => rule,
            });
        }
        self.into.chains.entry(self.chain_of(list)).or_default().extend(rules);
        for (backend, (_, chain)) in backends.iter().zip(&ends) {
            if !self.into.chains.contains_key(chain) {
                let rules = self.endpoint(backend.address, chain);
                self.into.chains.insert(chain.clone(), rules);
            }
        }
    }

    fn endpoint_comment(&self, text: impl FnOnce() -> String) -> Option<String> {
        (self.comments == Comments::All).then(text)
    }

    fn to_end(&self, comment: &Option<String>, chain: &Chain) -> Rule {
        let rule = Rule::jump(chain.clone());
        match comment {
            Some(comment) => rule.comment(comment.clone()),
            None => rule,
        }
    }

    /// Whoever meets himself is masqueraded.
    fn endpoint(&self, address: SocketAddr, chain: &Chain) -> Vec<Rule> {
        let comment = self.endpoint_comment(|| self.name.text.clone());
        let said = |rule: Rule| match &comment {
            Some(comment) => rule.comment(comment.clone()),
            None => rule,
        };
        let itself = said(Rule::jump(MARK_MASQ)).from(Side::In(address.ip().into()));
        let mut send = said(Rule::to(Target::Dnat(address)));
        if self.port.affinity.is_some() {
            send = send.with(Match::Remember { list: chain.clone(), mask: self.frame.mask() });
        }
        vec![itself, send.transport(self.port.protocol, None)]
    }
}

impl To {
    const fn port(self) -> u16 {
        match self {
            Self::Address(_, port) | Self::Node(port) => port,
        }
    }
}

impl Rule {
    fn rejects(&self) -> bool {
        matches!(self.target, Some(Target::Reject(_)))
    }
}

/// The most rules that turns are given exactly in proportion to weights.
const MOST_TURNS: usize = 256;

/// Which backend each rule of a list leads to, and with what chance of those that come so far; the last takes all.
fn slots(port: &ServicePortPlan, backends: &[&Backend]) -> Vec<(usize, Option<Match>)> {
    let weights: Vec<_> = backends.iter().map(|backend| port.weights.of(backend.address.ip())).collect();
    if port.algorithm == Algorithm::RoundRobin
        && let Some(turns) = turns(&weights)
    {
        let count = turns.len();
        let chance = |number: usize| (number + 1 < count).then(|| Match::Turn { every: (count - number) as u32 });
        return turns.into_iter().enumerate().map(|(number, at)| (at, chance(number))).collect();
    }
    let mut rest: u32 = weights.iter().map(|weight| u32::from(*weight)).sum();
    let mut slots = Vec::with_capacity(weights.len());
    for (at, weight) in weights.iter().enumerate() {
        let is_last = at + 1 == weights.len();
        let share = || Match::Probability(probability(f64::from(*weight) / f64::from(rest)));
        slots.push((at, (!is_last).then(share)));
        rest -= u32::from(*weight);
    }
    slots
}

/// Each backend as often as its weight says, spread over the round; `None` where a round would be too long.
fn turns(weights: &[u8]) -> Option<Vec<usize>> {
    let divisor = weights.iter().copied().fold(0, common_divisor).max(1);
    let weights: Vec<_> = weights.iter().map(|weight| i64::from(weight / divisor)).collect();
    let total: i64 = weights.iter().sum();
    if total as usize > MOST_TURNS.max(weights.len()) {
        return None;
    }
    // Who is furthest behind his share is next.
    let mut behind = vec![0; weights.len()];
    let next = |_| {
        behind.iter_mut().zip(&weights).for_each(|(behind, weight)| *behind += weight);
        let at = (0..behind.len()).max_by_key(|at| (behind[*at], std::cmp::Reverse(*at))).unwrap_or(0);
        behind[at] -= total;
        at
    };
    Some((0..total).map(next).collect())
}

fn common_divisor(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { common_divisor(b, a % b) }
}

/// Backends of one family, by which it is told whether there are many.
pub(super) fn endpoints<'s>(services: impl Iterator<Item = &'s ServicePlan>, family: Family) -> usize {
    let ports = services.flat_map(|service| &service.ports);
    let of_family =
        |port: &&ServicePortPlan| port.frontends.first().is_some_and(|rule| rule.frontend.family() == family);
    ports.filter(of_family).map(|port| port.backends.len() + port.draining.len()).sum()
}
