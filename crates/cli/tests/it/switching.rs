//! From every data plane that runs on this kernel to every other, by starting the proxy with another mode, while a thousand new connections a
//! second come in through a virtual IP and a node port; and labs in each mode.

use std::process::Command;

use crate::{
    lab::{Lab, eventually, ok},
    load::ask,
    machine::{Machine, assert_none_failed, go_on},
    proxy::metric,
};

/// A walk over every change from one to another, once.
const WALK: [&str; 7] = ["nftables", "iptables", "userspace", "nftables", "userspace", "iptables", "nftables"];
/// What only that plane's rules have, as `iptables-save` and `nft list tables` show them.
const MARKS: [(&str, &str); 3] =
    [("nftables", "table ip stead\n"), ("iptables", "KUBE-SVC-"), ("userspace", "KUBE-PORTALS-")];

#[test]
fn every_plane_gives_way_to_every_other_without_a_failure() {
    let machine = Machine::up("switched");
    let rules = || -> String {
        let list = |words: &str| {
            let mut words = words.split(' ');
            let output = machine.host.run(|| Command::new(words.next().unwrap()).args(words).output());
            String::from_utf8(output.unwrap().unwrap().stdout).unwrap()
        };
        list("nft list tables") + &list("iptables-save")
    };
    let found = || {
        let rules = rules();
        MARKS.iter().filter(|(_, mark)| rules.contains(mark)).map(|(mode, _)| *mode).collect::<Vec<_>>()
    };
    let mode = |mode: &str| format!("--proxy-mode={mode}");
    let mut proxy = machine.stead(&[&mode(WALK[0])]);
    proxy.until_synced();
    machine.until_served();
    let loads = machine.load();
    for (number, next) in WALK.iter().enumerate().skip(1) {
        go_on(&loads, 100);
        proxy.end();
        go_on(&loads, 50);
        proxy = machine.stead(&[&mode(next)]);
        proxy.until_synced();
        eventually("the other plane's rules to be gone", || (found() == [*next]).then_some(()));
        machine.set_ready(&[number % 3, (number + 1) % 3]);
        go_on(&loads, 100);
        println!("{} → {next}", WALK[number - 1]);
    }
    assert_none_failed(loads);
    for last in ["userspace", "iptables"] {
        proxy.end();
        proxy = machine.stead(&[&mode(last)]);
        proxy.until_synced();
    }
    proxy.end();
    let said = ok("cleanup", machine.stead_proxy(&["--cleanup"]));
    assert!(said.contains("removed: what a Stead proxy put into the kernel (iptables)"), "{said}");
    assert_eq!(found(), [""; 0], "{}", rules());
    let left = rules();
    assert!(!left.contains("KUBE-") && !left.contains("stead"), "{left}");
}

#[test]
fn a_lab_serves_in_each_mode_or_says_what_serves_instead() {
    let has_ipvs = stead_dataplane::ipvs::available().problem().is_none();
    let of_ipvs = if has_ipvs { "ipvs" } else { "iptables" };
    for (wanted, serves) in [("userspace", "userspace"), ("ipvs", of_ipvs)] {
        let lab = Lab::up_with(wanted, 1, &["--proxy-mode", wanted]);
        lab.kubectl_ok("create deployment web --image=stead.local/hello-app:1.0");
        lab.kubectl_ok("expose deployment web --port=80 --target-port=8080 --type=NodePort");
        let field = |path: &str| lab.kubectl_ok(&format!("get svc web -o jsonpath={{.spec.{path}}}"));
        let virtual_ip = format!("{}:80", field("clusterIP")).parse().unwrap();
        let node_port = format!("192.168.56.101:{}", field("ports[0].nodePort")).parse().unwrap();
        let (node, outside) = (lab.namespace("node1"), lab.namespace("outside"));
        eventually("the virtual IP to answer", || node.run(|| ask(virtual_ip)).unwrap().ok());
        eventually("the node port to answer", || outside.run(|| ask(node_port)).unwrap().ok());
        let told = metric(&node, 10249, &format!("stead_proxy_mode{{mode=\"{serves}\",wanted=\"{wanted}\"}}"));
        assert_eq!(told, 1, "{wanted}");
        if wanted != serves {
            let events = || lab.kubectl_ok("get events -A -o jsonpath={.items[*].reason}");
            eventually("an event", || events().contains("ProxyModeUnavailable").then_some(()));
        }
        lab.kubectl_ok("delete svc web");
        eventually("a refusal", || {
            let failure = node.run(|| ask(virtual_ip)).unwrap().err();
            failure.filter(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        });
    }
}
