use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use stead_model::Protocol;
use stead_plan::{Backend, DetectLocal, FrontendKind, FrontendRule, Lists, ServicePortPlan, TrafficPolicy};

use super::*;

#[test]
fn a_frontend_is_read_from_its_rule() {
    let node = ["192.168.56.101".parse().unwrap()];
    let check = |rule: &str, expect: &[&str]| {
        let found = listing::frontends(rule, Family::V4, &node);
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), expect, "{rule}");
    };
    let dispatch = "-d 10.96.0.1/32 -p tcp -m comment --comment \"a/b cluster IP\" -m tcp --dport 80 -j KUBE-SVC-A";
    check(dispatch, &["10.96.0.1:80/TCP"]);
    check("-p udp -m comment --comment \"a/b\" -m udp --dport 30053 -j KUBE-EXT-A", &["192.168.56.101:30053/UDP"]);
    check("! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS", &[]);
    // As the nft kind has it of a rule that is in no plan.
    check("#17 -d 10.96.0.1/32 -p sctp --dport 9 -j KUBE-SVC-A", &["10.96.0.1:9/SCTP"]);
}

const NODE: [&str; 2] = ["192.168.56.50", "fd56::50"];

/// One port of a Service with endpoints by node and host: those of node 1 are here.
fn port(name: &str, protocol: Protocol, endpoints: &[(u8, u8)], family: Family) -> ServicePortPlan {
    let backend = |(node, host): &(u8, u8)| {
        let address: IpAddr = match family {
            Family::V4 => [10, 244, *node, *host].into(),
            Family::V6 => [0xfd56, 0x244, (*node).into(), 0, 0, 0, 0, (*host).into()].into(),
        };
        let local = *node == 1;
        let lists = if local { Lists::Both } else { Lists::Cluster };
        Backend { address: SocketAddr::new(address, 8080), local, lists }
    };
    let backends = endpoints.iter().map(backend).collect();
    ServicePortPlan { name: name.into(), protocol, backends, ..ServicePortPlan::default() }
}

fn at(mut port: ServicePortPlan, kind: FrontendKind, to: &str, number: u16) -> ServicePortPlan {
    let frontend = Frontend { address: to.parse().unwrap(), protocol: port.protocol, port: number };
    port.frontends.push(FrontendRule { frontend, kind });
    port.frontends.sort_unstable();
    port
}

