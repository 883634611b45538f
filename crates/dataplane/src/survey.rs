//! What on this machine stands in the way of Services, each with its remedy: looked at before anything is installed, and nothing changed.
//!
//! [`Facts`] are read here and are plain values; [`survey`] judges them and is pure. What the kernel itself lacks is
//! [`probe`](crate::probe)'s, and whether an API server answers is for whoever asks it.

mod facts;
mod firewalls;
mod legacy;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, net::IpAddr};

use ipnet::IpNet;
use stead_model::Family;

pub use self::{
    facts::{Error, Facts, RouteFact},
    legacy::{LegacyTable, parse_legacy},
};

/// What Services are to have on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Ranges that virtual IPs come from.
    pub service_ranges: Vec<IpNet>,
    /// Ranges that pods' addresses come from; may be empty where endpoints are no pods.
    pub pod_ranges: Vec<IpNet>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub subject: Subject,
    pub grade: Grade,
    /// What was found, without a final dot.
    pub text: String,
    /// What to do about it; empty where nothing has to be done.
    pub remedy: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    Fine,
    /// Services work, though not for everybody or not for ever.
    Warning,
    /// Services would not work as long as it is so.
    Failure,
}

/// What findings are about, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Kernel,
    Forwarding,
    ReversePath,
    Conntrack,
    Firewall,
    OtherProxy,
    Routes,
}

/// Connections that kube-proxy provides for on the smallest machine (`--conntrack-min`).
const CONNTRACK_MIN: u64 = 131_072;

impl Finding {
    pub fn fine(subject: Subject, text: impl Into<String>) -> Self {
        Self { subject, grade: Grade::Fine, text: text.into(), remedy: String::new() }
    }

    pub fn warning(subject: Subject, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, grade: Grade::Warning, text: text.into(), remedy: remedy.into() }
    }

    pub fn failure(subject: Subject, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { subject, grade: Grade::Failure, text: text.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Fine => "ok",
            Self::Warning => "warning",
            Self::Failure => "failure",
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Forwarding => "forwarding",
            Self::ReversePath => "rp_filter",
            Self::Conntrack => "conntrack",
            Self::Firewall => "firewall",
            Self::OtherProxy => "other proxy",
            Self::Routes => "routes",
        })
    }
}

/// Judges what was found; each subject has at least one finding.
pub fn survey(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = forwarding(facts, wanted);
    findings.extend(reverse_path(facts));
    findings.push(conntrack(facts));
    findings.extend(or_fine(
        firewalls::judge(facts, wanted),
        Subject::Firewall,
        "no other program drops forwarded packets",
    ));
    findings.extend(or_fine(other_proxies(facts), Subject::OtherProxy, "nobody else translates Services"));
    findings.extend(routes(facts, wanted));
    findings
}

fn or_fine(findings: Vec<Finding>, subject: Subject, text: &str) -> Vec<Finding> {
    if findings.is_empty() { vec![Finding::fine(subject, text)] } else { findings }
}

fn families(wanted: &Wanted) -> BTreeSet<Family> {
    wanted.service_ranges.iter().map(|range| Family::of(range.addr())).collect()
}

/// Whether packets of the service ranges' families are forwarded: the part of [`survey`] for which [`Facts::sysctls`] is enough.
pub fn forwarding(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    let judge = |family| {
        let (name, text) = match family {
            Family::V4 => ("net.ipv4.ip_forward", "IPv4"),
            Family::V6 => ("net.ipv6.conf.all.forwarding", "IPv6"),
        };
        match facts.sysctl(name) {
            Some(0) => Finding::failure(
                Subject::Forwarding,
                format!(
                    "{text} packets are not forwarded ({name}=0), so only this machine's own connections would be served"
                ),
                format!("sysctl -w {name}=1, and the same line in /etc/sysctl.d/90-stead.conf for the next boot"),
            ),
            Some(_) => Finding::fine(Subject::Forwarding, format!("{text} packets are forwarded ({name}=1)")),
            None => Finding::failure(
                Subject::Forwarding,
                format!("the kernel has no {text} ({name} is missing)"),
                format!("boot with {text}, or leave its ranges out of the service ranges"),
            ),
        }
    };
    families(wanted).into_iter().map(judge).chain(opened_loopback(facts)).collect()
}

fn opened_loopback(facts: &Facts) -> Option<Finding> {
    let is_open = facts.sysctl("net.ipv4.conf.all.route_localnet") == Some(1);
    is_open.then(|| {
        Finding::warning(
            Subject::Forwarding,
            "other machines may send to 127.0.0.0/8 here (net.ipv4.conf.all.route_localnet=1), as kube-proxy's iptables mode sets it, and so \
             reach what listens on loopback alone",
            "once kube-proxy is gone: sysctl -w net.ipv4.conf.all.route_localnet=0, unless something else needs it",
        )
    })
}

