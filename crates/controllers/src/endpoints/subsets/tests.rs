use serde_json::{Value, json};

use super::*;

fn pod(name: &str, ip: &str, is_ready: bool, ports: Value) -> Pod {
    let status = if is_ready { "True" } else { "False" };
    serde_json::from_value(json!({
        "metadata": { "namespace": "default", "name": name, "uid": name },
        "spec": { "containers": [{ "name": "web", "ports": ports }] },
        "status": { "phase": "Running", "podIPs": [{ "ip": ip }], "conditions": [{ "type": "Ready", "status": status }] },
    }))
    .unwrap()
}

fn http(number: u16) -> Value {
    json!([{ "name": "http", "containerPort": number, "protocol": "TCP" }])
}

fn ask(pods: &[Pod], spec: Value) -> (Vec<EndpointSubset>, Fit) {
    let chosen: Vec<&Pod> = pods.iter().collect();
    subsets(&chosen, &ObjectKey::new("default", "web"), &serde_json::from_value(spec).unwrap())
}

/// Each subset as `ports: ready | not ready`.
fn check(pods: &[Pod], spec: Value, expect: &[&str]) {
    let (subsets, fit) = ask(pods, spec);
    let ips = |list: &Option<Vec<EndpointAddress>>| {
        list.iter().flatten().map(|address| address.ip.clone()).collect::<Vec<_>>().join(" ")
    };
    let ports = |subset: &EndpointSubset| {
        let ports = subset.ports.iter().flatten();
        ports
            .map(|port| format!("{}={}", port.name.as_deref().unwrap_or_default(), port.port))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let lines: Vec<_> = subsets
        .iter()
        .map(|subset| format!("{}: {} | {}", ports(subset), ips(&subset.addresses), ips(&subset.not_ready_addresses)))
        .collect();
    assert_eq!(lines, expect);
    assert_eq!(fit, Fit::Whole);
}

#[test]
fn ports_with_the_same_addresses_stand_together() {
    let pods = [pod("a", "10.0.0.2", true, http(8080)), pod("b", "10.0.0.1", false, http(8080))];
    let spec = json!({ "ports": [{ "name": "http", "port": 80, "targetPort": "http" }, { "name": "admin", "port": 81, "targetPort": 8081 }] });
    check(&pods, spec, &["admin=8081 http=8080: 10.0.0.2 | 10.0.0.1"]);
}

#[test]
fn a_named_port_that_differs_per_pod_parts_the_subsets_and_a_pod_without_it_lacks_that_port_alone() {
    let pods = [
        pod("a", "10.0.0.1", true, http(8080)),
        pod("b", "10.0.0.2", true, http(9090)),
        pod("c", "10.0.0.3", true, json!([])),
    ];
    let spec = json!({ "ports": [{ "name": "http", "port": 80, "targetPort": "http" }, { "name": "admin", "port": 81, "targetPort": 8081 }] });
    let expect = ["admin=8081: 10.0.0.1 10.0.0.2 10.0.0.3 | ", "http=8080: 10.0.0.1 | ", "http=9090: 10.0.0.2 | "];
    check(&pods, spec, &expect);
}

#[test]
fn a_headless_service_without_ports_has_addresses_alone() {
    let pods = [pod("a", "10.0.0.1", true, json!([])), pod("b", "10.0.0.2", false, json!([]))];
    check(&pods, json!({ "clusterIP": "None" }), &[": 10.0.0.1 | 10.0.0.2"]);
    check(&pods, json!({ "clusterIP": "10.96.0.9" }), &[]);
    check(&[], json!({ "clusterIP": "None" }), &[]);
}

#[test]
fn only_the_first_family_is_there() {
    let mut dual = pod("a", "10.0.0.1", true, json!([]));
    dual.status.as_mut().unwrap().pod_ips =
        serde_json::from_value(json!([{ "ip": "10.0.0.1" }, { "ip": "fd00::1" }])).unwrap();
    let spec = |families: Value| json!({ "ipFamilies": families, "ports": [{ "port": 80, "targetPort": 80 }] });
    check(std::slice::from_ref(&dual), spec(json!(["IPv6", "IPv4"])), &["=80: fd00::1 | "]);
    check(std::slice::from_ref(&dual), spec(json!(["IPv4", "IPv6"])), &["=80: 10.0.0.1 | "]);
}

#[test]
fn a_thousand_addresses_are_kept_ready_ones_first_and_in_proportion() {
    let pods = |ready: usize, others: usize, port: u16| -> Vec<Pod> {
        let ip = |number: usize| format!("10.{}.{}.{}", port % 200, number / 200, number % 200 + 1);
        let all = (0..ready).map(|number| (number, true)).chain((ready..ready + others).map(|number| (number, false)));
        all.map(|(number, is_ready)| pod(&format!("p{port}-{number}"), &ip(number), is_ready, http(port))).collect()
    };
    let check = |all: Vec<Pod>, expect: &[(usize, usize)], fit: Fit| {
        let spec = json!({ "ports": [{ "name": "http", "port": 80, "targetPort": "http" }] });
        let (subsets, found) = ask(&all, spec);
        let count = |list: &Option<Vec<EndpointAddress>>| list.as_ref().map_or(0, Vec::len);
        let counts: Vec<_> =
            subsets.iter().map(|subset| (count(&subset.addresses), count(&subset.not_ready_addresses))).collect();
        assert_eq!((counts.as_slice(), found), (expect, fit));
    };
    let both = |a: Vec<Pod>, b: Vec<Pod>| a.into_iter().chain(b).collect::<Vec<_>>();
    check(both(pods(600, 0, 8080), pods(400, 0, 9090)), &[(600, 0), (400, 0)], Fit::Whole);
    check(both(pods(900, 50, 8080), pods(600, 0, 9090)), &[(600, 0), (400, 0)], Fit::Truncated);
    check(both(pods(400, 300, 8080), pods(400, 100, 9090)), &[(400, 150), (400, 50)], Fit::Truncated);
    check(both(pods(0, 0, 8080), pods(2000, 0, 9090)), &[(1000, 0)], Fit::Truncated);
}
