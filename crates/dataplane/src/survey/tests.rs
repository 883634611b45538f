use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use stead_sys::{
    namespace::Namespace,
    nft::{ForeignBase, ForeignChain},
};

use super::*;

fn wanted() -> Wanted {
    Wanted {
        service_ranges: ["10.96.0.0/16", "fd56:96::/112"].map(|range| range.parse().unwrap()).into(),
        pod_ranges: vec!["10.244.0.0/16".parse().unwrap()],
    }
}

fn route(to: &str) -> RouteFact {
    RouteFact { to: to.parse().unwrap(), via: None, link: Some("eth0".to_owned()) }
}

/// A machine on which nothing is wrong.
fn machine() -> Facts {
    let sysctls = [
        ("net.ipv4.ip_forward", 1),
        ("net.ipv6.conf.all.forwarding", 1),
        ("net.ipv4.conf.all.rp_filter", 0),
        ("net.ipv4.conf.eth0.rp_filter", 2),
        ("net.netfilter.nf_conntrack_max", 262_144),
        ("net.netfilter.nf_conntrack_count", 12),
    ];
    Facts {
        sysctls: sysctls.map(|(name, value)| (name.to_owned(), value)).into(),
        links: ["lo", "eth0"].map(str::to_owned).into(),
        addresses: ["127.0.0.1", "192.0.2.7"].map(|address| address.parse().unwrap()).into(),
        routes: vec![route("0.0.0.0/0"), route("::/0"), route("192.0.2.0/24")],
        ..Facts::default()
    }
}

fn chain(family: u8, table: &str, name: &str, base: Option<(&str, u32, bool)>) -> ForeignChain {
    let base = base.map(|(kind, hook, drops)| ForeignBase { kind: kind.to_owned(), hook, drops });
    ForeignChain { family, table: table.to_owned(), name: name.to_owned(), base }
}

/// What is found on a machine that differs from [`machine`] by `change`; `expect` has the grade, the subject and words of the text or
/// the remedy of each finding that is not fine.
fn check(change: impl FnOnce(&mut Facts), expect: &[(Grade, Subject, &str)]) {
    let mut facts = machine();
    change(&mut facts);
    let findings = survey(&facts, &wanted());
    let bad: Vec<_> = findings.iter().filter(|finding| finding.grade != Grade::Fine).collect();
    assert_eq!(bad.len(), expect.len(), "{bad:#?}");
    for (found, (grade, subject, words)) in bad.iter().zip(expect) {
        assert_eq!((found.grade, found.subject), (*grade, *subject), "{found:?}");
        assert!(found.text.contains(words) || found.remedy.contains(words), "{words:?} in {found:?}");
        assert!(!found.remedy.is_empty(), "{found:?}");
    }
    let subjects: BTreeSet<_> = findings.iter().map(|finding| finding.subject).collect();
    assert_eq!(subjects.len(), 6, "each subject is told of: {subjects:?}");
}

use Grade::{Failure, Warning};

#[test]
fn a_machine_with_nothing_in_the_way_is_fine() {
    check(|_| {}, &[]);
}

#[test]
fn settings_of_the_kernel() {
    let set = |name: &'static str, value| move |facts: &mut Facts| facts.sysctls.extend([(name.to_owned(), value)]);
    check(set("net.ipv4.ip_forward", 0), &[(Failure, Subject::Forwarding, "sysctl -w net.ipv4.ip_forward=1")]);
    check(|facts| facts.sysctls.retain(|name, _| !name.contains("ipv6")), &[(Failure, Subject::Forwarding, "no IPv6")]);
    check(
        set("net.ipv4.conf.all.route_localnet", 1),
        &[(Warning, Subject::Forwarding, "sysctl -w net.ipv4.conf.all.route_localnet=0")],
    );
    check(set("net.ipv4.conf.all.rp_filter", 1), &[]);
    check(set("net.ipv4.conf.eth0.rp_filter", 1), &[(Warning, Subject::ReversePath, "on eth0")]);
    check(
        |facts| {
            set("net.ipv4.conf.eth0.rp_filter", 0)(facts);
            set("net.ipv4.conf.all.rp_filter", 1)(facts);
        },
        &[(Warning, Subject::ReversePath, "on eth0")],
    );
    check(set("net.netfilter.nf_conntrack_max", 65_536), &[(Warning, Subject::Conntrack, "nf_conntrack_max=131072")]);
    check(
        set("net.netfilter.nf_conntrack_count", 260_000),
        &[(Failure, Subject::Conntrack, "nf_conntrack_max=524288")],
    );
}