/// Strict filtering drops what comes in by another way than its answer would leave. IPv6 has no such setting.
fn reverse_path(facts: &Facts) -> Vec<Finding> {
    let all = facts.sysctl("net.ipv4.conf.all.rp_filter").unwrap_or(0);
    let strict = |link: &&String| {
        link.as_str() != "lo" && facts.sysctl(&format!("net.ipv4.conf.{link}.rp_filter")).unwrap_or(0).max(all) == 1
    };
    let strict: Vec<_> = facts.links.iter().filter(strict).map(String::as_str).collect();
    if strict.is_empty() {
        return vec![Finding::fine(Subject::ReversePath, "no interface drops by strict reverse path")];
    }
    vec![Finding::warning(
        Subject::ReversePath,
        format!(
            "strict reverse path filtering on {}: where a machine has several ways out, answers of Services are dropped",
            strict.join(", ")
        ),
        "with several ways out: sysctl -w net.ipv4.conf.all.rp_filter=2 (the larger of `all` and the interface's own counts)",
    )]
}

fn conntrack(facts: &Facts) -> Finding {
    let (Some(max), Some(count)) =
        (facts.sysctl("net.netfilter.nf_conntrack_max"), facts.sysctl("net.netfilter.nf_conntrack_count"))
    else {
        return Finding::fine(Subject::Conntrack, "connections are not tracked yet; the size is set when they are");
    };
    let remedy = format!("sysctl -w net.netfilter.nf_conntrack_max={}", CONNTRACK_MIN.max(max * 2));
    if count * 5 > max * 4 {
        return Finding::failure(
            Subject::Conntrack,
            format!("{count} of {max} connections are tracked already: new ones are about to be dropped"),
            remedy,
        );
    }
    if max < CONNTRACK_MIN {
        let text = format!("at most {max} connections are tracked at once; kube-proxy provides for {CONNTRACK_MIN}");
        return Finding::warning(Subject::Conntrack, text, remedy);
    }
    Finding::fine(Subject::Conntrack, format!("{count} of {max} connections are tracked"))
}

fn other_proxies(facts: &Facts) -> Vec<Finding> {
    let cleanup = "stop it on this machine, then remove what it left in the kernel: kube-proxy --cleanup";
    let mut findings = Vec::new();
    let mut found = |what: String, remedy: &str| findings.push(Finding::failure(Subject::OtherProxy, what, remedy));
    let has_nft_mode = facts.chains.iter().any(|chain| chain.table == "kube-proxy");
    if has_nft_mode {
        found("kube-proxy's nftables rules are in the kernel (table kube-proxy)".to_owned(), cleanup);
    }
    let is_portal = |name: &str| name == "KUBE-SERVICES" || name == "KUBE-PORTALS-CONTAINER";
    let by_nft = facts.chains.iter().find(|chain| chain.table == "nat" && is_portal(&chain.name));
    if let Some(chain) = by_nft {
        found(format!("kube-proxy's iptables rules are in the kernel (chain {})", chain.name), cleanup);
    }
    let by_legacy =
        facts.legacy.iter().find(|legacy| legacy.table == "nat" && legacy.chains.keys().any(|name| is_portal(name)));
    if let Some(legacy) = by_legacy {
        found(format!("kube-proxy's rules are in the kernel ({}, table nat)", legacy.program), cleanup);
    }
    if facts.links.contains("kube-ipvs0") {
        found("kube-proxy's IPVS device is there (kube-ipvs0)".to_owned(), cleanup);
    }
    if facts.links.iter().any(|link| link == "cilium_host" || link == "cilium_net") {
        found(
            "Cilium runs here (device cilium_host) and may translate Services before the kernel's tables see them"
                .to_owned(),
            "set kubeProxyReplacement=false in Cilium, so that one of the two does it",
        );
    }
    findings
}

fn routes(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    wanted.service_ranges.iter().flat_map(|range| routes_of(facts, *range)).collect()
}

fn routes_of(facts: &Facts, range: IpNet) -> Vec<Finding> {
    // A route to the range itself is what programs here need where there is no default route.
    let overlaps = |route: &&RouteFact| {
        route.to.prefix_len() > 0 && route.to != range && (route.to.contains(&range) || range.contains(&route.to))
    };
    let mut findings: Vec<_> = facts
        .routes
        .iter()
        .filter(overlaps)
        .map(|route| {
            Finding::failure(
                Subject::Routes,
                format!(
                    "route {route} and service range {range} overlap: the addresses of one hide those of the other"
                ),
                "choose another service range, or take the route away where nobody is behind it",
            )
        })
        .collect();
    let own = facts.addresses.iter().filter(|address| range.contains(*address));
    findings.extend(own.map(|address: &IpAddr| {
        Finding::failure(
            Subject::Routes,
            format!("this machine's own address {address} is in service range {range}"),
            "choose another service range",
        )
    }));
    let leads_there = |route: &RouteFact| {
        route.to == range || route.to.prefix_len() == 0 && Family::of(route.to.addr()) == Family::of(range.addr())
    };
    if findings.is_empty() && !facts.routes.iter().any(leads_there) {
        findings.push(Finding::warning(
            Subject::Routes,
            format!("no route leads to service range {range}: programs on this machine cannot begin a connection to a virtual IP"),
            format!("a default route, or: ip route add {range} dev DEVICE, with the device that leads to endpoints"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(Subject::Routes, format!("no route takes away service range {range}")));
    }
    findings
}