/// What the Services of docs/data-planes.md's comparison are planned as.
fn compared() -> Plan {
    use FrontendKind::{ClusterIp, ExternalIp, LoadBalancer, NodePort};
    use TrafficPolicy::Local;
    let mut plan = Plan::default();
    let settings = &mut plan.settings;
    settings.service_ranges = ["10.96.0.0/16", "fd56:96::/112"].map(|range| range.parse().unwrap()).into();
    let pods = ["10.244.0.0/16", "fd56:244::/32"].map(|range| range.parse().unwrap());
    settings.detect_local = DetectLocal::Ranges(pods.into());
    settings.own_addresses = NODE.map(|address| address.parse().unwrap()).into();
    settings.node_addresses = settings.own_addresses.clone();
    let tcp = |endpoints: &[(u8, u8)], virtual_ip: &str| {
        let family = Family::of(virtual_ip.parse().unwrap());
        at(port("", Protocol::Tcp, endpoints, family), ClusterIp, virtual_ip, 80)
    };
    let node_port = |port, number| at(port, NodePort, NODE[0], number);
    let ranges = |texts: &[&str]| Some(texts.iter().map(|text| text.parse().unwrap()).collect());
    let outside_local = |port| ServicePortPlan { external_policy: Local, ..port };
    let inside_local = |port| ServicePortPlan { internal_policy: Local, ..port };
    let mut server = at(port("https", Protocol::Tcp, &[(2, 2)], Family::V4), ClusterIp, "10.96.0.1", 443);
    server.backends[0].address = "192.168.56.100:6443".parse().unwrap();
    let named = |name, protocol, number| {
        at(port(name, protocol, &[(2, 2), (2, 4)], Family::V4), ClusterIp, "10.96.0.21", number)
    };
    let plain = [(1, 2), (2, 2), (2, 3)];
    let lb = at(node_port(tcp(&[(1, 6), (2, 6)], "10.96.0.26"), 30083), LoadBalancer, "198.51.100.12", 80);
    let cluster = at(node_port(tcp(&[(1, 7), (2, 7)], "10.96.0.27"), 30084), ExternalIp, "198.51.100.5", 80);
    let open = at(node_port(tcp(&[(1, 7), (2, 7)], "10.96.0.28"), 30085), LoadBalancer, "198.51.100.16", 80);
    let empty = at(node_port(tcp(&[], "10.96.0.29"), 30086), LoadBalancer, "198.51.100.17", 80);
    let sticky = node_port(tcp(&[(1, 8), (2, 8)], "10.96.0.30"), 30087);
    let services: Vec<(&str, Vec<ServicePortPlan>)> = vec![
        ("kubernetes", vec![server]),
        ("plain", vec![tcp(&plain, "10.96.0.20"), tcp(&plain, "fd56:96::6317")]),
        (
            "named",
            vec![named("dns", Protocol::Udp, 53), named("http", Protocol::Tcp, 80), named("sctp", Protocol::Sctp, 9)],
        ),
        ("empty", vec![at(node_port(tcp(&[], "10.96.0.22"), 30646), ExternalIp, "198.51.100.3", 80)]),
        (
            "nodeport",
            vec![
                node_port(tcp(&[(1, 3), (2, 3)], "10.96.0.23"), 30080),
                at(tcp(&[(1, 3), (2, 3)], "fd56:96::6be1"), NodePort, NODE[1], 30080),
            ],
        ),
        ("local", vec![outside_local(node_port(tcp(&[(1, 4), (2, 4)], "10.96.0.24"), 30081))]),
        (
            "localnone",
            vec![outside_local(at(node_port(tcp(&[(2, 5)], "10.96.0.25"), 30082), ExternalIp, "198.51.100.4", 80))],
        ),
        (
            "lb",
            vec![ServicePortPlan {
                sources: ranges(&["192.168.0.0/16", "198.51.100.12/32", "203.0.113.0/24"]),
                ..outside_local(lb)
            }],
        ),
        (
            "lbcluster",
            vec![ServicePortPlan {
                sources: ranges(&["203.0.113.0/24"]),
                ..at(cluster, LoadBalancer, "198.51.100.19", 80)
            }],
        ),
        ("lbopen", vec![open]),
        ("lbempty", vec![empty]),
        ("sticky", vec![ServicePortPlan { affinity: Some(Duration::from_secs(10_800)), ..outside_local(sticky) }]),
        (
            "inlocal",
            vec![
                inside_local(tcp(&[(1, 9), (2, 9)], "10.96.0.31")),
                inside_local(tcp(&[(1, 9), (2, 9)], "fd56:96::d3d9")),
            ],
        ),
        ("inlocalnone", vec![inside_local(tcp(&[(2, 9)], "10.96.0.32"))]),
    ];
    let service = |(name, ports)| (ObjectKey::new("default", name), ServicePlan { ports });
    plan.services = services.into_iter().map(service).collect();
    plan
}

/// A rule of kube-proxy as it is here, by the table of differences in docs/data-planes.md; `None` for one that is not.
fn as_here(line: &str) -> Option<String> {
    let is_not = ["KUBE-FIREWALL", "health check node port"].iter().any(|words| line.contains(words));
    if is_not {
        return None;
    }
    let mut line = line.replace(" -m nfacct --nfacct-name  ct_state_invalid_dropped_pkts", "");
    line = line.replace(" --random-fully", "");
    if line.contains("-p tcp") && line.contains("-j REJECT") {
        line = line.replace("icmp-port-unreachable", "tcp-reset");
    }
    if line.contains("--dst-type LOCAL") && line.ends_with("-j DROP") {
        line = line.replace("KUBE-EXTERNAL-SERVICES -p", "KUBE-EXTERNAL-SERVICES ! -d 127.0.0.0/8 -p");
    }
    let is_guarded = ["\"default/lb\"", "\"default/lbcluster\"", "\"default/lbcluster external IP\""];
    if is_guarded.iter().any(|comment| line.contains(comment)) {
        line = line.replace("-j KUBE-EXT-", "-j KUBE-FW-");
    }
    if line.contains("-A KUBE-SVL-BJWR5DPVIKTHVKZU") {
        line = line.replace("KUBE-SEP-7HW7RRANODOBLSVN", "KUBE-SEP-W5UCN2SMMYNBQBI7");
    }
    Some(line)
}

