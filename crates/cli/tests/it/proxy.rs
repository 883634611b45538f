//! `stead proxy` on a node of a lab, which has a proxy already.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Output,
};

use stead_sys::namespace::Namespace;

use crate::lab::{Lab, eventually, ok, stead};

/// The whole answer of a port of the node's loopback; empty where nobody answers.
pub(crate) fn get(node: &Namespace, port: u16, path: &str) -> String {
    let asked = node.run(|| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    });
    asked.unwrap().unwrap_or_default()
}

/// Whether a proxy, ours or kube-proxy, has put all Services into the kernel; `port` is that of its metrics.
pub(crate) fn has_synced(node: &Namespace, port: u16) -> bool {
    metric(node, port, "kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family=\"IPv4\"}") > 0
}

/// A number among a proxy's metrics; 0 where it is not told.
pub(crate) fn metric(node: &Namespace, port: u16, name: &str) -> u64 {
    let metrics = get(node, port, "/metrics");
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}

const TIMEOUT: &str = "/proc/sys/net/netfilter/nf_conntrack_udp_timeout";

#[test]
fn a_node_has_one_proxy_that_says_how_it_is() {
    let lab = Lab::up("proxy", 1);
    let node = lab.namespace("node1");
    eventually("health", || Some(()).filter(|()| get(&node, 10256, "/healthz").starts_with("HTTP/1.1 200")));
    assert!(get(&node, 10256, "/livez").contains("\"secondsSinceHeard\":{\"services\":"));
    eventually("a full sync", || has_synced(&node, 10249).then_some(()));
    assert!(get(&node, 10249, "/configz").contains("\"kind\":\"KubeProxyConfiguration\""));

    let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"type":"LoadBalancer","selector":{"app":"web"},
        "externalTrafficPolicy":"Local","ports":[{"port":80}]}}"#;
    ok("apply", lab.kubectl_words(&["apply", "-f", "-"], service));
    let port = lab.kubectl_ok("get svc web -o jsonpath={.spec.healthCheckNodePort}").parse().unwrap();
    let answer =
        eventually("the health-check node port", || Some(get(&node, port, "/")).filter(|text| !text.is_empty()));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"localEndpoints\": 0,"), "{answer}");

    let proxy = |flags: &[&str]| -> Output {
        let kubeconfig = format!("/run/stead/{}/nodes/node1/kubeconfig", lab.name);
        let mut command = stead();
        command.args([
            "proxy",
            "--hostname-override=node1",
            "--cluster-cidr=10.244.0.0/16,fd56:244::/32",
            "--kubeconfig",
            &kubeconfig,
        ]);
        // What is the machine's stays as it is.
        command.args([
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
        ]);
        node.run(|| command.args(flags).output()).unwrap().unwrap()
    };
    let timeout = || node.run(|| std::fs::read_to_string(TIMEOUT).unwrap()).unwrap();
    let before = timeout();
    for flags in [&["--conntrack-udp-timeout=77s"][..], &["--cleanup"]] {
        let refused = proxy(flags);
        let text = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success()
                && text.contains("a Stead proxy runs in this network namespace already (process "),
            "{text}"
        );
    }
    assert_eq!(timeout(), before, "who is refused has set nothing");
    let preview = proxy(&["--dry-run"]);
    assert_eq!(
        (String::from_utf8_lossy(&preview.stdout).as_ref(), preview.status.success()),
        ("", true),
        "{preview:?}"
    );
}
