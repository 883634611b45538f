//! What `stead check` says of other programs' firewalls, held to what they do to packets: without the remedy some are stopped, with it none is.

use std::{
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    time::Duration,
};

use stead_dataplane::{
    NfTables,
    survey::{Facts, Finding, Grade, Subject, Wanted, survey},
};
use stead_model::{Family, Protocol};
use stead_testbed::{Calls, Host, POD_RANGES, SERVICE_RANGES};

use crate::bench::{Bench, POD_PORT};

const UFW: &str = include_str!("../../testdata/firewalls/ufw.nft");
const DOCKER: &str = include_str!("../../testdata/firewalls/docker.nft");
const FIREWALLD: &str = include_str!("../../testdata/firewalls/firewalld.nft");

fn load(node: &Host, rules: &str) {
    let run = || {
        let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
        nft.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(nft.wait().unwrap().success(), "{rules}");
    };
    node.run(run).unwrap();
}

fn findings(node: &Host) -> Vec<Finding> {
    let wanted = Wanted { service_ranges: SERVICE_RANGES.into(), pod_ranges: POD_RANGES.into() };
    let facts = node.run(Facts::read).unwrap().unwrap();
    survey(&facts, &wanted).into_iter().filter(|finding| finding.subject == Subject::Firewall).collect()
}

/// `expect` has words of the text and of the remedy of each finding; `remedied` is what the programs of the remedies do to the rules. `stopped`: what
/// does not come through before.
fn check(rules: &str, expect: &[(&str, &str)], remedied: &str, stopped: Stopped) {
    let bench = &mut Bench::new(|namespace| Box::new(NfTables::open_in(namespace).unwrap()), Family::V4);
    bench.all("web", [bench.port(Protocol::Tcp, 1, Some(30080), &[(1, 1)])]);
    let node = bench.lab.node(1);
    assert_eq!(findings(node).iter().map(|finding| finding.grade).collect::<Vec<_>>(), [Grade::Fine]);
    load(node, rules);
    let found = findings(node);
    assert_eq!(found.len(), expect.len(), "{found:#?}");
    for (found, (text, remedy)) in found.iter().zip(expect) {
        assert!(
            found.grade == Grade::Warning && found.text.contains(text) && found.remedy.contains(remedy),
            "{found:?}"
        );
    }
    let comes_through = |client: &Host, to: SocketAddr| {
        let calls = Calls { timeout: Duration::from_millis(700), ..Calls::of(2) };
        client.call(Protocol::Tcp, to, calls).failed() == 0
    };
    let pod = SocketAddr::new(bench.pod(2, 1).address(Family::V4), POD_PORT);
    let reached = || {
        let service = comes_through(bench.lab.outside(), bench.node_port(30080));
        Stopped { service: !service, pods: !comes_through(bench.pod(1, 1), pod) }
    };
    assert_eq!(reached(), stopped, "before");
    load(node, remedied);
    assert_eq!(reached(), Stopped { service: false, pods: false }, "with the remedy");
}

#[derive(Debug, PartialEq, Eq)]
struct Stopped {
    /// From outside through a node port to a pod.
    service: bool,
    /// From a pod to another node's.
    pods: bool,
}

#[test]
fn a_machine_with_ufw_is_told_to_forward() {
    check(
        UFW,
        &[
            ("chain INPUT of table ip filter drops", "ufw allow from 10.244.0.0/16; ufw allow PORT/tcp"),
            (
                "chain FORWARD of table ip filter drops what it does not accept among forwarded packets (ufw's)",
                "ufw route allow from 10.244.0.0/16; ufw route allow to 10.244.0.0/16",
            ),
            ("chain INPUT of table ip6 filter drops", "ufw allow from fd56:244::/32"),
            (
                "chain FORWARD of table ip6 filter drops what it does not accept among forwarded packets (ufw's)",
                "ufw route allow from fd56:244::/32",
            ),
        ],
        "insert rule ip filter ufw-user-forward ip saddr 10.244.0.0/16 accept\n\
         insert rule ip filter ufw-user-forward ip daddr 10.244.0.0/16 accept\n",
        Stopped { service: true, pods: true },
    );
}

#[test]
fn a_machine_with_docker_is_told_to_let_pods_through() {
    check(
        DOCKER,
        &[(
            "chain FORWARD of table ip filter drops what it does not accept among forwarded packets (docker's)",
            "iptables -I DOCKER-USER -s 10.244.0.0/16 -j ACCEPT; iptables -I DOCKER-USER -d 10.244.0.0/16 -j ACCEPT",
        )],
        "insert rule ip filter DOCKER-USER ip saddr 10.244.0.0/16 counter accept\n\
         insert rule ip filter DOCKER-USER ip daddr 10.244.0.0/16 counter accept\n",
        Stopped { service: true, pods: true },
    );
}

#[test]
fn a_machine_with_firewalld_is_told_to_trust_pods() {
    check(
        FIREWALLD,
        &[
            (
                "chain filter_INPUT of table inet firewalld rejects what no zone accepts among packets to this machine",
                "--add-port=PORT/tcp",
            ),
            (
                "chain filter_FORWARD of table inet firewalld rejects what no zone accepts among forwarded packets (firewalld's)",
                "firewall-cmd --permanent --zone=trusted --add-source=10.244.0.0/16",
            ),
        ],
        // Sources of a zone come before the interfaces'.
        "insert rule inet firewalld filter_FORWARD_ZONES ip saddr 10.244.0.0/16 accept\n\
         insert rule inet firewalld filter_INPUT_ZONES ip saddr 10.244.0.0/16 accept\n",
        // It lets through what was translated.
        Stopped { service: false, pods: true },
    );
}
