//! Other programs' firewalls: chains that drop or reject what nobody accepts, whose they are, and what opens them.
//!
//! An accept in one table does not undo a drop in another, so none of ours could help.

use ipnet::IpNet;
use stead_model::Family;
use stead_sys::nft::ForeignChain;

use super::{Facts, Finding, Subject, Wanted, families};

const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const INPUT: u32 = 1;
const FORWARD: u32 = 2;

/// Whose firewall it is, by the chains that it makes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Firewall {
    Docker,
    Ufw,
    Firewalld,
    Unknown,
}

impl Firewall {
    fn of<'c>(chains: impl Iterator<Item = &'c str> + Clone) -> Self {
        let has = |test: &dyn Fn(&str) -> bool| chains.clone().any(test);
        // ufw first: where both run, it is ufw that set the policy before docker came.
        if has(&|name| name.starts_with("ufw-") || name.starts_with("ufw6-")) {
            Self::Ufw
        } else if has(&|name| name == "DOCKER-USER" || name == "DOCKER") {
            Self::Docker
        } else {
            Self::Unknown
        }
    }

    /// What opens it to forwarded packets of the pods of `ranges`, which are those of the families that it looks at.
    fn forward_remedy(self, ranges: &[IpNet], program: &str) -> String {
        match self {
            Self::Docker if !ranges.is_empty() => {
                let rules = each(ranges, |range| {
                    let program = match Family::of(range.addr()) {
                        Family::V4 => program.to_owned(),
                        Family::V6 => program.replace("iptables", "ip6tables"),
                    };
                    format!(
                        "{program} -I DOCKER-USER -s {range} -j ACCEPT; {program} -I DOCKER-USER -d {range} -j ACCEPT"
                    )
                });
                format!("after each boot, once docker runs: {rules}")
            }
            Self::Docker => {
                "\"ip-forward-no-drop\": true in /etc/docker/daemon.json and a restart of docker".to_owned()
            }
            Self::Ufw if !ranges.is_empty() => {
                each(ranges, |range| format!("ufw route allow from {range}; ufw route allow to {range}"))
            }
            Self::Ufw => "DEFAULT_FORWARD_POLICY=\"ACCEPT\" in /etc/default/ufw, then: ufw reload".to_owned(),
            Self::Firewalld if !ranges.is_empty() => firewalld_trusts(ranges),
            Self::Firewalld => {
                "firewall-cmd --permanent --set-default-zone=trusted on a machine that only forwards, or open \
                                the interfaces of endpoints"
                    .to_owned()
            }
            Self::Unknown => {
                "accept there what goes to and comes from endpoints, or set the chain's policy to accept".to_owned()
            }
        }
    }

    /// What opens it to packets for the machine itself: from pods to a server on it, and from others to what the parts listen on.
    fn input_remedy(self, ranges: &[IpNet]) -> String {
        let ports = "port 6443 on the server's machine, 10250 on nodes, 10256 and the health-check node ports where a load balancer \
                     asks for them";
        match self {
            Self::Ufw if !ranges.is_empty() => {
                let pods = each(ranges, |range| format!("ufw allow from {range}"));
                format!("{pods}; ufw allow PORT/tcp for {ports}")
            }
            Self::Firewalld if !ranges.is_empty() => {
                let pods = firewalld_trusts(ranges);
                format!("firewall-cmd --permanent --add-port=PORT/tcp for {ports}; {pods}")
            }
            _ => format!("accept there what pods send, and TCP of others to {ports}"),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Docker => " (docker's)",
            Self::Ufw => " (ufw's)",
            Self::Firewalld => " (firewalld's)",
            Self::Unknown => "",
        }
    }
}

fn each(ranges: &[IpNet], line: impl Fn(&IpNet) -> String) -> String {
    ranges.iter().map(line).collect::<Vec<_>>().join("; ")
}

fn firewalld_trusts(ranges: &[IpNet]) -> String {
    let sources = each(ranges, |range| format!("firewall-cmd --permanent --zone=trusted --add-source={range}"));
    format!("{sources}; firewall-cmd --reload")
}

pub(super) fn judge(facts: &Facts, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = Vec::new();
    let is_wanted = |family: u8| {
        let has = |family| families(wanted).contains(&family);
        match family {
            NFPROTO_INET => true,
            NFPROTO_IPV4 => has(Family::V4),
            NFPROTO_IPV6 => has(Family::V6),
            _ => false,
        }
    };
    for chain in facts.chains.iter().filter(|chain| is_wanted(chain.family)) {
        let Some(base) = chain.base.as_ref().filter(|base| base.kind == "filter") else { continue };
        let firewalld = chain.table == "firewalld";
        if !base.drops && !firewalld {
            continue;
        }
        let siblings = facts.chains.iter().filter(|other| (other.family, &other.table) == (chain.family, &chain.table));
        let firewall =
            if firewalld { Firewall::Firewalld } else { Firewall::of(siblings.map(|other| other.name.as_str())) };
        let ranges = pod_ranges(wanted, chain.family);
        let (packets, remedy) = match base.hook {
            INPUT => ("packets to this machine", firewall.input_remedy(&ranges)),
            FORWARD => ("forwarded packets", firewall.forward_remedy(&ranges, "iptables")),
            _ => continue,
        };
        let does = if base.drops { "drops what it does not accept" } else { "rejects what no zone accepts" };
        let (name, table, whose) = (&chain.name, table(chain), firewall.name());
        let text = format!("chain {name} of table {table} {does} among {packets}{whose}; its rules are not looked at");
        findings.push(Finding::warning(Subject::Firewall, text, remedy));
    }
    for legacy in facts.legacy.iter().filter(|legacy| legacy.table == "filter") {
        if legacy.drops_forwarded() {
            let firewall = Firewall::of(legacy.chains.keys().map(String::as_str));
            let family = if legacy.program.starts_with("ip6") { NFPROTO_IPV6 } else { NFPROTO_IPV4 };
            findings.push(Finding::warning(
                Subject::Firewall,
                format!("policy of {} FORWARD is DROP{}", legacy.program, firewall.name()),
                firewall.forward_remedy(&pod_ranges(wanted, family), "iptables-legacy"),
            ));
        }
    }
    findings.extend(facts.unread_legacy.iter().map(|names| {
        Finding::warning(
            Subject::Firewall,
            format!("tables of the older iptables are in use ({names}) and cannot be looked at here"),
            "install iptables and run this again",
        )
    }));
    findings
}

/// Those that a chain of this family looks at.
fn pod_ranges(wanted: &Wanted, family: u8) -> Vec<IpNet> {
    let looks_at = |range: &&IpNet| match Family::of(range.addr()) {
        Family::V4 => family != NFPROTO_IPV6,
        Family::V6 => family != NFPROTO_IPV4,
    };
    wanted.pod_ranges.iter().filter(looks_at).copied().collect()
}

fn table(chain: &ForeignChain) -> String {
    let family = match chain.family {
        NFPROTO_INET => "inet",
        NFPROTO_IPV4 => "ip",
        NFPROTO_IPV6 => "ip6",
        _ => "another family's",
    };
    format!("{family} {}", chain.table)
}