/// What is here and not there, by the same table: what it ends with.
const MORE: [&str; 10] = [
    "-A OUTPUT -m conntrack --ctstate NEW -m comment --comment \"kubernetes externally-visible service portals\" -j KUBE-EXTERNAL-SERVICES",
    "-d 10.96.0.0/16 -p tcp -m comment --comment \"no such service port\" -j REJECT --reject-with tcp-reset",
    "-d 10.96.0.0/16 -m comment --comment \"no such service port\" -j REJECT --reject-with icmp-port-unreachable",
    "-d fd56:96::/112 -p tcp -m comment --comment \"no such service port\" -j REJECT --reject-with tcp-reset",
    "-d fd56:96::/112 -m comment --comment \"no such service port\" -j REJECT --reject-with icmp6-port-unreachable",
    "KUBE-FW-7TVXROIT6UXCX2AG\" -m addrtype --dst-type LOCAL -m tcp --dport 30083 -j DROP",
    "KUBE-FW-D6XE4LWAIQUNMTAJ\" -m addrtype --dst-type LOCAL -m tcp --dport 30084 -j DROP",
    "-d 198.51.100.5/32 -p tcp -m comment --comment \"default/lbcluster traffic not accepted by KUBE-FW-D6XE4LWAIQUNMTAJ\" -m tcp --dport 80 -j DROP",
    "-A KUBE-SEP-W5UCN2SMMYNBQBI7 -s 10.244.1.8/32 -m comment --comment \"default/sticky\" -j KUBE-MARK-MASQ",
    "--name KUBE-SEP-W5UCN2SMMYNBQBI7 --mask 255.255.255.255 --rsource -m tcp -j DNAT --to-destination 10.244.1.8:8080",
];

#[test]
fn rules_are_kube_proxys_but_for_a_list() {
    let plan = compared();
    let listings = [
        (Family::V4, include_str!("../../testdata/iptables/kube-proxy-1.36.2-ipv4.txt")),
        (Family::V6, include_str!("../../testdata/iptables/kube-proxy-1.36.2-ipv6.txt")),
    ];
    for (family, theirs) in listings {
        let frame = Frame { family, settings: &plan.settings, mark: 0x4000 };
        let mut wanted = Lowered::default();
        plan.services.iter().for_each(|(key, part)| lower(&frame, Comments::All, key, part, &mut wanted));
        let script = Script::reconcile(&frame, &wanted, &BTreeMap::new()).to_string();
        let mut table = "";
        let mut ours = BTreeSet::new();
        for line in script.lines() {
            table = line.strip_prefix('*').unwrap_or(table);
            if let Some(rule) = line.strip_prefix("-A ").or_else(|| line.strip_prefix("-I ")) {
                assert!(ours.insert(format!("{table}: -A {rule}")), "twice: {rule}");
            }
        }
        let theirs: BTreeSet<_> = theirs.lines().filter_map(as_here).collect();
        let missing: Vec<_> = theirs.difference(&ours).collect();
        assert!(missing.is_empty(), "{family}: {missing:#?}");
        let is_listed = |line: &&String| MORE.iter().any(|end| line.ends_with(end));
        let more: Vec<_> = ours.difference(&theirs).filter(|line| !is_listed(line)).collect();
        assert!(more.is_empty(), "{family}: {more:#?}");
    }
}

#[test]
fn the_order_within_a_service_is_kept() {
    let plan = compared();
    let frame = Frame { family: Family::V4, settings: &plan.settings, mark: 0x4000 };
    let mut wanted = Lowered::default();
    plan.services.iter().for_each(|(key, part)| lower(&frame, Comments::All, key, part, &mut wanted));
    let targets = |chain: &str| wanted.chains[chain].iter().map(|rule| rule.to_string()).collect::<Vec<_>>();
    // Whom to mark is asked first, then who was here before.
    let sticky = targets("KUBE-SVC-BJWR5DPVIKTHVKZU");
    assert!(sticky[0].ends_with("-j KUBE-MARK-MASQ") && sticky[1].contains("--rcheck"), "{sticky:#?}");
    assert!(sticky[2].contains("--rcheck") && sticky[3].contains("--probability 0.50000000000"), "{sticky:#?}");
    let entry = targets("KUBE-EXT-NEXWZWH5PGMW4KIO");
    assert!(entry[0].starts_with("-s 10.244.0.0/16") && entry[3] == "-j KUBE-SVL-NEXWZWH5PGMW4KIO", "{entry:#?}");
    let script = Script::reconcile(&frame, &wanted, &BTreeMap::new()).to_string();
    let is_jump = |line: &&str| line.starts_with("-A KUBE-SERVICES") && line.contains("-j KUBE-");
    let last = script.lines().rfind(is_jump);
    assert!(last.is_some_and(|line| line.ends_with("--dst-type LOCAL -j KUBE-NODEPORTS")), "{last:?}");
}
