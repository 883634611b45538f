//! Other programs' firewalls: chains that drop or reject what nobody accepts, whose they are, and what opens them.
//!
//! An accept in one table does not undo a drop in another, so none of ours could help.

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

    fn remedy(self, wanted: &Wanted, program: &str) -> String {
        let ranges: Vec<_> = wanted.pod_ranges.iter().map(ToString::to_string).collect();
        let each = |line: &dyn Fn(&String) -> String| ranges.iter().map(line).collect::<Vec<_>>().join("; ");
        match self {
            Self::Docker if !ranges.is_empty() => each(&|range| {
                let program =
                    if range.contains(':') { program.replace("iptables", "ip6tables") } else { program.to_owned() };
                format!("{program} -I DOCKER-USER -s {range} -j ACCEPT; {program} -I DOCKER-USER -d {range} -j ACCEPT")
            }),
            Self::Docker => {
                "\"ip-forward-no-drop\": true in /etc/docker/daemon.json and a restart of docker".to_owned()
            }
            Self::Ufw => {
                "DEFAULT_FORWARD_POLICY=\"ACCEPT\" in /etc/default/ufw, then: ufw reload; or: ufw route allow \
                          from and to each pod range"
                    .to_owned()
            }
            Self::Firewalld if !ranges.is_empty() => {
                let sources = each(&|range| format!("firewall-cmd --permanent --zone=trusted --add-source={range}"));
                format!("{sources}; firewall-cmd --reload")
            }
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

    const fn name(self) -> &'static str {
        match self {
            Self::Docker => " (docker's)",
            Self::Ufw => " (ufw's)",
            Self::Firewalld => " (firewalld's)",
            Self::Unknown => "",
        }
    }
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
        let Some(base) = &chain.base else { continue };
        let firewalld = chain.table == "firewalld";
        let does = if base.drops { "drops what it does not accept" } else { "rejects what no zone accepts" };
        if base.kind == "filter" && base.hook == INPUT && (base.drops || firewalld) {
            let remedy = if firewalld {
                "where a load balancer asks for them, for port 10256 and each health-check node port: firewall-cmd --permanent \
                 --add-port=10256/tcp; firewall-cmd --reload"
            } else {
                "accept there TCP to the health-check node ports of Services and to port 10256, where a load balancer asks for them"
            };
            let text = format!("chain {} of table {} {does} among packets to this machine", chain.name, table(chain));
            findings.push(Finding::warning(Subject::Firewall, text, remedy));
        }
        if base.kind != "filter" || base.hook != FORWARD {
            continue;
        }
        let siblings = facts.chains.iter().filter(|other| (other.family, &other.table) == (chain.family, &chain.table));
        if base.drops || firewalld {
            let firewall =
                if firewalld { Firewall::Firewalld } else { Firewall::of(siblings.map(|other| other.name.as_str())) };
            findings.push(Finding::warning(
                Subject::Firewall,
                format!(
                    "chain {} of table {} {does} among forwarded packets{}",
                    chain.name,
                    table(chain),
                    firewall.name()
                ),
                firewall.remedy(wanted, "iptables"),
            ));
        }
    }
    for legacy in facts.legacy.iter().filter(|legacy| legacy.table == "filter") {
        if legacy.drops_forwarded() {
            let firewall = Firewall::of(legacy.chains.keys().map(String::as_str));
            findings.push(Finding::warning(
                Subject::Firewall,
                format!("policy of {} FORWARD is DROP{}", legacy.program, firewall.name()),
                firewall.remedy(wanted, "iptables-legacy"),
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

fn table(chain: &ForeignChain) -> String {
    let family = match chain.family {
        NFPROTO_INET => "inet",
        NFPROTO_IPV4 => "ip",
        NFPROTO_IPV6 => "ip6",
        _ => "another family's",
    };
    format!("{family} {}", chain.table)
}