#[test]
fn firewalls_of_others_are_named_with_what_opens_them() {
    let add = |chains: Vec<ForeignChain>| move |facts: &mut Facts| facts.chains.extend(chains);
    let forward = |table| chain(2, table, "FORWARD", Some(("filter", 2, true)));
    check(add(vec![forward("filter")]), &[(Warning, Subject::Firewall, "set the chain's policy to accept")]);
    check(
        add(vec![forward("filter"), chain(2, "filter", "DOCKER-USER", None)]),
        &[(Warning, Subject::Firewall, "iptables -I DOCKER-USER -s 10.244.0.0/16 -j ACCEPT")],
    );
    check(
        add(vec![forward("filter"), chain(2, "filter", "ufw-user-forward", None)]),
        &[(Warning, Subject::Firewall, "ufw route allow from 10.244.0.0/16; ufw route allow to 10.244.0.0/16")],
    );
    check(
        add(vec![chain(2, "filter", "INPUT", Some(("filter", 1, true))), chain(2, "filter", "ufw-user-input", None)]),
        &[(Warning, Subject::Firewall, "ufw allow from 10.244.0.0/16; ufw allow PORT/tcp")],
    );
    check(
        add(vec![chain(1, "firewalld", "filter_INPUT", Some(("filter", 1, false)))]),
        &[(Warning, Subject::Firewall, "firewall-cmd --permanent --add-port=PORT/tcp")],
    );
    // Rules for pods of the other family would find no chain.
    check(
        add(vec![chain(10, "filter", "FORWARD", Some(("filter", 2, true))), chain(10, "filter", "DOCKER-USER", None)]),
        &[(Warning, Subject::Firewall, "ip-forward-no-drop")],
    );
    check(
        add(vec![chain(1, "firewalld", "filter_FORWARD", Some(("filter", 2, false)))]),
        &[(Warning, Subject::Firewall, "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16")],
    );
    check(
        add(vec![chain(1, "filter", "input", Some(("filter", 1, true)))]),
        &[(Warning, Subject::Firewall, "10256 and the health-check node ports")],
    );
    // Chains that drop nothing by themselves, and those of bridges.
    check(add(vec![chain(1, "filter", "forward", Some(("filter", 2, false)))]), &[]);
    check(add(vec![chain(7, "filter", "forward", Some(("filter", 2, true)))]), &[]);
    let legacy =
        "# comment\n*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n-A FORWARD -j DOCKER\nCOMMIT\n";
    check(
        |facts| facts.legacy = parse_legacy("iptables-legacy", legacy),
        &[(Warning, Subject::Firewall, "iptables-legacy -I DOCKER-USER -d 10.244.0.0/16")],
    );
    check(
        |facts| facts.unread_legacy = Some("iptables-legacy filter".to_owned()),
        &[(Warning, Subject::Firewall, "cannot be looked at")],
    );
}

#[test]
fn other_proxies_are_named() {
    let failure = |words| [(Failure, Subject::OtherProxy, words)];
    check(|facts| facts.chains = vec![chain(2, "kube-proxy", "services", None)], &failure("table kube-proxy"));
    check(|facts| facts.chains = vec![chain(2, "nat", "KUBE-SERVICES", None)], &failure("KUBE-SERVICES"));
    check(
        |facts| facts.legacy = parse_legacy("iptables-legacy", "*nat\n:KUBE-PORTALS-CONTAINER - [0:0]\nCOMMIT\n"),
        &failure("iptables-legacy, table nat"),
    );
    check(|facts| facts.links.extend(["kube-ipvs0".to_owned()]), &failure("IPVS"));
    check(|facts| facts.links.extend(["cilium_host".to_owned()]), &failure("kubeProxyReplacement"));
    // Our own tables are adopted.
    check(|facts| facts.chains = vec![chain(2, "stead", "services", None)], &[]);
}

#[test]
fn routes_and_addresses_that_take_virtual_ips_away() {
    let routed = |to: &'static str| move |facts: &mut Facts| facts.routes.push(route(to));
    check(
        routed("10.0.0.0/8"),
        &[(Failure, Subject::Routes, "route 10.0.0.0/8 dev eth0 and service range 10.96.0.0/16")],
    );
    check(routed("10.96.7.0/24"), &[(Failure, Subject::Routes, "10.96.7.0/24")]);
    check(routed("10.244.1.0/24"), &[]);
    // The remedy for a machine without a default route.
    check(
        |facts| {
            facts.routes.retain(|route| route.to.addr().is_ipv4());
            facts.routes.push(route("fd56:96::/112"));
        },
        &[],
    );
    check(
        |facts| facts.addresses.extend(["10.96.0.9".parse::<IpAddr>().unwrap()]),
        &[(Failure, Subject::Routes, "own address 10.96.0.9")],
    );
    check(
        |facts| facts.routes.retain(|route| route.to.addr().is_ipv4()),
        &[(Warning, Subject::Routes, "no route leads to service range fd56:96::/112")],
    );
}

#[test]
fn facts_are_those_of_the_namespace() {
    let namespace = Namespace::create().unwrap();
    let rules = "table ip filter {\nchain FORWARD { type filter hook forward priority filter; policy drop; }\nchain DOCKER-USER { }\n}
        table inet mine {\nchain in { type filter hook input priority 0; policy accept; }\n}";
    let facts = namespace
        .run(|| {
            // A new namespace begins with what the first one has.
            std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
            let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
            assert!(nft.wait().unwrap().success());
            Facts::read().unwrap()
        })
        .unwrap();
    assert_eq!(facts.chains.len(), 3);
    assert!(facts.chains.contains(&chain(2, "filter", "FORWARD", Some(("filter", 2, true)))));
    assert!(facts.chains.contains(&chain(2, "filter", "DOCKER-USER", None)));
    assert!(facts.chains.contains(&chain(1, "mine", "in", Some(("filter", 1, false)))));
    assert_eq!(facts.links, BTreeSet::from(["lo".to_owned()]));
    assert_eq!(facts.sysctl("net.ipv4.ip_forward"), Some(0));
    let findings = survey(&facts, &wanted());
    assert!(findings.iter().any(|finding| finding.grade == Failure && finding.subject == Subject::Forwarding));
    assert!(findings.iter().any(|finding| finding.remedy.contains("DOCKER-USER")));
}
